"""`discover` over sockets: what the vendor lists is found, whatever habits and faults it has."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.pipeline.engine.settle import DAY_MS
from harvester.simulator import make_ids
from harvester.state.database import open_database
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.discover_once import DEAD
from tests.support.discovering import Discovery, day
from tests.support.harvesting import Harvest, read_trace, worst_second
from tests.support.hostile_list import Call, HostileList, Said, calls_of, envelope
from tests.support.simulated import Simulator

NO_FAULTS = {"rate_limit": 0, "drift": False}


def listing_simulator(habits: str, **options: object) -> Simulator:
    return Simulator(**{"rate_limit": 0, "listed": habits, **options})


def whole_call(vendor: Simulator, tmp_path: Path) -> str:
    """A call of the list whose times lie apart."""
    listed = Discovery(tmp_path / "probe", vendor)
    listed.run()
    rows = pq.read_table(sorted((tmp_path / "probe" / "state" / "listed").glob("*.parquet")))
    for row in rows.to_pylist():
        if row["answered"] and row["is_final"] and row["submit_time"] is not None:
            done = listed.run(probe=row["voice_id"])
            if not done.code:
                shutil.rmtree(tmp_path / "probe")
                return str(row["voice_id"])
    raise AssertionError("no call shows how the list is cut")


def test_a_day_is_listed_and_what_is_unknown_is_taken_and_fetched(tmp_path: Path) -> None:
    with listing_simulator("calls=2000,extra=30,burst=150") as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        ours = list(make_ids(2_000, 1, end=day(), days=1))[::2]
        (tmp_path / "ids.txt").write_text("\n".join(ours))
        harvest.run(tmp_path / "ids.txt")
        listed = Discovery(tmp_path / "out", vendor)
        first = listed.run().summary
        assert not listed.missing()
        assert len(listed.ids()) == len(set(listed.ids())) == first["listed"]
        assert first["listed"] == first["known"] + first["unknown"]
        assert first["known"] == len(set(ours) & set(listed.ids()))
        assert (first["taken"], first["unsettled_windows"], first["exit_code"]) == (0, 0, 0)
        taken = listed.run(take=True).summary
        assert taken["taken"] == taken["unknown"] == first["unknown"]
        fetched = harvest.run(carried_over_only=True)
        assert fetched.code in (0, 5), "open calls wait"
        assert set(harvest.ids()) >= set(listed.ids()) - set(ours) - _open(tmp_path / "out")
        again = listed.run(take=True).summary
        assert (again["unknown"], again["taken"]) == (0, 0)
        assert again["known"] == again["listed"]


def _open(out: Path) -> set[str]:
    newest = max(out.glob("runs/*/state.parquet"))
    return {str(row["voice_id"]) for row in pq.read_table(newest).to_pylist()}


def test_a_probed_day_of_10_000_calls_takes_three_requests_a_hundred_at_most(
    tmp_path: Path,
) -> None:
    with listing_simulator("calls=10000", drift=False) as vendor:
        call = whole_call(vendor, tmp_path)
        listed = Discovery(tmp_path / "out", vendor)
        probed = listed.run(probe=call, first=day(), last=day()).summary
        assert not listed.missing()
        assert probed["filter"]["by"] == "submitTime"
        assert probed["requests"] <= 0.03 * probed["listed"]
        assert listed.run().summary["requests"] <= 0.03 * probed["listed"]


@pytest.mark.parametrize(
    ("by", "ends"), [("submit", "both"), ("call", "start"), ("hangup", "end"), ("submit", "none")]
)
def test_a_probe_finds_out_how_the_list_is_cut(tmp_path: Path, by: str, ends: str) -> None:
    habits = f"calls=300,by={by},ends={ends}"
    with listing_simulator(habits, drift=False, fates="answered=1") as vendor:
        call = whole_call(vendor, tmp_path)
        listed = Discovery(tmp_path / "out", vendor)
        found = listed.run(probe=call).summary["filter"]
        assert found["by"] == f"{by}Time"
        assert found["is_start_counted"] is (ends in ("both", "start"))
        done = listed.run().summary
        assert not listed.missing()
        assert done["filter"] == found


def test_a_call_that_shows_nothing_is_refused(tmp_path: Path) -> None:
    with listing_simulator("calls=50", drift=False) as vendor:
        done = Discovery(tmp_path / "out", vendor).run(probe="no-such-call-0000")
        assert done.code == 2
        assert "listing.probe" in done.err


HABITS = "calls=3000,extra=40,burst=130,late=0.05:60,changed=0.1,cap=70,overflow,text"


def test_with_all_habits_and_faults_it_finds_what_there_is_after_the_last_late_row(
    tmp_path: Path,
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    faults = "all,busy=0.05,torn=0.02,other_id=0.01,refused=0,drip=0,bomb=0.001,slow=0"
    with listing_simulator(HABITS, seed=seed, faults=faults) as vendor:
        listed = Discovery(tmp_path / "out", vendor, pace__concurrency=8)
        done = listed.run()
        while vendor.listed()["late_left"] or done.code == 5:
            done = listed.run()
        done = listed.run()
        while done.code == 5:
            done = listed.run()
        assert done.code == 0, done.err
        assert not listed.missing()
        assert set(listed.ids()) == set(vendor.listed()["ids"])


@pytest.mark.parametrize("habits", ["total=3", "noid=0.05", "burst=150,total=1"])
def test_a_list_that_lies_is_not_settled(tmp_path: Path, habits: str) -> None:
    with listing_simulator(f"calls=400,{habits}", drift=False) as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        done = listed.run()
        assert done.code == 5
        assert "listing.unsettled" in done.err
        assert done.summary["unsettled_windows"]
        assert done.summary["listed"] == len(set(listed.ids()))


def test_a_list_whose_pages_are_all_the_first_one_loses_nothing_unseen(tmp_path: Path) -> None:
    with listing_simulator("calls=400,burst=150,repeat", drift=False) as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        assert listed.run().code == 5 or not listed.missing()


@pytest.mark.crash
def test_killed_at_random_moments_it_goes_on_and_finds_all(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with listing_simulator("calls=6000,burst=120", latency_ms=5) as vendor:
        listed = Discovery(tmp_path / "out", vendor, pace__rate_per_s=60.0, pace__concurrency=4)
        for _ in range(4):
            process = listed.start()
            asked = vendor.stats()["requests"]
            until = asked + dice.randrange(1, 130)
            while vendor.stats()["requests"] < until and process.poll() is None:
                time.sleep(0.01)
            process.kill()
            listed.ended(process)
        done = listed.run()
        assert done.code == 0, done.err
        assert not listed.missing()
        assert done.summary["requests"] < vendor.stats()["requests"]
        listed_files = {path.name for path in (tmp_path / "out/state/listed").iterdir()}
        assert all(name.startswith("listing-") for name in listed_files)


@pytest.mark.crash
def test_killed_at_every_durable_step_it_goes_on_and_finds_all(tmp_path: Path) -> None:
    with listing_simulator("calls=5000", drift=False) as vendor:
        Discovery(tmp_path / "older", vendor).run()  # its files are to go
        code, step = DEAD, 0
        while code == DEAD:
            step += 1
            shutil.copytree(tmp_path / "older", tmp_path / f"out{step}")
            listed = Discovery(tmp_path / f"out{step}", vendor)
            code = listed.run(dies_at=step).code
            done = listed.run()
            assert done.code == 0, done.err
            assert not listed.missing()
            folder = listed.out / "state" / "listed"
            rows = sum(pq.read_metadata(path).num_rows for path in folder.iterdir())
            assert len(set(listed.ids())) <= rows < 2 * len(listed.ids())
        assert (code, step > 4) == (0, True)


@pytest.mark.parametrize("step", range(1, 5))
def test_a_full_disk_ends_it_and_nothing_is_lost(tmp_path: Path, step: int) -> None:
    with listing_simulator("calls=5000", drift=False) as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        done = listed.run(full_at=step)
        assert done.code == 6, done.err
        assert "error: output.full" in done.err
        assert listed.run().code == 0
        assert not listed.missing()


def test_files_that_are_gone_are_listed_again(tmp_path: Path) -> None:
    with listing_simulator("calls=300") as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        # A day that goes on: its listing has not ended, so the next one goes on with it.
        assert listed.run(first=day(), last=day(-1)).code == 5
        for path in (tmp_path / "out" / "state" / "listed").iterdir():
            path.unlink()
        assert listed.run(first=day(), last=day(-1)).code == 5
        assert not listed.missing()


def test_a_signal_ends_it_in_good_order_and_it_goes_on(tmp_path: Path) -> None:
    with listing_simulator("calls=6000", latency_ms=5) as vendor:
        listed = Discovery(tmp_path / "out", vendor, pace__rate_per_s=40.0)
        process = listed.start()
        while vendor.stats()["requests"] < 30:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        stopped = listed.ended(process)
        assert stopped.code == 143, stopped.err
        assert stopped.summary["windows"] > 0
        asked = vendor.stats()["requests"]
        done = listed.run()
        assert done.code == 0
        assert not listed.missing()
        assert vendor.stats()["requests"] < asked + done.summary["windows"] + 40


@pytest.mark.parametrize("is_probed", [False, True])
def test_the_pace_is_kept_from_the_first_request_on(tmp_path: Path, is_probed: bool) -> None:
    with listing_simulator("calls=5000", latency_ms=20) as vendor:
        listed = Discovery(tmp_path / "out", vendor, pace__rate_per_s=50.0)
        probe: dict[str, object] = {"probe": whole_call(vendor, tmp_path)} if is_probed else {}
        asked = vendor.stats()["requests"]
        done = listed.run(trace=tmp_path / "trace", first=day(), last=day(), **probe)
        assert done.code == 0
        times = read_trace(tmp_path / "trace")
        sent = vendor.stats()["requests"] - asked
        assert len(times) == sent == done.summary["requests"]
        assert worst_second(times) <= 50


def test_a_listing_and_a_run_share_a_limit_file(tmp_path: Path) -> None:
    limit = {"pace__limit_file": str(tmp_path / "limit"), "pace__rate_per_s": 50.0}
    ids = list(make_ids(300, 21, end=day(), days=1))
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    with listing_simulator("calls=5000", latency_ms=5) as vendor:
        harvest = Harvest(tmp_path / "run", vendor.base_url, **limit)
        listed = Discovery(tmp_path / "out", vendor, **limit)
        run = harvest.start(tmp_path / "ids.txt", trace=str(tmp_path / "1.trace"))
        found = listed.start(trace=tmp_path / "2.trace")
        assert listed.ended(found).code == 0
        assert harvest.ended(run).code in (0, 3, 5)
        times = [read_trace(tmp_path / f"{number}.trace") for number in (1, 2)]
        assert worst_second([*times[0], *times[1]]) <= 50
        assert not listed.missing()


def test_the_days_budget_ends_it_and_the_next_day_it_would_go_on(tmp_path: Path) -> None:
    with listing_simulator("calls=5000") as vendor:
        listed = Discovery(tmp_path / "out", vendor, pace__per_day=40)
        done = listed.run()
        assert done.code == 8
        assert "limit.per_day" in done.err
        assert vendor.stats()["requests"] == 40
        assert listed.run().code == 8
        assert vendor.stats()["requests"] == 40
        more = Discovery(tmp_path / "out", vendor, pace__per_day=4_000)
        assert more.run().code == 0
        assert not more.missing()


def test_its_time_is_over_and_it_goes_on(tmp_path: Path) -> None:
    with listing_simulator("calls=6000", latency_ms=20) as vendor:
        listed = Discovery(tmp_path / "out", vendor, pace__rate_per_s=20.0)
        done = listed.run(max_duration_s=2.5)
        assert done.code == 8
        assert "limit.duration" in done.err
        assert Discovery(tmp_path / "out", vendor).run().code == 0
        assert not listed.missing()


def test_cut_short_it_names_the_windows_that_are_not_settled(tmp_path: Path) -> None:
    with listing_simulator("calls=900,total=1") as vendor:
        done = Discovery(tmp_path / "out", vendor, pace__rate_per_s=40.0).run(max_duration_s=5.0)
        assert done.code == 8, done.err
        assert done.summary["unsettled_windows"] > 0
        assert done.summary["unsettled"][0]["cause"]


def test_a_key_that_is_denied_ends_it_at_once(tmp_path: Path) -> None:
    with listing_simulator("calls=500") as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        done = listed.run(secrets=["bDqJFiq9", "wrong"])
        assert done.code == 4
        assert "vendor.denied.sign" in done.err
        assert vendor.stats()["requests"] <= 3
        assert listed.run().code == 0


@pytest.mark.parametrize("wish", [{"down": True}, {"refuse": "-15"}, {"refuse": "-18"}])
def test_a_vendor_that_is_ill_ends_it_for_now(tmp_path: Path, wish: dict[str, Any]) -> None:
    with listing_simulator("calls=300") as vendor:
        vendor.post_faults(**wish)
        listed = Discovery(tmp_path / "out", vendor, retry__max_outage_s=2.0)
        ill = listed.run()
        assert ill.code == 5, ill.err
        ends = ("vendor.throttling", "vendor.unavailable", "listing.unsettled")
        assert any(f"error: {code}" in ill.err for code in ends)
        assert ill.summary["retries"]
        vendor.post_faults(down=False, refuse=None)
        assert listed.run().code == 0
        assert not listed.missing()


def test_a_vendor_without_a_list_is_told(tmp_path: Path) -> None:
    with Simulator(**NO_FAULTS) as vendor:
        done = Discovery(tmp_path / "out", vendor).run()
        assert done.code == 4
        assert "vendor.denied.address" in done.err


def test_a_clock_that_is_off_is_put_right(tmp_path: Path) -> None:
    with listing_simulator("calls=500", clock_skew_s=300) as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        assert listed.run().code == 0
        assert not listed.missing()


@pytest.mark.parametrize("is_old", [True, False])
def test_a_listing_that_is_cut_short_goes_on_with_what_need_not_be_asked_again(
    tmp_path: Path, is_old: bool
) -> None:
    with HostileList(
        calls_of(400), lambda vendor, asked: Said(envelope(vendor.page(asked)))
    ) as vendor:
        out = tmp_path / "out"
        cut = Discovery(out, vendor, pace__per_day=30, pace__concurrency=1).run()
        assert cut.code == 8
        with closing(open_database(out / "state" / "state.db", "default")) as db, db:
            (kept,) = db.execute("SELECT COUNT(*) FROM listed_window").fetchone()
            if is_old:
                db.execute("UPDATE listed_window SET asked_ms = asked_ms - ?", (13 * DAY_MS,))
        assert kept > 0
        vendor.calls += [
            Call(f"late-{call.voice_id}", call.submit_s) for call in list(vendor.calls)[::10]
        ]
        listed = Discovery(out, vendor)
        done = listed.run()
        assert f"'settled': {0 if is_old else kept}}}" in done.err
        if not is_old:  # more than may come while a list is read
            assert (done.code, done.summary["unsettled"][0]["cause"]) == (5, "total_of_all")
            done = listed.run()
        assert done.code == 0, done.err
        assert not listed.missing()


def test_calls_of_the_day_that_goes_on_are_not_of_other_days(tmp_path: Path) -> None:
    soon = [Call(f"today-{call.voice_id}", call.submit_s + DAY_MS / 1000) for call in calls_of(5)]
    with HostileList(
        [*calls_of(30), *soon], lambda vendor, asked: Said(envelope(vendor.page(asked)))
    ) as vendor:
        done = Discovery(tmp_path / "out", vendor).run(first=day(), last=day(-1))
        listed = done.summary["listed"]
        assert (done.code, done.summary["outside"]) == (5, 0)
        assert 30 <= listed <= 35, "those of today as far as they have begun"


def test_where_nobody_listens_it_ends_and_says_what_the_latest_failure_was(
    tmp_path: Path,
) -> None:
    with listing_simulator("calls=20") as vendor:
        pass
    once = {"pace__concurrency": 4, "retry__max_outage_s": 0.5, "retry__network_attempts": 1_000}
    done = Discovery(tmp_path / "out", vendor, **once).run(max_duration_s=120)
    assert done.code == 5
    assert "ECONNREFUSED" in done.err


def test_days_that_are_due_are_listed_and_then_none_is(tmp_path: Path) -> None:
    with listing_simulator("calls=600,days=6") as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        # It asks for a day more at either end, which is no reason to leave these out.
        assert listed.run(first=day(3), last=day(3)).code == 0
        done = listed.run(due=True).summary
        assert done["days"] == [[str(day(11)), str(day(4))], [str(day(2)), str(day())]]
        assert len(listed.missing()) == pytest.approx(100, abs=20), "those of the day in between"
        again = listed.run(due=True).summary
        assert (again["days"], again["requests"], again["exit_code"]) == ([], 0, 0)


def test_a_day_that_goes_on_is_not_all_there(tmp_path: Path) -> None:
    with listing_simulator("calls=200") as vendor:
        done = Discovery(tmp_path / "out", vendor).run(first=day(), last=day(-1))
        assert done.code == 5
        assert "listing.not_over" in done.err
        assert done.summary["listed"] == len(vendor.listed()["ids"])


@pytest.mark.parametrize("days", [(70, 69), (-3, -3)])
def test_days_that_the_vendor_does_not_have_are_refused(
    tmp_path: Path, days: tuple[int, int]
) -> None:
    with listing_simulator("calls=20") as vendor:
        first, last = map(day, days)
        done = Discovery(tmp_path / "out", vendor).run(first=first, last=last)
        assert done.code == 2
        assert vendor.stats()["requests"] == 0


def test_a_listing_leaves_no_phone_number_and_nothing_that_a_run_or_verify_minds(
    tmp_path: Path,
) -> None:
    with listing_simulator("calls=300") as vendor:
        words = ("discover", "--from", day(), "--to", day(), "--out", "out", "--json")
        url = ("--base-url", vendor.base_url, "--rate", 500)
        done = harvester(*words, *url, "-o", "calls.csv", cwd=tmp_path, env=KEYS)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["type"] == "discover"
        lines = (tmp_path / "calls.csv").read_text().splitlines()
        assert len(lines) == told["listed"] + 1
        columns = Counter(lines[0].split(","))
        assert not columns & Counter(["callee", "display_num"])
        assert harvester("verify", "--out", "out", cwd=tmp_path).returncode == 0
        assert harvester("status", "--out", "out", cwd=tmp_path).returncode == 0
        rebuilt = harvester("rebuild", "--out", "out", "--force", cwd=tmp_path)
        assert "discover" in rebuilt.stdout + rebuilt.stderr
        shown = harvester(
            "discover", "--from", day(), "--to", day(), "--out", "out", *url, cwd=tmp_path, env=KEYS
        )
        assert "Next: the same command with --take" in shown.stdout
