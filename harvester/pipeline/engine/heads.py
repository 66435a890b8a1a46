"""What the heads of answers say of the vendor's clock."""

from __future__ import annotations

from harvester.client.clock import VendorClock
from harvester.client.judge import http_date
from harvester.client.transport import Reply
from harvester.client.verdicts import Dead, NoRecord, Record, TimeRefused, Verdict

# Tuples: `isinstance(x, A | B)` makes the union anew each time.
FINAL = (Record, NoRecord, Dead)
"""Verdicts of an answer that the vendor gave to what was asked."""
SPEAKS = (Record, Dead)
"""Verdicts that stand whatever pause their answer asks for; see `judge`."""
_DATE_EVERY_S = 1.0


class Heads:
    """Lets a clock learn, once a second and wherever a signature's time is refused."""

    def __init__(self, clock: VendorClock) -> None:
        """Nothing was heard yet."""
        self._clock = clock
        self.next_date_at = float("-inf")
        """When the next `Date` is due, by the clock of `learn`."""

    def learn(self, now: float, verdict: Verdict, generation: int | None, reply: Reply) -> None:
        """Learn from an answer at `now`; `generation`: of the clock that signed its request."""
        clock, is_final = self._clock, isinstance(verdict, FINAL)
        is_refused = isinstance(verdict, TimeRefused)
        # Parsing every Date would cost more than it tells: one a second, and each -16's.  Only of
        # answers that the vendor gave: an error page may have been dated by anyone on the way.
        is_due = is_final and now >= self.next_date_at
        if is_due or is_refused:
            vendor_time = http_date(reply.date)
            if vendor_time is not None:
                clock.observe(vendor_time, reply.took_s)
        if generation is not None and is_refused:
            clock.refused(generation)
        elif generation is not None and is_final and not clock.is_verified:
            clock.accepted(generation)
        if not (clock.is_learnt and clock.is_verified):
            self.next_date_at = float("-inf")
        elif is_due:
            self.next_date_at = now + _DATE_EVERY_S
