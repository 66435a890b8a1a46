"""A worker's own half: it sends the first request for an id, and judges what comes.

Theory of operation.  A worker decides nothing.  A record is a conclusion, and is made here, for
that is where the work is.  Anything else goes to the owner as it came: it tries again, confirms,
doubts and halts (`Fetcher.fetch_on`).  What a worker knows of the vendor is what it needs to send
at all: a pace of its share, that closes at vendor throttling, and a clock to sign with.

It sends by the latest order alone: nothing after the share's lease is over, no more than was
granted, nothing new once it is to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from harvester.client.clock import VendorClock
from harvester.client.connect import Way
from harvester.client.judge import judge, retry_after_s
from harvester.client.record_group import record_request
from harvester.client.transport import NoReply, Reply
from harvester.client.verdicts import Busy, Record, Throttled, Verdict
from harvester.config import Secrets
from harvester.pipeline.engine.alarm import keep_watch
from harvester.pipeline.engine.fetcher import STUCK
from harvester.pipeline.engine.heads import SPEAKS, Heads
from harvester.pipeline.engine.sealer import Sealer
from harvester.pipeline.engine.shutdown import CutOff, Stop, as_reason
from harvester.pipeline.engine.task import Answered
from harvester.pipeline.limits.pace import LeasedPace
from harvester.pipeline.workers.messages import Done, Given, Order, Report, Start, Unsent

REPORT_EVERY_S = 0.1
MOST_DONE = 500
"""Conclusions that don't wait for the tenth of a second to be over."""
_MOST_BYTES = 8 << 20
"""Answers that wait to be reported; whoever has more asks nothing new."""
_NS = 1_000_000_000
_UNSENT = Unsent()


class Asking:
    """Lives on one event loop, from its making to its owner's end or its own."""

    def __init__(
        self, start: Start, secrets: Secrets, connect: Way, now: Callable[[], float]
    ) -> None:
        """Must be made inside the running loop.  `now`: Unix time in seconds."""
        self._loop = asyncio.get_running_loop()
        self._stop = Stop()
        self._clock = VendorClock(now, self._loop.time, start.skew_s)
        self._heads = Heads(self._clock)
        self._pace = LeasedPace(opens_at=self._loop.time())
        self._sealer = Sealer(
            secrets,
            self._pace,
            self._clock,
            self._stop,
            self._count_request,
            concurrency=start.concurrency,
        )
        self._transport = connect(start.vendor, start.concurrency, self._sealer.seal)
        self._inbox = deque[str]()
        self._idle = deque[asyncio.Future[None]]()
        """Who waits for an id."""
        self._done: list[tuple[str, Done]] = []
        self._done_bytes = 0
        self._in_hand = 0
        self._much = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._granted: int | None = None
        self._requests = 0
        self._written: list[float] | None = [] if start.is_traced else None
        self._odd_hangups = 0
        self._received_bytes = 0
        self._pushed_back = 0
        self._alarm = asyncio.create_task(keep_watch(self._sealer.attempts, start.vendor.timeout_s))
        self._tasks = [asyncio.create_task(self._work()) for _ in range(start.concurrency)]

    @property
    def now_ns(self) -> int:
        """The worker's own monotonic clock."""
        return int(self._loop.time() * _NS)

    async def exchange(self, order: Order) -> Report:
        """Obey, and tell what has happened once there is much, or a tenth of a second is over.

        Raises whatever a task of this worker died of.
        """
        self._obey(order)
        try:
            async with asyncio.timeout(REPORT_EVERY_S):
                await self._much.wait()
        except TimeoutError:
            pass
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()
        return self._report()

    async def close(self) -> None:
        """End everything, whatever is on its way."""
        tasks = [*self._tasks, self._alarm]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()

    def _obey(self, order: Order) -> None:
        until = order.heard_ns / _NS + order.lease_s
        if self._pace.lease(order.share_per_s, until):
            self._sealer.fit()
        if order.slower:
            self._pace.heed(order.closed_s)
        elif order.closed_s > 0:
            self._pace.close(order.closed_s)
        if order.grant is not None:
            self._granted = (self._granted or 0) + order.grant
        self._inbox.extend(order.ids)
        for _ in range(min(len(self._inbox), len(self._idle))):
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
        if order.stop and not self._stop.is_set:
            self._stop.stop(as_reason(CutOff()))  # nobody here is told why
        if self._stop.is_set:
            self._done += [(voice_id, _UNSENT) for voice_id in self._inbox]
            self._inbox.clear()

    def _report(self) -> Report:
        done, self._done = self._done, []
        requests, self._requests = self._requests, 0
        written = self._written or []
        if written:
            self._written = []
        odd_hangups, self._odd_hangups = self._odd_hangups, 0
        received_bytes, self._received_bytes = self._received_bytes, 0
        pace = self._pace
        is_pushed_back = pace.pushed_back > self._pushed_back
        self._pushed_back = pace.pushed_back
        self._done_bytes = 0
        self._much.clear()
        self._room.set()
        unused = 0
        if self._granted and not self._in_hand and not self._inbox:
            unused, self._granted = self._granted, 0
        return Report(
            at_ns=self.now_ns,
            done=done,
            requests=requests,
            unused=unused,
            odd_hangups=odd_hangups,
            received_bytes=received_bytes,
            push_back_s=pace.closed_for_s if is_pushed_back else None,
            rate_per_s=pace.rate_per_s,
            is_slowed=pace.is_lowered,
            written=written,
        )

    def _count_request(self) -> None:
        """A request is about to be written.  Raises CutOff where none is granted."""
        if self._granted is not None:
            if not self._granted:
                raise CutOff
            self._granted -= 1
        self._requests += 1
        if self._written is not None:
            self._written.append(time.monotonic())

    async def _work(self) -> None:
        with self._stop.enlisted() as worker:
            while not self._stop.is_set:
                if not self._room.is_set():
                    await self._room.wait()
                if not self._inbox:
                    self._idle.append(idle := self._loop.create_future())
                    await idle
                    continue
                voice_id = self._inbox.popleft()
                self._in_hand += 1
                done: Done = _UNSENT
                try:
                    done = await self._ask(voice_id)
                except CutOff:
                    pass  # it goes back
                finally:
                    worker.is_busy = False
                    self._in_hand -= 1
                    self._finish(voice_id, done)

    def _finish(self, voice_id: str, done: Done) -> None:
        self._done.append((voice_id, done))
        if len(self._done) == MOST_DONE:
            self._much.set()
        if self._done_bytes >= _MOST_BYTES:
            self._much.set()
            self._room.clear()

    async def _ask(self, voice_id: str) -> Done:
        """One attempt, and what came of it."""
        attempt = self._sealer.enter_at_once() or await self._sealer.enter()
        answer: Reply | NoReply
        try:
            answer = await self._transport.send(record_request(voice_id))
        except asyncio.CancelledError:
            if not attempt.was_cut():
                raise
            answer = STUCK
        finally:
            generation, attempt.generation = attempt.generation, None
            if attempt.place is not None:
                self._sealer.leave(attempt)
        now = self._loop.time()
        if isinstance(answer, NoReply):
            self._pace.note(now, busy=False)
            return Given(no_reply=answer)
        size = len(answer.body)
        self._received_bytes += size
        self._done_bytes += size
        verdict = judge(voice_id, answer, self._clock.now())
        self._learn(now, verdict, generation, answer)
        if not isinstance(verdict, Record):
            return Given(reply=answer)
        if verdict.odd_hangup:
            self._odd_hangups += 1
        (record,) = verdict.records  # one id was asked for
        return Answered(record.raw, record.over, self._clock.now_ms(), record.is_rated)

    def _learn(self, now: float, verdict: Verdict, generation: int | None, reply: Reply) -> None:
        is_record = isinstance(verdict, Record)
        if now >= self._heads.next_date_at or not is_record:
            self._heads.learn(now, verdict, generation, reply)
        if reply.retry_after and isinstance(verdict, SPEAKS):
            # Any answer may ask for a pause, also one that settles its id.
            self._pace.slow_down(retry_after_s(reply.retry_after, self._clock.now()))
        if isinstance(verdict, Throttled):
            self._pace.slow_down(verdict.after_s)
        else:
            self._pace.note(now, busy=isinstance(verdict, Busy))
