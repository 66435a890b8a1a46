"""Proof by crash: at every durable step, at any moment, and with the power cut.

One oracle for all: a reader never sees half a file or a row twice; after the same command has run
again, every id is in the data exactly once or dead for its true reason; and what was acknowledged
is not asked again.  CI runs a short form; `make crash` sets CRASH_POINTS and CRASH_KILLS higher.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harvester.simulator import Fates, make_ids
from harvester.simulator.calls import Fate, call_of
from tests.crash.faultfs import FaultFs, Step, chosen
from tests.harvesting import Ended, Harvest
from tests.simulated import Simulator

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7_200)]

POINTS = int(os.environ.get("CRASH_POINTS", "4"))
KILLS = int(os.environ.get("CRASH_KILLS", "12"))
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
FATES = "dead_param=0.05,open_then_final=0.1,open_forever=0,no_record=0,dead_empty=0,dead_range=0"
IDS = sorted(make_ids(240, 3, days=3))
FIRST, SECOND = IDS[:120], IDS[80:]
VENDOR_SEED = 5


@dataclass(frozen=True, slots=True)
class Scene:
    """An output as it is before the run that will be hurt, and that run."""

    name: str
    before: Path | None
    order: Mapping[str, object]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, seed=VENDOR_SEED, fates=FATES) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, vendor: Simulator) -> dict[str, Scene]:
    """The beginning; a night after an unfinished one; a retry of the dead."""
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "first.txt").write_text("\n".join(FIRST))
    (folder / "second.txt").write_text("\n".join(SECOND))
    unfinished = _harvest(folder / "unfinished", vendor, pace__per_day=70)
    assert unfinished.run(folder / "first.txt").code == 8
    finished = _harvest(folder / "finished", vendor)
    assert finished.run(folder / "first.txt").code == 3
    assert finished.run(folder / "second.txt").code == 3
    second = {"sources": [str(folder / "second.txt")]}
    return {
        "begin": Scene("begin", None, {"sources": [str(folder / "first.txt")]}),
        "go on": Scene("go on", unfinished.out, second),
        "retry": Scene("retry", finished.out, {"retry": True}),
    }


@pytest.mark.parametrize("name", ["begin", "go on", "retry"])
@pytest.mark.parametrize("process", ["harvest_once", "ids.child"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_durable_step_the_same_command_completes_the_harvest(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], name: str, process: str, when: str
) -> None:
    for fault, trial, step in _trials(tmp_path, vendor, scenes[name], process, f"{when} {name}"):
        trial.environment = fault.environment(at=step.number, when=when, process=process)
        hurt = trial.run(**_order(scenes[name]))
        assert hurt.code in (-9, 6) or _ended_sooner(fault, step), (step, hurt.err)
        _complete(trial, vendor, scenes[name], step)


@pytest.mark.parametrize("name", ["begin", "go on"])
def test_the_power_cut_at_any_durable_step_costs_nothing_that_was_acknowledged(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], name: str
) -> None:
    dice = random.Random(SEED)
    for fault, trial, step in _trials(tmp_path, vendor, scenes[name], "harvest_once", "power"):
        trial.environment = fault.environment(at=step.number, when="after", power=True)
        hurt = trial.run(**_order(scenes[name]))
        assert hurt.code == -9 or _ended_sooner(fault, step), (step, hurt.err)
        fault.cut_power(dice)
        _complete(trial, vendor, scenes[name], step)


@pytest.mark.parametrize("name", ["begin", "go on"])
def test_an_io_error_at_any_step_stops_the_run_or_not_and_loses_nothing(
    tmp_path: Path, vendor: Simulator, scenes: dict[str, Scene], name: str
) -> None:
    for fault, trial, step in _trials(tmp_path, vendor, scenes[name], "harvest_once", "eio"):
        trial.environment = fault.environment(at=step.number, when="eio")
        hurt = trial.run(**_order(scenes[name]))
        assert hurt.code in (0, 3, 6), (step, hurt.err)
        if hurt.code == 6:
            assert "error: " in hurt.err
            assert "Traceback" not in hurt.err, (step, hurt.err)
        _complete(trial, vendor, scenes[name], step)


def test_killed_at_random_times_nothing_is_lost_and_nothing_is_double(
    tmp_path: Path, vendor: Simulator
) -> None:
    dice = random.Random(SEED)
    print(f"SEED={SEED}")
    source = tmp_path / "ids.txt"
    ids = sorted(make_ids(400 * KILLS, 9, days=5))
    source.write_text("\n".join(ids))
    vendor.post_faults(forget=True)
    trial = _harvest(tmp_path / "out", vendor, pace__rate_per_s=600.0)
    for _ in range(KILLS):
        process = trial.start(source)
        time.sleep(dice.uniform(0.2, 3.5))
        process.kill()
        trial.ended(process)
        _look_as_a_reader(trial)
    _finish(trial, source)
    assert trial.ids() == _in_data(ids)


def _trials(
    tmp_path: Path, vendor: Simulator, scene: Scene, process: str, purpose: str
) -> Iterator[tuple[FaultFs, Harvest, Step]]:
    """Copies of the scene, one for each chosen step of its run."""
    print(f"SEED={SEED}")
    out = tmp_path / "out"
    fault = FaultFs(tmp_path / "fault", out)
    trial = _set_up(out, scene, vendor)
    trial.environment = fault.environment(process=process)
    whole = trial.run(**_order(scene))
    assert whole.code in (0, 3), whole.err
    steps = fault.steps()
    assert steps or scene.name == "retry"
    dice = random.Random(f"{SEED} {purpose} {process} {scene.name}")
    for step in chosen(steps, only=POINTS or None, dice=dice):
        yield fault, _set_up(out, scene, vendor), step


def _ended_sooner(fault: FaultFs, step: Step) -> bool:
    """Two runs take a few steps more or less (a batch, a status.json): this one took less."""
    return len(fault.steps()) < step.number


def _set_up(out: Path, scene: Scene, vendor: Simulator) -> Harvest:
    shutil.rmtree(out, ignore_errors=True)
    if scene.before is not None:
        shutil.copytree(scene.before, out)
    vendor.post_faults(forget=True)
    return _harvest(out, vendor)


def _harvest(out: Path, vendor: Simulator, **flags: object) -> Harvest:
    return Harvest(
        out, vendor.base_url, output__publish_records=40, open_calls__delays_s=[0.01], **flags
    )


def _order(scene: Scene) -> dict[str, object]:
    return dict(scene.order)


def _complete(trial: Harvest, vendor: Simulator, scene: Scene, step: Step) -> None:
    """A reader looks, then the same command runs again, and the oracle judges."""
    trial.environment = None
    _look_as_a_reader(trial)
    asked_before = vendor.stats()["requests"]
    done = trial.run(**_order(scene))
    assert done.code in (0, 3), (step, done.err)
    # Retry chooses the dead anew; the others ask what is left.
    assert vendor.stats()["requests"] - asked_before <= len(IDS), step
    for _ in range(3):
        done = trial.run()
        assert done.code in (0, 3), (step, done.err)
        if not done.summary["run"]["attempted"]:
            break
    expected = FIRST if scene.name == "begin" else IDS
    assert trial.ids() == _in_data(expected), step


def _finish(trial: Harvest, source: Path) -> Ended:
    for _ in range(4):
        done = trial.run(source)
        assert done.code in (0, 3), done.err
        if not done.summary["run"]["attempted"]:
            return done
    raise AssertionError("the harvest never came to an end")


def _look_as_a_reader(trial: Harvest) -> None:
    ids: list[str] = []
    for path in trial.out.glob("cdr/**/*"):
        if path.is_file():
            ids += pq.ParquetFile(path).read(["voice_id"])["voice_id"].to_pylist()
    assert len(ids) == len(set(ids)), "a reader saw a row twice"


def _in_data(ids: list[str]) -> list[str]:
    shares = {name: float(share) for name, share in (f.split("=") for f in FATES.split(","))}
    fates = Fates(**shares)
    return [i for i in ids if call_of(VENDOR_SEED, i, fates).fate is not Fate.DEAD_PARAM]
