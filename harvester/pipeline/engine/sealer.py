"""Turn and signature of each attempt, at the last moment before it is written.

A signature holds for seconds and a turn for a millisecond, so both are taken when the transport has
a connection in hand: it calls the seal, and knows nothing of attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from weakref import WeakSet

from harvester.client.clock import VendorClock
from harvester.client.sign import signed_headers
from harvester.config import Secrets
from harvester.pipeline.engine.shutdown import CutOff, Stop, current_worker
from harvester.pipeline.limits.pace import Pace
from harvester.redact import answer_without_secrets

ROOM_TO_SPARE = 4


class Attempt:
    """One request on its way."""

    __slots__ = ("__weakref__", "generation", "is_cut", "looks", "place", "task", "worker")

    def __init__(self) -> None:
        """Of the calling task."""
        self.place: asyncio.Semaphore | None = None
        """Among those that wait for a turn; None if it has none."""
        self.generation: int | None = None
        """Of the clock that it was signed with; None while it is not under way."""
        self.looks = 0
        """See `alarm.Watched`."""
        self.is_cut = False
        """Whether the alarm has ended it, and nobody has seen that yet."""
        self.task = asyncio.current_task()
        self.worker = current_worker()
        """Whose it is."""

    @property
    def is_under_way(self) -> bool:
        """Whether its request is written, and not concluded."""
        return self.generation is not None

    def cut(self) -> None:
        """End it: the worker goes on with a network failure."""
        if self.task is not None:
            self.looks = 0
            self.is_cut = True
            self.task.cancel()

    def was_cut(self) -> bool:
        """Whether the CancelledError in hand is the alarm's, and nobody else's as well."""
        is_cut, self.is_cut = self.is_cut, False
        return is_cut and self.task is not None and not self.task.uncancel()


# The seal is called by the transport, which knows nothing of attempts; but in the same task.  A
# worker's attempts follow one another, so one object serves them all.
_ATTEMPT: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


class Sealer:
    """Gives each attempt its turn and its signed headers, and counts it as a request.

    A turn is waited for with a connection in hand, and an idle connection does not live for ever:
    so only as many attempts are let in as get their turn within about a second (`enter`).
    """

    def __init__(
        self,
        secrets: Secrets,
        pace: Pace,
        clock: VendorClock,
        stop: Stop,
        count_request: Callable[[], None],
        *,
        concurrency: int,
    ) -> None:
        self._secrets = secrets
        self._pace = pace
        self._clock = clock
        self._stop = stop
        self._count_request = count_request
        self._timestamp = -1
        self._headers: dict[str, str] = {}
        self._concurrency = concurrency
        self._places: asyncio.Semaphore | None
        self.fit()
        self.attempts: WeakSet[Attempt] = WeakSet()
        """One a worker, whether under way or not."""

    def fit(self) -> None:
        """Have as many places as the limit that is in force now fills in a second.

        Who is in one of the places before, or waits for one, stays there.
        """
        places = int(self._pace.limit_per_s) + ROOM_TO_SPARE
        self._places = asyncio.Semaphore(places) if places < self._concurrency else None

    async def enter(self) -> Attempt:
        """Wait for a place among those that take a connection and wait for their turn."""
        await self._pace.admitted()
        attempt = self._begun()
        places = self._places
        if places is not None:
            await places.acquire()
            attempt.place = places
        return attempt

    def enter_at_once(self) -> Attempt | None:
        """The same where nothing has to be waited for; else None."""
        if self._places is not None or not self._pace.is_open:
            return None
        return self._begun()

    @staticmethod
    def leave(attempt: Attempt) -> None:
        """The attempt is over before it got its turn: give its place up."""
        assert attempt.place is not None
        attempt.place.release()
        attempt.place = None

    def _begun(self) -> Attempt:
        """The calling worker's attempt, at its beginning."""
        attempt = _ATTEMPT.get()
        if attempt is None:
            attempt = Attempt()
            _ATTEMPT.set(attempt)
            self.attempts.add(attempt)
        attempt.place = None
        attempt.generation = None
        return attempt

    def seal(self) -> dict[str, str] | Awaitable[dict[str, str]]:
        """A turn, and the headers to send at once; see `Seal`.  Raises CutOff once stopped.

        The same dict comes back as long as nothing in it has changed.
        """
        return self._sealed() if self._pace.take() else self._sealed_in_turn()

    async def _sealed_in_turn(self) -> dict[str, str]:
        attempt = _ATTEMPT.get()
        assert attempt is not None
        attempt.generation = None  # a repeat of the transport's waits; its first request is over
        await self._pace.turn()
        return self._sealed()

    def _sealed(self) -> dict[str, str]:
        if self._stop.is_set:
            raise CutOff
        self._count_request()
        attempt = _ATTEMPT.get()
        assert attempt is not None
        if attempt.worker is not None:
            attempt.worker.is_busy = True
        if attempt.place is not None:
            self.leave(attempt)
        attempt.generation = self._clock.generation
        attempt.looks = 0
        timestamp = self._clock.timestamp()
        if timestamp != self._timestamp:
            self._timestamp = timestamp
            self._headers = signed_headers(self._secrets, timestamp)
        return self._headers

    def hide(self, text: bytes) -> bytes:
        """`text` without what was sent with each attempt, should an answer have repeated it."""
        return answer_without_secrets(text, self._secrets)
