"""Which time to list for the ids of a work list."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from harvester.pipeline.listing import days as days_of
from harvester.pipeline.listing.windows import Window

_A_DAY = timedelta(days=1)


def of_bounds(first: date, last: date, now_s: float, *, is_by_submit: bool) -> list[Window]:
    """The days from `first` to `last`, as far as they have begun."""
    return _asked([(first, last)], now_s, is_by_submit=is_by_submit)


def of_days(days: Iterable[date], now_s: float, *, is_by_submit: bool) -> list[Window]:
    """A day more on either side of each: digits are a guess.  What the vendor does not keep any
    more is left out.
    """
    oldest, today = days_of.oldest(now_s), days_of.day_at(now_s)
    around = {one + step for one in days for step in (-_A_DAY, timedelta(0), _A_DAY)}
    kept = sorted(one for one in around if oldest <= one <= today)
    return _asked(days_of.stretches(kept), now_s, is_by_submit=is_by_submit)


def _asked(
    stretches: Iterable[tuple[date, date]], now_s: float, *, is_by_submit: bool
) -> list[Window]:
    """The spans to ask for, none of them twice: wider where calls may be listed by another time."""
    found: list[Window] = []
    for stretch in stretches:
        days = days_of.of_days(*stretch)
        span = days if is_by_submit else days_of.widened(days, now_s)
        start_s, until_s = span.start_s, min(span.until_s, int(now_s))
        if found and start_s <= found[-1].until_s:
            start_s = found.pop().start_s
        if start_s < until_s:
            found.append(Window(start_s, until_s))
    return found
