"""The days that a question is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

_PARTITION = "submit_date="


@dataclass(frozen=True, slots=True)
class Period:
    """From `first` to `last`, both included; None: no bound on that side."""

    first: date | None = None
    last: date | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether any day is left out."""
        return self.first is not None or self.last is not None

    def covers(self, day: date | None) -> bool:
        """Whether `day` is within; a call without a date is in no bounded period."""
        if day is None:
            return not self.is_bounded
        after = self.first is None or self.first <= day
        return after and (self.last is None or day <= self.last)

    def widened(self, days: int) -> Period:
        """This period and so many days more on each side that has a bound."""
        more = timedelta(days)
        return Period(self.first and self.first - more, self.last and self.last + more)

    def covers_instant(self, at: datetime, zone: tzinfo) -> bool:
        """Whether the day of an instant in `zone` is within."""
        return self.covers(at.astimezone(zone).date())


def day_of(part: str) -> date | None:
    """The day of a part, from its path below cdr/; None for calls without a submit time."""
    name = part.partition("/")[0].removeprefix(_PARTITION)
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None
