"""A compaction is killed at every durable step, its recovery too, and readers count meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.scenes import SEED, Process, Scene, Trial, rows_by_date, trials
from tests.support.simulated import Simulator
from tests.support.watchers import Watchers

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7_200)]

PROCESS: Process = "compact_once"
LIFT: Process = "lift_once"


def kill(trial: Trial, when: str, at: int | None = None, careless: str = "") -> int:
    step = trial.step.number if at is None else at
    environment = trial.fault.environment(at=step, when=when, process=PROCESS)
    return trial.hurt({**environment, "CARELESS": careless}).code


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_durable_step_no_reader_counts_wrong_and_the_next_start_finishes(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], watchers: Watchers, when: str
) -> None:
    for trial in trials(tmp_path, vendor, scenes["compact"], PROCESS, when):
        with watchers.watching(rows_by_date(trial.harvest.out)):
            code = kill(trial, when)
            assert code == -9 or trial.ended_sooner(), trial.step
            trial.again()
        trial.complete()


def test_a_recovery_that_is_killed_as_well_is_finished_by_the_next(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], watchers: Watchers
) -> None:
    dice = random.Random(f"{SEED} recovery")
    for trial in trials(tmp_path, vendor, scenes["compact"], PROCESS, "recovery"):
        with watchers.watching(rows_by_date(trial.harvest.out)):
            kill(trial, dice.choice(["before", "after"]))
            kill(trial, dice.choice(["before", "after"]), at=dice.randint(1, 60))
            trial.again()
        trial.complete()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lift_that_is_killed_leaves_one_version_to_the_next_start(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], watchers: Watchers, when: str
) -> None:
    for trial in trials(tmp_path, vendor, scenes["lift"], LIFT, when):
        with watchers.watching(rows_by_date(trial.harvest.out)):
            environment = trial.fault.environment(at=trial.step.number, when=when, process=LIFT)
            assert trial.hurt(environment).code == -9 or trial.ended_sooner(), trial.step
            trial.again()
        trial.complete()


@pytest.mark.parametrize("careless", ["blind", "add_then_remove"])
def test_negative_control_a_careless_rewrite_is_found_out(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], careless: str
) -> None:
    for trial in trials(tmp_path, vendor, scenes["compact"], PROCESS, "after", only=None):
        if "cdr" not in trial.step.name:
            continue
        kill(trial, "after", careless=careless)
        try:
            if careless == "blind":
                kill(trial, "after", at=10**6, careless=careless)  # nothing kills its recovery
            trial.complete()
        except AssertionError as found:
            print(f"found out: {found}")
            return
    pytest.fail("nothing found it out, so these tests prove nothing")
