"""A disk that fails or is full: the run stops and says so, or goes on; nothing is lost.

Once the fault is gone the same command completes, and the oracle holds.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harvester.simulator import make_ids
from tests.crash.scenes import (
    POINTS,
    SEED,
    Process,
    Scene,
    Trial,
    counted,
    damage_of,
    finish,
    harvest_of,
    in_data,
    look_as_a_reader,
    sync_trials,
    trials,
)
from tests.support.mounts import resize, small_disk
from tests.support.simulated import END, Simulator

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7_200)]

SYNCS = 100
FULL_AT_KB = range(64, 2_048, 64)
FULL_IDS = 2_400


@pytest.mark.parametrize(
    ("name", "process"),
    [
        ("begin", "harvest_once"),
        ("begin", "worklist.build_child"),
        ("go on", "harvest_once"),
        ("refetch", "harvest_once"),
        ("refetch", "worklist.build_child"),
        ("rebuild", "rebuild_once"),
        ("compact", "compact_once"),
        ("drop", "drop_once"),
        ("erase", "erase_once"),
        ("lift", "lift_once"),
        ("migrate", "harvest_once"),
    ],
)
def test_an_io_error_at_any_durable_step_loses_nothing(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], name: str, process: Process
) -> None:
    for trial in trials(tmp_path, vendor, scenes[name], process, "eio"):
        _fail(trial, process)


@pytest.mark.parametrize(
    ("name", "process"),
    [("compact", "compact_once"), ("drop", "drop_once"), ("refetch", "harvest_once")],
)
def test_a_disk_that_is_full_at_any_durable_step_loses_nothing(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], name: str, process: Process
) -> None:
    for trial in trials(tmp_path, vendor, scenes[name], process, "enospc"):
        _fail(trial, process, "enospc")


def test_an_io_error_at_each_of_the_first_100_syncs_loses_nothing(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene]
) -> None:
    for trial in sync_trials(tmp_path, vendor, scenes["many dates"], SYNCS):
        _fail(trial, "harvest_once")


def test_a_disk_that_is_full_at_any_size_stops_the_run_and_loses_nothing(
    tmp_path: Path, vendor: Simulator
) -> None:
    source = tmp_path / "ids.txt"
    ids = sorted(make_ids(FULL_IDS, 23, end=END, days=3))
    source.write_text("\n".join(ids))
    dice = random.Random(f"{SEED} full")
    sizes = sorted(dice.sample(FULL_AT_KB, POINTS or len(FULL_AT_KB)))
    with counted(f"disks full at {len(sizes)} of {len(FULL_AT_KB)} sizes"):
        for size_kb in sizes:
            vendor.post_faults(forget=True)
            with small_disk(tmp_path / "disk", size_kb) as disk:
                harvest = harvest_of(disk / "out", vendor)
                stopped = harvest.run(source)
                assert stopped.code in (0, 3, 6), (size_kb, stopped.err)
                if stopped.code == 6:
                    assert "space" in stopped.err.lower(), (size_kb, stopped.err)
                    assert "Traceback" not in stopped.err, (size_kb, stopped.err)
                look_as_a_reader(harvest)
                resize(disk, 64_000)
                finish(harvest, source)
                assert harvest.ids() == in_data(ids), size_kb
                assert damage_of(harvest.out) == [], size_kb


def _fail(trial: Trial, process: Process, how: str = "eio") -> None:
    environment = trial.fault.environment(at=trial.step.number, when=how, process=process)
    hurt = trial.hurt(environment)
    assert hurt.code in (0, 3, 6), (trial.step, hurt.code, hurt.err)
    if hurt.code == 6:
        assert "error: " in hurt.err, (trial.step, hurt.err)
        assert "Traceback" not in hurt.err, (trial.step, hurt.err)
    trial.complete()
