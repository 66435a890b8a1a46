"""Progress of a chunk: one bit a row, set once the row's outcome is committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def empty(rows: int) -> bytes:
    """A bitmap of `rows` zero bits."""
    return bytes((rows + 7) // 8)


def with_rows(bits: bytes, rows: Iterable[int]) -> bytes:
    """`bits` with `rows` set.  Raises ValueError if one of them is set already.

    A bit that is set twice is an id that was settled twice: the one thing that may not happen.
    """
    changed = bytearray(bits)
    for row in rows:
        mask = 1 << (row & 7)
        if changed[row >> 3] & mask:
            raise ValueError(f"row {row} is resolved already")
        changed[row >> 3] |= mask
    return bytes(changed)


def count(bits: bytes, rows: int | None = None) -> int:
    """How many bits are set; with `rows`, of the first so many."""
    found = int.from_bytes(bits, "little")
    return (found if rows is None else found & ((1 << rows) - 1)).bit_count()


def unset(bits: bytes, rows: int) -> Iterator[int]:
    """The rows below `rows` whose bit isn't set, in order."""
    for row in range(rows):
        if not bits[row >> 3] & (1 << (row & 7)):
            yield row


def is_set(bits: bytes, row: int) -> bool:
    """Whether the bit of `row` is set."""
    return bool(bits[row >> 3] & (1 << (row & 7)))
