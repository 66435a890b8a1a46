"""Killed: at every durable step, and at any moment.

`make crash` tries every step and 500 kills; CI some steps, drawn by lot, and 40 kills.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from harvester.simulator import make_ids
from tests.crash.scenes import (
    SEED,
    Process,
    Scene,
    counted,
    damage_of,
    finish,
    harvest_of,
    in_data,
    look_as_a_reader,
    trials,
)
from tests.support.simulated import END, Simulator

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7_200)]

KILLS = int(os.environ.get("CRASH_KILLS", "40"))
SLICES = 4
"""Harvests that the random kills are spread over, so that they run side by side."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("name", "process"),
    [
        ("begin", "harvest_once"),
        ("begin", "worklist.build_child"),
        ("go on", "harvest_once"),
        ("go on", "worklist.build_child"),
        ("refetch dead", "harvest_once"),
        ("refetch", "harvest_once"),
        ("refetch", "worklist.build_child"),
        ("rebuild", "rebuild_once"),
        ("migrate", "harvest_once"),
    ],
)
def test_killed_at_any_durable_step_the_same_command_completes_it(
    tmp_path: Path,
    vendor: Simulator,
    scenes: dict[str, Scene],
    name: str,
    process: Process,
    when: str,
) -> None:
    for trial in trials(tmp_path, vendor, scenes[name], process, when):
        hurt = trial.hurt(trial.fault.environment(at=trial.step.number, when=when, process=process))
        # A run whose list-maker is killed says so and ends by itself.
        assert hurt.code in (-9, 6) or trial.ended_sooner(), (trial.step, hurt.err)
        trial.complete()


def test_a_recovery_of_changes_that_is_killed_as_well_is_finished_by_the_next(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene]
) -> None:
    dice = random.Random(f"{SEED} recovery of changes")
    for trial in trials(tmp_path, vendor, scenes["refetch"], "harvest_once", "recovery"):
        for at in (trial.step.number, dice.randint(1, 40)):
            when = dice.choice(["before", "after"])
            trial.hurt(trial.fault.environment(at=at, when=when))
        trial.complete()


@pytest.mark.parametrize("part", range(SLICES))
def test_killed_at_random_times_nothing_is_lost_and_nothing_is_double(
    tmp_path: Path, vendor: Simulator, part: int
) -> None:
    dice = random.Random(f"{SEED} kills {part}")
    kills = KILLS // SLICES + (part < KILLS % SLICES)
    source = tmp_path / "ids.txt"
    ids = sorted(make_ids(400 * kills, 9 + part, end=END, days=5))
    source.write_text("\n".join(ids))
    harvest = harvest_of(tmp_path / "out", vendor, pace__rate_per_s=600.0)
    with counted(f"{kills} kills at random times"):
        for _ in range(kills):
            process = harvest.start(source)
            time.sleep(dice.uniform(0.2, 3.0))
            process.kill()
            harvest.ended(process)
            look_as_a_reader(harvest)
    finish(harvest, source)
    assert harvest.ids() == in_data(ids)
    assert damage_of(harvest.out) == []
