"""The gate before every attempt: open, or shut by an outage but for a probe every 5 s.

So an outage costs the vendor a request every 5 s and the ids none of their attempts, instead of
turning a list into failures at full speed.  Push-back on end is no outage, for the vendor is well
and the pace already waits; but it ends a run after the same time, or it would never end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from harvester.errors import HarvesterError, VendorUnavailable
from harvester.pipeline.limits.health import PROBE_EVERY_S, OutageWatch

PROBES_TO_GIVE_UP = 3
"""Of an outage that began before."""


class OutageGate:
    """Lives on one event loop."""

    def __init__(self, max_outage_s: float, on_give_up: Callable[[HarvesterError], None]) -> None:
        """`on_give_up` is called once, when an outage has outlasted `max_outage_s`."""
        self._max_outage_s = max_outage_s
        self._on_give_up = on_give_up
        self._loop = asyncio.get_running_loop()
        self._watch = OutageWatch()
        self._over = asyncio.Event()
        self._over.set()
        self._probe_at = 0.0
        self._turned_away_since: float | None = None
        self._exhausted_since: float | None = None
        self.latest = ""
        """What the latest failure said, for the message that ends the run."""
        self.is_shut = False
        """Whether an outage is going on."""
        self.outages = 0

    @property
    def since(self) -> float | None:
        """When the present outage was seen, in loop time; None while there is none."""
        return self._watch.since

    def go_on(self, since: float) -> None:
        """An outage that others have seen and counted, since then, goes on.

        It is given up when it has lasted long enough in all, and a few probes of this gate failed.
        """
        now = self._loop.time()
        least_s = now + PROBES_TO_GIVE_UP * PROBE_EVERY_S - self._max_outage_s
        self._watch.begin(min(now, max(since, least_s)))
        self.is_shut = True
        self._over.clear()
        self._probe_at = now

    async def enter(self) -> bool:
        """Wait until an attempt may start; True if it is a probe of an outage."""
        while self.is_shut:
            now = self._loop.time()
            if now >= self._probe_at:
                self._probe_at = now + PROBE_EVERY_S
                return True
            try:
                async with asyncio.timeout(self._probe_at - now):
                    await self._over.wait()
            except TimeoutError:
                continue
        return False

    def note(self, now: float, *, failed: bool) -> None:
        """Note an answer at `now` (loop time); `failed`: network, 5xx or -18."""
        self._turned_away_since = None
        self._exhausted_since = None
        self._watch.note(now, failed=failed)
        since = self._watch.since
        if since is None:
            if self.is_shut:
                self.is_shut = False
                self._over.set()
        elif not self.is_shut:
            self.is_shut = True
            self.outages += 1
            self._over.clear()
            self._probe_at = now + PROBE_EVERY_S
        elif now - since > self._max_outage_s:
            self._give_up("out of reach or failing", "vendor.unavailable")

    def note_throttled(self, now: float) -> None:
        """Note a push-back: free for the ids, so nothing else ends a night of nothing but these."""
        since = now if self._turned_away_since is None else self._turned_away_since
        self.note(now, failed=False)
        self._turned_away_since = since
        if now - since > self._max_outage_s:
            self._give_up(
                "answering nothing but throttling (-15, 429, Retry-After)", "vendor.throttling"
            )

    def note_exhausted(self, now: float, why: str) -> None:
        """Note that this machine had nothing left to connect with.

        It says nothing of the vendor, and costs the ids nothing: only this ends a run of it.
        """
        if self._exhausted_since is None:
            self._exhausted_since = now
        elif now - self._exhausted_since > self._max_outage_s:
            self._on_give_up(
                VendorUnavailable(
                    f"no request could be sent for over {self._max_outage_s:.0f} s: {why}. Nothing "
                    "is lost: what is not done stays pending. Then run the same command again.",
                    code="vendor.no_connection",
                )
            )

    def _give_up(self, what: str, code: str) -> None:
        latest = f" The latest failure: {self.latest}." if self.latest else ""
        self._on_give_up(
            VendorUnavailable(
                f"the vendor has been {what} for over {self._max_outage_s:.0f} s. Nothing is "
                f"lost: what is not done stays pending.{latest} Check the network and the vendor's "
                "status, then run the same command again.",
                code=code,
            )
        )
