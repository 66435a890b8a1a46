"""Workers as actors of a real Ray cluster: `make scale`, in an environment that has Ray and uvloop.

Each test has a cluster of its own, which Ray starts for the run and takes down with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed here: `make scale` runs these tests")

from harvester.simulator import make_ids
from tests.support.harvesting import (
    UNHEARD,
    Ended,
    Harvest,
    assert_kept,
    is_running,
    traced,
)
from tests.support.outputs import wait_for_requests
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = list(make_ids(3_000, 17, end=END))
LIMIT = 300.0
IN_LEASE = round(2 * LIMIT)
"""What actors may send, and tell nobody, until their lease is over."""
KEYS = {"HARVESTER_API_KEY": "bDqJFiq9", "HARVESTER_API_SECRET": "7bz1lzh9"}


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(IDS))
    return path


@pytest.fixture
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, latency_ms=20) as simulator:
        yield simulator


def on_ray(folder: Path, vendor: Simulator, **flags: object) -> Harvest:
    settings = {
        "pace__rate_per_s": LIMIT,
        "workers__count": 2,
        "workers__engine": "ray",
        "workers__ray_address": "local",
        **flags,
    }
    harvest = Harvest(folder, vendor.base_url, **settings)
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    harvest.environment = {**others, **KEYS}
    return harvest


def ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found


def processes(driver: int, name: str) -> list[int]:
    """Those of `driver`'s own cluster whose command line begins with, or ends in, `name`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        command = words[0].decode("utf-8", "replace")
        pid = int(path.parent.name)
        if (command.startswith(name) or command.endswith(f"/{name}")) and driver in ancestors(pid):
            found.append(pid)
    return found


def started(harvest: Harvest, ids: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A harvest, and its two actors once they work."""
    process = harvest.start(ids, trace=traced(harvest.out.parent))
    workers: list[int] = []
    for _ in range(600):
        workers = processes(process.pid, "ray::RayWorker")
        if len(workers) == 2 or process.poll() is not None:
            break
        time.sleep(0.1)
    assert len(workers) == 2, harvest.ended(process).err if process.poll() is not None else ""
    return process, workers


def assert_whole(
    harvest: Harvest,
    ended: Ended,
    vendor: Simulator,
    *,
    repeated: float,
    limit: float = LIMIT,
    lost: int = 0,
) -> None:
    assert ended.code == 0, ended.err
    assert harvest.ids() == sorted(IDS)
    assert 0 <= vendor.stats()["requests"] - len(IDS) <= repeated
    assert_kept(harvest.out.parent, vendor, limit, lost=lost)


def test_the_rows_are_those_of_a_run_without_workers(tmp_path: Path, ids: Path) -> None:
    plain_vendor = Simulator(rate_limit=0, seed=3, faults="busy=0.03,reset=0.02")
    with plain_vendor as vendor:
        plain = Harvest(tmp_path / "plain", vendor.base_url)
        assert plain.run(ids).code == 3
    with Simulator(rate_limit=0, seed=3, faults="busy=0.03,reset=0.02") as vendor:
        harvest = on_ray(tmp_path / "out", vendor)
        process, _ = started(harvest, ids)
        ended = harvest.ended(process)
        assert ended.code == 3, ended.err
        assert_kept(tmp_path, vendor, LIMIT)
    assert "worker_lost" not in ended.err
    assert harvest.typed() == plain.typed()


def test_an_actor_that_is_killed(tmp_path: Path, ids: Path, vendor: Simulator) -> None:
    harvest = on_ray(tmp_path / "out", vendor)
    process, workers = started(harvest, ids)
    wait_for_requests(vendor, 1_000)
    os.kill(workers[0], signal.SIGKILL)
    ended = harvest.ended(process)
    assert "worker_lost" in ended.err
    assert_whole(harvest, ended, vendor, repeated=0.5 * LIMIT, lost=UNHEARD)


def test_an_actor_that_stands_still(tmp_path: Path, ids: Path, vendor: Simulator) -> None:
    harvest = on_ray(tmp_path / "out", vendor, pace__rate_per_s=100.0)
    process, workers = started(harvest, ids)
    wait_for_requests(vendor, 600)
    os.kill(workers[0], signal.SIGSTOP)
    time.sleep(12)
    if is_running(workers[0]):
        os.kill(workers[0], signal.SIGCONT)
    ended = harvest.ended(process)
    assert "no report within 10 s" in ended.err
    assert_whole(harvest, ended, vendor, repeated=64, limit=100.0, lost=UNHEARD)


def test_an_owner_that_is_killed(tmp_path: Path, ids: Path, vendor: Simulator) -> None:
    harvest = on_ray(tmp_path / "out", vendor)
    process, _ = started(harvest, ids)
    wait_for_requests(vendor, 1_000)
    process.kill()
    harvest.ended(process)
    ended = harvest.run(ids, trace=traced(tmp_path, 2))
    assert_whole(harvest, ended, vendor, repeated=LIMIT + 1_000, lost=IN_LEASE)


def test_a_raylet_that_is_killed(tmp_path: Path, ids: Path, vendor: Simulator) -> None:
    harvest = on_ray(tmp_path / "out", vendor)
    process, _ = started(harvest, ids)
    wait_for_requests(vendor, 1_000)
    (raylet,) = processes(process.pid, "raylet")
    os.kill(raylet, signal.SIGKILL)
    ended = harvest.ended(process)
    if ended.code != 0:  # Ray may end the process that was connected to it
        ended = harvest.run(ids, trace=traced(tmp_path, 2))
    assert_whole(harvest, ended, vendor, repeated=LIMIT + 1_000, lost=IN_LEASE)


def test_a_node_without_the_key_is_named_and_the_run_goes_on(
    tmp_path: Path, ids: Path, vendor: Simulator
) -> None:
    harvest = on_ray(tmp_path / "out", vendor)
    assert harvest.environment is not None
    for name in KEYS:
        del harvest.environment[name]
    ended = harvest.run(ids, trace=traced(tmp_path))
    assert_whole(harvest, ended, vendor, repeated=0)
    assert "the vendor's api key is missing" in ended.err
    assert "node " in ended.err


def test_a_cluster_without_a_free_cpu_holds_nobody_up(
    tmp_path: Path, ids: Path, vendor: Simulator
) -> None:
    harvest = on_ray(tmp_path / "out", vendor, workers__count=8)
    ended = harvest.run(ids, trace=traced(tmp_path))
    assert_whole(harvest, ended, vendor, repeated=0)


def test_no_cluster_is_said_before_anything_is_sent(
    tmp_path: Path, ids: Path, vendor: Simulator
) -> None:
    ended = on_ray(tmp_path / "out", vendor, workers__ray_address="127.0.0.1:1").run(ids)
    assert ended.code == 2
    assert "no Ray cluster answers at workers.ray_address = '127.0.0.1:1'" in ended.err
    assert vendor.stats()["requests"] == 0
