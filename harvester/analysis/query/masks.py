"""Phone numbers, replaced by a keyed hash from which nobody without the key gets them back.

Theory of operation.  A mask is `tel_` and the first 80 bits, in hex, of HMAC-SHA256(key, digits).
Only the digits of a number count: a plus, spaces, dots, dashes, slashes and parentheses are ways of
writing it, so +49 151 1234567 and 491511234567 have one mask.  Zeros in front are digits like all
others: 00491511234567 has another mask, because what they mean depends on who dialled.  The same
number has the same mask in every column, export and night, as long as the key is the same.

Three kinds of columns hold numbers.  Those that are numbers are masked whole, whatever stands in
them.  Text that others wrote may quote one: every run of seven digits or more is taken for a
number, but for a date, a time and the row's own voiceId.  JSON is masked value by value, so that it
stays JSON; the vendor's own number fields whole, its amounts not at all.  What a column of another
type holds is no number.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import NoReturn

import pyarrow as pa
import pyarrow.types as pt

from harvester.dataset.schema import COST_EUR, MONEY_COLUMNS

MASK_PREFIX = "tel_"
MASK_BITS = 80
"""A billion numbers have two alike with a chance of one in two million."""

NUMBERS = frozenset({"callee", "display_num"})
"""Columns that hold a number and nothing else."""
JSONS = frozenset({"extra", "unparsed", "answer"})
OURS = frozenset({"voice_id", "account", "run_id"})
"""Text that the harvester wrote, or that rows are joined by."""

_NUMBER_FIELDS = frozenset({"callee", "displayNum"})
_MONEY_FIELDS = frozenset({*MONEY_COLUMNS, COST_EUR})
_MONEY = re.compile(r"-?[0-9]{1,6}(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?")

_BETWEEN = r"[\s().\-/\u2010-\u2015]{0,3}"
_DATE = r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
# What comes first wins: a date within a longer run of digits is part of that run.
_TEXT = re.compile(rf"((?<![0-9+]){_DATE}(?:[T ]{_TIME})?(?![0-9]))|\+?\(?\d(?:{_BETWEEN}\d){{6,}}")
_WRITTEN = re.compile(r"[\d\s()+.\-/\u2010-\u2015]*")
_MAY_HOLD = re.compile(rf'\d(?:{_BETWEEN}\d){{6}}|\\u|"(?:callee|displayNum)"')
_SHORTEST = 10**6
"""Seven digits: what is below is no phone number by itself."""
_LONGEST = 40
"""Digits of a JSON number that are looked at."""


class Masks:
    """One key's masks."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def number(self, text: str) -> str:
        """The mask of a phone number, or of whatever else stands in a number's place."""
        digits = "".join(filter(str.isdecimal, text))
        said = _ascii(digits) if digits and _WRITTEN.fullmatch(text) else text
        hashed = hmac.digest(self._key, said.encode("utf-8", "surrogatepass"), "sha256")
        return MASK_PREFIX + hashed[: MASK_BITS // 8].hex()

    def text(self, text: str, voice_id: str = "") -> str:
        """`text` with every number in it masked."""

        def masked(found: re.Match[str]) -> str:
            return found[0] if found[1] or found[0] == voice_id else self.number(found[0])

        return _TEXT.sub(masked, text)

    def json(self, text: str, voice_id: str = "") -> str:
        """JSON text with every number in it masked; what is no JSON is masked as text."""
        if not _MAY_HOLD.search(text):
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
        ids = batch["voice_id"]
        columns = [
            self._column(name, column, ids) if pt.is_string(column.type) else column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    def _column(self, name: str, column: pa.Array, ids: pa.Array) -> pa.Array:
        if name in OURS or column.null_count == len(column):
            return column
        if name in JSONS or name == "detail":
            mask = self.json if name in JSONS else self.text
            rows = zip(column.to_pylist(), ids.to_pylist(), strict=True)
            return pa.array([None if v is None else mask(v, own) for v, own in rows], pa.string())
        return _each(column, self.number if name in NUMBERS else self.text)

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
        if field in _NUMBER_FIELDS:
            return _quoted(self.number(value)) if value else plain
        if value == voice_id or (field in _MONEY_FIELDS and _MONEY.fullmatch(value)):
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
    if number != number.to_integral_value() or number < _SHORTEST:
        return None
    return f"{number:.0f}"


def _ascii(digits: str) -> str:
    """Digits of any script as 0 to 9."""
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    # Half a character can stand in JSON as an escape, but in no text.
    return json.dumps(text) if any("\ud800" <= one <= "\udfff" for one in quoted) else quoted


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
