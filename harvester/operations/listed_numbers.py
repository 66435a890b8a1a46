"""Phone numbers that somebody asks about: where they stand in rows and texts, and what hides them.

Theory of operation.  A number is its digits: a plus, a leading 00, spaces and the like are ways of
writing it.  It is found where these digits stand in a run of their own, not within a longer one,
so that no id and no amount is taken for it.  To find and to hide are one function: a text holds a
number exactly if hiding the numbers changes it.  So what an access request is told, and what an
erasure reaches, is the same.

A hidden number keeps its first two digits, of the country code in most cases, and how it was
written; each other digit becomes a `*`.  Every value that is no text stays, and so do dates, times
and amounts within texts, and the row's own voiceId.  JSON stays JSON, and what of it is changed is
a value that holds a number, nothing else.

Most rows of a data set hold none.  So a column is looked over as a whole first, by a coarse test
that passes over nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from harvester.dataset.kind import Personal, RecordKind
from harvester.errors import UsageError
from harvester.redact import AMOUNT, BETWEEN, LEAST_DIGITS, NO_NUMBER, WRITTEN, ascii_digits

_KEPT = 2
_MOST_DIGITS = 15
"""Of a phone number (ITU-T E.164)."""
_AT_ONCE = 200
"""Numbers of one pattern of the coarse test: one of thousands would not compile."""
_LONGEST = 40
"""Digits of a JSON number that are looked at."""
_NO_DIGITS = bytes(sorted({*range(256)} - {*b"0123456789"}))
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|(-?[0-9][0-9.eE+-]*)', re.DOTALL)


class HiddenRows(msgspec.Struct, frozen=True):
    """Rows in which the numbers are hidden."""

    rows: pa.Table
    changed: pa.Array
    """Of each row, whether it held one."""


def read_numbers(lines: Iterable[str]) -> tuple[str, ...]:
    """The numbers of a list, one a line, as digits; empty lines say nothing.

    Raises UsageError naming the line that is no number, never the number.
    """
    found: dict[str, None] = {}
    for at, line in enumerate(lines, 1):
        text = line.strip().lstrip("\ufeff")
        if not text:
            continue
        number = _digits(text)
        if not WRITTEN.fullmatch(text) or not LEAST_DIGITS <= len(number) <= _MOST_DIGITS:
            raise UsageError(
                f"line {at} of the numbers is no phone number: {LEAST_DIGITS} to {_MOST_DIGITS} "
                "digits, one number a line, with a leading + or 00 and with spaces, dots, dashes, "
                "slashes or parentheses between them if you like, and nothing else. Nothing was "
                "changed: correct it.",
                code="usage.numbers",
            )
        found[number] = None
    if not found:
        raise UsageError(
            "the list of numbers is empty: put one on each line.", code="usage.numbers"
        )
    return tuple(found)


class ListedNumbers:
    """Some numbers, looked for in the texts of records of one kind and what is kept of its ids."""

    def __init__(self, numbers: Sequence[str], kind: RecordKind) -> None:
        """`numbers`: as `read_numbers` gives them."""
        self._numbers = numbers
        self._listed = frozenset(numbers)
        self._key = kind.key
        self._whole = kind.names(Personal.NUMBER)
        self._jsons = kind.names(Personal.JSON)
        self._ours = kind.names(Personal.OURS)
        self._number_fields = frozenset(kind.number_fields)
        self._money_fields = frozenset(kind.money_fields)
        self._coarse = [
            "|".join(numbers[start : start + _AT_ONCE])
            for start in range(0, len(numbers), _AT_ONCE)
        ]

    def hidden_rows(self, rows: pa.Table) -> HiddenRows:
        """Records, whatever version their columns have."""
        changed = pa.repeat(pa.scalar(False), rows.num_rows)
        for at, name in enumerate(rows.schema.names):
            field = rows.schema.field(name)
            if name in self._ours or not pt.is_string(field.type):
                continue
            column = rows[name].combine_chunks()
            texts = self._hidden_in(name, column, rows[self._key])
            if texts:
                where = pa.array([row in texts for row in range(len(column))], pa.bool_())
                found = pa.array(list(texts.values()), pa.string())
                rows = rows.set_column(at, field, pc.replace_with_mask(column, where, found))
                changed = pc.or_(changed, where)
        return HiddenRows(rows, changed)

    def number(self, text: str) -> str:
        """What should be a number and nothing else."""
        if _digits(text) not in self._listed:
            return self.text(text)
        return _without_digits(text, "00" if text.lstrip().startswith("00") else "")

    def text(self, text: str, voice_id: str = "") -> str:
        """Text that may quote one; `voice_id` is the row's own, which stays."""
        digits = _digits_only(text)
        near = tuple(number for number in self._numbers if number in digits)
        if not near or text == voice_id:
            return text

        def hidden(found: re.Match[str]) -> str:
            return found[0] if found[1] else _without_digits(found[0], found[2] or "")

        return _pattern(near).sub(hidden, text)

    def json(self, text: str, voice_id: str = "") -> str:
        """A JSON document; what is none is taken for text."""
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return self.text(text, voice_id)
        field = ""

        def hidden(found: re.Match[str]) -> str:
            nonlocal field
            said, colon, literal = found.groups()
            if literal is not None:
                return self._literal(literal, field)
            value = json.loads(said)
            if colon is not None:
                field = value
                return _told(said, value, self.text(value, voice_id)) + colon
            return _told(said, value, self._string(value, voice_id, field))

        return _TOKEN.sub(hidden, text)

    def answer(self, body: bytes, voice_id: str) -> bytes:
        """The vendor's answer as it came."""
        if body.isascii() and b"\\u" not in body:  # as in `_may_hold`
            digits = body.translate(None, _NO_DIGITS).decode()
            if not any(number in digits for number in self._numbers):
                return body
        text = body.decode("utf-8", "surrogateescape")
        found = self.json(text, voice_id)
        return body if found == text else found.encode("utf-8", "surrogateescape")

    def _hidden_in(self, name: str, column: pa.Array, ids: pa.ChunkedArray) -> dict[int, str]:
        """Row -> its text without numbers, of those that hold one; in the order of rows."""
        found = {}
        for row in pc.indices_nonzero(self._may_hold(column)).to_pylist():
            text, voice_id = column[row].as_py(), ids[row].as_py()
            if name in self._whole:
                hidden = self.number(text)
            else:
                hidden = (self.json if name in self._jsons else self.text)(text, voice_id)
            if hidden != text:
                found[row] = hidden
        return found

    def _may_hold(self, column: pa.Array) -> pa.Array:
        # Digits of another script, and what JSON writes as an escape, are looked at one by one.
        found = pc.match_substring_regex(column, r"[^\x00-\x7f]|\\u")
        digits = pc.replace_substring_regex(column, "[^0-9]+", "")
        for pattern in self._coarse:
            found = pc.or_(found, pc.match_substring_regex(digits, pattern))
        return pc.fill_null(found, False)

    def _string(self, value: str, voice_id: str, field: str) -> str:
        if field in self._money_fields and AMOUNT.fullmatch(value):
            return value
        if field in self._number_fields:
            return self.number(value)
        return self.text(value, voice_id)

    def _literal(self, literal: str, field: str) -> str:
        digits = _whole(literal)
        is_amount = field in self._money_fields and AMOUNT.fullmatch(literal)
        if is_amount or digits not in self._listed:
            return literal
        return json.dumps(_without_digits(digits, ""))


def _digits(text: str) -> str:
    """The digits of a number, without a leading 00."""
    return _digits_only(text).removeprefix("00")


def _digits_only(text: str) -> str:
    return ascii_digits("".join(filter(str.isdecimal, text)))


def _without_digits(written: str, prefix: str) -> str:
    """A number as it was written, after `prefix`, with all but its first digits hidden."""
    kept = _KEPT + len(_digits_only(prefix))
    shown = ""
    for char in written:
        is_digit = char.isdecimal()
        shown += "*" if is_digit and not kept else char
        kept -= is_digit and kept > 0
    return shown


@lru_cache(maxsize=256)
def _pattern(numbers: tuple[str, ...]) -> re.Pattern[str]:
    """Of a date, or a 00, and one of `numbers` in a run of its own."""
    of_script = {str(digit): f"[{digit}{_others(digit)}]" for digit in range(10)}
    # The longest first: none may be found within another.
    ranked = sorted(numbers, key=len, reverse=True)
    runs = "|".join(BETWEEN.join(of_script[digit] for digit in number) for number in ranked)
    return re.compile(rf"({NO_NUMBER})|(?<!\d)(00{BETWEEN})?(?:{runs})(?!\d)")


@lru_cache(maxsize=10)
def _others(digit: int) -> str:
    """This digit in other scripts."""
    every = (chr(code) for code in range(0x80, 0x1E960))
    return "".join(one for one in every if one.isdecimal() and int(one) == digit)


def _whole(literal: str) -> str | None:
    """The digits of a JSON number without a fraction, however it is written."""
    try:
        number = Decimal(literal).copy_abs()
    except ArithmeticError:  # an exponent beyond all bounds
        return None
    if number.adjusted() > _LONGEST or number != number.to_integral_value():
        return None
    return f"{number:.0f}"


def _told(said: str, value: str, hidden: str) -> str:
    """A JSON text: as it was `said`, unless something is hidden in it."""
    return said if hidden == value else json.dumps(hidden)
