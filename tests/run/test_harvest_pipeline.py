"""The run on a scripted vendor, a real ledger and virtual time: every id settles once."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harvester.client.transport import NoReply, Reply
from harvester.errors import (
    BudgetReached,
    HarvesterError,
    Interrupted,
    StoreError,
    VendorRefused,
    VendorUnavailable,
)
from harvester.pipeline.engine.engine import Engine
from harvester.pipeline.engine.fetcher import PROBES
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.engine.shutdown import GRACE_S
from harvester.pipeline.publish.publisher import Published, Publisher
from harvester.pipeline.run.control_totals import check_run
from harvester.state import unresolved
from harvester.state.acknowledge import acknowledge
from harvester.state.values import Batch, OpenCall
from harvester.state.writer import LedgerWriter
from tests.support.fakes import (
    TIMEOUT,
    TOO_MANY,
    Answer,
    Chaos,
    FakeVendor,
    House,
    acknowledging,
    houses,
    record,
    status,
)
from tests.support.virtual_time import run_virtually, virtual_loop

IDS = [f"{n:05}" for n in range(300)]
STOPPED = Interrupted("enough")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    with houses(tmp_path, IDS) as make:
        yield make


def stop_at(seconds: float, reason: HarvesterError = STOPPED) -> Callable[[Engine], None]:
    """Stops the run at that virtual time after its begin."""

    def begin(engine: Engine) -> None:
        asyncio.get_running_loop().call_later(seconds, engine.stop.stop, reason)

    return begin


def assert_run_balances(engine: Engine) -> None:
    counters = engine.counters
    assert not check_run(
        begun=counters.begun,
        delivered=counters.delivered,
        open_=counters.open,
        dead=counters.dead,
        deferred=counters.deferred,
        cut_off=counters.cut_off,
    ), counters


def assert_each_id_is_in_one_state(house: House) -> None:
    states = Counter([*house.delivered(), *house.open(), *house.dead(), *house.pending()])
    assert states == Counter(house.ids)
    assert set(house.deferred()) <= set(house.pending())
    work_list = house.work_list
    assert work_list.pending == len(house.pending())


def test_a_list_is_worked_down_each_id_asked_once_in_order(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor()
    engine = run_virtually(lambda: out.run(vendor))
    assert sorted(vendor.asked.elements()) == IDS
    # In the list's order, but for those who come to the socket together.
    assert all(abs(IDS.index(v) - at) < 16 for at, (_, v) in enumerate(vendor.log))
    assert out.published() == IDS, "and the end of the run publishes"
    assert out.journaled() == []
    assert engine.stop.reason is None
    assert vendor.most_in_flight <= 16
    assert vendor.closed
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


def test_the_same_list_again_sends_nothing(house: Callable[..., House]) -> None:
    out, vendor = house(), FakeVendor()
    run_virtually(lambda: out.run(vendor))
    run_virtually(lambda: out.run(vendor))
    assert len(vendor.log) == len(IDS)


def test_no_request_leaves_within_a_second_of_the_lock(house: Callable[..., House]) -> None:
    out, vendor = house(), FakeVendor()
    run_virtually(lambda: out.run(vendor), starts_at=5000.0)
    assert min(vendor.times) >= 5001.0


OUTCOMES: dict[str, tuple[Callable[[str, int], Answer], str]] = {
    "delivered": (lambda i, n: record(i), "delivered"),
    "delivered late": (lambda i, n: record(i) if n > 1 else status(-18), "delivered"),
    "open": (lambda i, n: record(i, over=False), "open"),
    "unknown call": (lambda i, n: status(-24), "open"),
    "dead": (lambda i, n: status(-22), "dead"),
    "deferred": (lambda i, n: NoReply("reset", ""), "pending"),
    "then delivered": (lambda i, n: record(i) if n >= 5 else TIMEOUT, "delivered"),
}


def test_every_kind_of_outcome_goes_to_its_place(house: Callable[..., House]) -> None:
    # Failures must stay well under half of the answers, or this is an outage, and its length a
    # matter of the backoffs' dice.
    kinds = [*OUTCOMES, *["delivered"] * 13]
    of = {voice_id: kinds[n % len(kinds)] for n, voice_id in enumerate(IDS)}
    vendor = FakeVendor(script=lambda i, n: OUTCOMES[of[i]][0](i, n))
    out = house()
    engine = run_virtually(lambda: out.run(vendor))
    expected = {
        state: sorted(i for i in IDS if OUTCOMES[of[i]][1] == state)
        for state in ("delivered", "open", "dead", "pending")
    }
    assert out.delivered() == expected["delivered"]
    assert out.open() == expected["open"]
    assert sorted(out.dead()) == expected["dead"]
    assert out.pending() == expected["pending"]
    assert sorted(out.deferred()) == expected["pending"]
    assert_run_balances(engine)


def test_deferred_ids_are_tried_once_more_at_the_end_with_one_attempt(
    house: Callable[..., House],
) -> None:
    out = house(retry__network_attempts=5, retry__max_outage_s=9999)
    bad = set(IDS[::40])
    vendor = FakeVendor(script=lambda i, n: TIMEOUT if i in bad else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert {vendor.asked[i] for i in bad} == {6}
    last_asks = [voice_id for _, voice_id in vendor.log[-len(bad) :]]
    assert sorted(last_asks) == sorted(bad)
    assert engine.counters.deferred == len(bad)
    assert out.deferred() == dict.fromkeys(sorted(bad), "timeout")
    assert_run_balances(engine)


def test_a_time_refused_to_one_id_alone_is_that_ids_trouble(house: Callable[..., House]) -> None:
    out = house()
    vendor = FakeVendor(script=lambda i, n: status(-16) if i == IDS[5] else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.deferred() == {IDS[5]: "time_refused"}
    assert vendor.asked[IDS[5]] == 2 * 4, "a first answer and three more, and the same at the end"
    times = [at for at, voice_id in vendor.log if voice_id == IDS[5]]
    assert times[3] - times[0] == pytest.approx(3 * 0.05, abs=1e-3), (
        "signed afresh at once: waiting would change nothing"
    )
    assert_run_balances(engine)


def test_a_refused_time_is_put_right_at_once_whatever_pause_its_answer_asks_for(
    house: Callable[..., House],
) -> None:
    out = house()
    refused = replace(status(-16), retry_after="20")
    vendor = FakeVendor(script=lambda i, n: refused if i == IDS[150] and not n else record(i))
    run_virtually(lambda: out.run(vendor))
    assert max(after - before for before, after in pairwise(vendor.times)) < 10
    assert out.delivered() == IDS


@pytest.mark.parametrize("poison", [IDS[0], IDS[5], IDS[-1]], ids=["first", "sixth", "last"])
@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_lone_poison_id_counts_a_run_even_though_its_last_try_is_alone(
    house: Callable[..., House], poison: str, concurrency: int
) -> None:
    out = house(retry__network_attempts=2, pace__concurrency=concurrency)
    vendor = FakeVendor(script=lambda i, n: TIMEOUT if i == poison else record(i))
    run_virtually(lambda: out.run(vendor))
    item = unresolved.deferred(out.db, poison)
    assert item is not None
    assert item.runs == 1


def test_a_run_in_which_the_vendor_failed_at_its_end_counts_against_no_id(
    house: Callable[..., House],
) -> None:
    out = house(retry__network_attempts=2, pace__concurrency=1)
    vendor = FakeVendor(
        script=lambda i, n: TIMEOUT if i == IDS[-1] or vendor.asked[IDS[-1]] else record(i)
    )
    run_virtually(lambda: out.run(vendor))
    item = unresolved.deferred(out.db, IDS[-1])
    assert item is not None
    assert item.runs == 0


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 60),
    concurrency=st.integers(1, 20),
    stops=st.lists(st.floats(0.0, 60.0), max_size=4),
    batch=st.sampled_from([1, 7, 500]),
    commit_s=st.sampled_from([0.0, 0.3, 20.0]),
    publish_records=st.sampled_from([5, 100_000]),
)
def test_whenever_a_run_is_stopped_its_books_balance_and_each_id_settles_once(
    seed: int,
    count: int,
    concurrency: int,
    stops: list[float],
    batch: int,
    commit_s: float,
    publish_records: int,
) -> None:
    chaos = Chaos(seed)
    vendor = FakeVendor(chaos.script, chaos.latency_s)
    with TemporaryDirectory() as folder:
        out = House(
            Path(folder) / "out",
            IDS[:count],
            pace__rate_per_s=50,
            pace__concurrency=concurrency,
            output__publish_records=publish_records,
        )
        with closing(out):
            acknowledged: Counter[str] = Counter()
            for stop_s in stops:
                engine = run_virtually(
                    lambda at=stop_s: out.run(  # type: ignore[misc]
                        vendor, meanwhile=stop_at(at), before=acknowledging(lambda: commit_s)
                    )
                )
                assert_run_balances(engine)
                assert_each_id_is_in_one_state(out)
                settled_now = Counter([*out.delivered(), *out.open(), *out.dead()])
                assert acknowledged <= settled_now, "what was acknowledged stays"
                acknowledged = settled_now
            calm = FakeVendor()
            run_virtually(lambda: out.run(calm))
            assert_each_id_is_in_one_state(out)
            assert out.pending() == []
            assert not set(calm.asked) & set(acknowledged), "what is settled is not asked again"


def test_on_stop_waiting_workers_end_at_once_and_those_on_the_wire_get_their_answer(
    house: Callable[..., House],
) -> None:
    out = house(pace__rate_per_s=10, pace__concurrency=50)
    vendor = FakeVendor(latency_s=lambda i, n: 8.0 if i != IDS[0] else 0.0)  # the others follow it

    async def main() -> tuple[Engine, float]:
        start = virtual_loop().time()
        engine = await out.run(vendor, meanwhile=stop_at(3.05))
        return engine, virtual_loop().time() - start

    engine, took_s = run_virtually(main)
    sent = len(vendor.log)
    assert 15 <= sent <= 21
    assert engine.counters.delivered == sent, "their answers are acknowledged"
    assert engine.counters.cut_off == 50 + 1 - sent
    assert len(out.journaled()) == sent
    assert out.published() == [], "nothing is published by a run that is being stopped"
    assert 10.5 <= took_s <= 11.5
    assert max(vendor.times) - 1000.0 <= 3.06, "no new attempt starts"
    assert_run_balances(engine)


def test_on_stop_whoever_hangs_is_cut_off_after_the_grace(house: Callable[..., House]) -> None:
    out = house()
    vendor = FakeVendor(latency_s=lambda i, n: 0.05 if i < IDS[100] else 1e6)

    async def main() -> tuple[Engine, float]:
        start = virtual_loop().time()
        engine = await out.run(vendor, meanwhile=stop_at(30.0))
        return engine, virtual_loop().time() - start

    engine, took_s = run_virtually(main)
    assert 30 + GRACE_S <= took_s <= 31 + GRACE_S
    assert engine.counters.delivered == 100
    assert engine.counters.cut_off == 16
    assert out.pending() == IDS[100:]
    assert_run_balances(engine)


def test_on_stop_no_request_is_repeated_that_waited_for_its_turn(
    house: Callable[..., House],
) -> None:
    """A connection died, the transport sends the request again: that is a new one."""
    out = house(pace__rate_per_s=10, pace__concurrency=50)
    vendor = FakeVendor(seals=2)
    engine = run_virtually(lambda: out.run(vendor, meanwhile=stop_at(3.05)))
    assert vendor.log
    assert max(vendor.times) - 1000.0 <= 3.06
    assert engine.counters.delivered == len(vendor.log)
    assert_run_balances(engine)


def test_a_retry_that_waits_for_its_backoff_is_cut_off_at_once(
    house: Callable[..., House],
) -> None:
    out = house(IDS[:4], retry__backoff_initial_s=1e5, retry__backoff_max_s=1e5)
    vendor = FakeVendor(script=lambda i, n: status(-18))

    async def main() -> float:
        start = virtual_loop().time()
        await out.run(vendor, meanwhile=stop_at(2.0))
        return virtual_loop().time() - start

    assert run_virtually(main) <= 2.1
    assert out.pending() == IDS[:4]


def broken_commits(after: int) -> Callable[[object], float]:
    """Acknowledging fails after that many times."""
    done = 0

    def then() -> float:
        nonlocal done
        done += 1
        if done > after:
            raise StoreError("the disk is full")
        return 0.1

    return acknowledging(then)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("latency_s", [0.05, 3.0])
def test_a_failed_acknowledgement_stops_the_run_and_nobody_hangs(
    house: Callable[..., House], after: int, latency_s: float
) -> None:
    ids = [f"{n:05}" for n in range(9_000)]
    out = house(ids, pace__concurrency=64)
    vendor = FakeVendor(latency_s=lambda i, n: latency_s)
    engines: list[Engine] = []

    async def main() -> float:
        start = virtual_loop().time()
        with pytest.raises(StoreError, match="the disk is full"):
            await out.run(vendor, before=broken_commits(after), meanwhile=engines.append)
        return virtual_loop().time() - start

    assert run_virtually(main) < 60
    assert isinstance(engines[0].stop.reason, StoreError)
    assert vendor.closed
    assert len(out.journaled()) <= after * 600
    assert_each_id_is_in_one_state(out)


def test_the_counters_that_are_kept_are_those_of_the_outcomes_that_are_kept(
    house: Callable[..., House],
) -> None:
    """At every commit, and so after every death: what the run counted is what the ledger holds."""
    out = house([f"{n:05}" for n in range(3_000)], pace__rate_per_s=5_000, pace__concurrency=64)
    chaos = Chaos(3)
    vendor = FakeVendor(chaos.script, lambda voice_id, before: 0.05)
    kept: list[int] = []

    def look() -> float:
        counted = json.loads(out.db.execute("SELECT counters FROM run").fetchone()[0])
        states = {"delivered": out.delivered(), "open": out.open(), "dead": out.dead()}
        assert {name: counted.get(name, 0) for name in states} == {
            name: len(ids) for name, ids in states.items()
        }
        kept.append(sum(map(len, states.values())))
        return 0.4  # slow enough for the next batch to fill meanwhile

    run_virtually(lambda: out.run(vendor, before=acknowledging(look)))
    look()
    assert len(set(kept)) > 4


def test_an_error_of_the_store_takes_the_place_of_a_request_to_stop(
    house: Callable[..., House],
) -> None:
    out, vendor = house(), FakeVendor(latency_s=lambda i, n: 3.0)
    engines: list[Engine] = []

    def begin(engine: Engine) -> None:
        engines.append(engine)
        stop_at(1.5)(engine)

    async def main() -> None:
        with pytest.raises(StoreError):
            await out.run(vendor, before=broken_commits(0), meanwhile=begin)

    run_virtually(main)
    assert isinstance(engines[0].stop.reason, StoreError)


class SlowPublisher(Publisher):
    """Waits for a sign before it publishes, and may break."""

    def __init__(self, inner: Publisher, then: Callable[[], None]) -> None:
        self._inner = inner
        self._then = then

    def publish(  # type: ignore[no-untyped-def]  # noqa: ANN201
        self, should_stop: Callable[[], bool] = lambda: False, *, is_fetching: bool = False
    ):
        self._then()
        return self._inner.publish(should_stop, is_fetching=is_fetching)


def with_publisher(house: House, then: Callable[[], None]) -> None:
    inner = house.publisher
    house.publisher = lambda ledger: SlowPublisher(inner(ledger), then)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("broken", "kind"),
    [(StoreError("no room"), StoreError), (KeyError("a bug"), HarvesterError)],
    ids=["the disk is full", "a bug that nobody foresaw"],
)
def test_a_publication_that_fails_stops_the_run_and_nobody_waits_for_room_for_ever(
    house: Callable[..., House], broken: Exception, kind: type[HarvesterError]
) -> None:
    out = house([f"{n:05}" for n in range(9_000)], output__publish_records=100)

    def fail() -> None:
        raise broken

    with_publisher(out, fail)
    engine = run_virtually(lambda: out.run(FakeVendor()))
    assert isinstance(engine.stop.reason, kind)
    assert str(broken).strip("'") in str(engine.stop.reason)
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


def test_nobody_asks_while_the_journal_is_twice_full(house: Callable[..., House]) -> None:
    ids = [f"{n:05}" for n in range(6_000)]
    out = house(ids, output__publish_records=500, pace__concurrency=8)
    vendor = FakeVendor()
    journaled: list[int] = []

    async def main() -> None:
        ledger_is_slow = acknowledging(lambda: 0.01)
        await out.run(vendor, before=ledger_is_slow, meanwhile=watch)

    def watch(engine: Engine) -> None:
        async def look() -> None:
            while True:
                journaled.append(engine._waiting.records)
                await asyncio.sleep(0.01)

        looking.append(asyncio.ensure_future(look()))

    looking: list[asyncio.Future[None]] = []
    run_virtually(main)
    # Twice 500, and what was in the batches and on the wire when that was seen.
    assert max(journaled) <= 2 * 500 + 2 * 508
    assert sorted(out.published()) == ids


class Meanwhile(Publisher):
    """While it publishes all that there was, a little more comes into the journal."""

    def __init__(self, note: Callable[[], object]) -> None:
        self._note = note
        self.published = 0

    def publish(  # type: ignore[no-untyped-def]  # noqa: ANN201
        self, should_stop: Callable[[], bool] = lambda: False, *, is_fetching: bool = False
    ):
        assert is_fetching
        self.published += 1
        self._note()
        return Published(2_500, 1, 1, 0, Counter(), Counter())


def test_what_is_committed_beside_a_publication_waits_until_the_journal_is_full_again(
    house: Callable[..., House],
) -> None:
    out = house(output__publish_records=2_000)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        publisher = Meanwhile(lambda: loop.call_soon_threadsafe(engine._note_committed, 500, 0))
        ledger = LedgerWriter(out.db, out.output.database)
        job = out.job(FakeVendor())
        engine = Engine(job, ledger, publisher)
        publishing = asyncio.create_task(engine._publish_when_due())
        engine._note_committed(2_500, 0)
        await asyncio.sleep(5)
        publishing.cancel()
        ledger.close()
        assert job.ids is not None
        job.ids.close()
        return publisher.published

    assert run_virtually(main) == 1


def test_an_outage_is_probed_every_5_seconds_and_costs_the_ids_nothing(
    house: Callable[..., House],
) -> None:
    out = house(retry__max_outage_s=600, retry__network_attempts=9)
    back_at = 1200.0

    def script(voice_id: str, before: int) -> Answer:
        return TIMEOUT if asyncio.get_running_loop().time() < back_at else record(voice_id)

    vendor = FakeVendor(script)
    engine = run_virtually(lambda: out.run(vendor))
    probes = [at for at in vendor.times if 1050 < at < back_at]
    gaps = [b - a for a, b in pairwise(probes)]
    assert 25 <= len(probes) <= 31
    assert min(gaps) >= 4.9
    assert max(gaps) <= 5.2
    assert engine.counters.deferred == 0
    assert engine.result().figures.outages == 1
    assert out.delivered() == IDS


def test_an_outage_that_lasts_too_long_ends_the_run_and_every_id_stays_pending(
    house: Callable[..., House],
) -> None:
    out = house(retry__max_outage_s=60, retry__network_attempts=9)
    vendor = FakeVendor(lambda i, n: TIMEOUT)

    async def main() -> tuple[Engine, float]:
        engine = await out.run(vendor)
        return engine, virtual_loop().time() - 1000.0

    engine, took_s = run_virtually(main)
    assert isinstance(engine.stop.reason, VendorUnavailable)
    assert 60 <= took_s <= 120
    assert out.pending() == IDS
    assert out.dead() == {}
    assert_run_balances(engine)


def test_a_vendor_that_pushes_back_for_ever_ends_the_run_as_unavailable(
    house: Callable[..., House],
) -> None:
    out = house(retry__max_outage_s=300)

    async def main() -> tuple[Engine, float]:
        engine = await out.run(FakeVendor(lambda i, n: TOO_MANY))
        return engine, virtual_loop().time() - 1000.0

    engine, took_s = run_virtually(main)
    assert isinstance(engine.stop.reason, VendorUnavailable)
    assert engine.stop.reason is not None
    assert engine.stop.reason.code == "vendor.throttling"
    assert 300 <= took_s <= 330
    assert out.pending() == IDS
    assert out.deferred() == {}, "throttling that everybody gets costs no id its budget"


def test_push_backs_with_answers_between_them_never_end_a_run(
    house: Callable[..., House],
) -> None:
    """However long the first is ago: a backfill takes days."""
    out = house(retry__max_outage_s=30, pace__rate_per_s=2)
    pushed_back = {IDS[0], IDS[150], IDS[-1]}
    vendor = FakeVendor(lambda i, n: TOO_MANY if i in pushed_back and not n else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert max(vendor.times) - min(vendor.times) > 4 * 30
    assert engine.stop.reason is None
    assert out.delivered() == IDS
    assert len(vendor.log) == len(IDS) + len(pushed_back), "nor do they cost others a request"


@pytest.mark.parametrize("answer", [record(IDS[0]), status(-22)], ids=["record", "no"])
def test_an_answer_that_settles_its_id_may_ask_for_a_pause_all_the_same(
    house: Callable[..., House], answer: Reply
) -> None:
    out = house(IDS[:2], pace__concurrency=1)
    paused = replace(answer, retry_after="20")
    vendor = FakeVendor(lambda i, n: paused if i == IDS[0] else record(i))
    run_virtually(lambda: out.run(vendor))
    first, second = vendor.times
    assert 20 <= second - first <= 22
    assert sorted([*out.delivered(), *out.dead()]) == IDS[:2]


def test_nobody_takes_a_connection_while_the_pace_is_closed(house: Callable[..., House]) -> None:
    """It would be closed for idleness before its turn came."""
    # Many more turns than workers: places would hold them up as well.
    out = house(pace__concurrency=4)
    paused = replace(record(IDS[50]), retry_after="20")
    vendor = FakeVendor(lambda i, n: paused if i == IDS[50] else record(i))
    run_virtually(lambda: out.run(vendor))
    assert max(after - before for before, after in pairwise(vendor.times)) >= 20
    # Three may have been about to write when the pause began.
    assert sum(wait_s > 1 for wait_s in vendor.waits_s) <= 3
    assert out.delivered() == IDS


@pytest.mark.parametrize(
    ("reason", "phases"),
    [
        (None, ["fetching", "fetching", "publishing"]),
        (BudgetReached("enough"), ["fetching", "stopping", "publishing"]),
        (STOPPED, ["fetching", "stopping", "stopping"]),
    ],
    ids=["to its end", "out of its budget", "at a signal"],
)
def test_how_a_run_is_doing_is_told_from_its_beginning_to_its_end(
    house: Callable[..., House], reason: HarvesterError | None, phases: list[str]
) -> None:
    # More ids than the job foresaw, which are none: no time is left then, never less.
    out = house(pace__rate_per_s=100)
    told: list[Progress] = []

    def begin(engine: Engine) -> None:
        def look() -> None:
            if reason is not None:
                engine.stop.stop(reason)
            told.append(engine.progress())

        told.append(engine.progress())
        asyncio.get_running_loop().call_later(2.0, look)

    engine = run_virtually(lambda: out.run(FakeVendor(), meanwhile=begin))
    told.append(engine.progress())
    assert [one.phase for one in told] == phases
    assert 50 < told[1].resolved < 150
    assert (told[1].eta_s, told[2].eta_s) == (0, 0)
    assert all(0 <= one.elapsed_s < 600 for one in told)
    assert told[0].elapsed_s <= told[1].elapsed_s <= told[2].elapsed_s


def test_no_connection_is_taken_that_would_wait_for_its_turn_for_long(
    house: Callable[..., House],
) -> None:
    """It would be closed for idleness: at two a second six may wait, of however many workers."""
    out = house(IDS[:100], pace__rate_per_s=2, pace__concurrency=64)
    vendor = FakeVendor()
    run_virtually(lambda: out.run(vendor))
    assert 2.5 <= max(vendor.waits_s) <= 3.2
    assert out.delivered() == IDS[:100]


def test_one_id_that_is_always_pushed_back_does_not_hold_up_the_others(
    house: Callable[..., House],
) -> None:
    out = house()
    vendor = FakeVendor(lambda i, n: TOO_MANY if i == IDS[0] else record(i))
    run_virtually(lambda: out.run(vendor))
    assert out.delivered() == IDS[1:]
    assert out.deferred() == {IDS[0]: "throttled"}
    assert vendor.asked[IDS[0]] <= 30
    assert len(out.published()) == len(IDS) - 1, "nor does it keep the night from its end"


@pytest.mark.parametrize("concurrency", [3, 64])
def test_a_refusal_of_three_ids_halts_the_run_and_every_id_stays_pending(
    house: Callable[..., House], concurrency: int
) -> None:
    out = house(pace__concurrency=concurrency)
    vendor = FakeVendor(lambda i, n: status(-1))
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert "HARVESTER_API_KEY" in str(engine.stop.reason)
    assert len(vendor.log) <= 3 + concurrency + PROBES
    assert out.pending() == IDS
    assert out.deferred() == {}
    assert_run_balances(engine)


def test_where_nothing_was_ever_delivered_the_refusal_of_the_lone_last_id_halts_the_run(
    house: Callable[..., House],
) -> None:
    out = house(IDS[:1])
    vendor = FakeVendor(lambda i, n: status(-31))
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert "allow-list" in str(engine.stop.reason)
    assert vendor.asked[IDS[0]] == 1
    assert out.pending() == [IDS[0]]


def test_a_lone_refusal_among_successes_is_only_unlucky(house: Callable[..., House]) -> None:
    out = house()
    vendor = FakeVendor(lambda i, n: status(-1) if i == IDS[7] and n < 2 else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.delivered() == IDS


def test_20_ids_with_an_unknown_status_halt_the_run_and_show_the_body(
    house: Callable[..., House],
) -> None:
    out = house(pace__concurrency=32)
    engine = run_virtually(lambda: out.run(FakeVendor(lambda i, n: status(77))))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert "so it is" in str(engine.stop.reason)
    assert out.pending() == IDS


def test_the_days_budget_ends_the_run_after_exactly_so_many_requests(
    house: Callable[..., House],
) -> None:
    out = house(pace__per_day=100)
    vendor = FakeVendor(lambda i, n: status(-18) if n == 0 else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, BudgetReached)
    assert len(vendor.log) == 100
    assert engine.result().requests_of_day[1] == 100
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


def test_the_runs_time_ends_it_and_what_is_done_is_kept(house: Callable[..., House]) -> None:
    out = house(pace__rate_per_s=50)
    deadline = time.monotonic() + 3.0
    engine = run_virtually(lambda: out.run(FakeVendor(), deadline=deadline))
    assert isinstance(engine.stop.reason, BudgetReached)
    assert 50 <= engine.counters.delivered <= 110
    assert len(out.published()) == engine.counters.delivered
    assert out.journaled() == [], "a run that ends at its budget publishes what it has"


def test_open_calls_that_are_due_come_first_and_settle_without_a_place_on_the_list(
    house: Callable[..., House],
) -> None:
    out = house()
    calls = [OpenCall(f"open-{n}", n * 10**15, 1, 1, "run-0", b"{}", 1) for n in range(2)]
    acknowledge(
        out.db,
        "run-0",
        Batch(open_calls=calls),
        work_list=None,
        counters={},
        requests_of_day=("", 0),
    )
    vendor = FakeVendor()
    engine = run_virtually(lambda: out.run(vendor))
    assert "open-0" in [voice_id for _, voice_id in vendor.log[:16]]
    assert out.open() == ["open-1"], "it is not due yet"
    assert engine.counters.delivered == len(IDS) + 1
    assert_run_balances(engine)


def test_with_only_what_earlier_inputs_left_over_is_left_alone(
    house: Callable[..., House],
) -> None:
    out, vendor = house([]), FakeVendor()
    out.put_in_force(IDS, carried_over=100)
    run_virtually(lambda: out.run(vendor, only=True))
    assert out.pending() == IDS[200:]
    run_virtually(lambda: out.run(vendor))
    assert out.pending() == []


def test_the_source_holds_no_more_than_a_page_of_tasks(house: Callable[..., House]) -> None:
    ids = [f"{n:05}" for n in range(25_000)]
    out = house(ids, pace__rate_per_s=5000, pace__concurrency=100)
    most = [0]

    def watch(engine: Engine) -> None:
        async def look() -> None:
            while True:
                if hasattr(engine.others, "source"):
                    most[0] = max(most[0], len(engine.others.source._ready))
                await asyncio.sleep(0.05)

        looking.append(asyncio.ensure_future(look()))

    looking: list[asyncio.Future[None]] = []
    run_virtually(lambda: out.run(FakeVendor(), meanwhile=watch))
    assert 500 < most[0] <= 1_000
    assert len(out.published()) == 25_000


def test_no_second_of_a_whole_run_holds_more_requests_than_the_limit_retries_included(
    house: Callable[..., House],
) -> None:
    out = house(pace__rate_per_s=40, pace__concurrency=64)
    chaos = Chaos(3)
    vendor = FakeVendor(chaos.script, connect_s=0.2)
    run_virtually(lambda: out.run(vendor))
    times = vendor.times
    assert len(times) > len(IDS)
    assert all(b - a >= 1.0 - 1e-9 for a, b in zip(times, times[40:], strict=False))
