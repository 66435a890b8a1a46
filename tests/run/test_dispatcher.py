"""A run with workers beside it, on scripted vendors, a real ledger and virtual time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harvester.client.transport import NoReply, Reply
from harvester.errors import BudgetReached, StoreError, VendorRefused, VendorUnavailable
from harvester.pipeline.engine.engine import Engine
from harvester.pipeline.workers.dispatcher import Crew, with_workers
from harvester.state import between_runs
from tests.run.test_harvest_pipeline import (
    assert_each_id_is_in_one_state,
    assert_run_balances,
    stop_at,
)
from tests.support.fakes import (
    SECRETS,
    Answer,
    Chaos,
    FakeVendor,
    House,
    acknowledging,
    houses,
    record,
    status,
)
from tests.support.loop_link import LoopLink, beside
from tests.support.virtual_time import run_virtually, virtual_loop
from tests.unit.test_pipeline_pace import most_in_a_second

RATE = 200
IDS = [f"{n:05}" for n in range(2_000)]
REFUSED = NoReply("refused", "nobody listens there")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    with houses(tmp_path, IDS) as make:
        yield lambda *args, **changes: make(*args, **{"pace__rate_per_s": RATE, **changes})


def arrivals(*vendors: FakeVendor) -> list[float]:
    """When requests were written, by whomever."""
    return sorted(at for vendor in vendors for at in vendor.times)


def test_three_share_a_list_and_the_limit(house: Callable[..., House]) -> None:
    out, vendors = house(), [FakeVendor() for _ in range(3)]
    links = [LoopLink(vendor) for vendor in vendors[1:]]
    out.who_fetches = beside(links)
    engine = run_virtually(lambda: out.run(vendors[0]))
    asked = sum((vendor.asked for vendor in vendors), Counter[str]())
    assert sorted(asked.elements()) == IDS
    assert out.published() == IDS
    times = arrivals(*vendors)
    assert most_in_a_second(times) <= RATE
    # But for the beginning, where one goes first, and the end, where some have nothing left to do.
    most = [at for at in times if times[0] + 0.5 < at < times[-1] - 1.5]
    assert len(most) / (most[-1] - most[0]) >= 0.95 * RATE
    # The owner has other things to do.
    assert [len(vendor.log) > 800 for vendor in vendors] == [False, True, True]
    assert engine.counters.requests == len(IDS)
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


def test_shares_that_come_and_go_are_no_slower_pace(house: Callable[..., House]) -> None:
    out, vendors = house(), [FakeVendor() for _ in range(3)]
    out.who_fetches = beside([LoopLink(vendor) for vendor in vendors[1:]])
    seen = []

    def look(engine: Engine) -> None:
        seen.append(engine.progress().pace_per_s)
        asyncio.get_running_loop().call_later(0.3, look, engine)

    run_virtually(lambda: out.run(vendors[0], meanwhile=look))
    assert len(seen) > 20
    assert set(seen) == {RATE}


@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 200),
    concurrency=st.integers(1, 20),
    stops=st.lists(st.floats(0.0, 60.0), max_size=2),
    kills=st.lists(st.floats(0.5, 60.0), max_size=5),
    commit_s=st.sampled_from([0.0, 0.3, 20.0]),
)
def test_whatever_is_answered_and_whoever_dies_each_id_is_settled_once(
    seed: int,
    count: int,
    concurrency: int,
    stops: list[float],
    kills: list[float],
    commit_s: float,
) -> None:
    chaos, dice = Chaos(seed), random.Random(seed)
    vendor = FakeVendor(chaos.script, chaos.latency_s)

    def meanwhile(at: float | None) -> Callable[[Engine], None]:
        def begin(engine: Engine) -> None:
            loop = asyncio.get_running_loop()
            for kill in kills:
                link = dice.choice(links)
                loop.call_later(
                    kill, lambda one: killing.append(loop.create_task(one.kill())), link
                )
            if at is not None:
                stop_at(at)(engine)

        return begin

    killing: list[asyncio.Task[None]] = []
    with TemporaryDirectory() as folder:
        out = House(
            Path(folder) / "out", IDS[:count], pace__rate_per_s=50, pace__concurrency=concurrency
        )
        with closing(out):
            acknowledged: Counter[str] = Counter()
            for stop_s in [*stops, None]:
                links = [LoopLink(vendor) for _ in range(2)]
                for link in links:
                    link.late_s = lambda: dice.choice((0.0, 0.0, 0.05, 3.0 * dice.random()))
                out.who_fetches = beside(links)
                began = len(vendor.log)
                engine = run_virtually(
                    lambda at=stop_s: out.run(  # type: ignore[misc]
                        vendor, meanwhile=meanwhile(at), before=acknowledging(lambda: commit_s)
                    )
                )
                assert_run_balances(engine)
                assert_each_id_is_in_one_state(out)
                assert most_in_a_second(sorted(vendor.times[began:])) <= 50
                settled_now = Counter([*out.delivered(), *out.open(), *out.dead()])
                assert acknowledged <= settled_now, "what was acknowledged stays"
                acknowledged = settled_now


def test_a_worker_whose_address_is_refused_is_retired_and_the_others_go_on(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor()
    elsewhere = FakeVendor(lambda voice_id, before: status(-31))
    links = [LoopLink(vendor), LoopLink(elsewhere)]
    out.who_fetches = beside(links)
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.published() == IDS
    # It had its share and its ids when the third refusal was reported, and no more since.
    assert len(elsewhere.log) <= 64
    ((number, why),) = engine.lost_workers
    assert number == 2
    assert "refuses its address (-31)" in why


def test_a_worker_whose_network_is_broken_is_no_outage_of_the_vendor(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor()
    elsewhere = FakeVendor(lambda voice_id, before: REFUSED)
    out.who_fetches = beside([LoopLink(vendor), LoopLink(elsewhere)])
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.published() == IDS
    assert out.deferred() == {}
    assert engine.result().figures.outages == 0
    assert len(elsewhere.log) <= 64 + 2 * 16 + 20


def test_a_worker_that_fails_of_a_bug_ends_and_another_takes_its_place(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor()
    bugs = 0

    def script(voice_id: str, before: int) -> Answer:
        nonlocal bugs
        if int(voice_id) % 400 == 399 and not before:
            bugs += 1
            raise ZeroDivisionError("so it is")
        return record(voice_id)

    elsewhere = FakeVendor(script)
    link = LoopLink(elsewhere)
    out.who_fetches = beside([link])
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.published() == IDS
    assert bugs
    assert link.starts in {bugs, bugs + 1}
    assert [why for _, why in engine.lost_workers] == ["it failed: so it is"] * bugs
    assert_run_balances(engine)


def test_an_id_over_which_two_workers_were_lost_is_fetched_by_the_owner(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor()

    def script(voice_id: str, before: int) -> Answer:
        if voice_id == "01234":
            raise ZeroDivisionError("whenever it comes")
        return record(voice_id)

    elsewhere = FakeVendor(script)
    out.who_fetches = beside([LoopLink(elsewhere), LoopLink(elsewhere)])
    engine = run_virtually(lambda: out.run(vendor))
    assert sorted(out.published()) == IDS
    assert elsewhere.asked["01234"] <= 2
    assert len(engine.lost_workers) == elsewhere.asked["01234"]
    assert vendor.asked["01234"] == 1


def test_a_refusal_of_the_key_stops_the_run(house: Callable[..., House]) -> None:
    out, vendor = house(), FakeVendor()
    vendor.script = lambda voice_id, before: (
        record(voice_id) if virtual_loop().time() < 1008 else status(-1)
    )
    out.who_fetches = beside([LoopLink(vendor), LoopLink(vendor)])
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert len([at for at in vendor.times if at >= 1008]) <= RATE
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


def test_in_an_outage_of_all_hardly_anything_is_sent_and_no_id_loses_an_attempt(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor()

    def script(voice_id: str, before: int) -> Answer:
        return REFUSED if 1008 <= virtual_loop().time() < 1300 else record(voice_id)

    vendor.script = script
    out.who_fetches = beside([LoopLink(vendor), LoopLink(vendor)])
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert engine.result().figures.outages == 1
    assert out.published() == IDS
    during = [at for at in vendor.times if 1010 <= at < 1300]
    assert len(during) <= 3 * 300 / 5 + 200


def test_an_outage_that_lasts_ends_the_run(house: Callable[..., House]) -> None:
    out, vendor = house(retry__max_outage_s=60.0), FakeVendor()
    vendor.script = lambda voice_id, before: (
        record(voice_id) if virtual_loop().time() < 1006 else REFUSED
    )
    out.who_fetches = beside([LoopLink(vendor), LoopLink(vendor)])
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorUnavailable)
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


@pytest.mark.parametrize("per_day", [300, 1_234])
def test_the_days_budget_is_used_to_the_last_request(
    house: Callable[..., House], per_day: int
) -> None:
    out, vendor = house(pace__per_day=per_day), FakeVendor()
    vendor.script = lambda voice_id, before: (
        record(voice_id) if int(voice_id) % 10 or before else status(-18)
    )
    out.who_fetches = beside([LoopLink(vendor), LoopLink(vendor)])
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, BudgetReached)
    assert len(vendor.log) == per_day
    assert engine.counters.requests == per_day
    assert engine.result().requests_of_day[1] == per_day
    assert_run_balances(engine)


def test_what_a_dead_worker_was_granted_of_the_day_counts_as_sent(
    house: Callable[..., House],
) -> None:
    out, vendor = house(pace__per_day=1_500), FakeVendor()
    links = [LoopLink(vendor), LoopLink(vendor)]
    out.who_fetches = beside(links)
    killing: list[asyncio.Task[None]] = []

    def begin(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(6.0, lambda: killing.append(loop.create_task(links[0].kill())))

    engine = run_virtually(lambda: out.run(vendor, meanwhile=begin))
    assert isinstance(engine.stop.reason, BudgetReached)
    assert links[0].starts > 1
    assert 1_350 <= len(vendor.log) <= 1_500
    assert engine.result().requests_of_day[1] == 1_500


def test_vendor_throttling_that_one_meets_closes_all(house: Callable[..., House]) -> None:
    out, vendor = house(), FakeVendor()
    told: list[float] = []

    def script(voice_id: str, before: int) -> Answer:
        now = virtual_loop().time()
        if now >= 1008 and not told:
            told.append(now)
            return Reply(429, b"", retry_after="10")
        return record(voice_id)

    vendor.script = script
    out.who_fetches = beside([LoopLink(vendor), LoopLink(vendor)])
    engine = run_virtually(lambda: out.run(vendor))
    assert out.published() == IDS
    assert engine.result().figures.throttled == 1
    # A report and an order later nobody sends, until the pause is over; then all are slower.
    assert not [at for at in vendor.times if told[0] + 0.3 < at < told[0] + 10.0]
    after = [at for at in vendor.times if told[0] + 10.0 <= at < told[0] + 11.0]
    assert len(after) <= 0.75 * RATE


def test_who_can_use_more_gets_more(house: Callable[..., House]) -> None:
    out = house(ids=[f"{n:05}" for n in range(6_000)])
    quick, slow = FakeVendor(), FakeVendor(latency_s=lambda voice_id, before: 4.0)
    out.who_fetches = beside([LoopLink(slow), LoopLink(quick)])
    run_virtually(lambda: out.run(quick))
    times = [at for at in arrivals(quick, slow) if at >= 1010]
    assert most_in_a_second(times) <= RATE
    # Sixteen connections and four seconds an answer: four a second are all that the slow one can.
    middle = [at for at in times if at < times[-1] - 10]
    assert len(middle) / (middle[-1] - middle[0]) >= 0.87 * RATE


@pytest.mark.parametrize("trouble", ["hangs", "version"])
def test_workers_that_do_not_start_hold_nobody_up(
    house: Callable[..., House], trouble: str
) -> None:
    out, vendor = house(), FakeVendor()
    link = LoopLink(vendor)
    if trouble == "hangs":
        link.starts_in_s = 1e6
    else:
        link.version = "0.0.1"
    out.who_fetches = beside([link])
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.published() == IDS
    times = vendor.times
    assert len(IDS) / (times[-1] - times[0]) >= 0.95 * RATE
    if trouble == "version":
        assert "cdr-harvester 0.0.1" in engine.lost_workers[0][1]


def test_a_disk_that_is_full_ends_the_run_and_no_worker_goes_on(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor()
    commits = 0

    def fail() -> float:
        nonlocal commits
        commits += 1
        if commits > 1:
            raise StoreError("the disk is full")
        return 0.0

    out.who_fetches = beside([LoopLink(vendor), LoopLink(vendor)])

    async def main() -> float:
        with pytest.raises(StoreError, match="the disk is full"):
            await out.run(vendor, before=acknowledging(fail))
        return virtual_loop().time()

    assert run_virtually(main) < 1060
    assert_each_id_is_in_one_state(out)


def test_what_workers_received_wrote_and_found_odd_is_counted_with_the_owners(
    house: Callable[..., House],
) -> None:
    odd = {IDS[n] for n in range(0, len(IDS), 7)}

    def script(voice_id: str, before: int) -> Reply:
        answer = record(voice_id)
        if voice_id not in odd:
            return answer
        return replace(answer, body=answer.body.replace(b"2026-09-02T10:01:05+08:00", b"noon, 1."))

    out, vendors = house(), [FakeVendor(script) for _ in range(3)]
    workers, written = beside([LoopLink(vendor) for vendor in vendors[1:]]), list[float]()
    out.who_fetches = lambda fetching: workers(replace(fetching, trace=written.append))
    engine = run_virtually(lambda: out.run(vendors[0]))
    assert all(vendor.log for vendor in vendors)
    found = engine.result()
    assert found.figures.received_bytes == sum(len(script(one, 0).body) for one in IDS)
    assert found.progress.received_bytes == found.figures.received_bytes
    assert engine.counters.odd_hangups == len(odd)
    assert engine.counters.requests == len(written) == len(arrivals(*vendors)) == len(IDS)


def test_an_address_that_is_let_in_again_is_not_retired_for_what_was_before(
    house: Callable[..., House],
) -> None:
    """Three refusals on end are its address's; as many over a night are not."""
    out, vendor = house(), FakeVendor()
    refusals = 0

    def script(voice_id: str, before: int) -> Answer:
        nonlocal refusals
        if int(voice_id) % 100 == 99 and not before:
            refusals += 1
            return status(-31)
        return record(voice_id)

    link = LoopLink(FakeVendor(script))
    out.who_fetches = beside([link])
    engine = run_virtually(lambda: out.run(vendor))
    assert refusals > 5
    assert engine.lost_workers == ()
    assert link.starts == 1
    assert out.published() == IDS


def test_a_worker_is_told_what_the_run_knows_of_the_vendors_clock(
    house: Callable[..., House],
) -> None:
    out = house()
    date = formatdate(time.time() + 300, usegmt=True)
    vendor = FakeVendor(lambda voice_id, _: replace(record(voice_id), date=date))
    link = LoopLink(FakeVendor())
    link.starts_in_s = 10.0
    out.who_fetches = beside([link])
    run_virtually(lambda: out.run(vendor))
    assert link.told[0].skew_s == 0, "nothing was known yet"
    again = house([f"again-{n:05}" for n in range(2_000)])
    again.who_fetches = beside([link])
    between_runs.keep_clock(again.db, "run-0", 300.0, 0, ("", 0))
    run_virtually(lambda: again.run(vendor))
    assert link.told[-1].skew_s == pytest.approx(300, abs=5)


def test_an_owner_that_stops_hands_back_what_it_had_taken_for_its_workers(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor(latency_s=lambda i, n: 0.5)
    out.who_fetches = beside([LoopLink(vendor), LoopLink(vendor)])
    engine = run_virtually(lambda: out.run(vendor, meanwhile=stop_at(7.0)))
    assert 0 < len(vendor.log) < len(IDS)
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)
    assert len(out.delivered()) == len(vendor.log), "what was on its way came back"
    assert engine.counters.delivered + engine.counters.cut_off == engine.counters.begun


@pytest.mark.parametrize("tells_secrets", [True, False])
def test_a_worker_elsewhere_is_sent_neither_key_nor_proxy(
    house: Callable[..., House], tells_secrets: bool
) -> None:
    proxy = "http://user:password@proxy.example.com:3128"
    out, vendor = house(vendor__proxy=proxy), FakeVendor()
    link, closed = LoopLink(vendor), list[bool]()
    crew = Crew(
        count=1,
        links=lambda count: [link][:count],
        to_fetch=1_000_000,
        tells_secrets=tells_secrets,
        close=lambda: closed.append(True),
    )
    out.who_fetches = lambda fetching: with_workers(fetching, crew)
    run_virtually(lambda: out.run(vendor))
    (told,) = link.told
    assert told.secrets == ((SECRETS.api_key, SECRETS.api_secret) if tells_secrets else None)
    assert told.vendor.proxy == (proxy if tells_secrets else None)
    assert told.vendor.base_url == out.config.vendor.base_url
    assert closed == [True]


@pytest.mark.parametrize(
    ("to_fetch", "rate_per_s", "workers"),
    [(63, 200, 1), (64, 200, 2), (31, 200, 0), (10_000, 2, 1)],
)
def test_few_ids_or_a_small_limit_are_worth_few_workers(
    house: Callable[..., House], to_fetch: int, rate_per_s: int, workers: int
) -> None:
    """One for twice as many ids as have connections, and one a second of the limit at most."""
    out, vendor = house(IDS[:40], pace__rate_per_s=rate_per_s), FakeVendor()
    made: list[int] = []

    def links(count: int) -> list[LoopLink]:
        made.append(count)
        return [LoopLink(vendor) for _ in range(count)]

    crew = Crew(count=9, links=links, to_fetch=to_fetch)
    out.who_fetches = lambda fetching: with_workers(fetching, crew)
    run_virtually(lambda: out.run(vendor))
    assert made == [workers]
    assert out.published() == IDS[:40]
