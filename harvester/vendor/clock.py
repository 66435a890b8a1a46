"""The vendor's clock, as far as its answers let us know it.

Theory of operation.  Every answer carries a `Date` header, and so an estimate of (vendor clock -
ours), good to about a second.  We sign with our own clock until a -16 has shown that it is off;
from then on with the estimate.  Each estimate that we sign with has a generation number, and an
answer that accepted our signature verifies the generation it was signed with: a -16 under a
verified generation is that id's own trouble, one under an unverified generation is everybody's.
"""

from __future__ import annotations

from collections.abc import Callable

_SAME_ESTIMATE_S = 2.0
"""`Date` has whole seconds and travels: estimates closer than this are the same one."""

NOTABLE_SKEW_S = 5.0


class VendorClock:
    """Signs with the vendor's time.  Not thread-safe; lives on the event loop."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._applied_s = 0.0
        self.is_verified = False
        """Whether some id succeeded with the present estimate."""
        self.generation = 0
        self.skew_s = 0.0
        """The latest estimate of (vendor clock - ours), in seconds, applied or not."""
        self.worst_skew_s = 0.0

    def timestamp(self) -> int:
        """The Unix second to sign with."""
        return int(self._now() + self._applied_s)

    def observe(self, vendor_time: float, took_s: float) -> None:
        """Note an answer's `Date`, in Unix seconds, and how long the answer took.

        The vendor wrote the Date between our request and now, and cut it to the second; so the
        skew lies in a range, and an estimate within that range needs no change.  A slow answer
        gives a wide range, not a wrong skew.
        """
        now = self._now()
        least, most = vendor_time - now, vendor_time + 1.0 - (now - took_s)
        if not least <= self.skew_s <= most:
            self.skew_s = (least + most) / 2
        if abs(self.skew_s) > abs(self.worst_skew_s):
            self.worst_skew_s = self.skew_s

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
        if generation == self.generation:
            self.is_verified = True
