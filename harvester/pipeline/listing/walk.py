"""Walking through the vendor's list: who asks for its pages, and what a page is handed to.

Theory of operation.  `windows.Windows` says what to ask for; workers ask, as many as there are
connections, the first one alone until the vendor's time is known.  Each page goes to a `Taker`,
together with the window that it closes, if it does.  Between two pages a worker lets the taker do
what takes its time (to write, to look something up), and waits for it: so what is taken in never
grows faster than it is dealt with.

Clock, stop and the counting of requests belong to whoever walks: a listing has its own, a run those
of its engine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from harvester.client.clock import VendorClock
from harvester.client.record_group import Listed, Page, Query
from harvester.client.verdicts import Record
from harvester.errors import HarvesterError
from harvester.pipeline.engine.alarm import keep_watch
from harvester.pipeline.engine.local_workers import Fetching, pace_of, traced
from harvester.pipeline.engine.sealer import Sealer
from harvester.pipeline.engine.shutdown import CutOff, Stop, Worker, as_reason
from harvester.pipeline.limits.outage_gate import OutageGate
from harvester.pipeline.listing.asker import Asker
from harvester.pipeline.listing.windows import Asked, Closed, Seen, Windows

T = TypeVar("T")


class Taker(Protocol):
    """Gets what the pages bring."""

    def take(self, asked: Asked, calls: list[Listed], closed: Closed | None, at_ms: int) -> None:
        """A page came, or none can be had (then there are no calls)."""
        ...

    async def deal(self) -> None:
        """Time to deal with what was taken, where that is due.  Raises StoreError."""
        ...


class Walk:
    """Sends requests for the list, at the pace.  Lives on one event loop."""

    def __init__(
        self,
        fetching: Fetching,
        *,
        clock: VendorClock,
        stop: Stop,
        count_request: Callable[[], None],
        is_id: Callable[[str], bool],
        retries: dict[str, int] | None = None,
        on_refused: Callable[[str], None] | None = None,
    ) -> None:
        """Must be made inside the running loop.  `count_request`: raises CutOff where a request
        must not be sent.  `is_id`: whether a text can be a voiceId at all.  `retries`: where they
        are counted, by cause.  `on_refused`: gets what the vendor refuses, or how it is out for
        too long, and calls `cut_off`; else the command stops.
        """
        self._stop = stop
        self._enlisted: set[Worker] = set()
        self._clock = clock
        self._is_id = is_id
        self._concurrency = fetching.pace.concurrency
        self.pace = pace_of(fetching)
        self.gate = OutageGate(
            fetching.retry.max_outage_s,
            stop.stop if on_refused is None else lambda error: on_refused(_how(error)),
        )
        sealer = Sealer(
            fetching.secrets,
            self.pace,
            clock,
            stop,
            traced(count_request, fetching.trace),
            concurrency=fetching.pace.concurrency,
        )
        self._transport = fetching.connect(fetching.vendor, fetching.pace.concurrency, sealer.seal)
        self._asker = Asker(
            transport=self._transport,
            sealer=sealer,
            pace=self.pace,
            clock=clock,
            gate=self.gate,
            stop=stop,
            limits=fetching.retry,
            dice=random.random,
        )
        if retries is not None:
            self._asker.retries = retries
        if on_refused is not None:
            self._asker.on_refused = on_refused
        self._alarm = asyncio.create_task(keep_watch(sealer.attempts, fetching.vendor.timeout_s))
        self._changed = asyncio.Event()
        self._is_over = False

    async def through(self, windows: Windows, by: str | None, taker: Taker) -> None:
        """Ask for the pages of `windows` until all are closed, the command stops, or `end`.

        `by`: the time that windows are known to be cut by.  Raises StoreError.
        """
        if windows.is_done:
            return
        self._windows, self._by, self._taker = windows, by, taker
        await self._work(self._work_on)

    async def each(
        self,
        items: Iterator[T],
        do: Callable[[Asker, T], Awaitable[None]],
        between: Callable[[], Awaitable[None]],
    ) -> None:
        """Do it with each of the items, as many at a time as there are connections, until the
        command stops.  `between`: what is to be done after each.
        """

        async def one_after_another(worker: Worker) -> None:
            for item in items:
                await do(self._asker, item)
                worker.is_busy = True
                await between()
                worker.is_busy = False
                self._stop.check()

        await self._work(one_after_another)

    def end(self) -> None:
        """Ask for no more pages: what is on its way is the last."""
        self._is_over = True
        self._wake()

    def cut_off(self) -> None:
        """Ask for nothing more at all, not even for what waits for its turn."""
        self.end()
        self._asker.is_cut_off = True
        this = asyncio.current_task()
        for worker in self._enlisted:
            if not worker.is_busy and worker.task is not this:
                worker.task.cancel()

    @contextmanager
    def enlisted(self) -> Iterator[Worker]:
        """The calling task sends requests: see `Stop.enlisted`."""
        with self._stop.enlisted() as worker:
            self._enlisted.add(worker)
            try:
                yield worker
            finally:
                self._enlisted.discard(worker)

    async def page(self, query: Query) -> Page | str:
        """One page, or why none can be had.  Raises CutOff where the command stops."""
        return await self._asker.page(query)

    async def record(self, voice_id: str) -> Record | str:
        """One call by its id, or why it can't be had.  Raises CutOff where the command stops."""
        return await self._asker.record(voice_id)

    async def close(self) -> None:
        """Close every connection."""
        self._alarm.cancel()
        await asyncio.gather(self._alarm, return_exceptions=True)
        await self._transport.close()

    @property
    def is_out(self) -> bool:
        """Whether an outage lasts."""
        return self._asker.is_out

    @property
    def retries(self) -> dict[str, int]:
        """Requests that were sent again, by cause."""
        return dict(self._asker.retries)

    async def _work(self, job: Callable[[Worker], Awaitable[None]]) -> None:
        workers = [
            asyncio.create_task(self._worker(job, is_first=number == 0))
            for number in range(self._concurrency)
        ]
        await asyncio.wait(workers)
        for worker in workers:
            if not worker.cancelled() and (failed := worker.exception()) is not None:
                raise failed

    async def _worker(self, job: Callable[[Worker], Awaitable[None]], *, is_first: bool) -> None:
        with self.enlisted() as worker:
            try:
                if not is_first:
                    # Whoever was not there when it stopped would wait for an answer that never is.
                    self._stop.check()
                    await self._asker.heard.wait()
                await job(worker)
            except CutOff:
                return
            except asyncio.CancelledError:
                raise
            except BaseException as exc:
                # One broken worker must not leave the others running beside it.
                self._stop.stop(as_reason(exc))
                raise

    async def _work_on(self, worker: Worker) -> None:
        windows = self._windows
        while not (self._stop.is_set or self._is_over):
            asked = windows.take()
            if asked is None:
                if windows.is_done:
                    return
                await self._changed.wait()
                continue
            with self._given_back(asked):
                answer = await self._asker.page(_query(asked, self._by))
            worker.is_busy = True
            self._note(asked, answer)
            await self._taker.deal()
            worker.is_busy = False

    @contextmanager
    def _given_back(self, asked: Asked) -> Iterator[None]:
        """Whatever ends it before there is an answer: the window is to be asked for."""
        try:
            yield
        except BaseException:
            self._windows.put_back(asked)
            raise

    def _note(self, asked: Asked, answer: Page | str) -> None:
        at_ms = self._clock.now_ms()
        calls: list[Listed] = []
        if isinstance(answer, Page):
            calls = [one for one in answer.calls if self._is_id(one.record.voice_id)]
            ids = frozenset(call.record.voice_id for call in calls)
            seen = Seen(answer.total, ids, answer.records, answer.records - len(calls))
            closed = self._windows.answered(asked, seen)
        else:
            closed = self._windows.failed(asked, answer)
        self._taker.take(asked, calls, closed, at_ms)
        self._wake()

    def _wake(self) -> None:
        """Whoever waits looks again: there are new windows, or none at all any more."""
        self._changed.set()
        self._changed = asyncio.Event()


def _how(error: HarvesterError) -> str:
    """`vendor.throttling` as "throttling": a word beside those of refusals."""
    return error.code.rpartition(".")[2]


def _query(asked: Asked, by: str | None) -> Query:
    return Query(asked.start_s, asked.end_s, asked.current, asked.size, by)
