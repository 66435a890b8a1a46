"""A run that is interrupted, however rudely, goes on where it stopped when it is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import fields
from pathlib import Path

import pytest

from harvester.pipeline.publish import messages
from harvester.pipeline.publish.publisher import ASIDE_ROWS
from harvester.simulator import Fates, write_ids
from tests.support.harvesting import Harvest, gone, read_trace, worst_second
from tests.support.outputs import wait_for_requests
from tests.support.simulated import ALL_RECORDS, END, Simulator

BATCHES = 2 * 500
CONNECTIONS = 64


def _ids(tmp_path: Path, count: int, seed: int = 7) -> Path:
    path = tmp_path / f"ids-{count}-{seed}.txt"
    write_ids(path, count, seed, end=END)
    return path


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    ids = _ids(tmp_path, 4_000)
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, output__publish_records=1_000)
        process = harvest.start(ids)
        wait_for_requests(vendor, 1_500)
        process.send_signal(number)
        ended = harvest.ended(process)
        assert ended.code == code, ended.err
        assert harvest.ids() == sorted(set(harvest.ids())), "a row twice after the interruption"
        again = harvest.run(ids)
        assert again.code == 0, again.err
        assert harvest.ids() == sorted(ids.read_text().split())
        repeated = vendor.stats()["requests"] - 4_000
    # A drained run loses what it cut off; a killed one what was not acknowledged yet.
    assert 0 <= repeated <= (CONNECTIONS if code > 0 else BATCHES + CONNECTIONS)
    if code > 0:
        books = ended.summary["run"]
        assert books["attempted"] == books["delivered"] + books["cut_off"]


def test_killed_again_and_again_nothing_is_lost_and_nothing_is_double(tmp_path: Path) -> None:
    ids = _ids(tmp_path, 6_000)
    kills = 0
    with Simulator(rate_limit=0, fates=ALL_RECORDS, faults="busy=0.02,torn=0.01") as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, output__publish_records=700)
        for round_ in range(1, 6):
            process = harvest.start(ids)
            wait_for_requests(vendor, 1_100 * round_)
            process.kill()
            harvest.ended(process)
            kills += 1
            assert len(harvest.ids()) == len(set(harvest.ids()))
        last = harvest.run(ids)
        assert last.code == 0, last.err
        assert harvest.ids() == sorted(ids.read_text().split())
    assert len(list((tmp_path / "out" / "runs").glob("*/summary.json"))) == kills + 1


def _normalizing(run: int) -> int | None:
    """The process that normalises for `run`, if there is one now."""
    for children in Path(f"/proc/{run}/task").glob("*/children"):
        for child in children.read_text().split():
            if messages.MODULE.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def _wait_for_normalizing(run: int) -> int:
    for _ in range(6_000):
        if (child := _normalizing(run)) is not None:
            return child
        time.sleep(0.01)
    raise AssertionError("nothing was ever normalised aside")


def test_a_run_that_ends_while_another_process_normalises_for_it_leaves_nothing_half_done(
    tmp_path: Path,
) -> None:
    ids = _ids(tmp_path, ASIDE_ROWS + 4_000)
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, output__publish_records=ASIDE_ROWS)
        for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
            process = harvest.start(ids)
            child = _wait_for_normalizing(process.pid)
            if number == signal.SIGTERM:
                os.kill(child, number)  # a service manager tells them all
            process.send_signal(number)
            ended = harvest.ended(process)
            assert ended.code == code, ended.err
            assert gone(child)
            assert harvest.ids() == []
        done = harvest.run(ids)
        assert done.code == 0, done.err
        assert harvest.ids() == sorted(ids.read_text().split())
        repeated = vendor.stats()["requests"] - ASIDE_ROWS - 4_000
    assert 0 <= repeated <= BATCHES + 2 * CONNECTIONS


def test_no_second_shows_more_requests_than_the_limit_even_over_a_kill(tmp_path: Path) -> None:
    """The client's own trace, from the first second on; the vendor may see a little jitter."""
    rate = 200
    ids = _ids(tmp_path, 1_600)
    trace = tmp_path / "trace"
    with Simulator(rate_limit=rate, fates=ALL_RECORDS, latency_ms=50) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__rate_per_s=float(rate))
        process = harvest.start(ids, trace=str(trace))
        wait_for_requests(vendor, 500)
        process.kill()
        harvest.ended(process)
        ended = harvest.run(ids, trace=str(trace))
        assert ended.code == 0, ended.err
        stats = vendor.stats()
    times = read_trace(trace)
    assert len(times) >= stats["requests"] >= 1_600
    assert worst_second(times) <= rate
    assert stats["worst_window"] <= rate + max(3, rate * 0.05)


def test_a_second_run_on_the_same_output_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    ids = _ids(tmp_path, 1_500)
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__rate_per_s=500.0)
        first = harvest.start(ids)
        wait_for_requests(vendor, 100)
        second = harvest.run(ids)
        assert second.code == 7
        assert str(first.pid) in second.err
        ended = harvest.ended(first)
        assert ended.code == 0, ended.err
        assert vendor.stats()["requests"] == 1_500
    assert harvest.ids() == sorted(ids.read_text().split())


def test_a_second_signal_ends_the_run_at_once_and_still_loses_nothing(tmp_path: Path) -> None:
    ids = _ids(tmp_path, 400)
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=2_000) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        process = harvest.start(ids)
        wait_for_requests(vendor, 150)
        process.terminate()
        _wait_until_stopping(process)
        process.terminate()
        assert harvest.ended(process).code == 143
        vendor.post_faults(latency_ms=0)
        ended = harvest.run(ids)
        assert ended.code == 0, ended.err
    assert harvest.ids() == sorted(ids.read_text().split())


def _wait_until_stopping(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if " stopping " in line:
            return
    raise AssertionError("the harvest did not say that it stops")


def test_the_fates_used_here_leave_records_only() -> None:
    named = dict(pair.split("=") for pair in ALL_RECORDS.split(","))
    assert set(named) == {field.name for field in fields(Fates) if field.name != "answered"}
