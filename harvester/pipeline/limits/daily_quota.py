"""The budget of requests per day (`pace.per_day`), in days of the vendor's clock, +08:00.

Theory of operation.  Every request counts, retries included, and the counts of the last days are
stored with every acknowledgement, so that several runs of a day share it, and a clock that steps
back into a day finds what was sent in it.  Until the vendor's day is learnt (from the first answer,
to a request that goes alone) the day is a guess: what was counted so far counts for the day that an
answer shows as well.  A count may be too high after a wrong guess, never too low.

Other processes send what they were granted (`grant`).  That counts as sent until they report, and
for ever if they never do.  The last of the day are granted to nobody: who sends them needs no
report, and so comes to the very last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from harvester.errors import BudgetReached, HarvesterError
from harvester.vendor_clock import OFFSET_S, OFFSET_TEXT

_DAY_S = 86_400


class Clock(Protocol):
    """The vendor's time; see `VendorClock`."""

    @property
    def is_learnt(self) -> bool:
        """Whether the vendor's answers have shown it."""
        ...

    @property
    def is_doubtful(self) -> bool:
        """Whether an answer has shown another one, and others are to confirm it."""
        ...

    def stated(self) -> float:
        """The time, in Unix seconds, by the best that is known."""
        ...


class DayQuota:
    """Counts the requests of the day, and says when no more may be sent."""

    def __init__(
        self,
        per_day: int | None,
        counts: Mapping[str, int],
        on_used_up: Callable[[HarvesterError], None],
        clock: Clock,
        *,
        alone: int = 0,
    ) -> None:
        """`counts`: day to requests, as stored.  `alone`: so many are granted to nobody."""
        self._per_day = per_day
        self._counts = dict(counts)
        self._on_used_up = on_used_up
        self._clock = clock
        self._alone = alone
        self._granted = 0
        self._guessed = 0
        self._day = ""
        self._sent = 0
        self._turn()

    def take(self) -> bool:
        """Count one request; False if the day's budget does not hold it."""
        if not self._day_from <= self._clock.stated() < self._day_to:
            self._turn()
        if self._per_day is not None and self._sent + self._granted >= self._per_day:
            self._on_used_up(
                BudgetReached(
                    f"pace.per_day = {self._per_day} requests are sent or counted for {self._day} "
                    f"({OFFSET_TEXT}). What is not done stays pending: run the same command again "
                    "tomorrow.",
                    code="limit.per_day",
                )
            )
            return False
        self._sent += 1
        if self._is_guess:
            self._guessed += 1
        return True

    def left(self) -> int | None:
        """Requests that may still be sent today; None: any number."""
        if self._per_day is None:
            return None
        if not self._day_from <= self._clock.stated() < self._day_to:
            self._turn()
        return max(0, self._per_day - self._sent - self._granted)

    def grant(self, requests: int) -> int | None:
        """Let others send so many, or as many as there are; None: any number.

        None are granted before the vendor's day is known.
        """
        if self._per_day is None:
            return None
        if not self._day_from <= self._clock.stated() < self._day_to:
            self._turn()
        left = self._per_day - self._sent - self._granted - self._alone
        granted = 0 if self._is_guess else max(0, min(requests, left))
        self._granted += granted
        return granted

    def report(self, requests: int, unused: int = 0) -> None:
        """Others have sent so many, and will not send `unused` of what they were granted."""
        if not self._day_from <= self._clock.stated() < self._day_to:
            self._turn()
        self._sent += requests
        if self._is_guess:
            self._guessed += requests
        if self._per_day is not None:
            self._granted -= requests + unused

    def stored(self) -> tuple[str, int]:
        """(day, requests) to be kept with the next acknowledgement."""
        if self._is_guess:
            self._turn()
        return self._day, self._sent + self._granted

    def _turn(self) -> None:
        """Go to the day that it is now, and to what was sent in it before."""
        clock = self._clock
        now, is_learnt = clock.stated(), clock.is_learnt
        day = day_of(now)
        if day != self._day:
            # What was granted may have been sent in the day that is over, or not.
            self._counts[self._day] = self._sent + self._granted
            self._day = day
            is_shown = is_learnt or clock.is_doubtful
            self._sent = self._counts.get(day, 0) + (self._guessed if is_shown else 0)
        self._is_guess = not is_learnt
        # A guess is looked at again with each request.
        self._day_from = self._day_to = float("-inf")
        if is_learnt:
            self._guessed = 0
            self._day_from = int(now + OFFSET_S) // _DAY_S * _DAY_S - OFFSET_S
            self._day_to = self._day_from + _DAY_S


def day_of(unix_s: float) -> str:
    """The vendor's day (+08:00) of an instant, as text."""
    return time.strftime("%Y-%m-%d", time.gmtime(unix_s + OFFSET_S))
