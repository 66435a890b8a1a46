"""The workers of a run that has processes beside its own.

Theory of operation.  This process stays a whole crew of one: it learns the vendor's time alone, and
all that takes judgement (retries, doubt, refusals, outages) happens in its `Fetcher`.  The others
carry the common case: an id, its turn, one request, a record.  What is no record comes back here
and is gone on with, before new ids (`front`).

Each worker has a loop: an order, a report, what the report brings.  A conclusion counts only while
that worker holds the id, so nothing is concluded twice, whatever becomes of a worker.  One that is
gone, or has not reported in time, is given up: its ids go back, its share counts until its lease is
over (`limits.shares`), and another one is started in its place, behind the others' backs.

Each stage waits while the next one is full: a report's records for room in a batch, orders for
reports, ids for orders.  An owner that is held up for longer than a lease so stops its workers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from math import inf
from typing import TypeAlias

import msgspec

from harvester.client.clock import VendorClock
from harvester.client.judge import judge
from harvester.client.transport import Reply
from harvester.client.verdicts import Busy, Refusal
from harvester.pipeline.engine.local_workers import Fetching, LocalWorkers
from harvester.pipeline.engine.shutdown import GRACE_S, Stop, as_reason
from harvester.pipeline.engine.task import Answered, Task
from harvester.pipeline.engine.workers import Figures, MakeWorkers, Owner, Prober
from harvester.pipeline.limits.health import PROBE_EVERY_S, REFUSALS_THAT_HALT, OutageWatch
from harvester.pipeline.limits.pace import LeasedPace
from harvester.pipeline.limits.shares import LEASE_S, SECOND_NS, Party, Shares
from harvester.pipeline.workers.front import Front, Passed
from harvester.pipeline.workers.link import Link
from harvester.pipeline.workers.messages import (
    Given,
    Hello,
    Order,
    Report,
    Start,
    Unsent,
    WorkerGone,
)
from harvester.state.values import Counters
from harvester.version import __version__

REPORT_WITHIN_S = 10.0
START_WITHIN_S = 60.0
_AGAIN_S, _AGAIN_MOST_S = 1.0, 30.0
_ROUND_S = 0.1
_SHUT_S = 1.0
_WEIGHED_S = 1.0
_WEIGHED_LAST = 5
_FULL_PART = 0.8
_TO_SPARE = 2.0
_MOST_IDS = 4_000
_MOST_PASSED = 1_000
_SOON_S = 2.0
"""What waits here is to be sent within this time."""
_ORDERED_S = 0.5
_ORDERED_MOST_S = 4.0
_ADDRESS = frozenset({"-2", "-31"})
"""Refusals of the address that a request comes from, not of the key."""

MakeLinks: TypeAlias = Callable[[int], Sequence[Link]]


class Crew(msgspec.Struct, frozen=True, kw_only=True):
    """Who works beside this process, and what they are told."""

    count: int
    links: MakeLinks
    to_fetch: int
    """Ids of the run, as far as is known: few are not worth a worker."""
    tells_secrets: bool = True
    """Whether a worker is sent key and secret; else it has its own."""
    close: Callable[[], None] = lambda: None
    """Lets go of whatever all the links share."""


def with_workers(fetching: Fetching, crew: Crew) -> MakeWorkers:
    """This process and others, to be made inside the loop."""
    return partial(Dispatcher, fetching, crew)


class _Hand:
    """One link, its worker of now, and what that one holds."""

    def __init__(self, number: int, link: Link, party: Party) -> None:
        self.number = number
        self.link = link
        self.party = party
        self.held: dict[str, Task] = {}
        self.watch = OutageWatch()
        self.probe_at = 0.0
        self.denied = 0
        """Refusals of its address since its latest record."""
        self.is_slower = False
        """Whether it is still to hear that others met vendor throttling."""
        self.is_up = False
        self.trouble = ""
        """Why it was lost last."""
        self.is_retired = False
        self.slowed_by = 0.0
        """What its pace is below its share, for the vendor's sake, in requests a second."""
        self.uses: deque[float] = deque(maxlen=_WEIGHED_LAST)
        """Requests a second, of late."""
        self.sent = 0
        self.weighed_from = 0.0
        self.weighed_share = 0.0

    def weigh_from(self, now: float, share: float) -> None:
        """Begin to count what it uses of `share`."""
        self.sent, self.weighed_from, self.weighed_share = 0, now, share


class Dispatcher:
    """See `workers.Workers`."""

    def __init__(  # noqa: PLR0917 - as `MakeWorkers` has them
        self,
        fetching: Fetching,
        crew: Crew,
        owner: Owner,
        clock: VendorClock,
        stop: Stop,
        counters: Counters,
    ) -> None:
        """Must be made inside the running loop."""
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._clock = clock
        self._stop = stop
        self._counters = counters
        self._close_crew = crew.close
        self._trace = fetching.trace
        self._concurrency = fetching.pace.concurrency
        self._limit_per_s = fetching.pace.rate_per_s
        self._shares = Shares(self._limit_per_s)
        self._pace = LeasedPace(opens_at=fetching.locked_at + fetching.quiet_s)
        self._ready: deque[Task] = deque()
        """Taken for the workers, and not ordered yet."""
        self._front = Front(owner, stop, self._take_ready)
        self._front.is_others_turn = self._is_out
        self._local = LocalWorkers(fetching, self._front, clock, stop, counters, of_pace=self._pace)
        self._front.fetcher = self._local.fetcher
        self._local.fetch = self._front.fetch
        self._start = Start(
            version=__version__,
            vendor=fetching.vendor
            if crew.tells_secrets
            else msgspec.structs.replace(fetching.vendor, proxy=None),
            concurrency=self._concurrency,
            secrets=(fetching.secrets.api_key, fetching.secrets.api_secret)
            if crew.tells_secrets
            else None,
            skew_s=0.0,
            is_traced=fetching.trace is not None,
        )
        count = min(crew.count, self._shares.most_workers, self._worth(crew.to_fetch))
        self._hands = [
            _Hand(number, link, self._shares.join())
            for number, link in enumerate(crew.links(count), 1)
        ]
        for hand in self._hands:
            hand.party.wants = 0.0
        self._suspects: set[str] = set()
        """Ids that were with a worker when it was lost."""
        self._serving: list[asyncio.Task[None]] = []
        self._is_dry = False
        """Whether there were no more ids when some were to be taken for the workers."""
        self._is_refused = False
        """Whether the day's budget had too little for the latest order."""
        self._is_short = asyncio.Event()
        """Set when more ids may be taken for the workers."""
        self._passed_per_s = 0.0
        self._passed = 0
        self._received_bytes = 0
        self._lost: list[tuple[int, str]] = []
        self._keep_local()

    @property
    def prober(self) -> Prober:
        """See `Workers`."""
        return self._local.prober

    def figures(self) -> Figures:
        """See `Workers`."""
        figures = self._local.figures()
        slowed = [hand.slowed_by for hand in self._hands]
        if self._pace.is_lowered:
            slowed.append(self._shares.local.share - self._pace.rate_per_s)
        return msgspec.structs.replace(
            figures,
            # Shares come and go; only the vendor makes the pace of all less than the limit.
            pace_per_s=max(0.0, self._limit_per_s - sum(slowed)),
            received_bytes=figures.received_bytes + self._received_bytes,
            workers=sum(hand.is_up and not hand.is_retired for hand in self._hands),
            lost=tuple(self._lost),
        )

    async def work(self) -> None:
        """See `Workers`."""
        if not self._serving and not self._stop.is_set:
            self._serving = [self._begun(self._keep())]
            self._serving += [self._begun(self._serve(hand)) for hand in self._hands]
        feeding = self._begun(self._feed())
        try:
            await self._local.work()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await self._take_home()

    def begin_in_outage(self, since: float) -> None:
        """See `Workers`."""
        self._local.begin_in_outage(since)

    async def close(self) -> None:
        """See `Workers`."""
        await self._end_serving()
        await asyncio.gather(*(hand.link.close() for hand in self._hands))
        await asyncio.to_thread(self._close_crew)
        await self._local.close()

    async def _end_serving(self) -> None:
        """Whoever waits in the middle of a report has not concluded, and will not."""
        serving, self._serving = self._serving, []
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def _begun(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """A broken loop must not leave the others running for hours beside it."""
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._stop.stop(as_reason(exc))
            self._front.wake()

    # Ids.

    def _worth(self, to_fetch: int) -> int:
        """How many workers so many ids are worth."""
        return to_fetch // (2 * self._concurrency)

    def _is_out(self) -> bool:
        """Whether ids are taken for the workers, or are with them."""
        return bool(self._ready) or any(hand.held for hand in self._hands)

    def _take_ready(self) -> Task | None:
        return self._ready.popleft() if self._ready else None

    async def _feed(self) -> None:
        """Take ids for the workers, as many as they will be ordered to fetch next."""
        self._is_dry = False
        await self._local.fetcher.let_in.wait()
        while True:
            while (room := sum(map(self._room, self._hands)) - len(self._ready)) > 0:
                task = self._take_at_once(room) or await self._owner.take()
                self._is_dry = task is None
                if task is None:
                    break
                self._ready.append(task)
            self._is_short.clear()
            await self._is_short.wait()

    def _take_at_once(self, count: int) -> Task | None:
        """Take `count` ids, or as many as can be had without waiting; the last of `count`."""
        for _ in range(count - 1):
            task = self._owner.take_at_once()
            if task is None:
                return None
            self._ready.append(task)
        return self._owner.take_at_once()

    @property
    def _is_suspicious(self) -> bool:
        """Whether the key may be refused: then nobody is to try it but this process."""
        return self._owner.others.refusals.is_suspected

    def _room(self, hand: _Hand) -> int:
        """How many more ids the worker may hold."""
        gate, passed = self._local.gate, self._front.passed
        if not hand.is_up or hand.is_retired or self._stop.is_set:
            return 0
        if gate.is_shut or self._is_suspicious or len(passed) >= _MOST_PASSED:
            return 0
        if hand.watch.since is not None:
            return int(not hand.held and self._loop.time() >= hand.probe_at)
        share = hand.party.share
        at_once = min(2.0 * self._concurrency, _ORDERED_MOST_S * share)
        return max(0, min(_MOST_IDS, int(max(_ORDERED_S * share, at_once))) - len(hand.held))

    async def _take_home(self) -> None:
        """What is still out when nobody fetches here any more: the run stops."""
        try:
            async with asyncio.timeout(GRACE_S):
                while any(hand.held for hand in self._hands):  # noqa: ASYNC110 - in no hurry
                    await asyncio.sleep(_ROUND_S / 2)
        except TimeoutError:
            await self._end_serving()
        while self._ready:
            self._owner.cut_off(self._ready.popleft())
        self._front.cut_off_passed()

    # Workers.

    async def _serve(self, hand: _Hand) -> None:
        """One worker after the other, until the run ends or the address is refused."""
        again_s = _AGAIN_S
        while not hand.is_retired:
            if not hand.party.is_there:
                hand.party = self._shares.join()
                hand.party.wants = 0.0
            try:
                hello = await self._started(hand)
                began = self._loop.time()
                await self._exchange(hand, hello)
            except WorkerGone as exc:
                self._note_lost(hand, str(exc))
                if hand.is_up and self._loop.time() - began > _AGAIN_MOST_S:
                    again_s = _AGAIN_S
            finally:
                self._give_up(hand)
            await hand.link.close()
            if self._stop.is_set:
                return
            await asyncio.sleep(again_s)
            again_s = min(_AGAIN_MOST_S, 2 * again_s)

    def _note_lost(self, hand: _Hand, why: str) -> None:
        """Once for each worker that had begun, and once for each reason why none begins."""
        if hand.is_up or why != hand.trouble:
            hand.trouble = why
            self._lost.append((hand.number, why))

    async def _started(self, hand: _Hand) -> Hello:
        start = msgspec.structs.replace(self._start, skew_s=self._clock.offset_s)
        try:
            async with asyncio.timeout(START_WITHIN_S):
                hello = await hand.link.start(start)
        except TimeoutError:
            raise WorkerGone(f"it did not start within {START_WITHIN_S:.0f} s") from None
        if hello.trouble:
            raise WorkerGone(hello.trouble)
        if hello.version != __version__:
            raise WorkerGone(
                f"it has cdr-harvester {hello.version}, this process {__version__}: install the "
                "same version in both places"
            )
        hand.is_up = True
        hand.party.wants = inf
        hand.uses.clear()
        hand.watch = OutageWatch()
        return hello

    def _give_up(self, hand: _Hand) -> None:
        """The worker is gone: others fetch what it held."""
        self._shares.leave(hand.party)
        hand.is_up = False
        hand.slowed_by = 0.0
        held, hand.held = hand.held, {}
        for task in held.values():
            if self._stop.is_set:
                self._owner.cut_off(task)
            elif task.voice_id in self._suspects:
                # Two workers were lost over it: if it is its answer, that must not go on for ever.
                self._front.pass_on(Passed(task, None, False))
            else:
                self._suspects.add(task.voice_id)
                self._owner.put_back(task)
        self._is_short.set()
        self._front.wake()

    async def _exchange(self, hand: _Hand, hello: Hello) -> None:
        """Orders and reports until the worker is retired.  Raises WorkerGone."""
        heard_ns = hello.at_ns
        while not hand.is_retired:
            order = self._order(hand, heard_ns)
            try:
                async with asyncio.timeout(REPORT_WITHIN_S):
                    report = await hand.link.exchange(order)
            except TimeoutError:
                raise WorkerGone(f"no report within {REPORT_WITHIN_S:.0f} s") from None
            self._shares.reported(hand.party, self._now_ns())
            heard_ns = report.at_ns
            self._note(hand, report)
            for voice_id, done in report.done:
                task = hand.held.get(voice_id)
                if task is None:
                    continue
                if isinstance(done, Answered):
                    self._note_record(hand, task)
                    if not self._owner.conclude_at_once(task, done):
                        await self._owner.conclude(task, done)
                elif isinstance(done, Unsent):
                    self._hand_back(task)
                else:
                    self._pass_on(hand, task, done)
                hand.held.pop(voice_id, None)
            self._is_short.set()
            if not self._is_out():
                self._front.wake()

    def _order(self, hand: _Hand, heard_ns: int) -> Order:
        now = self._loop.time()
        count = min(self._room(hand), len(self._ready))
        closed_s = self._pace.closed_for_s
        if self._local.gate.is_shut:
            closed_s = _SHUT_S
        elif self._is_suspicious:
            closed_s = max(closed_s, 3 * _ROUND_S)
        grant = self._owner.grant(count)
        self._is_refused = grant is not None and grant < count
        if grant is not None:
            count = min(count, grant)
        ids = []
        for _ in range(count):
            task = self._ready.popleft()
            hand.held[task.voice_id] = task
            ids.append(task.voice_id)
        if ids and hand.watch.since is not None:
            hand.probe_at = now + PROBE_EVERY_S
        is_slower, hand.is_slower = hand.is_slower, False
        return Order(
            ids=ids,
            share_per_s=self._shares.order(hand.party, self._now_ns()),
            heard_ns=heard_ns,
            lease_s=LEASE_S,
            closed_s=closed_s,
            slower=is_slower,
            grant=grant,
            stop=self._stop.is_set,
        )

    def _note(self, hand: _Hand, report: Report) -> None:
        """What a report says beside its conclusions."""
        if report.requests or report.unused:
            self._owner.count_requests(report.requests, report.unused)
        if self._trace is not None:
            for at in report.written:
                self._trace(at)
        self._counters.odd_hangups += report.odd_hangups
        self._received_bytes += report.received_bytes
        hand.slowed_by = hand.party.share - report.rate_per_s if report.is_slowed else 0.0
        if report.push_back_s is not None:
            self._pace.heed(report.push_back_s)
            for other in self._hands:
                other.is_slower = other.is_slower or other is not hand
        self._weigh(hand, report)

    def _weigh(self, hand: _Hand, report: Report) -> None:
        """What the worker can use, by what it has used of the same share in whole seconds."""
        now, share = self._loop.time(), hand.party.share
        hand.sent += report.requests
        is_closed = self._pace.closed_for_s > 0 or self._local.gate.is_shut
        may_begin = self._local.fetcher.let_in.is_set()
        if share != hand.weighed_share or is_closed or not may_begin:
            hand.weigh_from(now, share)
        if self._is_dry and not hand.held and not self._ready:
            hand.party.wants = 0.0
        elif not share:
            hand.party.wants = inf
        elif now - hand.weighed_from >= _WEIGHED_S:
            hand.uses.append(hand.sent / (now - hand.weighed_from))
            hand.weigh_from(now, share)
            most = max(hand.uses)
            if report.is_slowed or most >= _FULL_PART * share:
                # Not more than twice as much at once: so others keep what they use.
                hand.party.wants = share if report.is_slowed else 2.0 * share + _TO_SPARE
            else:
                hand.party.wants = most / _FULL_PART + _TO_SPARE

    def _note_record(self, hand: _Hand, task: Task) -> None:
        now = self._loop.time()
        self._local.fetcher.note_record(task, now)
        hand.watch.note(now, failed=False)
        hand.denied = 0

    def _hand_back(self, task: Task) -> None:
        if self._stop.is_set:
            self._owner.cut_off(task)
        else:
            self._front.put_back(task)

    def _pass_on(self, hand: _Hand, task: Task, done: Given) -> None:
        """What is no record is gone on with here."""
        now, answer = self._loop.time(), done.answer
        self._passed += 1
        verdict = (
            judge(task.voice_id, answer, self._clock.now()) if isinstance(answer, Reply) else None
        )
        hand.watch.note(now, failed=verdict is None or isinstance(verdict, Busy))
        if isinstance(verdict, Refusal) and verdict.what in _ADDRESS:
            # It says nothing of any other address: the id is asked for from here.
            hand.denied += 1
            self._front.pass_on(Passed(task, None, False))
            if hand.denied >= REFUSALS_THAT_HALT and not hand.is_retired:
                hand.is_retired = True
                why = f"the vendor refuses its address ({verdict.what}): have it let in"
                self._note_lost(hand, why)
            return
        ups = [one for one in self._hands if one.is_up and not one.is_retired]
        is_of_all = all(one.watch.since is not None for one in ups)
        is_outage = hand.watch.since is not None
        self._front.pass_on(Passed(task, answer, None if is_of_all else is_outage))

    # The share of this process.

    async def _keep(self) -> None:
        """Keep this process's own share, and look after whoever waits."""
        pushed_back = 0
        while True:
            await asyncio.sleep(_ROUND_S)
            if self._pace.pushed_back > pushed_back:
                pushed_back = self._pace.pushed_back
                for hand in self._hands:
                    hand.is_slower = True
            self._passed_per_s += self._passed - _ROUND_S * self._passed_per_s
            self._passed = 0
            self._keep_local()
            self._is_short.set()
            if self._stop.is_set:
                self._front.wake()

    def _keep_local(self) -> None:
        shares, front = self._shares, self._front
        local = shares.local
        is_alone = not any(hand.is_up and hand.party.wants > 0 for hand in self._hands) or (
            self._is_refused and not any(hand.held for hand in self._hands)
        )
        backlog = (len(front.passed) + max(0, front.new - front.most_new)) / _SOON_S
        local.wants = inf if is_alone else local.least + 2 * self._passed_per_s + backlog
        if self._pace.lease(shares.order(local, self._now_ns()), inf):
            self._local.sealer.fit()
        before = front.most_new
        front.most_new = self._concurrency if is_alone else self._most_new(local.share)
        if front.most_new > before:
            front.wake(front.most_new - before)

    def _most_new(self, share: float) -> int:
        return max(2, min(self._concurrency, int(share)))

    def _now_ns(self) -> int:
        return int(self._loop.time() * SECOND_NS)
