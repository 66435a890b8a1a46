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
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

from harvester.answers.opening import REFUSED, data_of, members, quick_data_of, text_of, value_of
from harvester.dataset.kind import RecordKind

Known = str | int | None
Row = tuple[Known, ...]

_NULL = Raw(b"null")
_astuple = msgspec.structs.astuple


class Record(msgspec.Struct, frozen=True):
    """One answer, read with care: `row` in the order of `RecordKind.fields`, and the rest."""

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


class Reader:
    """Reads the answers of one kind.  One serves all batches: see `reader_of`."""

    def __init__(self, kind: RecordKind) -> None:
        fields, amounts = kind.fields, frozenset(kind.money_fields)
        known = [(name, Known, None) for name in fields]
        literal = [
            (name, Raw, _NULL) if name in amounts else (name, Known, None) for name in fields
        ]
        self._typed = _decode(known, forbid_unknown_fields=True)
        self._amounts = _decode(literal, forbid_unknown_fields=True)
        self._newer = _decode(known, forbid_unknown_fields=False)
        self._fields = fields
        self._position = {name: position for position, name in enumerate(fields)}
        self._amounts_at = tuple(self._position[name] for name in kind.money_fields)
        self._cost_field = kind.field_of(kind.usage.cost)
        self._cost = self._position[self._cost_field]
        self._other_field = kind.usage.other_cost
        self._other = None if self._other_field is None else self._position[self._other_field]

    def read(self, bodies: Sequence[bytes], *, typed: bool = True) -> Batch:
        """The fields of many answers.  Without `typed` the quick way is left out."""
        rows: list[Row] = []
        unparsed: dict[int, dict[str, str]] = {}
        extra: dict[int, dict[str, str]] = {}
        decode, other = self._typed, self._other
        row: Row | None
        for position, body in enumerate(bodies):
            # The first way stands here: a call of its own would cost a tenth of it.
            try:
                row = _astuple(decode(body).data) if typed else None
            except REFUSED:
                row = None
            # With both costs sent, one of them is extra, and that takes its literal.
            if row and other is not None and row[other] is not None and self._has_two_costs(row):
                row = None
            if row is None and typed:
                row = self._read_amounts(body)
            if row is None:
                row = self._read_odd(body, position, unparsed, extra, typed=typed)
            rows.append(row)
        columns = zip(*rows, strict=True) if rows else [()] * len(self._fields)
        return Batch(dict(zip(self._fields, columns, strict=True)), unparsed, extra)

    def read_record(self, body: bytes) -> Record:
        """The fields of one answer, whatever it holds.  Never raises for what it may contain."""
        try:
            literals = data_of(body)
        except (ValueError, RecursionError):
            return Record((None,) * len(self._fields), {"data": _data_text(body)})
        row: list[Known] = [None] * len(self._fields)
        record = Record((), {}, {})
        for name, literal in literals.items():
            position = self._position.get(name)
            if position is None:
                record.extra[name] = literal
                continue
            try:
                row[position] = value_of(literal)
            except ValueError:
                record.unparsed[name] = literal
        return self._settle_cost(Record(tuple(row), record.unparsed, record.extra), literals)

    def _read_odd(
        self,
        body: bytes,
        position: int,
        unparsed: dict[int, dict[str, str]],
        extra: dict[int, dict[str, str]],
        *,
        typed: bool,
    ) -> Row:
        """The slower ways; what has no place in a row goes into `unparsed` and `extra`."""
        record = (self._read_newer(body) if typed else None) or self.read_record(body)
        if record.unparsed:
            unparsed[position] = record.unparsed
        if record.extra:
            extra[position] = record.extra
        return record.row

    def _read_amounts(self, body: bytes) -> Row | None:
        try:
            values = list(_astuple(self._amounts(body).data))
            for at in self._amounts_at:
                # An absent one is the default itself.
                values[at] = None if values[at] is _NULL else value_of(bytes(values[at]).decode())
        except (*REFUSED, ValueError):
            return None
        row = tuple(values)
        return None if self._has_two_costs(row) else row

    def _read_newer(self, body: bytes) -> Record | None:
        try:
            row: Row = _astuple(self._newer(body).data)
            raw = quick_data_of(body)
            unknown = raw.keys() - self._position.keys()
            # In the order in which they were sent.
            extra = {name: bytes(raw[name]).decode() for name in raw if name in unknown}
        except REFUSED:
            return None
        return None if self._has_two_costs(row) else Record(row, {}, extra)

    def _has_two_costs(self, row: Row) -> bool:
        if self._other is None:
            return False
        return as_text(row[self._other]) is not None and as_text(row[self._cost]) is not None

    def _settle_cost(self, record: Record, literals: dict[str, str]) -> Record:
        """The cost wins over the field that stands for it, which then is one that we don't know."""
        at, name = self._other, self._other_field
        if at is None or name is None:
            return record
        if (as_text(record.row[at]) is None and name not in record.unparsed) or not (
            as_text(record.row[self._cost]) is not None or self._cost_field in record.unparsed
        ):
            return record
        row = (*record.row[:at], None, *record.row[at + 1 :])
        unparsed = {other: text for other, text in record.unparsed.items() if other != name}
        return Record(row, unparsed, {**record.extra, name: literals[name]})


@lru_cache(maxsize=16)  # its decoders take a while to make
def reader_of(kind: RecordKind) -> Reader:
    """The reader of a kind."""
    return Reader(kind)


def as_text(value: Known) -> str | None:
    """A value of `Batch.columns` as text; None where it is absent."""
    return None if value is None or value == "" else str(value)


def readable(text: str) -> str:
    """A name or literal as text that UTF-8 can hold: the byte FF, which it can't, is "\\udcff"."""
    return text.encode("utf-8", "backslashreplace").decode()


def _decode(fields: list[Any], *, forbid_unknown_fields: bool) -> Any:  # noqa: ANN401 - made here
    """Decodes an answer whose `data` has these fields."""
    data = msgspec.defstruct(
        "_Fields", fields, forbid_unknown_fields=forbid_unknown_fields, gc=False
    )
    answer = msgspec.defstruct("_Answer", [("data", data)], gc=False)
    return msgspec.json.Decoder[Any](answer).decode


def _data_text(body: bytes) -> str:
    """What stands for an answer's `data` when no field can be told from another."""
    text = text_of(body)
    try:
        return members(text).get("data", text)
    except (ValueError, RecursionError):
        return text
