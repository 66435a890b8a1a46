"""Stopping a run without losing what is on its way.

Theory of operation.  Once stopped, no new attempt starts.  A worker that waits (for a turn, in a
backoff, at the gate) is cancelled at once, and its id stays pending; a worker whose request is on
the wire, or whose outcome is being settled, may finish, for `GRACE_S` at most.  The first reason
to stop is kept; errors of the store, after which nothing can be acknowledged, replace it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from harvester.errors import HarvesterError, StoreError

GRACE_S = 15.0


class Worker:
    """A task that works on ids, and whether it may be cancelled at once."""

    __slots__ = ("is_busy", "task")

    def __init__(self, task: asyncio.Task[None]) -> None:
        """Idle."""
        self.task = task
        self.is_busy = False


# Found by whatever runs in the worker's task, deep below it.  `current_task` would tell as well,
# at several times the price and several times a request.
_WORKER: ContextVar[Worker | None] = ContextVar("worker", default=None)


class CutOff(Exception):
    """The run stops: this id stays pending."""


class Stop:
    """Whether the run is stopping, why, and who may still finish."""

    def __init__(self) -> None:
        self.reason: HarvesterError | None = None
        self.is_set = False
        """Whether the run is stopping."""
        self._workers: set[Worker] = set()

    def stop(self, reason: HarvesterError) -> None:
        """Begin to stop."""
        if self.reason is None or (
            isinstance(reason, StoreError) and not isinstance(self.reason, StoreError)
        ):
            self.reason = reason
        if self.is_set:
            return
        self.is_set = True
        for worker in self._workers:
            if not worker.is_busy:
                worker.task.cancel()
        asyncio.get_running_loop().call_later(GRACE_S, self._cut_off_all)

    def check(self) -> None:
        """Raise CutOff if the run is stopping."""
        if self.is_set:
            raise CutOff

    @contextmanager
    def enlisted(self) -> Iterator[Worker]:
        """The calling task is a worker; it is idle."""
        task = asyncio.current_task()
        assert task is not None
        worker = Worker(task)
        self._workers.add(worker)
        token = _WORKER.set(worker)
        try:
            yield worker
        finally:
            _WORKER.reset(token)
            self._workers.discard(worker)

    def busy(self) -> None:
        """The calling worker has something on the wire or in its hands: let it finish."""
        worker = _WORKER.get()
        if worker is not None:
            worker.is_busy = True

    def idle(self) -> None:
        """The calling worker only waits: it may be cancelled."""
        worker = _WORKER.get()
        if worker is not None:
            worker.is_busy = False

    def _cut_off_all(self) -> None:
        for worker in list(self._workers):
            worker.task.cancel()
