"""The ids that this process fetches itself, where it has workers beside it.

First come those whose first attempt a worker made and that brought no record; of new ones only as
many as its own share of the limit lets it send, so that somebody is always free for the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from harvester.client.transport import NoReply, Reply
from harvester.pipeline.engine.fetcher import Fetcher
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Conclusion, Task
from harvester.pipeline.engine.workers import Others, Owner


class Passed(msgspec.Struct, frozen=True):
    """An id that a worker passed on."""

    task: Task
    answer: Reply | NoReply | None
    """What the first attempt brought; None: it is to be made again."""
    is_outage: bool | None
    """See `Fetcher.fetch_on`."""


class Front:
    """The run's owner, as the workers of this process see it."""

    def __init__(self, owner: Owner, stop: Stop, take_rest: Callable[[], Task | None]) -> None:
        """`take_rest`: an id that was taken for others and that they don't want any more."""
        self._owner = owner
        self._stop = stop
        self._take_rest = take_rest
        self.fetcher: Fetcher
        self.is_others_turn: Callable[[], bool] = lambda: False
        """Whether others still have ids, which may come here."""
        self.most_new = 1
        """So many new ids may be in hand at once."""
        self.passed: deque[Passed] = deque()
        self._begun: dict[str, Passed] = {}
        """What was passed on and is in hand, until its fetching begins."""
        self._new: set[str] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def others(self) -> Others:
        """See `Owner`."""
        return self._owner.others

    @property
    def new(self) -> int:
        """How many new ids are in hand."""
        return len(self._new)

    def pass_on(self, passed: Passed) -> None:
        """Have an id fetched here."""
        self.passed.append(passed)
        self.wake(1)

    def wake(self, count: int | None = None) -> None:
        """Have so many of those that wait look again; None: all."""
        while self._waiters and (count is None or count > 0):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count = None if count is None else count - 1

    async def fetch(self, task: Task) -> Conclusion:
        """As `Fetcher.fetch`, from wherever it is."""
        passed = self._begun.pop(task.voice_id, None)
        if passed is None or passed.answer is None:
            return await self.fetcher.fetch(task)
        return await self.fetcher.fetch_on(task, passed.answer, is_outage=passed.is_outage)

    def take_at_once(self) -> Task | None:
        """See `Owner`."""
        if self.passed:
            passed = self.passed.popleft()
            self._begun[passed.task.voice_id] = passed
            return passed.task
        if len(self._new) >= self.most_new or self._stop.is_set:
            return None
        return self._noted(self._owner.take_at_once())

    async def take(self) -> Task | None:
        """See `Owner`."""
        while not self._stop.is_set:
            task = self.take_at_once()
            if task is None and len(self._new) < self.most_new:
                task = self._noted(await self._owner.take() or self._take_rest())
                if task is None and not self.passed and not self.is_others_turn():
                    self.wake()  # the others are to see that as well
                    return None
            if task is not None:
                return task
            if not self.passed:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter
        return None

    def conclude_at_once(self, task: Task, conclusion: Conclusion) -> bool:
        """See `Owner`."""
        if not self._owner.conclude_at_once(task, conclusion):
            return False
        self._over(task)
        return True

    async def conclude(self, task: Task, conclusion: Conclusion) -> None:
        """See `Owner`."""
        await self._owner.conclude(task, conclusion)
        self._over(task)

    def cut_off(self, task: Task) -> None:
        """See `Owner`."""
        self._owner.cut_off(task)
        self._over(task)

    def put_back(self, task: Task) -> None:
        """See `Owner`."""
        self._owner.put_back(task)
        self.wake()

    def grant(self, requests: int) -> int | None:
        """See `Owner`."""
        return self._owner.grant(requests)

    def count_request(self) -> None:
        """See `Owner`."""
        self._owner.count_request()

    def count_requests(self, requests: int, unused: int = 0) -> None:
        """See `Owner`."""
        self._owner.count_requests(requests, unused)

    async def learnt_time(self) -> None:
        """See `Owner`."""
        await self._owner.learnt_time()

    def cut_off_passed(self) -> None:
        """The run stops, and nobody will fetch these."""
        while self.passed:
            self._owner.cut_off(self.passed.popleft().task)

    def _noted(self, task: Task | None) -> Task | None:
        if task is not None:
            self._new.add(task.voice_id)
        return task

    def _over(self, task: Task) -> None:
        self._begun.pop(task.voice_id, None)
        if task.voice_id in self._new:
            self._new.discard(task.voice_id)
            self.wake(1)
