"""Stopping a run without losing what is on its way.

Theory of operation.  Once stopped, no new attempt starts.  A worker that waits (for a turn, in a
backoff, at the gate) is cancelled at once, and its id stays pending; a worker whose request is on
the wire, or whose outcome is being settled, may finish, for `GRACE_S` at most.  The first reason
to stop is kept; errors of the store, after which nothing can be acknowledged, replace it, and so
does a signal where the run was only out of its budget or waited for the vendor.

A stop is hurried where nothing may be begun that takes time, a publication above all: at a signal,
when the store fails, and when something happened that nobody foresaw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from harvester.errors import (
    BudgetReached,
    HarvesterError,
    Interrupted,
    StoreError,
    VendorRefused,
    VendorUnavailable,
)

GRACE_S = 15.0

_UNHURRIED = (BudgetReached, VendorUnavailable, VendorRefused)


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


def current_worker() -> Worker | None:
    """That of the calling task, if it is one."""
    return _WORKER.get()


class CutOff(Exception):
    """The run stops: this id stays pending."""


class Stop:
    """Whether the run is stopping, why, and who may still finish."""

    def __init__(self) -> None:
        self.reason: HarvesterError | None = None
        self.is_set = False
        """Whether the run is stopping."""
        self.is_hurried = False
        """Whether it has to stop without publishing what it has."""
        self._workers: set[Worker] = set()

    def stop(self, reason: HarvesterError) -> None:
        """Begin to stop."""
        if self.reason is None or _replaces(reason, self.reason):
            self.reason = reason
        self.is_hurried = self.is_hurried or not isinstance(reason, _UNHURRIED)
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


def _replaces(new: HarvesterError, old: HarvesterError) -> bool:
    """Whether `new` is what the user has to know first."""
    if isinstance(new, StoreError):
        return not isinstance(old, StoreError)
    return isinstance(new, Interrupted) and isinstance(old, BudgetReached | VendorUnavailable)


def as_reason(exc: BaseException) -> HarvesterError:
    """Why the run stops; what nobody foresaw is named, shown in the log alone, and exit code 1."""
    if isinstance(exc, HarvesterError):
        return exc
    reason = HarvesterError(
        f"this is a bug: {type(exc).__name__} where nothing of the kind was expected. Please "
        "report it with the run's log.jsonl. What was acknowledged is safe; the same command may "
        "be run again."
    )
    reason.__cause__ = exc
    return reason
