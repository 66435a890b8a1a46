"""Chance that repeats itself: the same seed, text and purpose always fall the same way.

Nothing here keeps state between calls, so an id gets the same call and the same faults whatever
the order of the requests, and a million ids cost no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

# Below this the pool has too few bits left for a fair roll of up to 10^12 sides.
_LOW = 1 << 64


class Dice:
    """A run of draws, fixed by `seed`, `text` and `purpose` (at most 16 bytes)."""

    __slots__ = ("_pool",)

    def __init__(self, seed: int, text: str, purpose: bytes) -> None:
        key = str(seed).encode()
        digest = blake2b(text.encode(), key=key, person=purpose).digest()
        self._pool = int.from_bytes(digest, "big")

    def roll(self, sides: int) -> int:
        """A whole number from 0 to `sides` - 1."""
        if self._pool < _LOW:
            spent = self._pool.to_bytes(8, "big")
            self._pool = int.from_bytes(blake2b(spent).digest(), "big")
        self._pool, face = divmod(self._pool, sides)
        return face

    def share(self) -> float:
        """A number from 0 up to, not including, 1; fine enough for odds of one in a million."""
        return self.roll(1 << 32) / (1 << 32)

    def chance(self, odds: float) -> bool:
        """True with probability `odds`."""
        return self.share() < odds

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`, all equally likely."""
        return choices[self.roll(len(choices))]
