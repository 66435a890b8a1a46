"""The half of a run that owns what must be kept: list, state database, publication.

Workers take ids from here and bring conclusions back (`workers.py`); behind them batches are
acknowledged and ranges of the journal published.

One direction and bounded queues: a worker holds its id until it is resolved, a resolved id waits in
one of two batches, a batch in the journal, and the journal is published before it grows past twice
its limit.  Each stage waits while the next one is full.

However a run ends, what it has is published, unless that would have to be quick (a signal: the
next run or `harvester publish` does it) or can't be trusted (the store fails).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import msgspec
from msgspec.structs import replace

from harvester.client.clock import VendorClock
from harvester.config import OpenCalls, Output, Pace, Retry
from harvester.errors import BudgetReached, HarvesterError, StoreError
from harvester.inputs.voice_id import dated
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.engine.acknowledger import Acknowledger
from harvester.pipeline.engine.backlog import Waiting
from harvester.pipeline.engine.doubt import Doubt
from harvester.pipeline.engine.progress import Progress, Speedometer, retries
from harvester.pipeline.engine.settle import Policy
from harvester.pipeline.engine.shutdown import CutOff, Stop, as_reason
from harvester.pipeline.engine.task import Answered, Conclusion, Task
from harvester.pipeline.engine.task_source import DeferredPages, Pages, RunPages, TaskSource
from harvester.pipeline.engine.workers import AheadFigures, Figures, Left, MakeAhead, MakeWorkers
from harvester.pipeline.limits.daily_quota import DayQuota
from harvester.pipeline.publish.publisher import Published, Publisher
from harvester.state import between_runs
from harvester.state.values import Counters, WorkList
from harvester.state.writer import LedgerWriter

_ALONE = 200
"""The last requests of a day's budget: other processes are granted none of them."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine works on."""

    run_id: str
    pace: Pace
    retry: Retry
    open_calls: OpenCalls
    output: Output
    work_list: WorkList | None
    ids: ListFile | None
    to_fetch: int
    """Open calls that are due, and what is pending of the list, as far as this run goes."""
    only: bool
    deadline: float | None
    """Monotonic time at which the run's `--max-duration` is over."""
    requests_by_day: Mapping[str, int]
    journal: tuple[int, int]
    """(records, bytes) that wait in the journal at the start."""
    proof: str
    """What stands for this address with this key in the ledger once records were delivered there.
    """
    is_proven: bool
    """Whether records were delivered there, in whichever run."""
    newest: Callable[[sqlite3.Connection], str | None] = lambda _: None
    """An id whose record lies in the data set; None for none."""
    workers: MakeWorkers
    ahead: MakeAhead | None = None
    """Who resolves ids before the workers are handed any, if somebody does."""
    processes: int = 1
    """That send requests, each over `pace.concurrency` connections."""
    last_skew_s: float = 0.0
    """What the run before learnt of (vendor clock - ours)."""
    listed: tuple[str, int] | None = None
    """The input that this run listed, by its key, and when, by our clock, in ms."""
    now: Callable[[], float] = time.time
    """Our clock, Unix time in seconds."""


class EngineResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has done, so far or in the end."""

    counters: Counters
    published: tuple[Published, ...]
    reason: HarvesterError | None
    """Why it stops early, if it does."""
    progress: Progress
    figures: Figures
    ahead: AheadFigures | None
    requests_of_day: tuple[str, int]
    """(day of +08:00, requests sent in it), to the last one."""
    journal_records: int
    """That are safe in the journal and in no publication yet."""
    worst_skew_s: float
    """The largest (vendor clock - ours) that was seen, in seconds."""
    are_ages_sure: bool
    """Whether the clock let ids end by their age."""


class Engine:
    """One run on the event loop.  `run` returns; `stop.reason` says why it stopped early."""

    def __init__(self, job: Job, ledger: LedgerWriter, publisher: Publisher) -> None:
        """Must be made inside the running loop."""
        self._job = job
        self._ledger = ledger
        self._publisher = publisher
        self.counters = Counters()
        self.stop = Stop()
        self.clock = VendorClock(job.now, time.monotonic, job.last_skew_s)
        self._shifted_ms = 0
        self._published: list[Published] = []
        self._quota = DayQuota(
            job.pace.per_day,
            job.requests_by_day,
            self.stop.stop,
            self.clock,
            alone=max(_ALONE, int(job.pace.rate_per_s)),
        )
        policy = Policy(
            job.run_id,
            job.open_calls,
            job.retry,
            dated,
            lambda: self.clock.are_ages_sure,
        )
        self._acknowledger = Acknowledger(
            ledger,
            policy,
            job.work_list,
            self.counters,
            requests_of_day=self._quota.stored,
            on_committed=self._note_committed,
            on_failed=self.stop.stop,
        )
        self.others = Doubt(
            ledger,
            policy,
            self.clock,
            self.stop,
            per_day=job.pace.per_day,
            concurrency=job.pace.concurrency * job.processes,
            proof=job.proof,
            is_proven=job.is_proven,
            newest=job.newest,
            settle=self._acknowledger.add,
            count_begun=self._count_begun,
            count_cut_off=self._count_cut_off,
        )
        """What is known of all ids; see `workers.Owner`."""
        self._workers = job.workers(self, self.clock, self.stop, self.counters)
        self.others.fetcher = self._workers.prober
        make = job.ahead
        self._ahead = make and make(self, self.clock, self.stop, self.counters, ledger)
        self._is_ahead = False
        self._waiting = Waiting(job.output, job.journal)
        self._due = asyncio.Event()
        self._is_full = False
        """Whether nobody may fetch, for the journal has no room; as `_has_room` has it."""
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._speed = Speedometer()
        self._phase = "fetching"
        self._started = time.monotonic()

    async def run(self) -> None:
        """Work the list down and publish.  Raises StoreError if nothing can be kept any more."""
        behind = [
            asyncio.create_task(self._acknowledger.keep_time()),
            asyncio.create_task(self._publish_when_due()),
            asyncio.create_task(self._watch_age()),
            asyncio.create_task(self._keep_budget()),
        ]
        try:
            await self._work_ahead()
            await self._work(self._first_pages())
            if not self.stop.is_set:
                await self.others.end_list()
            await self._acknowledger.flush()
            await self._work(DeferredPages(self._ledger, self._job.run_id))
            await self.others.end()
            await self._acknowledger.flush()
        finally:
            if self._ahead is not None:
                await self._ahead.close()
            await self._workers.close()
            for task in behind:
                task.cancel()
            await asyncio.gather(*behind, return_exceptions=True)
        await self._keep_clock()
        await self._publish_rest()

    @property
    def failures(self) -> dict[str, str]:
        """What the latest failure of each cause said."""
        return self._workers.figures().failures

    @property
    def lost_workers(self) -> Sequence[tuple[int, str]]:
        """Workers that are gone: their number, and why."""
        return self._workers.figures().lost

    def result(self) -> EngineResult:
        """What was done so far."""
        return EngineResult(
            counters=deepcopy(self.counters),
            published=tuple(self._published),
            reason=self.stop.reason,
            progress=self.progress(),
            figures=self._figures(),
            ahead=self.ahead,
            requests_of_day=self._quota.stored(),
            journal_records=self._waiting.records,
            worst_skew_s=self.clock.worst_skew_s,
            are_ages_sure=self.clock.are_ages_sure,
        )

    def progress(self) -> Progress:
        """How it is going."""
        now = time.monotonic()
        counters, figures = self.counters, self._figures()
        done = counters.resolved
        to_fetch = self._job.to_fetch
        requests_per_s, resolved_per_s = self._speed.mark(now, counters.requests, done)
        left = max(0, to_fetch - done)
        return Progress(
            to_fetch=to_fetch,
            resolved=done,
            delivered=counters.delivered,
            open=counters.open,
            dead=counters.dead,
            deferred=counters.deferred,
            requests=counters.requests,
            retries=retries(counters.stored()),
            requests_per_s=requests_per_s,
            resolved_per_s=resolved_per_s,
            rate_per_s=self._job.pace.rate_per_s,
            pace_per_s=figures.pace_per_s,
            paused_s=figures.paused_s,
            outage=figures.is_outage,
            elapsed_s=now - self._started,
            eta_s=left / resolved_per_s if resolved_per_s > 0 else None,
            phase=self._phase_now,
            received_bytes=figures.received_bytes,
        )

    @property
    def ahead(self) -> AheadFigures | None:
        """How those who go ahead are doing, if somebody does."""
        return None if self._ahead is None else self._ahead.figures()

    def _figures(self) -> Figures:
        """Of the workers and of who goes ahead: what adds up of both, the rest of who works."""
        figures = self._workers.figures()
        if self._ahead is None:
            return figures
        ahead = self._ahead.figures().workers
        now = ahead if self._is_ahead else figures
        return replace(
            figures,
            pace_per_s=now.pace_per_s,
            paused_s=now.paused_s,
            is_outage=now.is_outage,
            outages=figures.outages + ahead.outages,
            throttled=figures.throttled + ahead.throttled,
        )

    def left(self) -> Left:
        """See `workers.OwnerAhead`."""
        deadline = self._job.deadline
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        return Left(self._quota.left(), seconds)

    async def _work_ahead(self) -> None:
        """Have ids resolved before the workers are handed any, if somebody does that."""
        if self._ahead is None:
            return
        self._is_ahead = True
        try:
            await self._ahead.work()
            since = self._ahead.outage_since
            if since is not None:
                # Is it the list alone that is out?  Nobody waits twice to know that.
                self._workers.begin_in_outage(since)
        finally:
            self._is_ahead = False
        await self._acknowledger.flush()
        await self._ahead.end()

    @property
    def _phase_now(self) -> str:
        is_stopping = self.stop.is_set and (self.stop.is_hurried or self._phase == "fetching")
        return "stopping" if is_stopping else self._phase

    def _first_pages(self) -> RunPages:
        job = self._job
        return RunPages(self._ledger, self.clock, job.work_list, job.ids, job.run_id, only=job.only)

    async def _work(self, pages: Pages) -> None:
        """Have the workers work until the pages are done or the run stops."""
        self._source = self.others.source = TaskSource(pages, self.stop)
        await self._workers.work()

    def take_at_once(self) -> Task | None:
        """See `workers.Owner`."""
        others = self.others
        if not others.is_calm or others.is_probing or self._is_full:
            return None
        task = self._source.take_ready()
        if task is not None and not (task.is_last_try or task.again):
            self.counters.begun += 1  # `_count_begun` without its call
        return task

    async def take(self) -> Task | None:
        """See `workers.Owner`."""
        if not self.others.is_calm:
            await self.others.look()
        await self._held_up()
        task = await self._source.take()
        if task is not None:
            self._count_begun(task)
        return task

    def conclude_at_once(self, task: Task, conclusion: Conclusion) -> bool:
        """See `workers.Owner`."""
        if (
            self.others.is_calm
            and isinstance(conclusion, Answered)
            and self._acknowledger.add_at_once(task, conclusion)
        ):
            self._source.held.discard(task.voice_id)  # `give_back` without its call
            return True
        return False

    async def conclude(self, task: Task, conclusion: Conclusion) -> None:
        """See `workers.Owner`."""
        await self.others.settle(task, conclusion)
        self._source.give_back(task)

    async def take_in(self, task: Task, answered: Answered) -> None:
        """See `workers.Owner`."""
        await self._held_up()
        self._count_begun(task)
        self.counters.by_pages += 1
        await self.others.settle(task, answered)

    def cut_off(self, task: Task) -> None:
        """See `workers.Owner`."""
        self._count_cut_off(task)
        self._source.give_back(task)

    def put_back(self, task: Task) -> None:
        """See `workers.Owner`."""
        if not (task.is_last_try or task.again):
            self.counters.begun -= 1
        self._source.put_back(task)

    def grant(self, requests: int) -> int | None:
        """See `workers.Owner`."""
        return self._quota.grant(requests)

    def count_requests(self, requests: int, unused: int = 0) -> None:
        """See `workers.Owner`."""
        self._quota.report(requests, unused)
        self.counters.requests += requests

    def count_request(self) -> None:
        """See `workers.Owner`."""
        if not self._quota.take():
            raise CutOff
        self.counters.requests += 1

    async def learnt_time(self) -> None:
        """See `workers.Owner`."""
        try:
            await self._keep_clock()
        except StoreError as exc:
            self.stop.stop(exc)

    async def _keep_clock(self) -> None:
        """Keep what was learnt of the vendor's clock, and its day's count, whatever comes next."""
        skew_s = self.clock.seen_skew_s
        if skew_s is None:
            return
        self.counters.clock_skew_s = round(skew_s)
        before, self._shifted_ms = self._shifted_ms, int(self.clock.offset_s * 1000)
        listed = self._job.listed
        await self._ledger.call(
            between_runs.keep_clock,
            self._job.run_id,
            skew_s,
            self._shifted_ms - before,
            self._quota.stored(),
            None if listed is None else (listed[0], listed[1] + before),
        )

    async def _held_up(self) -> None:
        """Wait for room in the journal, and while somebody fetches probes."""
        # Who waits when the run stops is cancelled; whoever comes here after that must not wait.
        while not self.stop.is_set and not self._has_room.is_set():
            await self._has_room.wait()
        await self.others.free()

    def _count_begun(self, task: Task) -> None:
        if not (task.is_last_try or task.again):
            self.counters.begun += 1

    def _count_cut_off(self, task: Task) -> None:
        if not (task.is_last_try or task.again):
            self.counters.cut_off += 1

    def _note_committed(self, records: int, size: int) -> None:
        self._waiting.add(records, size, self._now())
        self._weigh_journal()

    def _note_published(self, done: Published | None, waited: int, began: float) -> None:
        """`waited`: the records of the journal when the publication began."""
        if done is None:
            return
        self._published.append(done)
        took_all = done.records >= waited
        self._waiting.take(done.records, done.answer_bytes, all_before=began if took_all else None)
        self._weigh_journal()

    def _weigh_journal(self) -> None:
        """Publish once the journal is full or old; let nobody fetch while it is twice full."""
        if self._waiting.is_due(self._now()):
            self._due.set()
        else:
            # What was committed while a publication ran found the journal as full as it was.
            self._due.clear()
        self._is_full = self._waiting.is_full
        if self._is_full:
            self._has_room.clear()
        else:
            self._has_room.set()

    async def _watch_age(self) -> None:
        """The journal grows old also while nothing is committed."""
        while True:
            self._weigh_journal()
            await asyncio.sleep(self._waiting.look_again_in(self._now()))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _publish_when_due(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._publish_once()
            except Exception as exc:  # noqa: BLE001 - whatever it is, workers wait for room behind it
                self._has_room.set()
                self.stop.stop(as_reason(exc))
                return

    async def _publish_once(self) -> bool:
        """Publish the oldest range; False if there was none, or the run has to stop quickly."""
        waited, began = self._waiting.records, self._now()
        publishing = asyncio.ensure_future(
            asyncio.to_thread(
                self._publisher.publish,
                lambda: self.stop.is_hurried,
                is_fetching=self._phase == "fetching",
            )
        )
        try:
            done = await asyncio.shield(publishing)
        except asyncio.CancelledError:
            # A publication past its commit point is finished; before it, it gives up by itself.
            done = await publishing
            self._note_published(done, waited, began)
            raise
        self._note_published(done, waited, began)
        return done is not None

    async def _publish_rest(self) -> None:
        if self.stop.is_hurried:
            return
        self._phase = "publishing"
        while await self._publish_once():
            pass

    async def _keep_budget(self) -> None:
        deadline = self._job.deadline
        if deadline is None:
            return
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))
        self.stop.stop(
            BudgetReached(
                "--max-duration is over. What is not done stays pending: run the same command "
                "again to go on.",
                code="limit.duration",
            )
        )
