"""How soon the rate is back after a mood, from the times of requests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

WINDOW_S = 3.0
SHARE = 0.95


def recovery_s(times: Sequence[float], ended_at: float, limit_per_s: float) -> float | None:
    """Seconds from `ended_at` to the first 3 s that hold 95 % of the limit; None if none do.

    `times` are the moments of all requests in seconds, sorted; a window begins at one of them.
    """
    needed = round(SHARE * WINDOW_S * limit_per_s)
    for first in range(bisect_left(times, ended_at), len(times) - needed + 1):
        if times[first + needed - 1] < times[first] + WINDOW_S:
            return times[first] - ended_at
    return None


def rate_per_s(times: Sequence[float], begin: float, end: float) -> float:
    """Requests a second between two moments."""
    return (bisect_left(times, end) - bisect_left(times, begin)) / (end - begin)
