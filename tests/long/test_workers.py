"""Workers as processes of this machine, over real sockets: they are killed, stopped and started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harvester.pipeline.workers import child_link
from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.harvesting import UNHEARD, Harvest, assert_kept, gone, traced
from tests.support.outputs import wait_for_requests
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = list(make_ids(3_000, 17, end=END))
LIMIT = 400.0
ORDERED_S = 0.5
CONNECTIONS = 64


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(IDS))
    return path


def with_workers(folder: Path, vendor: Simulator, count: int = 2, **flags: object) -> Harvest:
    settings = {"pace__rate_per_s": LIMIT, "workers__count": count, **flags}
    return Harvest(folder, vendor.base_url, **settings)


def workers_of(pid: int) -> list[int]:
    """The worker processes that a harvest has now."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if child_link.MODULE.encode() in words:
                found.append(int(child))
    return found


def test_the_rows_are_those_of_a_run_without_workers(tmp_path: Path, ids: Path) -> None:
    with Simulator(rate_limit=0, seed=3, faults="busy=0.03,reset=0.02,torn=0.02") as vendor:
        plain = Harvest(tmp_path / "plain", vendor.base_url)
        assert plain.run(ids).code == 3
    with Simulator(rate_limit=0, seed=3, faults="busy=0.03,reset=0.02,torn=0.02") as vendor:
        harvest = with_workers(tmp_path / "out", vendor)
        process = harvest.start(ids, trace=traced(tmp_path))
        wait_for_requests(vendor, 1_000)
        workers = workers_of(process.pid)
        for pid in workers:
            for place in ("cmdline", "environ"):
                text = Path(f"/proc/{pid}/{place}").read_bytes()
                assert b"HARVESTER" not in text
                assert not any(secret in text for secret in (b"bDqJFiq9", b"7bz1lzh9"))
        ended = harvest.ended(process)
        assert ended.code == 3, ended.err
        assert_kept(tmp_path, vendor, LIMIT)
        assert ended.summary["requests"] <= vendor.stats()["requests"]
    assert len(workers) == 2
    assert all(map(gone, workers))
    assert harvest.ids() == plain.ids()
    assert harvest.typed() == plain.typed()


def test_a_worker_that_is_killed_costs_its_requests_under_way_and_nothing_else(
    tmp_path: Path, ids: Path
) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = with_workers(tmp_path / "out", vendor)
        process = harvest.start(ids, trace=traced(tmp_path))
        wait_for_requests(vendor, 1_000)
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        ended = harvest.ended(process)
        assert ended.code == 0, ended.err
        repeated = vendor.stats()["requests"] - len(IDS)
        assert_kept(tmp_path, vendor, LIMIT, lost=UNHEARD)
    assert harvest.ids() == sorted(IDS)
    assert 0 <= repeated <= ORDERED_S * LIMIT
    assert "was ended by signal 9" in ended.err


def test_an_owner_that_is_killed_takes_its_workers_along_and_the_next_goes_on(
    tmp_path: Path, ids: Path
) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = with_workers(tmp_path / "out", vendor)
        process = harvest.start(ids, trace=traced(tmp_path))
        wait_for_requests(vendor, 1_000)
        workers = workers_of(process.pid)
        process.kill()
        harvest.ended(process)
        again = harvest.run(ids, trace=traced(tmp_path, 2))
        assert again.code == 0, again.err
        assert all(map(gone, workers))
        repeated = vendor.stats()["requests"] - len(IDS)
        assert_kept(tmp_path, vendor, LIMIT, lost=2 * UNHEARD)
    assert harvest.ids() == sorted(IDS)
    assert 0 <= repeated <= LIMIT + 1_000


def test_a_worker_that_stands_still_is_given_up_and_sends_nothing_afterwards(
    tmp_path: Path,
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(IDS[:1_600]))
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = with_workers(tmp_path / "out", vendor, pace__rate_per_s=100.0)
        process = harvest.start(ids, trace=traced(tmp_path))
        wait_for_requests(vendor, 300)
        stopped = workers_of(process.pid)[0]
        os.kill(stopped, signal.SIGSTOP)
        ended = harvest.ended(process)
        assert ended.code == 0, ended.err
        assert gone(stopped)
        assert_kept(tmp_path, vendor, 100.0, lost=UNHEARD)
        assert 0 <= vendor.stats()["requests"] - 1_600 <= CONNECTIONS
    assert harvest.ids() == sorted(IDS[:1_600])
    assert "no report within 10 s" in ended.err


def test_a_run_that_is_interrupted_drains_its_workers(tmp_path: Path, ids: Path) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = with_workers(tmp_path / "out", vendor)
        process = harvest.start(ids, trace=traced(tmp_path))
        wait_for_requests(vendor, 1_000)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        ended = harvest.ended(process)
        assert ended.code == 143, ended.err
        assert time.monotonic() - began < 10
        books = ended.summary["run"]
        assert books["attempted"] == books["delivered"] + books["cut_off"]
        again = harvest.run(ids, trace=traced(tmp_path, 2))
        assert again.code == 0, again.err
        assert vendor.stats()["requests"] - len(IDS) == 0
        assert_kept(tmp_path, vendor, LIMIT)
    assert harvest.ids() == sorted(IDS)


def test_the_budget_of_a_day_is_used_to_the_last_request_and_no_further(
    tmp_path: Path, ids: Path
) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = with_workers(tmp_path / "out", vendor, pace__per_day=1_500)
        ended = harvest.run(ids, trace=traced(tmp_path))
        assert ended.code == 8, ended.err
        assert vendor.stats()["requests"] == 1_500
        assert_kept(tmp_path, vendor, LIMIT)
        assert harvest.run(ids).code == 8
        assert vendor.stats()["requests"] == 1_500


def test_what_was_delivered_is_fetched_again_by_workers_too(tmp_path: Path, ids: Path) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, drift=False) as vendor:
        harvest = with_workers(tmp_path / "out", vendor)
        assert harvest.run(ids).code == 0
        before = harvest.typed()
        again = harvest.run(refetch={"what": "delivered", "since_ms": 0}, trace=traced(tmp_path))
        assert again.code == 0, again.err
        found = again.summary["refetch"]
        assert (found["again"], found["same"]) == (len(IDS), len(IDS))
        assert vendor.stats()["requests"] == 2 * len(IDS)
    assert harvest.typed() == before


def test_a_key_that_is_refused_is_tried_no_more_often_than_without_workers(
    tmp_path: Path, ids: Path
) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = with_workers(tmp_path / "out", vendor, count=4)
        refused = harvest.run(ids, secrets=["bDqJFiq9", "wrong"])
        assert refused.code == 4, refused.err
        # Whoever goes first, and five from elsewhere in the list.
        assert vendor.stats()["requests"] == 1 + 5
        assert harvest.run(ids).code == 0
    assert harvest.ids() == sorted(IDS)


def test_vendor_throttling_closes_the_pace_of_all(tmp_path: Path, ids: Path) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = with_workers(tmp_path / "out", vendor)
        process = harvest.start(ids, trace=traced(tmp_path))
        wait_for_requests(vendor, 1_000)
        vendor.post_faults(retry_after=3)
        time.sleep(1.0)
        told = vendor.stats()["requests"]
        time.sleep(1.0)
        assert vendor.stats()["requests"] == told
        ended = harvest.ended(process)
        assert ended.code == 0, ended.err
    assert harvest.ids() == sorted(IDS)
    assert ended.summary["throttled"] > 0


def test_workers_and_a_limit_file_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS[:5]))
    environment = {
        **KEYS,
        "HARVESTER_PACE__LIMIT_FILE": str(tmp_path / "limit"),
        "HARVESTER_VENDOR__BASE_URL": "http://127.0.0.1:9",
    }
    words = ("run", "ids.txt", "--out", "out", "--workers", "2")
    refused = harvester(*words, cwd=tmp_path, env=environment)
    assert refused.returncode == 2
    assert "no other process may use the key meanwhile" in refused.stderr
    assert 'pace.limit_file = ""' in refused.stderr
