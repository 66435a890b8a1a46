"""A leaky bucket: aiolimiter's, by its public methods alone.

Only here is aiolimiter known; `pace` decides what is poured in, and when.
"""

from __future__ import annotations

from collections.abc import Awaitable

from aiolimiter import AsyncLimiter


class LeakyBucket:
    """Holds `capacity` turns, and leaks `leak_per_s`.  Lives on one event loop.

    For one task at a time: many that wait in aiolimiter cost dear.
    """

    def __init__(self, capacity: float, leak_per_s: float) -> None:
        """Empty."""
        self.capacity = capacity
        self._limiter = AsyncLimiter(capacity, capacity / leak_per_s)

    def has_room(self, turns: float) -> bool:
        """Whether so many turns can be poured in without waiting."""
        return self._limiter.has_capacity(turns)

    def pour(self, turns: float) -> Awaitable[None]:
        """Wait until there is room, and pour so many turns in; at most `capacity`."""
        return self._limiter.acquire(turns)
