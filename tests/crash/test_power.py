"""The power cut: what was not synced is gone, and nothing that was acknowledged.

Made by a library of our own, not by LazyFS: its sources can't be had where this was written, and it
can't lose names.  The negative controls let the code forget a kind of sync; each must be found out.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pyarrow import ArrowInvalid

from tests.crash.scenes import SEED, Process, Scene, Trial, careless_trials, trials
from tests.support.simulated import Simulator

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7_200)]


@pytest.mark.parametrize(
    ("name", "process"),
    [
        ("begin", "harvest_once"),
        ("begin", "worklist.build_child"),
        ("go on", "harvest_once"),
        ("refetch dead", "harvest_once"),
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
def test_the_power_cut_at_any_durable_step_costs_nothing_that_was_acknowledged(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], name: str, process: Process
) -> None:
    dice = random.Random(f"{SEED} power {name}")
    for trial in trials(tmp_path, vendor, scenes[name], process, "power"):
        _cut(trial, process, dice)
        trial.complete()


@pytest.mark.parametrize(
    ("name", "forgotten", "shows_as"),
    [
        pytest.param(
            "begin", "state.db-wal", "is not in the state database", id="the ledger's log"
        ),
        pytest.param("begin", "/staging/", "Parquet", id="the files of the data set"),
        pytest.param("begin", "/cdr", "is missing", id="the folders of the data set"),
        pytest.param("refetch", "/changes", "is missing", id="the folders of changes"),
    ],
)
def test_negative_control_a_forgotten_sync_is_found_out_by_the_power_cut(
    tmp_path: Path,
    vendor: Simulator,
    scenes: dict[str, Scene],
    name: str,
    forgotten: str,
    shows_as: str,
) -> None:
    """The first is what synchronous=NORMAL would do."""
    dice = random.Random(f"{SEED} control {forgotten}")
    for trial in careless_trials(tmp_path, vendor, scenes[name], forgotten):
        _cut(trial, "harvest_once", dice, forget=forgotten)
        try:
            trial.complete()
        except (AssertionError, ArrowInvalid) as found:
            print(f"found out: {found}")
            if shows_as in str(found):
                return
    pytest.fail("no power cut found it out, so these tests prove nothing")


def test_negative_control_a_compaction_without_syncs_of_the_folders_is_found_out(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene]
) -> None:
    dice = random.Random(f"{SEED} control compact")
    scene: Scene = scenes["compact"]
    process: Process = "compact_once"
    for trial in careless_trials(tmp_path, vendor, scene, "/cdr", process):
        _cut(trial, process, dice, forget="/cdr")
        try:
            trial.complete()
        except AssertionError as found:
            print(f"found out: {found}")
            if "is not in the state database" in str(found):
                return
    pytest.fail("no power cut found it out, so these tests prove nothing")


def _cut(trial: Trial, process: Process, dice: random.Random, *, forget: str | None = None) -> None:
    environment = trial.fault.environment(
        at=trial.step.number, when="after", process=process, power=True, forget=forget
    )
    hurt = trial.hurt(environment)
    # A run whose list-maker loses its power is over with it: here only that process dies.
    assert hurt.code in (-9, 6) or trial.ended_sooner(), (trial.step, hurt.err)
    trial.fault.cut_power(dice)


def test_the_power_cut_on_lazyfs() -> None:
    pytest.skip(
        "SKIPPED ALOUD: LazyFS can't be installed by name; the library of faultfs.c stands "
        "in for it (docs/reliability.md says what each of the two can't see)"
    )
