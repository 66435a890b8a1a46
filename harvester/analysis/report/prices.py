"""When a destination's price changed: one price ended, and another began.

Theory of operation.  A destination may have several prices at once (fixed and mobile numbers under
one name), and which of them most calls of a day had says more of the calls than of the prices.  So
each price is followed by itself.  It lasts from the hour before which a twentieth of its calls lie
to the hour after which another twentieth does: a few calls that were rated late, or early, move
neither.  A price that begins when another has ended takes the place of that one; of several, of the
nearest.  A price with fewer than `RATED` calls is too thin to say anything of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

RATED = 20
"""Rated calls that each of the two prices must have."""


@dataclass(frozen=True, slots=True)
class Span:
    """How long a price of a destination lasted."""

    destination: str
    currency: str
    rate: Decimal
    calls: int
    begins: int
    """Hours since 1970."""
    first_day: str
    ends: int
    last_day: str


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A price took the place of another."""

    destination: str
    currency: str
    day_before: str
    """The last day of the price before."""
    day: str
    """The first day of the price after."""
    before: Decimal
    after: Decimal
    calls: int
    """Calls at the price after."""
    calls_before: int


def changes_of(spans: Iterable[Span]) -> Iterator[PriceChange]:
    """The changes, destination by destination; `spans` are sorted by destination and currency."""
    for _, found in groupby(spans, key=lambda one: (one.destination, one.currency)):
        yield from _changes(sorted(found, key=lambda one: (one.begins, one.rate)))


def _changes(spans: Iterable[Span]) -> Iterator[PriceChange]:
    standing: list[Span] = []
    for after in spans:
        ended = [one for one in standing if _has_ended(one, after)]
        if ended:
            before = min(ended, key=lambda one: (abs(one.rate - after.rate), -one.ends))
            standing.remove(before)
            yield _change(before, after)
        standing.append(after)


def _has_ended(before: Span, after: Span) -> bool:
    """Whether one price was over when the other began, and did not go on beside it."""
    is_over = before.ends <= after.begins
    return is_over and before.begins < after.begins and before.ends < after.ends


def _change(before: Span, after: Span) -> PriceChange:
    return PriceChange(
        destination=after.destination,
        currency=after.currency,
        day_before=before.last_day,
        day=after.first_day,
        before=before.rate,
        after=after.rate,
        calls=after.calls,
        calls_before=before.calls,
    )
