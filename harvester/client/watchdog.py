"""One timer for all attempts: whoever outlives its time is cut off.

A timer an attempt would cost more CPU than reading the answer.  Cutting off is the transport's to
do; here is only who waits, since when, and whose time is up.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

_LOOK_EVERY_S = 0.5


def look_every_s(timeout_s: float) -> float:
    """How often to look for attempts that outlive `timeout_s`."""
    return min(_LOOK_EVERY_S, timeout_s / 4)


class Watched(Protocol):
    """An attempt: a request that is written, and waits for its answer."""

    def look(self) -> None:
        """Called at every look while its time is not up: see whether there is still hope."""
        ...

    def cut_off(self) -> None:
        """Its time is up: end it, whatever it waits for."""
        ...


class Watchdog:
    """Looks after each attempt, and cuts off the one that outlives `timeout_s`."""

    def __init__(self, timeout_s: float) -> None:
        """Must be made inside the running loop."""
        self._timeout_s = timeout_s
        self._look_every_s = look_every_s(timeout_s)
        self._loop = asyncio.get_running_loop()
        self._watched: dict[Watched, float] = {}
        self._cut_off: set[Watched] = set()
        self._timer = self._loop.call_later(self._look_every_s, self._look)

    @property
    def is_at_rest(self) -> bool:
        """Whether no attempt is remembered."""
        return not self._watched and not self._cut_off

    def watch(self, attempt: Watched) -> None:
        """`attempt` is about to be written."""
        self._watched[attempt] = self._loop.time()

    def watched_s(self, attempt: Watched) -> float:
        """Seconds since `attempt` was written; 0 if it is not watched any more."""
        written_at = self._watched.get(attempt)
        return 0.0 if written_at is None else self._loop.time() - written_at

    def forget(self, attempt: Watched) -> None:
        """`attempt` is over, or waits for another turn."""
        self._watched.pop(attempt, None)
        self._cut_off.discard(attempt)

    def has_cut_off(self, attempt: Watched) -> bool:
        """Whether `attempt` was cut off."""
        return attempt in self._cut_off

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _look(self) -> None:
        too_old = self._loop.time() - self._timeout_s
        for attempt, written_at in list(self._watched.items()):
            if written_at <= too_old:
                del self._watched[attempt]
                self._cut_off.add(attempt)
                attempt.cut_off()
            else:
                attempt.look()
        self._timer = self._loop.call_later(self._look_every_s, self._look)
