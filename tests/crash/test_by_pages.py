"""Killed at every durable step of a run by pages: honest ones, and one that finds out a lie."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.crash.faultfs import FaultFs, chosen
from tests.crash.scenes import POINTS, SEED, counted, damage_of, look_as_a_reader
from tests.long.test_by_pages import compared, ids_of, taken_and_killed, vendor_of
from tests.support.harvesting import Ended, Harvest

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7_200)]
WAY = {"seed": 7}
_CALLS = 1500


def current_costs(out: Path) -> dict[str, object]:
    """What each call costs, as its newest change has it."""
    costs: dict[str, object] = {}
    for path in out.glob("cdr/*/*.parquet"):
        rows = pq.ParquetFile(path).read(["voice_id", "cost"]).to_pylist()
        costs |= {row["voice_id"]: row["cost"] for row in rows}
    changes = [
        row
        for path in out.glob("changes/*/*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    for row in sorted(changes, key=lambda row: row["publication"]):
        costs[row["voice_id"]] = row["new"]["cost"]
    return costs


def harvest_of(out: Path, base_url: str) -> Harvest:
    return Harvest(out, base_url, output__publish_records=300)


def kill_at_steps(
    tmp_path: Path, before: Path, base_url: str, source: Path, when: str
) -> list[tuple[Harvest, Ended]]:
    """The run hurt at some of its steps, each time on a copy of `before`, and run again."""
    out, ended = tmp_path / "out", []
    fault = FaultFs(tmp_path / "fault", out)
    shutil.copytree(before, out)
    whole = harvest_of(out, base_url)
    whole.environment = fault.environment()
    done = whole.run(source, by_pages=WAY)
    assert done.code in (0, 3, 5), done.err
    steps = fault.steps()
    dice = random.Random(f"{SEED} by pages {when} {before.name}")
    found = chosen(steps, only=POINTS, dice=dice)
    with counted(f"by pages, {when}: {len(found)} of {len(steps)} steps"):
        for step in found:
            copy = tmp_path / f"out-{step.number}"
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(before, out)
            harvest = harvest_of(out, base_url)
            harvest.environment = fault.environment(at=step.number, when=when)
            hurt = harvest.run(source, by_pages=WAY)
            assert hurt.code in (-9, 6) or len(fault.steps()) < step.number, (step, hurt.err)
            look_as_a_reader(harvest)
            harvest.environment = None
            again = harvest.run(source, by_pages=WAY)
            shutil.copytree(out, copy)
            ended.append((harvest_of(copy, base_url), again))
    return ended


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_durable_step_the_same_command_completes_it(
    tmp_path: Path, when: str
) -> None:
    source = tmp_path / "ids.txt"
    with vendor_of(f"calls={_CALLS}", drift=False, seed=5) as vendor:
        ids_of(source, _CALLS, 5)
        compared(tmp_path / "before", vendor)
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        hurt = kill_at_steps(tmp_path, tmp_path / "before", vendor.base_url, source, when)
        for harvest, again in hurt:
            assert again.code in (0, 3), again.err
            assert harvest.ids() == single.ids()
            assert current_costs(harvest.out) == current_costs(single.out)
            assert damage_of(harvest.out) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_a_lie_is_found_out_nothing_of_it_stays(tmp_path: Path, when: str) -> None:
    source = tmp_path / "ids.txt"
    taken, port = taken_and_killed(tmp_path, source)
    with vendor_of("calls=4000,lies=2", drift=False, seed=3, port=port) as vendor:
        single = Harvest(tmp_path / "single", vendor.base_url)
        single.run(source)
        hurt = kill_at_steps(tmp_path, taken.out, vendor.base_url, source, when)
        for harvest, again in hurt:
            assert again.code in (0, 2, 3, 5), again.err
            for _ in range(2):
                last = harvest.run(source)
            assert last.code in (0, 3), last.err
            assert harvest.ids() == single.ids()
            assert current_costs(harvest.out) == current_costs(single.out)
            assert damage_of(harvest.out) == []
