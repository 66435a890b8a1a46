"""When a run publishes: at its end, whatever but a signal ended it, and while it works on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from harvester.client.transport import Reply, Seal
from harvester.errors import (
    BudgetReached,
    HarvesterError,
    Interrupted,
    StoreError,
    Terminated,
    VendorRefused,
    VendorUnavailable,
)
from harvester.pipeline.engine.engine import Engine
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.publish.publisher import Published, Publisher
from tests.support.fakes import TIMEOUT, FakeTransport, FakeVendor, House, record, status
from tests.support.virtual_time import run_virtually, virtual_loop

IDS = [f"2609021200{n:010}" for n in range(400)]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(**settings: object) -> House:
        made.append(House(tmp_path / "out", IDS, **settings))
        return made[-1]

    yield make
    for one in made:
        with closing(one):
            pass


class Watched(Publisher):
    """The real one; notes when each publication began, and may be held up."""

    def __init__(self, real: Publisher, loop: asyncio.AbstractEventLoop) -> None:
        self._real = real
        self._loop = loop
        self.times: list[float] = []
        self.sizes: list[int] = []
        self.before: Callable[[], None] = lambda: None

    def publish(
        self, should_stop: Callable[[], bool] = lambda: False, *, is_fetching: bool = False
    ) -> Published | None:
        """As the real one; never aside, a process has no virtual time."""
        self.times.append(self._loop.time())
        self.before()
        done = self._real.publish(should_stop)
        if done is not None:
            self.sizes.append(done.records)
        return done


def watched(out: House) -> list[Watched]:
    """Have the next runs of `out` publish through one that is watched."""
    made: list[Watched] = []
    real = out.publisher

    def publisher(ledger: object) -> Watched:
        made.append(Watched(real(ledger), virtual_loop()))  # type: ignore[arg-type]
        return made[-1]

    out.publisher = publisher  # type: ignore[method-assign]
    return made


def gets_worse(answer: Callable[[str], object]) -> FakeVendor:
    """A vendor that delivers the first hundred ids, and then only gives `answer`."""
    first = set(IDS[:100])
    return FakeVendor(lambda i, n: record(i) if i in first and n == 0 else answer(i))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("settings", "vendor", "kind"),
    [
        ({"pace__per_day": 100}, FakeVendor(), BudgetReached),
        ({"retry__max_outage_s": 60}, gets_worse(lambda i: TIMEOUT), VendorUnavailable),
        ({}, gets_worse(lambda i: status(-1)), VendorRefused),
        ({}, gets_worse(lambda i: Reply(404, b"")), VendorRefused),
    ],
    ids=["per_day", "outage", "key revoked", "address gone"],
)
def test_whatever_ends_a_run_by_itself_what_it_has_is_published(
    house: Callable[..., House],
    settings: dict[str, object],
    vendor: FakeVendor,
    kind: type[HarvesterError],
) -> None:
    out = house(pace__rate_per_s=50, **settings)
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, kind)
    assert len(out.published()) == engine.counters.delivered == 100
    assert out.journaled() == []
    assert engine.progress().phase == "publishing"


@pytest.mark.parametrize("reason", [Interrupted("s"), Terminated("s"), StoreError("full")])
def test_a_signal_while_the_budget_publishes_ends_it_before_its_commit_point(
    house: Callable[..., House], reason: HarvesterError
) -> None:
    out = house(pace__per_day=100)
    made = watched(out)

    def meanwhile(engine: Engine) -> None:
        loop = asyncio.get_running_loop()

        def signal() -> None:
            told = asyncio.run_coroutine_threadsafe(_stop(engine, reason), loop)
            told.result(10)

        made[0].before = signal

    engine = run_virtually(lambda: out.run(FakeVendor(), meanwhile=meanwhile))
    assert engine.stop.reason is reason, "the exit code is that of the signal"
    assert out.published() == []
    assert len(out.journaled()) == 100
    assert engine.progress().phase == "stopping"


async def _stop(engine: Engine, reason: HarvesterError) -> None:
    engine.stop.stop(reason)


@pytest.mark.parametrize(
    ("reasons", "kept", "hurried"),
    [
        ([BudgetReached("b")], 0, False),
        ([VendorRefused("r")], 0, False),
        ([VendorUnavailable("u")], 0, False),
        ([HarvesterError("a bug")], 0, True),
        ([BudgetReached("b"), Interrupted("i")], 1, True),
        ([VendorUnavailable("u"), Terminated("t")], 1, True),
        ([VendorRefused("r"), Interrupted("i")], 0, True),
        ([Interrupted("i"), BudgetReached("b")], 0, True),
        ([Interrupted("i"), Terminated("t")], 0, True),
        ([Interrupted("i"), StoreError("s")], 1, True),
        ([StoreError("s"), Interrupted("i")], 0, True),
    ],
)
def test_the_reason_kept_is_the_one_to_act_on_first(
    reasons: list[HarvesterError], kept: int, hurried: bool
) -> None:
    async def main() -> Stop:
        stop = Stop()
        for reason in reasons:
            stop.stop(reason)
        return stop

    stop = run_virtually(main)
    assert stop.reason is reasons[kept]
    assert stop.is_hurried is hurried


def test_a_slow_run_publishes_whenever_its_oldest_record_is_old(
    house: Callable[..., House],
) -> None:
    out = house(pace__rate_per_s=0.05, output__publish_after_s=600)
    made = watched(out)
    engine = run_virtually(lambda: out.run(FakeVendor()))
    assert engine.stop.reason is None
    assert sorted(out.published()) == IDS
    times = made[0].times[:-2]  # the last two are the end of the run
    assert len(times) >= 10
    gaps = [after - before for before, after in pairwise(times)]
    # A record every 20 s: the oldest came up to 20 s after the publication before began.
    assert all(600 <= gap <= 622 for gap in gaps), gaps


def test_age_is_no_reason_for_small_parts_beside_large_ones(house: Callable[..., House]) -> None:
    out = house(pace__rate_per_s=1, output__publish_after_s=90, output__publish_records=50)
    made = watched(out)
    run_virtually(lambda: out.run(FakeVendor()))
    assert sorted(out.published()) == IDS
    assert all(size >= 50 for size in made[0].sizes[:-1]), made[0].sizes


def test_what_an_earlier_run_left_is_published_while_the_vendor_is_silent(
    house: Callable[..., House],
) -> None:
    out = house(pace__rate_per_s=50, pace__concurrency=4)

    def stop_at_2(engine: Engine) -> None:
        virtual_loop().call_later(2.05, engine.stop.stop, Interrupted("x"))

    run_virtually(lambda: out.run(FakeVendor(), meanwhile=stop_at_2))
    left = len(out.journaled())
    assert left > 10
    assert out.published() == []
    made = watched(out)
    vendor = FakeVendor(latency_s=lambda i, n: 3_000.0)

    def stop_at_60(engine: Engine) -> None:
        virtual_loop().call_later(60, engine.stop.stop, Interrupted("x"))

    run_virtually(lambda: out.run(vendor, meanwhile=stop_at_60))
    assert made[0].sizes == [left]
    assert len(out.published()) == left


def test_a_publication_that_is_under_way_when_all_is_fetched_is_finished_and_in_the_books(
    house: Callable[..., House],
) -> None:
    is_closed = threading.Event()

    class Closing(FakeTransport):
        async def close(self) -> None:
            await super().close()
            is_closed.set()

    class Vendor(FakeVendor):
        def connect(self, vendor: object, connections: int, seal: Seal) -> FakeTransport:
            return Closing(self, seal)

    out = house(output__publish_records=len(IDS))
    made = watched(out)

    def hold_up(engine: Engine) -> None:
        def first_waits() -> None:
            if not made[0].sizes:
                assert is_closed.wait(20)

        made[0].before = first_waits

    engine = run_virtually(lambda: out.run(Vendor(), meanwhile=hold_up))
    found = engine.result()
    assert made[0].sizes == [len(IDS)]
    assert [one.records for one in found.published] == [len(IDS)]
    assert found.journal_records == 0
    assert out.published() == IDS
