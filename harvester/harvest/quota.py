"""The budget of requests per day (`pace.per_day`), in days of the vendor's clock, +08:00.

Every request counts, retries included, and the count is stored with every acknowledgement, so
that several runs of a day share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harvester.errors import BudgetReached, HarvesterError

_VENDOR_OFFSET_S = 8 * 3600
_DAY_S = 86_400


class DayQuota:
    """Counts the requests of the day, and says when no more may be sent."""

    def __init__(
        self,
        per_day: int | None,
        stored: tuple[str, int],
        on_used_up: Callable[[HarvesterError], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`stored`: (day, requests) of the last acknowledgement; `now`: Unix time in seconds."""
        self._per_day = per_day
        self._on_used_up = on_used_up
        self._now = now
        self._begin_day()
        self._sent = stored[1] if stored[0] == _day_text(self._day_no) else 0

    def take(self) -> bool:
        """Count one request; False if the day's budget does not hold it."""
        if not self._day_from <= self._now() < self._day_to:
            self._begin_day()
            self._sent = 0
        if self._per_day is not None and self._sent >= self._per_day:
            self._on_used_up(
                BudgetReached(
                    f"pace.per_day = {self._per_day} requests are sent for "
                    f"{_day_text(self._day_no)} (+08:00). What is not done stays pending: run the "
                    "same command again tomorrow."
                )
            )
            return False
        self._sent += 1
        return True

    def stored(self) -> tuple[str, int]:
        """(day, requests) to be kept with the next acknowledgement."""
        return _day_text(self._day_no), self._sent

    def _begin_day(self) -> None:
        self._day_no = int(self._now() + _VENDOR_OFFSET_S) // _DAY_S
        self._day_from = self._day_no * _DAY_S - _VENDOR_OFFSET_S
        self._day_to = self._day_from + _DAY_S


def day_of(unix_s: float) -> str:
    """The vendor's day (+08:00) of an instant, as text."""
    return _day_text(int(unix_s + _VENDOR_OFFSET_S) // _DAY_S)


def _day_text(day_no: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(day_no * _DAY_S))
