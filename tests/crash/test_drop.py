"""A drop is killed at every durable step, its recovery too: dates leave whole, or not at all."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harvester.dataset.packing import NO_DATE
from harvester.storage import dropped
from tests.crash.scenes import SEED, Process, Scene, Trial, rows_by_date, trials
from tests.support.drop_once import last_date
from tests.support.simulated import Simulator
from tests.support.watchers import Watchers

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7_200)]

PROCESS: Process = "drop_once"


def kill(trial: Trial, when: str, at: int | None = None) -> int:
    step = trial.step.number if at is None else at
    return trial.hurt(trial.fault.environment(at=step, when=when, process=PROCESS)).code


def complete(trial: Trial) -> None:
    trial.complete()
    out = trial.harvest.out
    stay = {f"submit_date={last_date(out)}", f"submit_date={NO_DATE}"}
    assert {path.name for path in out.glob("cdr/*")} == stay
    (left,) = dropped.read(out / "dropped")
    (file,) = dropped.files(out / "dropped")
    ids = trial.harvest.ids()
    gone = pq.read_table(file)["voice_id"].to_pylist()
    assert len(set(gone)) == len(gone) == left.rows
    assert not set(gone) & set(ids)
    archived = (out.parent / "kept").glob("submit_date=*/*")
    assert sum(pq.read_metadata(path).num_rows for path in archived) == left.rows


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_durable_step_the_next_start_finishes_or_forgets_it(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], watchers: Watchers, when: str
) -> None:
    for trial in trials(tmp_path, vendor, scenes["drop"], PROCESS, when):
        rows, stays = rows_by_date(trial.harvest.out), {last_date(trial.harvest.out), NO_DATE}
        with watchers.watching(rows, leaving=rows.keys() - stays):
            code = kill(trial, when)
            assert code == -9 or trial.ended_sooner(), trial.step
            trial.again()
        complete(trial)


def test_a_recovery_that_is_killed_as_well_is_finished_by_the_next(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene]
) -> None:
    dice = random.Random(f"{SEED} recovery")
    for trial in trials(tmp_path, vendor, scenes["drop"], PROCESS, "recovery"):
        kill(trial, dice.choice(["before", "after"]))
        kill(trial, dice.choice(["before", "after"]), at=dice.randint(1, 60))
        complete(trial)
