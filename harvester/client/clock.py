"""The vendor's clock, as far as its answers let us know it.

Theory of operation.  Every answer carries a `Date` header, and so an estimate of (vendor clock -
ours), good to about a second.  Two things are made of it, and they need different care.

*Signing* may try an estimate at once: a wrong one costs one more -16.  We sign with our own clock
until a -16 has shown that it is off; from then on with the estimate.  Each estimate that we sign
with has a generation number, and an answer that accepted our signature verifies the generation it
was signed with: a -16 under a verified generation is that id's own trouble, one under an
unverified generation is everybody's.

*Ages, due times and days* go by `now`.  It counts on from the start of the run by a clock that is
never set, so a step of ours during a run moves nothing.  What it is off by is believed at once
where two agree: a `Date` with our own clock, or with what the run before learnt; from then on,
within ten minutes of that.  Anything else is a doubt until three answers on end agree, or until a
signature is accepted that was made with it after a -16: a cache that kept one answer moves nothing.
Until something is believed `now` is the latest of what it may be, for what is noted too late is
only fetched or ended later.  In a run that saw another skew than the run before, or that has but
doubts, nothing may end by its age (`are_ages_sure`): what another clock dated does not compare.
"""

from __future__ import annotations

from collections.abc import Callable

_SAME_ESTIMATE_S = 2.0
"""`Date` has whole seconds and travels: estimates closer than this are the same one."""

NOTABLE_SKEW_S = 5.0

STEP_S = 600.0
"""A skew that differs from what was believed by more than this is a step, not a drift."""

_EARLIEST_S, _LATEST_S = 1_577_836_800, 4_102_444_800
"""The beginnings of 2020 and of 2100: a `Date` of another time is none."""

_AGREE_S = 60.0
_ANSWERS_THAT_AGREE = 3


class VendorClock:
    """The vendor's time, to sign and to judge by.  Not thread-safe; lives on the event loop."""

    def __init__(
        self,
        now: Callable[[], float],
        ticks: Callable[[], float] | None = None,
        last_skew_s: float = 0.0,
    ) -> None:
        """`now`: our clock, Unix time in seconds; `ticks`: one that is never set, in seconds.

        `last_skew_s` is what the run before learnt of (vendor clock - ours).
        """
        self._now = now
        self._ticks = now if ticks is None else ticks
        self._applied_s = 0.0
        self.is_verified = False
        """Whether some id succeeded with the present estimate."""
        self.generation = 0
        self.skew_s = 0.0
        """The latest estimate of (vendor clock - ours), in seconds, applied or not."""
        self.worst_skew_s = 0.0
        self.is_new = False
        """Whether the skew is not what it was in the run before, by over ten minutes."""
        self._began = now() - self._ticks()
        if _is_absurd(now() + last_skew_s, now()):
            last_skew_s = 0.0
        self._last_s = last_skew_s
        self.offset_s = max(0.0, last_skew_s)
        """(vendor clock - ours) as believed now, ours being what it was when the run began."""
        self._anchor_s: float | None = None
        """The offset that this run's answers have shown last, but for drifts since."""
        self._doubted_s = 0.0
        self._doubts = 0
        self._base = self._began + self.offset_s

    @property
    def is_learnt(self) -> bool:
        """Whether this run's answers have shown the vendor's time."""
        return self._anchor_s is not None

    def timestamp(self) -> int:
        """The Unix second to sign with."""
        return int(self._now() + self._applied_s)

    def now(self) -> float:
        """The vendor's time, in Unix seconds, as far as it is known."""
        return self._base + self._ticks()

    def now_ms(self) -> int:
        """The same in whole milliseconds."""
        return int((self._base + self._ticks()) * 1000)

    def stated(self) -> float:
        """The same, but by a `Date` that is only a doubt where there is nothing better.

        For the day that a request counts for: the vendor's word, though said once, against ours.
        """
        if self._anchor_s is not None or not self._doubts:
            return self._base + self._ticks()
        return self._began + self._doubted_s + self._ticks()

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing is believed yet, though some `Date` speaks against what was known."""
        return self._doubts > 0 and not self.is_learnt

    @property
    def are_ages_sure(self) -> bool:
        """Whether ids may be given up, buried or published because of their age."""
        if self.is_learnt:
            return not self.is_new
        return not self._doubts and abs(self._last_s) <= STEP_S

    @property
    def seen_skew_s(self) -> float | None:
        """(vendor clock - ours) as this run saw it, for the next one; None if it saw nothing."""
        if not self.is_learnt and not self._doubts:
            return None
        offset_s = self.offset_s if self.is_learnt else self._doubted_s
        return offset_s - self._stepped_s()

    def observe(self, vendor_time: float, took_s: float) -> None:
        """Note an answer's `Date`, in Unix seconds, and how long the answer took.

        The vendor wrote the Date between our request and now, and cut it to the second; so the
        skew lies in a range, and an estimate within that range needs no change.  A slow answer
        gives a wide range, not a wrong skew.  A time that nobody can mean is passed over.
        """
        now = self._now()
        if _is_absurd(vendor_time, now):
            return
        least, most = vendor_time - now, vendor_time + 1.0 - (now - took_s)
        if not least <= self.skew_s <= most:
            self.skew_s = (least + most) / 2
        if abs(self.skew_s) > abs(self.worst_skew_s):
            self.worst_skew_s = self.skew_s
        stepped_s = self._stepped_s()
        self._weigh(least + stepped_s, most + stepped_s)

    def refused(self, generation: int) -> None:
        """A -16 came to a signature of `generation`: sign with the estimate from now on."""
        if generation != self.generation:
            return  # signed before the present estimate was made; it says nothing about that one
        if abs(self.skew_s - self._applied_s) < _SAME_ESTIMATE_S:
            return
        self._applied_s = self.skew_s
        self.is_verified = False
        self.generation += 1

    def accepted(self, generation: int) -> None:
        """An answer accepted a signature of `generation`."""
        if generation != self.generation:
            return
        if generation and not self.is_verified:
            offset_s = self._applied_s + self._stepped_s()
            if self._anchor_s is None or abs(offset_s - self._anchor_s) > STEP_S:
                self._step_to(offset_s)
        self.is_verified = True

    def _stepped_s(self) -> float:
        """How far our clock was set since the run began."""
        return self._now() - self._began - self._ticks()

    def _weigh(self, least: float, most: float) -> None:
        """Believe that the offset lies between `least` and `most`, or doubt it."""
        anchor_s = self._anchor_s
        witnesses = (0.0, self._last_s) if anchor_s is None else (anchor_s,)
        near = next((s for s in witnesses if least - STEP_S <= s <= most + STEP_S), None)
        if near is None:
            self._doubt((least + most) / 2)
            return
        self._doubts = 0
        known = self.offset_s if self.is_learnt else near
        offset_s = known if least <= known <= most else (least + most) / 2
        if self.is_learnt:
            self._move_to(offset_s)
        else:
            self._step_to(offset_s)

    def _doubt(self, estimate_s: float) -> None:
        agrees = self._doubts and abs(estimate_s - self._doubted_s) <= _AGREE_S
        self._doubts = self._doubts + 1 if agrees else 1
        self._doubted_s = estimate_s
        if self._doubts >= _ANSWERS_THAT_AGREE:
            self._step_to(estimate_s)
        elif not self.is_learnt:
            self._move_to(max(0.0, self._last_s, estimate_s))

    def _step_to(self, offset_s: float) -> None:
        """Believe `offset_s` from now on, and what lies about it."""
        self._anchor_s = offset_s
        self._move_to(offset_s)
        self._doubts = 0
        if abs(offset_s - self._stepped_s() - self._last_s) > STEP_S:
            self.is_new = True

    def _move_to(self, offset_s: float) -> None:
        self.offset_s = offset_s
        self._base = self._began + offset_s


def _is_absurd(vendor_time: float, ours: float) -> bool:
    """Whether the vendor can't mean that; a clock of ours that has lost its battery is no judge."""
    return vendor_time >= _LATEST_S or vendor_time < _EARLIEST_S <= ours
