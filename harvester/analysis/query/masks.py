"""Phone numbers, replaced by a keyed hash from which nobody without the key gets them back.

Theory of operation.  `redact.NumberHashes` says what a mask is; the same number has the same one in
every column, export and night, as long as the key is the same.

Three kinds of columns hold numbers.  Those that are numbers are masked whole, whatever stands in
them.  Text that others wrote may quote one: every run of seven digits or more is taken for a
number, but for a date, a time and the row's own voiceId.  JSON is masked value by value, so that it
stays JSON; the vendor's own number fields whole, its amounts not at all.  What a column of another
type holds is no number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import NoReturn

import pyarrow as pa
import pyarrow.types as pt

from harvester.dataset.kind import Personal, RecordKind
from harvester.redact import AMOUNT, LEAST_NUMBER, NUMBER_WITHIN, NumberHashes

_STATE_KEY = "voice_id"
"""What the id is called in the tables that are no kind's own: dead letters and open calls."""
_STATE_JSONS = frozenset({"answer"})
_STATE_TEXTS = frozenset({"detail"})
"""Of them, what may quote a number: JSON, and text that may name the row's own id."""

_LONGEST = 40
"""Digits of a JSON number that are looked at."""


class Masks(NumberHashes):
    """One key's masks, for tables of one kind and for what is kept of its ids."""

    def __init__(self, key: str, kind: RecordKind) -> None:
        super().__init__(key)
        self._id = kind.key
        self._numbers = kind.names(Personal.NUMBER)
        self._jsons = kind.names(Personal.JSON) | _STATE_JSONS
        self._ours = kind.names(Personal.OURS) | {_STATE_KEY}
        self._number_fields = frozenset(kind.number_fields)
        self._money_fields = frozenset(kind.money_fields)
        names = "".join(f'|"{re.escape(name)}"' for name in kind.number_fields)
        self._may_hold = re.compile(rf"{NUMBER_WITHIN}|\\u{names}")

    def json(self, text: str, voice_id: str = "") -> str:
        """JSON text with every number in it masked; what is no JSON is masked as text."""
        if not self._may_hold.search(text):
            return text
        try:
            document = json.loads(
                text,
                object_pairs_hook=_Pairs,
                parse_int=_Literal,
                parse_float=_Literal,
                parse_constant=_refuse,
            )
            return self._written(document, voice_id)
        except (ValueError, RecursionError):
            return self.text(text, voice_id)

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A portion of an export, masked; its columns and types stay."""
        ids = batch[self._id if self._id in batch.schema.names else _STATE_KEY]
        columns = [
            self._column(name, column, ids) if pt.is_string(column.type) else column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    def _column(self, name: str, column: pa.Array, ids: pa.Array) -> pa.Array:
        if name in self._ours or column.null_count == len(column):
            return column
        if name in self._jsons or name in _STATE_TEXTS:
            mask = self.json if name in self._jsons else self.text
            rows = zip(column.to_pylist(), ids.to_pylist(), strict=True)
            return pa.array([None if v is None else mask(v, own) for v, own in rows], pa.string())
        return _each(column, self.number if name in self._numbers else self.text)

    def _written(self, value: object, voice_id: str, field: str = "") -> str:
        """A value as JSON text.  Literals are copied: no digit of an amount may be lost."""
        match value:
            case _Pairs():
                told = (
                    f"{_quoted(self.text(name, voice_id))}:{self._written(one, voice_id, name)}"
                    for name, one in value
                )
                return f"{{{','.join(told)}}}"
            case _Literal() | str():
                return self._scalar(value, voice_id, field)
            case list():
                return f"[{','.join(self._written(one, voice_id, field) for one in value)}]"
            case _:
                return json.dumps(value)

    def _scalar(self, value: str, voice_id: str, field: str) -> str:
        plain = value if isinstance(value, _Literal) else _quoted(value)
        if field in self._number_fields:
            return _quoted(self.number(value)) if value else plain
        if value == voice_id or (field in self._money_fields and AMOUNT.fullmatch(value)):
            return plain
        if isinstance(value, _Literal):
            digits = _whole(value)
            return plain if digits is None else _quoted(self.number(digits))
        return _quoted(self.text(value, voice_id))


class _Literal(str):
    """A JSON number as it is written."""

    __slots__ = ()


class _Pairs(list[tuple[str, object]]):
    """A JSON object, the same name twice included."""


def _each(column: pa.Array, mask: Callable[[str], str]) -> pa.Array:
    """`mask` of every value of a column; each distinct one is reckoned once."""
    found = column.dictionary_encode()
    distinct = pa.array(
        [None if one is None else mask(one) for one in found.dictionary.to_pylist()], pa.string()
    )
    return distinct.take(found.indices)


def _whole(literal: str) -> str | None:
    """The digits of a JSON number that may be a phone number, however it is written."""
    try:
        number = Decimal(literal).copy_abs()
    except ArithmeticError:  # an exponent beyond all bounds
        return literal
    if number.adjusted() > _LONGEST:
        return literal
    if number != number.to_integral_value() or number < LEAST_NUMBER:
        return None
    return f"{number:.0f}"


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    # Half a character can stand in JSON as an escape, but in no text.
    return json.dumps(text) if any("\ud800" <= one <= "\udfff" for one in quoted) else quoted


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
