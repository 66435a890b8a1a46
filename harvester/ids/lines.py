"""Lines of any form to clean ids: whole columns at once, the odd ones one by one.

Ten million lines are cleaned in two seconds because Arrow looks at them all with one expression;
Python sees only those that don't match it.  Both must agree on what an id is: they share the
grammar, and what Arrow refuses is judged by `clean` and `fault` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from harvester.ids.bad_ids import BadIds
from harvester.ids.blocks import Block, blocks
from harvester.ids.clean import GRAMMAR, clean, fault
from harvester.ids.files import IdFile

# At most so many odd lines are Python objects at once: a block can hold millions of them.
_SLICE = 65_536
_ID = rf"\A{GRAMMAR}\z"
_SPACE = r"\A[ \t\n\v\f\r]+|[ \t\n\v\f\r]+\z"


def read_text(file: IdFile, _column: str, bad: BadIds) -> Iterator[pa.Array]:
    """The ids of a text file, one a line; blank lines and `#` comments are no lines of ids."""
    for block in blocks(file):
        yield from sift(split_lines(block), _counted_from(block.first), bad, comments=True)


def split_lines(block: Block) -> pa.Array:
    """The lines of a block as a binary column, without a copy of a line per Python object."""
    text = block.text.removesuffix(b"\n")
    offsets = pa.array([0, len(text)], pa.int32()).buffers()[1]
    whole = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(text)])
    return pc.split_pattern(whole, "\n").values


def sift(
    values: pa.Array, number: Callable[[int], int], bad: BadIds, *, comments: bool = False
) -> Iterator[pa.Array]:
    """The clean ids among binary `values`, as string columns; the others go to `bad`.

    `number` tells the line of a position.  With `comments`, blank lines and those that begin
    with `#` are passed over.
    """
    matches = pc.fill_null(pc.match_substring_regex(values, _ID), fill_value=False)
    odd = pc.indices_nonzero(pc.invert(matches))
    if len(odd) == 0:
        yield values.cast(pa.string())
        return
    if len(odd) < len(values):
        yield values.filter(matches).cast(pa.string())
    for start in range(0, len(odd), _SLICE):
        yield _odd(values, odd.slice(start, _SLICE), number, bad, comments=comments)


def _odd(
    values: pa.Array, rows: pa.Array, number: Callable[[int], int], bad: BadIds, *, comments: bool
) -> pa.Array:
    """Ids that only white space kept from matching; a file may have it on every line."""
    raw = values.take(rows)
    trimmed = pc.replace_substring_regex(raw, pattern=_SPACE, replacement="")
    matches = pc.fill_null(pc.match_substring_regex(trimmed, _ID), fill_value=False)
    rest = pc.invert(matches)
    saved: list[str] = []
    for row, line in zip(rows.filter(rest).to_pylist(), raw.filter(rest).to_pylist(), strict=True):
        found = _judged(line, number(row), bad, comments=comments)
        if found is not None:
            saved.append(found)
    ids = trimmed.filter(matches).cast(pa.string())
    return pa.concat_arrays([ids, pa.array(saved, pa.string())]) if saved else ids


def _judged(line: bytes | None, number: int, bad: BadIds, *, comments: bool) -> str | None:
    text = (line or b"").decode("utf-8", "surrogateescape")
    found = clean(text)
    if found is not None:
        return found  # trimmed of a space that only Unicode knows
    reason = fault(text)
    assert reason is not None
    if comments and (reason == "empty" or text.lstrip().startswith("#")):
        return None
    bad.add(number, reason, text)
    return None


def _counted_from(first: int) -> Callable[[int], int]:
    return lambda row: first + row
