"""Workers in this process: tasks on one event loop, over one transport.

A worker holds its id from its first attempt until the owner has its conclusion.  The first worker
goes alone until an answer shows that the vendor lets us in, and what time it is there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import msgspec

from harvester.client.clock import VendorClock
from harvester.client.connect import Way
from harvester.config import Pace as PaceSettings
from harvester.config import Retry, Secrets, Vendor
from harvester.pipeline.engine.alarm import keep_watch
from harvester.pipeline.engine.fetcher import Fetcher
from harvester.pipeline.engine.sealer import Sealer
from harvester.pipeline.engine.shutdown import CutOff, Stop, Worker, as_reason
from harvester.pipeline.engine.task import Conclusion, Task
from harvester.pipeline.engine.workers import Figures, MakeWorkers, Owner, Prober
from harvester.pipeline.limits.outage_gate import OutageGate
from harvester.pipeline.limits.pace import Pace, SharedLimit, SharedPace
from harvester.pipeline.limits.shares import LEASE_S
from harvester.state.values import Counters

Trace: TypeAlias = Callable[[float], None]
"""Gets the loop time of each request that is written, in seconds."""
Fetch: TypeAlias = Callable[[Task], Awaitable[Conclusion]]
QUIET_AFTER_LOCK_S = 1.0
"""No request within a second of taking the lock: the run before this one had that second."""
QUIET_AFTER_WORKERS_S = LEASE_S + 1.0
"""The same where that had workers: they may have outlived it by their lease."""


class Fetching(msgspec.Struct, frozen=True, kw_only=True):
    """What workers need to fetch with."""

    vendor: Vendor
    pace: PaceSettings
    retry: Retry
    secrets: Secrets
    connect: Way
    locked_at: float
    """Loop time at which the output's lock was taken, in seconds."""
    quiet_s: float = QUIET_AFTER_LOCK_S
    """No request for so long after that."""
    limit: SharedLimit | None = None
    """What the processes of this machine share, if `pace.limit_file` names it."""
    trace: Trace | None = None


def local_workers(fetching: Fetching) -> MakeWorkers:
    """Workers in this process, to be made inside the loop."""
    return partial(LocalWorkers, fetching)


class LocalWorkers:
    """See `workers.Workers`."""

    def __init__(
        self,
        fetching: Fetching,
        owner: Owner,
        clock: VendorClock,
        stop: Stop,
        counters: Counters,
        *,
        of_pace: Pace | None = None,
    ) -> None:
        """Must be made inside the running loop.  `of_pace`: the one to keep, if not the limit's."""
        pace = fetching.pace
        self._owner = owner
        self._stop = stop
        self._concurrency = pace.concurrency
        self.pace = of_pace or pace_of(fetching)
        self.gate = OutageGate(fetching.retry.max_outage_s, stop.stop)
        self.sealer = Sealer(
            fetching.secrets,
            self.pace,
            clock,
            stop,
            traced(owner.count_request, fetching.trace),
            concurrency=pace.concurrency,
        )
        self._transport = fetching.connect(fetching.vendor, pace.concurrency, self.sealer.seal)
        self.fetcher = Fetcher(
            transport=self._transport,
            sealer=self.sealer,
            pace=self.pace,
            clock=clock,
            gate=self.gate,
            stop=stop,
            limits=fetching.retry,
            counters=counters,
            dice=random.random,
            others=owner.others,
            is_counted=pace.per_day is not None,
        )
        self.fetch: Fetch = self.fetcher.fetch
        """How an id is fetched, which may begin otherwise than from its first attempt."""
        self._alarm = asyncio.create_task(
            keep_watch(self.sealer.attempts, fetching.vendor.timeout_s)
        )

    @property
    def prober(self) -> Prober:
        """See `Workers`."""
        return self.fetcher

    def figures(self) -> Figures:
        """See `Workers`."""
        return Figures(
            pace_per_s=self.pace.rate_per_s,
            paused_s=self.pace.closed_for_s,
            is_outage=self.gate.is_shut,
            outages=self.gate.outages,
            throttled=self.pace.throttled,
            received_bytes=self.fetcher.received_bytes,
            failures=dict(self.fetcher.failures),
        )

    def begin_in_outage(self, since: float) -> None:
        """See `Workers`."""
        self.gate.go_on(since)

    async def work(self) -> None:
        """See `Workers`."""
        workers = [asyncio.create_task(self._worker())]
        if not self.fetcher.heard.is_set():
            await self._open(workers[0])
        workers += [asyncio.create_task(self._worker()) for _ in range(1, self._concurrency)]
        done, _ = await asyncio.wait(workers)
        failed = [w for w in done if not w.cancelled() and w.exception() is not None]
        if failed:
            await failed[0]

    async def close(self) -> None:
        """See `Workers`."""
        self._alarm.cancel()
        await asyncio.gather(self._alarm, return_exceptions=True)
        await self._transport.close()

    async def _open(self, first: asyncio.Task[None]) -> None:
        """Let one worker go alone until its answers have shown the vendor's time."""
        hearing = asyncio.create_task(self.fetcher.heard.wait())
        try:
            await asyncio.wait({hearing, first}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hearing.cancel()
        await self._owner.learnt_time()

    async def _worker(self) -> None:
        with self._stop.enlisted() as worker:
            await self._work_on(worker)

    async def _work_on(self, worker: Worker) -> None:
        owner, fetch = self._owner, self.fetch
        while True:
            task = owner.take_at_once() or await owner.take()
            if task is None:
                return
            try:
                conclusion = await fetch(task)
                worker.is_busy = True
                if not owner.conclude_at_once(task, conclusion):
                    await owner.conclude(task, conclusion)
            except CutOff:
                owner.cut_off(task)
                return
            except asyncio.CancelledError:
                owner.cut_off(task)
                raise
            except BaseException as exc:
                # One broken worker must not leave the others running for hours beside it.
                self._stop.stop(as_reason(exc))
                raise
            worker.is_busy = False


def pace_of(fetching: Fetching) -> Pace:
    """The pace of one process: its own, or that of the limit file."""
    rate_per_s, opens_at = fetching.pace.rate_per_s, fetching.locked_at + fetching.quiet_s
    if fetching.limit is None:
        return Pace(rate_per_s, opens_at=opens_at)
    return SharedPace(rate_per_s, opens_at=opens_at, limit=fetching.limit)


def traced(count_request: Callable[[], None], trace: Trace | None) -> Callable[[], None]:
    """`count_request`, and what `trace` is told with each."""
    if trace is None:
        return count_request

    def counted_and_traced() -> None:
        count_request()
        trace(time.monotonic())

    return counted_and_traced
