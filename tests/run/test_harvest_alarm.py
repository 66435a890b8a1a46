"""The alarm of last resort: a transport that never answers holds nobody up for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from harvester.client.transport import Reply
from harvester.errors import Interrupted, Terminated
from harvester.pipeline.engine.alarm import TIMEOUTS, keep_watch
from harvester.pipeline.engine.engine import Engine
from harvester.pipeline.engine.shutdown import GRACE_S
from tests.support.fakes import FakeVendor, House, houses, record
from tests.support.virtual_time import run_virtually, virtual_loop

IDS = [f"{n:03}" for n in range(40)]
TIMEOUT_S = 15.0
FOR_EVER_S = 1e7
LATEST_S = 1.0 + TIMEOUT_S * (TIMEOUTS + 0.5)
"""When the first requests of a run are cut at the latest: they leave a second after the lock."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    with houses(tmp_path, IDS) as make:
        yield partial(make, pace__concurrency=8)


def timed(out: House, vendor: FakeVendor, **how: object) -> tuple[Engine, float]:
    """A run, and the virtual seconds it took."""

    async def main() -> tuple[Engine, float]:
        start = virtual_loop().time()
        engine = await out.run(vendor, **how)  # type: ignore[arg-type]
        return engine, virtual_loop().time() - start

    return run_virtually(main)


def test_one_that_never_answers_costs_its_id_an_attempt_and_the_run_ends(
    house: Callable[..., House],
) -> None:
    out = house()
    vendor = FakeVendor(latency_s=lambda i, n: FOR_EVER_S if (i, n) == ("007", 0) else 0.05)
    engine, took_s = timed(out, vendor)
    assert out.delivered() == IDS
    assert vendor.asked["007"] == 2
    assert engine.counters.retries.get("timeout", 0) == 1
    assert TIMEOUTS * TIMEOUT_S < took_s < LATEST_S + 5
    assert engine.stop.reason is None


def test_an_id_that_is_never_answered_is_deferred_and_the_others_go_on(
    house: Callable[..., House],
) -> None:
    out = house(retry__network_attempts=2)
    vendor = FakeVendor(latency_s=lambda i, n: FOR_EVER_S if i == "007" else 0.05)
    engine, _ = timed(out, vendor)
    assert out.deferred() == {"007": "timeout"}
    assert out.pending() == ["007"]
    assert engine.counters.delivered == len(IDS) - 1
    assert vendor.in_flight == 0


def test_a_transport_that_hangs_altogether_is_an_outage_and_ends_the_run(
    house: Callable[..., House],
) -> None:
    out = house([f"{n:03}" for n in range(200)], pace__concurrency=64, retry__max_outage_s=60)
    vendor = FakeVendor(latency_s=lambda i, n: FOR_EVER_S)
    engine, took_s = timed(out, vendor)
    assert engine.stop.reason is not None
    assert engine.stop.reason.exit_code == 5
    assert len(out.pending()) == 200
    assert took_s < 1000


def test_all_are_cut_at_three_times_the_timeout_and_not_before(
    house: Callable[..., House],
) -> None:
    out = house(IDS[:8], vendor__timeout_s=4)
    vendor = FakeVendor(latency_s=lambda i, n: 3 * 4 if n == 0 else 0.05)
    engine, _ = timed(out, vendor)
    assert engine.counters.retries.get("timeout", 0) == 0
    assert set(vendor.asked.values()) == {1}, "an answer within three times the timeout counts"
    out = house(IDS[:8], vendor__timeout_s=4)
    vendor = FakeVendor(latency_s=lambda i, n: 3 * 4 + 2 if n == 0 else 0.05)
    engine, _ = timed(out, vendor)
    assert engine.counters.retries.get("timeout", 0) == 8


def test_each_request_has_its_own_time(house: Callable[..., House]) -> None:
    """A worker sends one after another: what the last ones took is not held against the next."""
    out = house(vendor__timeout_s=4)
    vendor = FakeVendor(latency_s=lambda i, n: 3.9)
    engine, _ = timed(out, vendor)
    assert engine.counters.retries.get("timeout", 0) == 0
    assert set(vendor.asked.values()) == {1}


@pytest.mark.parametrize("slow", ["pace", "retry_after", "outage", "backoff"])
def test_what_only_waits_is_never_cut(house: Callable[..., House], slow: str) -> None:
    """Each of these takes far longer than three times the timeout."""
    settings: dict[str, object] = {"vendor__timeout_s": 1.0, "retry__max_outage_s": 4000}
    vendor = FakeVendor()
    if slow == "pace":
        settings["pace__rate_per_s"] = 0.05
    elif slow == "retry_after":
        vendor.script = lambda i, n: record(i) if n else Reply(429, b"", retry_after="600")
    elif slow == "outage":
        settings["pace__concurrency"] = 40
        until = 1000.0 + 300
        vendor.script = lambda i, n: record(i) if virtual_loop().time() > until else Reply(503, b"")
    else:
        settings |= {"retry__backoff_initial_s": 500, "retry__backoff_max_s": 500}
        vendor.script = lambda i, n: record(i) if n else Reply(503, b"")
    out = house(IDS[:16], **settings)
    engine, took_s = timed(out, vendor)
    assert took_s > 100
    assert out.delivered() == IDS[:16]
    assert engine.counters.retries.get("timeout", 0) == 0
    assert engine.stop.reason is None


def test_a_repeat_that_waits_for_its_turn_is_not_under_way(house: Callable[..., House]) -> None:
    """A transport may seal a second time: what it waits for then is its turn."""
    out = house(IDS[:3], pace__rate_per_s=0.05, vendor__timeout_s=1.0)
    vendor = FakeVendor(seals=2)
    engine, took_s = timed(out, vendor)
    assert took_s > 80
    assert engine.counters.retries.get("timeout", 0) == 0
    assert out.delivered() == IDS[:3]


def stop_at(seconds: float, reason: Interrupted) -> Callable[[Engine], None]:
    def begin(engine: Engine) -> None:
        asyncio.get_running_loop().call_later(seconds, engine.stop.stop, reason)

    return begin


@pytest.mark.parametrize("at_s", [0.5, 20.0, 40.0, 46.0, 47.0, 49.5, 49.76, 50.0])
def test_a_stop_beside_the_alarm_ends_the_run_in_its_grace(
    house: Callable[..., House], at_s: float
) -> None:
    out = house()
    vendor = FakeVendor(latency_s=lambda i, n: FOR_EVER_S if i >= "010" else 0.05)
    engine, took_s = timed(out, vendor, meanwhile=stop_at(at_s, Terminated("enough")))
    assert took_s <= at_s + GRACE_S + 1
    assert isinstance(engine.stop.reason, Terminated)
    counters = engine.counters
    assert counters.begun == counters.delivered + counters.deferred + counters.cut_off
    assert set(out.pending()) >= set(IDS[10:])
    assert vendor.in_flight == 0
    assert vendor.closed


@dataclass(eq=False)
class Stuck:
    """An attempt that notes when it is cut."""

    is_under_way: bool = True
    looks: int = 0
    cuts: list[float] = field(default_factory=list)

    def cut(self) -> None:
        self.looks = 0
        self.cuts.append(virtual_loop().time())


def test_looks_are_counted_not_seconds() -> None:
    """A process that was stopped for an hour has had one look, not an hour of them."""
    slept = iter([0.0, 3600.0])
    one = Stuck()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600 + 2 * TIMEOUT_S):
                await keep_watch([one], TIMEOUT_S)

    run_virtually(main, lateness=lambda: next(slept, 0.0))
    assert one.cuts == []


def test_whoever_is_not_under_way_is_not_looked_at() -> None:
    one, other = Stuck(is_under_way=False), Stuck()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4 * TIMEOUT_S):
                await keep_watch([one, other], TIMEOUT_S)

    run_virtually(main)
    assert one.cuts == []
    assert len(other.cuts) == 1
    assert 3 * TIMEOUT_S < other.cuts[0] - 1000.0 <= 3.25 * TIMEOUT_S + 0.1
