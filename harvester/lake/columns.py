"""A column of texts as a typed Arrow column, a batch at a time.

Theory of operation.  Arrow reads a column of money or times some twenty times as fast as Python,
but it takes texts that our rules refuse ("+1", ".5", "2022-01-18T14+08:00"), and one text that it
can't read fails the whole column.  So a pattern first picks the texts that Arrow is sure to read
as `literals` would; only those are cast.  What is left goes through `literals`, value by value,
and ends either in its place or among the failures.  The outcome is that of `literals` alone
(tests/unit/test_lake_normalize.py holds the two against each other).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from harvester.lake import literals
from harvester.lake.reading import Known, as_text
from harvester.lake.schema import MONEY, SECONDS, TEXT, TIME

_DATE = (
    r"(?:[12][0-9]{3}-(?:"
    r"(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)"
    r"|(?:0[13578]|1[02])-31))"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_OFFSET = r"[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a kind of column is read: `plain` texts by Arrow's cast to `kind`, others by `scalar`."""

    kind: pa.DataType
    plain: str
    scalar: Callable[[str], object]
    """Gives the Python value that Arrow takes for `kind`, or raises ValueError."""


def _ms_of(text: str) -> int:
    return literals.instant_of(text)[0]


MONEY_RULE = Rule(MONEY, r"^-?[0-9]{1,10}(?:\.[0-9]{1,8})?$", literals.decimal_of)
SECONDS_RULE = Rule(SECONDS, r"^[0-9]{1,9}$", literals.seconds_of)
# 29 February is left to the scalar rule, which knows leap years.
TIME_RULE = Rule(TIME, f"^{_DATE}[T ]{_CLOCK}(?:\\.[0-9]{{1,3}})?{_OFFSET}$", _ms_of)


@dataclass(frozen=True, slots=True)
class Typed:
    """A typed column, and the positions of the texts that its rule refused (null there)."""

    array: pa.Array
    failed: list[int]


def texts(values: Sequence[Known]) -> pa.Array:
    """Values as one string column; None and "" are null."""
    try:
        # A column that begins with a number is not worth a try.
        array = None if values and type(values[0]) is int else pa.array(values, TEXT)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        array = None
    if array is None:
        # Arrow makes no text of an integer; str() of an int is its JSON literal.
        array = pa.array([as_text(value) for value in values], TEXT)
    empty = pc.equal(pc.binary_length(array), 0)
    if pc.any(empty).as_py():
        return pc.if_else(empty, pa.scalar(None, TEXT), array)
    return array


def typed(column: pa.Array, rule: Rule, *, by_value: bool = False) -> Typed:
    """A column of texts by `rule`.  With `by_value` every one takes the scalar way."""
    if by_value:
        plain = pa.array([False] * len(column))
    else:
        plain = pc.fill_null(pc.match_substring_regex(column, rule.plain), False)
    odd = pc.indices_nonzero(pc.and_not(pc.is_valid(column), plain)).to_pylist()
    if not odd:
        return Typed(column.cast(rule.kind), [])
    array = pc.if_else(plain, column, pa.scalar(None, TEXT)).cast(rule.kind)
    values = [_attempt(rule, column[position].as_py()) for position in odd]
    failed = [position for position, value in zip(odd, values, strict=True) if value is None]
    return Typed(_fill(array, odd, pa.array(values, rule.kind)), failed)


def each_distinct(
    column: pa.Array, kinds: Sequence[pa.DataType], split: Callable[[str], Sequence[object]]
) -> list[pa.Array]:
    """What `split` makes of each text, one column for each of `kinds`.

    It is called once for each distinct text, for columns where few are distinct; where it raises
    ValueError, all columns are null.
    """
    encoded = column.dictionary_encode()
    parts = [_attempt_split(split, text, len(kinds)) for text in encoded.dictionary.to_pylist()]
    return [
        pa.array([part[at] for part in parts], kind).take(encoded.indices)
        for at, kind in enumerate(kinds)
    ]


def offsets_min(column: pa.Array) -> pa.Array:
    """The offsets that times were sent with, in minutes; null where none was, or no time is."""
    # Only the text after the seconds matters: few are distinct, and each is read by the same rule.
    tails = pc.utf8_slice_codeunits(column, 19)
    return each_distinct(tails, [pa.int16()], lambda tail: (_offset_of(tail),))[0]


def _offset_of(tail: str) -> int | None:
    return literals.instant_of(f"2000-01-01T00:00:00{tail}")[1]


def _attempt(rule: Rule, text: str) -> Any:  # noqa: ANN401 - what Arrow takes for the rule's kind
    try:
        return rule.scalar(text)
    except ValueError:
        return None


def _attempt_split(
    split: Callable[[str], Sequence[object]], text: str, width: int
) -> Sequence[object]:
    try:
        return split(text)
    except ValueError:
        return (None,) * width


def _fill(array: pa.Array, positions: list[int], values: pa.Array) -> pa.Array:
    """`array` with `values` put at `positions`."""
    mask = [False] * len(array)
    for position in positions:
        mask[position] = True
    return pc.replace_with_mask(array, pa.array(mask), values)
