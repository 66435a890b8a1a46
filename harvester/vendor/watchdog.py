"""One timer for all attempts: whoever outlives its time is aborted.

A timer an attempt would cost more CPU than reading the answer.  Aborting is the transport's to do;
here is only who waits, since when, and whose time is up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_LOOK_EVERY_S = 0.5


def look_every_s(timeout_s: float) -> float:
    """How often to look for attempts that outlive `timeout_s`."""
    return min(_LOOK_EVERY_S, timeout_s / 4)


Connection = TypeVar("Connection")


class Watchdog(Generic[Connection]):
    """Calls `abort` with the connection of each attempt that outlives `timeout_s`."""

    def __init__(self, timeout_s: float, abort: Callable[[Connection], None]) -> None:
        """Must be made inside the running loop."""
        self._timeout_s = timeout_s
        self._abort = abort
        self._look_every_s = look_every_s(timeout_s)
        self._loop = asyncio.get_running_loop()
        self._watched: dict[Hashable, tuple[float, Connection]] = {}
        self._cut_off: set[Hashable] = set()
        self._timer = self._loop.call_later(self._look_every_s, self._look)

    @property
    def is_at_rest(self) -> bool:
        """Whether no attempt is remembered."""
        return not self._watched and not self._cut_off

    def watch(self, attempt: Hashable, connection: Connection) -> None:
        """`attempt` is about to be written to `connection`."""
        self._watched[attempt] = (self._loop.time(), connection)

    def watched_s(self, attempt: Hashable) -> float:
        """Seconds since `attempt` was written; 0 if it is not watched any more."""
        found = self._watched.get(attempt)
        return 0.0 if found is None else self._loop.time() - found[0]

    def forget(self, attempt: Hashable) -> None:
        """`attempt` is over, or waits for another turn."""
        self._watched.pop(attempt, None)
        self._cut_off.discard(attempt)

    def has_cut_off(self, attempt: Hashable) -> bool:
        """Whether `attempt` was aborted."""
        return attempt in self._cut_off

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _look(self) -> None:
        too_old = self._loop.time() - self._timeout_s
        for attempt, (written_at, connection) in list(self._watched.items()):
            if written_at <= too_old:
                del self._watched[attempt]
                self._cut_off.add(attempt)
                self._abort(connection)
        self._timer = self._loop.call_later(self._look_every_s, self._look)
