"""A vendor's answer as the text of each of its fields.

Theory of operation.  Money and ids must keep their last digit, so a number is taken from its JSON
literal, never through a float.  Five ways, each giving what the next one would give:

1. *typed*: msgspec decodes straight into a struct of the known fields, each text, integer or
   null.  It refuses an answer that holds anything else.
2. *amounts*: the same, and money is cut out as literals.  A vendor that sends amounts as numbers
   does so in every answer.
3. *newer*: as the first, and the fields that we don't know are cut out as literals.  One field that
   the vendor adds tomorrow is in every answer from then on.
4. *raw*: msgspec cuts the object into the literals of its values.  This takes fractions and nested
   values anywhere, at many times the price of the first.
5. *opened*: `answers.opening` does the same.  It is here for what msgspec won't touch: lone
   surrogates such as "\\ud800", bytes that aren't UTF-8, NaN, a byte order mark.

What is no JSON object even then is kept whole, as the unparsed text of `data`: nothing is dropped.
One freedom is taken: the number -0 is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from harvester.answers.opening import REFUSED, data_of, members, quick_data_of, text_of, value_of
from harvester.dataset.schema import COST_EUR, FIELDS, MONEY_COLUMNS

Known = str | int | None
Row = tuple[Known, ...]

_Fields = msgspec.defstruct(
    "_Fields", [(name, Known, None) for name in FIELDS], forbid_unknown_fields=True, gc=False
)
_Typed = msgspec.defstruct("_Typed", [("data", _Fields)], gc=False)
_NULL = Raw(b"null")
_AMOUNTS = (*MONEY_COLUMNS, COST_EUR)
_Literal = msgspec.defstruct(
    "_Literal",
    [(name, Raw, _NULL) if name in _AMOUNTS else (name, Known, None) for name in FIELDS],
    forbid_unknown_fields=True,
    gc=False,
)
_WithAmounts = msgspec.defstruct("_WithAmounts", [("data", _Literal)], gc=False)
_Known = msgspec.defstruct("_Known", [(name, Known, None) for name in FIELDS], gc=False)
_Newer = msgspec.defstruct("_Newer", [("data", _Known)], gc=False)


_typed = msgspec.json.Decoder[Any](_Typed)
_amounts = msgspec.json.Decoder[Any](_WithAmounts)
_newer = msgspec.json.Decoder[Any](_Newer)
_astuple = msgspec.structs.astuple

_POSITION = {name: position for position, name in enumerate(FIELDS)}
_COST, _EUR = _POSITION["cost"], _POSITION[COST_EUR]
_AMOUNTS_AT = tuple(_POSITION[name] for name in _AMOUNTS)


class Record(msgspec.Struct, frozen=True):
    """One answer, read with care: `row` in the order of `FIELDS`, and what has no place there."""

    row: Row
    unparsed: dict[str, str] = {}
    """Known field -> JSON text of a value that is neither text nor number."""
    extra: dict[str, str] = {}
    """Unknown field -> its value's JSON text."""


class Batch(msgspec.Struct, frozen=True):
    """Many answers, field by field: text, integer or None, where absent is None or ""."""

    columns: dict[str, Sequence[Known]]
    unparsed: dict[int, dict[str, str]]
    """As in `Record`, by the position of the answer; most answers have none."""
    extra: dict[int, dict[str, str]]


def read(bodies: Sequence[bytes], *, typed: bool = True) -> Batch:
    """The fields of many answers.  Without `typed` the quick way is left out: a test compares."""
    rows: list[Row] = []
    unparsed: dict[int, dict[str, str]] = {}
    extra: dict[int, dict[str, str]] = {}
    for position, body in enumerate(bodies):
        row = (_read_typed(body) or _read_amounts(body)) if typed else None
        if row is None:
            record = (_read_newer(body) if typed else None) or read_record(body)
            row = record.row
            if record.unparsed:
                unparsed[position] = record.unparsed
            if record.extra:
                extra[position] = record.extra
        rows.append(row)
    columns = zip(*rows, strict=True) if rows else [()] * len(FIELDS)
    return Batch(dict(zip(FIELDS, columns, strict=True)), unparsed, extra)


def read_record(body: bytes) -> Record:
    """The fields of one answer, whatever it holds.  Never raises for what a body may contain."""
    try:
        literals = data_of(body)
    except (ValueError, RecursionError):
        return Record((None,) * len(FIELDS), {"data": _data_text(body)})
    row: list[Known] = [None] * len(FIELDS)
    record = Record((), {}, {})
    for name, literal in literals.items():
        position = _POSITION.get(name)
        if position is None:
            record.extra[name] = literal
            continue
        try:
            row[position] = value_of(literal)
        except ValueError:
            record.unparsed[name] = literal
    return _settle_cost(Record(tuple(row), record.unparsed, record.extra), literals)


def as_text(value: Known) -> str | None:
    """A value of `Batch.columns` as text; None where it is absent."""
    return None if value is None or value == "" else str(value)


def readable(text: str) -> str:
    """A name or literal as text that UTF-8 can hold: the byte FF, which it can't, is "\\udcff"."""
    return text.encode("utf-8", "backslashreplace").decode()


def _read_typed(body: bytes) -> Row | None:
    try:
        row: Row = _astuple(_typed.decode(body).data)
    except REFUSED:
        return None
    # With both costs sent, one of them is extra, and that takes its literal.
    return None if row[_EUR] is not None and _has_two_costs(row) else row


def _read_amounts(body: bytes) -> Row | None:
    try:
        values = list(_astuple(_amounts.decode(body).data))
        for at in _AMOUNTS_AT:
            # An absent one is the default itself.
            values[at] = None if values[at] is _NULL else value_of(bytes(values[at]).decode())
    except (*REFUSED, ValueError):
        return None
    row = tuple(values)
    return None if _has_two_costs(row) else row


def _read_newer(body: bytes) -> Record | None:
    try:
        row: Row = _astuple(_newer.decode(body).data)
        raw = quick_data_of(body)
        unknown = raw.keys() - _POSITION.keys()
        # In the order in which they were sent.
        extra = {name: bytes(raw[name]).decode() for name in raw if name in unknown}
    except REFUSED:
        return None
    return None if _has_two_costs(row) else Record(row, {}, extra)


def _has_two_costs(row: Row) -> bool:
    return as_text(row[_EUR]) is not None and as_text(row[_COST]) is not None


def _settle_cost(record: Record, literals: dict[str, str]) -> Record:
    """`cost` wins over `costEur`, which then is a field that we don't know."""
    eur = record.row[_EUR]
    if (as_text(eur) is None and COST_EUR not in record.unparsed) or not (
        as_text(record.row[_COST]) is not None or "cost" in record.unparsed
    ):
        return record
    row = tuple(None if at == _EUR else value for at, value in enumerate(record.row))
    unparsed = {name: text for name, text in record.unparsed.items() if name != COST_EUR}
    return Record(row, unparsed, {**record.extra, COST_EUR: literals[COST_EUR]})


def _data_text(body: bytes) -> str:
    """What stands for an answer's `data` when no field can be told from another."""
    text = text_of(body)
    try:
        return members(text).get("data", text)
    except (ValueError, RecursionError):
        return text
