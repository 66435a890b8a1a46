"""An erasure is killed at every durable step, its recovery too: the next one finishes it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.scenes import SEED, Process, Scene, rows_by_date, trials
from tests.support.simulated import Simulator
from tests.support.watchers import Watchers

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7_200)]
PROCESS: Process = "erase_once"


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_durable_step_the_same_command_finishes_it(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], watchers: Watchers, when: str
) -> None:
    for trial in trials(tmp_path, vendor, scenes["erase"], PROCESS, when):
        with watchers.watching(rows_by_date(trial.harvest.out)):
            at = trial.step.number
            hurt = trial.hurt(trial.fault.environment(at=at, when=when, process=PROCESS))
            assert hurt.code == -9 or trial.ended_sooner(), (trial.step, hurt.err)
            trial.again()
        trial.complete()


def test_a_recovery_that_is_killed_as_well_is_finished_by_the_next(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene]
) -> None:
    dice = random.Random(f"{SEED} recovery of an erasure")
    for trial in trials(tmp_path, vendor, scenes["erase"], PROCESS, "recovery"):
        for at in (trial.step.number, dice.randint(1, 40)):
            when = dice.choice(["before", "after"])
            trial.hurt(trial.fault.environment(at=at, when=when, process=PROCESS))
        trial.complete()
