"""The vendor's side of the rate limit: what really arrived, in every sliding second.

A second is half open: of two requests exactly 1 s apart only one is in it.  Every second that
holds the most requests ends at a request, so looking back from each arrival misses none.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 1.0


class SlidingSecond:
    """Counts arrivals; times are seconds of a monotonic clock and never go back."""

    def __init__(self, limit: float | None) -> None:
        """`limit` is in requests a second; None counts without judging."""
        self.limit = limit
        self.total = 0
        self.worst = 0
        self.over = 0
        self.first_at: float | None = None
        self.last_at: float | None = None
        self._recent: deque[float] = deque()

    def arrive(self, at: float) -> bool:
        """Count a request; whether it is within the limit."""
        recent = self._recent
        while recent and recent[0] <= at - WINDOW_S:
            recent.popleft()
        recent.append(at)
        self.total += 1
        self.worst = max(self.worst, len(recent))
        self.first_at = at if self.first_at is None else self.first_at
        self.last_at = at
        within = self.limit is None or len(recent) <= self.limit
        self.over += not within
        return within

    def next_free_s(self, at: float) -> float:
        """Seconds from `at` until the window has room again."""
        if self.limit is None or len(self._recent) < self.limit:
            return 0.0
        oldest_that_counts = self._recent[-max(1, int(self.limit))]
        return max(0.0, oldest_that_counts + WINDOW_S - at)
