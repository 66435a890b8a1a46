"""`--via pages` over sockets: what pages of the list bring is what single answers bring."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harvester.analysis.verify.verify import Order, verify
from harvester.cli.main import run_command
from harvester.dataset.group_record import GROUP_RECORD_1
from harvester.simulator import Fates, SimulatorOptions, make_ids
from harvester.state.belongs import keep_data_version
from harvester.state.database import open_database
from harvester.storage.output import Output, make_folders
from tests.integration.test_refetch import changes
from tests.support.discovering import Discovery, day
from tests.support.harvesting import Harvest, read_trace, traced, worst_second
from tests.support.hostile_list import (
    Call,
    HostileList,
    Question,
    Said,
    calls_of,
    envelope,
)
from tests.support.oracle import expect_all
from tests.support.outputs import look
from tests.support.simulated import Simulator

NO_OPENS = "open_then_final=0,open_forever=0"
WAY = {"seed": 7}


def vendor_of(habits: str, **options: object) -> Simulator:
    return Simulator(**{"rate_limit": 0, "listed": habits, "fates": NO_OPENS, **options})


def ids_of(path: Path, count: int, seed: int = 1) -> list[str]:
    """Ids of calls that the list has, and a file of them."""
    ids = list(make_ids(count, seed, end=day(), days=1))
    path.write_text("\n".join(ids))
    return ids


def compared(out: Path, vendor: Simulator, compare: int = 100) -> None:
    """An output for which list and single answers were found to be equal."""
    found = Discovery(out, vendor).run(compare=compare)
    while found.code == 5:  # late rows, or windows that faults left unsettled
        found = Discovery(out, vendor).run(compare=compare)
    assert found.code == 0, found.err


def damage(out: Path) -> list[str]:
    audit = verify(Output(out), Order("UTC", "400MB", deep=True))
    return [f"{f.kind}: {f.what} {f.where}" for f in audit.findings if f.severity == "damage"]


def ways(harvest: Harvest) -> Counter[str]:
    return Counter(row["fetched_by"] for row in harvest.rows(["fetched_by"]))


def alike(harvest: Harvest) -> list[dict[str, Any]]:
    """The rows, but for how they were fetched."""
    return [{**row, "fetched_by": ""} for row in harvest.typed()]


def rows_of_the_oracle(seed: int, ids: list[str]) -> dict[str, dict[str, Any]]:
    options = SimulatorOptions(seed=seed, fates=Fates(open_then_final=0, open_forever=0))
    told = expect_all(options, ids, now=datetime.now(UTC))
    return {one.voice_id: {**one.row, "fetched_by": ""} for one in told if one.row is not None}


def paged_rows(harvest: Harvest) -> dict[str, dict[str, Any]]:
    found = {row["voice_id"]: row for row in alike(harvest)}
    for row in found.values():
        for name in ("extra", "unparsed"):
            text = row[name]
            row[name] = None if text is None else json.loads(text, parse_float=Decimal)
    return found


HABITS = "calls=2000,extra=40,burst=130,late=0.05:60,cap=70,overflow,text"


def test_rows_are_those_of_the_single_way_with_all_habits_and_faults(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    faults = "all,busy=0.05,torn=0.02,other_id=0.01,refused=0,drip=0,bomb=0.001,slow=0"
    source = tmp_path / "ids.txt"
    with vendor_of(HABITS, seed=seed, faults=faults) as vendor:
        ids = ids_of(source, 2000, seed)
        compared(tmp_path / "out", vendor)
        paged = Harvest(tmp_path / "out", vendor.base_url, pace__concurrency=8)
        done = paged.run(source, by_pages=WAY)
        assert done.code in (0, 3), done.err
        book = done.summary["by_pages"]
        assert book["records"] == ways(paged)["pages"] > 0.8 * len(ids)
        assert (book["sampled"] >= 20, book["difference"]) == (True, None)
        assert done.summary["requests"] < 0.7 * len(ids)
        single = Harvest(tmp_path / "single", vendor.base_url)
        assert single.run(source).code in (0, 3)
        assert alike(paged) == alike(single)
        assert paged_rows(paged) == rows_of_the_oracle(seed, ids)
        assert damage(paged.out) == []
        assert paged.run(source).summary["run"]["attempted"] == 0


def test_ids_that_nobody_asked_for_are_left_alone_and_the_others_come_singly(
    tmp_path: Path,
) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=600,extra=30", drift=False) as vendor:
        ids = ids_of(source, 600)
        unlisted = [f"no-such-call-{number:06}" for number in range(30)]
        source.write_text("\n".join(ids[::2] + unlisted))
        compared(tmp_path / "out", vendor)
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        done = harvest.run(source, by_pages=WAY)
        assert set(harvest.ids()) <= set(ids[::2]) | set(unlisted)
        asks = vendor.asks()
        assert all(1 <= asks.get(one, 0) <= 2 for one in unlisted), "a no may be confirmed"
        book = done.summary["by_pages"]
        assert ways(harvest)["pages"] == book["records"] >= 290
        assert damage(harvest.out) == []


def test_without_a_comparison_or_with_one_that_is_dropped_it_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=300", drift=False) as vendor:
        ids_of(source, 300)
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        done = harvest.run(source, by_pages=WAY)
        assert done.code == 2
        assert "listing.not_compared" in done.err
        assert f"discover --from {day()} --to {day()} --compare" in done.err
        assert Discovery(tmp_path / "out", vendor).run(compare=20).code in (0, 5)
        assert harvest.run(source, by_pages=WAY).code == 2, "20 are no proof"
        compared(tmp_path / "out", vendor)
        both = harvest.run(source, by_pages=WAY, rebind=True)
        assert both.code == 2, both.err
        assert "usage.rebind_pages" in both.err
        assert harvest.run(source, by_pages=WAY).code in (0, 3)
        harvest.run(source, rebind=True)
        assert harvest.run(source, by_pages=WAY).code == 2, "a rebind makes it void"


LIES = "calls=3000,lies=5"


def test_a_list_that_lies_is_found_out_by_the_sample_and_the_rest_comes_singly(
    tmp_path: Path,
) -> None:
    source = tmp_path / "ids.txt"
    ids_of(source, 3000, 3)
    # One sample of 20 in eighty shows nothing of one in five: two of two do not.
    for out in (tmp_path / "out", tmp_path / "second"):
        with vendor_of("calls=3000", drift=False, seed=3) as vendor:
            compared(out, vendor)
            port = vendor.port
        with vendor_of(LIES, drift=False, seed=3, port=port) as vendor:
            harvest = Harvest(out, vendor.base_url)
            done = harvest.run(source, by_pages={})
        book = done.summary["by_pages"]
        print(f"seed {book['seed']}")
        if book["difference"] is not None:
            break
    with vendor_of(LIES, drift=False, seed=3, port=port) as vendor:
        assert book["difference"] is not None
        assert book["difference"]["columns"] == ["cost"]
        assert "pages_differ" in done.err
        if not book["records"]:
            assert done.code in (0, 3)
        else:
            assert done.code == 5
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        if not book["records"]:
            assert alike(harvest) == alike(single)
        again = harvest.run(carried_over_only=True, by_pages=WAY)
        assert again.code == 2, "the comparison of before is dropped"
        assert "it differed last" in again.err


def singles(vendor: Simulator, ids: list[str]) -> int:
    """Requests for one of these ids alone."""
    asks = vendor.asks()
    return sum(asks.get(one, 0) for one in ids)


def taken_and_killed(tmp_path: Path, source: Path) -> tuple[Harvest, int]:
    """A run that was killed when it had taken a portion from pages, a few of which lie; the port
    of its vendor.
    """
    out = tmp_path / f"out-{random.randrange(10**9)}"
    with vendor_of("calls=4000", drift=False, seed=3) as vendor:
        compared(out, vendor)
        port = vendor.port
    ids = ids_of(source, 4000, 3)
    with vendor_of("calls=4000,lies=300", drift=False, seed=3, port=port) as vendor:
        harvest = Harvest(out, vendor.base_url, pace__rate_per_s=25.0)
        running = harvest.start(source, by_pages={})
        until = time.monotonic() + 60
        while singles(vendor, ids) < 21 and time.monotonic() < until:
            time.sleep(0.1)  # the second portion is sampled: the first is committed
        running.send_signal(signal.SIGKILL)
        harvest.ended(running)
        # Its sample may have drawn a lie, and a kill leaves it no time to say so.
        if not look(out, "SELECT 1 FROM meta WHERE key = 'list_comparison'"):
            return taken_and_killed(tmp_path, source)
    return harvest, port


@pytest.mark.crash
def test_what_killed_runs_took_before_a_lie_comes_again_singly_and_becomes_changes(
    tmp_path: Path,
) -> None:
    source = tmp_path / "ids.txt"
    harvest, port = taken_and_killed(tmp_path, source)
    with vendor_of("calls=4000,lies=2", drift=False, seed=3, port=port) as vendor:
        harvest = Harvest(harvest.out, vendor.base_url)
        done = harvest.run(source, by_pages=WAY)
        book = done.summary["by_pages"]
        assert (book["difference"]["columns"], book["records"]) == (["cost"], 0)
        assert book["fetched_again"] >= 1000
        assert done.code == 5
        assert done.summary["code"] == "listing.taken"
        assert "harvester run --carried-over-only" in done.err
        assert damage(harvest.out) == []
        before = {row["voice_id"]: row for row in harvest.typed()}
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        truth = {row["voice_id"]: row for row in single.typed()}
        assert before.keys() == truth.keys()
        lied = {one for one in truth if before[one]["cost"] != truth[one]["cost"]}
        assert all(before[one]["fetched_by"] == "pages" for one in lied)
        again = harvest.run(carried_over_only=True)
        assert again.code in (0, 3)
        found = again.summary["refetch"]
        assert found["again"] == book["fetched_again"] == found["same"] + found["changed"]
        rows = changes(harvest.out)
        assert {row["voice_id"] for row in rows} == lied
        assert all(row["changed"] == ["cost"] for row in rows)
        assert all(row["new"]["cost"] == truth[row["voice_id"]]["cost"] for row in rows)
        assert damage(harvest.out) == []
        assert harvest.run(source).summary["run"]["attempted"] == 0


@pytest.mark.crash
def test_a_run_that_is_killed_after_the_lie_leaves_it_to_the_next_start(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    harvest, port = taken_and_killed(tmp_path, source)
    ids = source.read_text().split()
    with vendor_of("calls=4000,lies=2", drift=False, seed=3, port=port) as vendor:
        slow = Harvest(harvest.out, vendor.base_url, pace__rate_per_s=40.0)
        running = slow.start(source, by_pages=WAY)
        until = time.monotonic() + 60
        while singles(vendor, ids) < 60 and time.monotonic() < until:
            time.sleep(0.1)  # the single way has begun
        running.send_signal(signal.SIGKILL)
        assert "pages_differ" in slow.ended(running).err
        quick = Harvest(harvest.out, vendor.base_url)
        done = quick.run(source)
        assert done.code in (0, 3), done.err
        assert done.summary["refetch"]["again"] >= 1000
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        assert quick.ids() == single.ids()
        assert damage(quick.out) == []


@pytest.mark.crash
def test_what_a_killed_run_took_is_doubted_by_whoever_finds_the_lie_and_told_by_rebuild(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "ids.txt"
    harvest, port = taken_and_killed(tmp_path, source)
    assert run_command(["publish", "--out", str(harvest.out)]) == 0
    taken = ways(harvest)["pages"]
    assert taken >= 1_000
    capsys.readouterr()

    for name, is_lost in (("forced", False), ("lost", True)):
        other = tmp_path / name
        shutil.copytree(harvest.out, other)
        if is_lost:
            shutil.rmtree(other / "state")
        words = ["rebuild", "--out", str(other), *(() if is_lost else ("--force",))]
        assert run_command(words) == 0
        told = f"whether {taken} records that came by pages, in runs that were killed"
        assert told in " ".join(capsys.readouterr().out.split())

    with vendor_of("calls=4000,lies=2", drift=False, seed=3, port=port) as vendor:
        found = Discovery(harvest.out, vendor).run(compare=100)
        assert found.code == 3
        assert f"{taken} records that came by pages before are fetched again" in found.err
        assert run_command(["status", "--out", str(harvest.out), "--json"]) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert told["pending_again"] == taken
        words = ["drop", "--before", str(day(-1)), "--yes", "--out", str(harvest.out)]
        assert run_command(words) == 2
        assert f"{taken} ids of a refetch are pending" in capsys.readouterr().err
        assert Harvest(harvest.out, vendor.base_url).run(source).code in (0, 3)
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        truth = {row["voice_id"]: row["cost"] for row in single.rows()}
    rows = {row["voice_id"]: row["cost"] for row in harvest.rows()}
    rows |= {row["voice_id"]: row["new"]["cost"] for row in changes(harvest.out)}
    assert rows == truth
    assert damage(harvest.out) == []


def test_a_refetch_by_pages_finds_the_changes_and_no_code_that_is_only_spelt_otherwise(
    tmp_path: Path,
) -> None:
    source = tmp_path / "ids.txt"
    habits = "calls=700,zero"
    with vendor_of(habits, drift=False, billing="rerated=0.3", seed=4) as vendor:
        ids = ids_of(source, 700, 4)
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        assert harvest.run(source).code in (0, 3)
        before = harvest.rows()
        compared(harvest.out, vendor)
        done = harvest.run(refetch={"what": "delivered"}, by_pages=WAY)
        assert done.code == 0, done.err
        found, book = done.summary["refetch"], done.summary["by_pages"]
        assert book["records"] == found["again"] == found["same"] + found["changed"] == len(before)
        assert done.summary["requests"] < 0.3 * len(ids)
        rows = changes(harvest.out)
        assert found["changed"] == len(rows) > 50
        assert {tuple(row["changed"]) for row in rows} == {("cost",)}
        assert {row["new"]["fetched_by"] for row in rows} == {"pages"}
        assert harvest.rows() == before
        assert damage(harvest.out) == []


def test_codes_are_stored_as_single_answers_have_them(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=500,zero", drift=False) as vendor:
        ids_of(source, 500)
        compared(tmp_path / "out", vendor)
        paged = Harvest(tmp_path / "out", vendor.base_url)
        assert paged.run(source, by_pages=WAY).summary["by_pages"]["records"] > 450
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        assert alike(paged) == alike(single)
        assert "200" in {row["termination_code"] for row in paged.rows()}


def test_an_output_with_older_columns_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=200", drift=False) as vendor:
        ids_of(source, 200)
        out = tmp_path / "out"
        make_folders(Output(out), 0o750)
        with closing(open_database(Output(out).database, "default")) as db:
            keep_data_version(db, GROUP_RECORD_1.version)
        harvest = Harvest(out, vendor.base_url)
        assert harvest.run(source).code in (0, 3)
        done = harvest.run(source, by_pages=WAY)
        assert done.code == 2
        assert "output.schema" in done.err
        assert "harvester compact --schema" in done.err


def test_days_that_are_named_are_those_that_are_listed(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=400,days=3", drift=False) as vendor:
        ids = list(make_ids(400, 1, end=day(), days=3))
        source.write_text("\n".join(ids))
        compared(tmp_path / "out", vendor)
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        half = harvest.run(source, by_pages={**WAY, "first": str(day())})
        assert (half.code, "usage.date" in half.err) == (2, True), half.err
        one = {**WAY, "first": str(day()), "last": str(day())}
        done = harvest.run(source, by_pages=one)
        book = done.summary["by_pages"]
        assert done.code in (0, 3)
        # A day more on either side is asked for, as nobody has probed by which time it is cut.
        assert 100 < book["records"] < 390
        assert damage(harvest.out) == []


@pytest.mark.parametrize("budget", [{"pace__per_day": 260}, {"max_duration_s": 2.5}])
def test_a_budget_that_ends_within_pages_loses_nothing(
    tmp_path: Path, budget: dict[str, Any]
) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=2500", drift=False, seed=3) as vendor:
        ids_of(source, 2500, 3)
        out = tmp_path / "out"
        compared(out, vendor)
        flags = {name: value for name, value in budget.items() if "__" in name}
        order = {name: value for name, value in budget.items() if "__" not in name}
        if flags:
            flags = {"pace__per_day": vendor.stats()["requests"] + 45}
        short = Harvest(out, vendor.base_url, pace__rate_per_s=40.0, **flags)
        done = short.run(source, by_pages=WAY, **order)
        assert done.code == 8, done.err
        assert done.summary["requests"] <= 120
        whole = Harvest(out, vendor.base_url)
        assert whole.run(source, by_pages=WAY).code in (0, 3)
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        assert whole.ids() == single.ids()
        assert damage(whole.out) == []


def test_a_budget_that_ends_before_a_whole_portion_brings_what_there_is(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=2500", drift=False, seed=3) as vendor:
        source.write_text("\n".join(ids_of(source, 2500, 3)[::5]))
        out = tmp_path / "out"
        compared(out, vendor)
        per_day = vendor.stats()["requests"] + 80
        short = Harvest(out, vendor.base_url, pace__concurrency=4, pace__per_day=per_day)
        done = short.run(source, by_pages=WAY)
        assert done.code == 8, done.err
        book = done.summary["by_pages"]
        assert (book["records"] > 60, book["sampled"]) == (True, 20)
        assert vendor.stats()["requests"] == per_day, "what is left of it goes to the others"
        none = Harvest(out, vendor.base_url, pace__concurrency=4, pace__per_day=per_day + 44)
        book = none.run(source, by_pages=WAY).summary["by_pages"]
        assert (book["records"], book["requests"]) == (0, 0)
        assert vendor.stats()["requests"] == per_day + 44
        whole = Harvest(out, vendor.base_url).run(source)
        assert whole.code in (0, 3), "what was taken is believed"
        assert damage(out) == []


@pytest.mark.crash
def test_stopped_and_killed_at_random_moments_nothing_is_lost_and_nothing_double(
    tmp_path: Path,
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice, source = random.Random(seed), tmp_path / "ids.txt"
    with vendor_of("calls=3000,burst=130", drift=False, seed=3) as vendor:
        ids_of(source, 3000, 3)
        compared(tmp_path / "out", vendor)
        slow = Harvest(tmp_path / "out", vendor.base_url, pace__rate_per_s=30.0)
        for _ in range(4):
            running = slow.start(source, by_pages={})
            time.sleep(dice.uniform(1.0, 5.0))
            running.send_signal(dice.choice([signal.SIGKILL, signal.SIGTERM]))
            assert slow.ended(running).code in (-9, -15, 143, 0, 3)
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        assert harvest.run(source, by_pages=WAY).code in (0, 3)
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        assert harvest.ids() == single.ids()
        assert alike(harvest) == alike(single)
        assert damage(harvest.out) == []


def test_few_ids_among_many_calls_cost_no_more_than_as_much_again(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=6000", drift=False) as vendor:
        ids = ids_of(source, 6000)[::200]
        source.write_text("\n".join(ids))
        compared(tmp_path / "out", vendor)
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__concurrency=4)
        done = harvest.run(source, by_pages=WAY)
        assert done.code in (0, 3), done.err
        book = done.summary["by_pages"]
        # Beside these: what was under way when it ended, and the sample of what it had.
        assert book["requests"] <= len(ids) + 4 + book["sampled"]
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        assert alike(harvest) == alike(single)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_limit_is_kept_from_pages_to_the_single_way(tmp_path: Path, workers: int) -> None:
    source = tmp_path / "ids.txt"
    limit = 20
    with vendor_of("calls=2500", drift=False, rate_limit=0) as vendor:
        ids = ids_of(source, 2500)
        # As many that the list does not have: the single way has something to do.
        others = make_ids(120, 99, end=day(), days=1)
        source.write_text("\n".join([*ids, *others]))
        compared(tmp_path / "out", vendor)
        before = vendor.stats()["requests"]
        harvest = Harvest(
            tmp_path / "out",
            vendor.base_url,
            pace__rate_per_s=float(limit),
            workers__count=workers,
        )
        done = harvest.run(source, by_pages=WAY, trace=traced(tmp_path))
        assert done.code in (0, 3), done.err
        times = read_trace(Path(traced(tmp_path)))
        assert len(times) >= vendor.stats()["requests"] - before
        assert worst_second(times) <= limit
        single = sum(vendor.asks().get(one, 0) for one in ids)
        assert single < 0.2 * len(ids), "most came by pages"
        assert damage(harvest.out) == []


def test_a_vendor_that_takes_its_list_away_ends_this_way_and_not_the_run(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of("calls=300", drift=False) as vendor:
        ids = ids_of(source, 300)
        compared(tmp_path / "out", vendor)
    with Simulator(rate_limit=0, fates=NO_OPENS, drift=False) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        done = harvest.run(source, by_pages=WAY)
        assert done.code in (0, 3), done.err
        assert "pages_refused" in done.err
        assert done.summary["by_pages"]["records"] == 0
        assert set(vendor.asks()) == set(ids)
        assert done.summary["by_pages"]["requests"] == 3, "two more tries, and nobody else's"
        assert damage(harvest.out) == []


def test_a_list_that_is_out_for_too_long_ends_this_way_and_not_the_run(tmp_path: Path) -> None:
    is_out = False

    def answer(vendor: HostileList, asked: Question) -> Said:
        return Said(b"", 503) if is_out else Said(envelope(vendor.page(asked)))

    source, out = tmp_path / "ids.txt", tmp_path / "out"
    with HostileList(calls_of(300), answer) as vendor:
        source.write_text("\n".join(vendor.listed()["ids"]))
        assert Discovery(out, vendor).run(compare=100).code == 0
        is_out = True
        harvest = Harvest(out, vendor.base_url, retry__max_outage_s=3.0)
        done = harvest.run(source, by_pages={**WAY, "first": str(day()), "last": str(day())})
        assert done.code == 0, done.err
        assert "pages_refused {'cause': 'unavailable'}" in done.err
        assert sorted(harvest.ids()) == sorted(vendor.listed()["ids"])
        assert damage(out) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_vendor_that_is_out_in_both_ways_ends_the_run_after_one_outage(
    tmp_path: Path, workers: int
) -> None:
    source, out = tmp_path / "ids.txt", tmp_path / "out"
    with HostileList(
        calls_of(300), lambda vendor, asked: Said(envelope(vendor.page(asked)))
    ) as vendor:
        source.write_text("\n".join(vendor.listed()["ids"]))
        assert Discovery(out, vendor).run(compare=100).code == 0
    # Nothing listens there any more: no request is written, so none is counted.
    options = {"retry__max_outage_s": 3.0, "retry__backoff_max_s": 0.1}
    harvest = Harvest(out, vendor.base_url, **options, workers__count=workers)
    done = harvest.run(source, by_pages={**WAY, "first": str(day()), "last": str(day())})
    assert done.code == 5, done.err
    assert "pages_refused {'cause': 'unavailable'}" in done.err
    assert (done.summary["code"], done.summary["outages"]) == ("vendor.unavailable", 1)
    assert harvest.ids() == []


def test_a_list_that_is_gone_after_a_portion_leaves_that_believed(tmp_path: Path) -> None:
    is_watched, looked_at = False, list[str]()

    def answer(vendor: HostileList, asked: Question) -> Said:
        if is_watched and looked_at:
            time.sleep(1.0)  # the sample is through before the next page comes
        is_gone = is_watched and len(looked_at) >= 20
        return Said(b"", 404) if is_gone else Said(envelope(vendor.page(asked)))

    def single(call: Call) -> dict[str, Any]:
        looked_at.append(call.voice_id)
        return call.record()

    source, out = tmp_path / "ids.txt", tmp_path / "out"
    with HostileList(calls_of(1_700), answer, single=single) as vendor:
        source.write_text("\n".join(vendor.listed()["ids"]))
        assert Discovery(out, vendor).run(compare=100).code == 0
        looked_at.clear()
        is_watched = True
        harvest = Harvest(out, vendor.base_url, pace__concurrency=2)
        done = harvest.run(source, by_pages={**WAY, "first": str(day()), "last": str(day())})
        assert done.code == 0, done.err
        assert "pages_refused {'cause': 'http_404'}" in done.err
        book = done.summary["by_pages"]
        assert (1_000 <= book["records"] < 1_700, book["fetched_again"]) == (True, 0)
        assert sorted(harvest.ids()) == sorted(vendor.listed()["ids"])
        assert damage(out) == []
