"""What can't be undone is done only when it is certain: a no is confirmed, permanent failures wait
for a first record, and a refusal that halts the run is seen elsewhere in the list as well."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace as with_changes

from harvester.client.transport import Reply
from harvester.errors import (
    BudgetReached,
    HarvesterError,
    Interrupted,
    StoreError,
    VendorRefused,
    VendorUnavailable,
)
from harvester.pipeline.engine.doubt import FULL, PROBES
from harvester.pipeline.engine.engine import Engine, Job
from harvester.pipeline.engine.probes import spread
from harvester.pipeline.engine.task import Task
from harvester.state import between_runs, unresolved, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.values import Batch, DeadLetter
from tests.run.test_harvest_pipeline import (
    assert_each_id_is_in_one_state,
    assert_run_balances,
    stop_at,
)
from tests.support.fakes import TIMEOUT, Answer, FakeVendor, House, houses, record, status
from tests.support.virtual_time import run_virtually, virtual_loop

IDS = [f"{n:05}" for n in range(1_000)]
NOW = datetime.now(timezone(timedelta(hours=8)))
NULL = Reply(200, b'{"status":"0","reason":"success","data":null}')
GONE = Reply(404, b"<html>")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    with houses(tmp_path, IDS) as make:
        yield make


def dated(days_ago: float, count: int = 1, start: int = 0) -> list[str]:
    """Ids whose own digits date them so many days back."""
    at = NOW - timedelta(days=days_ago)
    return [f"{at:%y%m%d%H%M%S}{n:07}" for n in range(start, start + count)]


def reused(answer: Answer) -> Answer:
    """As it comes on a connection that brought another answer before."""
    assert isinstance(answer, Reply)
    return with_changes(answer, is_reused=True)


# A permanent failure is confirmed


@pytest.mark.parametrize("code", [-22, -14, -25])
def test_a_stray_no_on_a_reused_connection_is_fetched_again_on_another_one(
    house: Callable[..., House], code: int
) -> None:
    out = house(IDS[:50])
    stray = reused(status(code))
    vendor = FakeVendor(lambda i, n: stray if i == IDS[7] and n == 0 else reused(record(i)))
    engine = run_virtually(lambda: out.run(vendor))
    assert out.delivered() == IDS[:50]
    assert vendor.asked_fresh == [IDS[7]]
    assert (engine.counters.requests, len(vendor.log)) == (51, 51), "it counts as a request"
    assert engine.counters.retries.get("unconfirmed", 0) == 1
    assert_run_balances(engine)


def test_a_no_that_another_connection_repeats_counts(house: Callable[..., House]) -> None:
    out = house(IDS[:50])
    vendor = FakeVendor(lambda i, n: reused(status(-22)) if i == IDS[7] else reused(record(i)))
    vendor.is_reused_when_fresh = False
    run_virtually(lambda: out.run(vendor))
    assert out.dead() == {IDS[7]: "parameter_exception"}
    assert vendor.asked[IDS[7]] == 2


def test_a_no_that_was_its_connections_first_answer_needs_no_confirming(
    house: Callable[..., House],
) -> None:
    out = house(IDS[:50])
    vendor = FakeVendor(lambda i, n: status(-22) if i == IDS[7] else reused(record(i)))
    run_virtually(lambda: out.run(vendor))
    assert out.dead() == {IDS[7]: "parameter_exception"}
    assert vendor.asked[IDS[7]] == 1


def test_a_no_that_names_its_id_needs_no_confirming(house: Callable[..., House]) -> None:
    out = house(IDS[:50])
    named = Reply(200, b'{"status":"-22","data":{"voiceId":"00007"}}', is_reused=True)
    vendor = FakeVendor(lambda i, n: named if i == IDS[7] else reused(record(i)))
    run_virtually(lambda: out.run(vendor))
    assert out.dead() == {IDS[7]: "parameter_exception"}
    assert vendor.asked[IDS[7]] == 1


def test_a_no_that_names_another_id_is_no_answer_to_this_one(house: Callable[..., House]) -> None:
    out = house(IDS[:50])
    other = Reply(200, b'{"status":"-22","data":{"voiceId":"00008"}}')
    vendor = FakeVendor(lambda i, n: other if i == IDS[7] and n < 2 else record(i))
    run_virtually(lambda: out.run(vendor))
    assert out.delivered() == IDS[:50]


def test_a_null_that_ends_nothing_needs_no_confirming_and_one_that_does_needs_it(
    house: Callable[..., House],
) -> None:
    young, old = dated(1)[0], dated(10)[0]
    ids = sorted([young, old, *dated(5, 20)])
    out = house(ids)
    vendor = FakeVendor(lambda i, n: reused(NULL) if i in (young, old) else reused(record(i)))
    vendor.is_reused_when_fresh = False
    run_virtually(lambda: out.run(vendor))
    assert (vendor.asked[young], vendor.asked[old]) == (1, 2)
    assert (out.open(), out.dead()) == ([young], {old: "no_record"})


def test_what_fails_when_it_is_to_be_confirmed_goes_its_usual_way(
    house: Callable[..., House],
) -> None:
    out = house(IDS[:50])
    answers = {0: reused(status(-22)), 1: TIMEOUT, 2: reused(status(-22)), 3: record(IDS[7])}
    vendor = FakeVendor(lambda i, n: answers[n] if i == IDS[7] else reused(record(i)))
    run_virtually(lambda: out.run(vendor))
    assert out.delivered() == IDS[:50]
    assert vendor.asked_fresh == [IDS[7], IDS[7]]


def test_once_20_were_confirmed_those_of_ids_over_60_days_old_need_none(
    house: Callable[..., House],
) -> None:
    ancient, old = dated(70, 100), dated(50, 10, start=100)
    young = dated(4, 1, start=200)
    out = house(sorted([*ancient, *old, *young]), pace__concurrency=1)
    vendor = FakeVendor(lambda i, n: reused(record(i) if i in young else NULL))
    vendor.is_reused_when_fresh = False
    run_virtually(lambda: out.run(vendor))
    assert len(out.dead()) == 110
    asked = Counter(vendor.asked[i] for i in ancient)
    assert asked == {2: 20, 1: 80}
    assert {vendor.asked[i] for i in old} == {2}


# Permanent failures are held back until a first record


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_a_vendor_that_says_no_to_every_id_halts_the_run_and_all_stay_pending(
    house: Callable[..., House], concurrency: int
) -> None:
    out = house(pace__concurrency=concurrency)
    vendor = FakeVendor(lambda i, n: status(-22))
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert "so it is" in str(engine.stop.reason), "the body is shown"
    assert (out.dead(), out.pending()) == ({}, IDS)
    assert FULL + 20 <= len(vendor.log) <= FULL + 20 + concurrency
    assert IDS[-1] in vendor.asked, "the youngest is among the probes"
    assert len(vendor.asked) == len(vendor.log), "each id once"
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


def test_null_for_ids_that_the_vendor_should_know_is_such_a_no(house: Callable[..., House]) -> None:
    ids = dated(10, 400)
    out = house(ids)
    engine = run_virtually(lambda: out.run(FakeVendor(lambda i, n: NULL)))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert (out.dead(), out.pending()) == ({}, ids)


def test_a_record_among_the_probes_and_the_nos_count_and_the_run_goes_on(
    house: Callable[..., House],
) -> None:
    out = house()
    vendor = FakeVendor(lambda i, n: status(-22) if i < IDS[300] else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert sorted(out.dead()) == IDS[:300]
    assert out.delivered() == IDS[300:]
    # Probes that were put back come last, and some of them are bad: one record is fetched again.
    # All come on end, so each is fetched again, and with every 20 of them a record that came.
    assert sum(vendor.asked.values()) <= len(IDS) + 1 + 300 + 300 // PROBES
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


def test_only_the_lone_middle_of_a_list_delivers(house: Callable[..., House]) -> None:
    out = house()
    good = set(IDS[400:600])
    vendor = FakeVendor(lambda i, n: record(i) if i in good else status(-14))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.delivered() == sorted(good)
    assert_each_id_is_in_one_state(out)


@pytest.mark.parametrize("count", [1, 150, 199])
def test_a_list_that_ends_before_200_commits_its_nos(
    house: Callable[..., House], count: int
) -> None:
    out = house(IDS[:count])
    engine = run_virtually(lambda: out.run(FakeVendor(lambda i, n: status(-22))))
    assert engine.stop.reason is None
    assert sorted(out.dead()) == IDS[:count]
    assert_run_balances(engine)


@pytest.mark.parametrize("no", [status(-22), NULL], ids=["-22", "null"])
@pytest.mark.parametrize("count", [5, 150])
def test_a_whole_night_of_nos_is_doubted_where_an_earlier_one_had_records(
    house: Callable[..., House], count: int, no: Reply
) -> None:
    out = house(ids := dated(5, count))
    (newest,) = dated(6)
    out.newest = lambda _: newest
    vendor = FakeVendor(lambda i, n: no)
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert (out.dead(), out.pending()) == ({}, ids)
    assert vendor.asked[newest] >= 1


def test_nos_count_if_what_an_earlier_night_delivered_still_has_its_record(
    house: Callable[..., House],
) -> None:
    out = house(ids := dated(5, 5))
    (newest,) = dated(6)
    out.newest = lambda _: newest
    vendor = FakeVendor(lambda i, n: record(i) if i == newest else status(-22))
    run_virtually(lambda: out.run(vendor))
    assert list(out.dead()) == ids
    assert vendor.asked[newest] == 1
    assert out.delivered() == [], "it is in the data already"


def test_a_night_of_nos_by_a_vendor_that_is_well_again_is_fetched_again_before_it_counts(
    house: Callable[..., House],
) -> None:
    out = house(ids := dated(5, 150))
    (newest,) = dated(6)
    out.newest = lambda _: newest
    vendor = FakeVendor(lambda i, n: status(-22) if n == 0 and i != newest else record(i))
    run_virtually(lambda: out.run(vendor))
    assert (out.dead(), out.delivered()) == ({}, ids)


def test_a_file_that_cannot_be_read_is_no_witness_and_ends_no_run(
    house: Callable[..., House],
) -> None:
    def unreadable(_: sqlite3.Connection) -> str:
        raise StoreError("part.parquet can't be read", code="data.unreadable")

    out = house(ids := dated(5, 30))
    out.newest = unreadable
    engine = run_virtually(lambda: out.run(FakeVendor(lambda i, n: status(-22))))
    assert engine.stop.reason is None
    assert list(out.dead()) == ids


@pytest.mark.parametrize(
    "newest", [None, *dated(61), "00000"], ids=["none", "forgotten", "no date"]
)
def test_without_a_record_that_the_vendor_must_have_a_few_nos_count(
    house: Callable[..., House], newest: str | None
) -> None:
    out = house(ids := dated(5, 30))
    out.newest = lambda _: newest
    vendor = FakeVendor(lambda i, n: status(-22))
    run_virtually(lambda: out.run(vendor))
    assert list(out.dead()) == ids
    assert vendor.asked[newest or ""] == 0


@pytest.mark.parametrize("no", [-22, -14, -25, -24])
@pytest.mark.parametrize("good", [1, 100, 700, 999])
def test_a_vendor_that_falls_ill_in_the_middle_makes_no_id_dead(
    house: Callable[..., House], no: int, good: int
) -> None:
    ids = dated(10, 1_000)
    out = house(ids)
    given: list[str] = []

    def says(voice_id: str, before: int) -> Answer:
        if len(given) == good:
            return status(no)
        given.append(voice_id)
        return record(voice_id)

    engine = run_virtually(lambda: out.run(FakeVendor(says)))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert engine.stop.reason is not None
    assert engine.stop.reason.code == "vendor.all_failures"
    assert out.dead() == {}
    assert out.delivered() == sorted(given)
    assert len(out.pending()) == 1_000 - good
    assert_run_balances(engine)
    run_virtually(lambda: out.run(FakeVendor()))
    assert out.delivered() == ids


@pytest.mark.parametrize("bad", [1, 199, 201, 500])
def test_dead_ids_at_the_end_of_a_list_cost_a_request_for_a_record_that_came(
    house: Callable[..., House], bad: int
) -> None:
    out = house()
    vendor = FakeVendor(lambda i, n: status(-22) if i >= IDS[-bad] else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert sorted(out.dead()) == IDS[-bad:]
    again = bad + bad // PROBES if bad >= PROBES else 0
    assert sum(vendor.asked.values()) <= len(IDS) + 1 + bad // FULL + again
    assert_run_balances(engine)


@pytest.mark.parametrize(
    ("no", "start", "count"),
    [
        (-22, 0, 150),
        (-14, 0, 60),
        (-22, 300, PROBES),
        (-14, 300, 60),
        (-22, 300, 199),
        (-25, 300, 200),
        (-22, 300, 450),
    ],
)
def test_a_vendor_that_is_ill_for_a_while_and_well_again_makes_no_id_dead(
    house: Callable[..., House], no: int, start: int, count: int
) -> None:
    """All that it said no to meanwhile is fetched again at the end; what is dead is dead then."""
    ids = dated(10, 1_000)
    # Of as many as show an illness none may be overtaken by the record that comes after them.
    out = house(ids, pace__concurrency=1 if count == PROBES else 8)
    ill = set(ids[start : start + count])
    dead = {ids[start + 10], ids[900]}

    def says(voice_id: str, before: int) -> Answer:
        is_ill = voice_id in ill and before == 0
        return status(no) if is_ill or voice_id in dead else record(voice_id)

    vendor = FakeVendor(says)
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert set(out.dead()) == dead
    assert out.delivered() == sorted(set(ids) - dead)
    assert all(vendor.asked[one] == 2 for one in ill)
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)


def test_an_illness_at_the_very_end_of_a_list_makes_no_id_dead(house: Callable[..., House]) -> None:
    out = house()
    ill = set(IDS[-40:])
    vendor = FakeVendor(lambda i, n: status(-22) if i in ill and not n else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.dead() == {}
    assert out.delivered() == IDS


def test_a_run_that_does_not_get_to_its_lists_end_puts_no_id_off_twice(
    house: Callable[..., House],
) -> None:
    """Else a list of dead ids that is longer than a day's budget would never be done."""
    ids = dated(10, 300)
    out = house(ids, pace__concurrency=1)
    good = set(ids[::30])
    vendor = FakeVendor(lambda i, n: record(i) if i in good else status(-22))
    run_virtually(lambda: out.run(vendor, meanwhile=stop_at(14.0, BudgetReached("enough"))))
    assert out.dead() == {}
    assert set(out.deferred().values()) == {"unconfirmed"}
    put_off = len(out.deferred())
    assert put_off >= 200
    run_virtually(lambda: out.run(vendor, meanwhile=stop_at(14.5, BudgetReached("enough"))))
    assert len(out.dead()) >= 150
    assert out.pending() != [], "it did not get to the end"


def test_an_illness_that_records_interrupt_makes_no_id_dead(house: Callable[..., House]) -> None:
    ids = dated(10, 1_000)
    out = house(ids, pace__concurrency=8)
    ill = set(ids[300:600]) - set(ids[300:600:15])
    vendor = FakeVendor(lambda i, n: status(-25) if i in ill and n == 0 else record(i))
    run_virtually(lambda: out.run(vendor))
    # Fewer than `PROBES` show no illness: the first of them count with the record after them.
    assert len(out.dead()) < PROBES
    assert len(out.delivered()) > len(ids) - PROBES


def test_a_second_illness_in_the_last_round_makes_no_id_dead(house: Callable[..., House]) -> None:
    ids = dated(10, 400)
    out = house(ids, pace__concurrency=1)
    answers = 0

    def says(voice_id: str, before: int) -> Answer:
        nonlocal answers
        answers += 1
        return status(-22) if 100 < answers <= 200 or 455 < answers <= 495 else record(voice_id)

    run_virtually(lambda: out.run(FakeVendor(says)))
    assert out.dead() == {}
    run_virtually(lambda: out.run(FakeVendor()))
    assert out.delivered() == ids


def test_fewer_nos_on_end_than_probes_count_at_the_next_record(
    house: Callable[..., House],
) -> None:
    ids = dated(10, 200)
    out = house(ids, pace__concurrency=1)
    bad = set(ids[50 : 50 + PROBES - 1])
    vendor = FakeVendor(lambda i, n: status(-22) if i in bad else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert set(out.dead()) == bad
    assert sum(vendor.asked.values()) == len(ids)


@pytest.mark.parametrize("failure", [TIMEOUT, status(-18), Reply(500, b"oops")], ids=str)
@pytest.mark.parametrize("fails", [1, 2, 99])
def test_a_probe_that_fails_at_the_end_of_a_list_shows_no_illness(
    house: Callable[..., House], failure: Answer, fails: int
) -> None:
    out = house(IDS[:120], pace__concurrency=1)

    def says(voice_id: str, before: int) -> Answer:
        if voice_id >= IDS[100]:
            return status(-22)
        # A record, and then so many failures before it comes again.
        return record(voice_id) if before == 0 or before > fails else failure

    engine = run_virtually(lambda: out.run(FakeVendor(says)))
    assert engine.stop.reason is None
    shown = fails < 3
    assert len(out.dead()) == (20 if shown else 0)
    assert set(out.deferred().values()) == (set() if shown else {"unconfirmed"})
    assert_run_balances(engine)
    assert_each_id_is_in_one_state(out)
    run_virtually(lambda: out.run(FakeVendor()))
    assert len(out.delivered()) == (100 if shown else 120)


@pytest.mark.parametrize("count", [200, 210, 230])
@pytest.mark.parametrize("concurrency", [1, 64])
def test_a_list_without_a_rest_halts_at_200(
    house: Callable[..., House], count: int, concurrency: int
) -> None:
    out = house(IDS[:count], pace__concurrency=concurrency)
    engine = run_virtually(lambda: out.run(FakeVendor(lambda i, n: status(-22))))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert (out.dead(), out.pending()) == ({}, IDS[:count])
    assert_run_balances(engine)


def test_the_record_of_the_very_last_id_that_is_on_its_way_lets_all_count(
    house: Callable[..., House],
) -> None:
    out = house(IDS[:230], pace__concurrency=64)
    last = IDS[229]
    vendor = FakeVendor(
        lambda i, n: record(i) if i == last else status(-22),
        latency_s=lambda i, n: 5.0 if i == last else 0.05,
    )
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.delivered() == [last]
    assert len(out.dead()) == 229


def test_ids_over_60_days_old_count_neither_for_nor_against(house: Callable[..., House]) -> None:
    ancient, young = dated(61, 600), dated(5, 100, start=600)
    out = house(sorted([*ancient, *young]))
    vendor = FakeVendor(lambda i, n: NULL)
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None, "100 that count are too few to halt"
    assert len(out.dead()) == 700


def test_no_probe_is_over_60_days_old(house: Callable[..., House]) -> None:
    ids = sorted([*dated(61, 500, start=500), *dated(5, 300)])
    out = house()
    out.put_in_force([*dated(5, 300), *dated(61, 500, start=500)])
    vendor = FakeVendor(lambda i, n: NULL)
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert not set(vendor.asked) & set(dated(61, 500, start=500))
    assert len(out.pending()) == len(ids)


def test_dead_letters_that_are_fetched_again_never_halt_a_run(house: Callable[..., House]) -> None:
    out = house(IDS[:400])
    letters = [DeadLetter(i, "no_record", "", 1, 1, 1, "run-0") for i in IDS[:400]]
    acknowledge(
        out.db, "run-0", Batch(dead_letters=letters), work_list=None, counters={},
        requests_of_day=("", 0),
    )  # fmt: skip
    work_list = work_lists.current_list(out.db)
    assert work_list is not None
    new = with_changes(work_list, id=2, listed=0, retried=400)
    work_lists.replace_list(out.db, new, retrying=IDS[:400])
    engine = run_virtually(lambda: out.run(FakeVendor(lambda i, n: status(-22))))
    assert engine.stop.reason is None
    assert out.dead() == dict.fromkeys(IDS[:400], "parameter_exception")


@pytest.mark.parametrize(("per_day", "after"), [(50, 12), (150, 37), (799, 199), (800, 200)])
def test_with_a_small_budget_of_the_day_probes_are_fetched_at_a_quarter_of_it(
    house: Callable[..., House], per_day: int, after: int
) -> None:
    out = house(pace__per_day=per_day, pace__concurrency=1)
    vendor = FakeVendor(lambda i, n: status(-22))
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert (out.dead(), out.pending()) == ({}, IDS)
    assert len(vendor.log) == after + 20
    assert_run_balances(engine)


@pytest.mark.parametrize("per_day", [50, 100, 400])
def test_a_small_budget_of_the_day_is_enough_although_each_no_is_confirmed(
    house: Callable[..., House], per_day: int
) -> None:
    """Over one connection all but the first need a second request: some are left for probes."""
    ids = IDS[:500]
    gone = {*ids[:300], *ids[-3:]}
    out = house(ids, pace__per_day=per_day, pace__concurrency=1)
    vendor = FakeVendor(lambda i, n: reused(status(-22) if i in gone else record(i)))
    vendor.is_reused_when_fresh = False
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, BudgetReached)
    assert out.delivered() != []
    assert set(out.dead()) <= gone
    assert len(out.dead()) + len(out.deferred()) >= per_day // 4
    assert_run_balances(engine)


@pytest.mark.parametrize("reason", [BudgetReached("time is over"), Interrupted("enough")])
def test_a_run_that_is_stopped_leaves_what_it_held_back_pending(
    house: Callable[..., House], reason: HarvesterError
) -> None:
    out = house(pace__rate_per_s=50)
    vendor = FakeVendor(lambda i, n: status(-22))
    engine = run_virtually(lambda: out.run(vendor, meanwhile=stop_at(3.0, reason)))
    assert engine.stop.reason is reason
    assert (out.dead(), out.pending()) == ({}, IDS)
    assert 50 < len(vendor.log) < FULL
    assert_run_balances(engine)


# Some ids are always refused


def proven(out: House) -> None:
    """Records were delivered at this address with this key."""
    between_runs.prove(out.db, "here")


@pytest.mark.parametrize(
    "answer",
    [GONE, Reply(403, b""), Reply(302, b""), status(-1), Reply(401, b"{}")],
    ids=["404", "403", "302", "-1", "401"],
)
@pytest.mark.parametrize("concurrency", [1, 64])
def test_one_id_of_60_that_is_always_refused_is_deferred_and_the_others_are_delivered(
    house: Callable[..., House], answer: Answer, concurrency: int
) -> None:
    out = house(IDS[:60], pace__concurrency=concurrency)
    vendor = FakeVendor(lambda i, n: answer if i == IDS[30] else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.delivered() == [i for i in IDS[:60] if i != IDS[30]]
    assert [*out.deferred()] == out.pending() == [IDS[30]]
    assert out.deferred()[IDS[30]].startswith("refused_")
    again = run_virtually(lambda: out.run(vendor))
    assert again.stop.reason is None, "nor does it halt the next night, alone on the list"
    assert out.pending() == [IDS[30]]
    assert_run_balances(again)


@pytest.mark.parametrize("concurrency", [1, 4, 64])
def test_the_oldest_ten_that_are_always_refused_do_not_keep_the_first_run_from_the_others(
    house: Callable[..., House], concurrency: int
) -> None:
    out = house(IDS[:100], pace__concurrency=concurrency)
    vendor = FakeVendor(lambda i, n: GONE if i < IDS[10] else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.delivered() == IDS[10:100]
    assert sorted(out.deferred()) == IDS[:10]
    again = run_virtually(lambda: out.run(vendor))
    assert again.stop.reason is None, "the ten alone, of which the vendor was known to know better"
    assert out.pending() == IDS[:10]


def test_an_id_that_is_always_refused_is_given_up_in_the_end(house: Callable[..., House]) -> None:
    out = house(IDS[:2], retry__max_runs=2)
    vendor = FakeVendor(lambda i, n: GONE if i == IDS[0] else record(i))
    run_virtually(lambda: out.run(vendor))
    item = unresolved.deferred(out.db, IDS[0])
    assert item is not None
    assert (item.runs, item.cause) == (1, "refused_http_404")


@pytest.mark.parametrize("code", [-1, -2, -13])
@pytest.mark.parametrize(("count", "concurrency"), [(1_000, 1), (1_000, 64), (60, 64), (4, 64)])
def test_a_key_that_is_revoked_later_halts_the_run(
    house: Callable[..., House], code: int, count: int, concurrency: int
) -> None:
    out = house(IDS[:count], pace__concurrency=concurrency)
    proven(out)
    vendor = FakeVendor(lambda i, n: status(code))
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert out.pending() == IDS[:count]
    assert not out.deferred() or concurrency == 1
    assert_run_balances(engine)


def test_ids_known_for_being_refused_take_no_part_in_seeing_that_a_key_is_revoked(
    house: Callable[..., House],
) -> None:
    out = house(IDS[:30], pace__concurrency=64)
    bad = set(IDS[:5])
    run_virtually(lambda: out.run(FakeVendor(lambda i, n: GONE if i in bad else record(i))))
    out.put_in_force([*IDS[:5], *IDS[100:150]])
    engine = run_virtually(lambda: out.run(FakeVendor(lambda i, n: status(-1))))
    assert isinstance(engine.stop.reason, VendorRefused)


@pytest.mark.parametrize("code", [-1, 77])
def test_a_backfill_of_old_ids_alone_halts_as_soon_when_the_vendor_refuses_us(
    house: Callable[..., House], code: int
) -> None:
    """How old an id is says nothing of whether the key is right."""
    ids = dated(200, count=300)
    out = house(ids, pace__concurrency=4)
    vendor = FakeVendor(lambda i, n: status(code))
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorRefused)
    assert out.pending() == ids
    # What raises the suspicion, each with its further attempts, and five from elsewhere.
    assert len(vendor.log) <= {-1: 3 + 4 + 5, 77: 3 * (20 + 4) + 5}[code]


def test_the_first_20_with_an_unknown_status_do_not_keep_the_run_from_the_others(
    house: Callable[..., House],
) -> None:
    out = house(IDS[:200])
    vendor = FakeVendor(lambda i, n: status(77) if i < IDS[25] else record(i))
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.delivered() == IDS[25:200]


def test_a_record_of_this_run_is_kept_for_the_next_as_proof(house: Callable[..., House]) -> None:
    out = house(IDS[:3])
    assert not between_runs.is_proven(out.db, "here")
    run_virtually(lambda: out.run(FakeVendor(lambda i, n: status(-24) if n == 0 else record(i))))
    assert not between_runs.is_proven(out.db, "here"), "a no is no record"
    out.put_in_force(IDS[10:12])
    run_virtually(lambda: out.run(FakeVendor()))
    assert between_runs.is_proven(out.db, "here")
    assert not between_runs.is_proven(out.db, "elsewhere")


# Ids that always fail


@pytest.mark.parametrize(
    "answer", [status(-18), TIMEOUT, Reply(503, b""), Reply(200, b"<html>")], ids=str
)
@pytest.mark.parametrize(("bad", "concurrency"), [(12, 64), (12, 4), (200, 64), (200, 1)])
def test_ids_that_always_fail_are_deferred_though_only_they_are_left(
    house: Callable[..., House], answer: Answer, bad: int, concurrency: int
) -> None:
    out = house(IDS[: 40 + bad], pace__concurrency=concurrency, retry__max_outage_s=900)
    vendor = FakeVendor(lambda i, n: record(i) if i < IDS[40] else answer)

    async def main() -> tuple[Engine, float]:
        engine = await out.run(vendor)
        return engine, virtual_loop().time() - 1000.0

    engine, took_s = run_virtually(main)
    assert engine.stop.reason is None
    assert out.delivered() == IDS[:40]
    assert sorted(out.deferred()) == out.pending() == IDS[40 : 40 + bad]
    assert took_s < 900 * bad / concurrency / 12 + 900, (
        "budgets and backoffs, no outage that is waited out"
    )
    if concurrency > 1:
        item = unresolved.deferred(out.db, IDS[40])
        assert item is not None
        assert item.runs == 1, "others were delivered meanwhile: it counts towards giving up"
    assert_run_balances(engine)


def test_a_vendor_that_goes_away_in_the_middle_is_an_outage_still(
    house: Callable[..., House],
) -> None:
    out = house(IDS, retry__max_outage_s=60, retry__network_attempts=9)
    vendor = FakeVendor(lambda i, n: record(i) if virtual_loop().time() < 1001.5 else TIMEOUT)
    engine = run_virtually(lambda: out.run(vendor))
    assert isinstance(engine.stop.reason, VendorUnavailable)
    assert engine.result().figures.outages == 1
    probes = [i for at, i in vendor.log if at > 1030]
    assert len(probes) >= 5
    assert set(probes) == {probes[0]}
    assert probes[0] in out.delivered(), "whether the vendor is well, an id shows that it knew"
    assert out.deferred() == {}


# Ids that are always pushed back


@pytest.mark.parametrize(("bad", "concurrency"), [(4, 1), (4, 4), (16, 16), (64, 64)])
@pytest.mark.parametrize("pause", [None, "2", "7"])
def test_ids_that_are_always_pushed_back_keep_nobody_from_the_others(
    house: Callable[..., House], bad: int, concurrency: int, pause: str | None
) -> None:
    out = house(IDS[: bad + 36], pace__concurrency=concurrency, retry__max_outage_s=300)
    away = with_changes(status(-15), retry_after=pause)
    vendor = FakeVendor(lambda i, n: record(i) if i >= IDS[bad] else away)
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.delivered() == IDS[bad : bad + 36]
    assert sorted(out.deferred()) == IDS[:bad]
    assert_run_balances(engine)


# Which ids are probes


def tasks(ids: list[str]) -> list[Task]:
    return [Task(i, 0, row) for row, i in enumerate(ids)]


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("count", [1, 2, 5, 20])
@pytest.mark.parametrize("size", [0, 1, 19, 20, 21, 39, 40, 41, 997])
@pytest.mark.parametrize("portion", [1, 7, 1_000])
def test_probes_are_spread_evenly_and_the_youngest_comes_first(
    count: int, size: int, portion: int
) -> None:
    every = tasks(IDS[:size])
    portions = [every[at : at + portion] for at in range(0, size, portion)]
    found = spread(portions, count, LONG_AGO)
    assert len(found) == min(count, size)
    assert len({task.voice_id for task in found}) == len(found)
    if not found:
        return
    assert found[0] is every[-1]
    rows = sorted(task.row or 0 for task in found)
    widest = max((b - a for a, b in pairwise(rows)), default=0)
    assert widest <= max(1, 3 * size / count)


def test_the_youngest_is_told_by_its_digits_whatever_form_it_has() -> None:
    old, young = dated(9)[0], "1" + dated(1)[0]
    found = spread([tasks([young, old])], 1, LONG_AGO)
    assert [task.voice_id for task in found] == [young]


def test_what_is_dated_too_far_back_is_no_probe_and_what_tells_no_date_is_one() -> None:
    limit = datetime.now(UTC) - timedelta(days=60)
    ids = [*dated(61, 50), "abc", *dated(59, 2)]
    found = spread([tasks(ids)], 20, limit)
    assert sorted(task.voice_id for task in found) == sorted(["abc", *dated(59, 2)])


# Ids that always fail, and a budget


@pytest.mark.parametrize("answer", [Reply(500, b"oops"), TIMEOUT, status(-18)], ids=str)
def test_ids_that_always_fail_at_the_head_use_up_no_more_than_a_few_nights_budgets(
    house: Callable[..., House], answer: Answer
) -> None:
    out = house(IDS[:120], pace__concurrency=4, retry__max_runs=20)
    bad = set(IDS[:20])
    vendor = FakeVendor(lambda i, n: answer if i in bad else record(i))
    # 20 ids of 8 attempts and 100 of one are 260 requests; the end of a night may waste four times
    # 7 that were spent on an id, and probes of an outage are some.
    for night in range(1, 9):
        out.config = with_changes(
            out.config, pace=with_changes(out.config.pace, per_day=80 * night)
        )
        run_virtually(lambda: out.run(vendor))
        assert_each_id_is_in_one_state(out)
    assert out.delivered() == IDS[20:120]


def test_what_an_earlier_run_deferred_comes_last(house: Callable[..., House]) -> None:
    out = house(IDS[:120], pace__concurrency=1, retry__busy_attempts=2)
    bad = IDS[:120:3]
    first = FakeVendor(lambda i, n: status(-18) if i in bad else record(i))
    run_virtually(lambda: out.run(first, meanwhile=stop_at(4.0, Interrupted("enough"))))
    failed = sorted(out.deferred())
    fresh = [i for i in out.pending() if i not in failed]
    assert failed
    assert fresh
    second = FakeVendor()
    run_virtually(lambda: out.run(second))
    assert [voice_id for _, voice_id in second.log] == [*fresh, *failed]
    assert out.delivered() == IDS[:120]


def test_while_one_fetches_probes_the_others_finish_what_they_hold_and_wait(
    house: Callable[..., House],
) -> None:
    refused, slow_s = set(IDS[200:250]), 30.0
    vendor = FakeVendor(
        lambda i, n: status(-1) if i in refused and not n else record(i),
        latency_s=lambda i, n: slow_s if i == IDS[0] and n else 0.05,
    )
    out = house()
    run_virtually(lambda: out.run(vendor))
    assert vendor.asked_fresh[0] == IDS[0], "an id whose record came is asked for again"
    at = next(at for at, i in reversed(vendor.log) if i == IDS[0])
    meanwhile = [i for then, i in vendor.log if at + 0.5 < then < at + slow_s]
    assert meanwhile == []
    assert out.delivered() == IDS


@pytest.mark.parametrize(("processes", "asked"), [(1, 1), (40, 2)])
def test_a_series_goes_on_until_as_many_records_came_as_all_processes_have_on_their_way(
    tmp_path: Path, processes: int, asked: int
) -> None:
    """Ten nos, thirty records, ten nos; each process has one request on its way."""

    class WithOthers(House):
        def job(self, *args: object, **options: object) -> Job:
            return with_changes(super().job(*args, **options), processes=processes)  # type: ignore[arg-type]

    nos = {*IDS[:10], *IDS[40:50]}
    vendor = FakeVendor(lambda i, n: status(-22) if i in nos else record(i))
    settings = {"pace__rate_per_s": 1000, "pace__concurrency": 1}
    with closing(WithOthers(tmp_path / "out", IDS[:60], **settings)) as out:
        run_virtually(lambda: out.run(vendor))
        assert sorted(out.dead()) == sorted(nos)
    assert {vendor.asked[i] for i in IDS[40:50]} == {asked}
