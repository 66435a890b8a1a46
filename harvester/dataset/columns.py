"""A column of texts as a typed Arrow column, a batch at a time.

Theory of operation.  Arrow reads a column of money or times some twenty times as fast as Python,
but it takes texts that our rules refuse ("+1", ".5", "2022-01-18T14+08:00"), and one text that it
can't read fails the whole column.  So a pattern first picks the texts that Arrow is sure to read
as `literals` would; only those are cast.  What is left goes through `literals`, value by value,
and ends either in its place or among the failures.  The outcome is that of `literals` alone
(tests/unit/test_dataset_normalize.py holds the two against each other).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from harvester.answers import literals
from harvester.answers.times import EARLIEST_MS, EARLY_MS, LATE_MS, counts
from harvester.dataset.kind import MONEY, SECONDS, TEXT, TIME
from harvester.dataset.parse import Known
from harvester.vendor_clock import OFFSET_TEXT

_DATE = (
    r"(?:[12][0-9]{3}-(?:"
    r"(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)"
    r"|(?:0[13578]|1[02])-31))"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_HOURS = r"[+-](?:[01][0-9]|2[0-3])"
_MINUTES = r"[0-5][0-9]"
# Only the first three digits count, and Arrow takes no more (and no fewer than one).
_FRACTION = r"(?:(\.[0-9]{1,3})[0-9]*)?"
_EARLIEST = pa.scalar(EARLIEST_MS, pa.int64())
_MOMENT = f"^({_DATE}[T ]{_CLOCK}){_FRACTION}"


class Rule(msgspec.Struct, frozen=True):
    """How a kind of column is read: `plain` texts by Arrow's cast to `kind`, others by `scalar`."""

    kind: pa.DataType
    plain: str
    scalar: Callable[[str], object]
    """Gives the Python value that Arrow takes for `kind`, or raises ValueError."""
    rewrites: tuple[tuple[str, str], ...] = ()
    """Patterns of other spellings, and what makes plain texts of the same meaning out of them."""


def _ms_of(text: str) -> int:
    return literals.instant_of(text)[0]


MONEY_RULE = Rule(MONEY, f"^{literals.PLAIN_AMOUNT}$", literals.decimal_of)
SECONDS_RULE = Rule(SECONDS, r"^[0-9]{1,9}$", literals.seconds_of)
# 29 February is left to the scalar rule, which knows leap years.
TIME_RULE = Rule(
    TIME,
    f"^{_DATE}[T ]{_CLOCK}(?:\\.[0-9]{{1,3}})?{_HOURS}:{_MINUTES}$",
    _ms_of,
    # A vendor that changes its spelling does so in every record.
    rewrites=(
        (f"{_MOMENT}[Zz]$", r"\1\2+00:00"),
        (f"{_MOMENT}$", rf"\1\2{OFFSET_TEXT}"),
        (f"{_MOMENT}({_HOURS})$", r"\1\2\3:00"),
        (f"{_MOMENT}({_HOURS}):?({_MINUTES})$", r"\1\2\3:\4"),
    ),
)


class Typed(msgspec.Struct, frozen=True):
    """A typed column, and the positions of the texts that its rule refused (null there)."""

    array: pa.Array
    failed: list[int]


def texts(values: Sequence[Known]) -> pa.Array:
    """Values as one string column; None and "" are null."""
    array = _texts_at_once(values)
    if array is None:
        # Arrow makes no text of an integer; str() of an int is its JSON literal.
        array = pa.array([str(v) if type(v) is int else v for v in values], TEXT)
    empty = pc.equal(pc.binary_length(array), 0)
    if pc.any(empty).as_py():
        return pc.if_else(empty, pa.scalar(None, TEXT), array)
    return array


def _texts_at_once(values: Sequence[Known]) -> pa.Array | None:
    """All of them as Arrow makes them, texts or integers; None for a column that has both."""
    try:
        if values and type(values[0]) is int:
            return pa.array(values, pa.int64()).cast(TEXT)
        return pa.array(values, TEXT)
    except (pa.ArrowTypeError, pa.ArrowInvalid, OverflowError):
        return None


def seconds_at_once(values: Sequence[Known]) -> pa.Array | None:
    """Durations that came as numbers, typed without a detour through their texts.

    None for a column with anything else in it: a text, a number below 0 or beyond 2^31-1.
    """
    try:
        array = pa.array(values, SECONDS)
    except (pa.ArrowTypeError, pa.ArrowInvalid, OverflowError):
        return None
    least = pc.min(array).as_py()
    return array if least is None or least >= 0 else None


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
    if rule.rewrites and not by_value:
        rest = typed(_rewritten(column.take(pa.array(odd)), rule), replace(rule, rewrites=()))
        return Typed(_fill(array, odd, rest.array), [odd[at] for at in rest.failed])
    values = [_attempt(rule, column[position].as_py()) for position in odd]
    failed = [position for position, value in zip(odd, values, strict=True) if value is None]
    return Typed(_fill(array, odd, pa.array(values, rule.kind)), failed)


def beyond(times: pa.Array, fetched_ms: pa.Array, submit: pa.Array | None) -> list[int]:
    """The positions of times that do not count, by `answers.times.counts`.

    `fetched_ms` has no null; `submit` is None for the partition's time itself.
    """
    ms = times.cast(pa.int64())
    floor: pa.Array | pa.Scalar = _EARLIEST
    if submit is not None:
        floor = pc.max_element_wise(pc.subtract(submit.cast(pa.int64()), EARLY_MS), _EARLIEST)
    too_late = pc.greater(ms, pc.add(fetched_ms, LATE_MS))
    found: list[int] = pc.indices_nonzero(pc.or_(pc.less(ms, floor), too_late)).to_pylist()
    return found


def beyond_by_value(times: pa.Array, fetched_ms: pa.Array, submit: pa.Array | None) -> list[int]:
    """The same, each time by itself."""
    submits = [None] * len(times) if submit is None else submit.cast(pa.int64()).to_pylist()
    instants = zip(times.cast(pa.int64()).to_pylist(), fetched_ms.to_pylist(), submits, strict=True)
    return [
        at for at, (ms, *rest) in enumerate(instants) if ms is not None and not counts(ms, *rest)
    ]


def _rewritten(column: pa.Array, rule: Rule) -> pa.Array:
    for pattern, plain in rule.rewrites:
        column = pc.replace_substring_regex(column, pattern, plain)
    return column


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


_SECONDS_PART = r"^:[0-9]{2}([.,][0-9]+)?"


def offsets_min(column: pa.Array) -> pa.Array:
    """The offsets that times were sent with, in minutes; null where none was, or no time is."""
    # Only the text behind the time matters: few are distinct, and each is read by the same rule.
    tails = pc.replace_substring_regex(pc.utf8_slice_codeunits(column, 16), _SECONDS_PART, "")
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
