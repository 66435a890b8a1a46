"""Days of the vendor's clock as seconds, and which of them are to be listed again.

A call may come late into the list: it may be redialled for up to six days, by the vendor's AI for
ten.  So a day is listed one, three and twelve days after it, by whoever calls `--due` each day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from harvester.pipeline.listing.windows import DAY_S, Window
from harvester.vendor_clock import CLOCK, OFFSET_S

KEPT_DAYS = 59
"""The vendor keeps two months: that many days at least."""
DUE_AFTER = (1, 3, 12)
"""Days after a day on which it is listed."""
REDIALLED_DAYS = 10
"""For so long a number may be redialled, and its call be listed by a time of the last try."""
_A_DAY = timedelta(days=1)
KEEP_REQUESTS = 100
"""After so many requests a listing keeps what they brought."""


class Done(msgspec.Struct, frozen=True):
    """A listing that is settled: its days, and when it began, in Unix seconds."""

    window: Window
    begun_s: float


def most_unrecorded(concurrency: int) -> int:
    """Requests that a killed listing may have sent after it last kept anything."""
    return 2 * KEEP_REQUESTS + 2 * concurrency


def of_days(first: date, last: date) -> Window:
    """The days from `first` to `last`, both included, on the vendor's clock."""
    return Window(_start_s(first), _start_s(last + _A_DAY))


def day_at(unix_s: float) -> date:
    """The vendor's day of an instant."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone(CLOCK).date()


def oldest(now_s: float) -> date:
    """The oldest day that the vendor still has, whole."""
    return day_at(now_s) - timedelta(days=KEPT_DAYS - 1)


def widened(days: Window, now_s: float, *, after_days: int = 1) -> Window:
    """The span to ask for where it is not certain that calls are listed by their submitTime.

    `after_days`: how much later they may be listed.
    """
    least_s = int(now_s) - KEPT_DAYS * DAY_S
    start_s = max(days.start_s - DAY_S, min(least_s, days.start_s))
    return Window(start_s, days.until_s + after_days * DAY_S)


def due(done: Sequence[Done], now_s: float) -> list[tuple[date, date]]:
    """The days that are to be listed by now, as stretches (first, last), oldest first.

    Back to the first day that was ever listed, and for as long as days are listed again at all.
    """
    today = day_at(now_s)
    first = min(
        [today - timedelta(days=DUE_AFTER[-1]), *(day_at(one.window.start_s) for one in done)]
    )
    day, found = max(first, oldest(now_s)), []
    while day < today:
        if _is_due(day, today, done):
            found.append(day)
        day += _A_DAY
    return stretches(found)


def to_list(done: Sequence[Done], first: date, last: date, now_s: float) -> list[tuple[date, date]]:
    """Of the days from `first` to `last`, those to ask the vendor for by now, as stretches.

    A day that is listed is not asked for again before it is due again, nor once the vendor does
    not have it any more.  The one that goes on always is; those to come are not.
    """
    today, least = day_at(now_s), oldest(now_s)
    day, found = first, []
    while day <= min(last, today):
        if day >= least:
            wanted = day == today or _is_due(day, today, done)
        else:
            wanted = not any(covers(one.window, day) for one in done)
        if wanted:
            found.append(day)
        day += _A_DAY
    return stretches(found)


def split(
    stretches: Iterable[tuple[date, date]], part_of: Callable[[date], object]
) -> list[tuple[date, date]]:
    """The same stretches, each cut between days that are of different parts."""
    found = []
    for first, last in stretches:
        begin = day = first
        while day < last:
            day += _A_DAY
            if part_of(day) != part_of(day - _A_DAY):
                found.append((begin, day - _A_DAY))
                begin = day
        found.append((begin, last))
    return found


def covers(window: Window, day: date) -> bool:
    """Whether a listing of `window` has all of `day`."""
    span = of_days(day, day)
    return window.start_s <= span.start_s and span.until_s <= window.until_s


def is_current(window: Window, asked_s: float, now_s: float) -> bool:
    """Whether what was said of a window need not be asked again: not long ago, and none of its days
    has become due since.
    """
    today = day_at(now_s)
    if (today - day_at(asked_s)).days >= DUE_AFTER[-1]:
        return False
    days = {day_at(window.start_s), day_at(window.until_s - 1)}
    return all(asked_s >= _due_since_s(day, today) for day in days)


def _is_due(day: date, today: date, done: Iterable[Done]) -> bool:
    since_s = _due_since_s(day, today)
    return not any(covers(one.window, day) and one.begun_s >= since_s for one in done)


def _due_since_s(day: date, today: date) -> int:
    """When a day was due last; as long as it goes on, when it began."""
    age = (today - day).days
    return _start_s(day + timedelta(days=max((one for one in DUE_AFTER if one <= age), default=0)))


def stretches(days: Iterable[date]) -> list[tuple[date, date]]:
    """Days in order as stretches (first, last)."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and found[-1][1] + _A_DAY == day:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _start_s(day: date) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(midnight.timestamp()) - OFFSET_S
