"""Workers of one process: one goes first, then all; however one ends, its id is accounted for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import pairwise

import pytest

from harvester.client.clock import VendorClock
from harvester.client.transport import Reply
from harvester.config import Pace, Retry, Vendor
from harvester.errors import HarvesterError, Interrupted, StoreError
from harvester.pipeline.engine.local_workers import Fetching, LocalWorkers, pace_of, traced
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.engine.task import Answered, Conclusion, PutOff, Task
from harvester.pipeline.limits.pace import SharedPace
from harvester.state.values import Counters
from tests.support.fakes import SECRETS, Answer, FakeVendor, record, status
from tests.support.virtual_time import run_virtually, virtual_loop
from tests.unit.test_pipeline_fetcher import Alone

NOW = 1_800_000_000.0
IDS = [f"{n:03}" for n in range(40)]
QUIET_S = 3.0


class Owner:
    """Hands out ids, and notes what became of each."""

    def __init__(self, ids: Iterable[str], stop: Stop) -> None:
        self.others = Alone()
        self.waiting = deque(Task(one) for one in ids)
        self.concluded: dict[str, Conclusion] = {}
        self.off: list[str] = []
        self.requests = 0
        self.learnt_at: list[float] = []
        self.is_slow = False
        """Whether a conclusion has to wait for room."""
        self.fails: Exception | None = None
        """What comes of a conclusion."""
        self._stop = stop

    def take_at_once(self) -> Task | None:
        """See `Owner`: each second one has to be waited for."""
        return self._next() if len(self.waiting) % 2 else None

    async def take(self) -> Task | None:
        """See `Owner`."""
        await asyncio.sleep(0)
        return self._next()

    def _next(self) -> Task | None:
        return self.waiting.popleft() if self.waiting and not self._stop.is_set else None

    def conclude_at_once(self, task: Task, conclusion: Conclusion) -> bool:
        """See `Owner`."""
        if self.fails is not None or self.is_slow:
            return False
        self._note(task, conclusion)
        return True

    async def conclude(self, task: Task, conclusion: Conclusion) -> None:
        """See `Owner`."""
        if self.fails is not None:
            raise self.fails
        await asyncio.sleep(1.0)
        self._note(task, conclusion)

    def _note(self, task: Task, conclusion: Conclusion) -> None:
        assert task.voice_id not in self.concluded
        self.concluded[task.voice_id] = conclusion

    def cut_off(self, task: Task) -> None:
        """See `Owner`."""
        self.off.append(task.voice_id)

    def put_back(self, task: Task) -> None:
        """See `Owner`."""
        raise AssertionError("nobody hands anything back here")

    def count_request(self) -> None:
        """See `Owner`."""
        self.requests += 1

    def grant(self, requests: int) -> int | None:
        """See `Owner`."""
        raise AssertionError("nobody else sends")

    def count_requests(self, requests: int, unused: int = 0) -> None:
        """See `Owner`."""
        raise AssertionError("nobody else sends")

    async def learnt_time(self) -> None:
        """See `Owner`."""
        await asyncio.sleep(1.0)
        self.learnt_at.append(virtual_loop().time())


class Crew:
    """Workers, their owner and their vendor."""

    def __init__(self, vendor: FakeVendor, ids: Iterable[str] = IDS, **pace: object) -> None:
        loop = virtual_loop()
        self.began = loop.time()
        self.stop = Stop()
        self.owner = Owner(ids, self.stop)
        self.vendor = vendor
        self.written: list[float] = []
        self.fetching = Fetching(
            vendor=Vendor(),
            pace=Pace(**{"rate_per_s": 1000.0, "concurrency": 4, **pace}),  # type: ignore[arg-type]
            retry=Retry(),
            secrets=SECRETS,
            connect=vendor.connect,
            locked_at=self.began,
            quiet_s=QUIET_S,
            trace=self.written.append,
        )
        clock = VendorClock(lambda: NOW, loop.time)
        self.workers = LocalWorkers(self.fetching, self.owner, clock, self.stop, Counters())

    async def work(self) -> None:
        try:
            await self.workers.work()
        finally:
            await self.workers.close()


def test_one_goes_alone_until_what_its_answer_showed_is_kept() -> None:
    async def main() -> None:
        crew = Crew(FakeVendor(latency_s=lambda i, n: 5.0 if i == IDS[0] else 0.05))
        await crew.work()
        assert sorted(crew.owner.concluded) == IDS
        (learnt_at,) = crew.owner.learnt_at
        first, *others = crew.vendor.times
        assert first == pytest.approx(crew.began + QUIET_S, abs=0.01)
        assert learnt_at == pytest.approx(first + 6.0, abs=0.1)
        early = [at for at in others if at < learnt_at]
        assert all(at >= first + 5.0 for at in others)
        gaps = [after - at for at, after in pairwise(early)]
        assert all(gap >= 0.05 for gap in gaps), "by the first worker, one after the other"
        assert crew.vendor.most_in_flight == 4
        assert crew.vendor.closed
        assert crew.owner.requests == len(crew.vendor.log) == len(crew.written)

    run_virtually(main)


def test_in_a_second_round_nobody_goes_alone() -> None:
    async def main() -> None:
        crew = Crew(FakeVendor(), IDS[:1])
        await crew.workers.work()
        crew.owner.waiting.extend(map(Task, IDS[1:]))
        await crew.work()
        assert crew.vendor.most_in_flight == 4
        assert len(crew.owner.learnt_at) == 1

    run_virtually(main)


def test_a_first_worker_that_finds_no_id_keeps_nobody_waiting() -> None:
    async def main() -> None:
        crew = Crew(FakeVendor(), ())
        async with asyncio.timeout(60):
            await crew.work()
        assert crew.vendor.log == []

    run_virtually(main)


@pytest.mark.parametrize("where", ["at the pace", "in a backoff", "on the wire"])
def test_whoever_is_stopped_leaves_each_id_concluded_or_cut_off_and_none_twice(where: str) -> None:
    async def main() -> None:
        busy = where == "in a backoff"
        vendor = FakeVendor(
            lambda i, n: status(-18) if busy and i != IDS[0] else record(i),
            latency_s=lambda i, n: 1e6 if where == "on the wire" and i != IDS[0] else 0.05,
        )
        crew = Crew(vendor, rate_per_s=2.0 if where == "at the pace" else 1000.0)
        virtual_loop().call_later(QUIET_S + 5.0, crew.stop.stop, Interrupted("enough"))
        await crew.work()
        owner = crew.owner
        assert len(owner.off) == len(set(owner.off)) > 0
        assert not set(owner.off) & set(owner.concluded)
        assert sorted([*owner.off, *owner.concluded, *(t.voice_id for t in owner.waiting)]) == IDS
        took_s = virtual_loop().time() - crew.began
        assert took_s < QUIET_S + 5.0 + (16 if where == "on the wire" else 1)

    run_virtually(main)


def test_an_outcome_that_is_being_kept_when_the_run_stops_is_kept() -> None:
    async def main() -> None:
        crew = Crew(FakeVendor(), IDS[:1])
        crew.owner.is_slow = True
        virtual_loop().call_later(QUIET_S + 0.5, crew.stop.stop, Interrupted("enough"))
        await crew.work()
        assert isinstance(crew.owner.concluded[IDS[0]], Answered)
        assert crew.owner.off == []

    run_virtually(main)


def test_one_broken_worker_ends_all_the_others_and_is_told() -> None:
    async def main() -> None:
        def broken(voice_id: str, before: int) -> Answer:
            if voice_id == IDS[20]:
                raise ZeroDivisionError("a bug")
            return record(voice_id)

        crew = Crew(FakeVendor(broken), [*IDS, *(f"more{n}" for n in range(10_000))])
        with pytest.raises(ZeroDivisionError):
            await crew.work()
        assert isinstance(crew.stop.reason, HarvesterError)
        assert "ZeroDivisionError" in str(crew.stop.reason)
        assert crew.stop.is_hurried
        assert len(crew.vendor.log) < 100, "the others do not go on for hours"

    run_virtually(main)


def test_where_nothing_can_be_kept_any_more_that_is_raised() -> None:
    async def main() -> None:
        crew = Crew(FakeVendor())
        crew.owner.fails = StoreError("full")
        with pytest.raises(StoreError):
            await crew.work()
        assert crew.stop.reason is crew.owner.fails

    run_virtually(main)


def test_what_workers_show_of_themselves() -> None:
    async def main() -> None:
        throttled = Reply(429, b"", retry_after="60")
        vendor = FakeVendor(lambda i, n: throttled if i == IDS[0] and not n else record(i))
        crew = Crew(vendor, IDS[:1])
        working = asyncio.create_task(crew.workers.work())
        await asyncio.sleep(QUIET_S + 1)
        found = crew.workers.figures()
        assert (found.throttled, found.is_outage, found.outages) == (1, False, 0)
        assert found.pace_per_s == pytest.approx(700)
        assert found.paused_s == pytest.approx(59, abs=0.1)
        assert found.received_bytes == 0
        await working
        assert crew.workers.figures().received_bytes == len(record(IDS[0]).body)
        crew.workers.begin_in_outage(virtual_loop().time())
        assert crew.workers.figures().is_outage
        await crew.workers.close()

    run_virtually(main)


def test_with_a_days_budget_a_failure_does_not_let_the_others_begin() -> None:
    async def main() -> None:
        for per_day, alone in ((None, 1), (1_000, 2)):
            vendor = FakeVendor(
                lambda i, n: Reply(503, b"") if not n else record(i), latency_s=lambda i, n: 1.0
            )
            crew = Crew(vendor, IDS, per_day=per_day)
            await crew.work()
            first = vendor.times[:alone]
            assert all(
                after - at >= 1.0 for at, after in zip(first, vendor.times[1:], strict=False)
            )
            assert crew.owner.concluded.keys() == set(IDS)
            assert not any(isinstance(one, PutOff) for one in crew.owner.concluded.values())

    run_virtually(main)


def test_a_request_that_must_not_be_sent_is_not_traced() -> None:
    seen: list[float] = []

    def refuse() -> None:
        raise CutOff

    with pytest.raises(CutOff):
        traced(refuse, seen.append)()
    assert seen == []
    traced(lambda: None, seen.append)()
    assert len(seen) == 1
    assert traced(refuse, None) is refuse


def test_the_pace_opens_after_the_quiet_time_and_is_shared_where_a_limit_is() -> None:
    class Shared:
        closed_until_ns = 0

        def take(self, *, more: bool = False) -> int:
            return 0

        def close_until(self, at_ns: int) -> None:
            """See `SharedLimit`."""

    async def main() -> None:
        crew = Crew(FakeVendor())
        alone = pace_of(crew.fetching)
        assert alone.closed_for_s == pytest.approx(QUIET_S, abs=0.001)
        assert alone.limit_per_s == 1000.0
        fields = {name: getattr(crew.fetching, name) for name in Fetching.__struct_fields__}
        shared = pace_of(Fetching(**{**fields, "limit": Shared()}))
        assert isinstance(shared, SharedPace)
        assert shared.closed_for_s == pytest.approx(QUIET_S, abs=0.001)
        await crew.workers.close()

    run_virtually(main)
