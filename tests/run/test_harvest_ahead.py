"""Who resolves ids before the workers are handed any, as the engine sees it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.answers.answer import PAGES
from harvester.client.clock import VendorClock
from harvester.errors import Interrupted, StoreError
from harvester.pipeline.engine.engine import Engine, Job
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Answered, Task
from harvester.pipeline.engine.workers import AheadFigures, Figures, Left, OwnerAhead
from harvester.pipeline.publish.publisher import Published, Publisher
from harvester.state.values import Counters
from harvester.state.writer import LedgerWriter
from tests.run.test_harvest_pipeline import assert_each_id_is_in_one_state, assert_run_balances
from tests.support.fakes import TIMEOUT, FakeVendor, House, record
from tests.support.virtual_time import run_virtually, virtual_loop

IDS = [f"{n:03}" for n in range(60)]


class Scout:
    """An `Ahead` that has the records of the first ids, without a request."""

    def __init__(self, count: int = 20) -> None:
        self.count = count
        self.owner: OwnerAhead
        self.outage_since: float | None = None
        self.figures_of_workers = Figures(
            pace_per_s=3.0,
            paused_s=4.0,
            is_outage=True,
            outages=2,
            throttled=5,
            received_bytes=0,
            failures={},
        )
        self.works_s = 10.0
        self.ended_with: list[str] | None = None
        """What was in the journal when it was told that all is committed."""
        self.is_closed = False
        self.fails: Exception | None = None
        self.left: Left | None = None
        self.house: House

    def made(
        self,
        owner: OwnerAhead,
        clock: VendorClock,
        stop: Stop,
        counters: Counters,
        ledger: LedgerWriter,
    ) -> Scout:
        """See `MakeAhead`."""
        self.owner = owner
        self.clock = clock
        return self

    async def work(self) -> None:
        """See `Ahead`."""
        self.left = self.owner.left()
        for row in range(self.count):
            answer = record(IDS[row]).body
            answered = Answered(answer, True, self.clock.now_ms(), fetched_by=PAGES)
            await self.owner.take_in(Task(IDS[row], 0, row), answered)
            if row == self.count - 2:
                await self.before_the_last()
        await asyncio.sleep(self.works_s)
        if self.fails is not None:
            raise self.fails

    async def before_the_last(self) -> None:
        """Where a test has something happen before the last record."""

    async def end(self) -> None:
        """See `Ahead`."""
        self.ended_with = self.house.journaled()

    def figures(self) -> AheadFigures:
        """See `Ahead`."""
        return AheadFigures(
            workers=self.figures_of_workers,
            windows=1,
            unsettled=0,
            seed=7,
            difference=None,
            refused="",
            is_over=self.ended_with is not None,
        )

    async def close(self) -> None:
        """See `Ahead`."""
        self.is_closed = True


@pytest.fixture
def scout() -> Scout:
    return Scout()


@pytest.fixture
def house(tmp_path: Path, scout: Scout) -> Iterator[House]:
    class WithScout(House):
        def job(self, *args: object, **options: object) -> Job:
            return replace(super().job(*args, **options), ahead=scout.made)  # type: ignore[arg-type]

    settings = {"pace__rate_per_s": 1000, "pace__concurrency": 4, "pace__per_day": 5_000}
    with closing(WithScout(tmp_path / "out", IDS, **settings)) as out:
        scout.house = out
        yield out


@pytest.mark.parametrize("works_s", [0.0, 10.0])
def test_what_it_resolved_is_committed_before_it_ends_and_before_anything_is_fetched(
    house: House, scout: Scout, works_s: float
) -> None:
    vendor, scout.works_s = FakeVendor(), works_s
    engine = run_virtually(lambda: house.run(vendor))
    assert scout.ended_with == IDS[:20]
    assert sorted(vendor.asked) == IDS[20:], "and no id is fetched a second time"
    assert house.published() == IDS
    assert engine.counters.by_pages == 20
    assert engine.counters.begun == engine.counters.delivered == 60
    assert scout.is_closed
    assert vendor.times[0] >= 1000 + scout.works_s
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(house)


def test_it_is_told_what_is_left_of_the_budgets(house: House, scout: Scout) -> None:
    run_virtually(lambda: house.run(FakeVendor(), deadline=time.monotonic() + 1_000))
    assert scout.left is not None
    assert scout.left.requests == 5_000
    assert scout.left.seconds == pytest.approx(1_000, abs=60)


def test_without_budgets_there_is_no_end_of_them(tmp_path: Path) -> None:
    scout = Scout(0)

    class WithScout(House):
        def job(self, *args: object, **options: object) -> Job:
            return replace(super().job(*args, **options), ahead=scout.made)  # type: ignore[arg-type]

    with closing(WithScout(tmp_path / "out", IDS)) as out:
        scout.house = out
        run_virtually(lambda: out.run(FakeVendor()))
    assert scout.left == Left(None, None)


def test_figures_are_of_who_works_and_what_adds_up_is_of_both(house: House, scout: Scout) -> None:
    seen: list[tuple[bool, Figures]] = []

    def look(engine: Engine) -> None:
        def now() -> None:
            ahead = engine.ahead
            assert ahead is not None
            seen.append((ahead.is_over, engine.result().figures))
            if len(seen) < 2:
                virtual_loop().call_later(5.9, now)

        virtual_loop().call_later(5.0, now)

    slow = FakeVendor(latency_s=lambda i, n: 1.0)
    engine = run_virtually(lambda: house.run(slow, meanwhile=look))
    (was_over, first), (is_over, then) = seen
    assert (was_over, is_over) == (False, True)
    assert (first.pace_per_s, first.paused_s, first.is_outage) == (3.0, 4.0, True)
    assert (then.pace_per_s, then.paused_s, then.is_outage) == (1000.0, 0.0, False)
    assert (first.outages, first.throttled) == (then.outages, then.throttled) == (2, 5)
    assert engine.result().ahead is not None


def test_an_outage_that_it_has_seen_goes_on_for_the_workers(house: House, scout: Scout) -> None:
    def outage(engine: Engine) -> None:
        scout.outage_since = virtual_loop().time()

    scout.works_s = 100.0
    vendor = FakeVendor(lambda i, n: TIMEOUT)
    engine = run_virtually(lambda: house.run(vendor, meanwhile=outage))
    assert engine.stop.reason is not None
    assert engine.stop.reason.code == "vendor.unavailable"
    # 900 s since it was seen first, not since the workers began.
    assert vendor.times[-1] == pytest.approx(1000 + 900, abs=15)
    assert len(vendor.log) < 200, "a probe every five seconds"


@pytest.mark.parametrize("fails", [StoreError("full"), ZeroDivisionError("a bug")])
def test_whatever_it_fails_of_it_is_closed_and_nothing_is_fetched(
    house: House, scout: Scout, fails: Exception
) -> None:
    scout.fails, vendor = fails, FakeVendor()
    with pytest.raises(type(fails)):
        run_virtually(lambda: house.run(vendor))
    assert scout.is_closed
    assert vendor.closed
    assert vendor.log == []


def test_a_run_that_is_stopped_while_it_works_keeps_what_it_resolved(
    house: House, scout: Scout
) -> None:
    vendor, stopped = FakeVendor(), Interrupted("enough")

    def stop(engine: Engine) -> None:
        virtual_loop().call_later(5.0, engine.stop.stop, stopped)

    engine = run_virtually(lambda: house.run(vendor, meanwhile=stop))
    assert engine.stop.reason is stopped
    assert vendor.log == []
    assert house.journaled() == IDS[:20], "and publishing is the next run's"
    assert house.pending() == IDS[20:]
    assert_run_balances(engine)


def test_who_goes_ahead_is_not_left_waiting_for_room_that_a_failed_publication_cannot_make(
    tmp_path: Path,
) -> None:
    is_waiting = threading.Event()

    class Full(Scout):
        async def before_the_last(self) -> None:
            """The journal is twice full, and a publication is under way."""
            assert isinstance(self.owner, Engine)
            await asyncio.sleep(0.499)
            while not self.owner.result().journal_records:  # noqa: ASYNC110 - no time is to pass
                await asyncio.sleep(0)
            is_waiting.set()

    class Broken(Publisher):
        def publish(
            self, should_stop: Callable[[], bool] = lambda: False, *, is_fetching: bool = False
        ) -> Published | None:
            is_waiting.wait(20)
            raise StoreError("the disk is full", code="output.full")

    class Unpublished(House):
        def job(self, *args: object, **options: object) -> Job:
            return replace(super().job(*args, **options), ahead=scout.made)  # type: ignore[arg-type]

        def publisher(self, ledger: LedgerWriter) -> Publisher:
            return Broken(ledger, self.output, self.config.output, "acme", self.state_id)

    async def main() -> None:
        async with asyncio.timeout(1_000):
            await out.run(vendor, meanwhile=engines.append)

    scout, vendor, engines = Full(), FakeVendor(), list[Engine]()
    with closing(Unpublished(tmp_path / "out", IDS, output__publish_records=2)) as out:
        scout.house = out
        run_virtually(main)
        (engine,) = engines
        assert isinstance(engine.stop.reason, StoreError)
        assert engine.stop.reason.code == "output.full"
        assert vendor.log == []
        assert_run_balances(engine)
