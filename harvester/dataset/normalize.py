"""Vendor answers as a table of their kind: nothing rounded, nothing dropped, nothing fatal.

Every value that an answer holds ends in its column, in `extra` (a field that the vendor's page
doesn't name) or in `unparsed` (a value that its column's type can't hold exactly).  "", null and
a missing field are all absent.  A batch is typed column by column; see `columns`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from harvester.answers.answer import Answer
from harvester.answers.opening import is_json, members
from harvester.dataset.columns import (
    MONEY_RULE,
    SECONDS_RULE,
    TIME_RULE,
    Rule,
    beyond,
    beyond_by_value,
    offsets_min,
    seconds_at_once,
    texts,
    typed,
)
from harvester.dataset.kind import (
    EXTRA,
    SECONDS,
    TEXT,
    TIME,
    UNPARSED,
    Draft,
    Reads,
    RecordKind,
)
from harvester.dataset.parse import Batch, readable, reader_of

_RULES: dict[Reads, Rule] = {Reads.SECONDS: SECONDS_RULE, Reads.MONEY: MONEY_RULE}


class Normalized(msgspec.Struct, frozen=True):
    """A table in the order of the answers, and what the summary counts."""

    table: pa.Table
    unparsed: dict[str, int]
    """Vendor field -> how many of its values could not be typed."""
    extra: dict[str, int]
    """Unknown field -> how many answers held it."""
    without_cost: int
    """Answered calls whose cost is absent: it was not sent, rather than sent in an odd form."""
    presumed: pa.BooleanArray
    """Of each row, whether the vendor named no currency, so that the default one was taken."""


def normalize(
    answers: Sequence[Answer], account: str, kind: RecordKind, *, by_value: bool = False
) -> Normalized:
    """The answers as rows of `kind`.  Never raises for what their bodies hold.

    `by_value` reads every value by the scalar rules of `literals`, which define the result.
    """
    batch = reader_of(kind).read([answer.body for answer in answers], typed=not by_value)
    if kind.omitted:
        batch = _without(batch, kind.omitted)
    draft = Draft({}, {at: _shown(odd) for at, odd in batch.unparsed.items()})
    _add_provenance(draft, answers, account, kind)
    for name, column in kind.texts:
        draft.columns[column.name] = texts(batch.columns[name])
    _type_times(draft, batch, kind, by_value=by_value)
    _type_scalars(draft, batch, kind, by_value=by_value)
    kind.derive(draft)
    presumed = _name_currency(draft, kind)
    draft.columns["currency_presumed"] = presumed
    _add_the_rest(draft, batch, kind)
    columns = [draft.columns[column.name] for column in kind.columns]
    return Normalized(
        table=pa.Table.from_arrays(columns, schema=kind.schema),
        unparsed=_count(draft.unparsed.values()),
        extra=_count(batch.extra.values()),
        without_cost=_without_cost(draft, kind),
        presumed=presumed,
    )


def _without(batch: Batch, omitted: frozenset[str]) -> Batch:
    """The batch as if the answers had none of these fields."""
    columns = {
        name: [None] * len(values) if name in omitted else values
        for name, values in batch.columns.items()
    }
    return Batch(columns, _left_out(batch.unparsed, omitted), _left_out(batch.extra, omitted))


def without_omitted(rows: pa.Table, kind: RecordKind) -> pa.Table:
    """Rows that were stored before, as if the answers had had no field that is left out now."""
    if not kind.omitted:
        return rows
    columns = {
        column.name: pa.nulls(rows.num_rows, column.type)
        if column.field in kind.omitted
        else rows[column.name].combine_chunks()
        for column in kind.columns
    }
    kind.derive(Draft(columns, {}))
    for name in (EXTRA.name, UNPARSED.name):
        columns[name] = pa.array(
            [text and _members_without(text, kind.omitted) for text in columns[name].to_pylist()],
            TEXT,
        )
    return pa.Table.from_arrays([columns[name] for name in rows.schema.names], schema=rows.schema)


def _members_without(text: str, omitted: frozenset[str]) -> str | None:
    kept = {name: literal for name, literal in members(text).items() if name not in omitted}
    return _object(kept) if kept else None


def _left_out(
    found: Mapping[int, Mapping[str, str]], omitted: frozenset[str]
) -> dict[int, dict[str, str]]:
    kept = (
        (at, {name: text for name, text in fields.items() if name not in omitted})
        for at, fields in found.items()
    )
    return {at: fields for at, fields in kept if fields}


def _type_times(draft: Draft, batch: Batch, kind: RecordKind, *, by_value: bool) -> None:
    """The times, and of them those that count: see `answers.times`."""
    fetched_ms = draft.columns["fetched_at"].cast(pa.int64())
    submit: pa.Array | None = None
    for name, column in kind.times:
        source = texts(batch.columns[name])
        result = typed(source, TIME_RULE, by_value=by_value)
        times, failed = result.array, result.failed
        fillers = (beyond_by_value if by_value else beyond)(times, fetched_ms, submit)
        if fillers:
            times = pc.if_else(_marks(len(times), fillers), pa.scalar(None, TIME), times)
        draft.columns[column.name] = times
        for position in [*failed, *fillers]:
            draft.refuse(position, name, source[position].as_py())
        if submit is None:
            submit = times
            if kind.offset is not None:
                # A text that is no time has no offset either.
                sent = pc.if_else(times.is_valid(), source, pa.scalar(None, TEXT))
                draft.columns[kind.offset] = offsets_min(sent)


def _type_scalars(draft: Draft, batch: Batch, kind: RecordKind, *, by_value: bool) -> None:
    for name, column in (*kind.seconds, *kind.money):
        values = batch.columns[name]
        if column.type == SECONDS and not by_value:
            seconds = seconds_at_once(values)
            if seconds is not None:
                draft.columns[column.name] = seconds
                continue
        source = texts(values)
        is_cost = column.name == kind.usage.cost
        if is_cost:
            source = _with_other_cost(draft, batch, kind, source)
        assert column.reads is not None, "it is among those that are read"
        result = typed(source, _RULES[column.reads], by_value=by_value)
        draft.columns[column.name] = result.array
        for position in result.failed:
            by_other = is_cost and draft.by_other is not None and draft.by_other[position].as_py()
            sent_as = kind.usage.other_cost if by_other else name
            assert sent_as is not None, "by_other is set by that field alone"
            draft.refuse(position, sent_as, source[position].as_py())


def _with_other_cost(draft: Draft, batch: Batch, kind: RecordKind, cost: pa.Array) -> pa.Array:
    """The cost, or where it is left out, the field that stands for it.  `parse` allows only one."""
    name = kind.usage.other_cost
    if name is None:
        return cost
    other = texts(batch.columns[name])
    odd = [at for at, fields in batch.unparsed.items() if name in fields]
    if other.null_count == len(other) and not odd:
        return cost
    draft.by_other = pc.or_(other.is_valid(), _marks(len(other), odd))
    return pc.coalesce(cost, other)


def _name_currency(draft: Draft, kind: RecordKind) -> pa.BooleanArray:
    """Name a currency where the vendor left it out; of each row, whether that is presumed.

    The default one, or that of the other cost where it came so.
    """
    usage = kind.usage
    sent = draft.columns[usage.currency]
    named = sent.is_valid()
    default: object = usage.default_currency
    if draft.by_other is not None:
        default = pc.if_else(draft.by_other, usage.other_currency, usage.default_currency)
        named = pc.or_(named, draft.by_other)  # by the name of its field
    currency = pc.coalesce(sent, default)
    field = kind.field_of(usage.currency)
    unreadable = [
        at for at, fields in draft.unparsed.items() if field in fields or "data" in fields
    ]
    if unreadable:
        # Sent, but not as text: it wasn't left out, so no default may stand for it.
        odd = _marks(len(sent), unreadable)
        currency, named = pc.if_else(odd, pa.scalar(None, TEXT), currency), pc.or_(named, odd)
    draft.columns[usage.currency] = currency
    return pc.invert(named)


def _without_cost(draft: Draft, kind: RecordKind) -> int:
    usage = kind.usage
    if usage.answered is None:
        return 0
    free = pc.and_(draft.columns[usage.answered], draft.columns[usage.cost].is_null())
    found = int(pc.sum(free).as_py() or 0)
    if not found:
        return 0
    names = {kind.field_of(usage.cost), usage.other_cost}
    odd = [at for at, fields in draft.unparsed.items() if names & fields.keys()]
    return found - sum(1 for at in odd if free[at].as_py())


def _add_provenance(
    draft: Draft, answers: Sequence[Answer], account: str, kind: RecordKind
) -> None:
    columns, size = draft.columns, len(answers)
    # All fields of all answers at once: a loop for each would cost six times as much.
    fields = zip(*map(msgspec.structs.astuple, answers), strict=True)
    of = dict(zip(Answer.__struct_fields__, fields, strict=False))
    columns[kind.key] = pa.array(of.get("voice_id", ()), TEXT)
    columns["account"] = pa.repeat(pa.scalar(account, TEXT), size)
    columns["is_final"] = _mostly_one(of.get("is_final", ()), pa.bool_())
    columns["is_rated"] = _mostly_one(of.get("is_rated", ()), pa.bool_())
    columns["fetched_at"] = pa.array(of.get("fetched_at_ms", ()), TIME)
    columns["fetched_by"] = _mostly_one(of.get("fetched_by", ()), TEXT)
    columns["run_id"] = _mostly_one(of.get("run_id", ()), TEXT)


def _mostly_one(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column of values that are mostly all the same: to count them costs less than to copy."""
    if values and values.count(values[0]) == len(values):
        return pa.repeat(pa.scalar(values[0], kind), len(values))
    return pa.array(values, kind)


def _add_the_rest(draft: Draft, batch: Batch, kind: RecordKind) -> None:
    columns, size, order = draft.columns, len(draft.columns[kind.key]), kind.order
    columns["extra"] = _sparse(size, {at: _object(m) for at, m in batch.extra.items()})
    columns["unparsed"] = _sparse(
        size, {at: _listing(m, order) for at, m in draft.unparsed.items()}
    )


def _object(literals_by_name: Mapping[str, str]) -> str:
    """A JSON object of JSON texts, untouched and in the order in which they were sent."""
    members = (f"{_quoted(name)}:{_kept(text)}" for name, text in literals_by_name.items())
    return "{" + ",".join(members) + "}"


def _listing(texts_by_name: Mapping[str, str], order: Mapping[str, int]) -> str:
    """A JSON object of texts, in `order`."""
    names = sorted(texts_by_name, key=lambda name: order.get(name, -1))
    return "{" + ",".join(f"{_quoted(name)}:{_quoted(texts_by_name[name])}" for name in names) + "}"


def _kept(literal: str) -> str:
    shown = readable(literal)
    # Bytes that aren't UTF-8 can't stay, nor can NaN; as a string of what was sent, it is JSON.
    return literal if shown == literal and is_json(literal) else _quoted(shown)


def _quoted(text: str) -> str:
    return json.dumps(readable(text), ensure_ascii=False)


def _shown(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: readable(literal) for name, literal in fields.items()}


def _sparse(size: int, found: Mapping[int, str]) -> pa.Array:
    if not found:
        return pa.nulls(size, TEXT)
    texts: list[str | None] = [None] * size
    for position, text in found.items():
        texts[position] = text
    return pa.array(texts, TEXT)


def _marks(size: int, positions: Iterable[int]) -> pa.Array:
    marks = [False] * size
    for position in positions:
        marks[position] = True
    return pa.array(marks, pa.bool_())


def _count(records: Iterable[Mapping[str, str]]) -> dict[str, int]:
    return dict(Counter(readable(name) for record in records for name in record))
