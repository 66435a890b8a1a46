"""Ratios and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A number that was measured several times."""

    least: float
    lower: float
    median: float
    upper: float
    most: float

    def __str__(self) -> str:
        """As it stands in the tables: the median, and in brackets least, quartiles, most."""
        return (
            f"{self.median:.2f} ({self.least:.2f} {self.lower:.2f} {self.upper:.2f} "
            f"{self.most:.2f})"
        )


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    if len(values) == 1:
        return Spread(*[values[0]] * 5)
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(min(values), lower, median, upper, max(values))


def worst_second(times: Sequence[float]) -> int:
    """The most of `times` (seconds, sorted) in any half-open second."""
    worst = start = 0
    for end, at in enumerate(times):
        while at - times[start] >= 1.0:
            start += 1
        worst = max(worst, end - start + 1)
    return worst
