"""Lines of any form to clean ids: whole columns at once, the odd ones one by one.

Ten million lines are cleaned in two seconds because Arrow looks at them all with one expression;
Python sees only those that don't match it, and of lines that are the same only one.  Both must
agree on what an id is: they share the grammar, and what Arrow refuses is judged by `clean` and
`fault` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from harvester.inputs.bad_lines import BadIds
from harvester.inputs.discover import IdFile
from harvester.inputs.formats.blocks import Block, blocks
from harvester.inputs.voice_id import GRAMMAR, INVISIBLE, PLAIN, clean, fault, no_ids

# At most so many odd lines are Python objects at once: a block can hold millions of them.
_SLICE = 65_536
_PLAIN = rf"\A{PLAIN}\z"
_ID = rf"\A{GRAMMAR}\z"
# In bytes, as the columns are: the commonest of what `clean` trims.
_BLANK = "|".join(
    [
        r"[ \t\n\v\f\r]",
        *("".join(rf"\x{byte:02x}" for byte in char.encode()) for char in "\u00a0" + INVISIBLE),
    ]
)
_SPACE = rf"\A(?:{_BLANK})+|(?:{_BLANK})+\z"
_PASSED_OVER = re.compile(rf"[\s{INVISIBLE}]*(?:#|\Z)")
_QUOTES = rf"""\A(?:"({GRAMMAR})"|'({GRAMMAR})')\z"""


def read_text(file: IdFile, column: str, bad: BadIds) -> Iterator[pa.Array]:
    """The ids of a text file, one a line; blank lines and `#` comments are no lines of ids."""
    words = no_ids(column)
    for block in blocks(file):
        lines, number = split_lines(block), counted_from(block.first)
        yield from sift(lines, number, bad, words=words, comments=True)


def split_lines(block: Block) -> pa.Array:
    """The lines of a block as a binary column, without a copy of a line per Python object."""
    text = block.text.removesuffix(b"\n")
    offsets = pa.array([0, len(text)], pa.int32()).buffers()[1]
    whole = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(text)])
    return pc.split_pattern(whole, "\n").values


def sift(
    values: pa.Array,
    number: Callable[[int], int],
    bad: BadIds,
    *,
    words: str,
    comments: bool = False,
) -> Iterator[pa.Array]:
    """The clean ids among binary `values`, as string columns; the others go to `bad`.

    `number` tells the line of a position, `words` what is no id (`no_ids`).  With `comments`,
    blank lines and those that begin with `#` are passed over.
    """
    if comments and len(filled := pc.indices_nonzero(pc.binary_length(values))) < len(values):
        # A file may hold little else.
        values, number = values.take(filled), _at(filled, number)
    plain = pc.fill_null(pc.match_substring_regex(values, _PLAIN), fill_value=False)
    odd = pc.indices_nonzero(pc.invert(plain))
    if len(odd) == 0:
        yield values.cast(pa.string())
        return
    if len(odd) < len(values):
        yield values.filter(plain).cast(pa.string())
    judge = _Judge(words, comments=comments)
    for start in range(0, len(odd), _SLICE):
        yield judge.ids(values, odd.slice(start, _SLICE), number, bad)


def _at(rows: pa.Array, number: Callable[[int], int]) -> Callable[[int], int]:
    return lambda row: number(rows[row].as_py())


class _Judge:
    """Looks at what is no plain id; a file may have it on every line."""

    def __init__(self, words: str, *, comments: bool) -> None:
        self._words = words
        self._no_ids = rf"\A{words}\z"
        self._comments = comments

    def ids(
        self, values: pa.Array, rows: pa.Array, number: Callable[[int], int], bad: BadIds
    ) -> pa.Array:
        """The ids among `rows` of `values`; lines that are the same are looked at once."""
        lines = values.take(rows)
        kinds = lines.dictionary_encode(null_encoding="encode")
        ids, reasons = self._judge(kinds.dictionary)
        if reasons.null_count < len(reasons):
            bad.add_all(rows, reasons.take(kinds.indices), lines, number)
        return ids.take(kinds.indices).drop_null()

    def _judge(self, lines: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The id of each line, or the reason why it holds none; neither where it is passed over."""
        texts = pc.replace_substring_regex(lines, pattern=_SPACE, replacement="")
        texts = pc.replace_substring_regex(texts, pattern=_QUOTES, replacement=r"\1\2")
        good = pc.fill_null(pc.match_substring_regex(texts, _ID), fill_value=False)
        good = pc.and_not(good, pc.match_substring_regex(texts, self._no_ids))
        good = pc.fill_null(good, fill_value=False)
        rest = pc.invert(good)
        found = [self._judged(line) for line in lines.filter(rest).to_pylist()]
        saved = pa.array([one for one, _ in found], pa.string())
        faults = pa.array([reason for _, reason in found], pa.string())
        none = pa.nulls(len(lines), pa.string())
        ids = pc.if_else(good, texts, None).cast(pa.string())
        return pc.replace_with_mask(ids, rest, saved), pc.replace_with_mask(none, rest, faults)

    def _judged(self, line: bytes | None) -> tuple[str | None, str | None]:
        """The id of a line, or why it holds none; neither of a line that is passed over."""
        text = (line or b"").decode("utf-8", "surrogateescape")
        found = clean(text, self._words)
        if found is not None:
            return found, None  # trimmed of a space that only Unicode knows
        if self._comments and _PASSED_OVER.match(text):
            return None, None
        return None, fault(text, self._words)


def counted_from(first: int) -> Callable[[int], int]:
    """The line of a position, where the first has the number `first`."""
    return lambda row: first + row
