"""Stopping a run without losing what is on its way.

Theory of operation.  Once stopped, no new attempt starts.  A worker that waits (for a turn, in a
backoff, at the gate) is cancelled at once, and its id stays pending; a worker whose request is on
the wire, or whose outcome is being settled, may finish, for `GRACE_S` at most.  The first reason
to stop is kept; errors of the store, after which nothing can be acknowledged, replace it.
"""

from __future__ import annotations

import asyncio

from harvester.errors import HarvesterError, StoreError

GRACE_S = 15.0


class CutOff(Exception):
    """The run stops: this id stays pending."""


class Stop:
    """Whether the run is stopping, why, and who may still finish."""

    def __init__(self) -> None:
        self.reason: HarvesterError | None = None
        self._event = asyncio.Event()
        self._workers: dict[asyncio.Task[None], bool] = {}

    @property
    def is_set(self) -> bool:
        """Whether the run is stopping."""
        return self._event.is_set()

    def stop(self, reason: HarvesterError) -> None:
        """Begin to stop."""
        if self.reason is None or (
            isinstance(reason, StoreError) and not isinstance(self.reason, StoreError)
        ):
            self.reason = reason
        if self._event.is_set():
            return
        self._event.set()
        for worker, is_busy in self._workers.items():
            if not is_busy:
                worker.cancel()
        asyncio.get_running_loop().call_later(GRACE_S, self._cut_off_all)

    async def wait(self) -> None:
        """Until the run is stopping."""
        await self._event.wait()

    def check(self) -> None:
        """Raise CutOff if the run is stopping."""
        if self._event.is_set():
            raise CutOff

    def enlist(self, worker: asyncio.Task[None]) -> None:
        """Add a worker; it is idle."""
        self._workers[worker] = False

    def dismiss(self, worker: asyncio.Task[None]) -> None:
        """A worker has ended."""
        self._workers.pop(worker, None)

    def busy(self) -> None:
        """The calling worker has something on the wire or in its hands: let it finish."""
        self._mark(is_busy=True)

    def idle(self) -> None:
        """The calling worker only waits: it may be cancelled."""
        self._mark(is_busy=False)

    def _mark(self, *, is_busy: bool) -> None:
        worker = asyncio.current_task()
        if worker in self._workers:
            self._workers[worker] = is_busy

    def _cut_off_all(self) -> None:
        for worker in list(self._workers):
            worker.cancel()
