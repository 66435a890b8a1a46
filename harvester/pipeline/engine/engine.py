"""The run itself: workers take ids, ask, settle; behind them batches are acknowledged and ranges
of the journal published.

One direction and bounded queues: a worker holds its id until it is settled, a settled id waits in
one of two batches, a batch in the journal, and the journal is published before it grows past twice
its limit.  Whoever is in front waits for whoever is behind.

However a run ends, what it has is published, unless that would have to be quick (a signal: the
next run or `harvester publish` does it) or can't be trusted (the store fails).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping

import msgspec

from harvester.client.clock import VendorClock
from harvester.client.connect import Way
from harvester.config import Config, Secrets
from harvester.errors import BudgetReached, HarvesterError, StoreError
from harvester.inputs.voice_id import dated
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.engine.acknowledger import Acknowledger
from harvester.pipeline.engine.alarm import keep_watch
from harvester.pipeline.engine.backlog import Waiting
from harvester.pipeline.engine.counters import Tally
from harvester.pipeline.engine.doubt import Doubt
from harvester.pipeline.engine.fetcher import Fetcher, Sealer
from harvester.pipeline.engine.progress import Progress, Speedometer, retries, settled
from harvester.pipeline.engine.settle import Policy
from harvester.pipeline.engine.shutdown import CutOff, Stop, Worker
from harvester.pipeline.engine.task import Answered, Task
from harvester.pipeline.engine.task_source import DeferredPages, Pages, RunPages, TaskSource
from harvester.pipeline.limits.daily_quota import DayQuota
from harvester.pipeline.limits.outage_gate import OutageGate
from harvester.pipeline.limits.pace import Pace, SharedLimit, SharedPace
from harvester.pipeline.publish.publisher import Published, Publisher
from harvester.state import records
from harvester.state.values import WorkList
from harvester.state.writer import LedgerWriter

QUIET_AFTER_LOCK_S = 1.0
"""No request within a second of taking the lock: the run before this one had that second."""


class Job(msgspec.Struct, frozen=True):
    """What an engine works on."""

    run_id: str
    config: Config
    secrets: Secrets
    work_list: WorkList | None
    ids: ListFile | None
    to_ask: int
    """Open calls that are due, and what is pending of the list, as far as this run goes."""
    only: bool
    locked_at: float
    deadline: float | None
    """Monotonic time at which the run's `--max-duration` is over."""
    requests_by_day: Mapping[str, int]
    journal: tuple[int, int]
    """(records, bytes) that wait in the journal at the start."""
    connect: Way
    proof: str
    """What stands for this address with this key in the ledger once records were delivered there.
    """
    is_proven: bool
    """Whether records were delivered there, in whichever run."""
    limit: SharedLimit | None = None
    """What the processes of this machine share, if `pace.limit_file` names it."""
    last_skew_s: float = 0.0
    """What the run before learnt of (vendor clock - ours)."""
    listed: tuple[str, int] | None = None
    """The input that this run listed, by its key, and when, by our clock, in ms."""
    now: Callable[[], float] = time.time
    """Our clock, Unix time in seconds."""
    trace: Callable[[float], None] | None = None
    """Gets the monotonic time of each request that is written (tests)."""


class Engine:
    """One run on the event loop.  `run` returns; `stop.reason` says why it stopped early."""

    def __init__(self, job: Job, ledger: LedgerWriter, publisher: Publisher) -> None:
        """Must be made inside the running loop."""
        config = job.config
        self._job = job
        self._ledger = ledger
        self._publisher = publisher
        self.tally = Tally()
        self.stop = Stop()
        self.clock = VendorClock(job.now, time.monotonic, job.last_skew_s)
        self._shifted_ms = 0
        self.published: list[Published] = []
        rate_per_s, opens_at = config.pace.rate_per_s, job.locked_at + QUIET_AFTER_LOCK_S
        self._pace = (
            Pace(rate_per_s, opens_at=opens_at)
            if job.limit is None
            else SharedPace(rate_per_s, opens_at=opens_at, limit=job.limit)
        )
        self.gate = OutageGate(config.retry.max_outage_s, self.stop.stop)
        self._quota = DayQuota(
            config.pace.per_day,
            job.requests_by_day,
            self.stop.stop,
            self.clock,
        )
        policy = Policy(
            job.run_id,
            config.open_calls,
            config.retry,
            dated,
            lambda: self.clock.are_ages_sure,
        )
        self._acknowledger = Acknowledger(
            ledger,
            policy,
            job.work_list,
            self.tally,
            requests_of_day=self._quota.stored,
            on_committed=self._note_committed,
            on_failed=self.stop.stop,
        )
        self._doubt = Doubt(
            ledger,
            policy,
            self.clock,
            self.stop,
            per_day=config.pace.per_day,
            proof=job.proof,
            is_proven=job.is_proven,
            settle=self._acknowledger.add,
            count=self._count,
        )
        self._waiting = Waiting(config.output, job.journal)
        self._due = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._fetcher: Fetcher | None = None
        self._speed = Speedometer()
        self._phase = "asking"
        self._started = time.monotonic()

    @property
    def pace(self) -> Pace:
        """The run's pace."""
        return self._pace

    @property
    def requests_of_day(self) -> tuple[str, int]:
        """(day of +08:00, requests sent in it), to the last one."""
        return self._quota.stored()

    @property
    def in_journal(self) -> int:
        """Records that are safe in the journal and in no publication yet."""
        return self._waiting.records

    @property
    def failures(self) -> dict[str, str]:
        """What the latest failure of each cause said."""
        return self._fetcher.failures if self._fetcher else {}

    async def run(self) -> None:
        """Work the list down and publish.  Raises StoreError if nothing can be kept any more."""
        pace = self._job.config.pace
        sealer = Sealer(
            self._job.secrets,
            self._pace,
            self.clock,
            self.stop,
            self._count_request,
            concurrency=pace.concurrency,
        )
        transport = self._job.connect(self._job.config.vendor, pace.concurrency, sealer.seal)
        self._fetcher = fetcher = Fetcher(
            transport=transport,
            sealer=sealer,
            pace=self._pace,
            clock=self.clock,
            gate=self.gate,
            stop=self.stop,
            limits=self._job.config.retry,
            tally=self.tally,
            dice=random.random,
            others=self._doubt,
            is_counted=self._job.config.pace.per_day is not None,
        )
        self._doubt.fetcher = fetcher
        if not await self._depends_on_time():
            fetcher.begin()
        behind = [
            asyncio.create_task(self._acknowledger.keep_time()),
            asyncio.create_task(self._publish_when_due()),
            asyncio.create_task(self._watch_age()),
            asyncio.create_task(self._keep_budget()),
            asyncio.create_task(keep_watch(sealer.attempts, self._job.config.vendor.timeout_s)),
        ]
        try:
            await self._work(fetcher, self._first_pages())
            if not self.stop.is_set:
                await self._doubt.end_list()
            await self._acknowledger.flush()
            await self._work(fetcher, DeferredPages(self._ledger, self._job.run_id))
            await self._doubt.end()
            await self._acknowledger.flush()
        finally:
            await transport.close()
            for task in behind:
                task.cancel()
            await asyncio.gather(*behind, return_exceptions=True)
        await self._keep_clock()
        await self._publish_rest()

    def progress(self) -> Progress:
        """How it is going."""
        now = time.monotonic()
        tally = self.tally
        done = settled(tally)
        to_ask = self._job.to_ask
        requests_per_s, settled_per_s = self._speed.mark(now, tally["requests"], done)
        left = max(0, to_ask - done)
        return Progress(
            to_ask=to_ask,
            settled=done,
            delivered=tally["delivered"],
            open=tally["open"],
            dead=tally["dead"],
            deferred=tally["deferred"],
            requests=tally["requests"],
            retries=retries(tally),
            requests_per_s=requests_per_s,
            settled_per_s=settled_per_s,
            rate_per_s=self._job.config.pace.rate_per_s,
            pace_per_s=self._pace.rate_per_s,
            paused_s=self._pace.closed_for_s,
            outage=self.gate.is_shut,
            elapsed_s=now - self._started,
            eta_s=left / settled_per_s if settled_per_s > 0 else None,
            phase=self._phase_now,
            received_bytes=self._fetcher.received_bytes if self._fetcher else 0,
        )

    @property
    def _phase_now(self) -> str:
        is_stopping = self.stop.is_set and (self.stop.is_hurried or self._phase == "asking")
        return "stopping" if is_stopping else self._phase

    def _first_pages(self) -> RunPages:
        job = self._job
        return RunPages(self._ledger, self.clock, job.work_list, job.ids, job.run_id, only=job.only)

    async def _work(self, fetcher: Fetcher, pages: Pages) -> None:
        """Have all workers work until the pages are done or the run stops."""
        source = self._doubt.source = TaskSource(pages, self.stop)
        workers = [asyncio.create_task(self._worker(fetcher, source))]
        if not fetcher.heard.is_set():
            await self._open(fetcher, workers[0])
        workers += [
            asyncio.create_task(self._worker(fetcher, source))
            for _ in range(1, self._job.config.pace.concurrency)
        ]
        done, _ = await asyncio.wait(workers)
        failed = [w for w in done if not w.cancelled() and w.exception() is not None]
        if failed:
            await failed[0]

    async def _depends_on_time(self) -> bool:
        """Whether it matters now what time it is: requests count by the day, or calls look due."""
        if self._job.config.pace.per_day is not None:
            return True
        return bool(await self._ledger.call(records.due_open_calls, self.clock.now_ms(), "", 1))

    async def _open(self, fetcher: Fetcher, first: asyncio.Task[None]) -> None:
        """Let one worker go alone until its answers have shown the vendor's time."""
        hearing = asyncio.create_task(fetcher.heard.wait())
        try:
            await asyncio.wait({hearing, first}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hearing.cancel()
        try:
            await self._keep_clock()
        except StoreError as exc:
            self.stop.stop(exc)

    async def _keep_clock(self) -> None:
        """Keep what was learnt of the vendor's clock, and its day's count, whatever comes next."""
        skew_s = self.clock.seen_skew_s
        if skew_s is None:
            return
        self.tally["clock_skew_s"] = round(skew_s)
        before, self._shifted_ms = self._shifted_ms, int(self.clock.offset_s * 1000)
        listed = self._job.listed
        await self._ledger.call(
            records.keep_clock,
            self._job.run_id,
            skew_s,
            self._shifted_ms - before,
            self._quota.stored(),
            None if listed is None else (listed[0], listed[1] + before),
        )

    async def _worker(self, fetcher: Fetcher, source: TaskSource) -> None:
        with self.stop.enlisted() as worker:
            await self._work_on(fetcher, source, worker)

    async def _work_on(self, fetcher: Fetcher, source: TaskSource, worker: Worker) -> None:
        acknowledger, doubt = self._acknowledger, self._doubt
        while True:
            if doubt.is_probing or not self._has_room.is_set():
                await self._held_up()
            task = source.take_ready() or await source.take()
            if task is None:
                return
            if not task.is_last_try:
                self.tally["begun"] += 1
            try:
                conclusion = await fetcher.ask(task)
                worker.is_busy = True
                is_usual = doubt.is_calm and isinstance(conclusion, Answered)
                if not (is_usual and acknowledger.add_at_once(task, conclusion)):
                    await doubt.settle(task, conclusion)
            except CutOff:
                self._count("cut_off", task)
                return
            except asyncio.CancelledError:
                self._count("cut_off", task)
                raise
            except BaseException as exc:
                # One broken worker must not leave the others running for hours beside it.
                self.stop.stop(_as_reason(exc))
                raise
            finally:
                source.give_back(task)
            worker.is_busy = False
            if not doubt.is_calm:
                await doubt.look()

    async def _held_up(self) -> None:
        """Wait for room in the journal, and while somebody fetches probes."""
        # Who waits when the run stops is cancelled; whoever comes here after that must not wait.
        while not self.stop.is_set and not self._has_room.is_set():
            await self._has_room.wait()
        await self._doubt.free()

    def _count(self, name: str, task: Task) -> None:
        if not task.is_last_try:
            self.tally[name] += 1

    def _count_request(self) -> None:
        if not self._quota.take():
            raise CutOff
        self.tally["requests"] += 1
        if self._job.trace is not None:
            self._job.trace(time.monotonic())

    def _note_committed(self, records: int, size: int) -> None:
        self._waiting.add(records, size, self._now())
        self._weigh_journal()

    def _note_published(self, done: Published | None, waited: int, began: float) -> None:
        """`waited`: the records of the journal when the publication began."""
        if done is None:
            return
        self.published.append(done)
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
        if self._waiting.is_full:
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
                self.stop.stop(_as_reason(exc))
                return

    async def _publish_once(self) -> bool:
        """Publish the oldest range; False if there was none, or the run has to stop quickly."""
        waited, began = self._waiting.records, self._now()
        publishing = asyncio.ensure_future(
            asyncio.to_thread(
                self._publisher.publish,
                lambda: self.stop.is_hurried,
                is_asking=self._phase == "asking",
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
                "again to go on."
            )
        )


def _as_reason(exc: BaseException) -> HarvesterError:
    """Why the run stops; what nobody foresaw is named, told in the log alone, and exit code 1."""
    if isinstance(exc, HarvesterError):
        return exc
    reason = HarvesterError(
        f"this is a bug: {type(exc).__name__} where nothing of the kind was expected. Please "
        "report it with the run's log.jsonl. What was acknowledged is safe; the same command may "
        "be run again."
    )
    reason.__cause__ = exc
    return reason
