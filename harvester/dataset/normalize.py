"""Vendor answers as a table of `schema.SCHEMA`: nothing rounded, nothing dropped, nothing fatal.

Every value that an answer holds ends in its column, in `extra` (a field that the vendor's page
doesn't name) or in `unparsed` (a value that its column's type can't hold exactly).  "", null and
a missing field are all absent.  A batch is typed column by column; see `columns`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from harvester.answers import literals
from harvester.answers.answer import Answer
from harvester.answers.opening import is_json
from harvester.dataset.columns import (
    MONEY_RULE,
    SECONDS_RULE,
    TIME_RULE,
    Rule,
    beyond,
    beyond_by_value,
    each_distinct,
    offsets_min,
    seconds_at_once,
    texts,
    typed,
)
from harvester.dataset.parse import Batch, read, readable
from harvester.dataset.schema import (
    COST_EUR,
    FIELDS,
    MONEY_COLUMNS,
    SCHEMA,
    SECONDS,
    SECONDS_COLUMNS,
    TEXT,
    TEXT_COLUMNS,
    TIME,
    TIME_COLUMNS,
)

NO_FEEDBACK = "-1"
DEFAULT_CURRENCY = "USD"
EUR = "EUR"

_ORDER = {name: position for position, name in enumerate(FIELDS)}
_RULES: dict[str, Rule] = {
    **dict.fromkeys(SECONDS_COLUMNS, SECONDS_RULE),
    **dict.fromkeys(MONEY_COLUMNS, MONEY_RULE),
}
_COLUMN_OF = {**SECONDS_COLUMNS, **MONEY_COLUMNS}


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
    """Of each row, whether the vendor named no currency, so that DEFAULT_CURRENCY was taken."""


class _Draft(msgspec.Struct):
    """A batch on its way: typed columns by column name, and the untyped rest by position."""

    batch: Batch
    columns: dict[str, pa.Array]
    unparsed: dict[int, dict[str, str]]
    from_eur: pa.Array | None = None
    presumed: pa.BooleanArray | None = None


def normalize(answers: Sequence[Answer], account: str, *, by_value: bool = False) -> Normalized:
    """The answers as rows.  Never raises for what their bodies hold.

    `by_value` reads every value by the scalar rules of `literals`, which define the result.
    """
    batch = read([answer.body for answer in answers], typed=not by_value)
    draft = _Draft(batch, {}, {at: _shown(odd) for at, odd in batch.unparsed.items()})
    _add_provenance(draft, answers, account)
    _type_texts(draft)
    _type_times(draft, by_value=by_value)
    _type_scalars(draft, by_value=by_value)
    _derive(draft)
    _add_the_rest(draft)
    assert draft.presumed is not None, "it is derived with the currency"
    columns = [draft.columns[column.name] for column in SCHEMA]
    return Normalized(
        table=pa.Table.from_arrays(columns, schema=SCHEMA),
        unparsed=_count(draft.unparsed.values()),
        extra=_count(batch.extra.values()),
        without_cost=_without_cost(draft),
        presumed=draft.presumed,
    )


def _type_texts(draft: _Draft) -> None:
    for name, column in TEXT_COLUMNS.items():
        draft.columns[column] = texts(draft.batch.columns[name])


def _type_times(draft: _Draft, *, by_value: bool) -> None:
    """The times, and of them those that count: see `answers.times`."""
    fetched_ms = draft.columns["fetched_at"].cast(pa.int64())
    submit: pa.Array | None = None
    for name, column in TIME_COLUMNS.items():
        source = texts(draft.batch.columns[name])
        result = typed(source, TIME_RULE, by_value=by_value)
        times, failed = result.array, result.failed
        fillers = (beyond_by_value if by_value else beyond)(times, fetched_ms, submit)
        if fillers:
            times = pc.if_else(_marks(len(times), fillers), pa.scalar(None, TIME), times)
        draft.columns[column] = times
        for position in [*failed, *fillers]:
            _refuse(draft, position, name, source[position].as_py())
        if submit is None:
            submit = times
            # A text that is no time has no offset either.
            sent = pc.if_else(times.is_valid(), source, pa.scalar(None, TEXT))
            draft.columns["utc_offset_min"] = offsets_min(sent)


def _type_scalars(draft: _Draft, *, by_value: bool) -> None:
    for name, column in _COLUMN_OF.items():
        values = draft.batch.columns[name]
        if name in SECONDS_COLUMNS and not by_value:
            seconds = seconds_at_once(values)
            if seconds is not None:
                draft.columns[column] = seconds
                continue
        source = texts(values)
        if name == "cost":
            source = _with_eur(draft, source)
        result = typed(source, _RULES[name], by_value=by_value)
        draft.columns[column] = result.array
        for position in result.failed:
            _refuse(draft, position, name, source[position].as_py())


def _with_eur(draft: _Draft, cost: pa.Array) -> pa.Array:
    """`cost`, or where a sister brand leaves it out, its `costEur`.  `reading` allows only one."""
    eur = texts(draft.batch.columns[COST_EUR])
    odd = [at for at, fields in draft.batch.unparsed.items() if COST_EUR in fields]
    if eur.null_count == len(eur) and not odd:
        return cost
    draft.from_eur = pc.or_(eur.is_valid(), _marks(len(eur), odd))
    return pc.coalesce(cost, eur)


def _refuse(draft: _Draft, position: int, name: str, text: str) -> None:
    eur = name == "cost" and draft.from_eur is not None and draft.from_eur[position].as_py()
    draft.unparsed.setdefault(position, {})[COST_EUR if eur else name] = text


def _derive(draft: _Draft) -> None:
    """The columns that we make out of the vendor's."""
    columns = draft.columns
    columns["destination_country"], columns["destination_region"] = each_distinct(
        columns["code"], [TEXT, TEXT], literals.split_code
    )
    columns["bill_initial_s"], columns["bill_increment_s"] = each_distinct(
        columns["bill_period"], [SECONDS, SECONDS], literals.period_of
    )
    # The text has its column, but the numbers that it should hold do not: that is evidence too.
    odd = pc.and_(columns["bill_period"].is_valid(), columns["bill_initial_s"].is_null())
    for position in pc.indices_nonzero(odd).to_pylist():
        _refuse(draft, position, "billPeriod", columns["bill_period"][position].as_py())
    (columns["sip_code"],) = each_distinct(
        columns["termination_code"], [pa.int16()], lambda text: (literals.sip_code_of(text),)
    )
    talked = pc.fill_null(pc.greater(columns["call_duration_s"], 0), False)
    columns["answered"] = pc.or_(columns["answer_time"].is_valid(), talked)
    feedback = columns["feedback_key"]
    columns["feedback_key"] = pc.if_else(
        pc.equal(feedback, NO_FEEDBACK), pa.scalar(None, TEXT), feedback
    )
    columns["currency"] = _currency(draft)


def _currency(draft: _Draft) -> pa.Array:
    """As sent; where left out it is the dollar, or the euro where the cost came as `costEur`."""
    sent = draft.columns["currency"]
    named = sent.is_valid()
    default: object = DEFAULT_CURRENCY
    if draft.from_eur is not None:
        default = pc.if_else(draft.from_eur, EUR, DEFAULT_CURRENCY)
        named = pc.or_(named, draft.from_eur)  # by the name of its field
    currency = pc.coalesce(sent, default)
    unreadable = [
        at for at, fields in draft.unparsed.items() if "currency" in fields or "data" in fields
    ]
    if unreadable:
        # Sent, but not as text: it wasn't left out, so no default may stand for it.
        odd = _marks(len(sent), unreadable)
        currency, named = pc.if_else(odd, pa.scalar(None, TEXT), currency), pc.or_(named, odd)
    draft.presumed = pc.invert(named)
    return currency


def _without_cost(draft: _Draft) -> int:
    free = pc.and_(draft.columns["answered"], draft.columns["cost"].is_null())
    found = int(pc.sum(free).as_py() or 0)
    if not found:
        return 0
    odd = [at for at, fields in draft.unparsed.items() if {"cost", COST_EUR} & fields.keys()]
    return found - sum(1 for at in odd if free[at].as_py())


def _add_provenance(draft: _Draft, answers: Sequence[Answer], account: str) -> None:
    columns, size = draft.columns, len(answers)
    columns["voice_id"] = pa.array([answer.voice_id for answer in answers], TEXT)
    columns["account"] = pa.repeat(pa.scalar(account, TEXT), size)
    columns["is_final"] = pa.array([answer.is_final for answer in answers], pa.bool_())
    columns["fetched_at"] = pa.array([answer.fetched_at_ms for answer in answers], TIME)
    columns["run_id"] = pa.array([answer.run_id for answer in answers], TEXT)


def _add_the_rest(draft: _Draft) -> None:
    columns, size = draft.columns, len(draft.columns["voice_id"])
    columns["extra"] = _sparse(size, {at: _object(m) for at, m in draft.batch.extra.items()})
    columns["unparsed"] = _sparse(size, {at: _listing(m) for at, m in draft.unparsed.items()})


def _object(literals_by_name: Mapping[str, str]) -> str:
    """A JSON object of JSON texts, untouched and in the order in which they were sent."""
    members = (f"{_quoted(name)}:{_kept(text)}" for name, text in literals_by_name.items())
    return "{" + ",".join(members) + "}"


def _listing(texts_by_name: Mapping[str, str]) -> str:
    """A JSON object of texts, in the order of `FIELDS`."""
    names = sorted(texts_by_name, key=lambda name: _ORDER.get(name, -1))
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
