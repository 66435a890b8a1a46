"""What `plan` says of the disk is within half and twice of what a harvest writes."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from harvester.answers.answer import Answer
from harvester.config import Config
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.pipeline.run.estimate import estimate
from harvester.simulator import Fates, SimulatorOptions, make_ids, write_ids
from harvester.simulator.records import Records
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.datasets import write
from tests.support.simulated import END, Simulator

ALL_RECORDS = Fates(0, 0, 0, 0, 0, 0)
FETCHED_MS = 1_790_000_000_000
RUN_ID = "20261122T010000Z-abcdef"


def size(folder: Path, pattern: str = "*") -> int:
    return sum(file.stat().st_size for file in folder.rglob(pattern) if file.is_file())


def agrees(told: int, written: int) -> bool:
    return written / 2 <= told <= written * 2


@pytest.mark.parametrize("count", [1_000, 5_000])
def test_a_plan_agrees_with_the_run_that_follows(tmp_path: Path, count: int) -> None:
    write_ids(tmp_path / "ids.txt", count, end=END, days=7)
    shares = "dead_param=0,dead_empty=0,dead_range=0,open_then_final=0,open_forever=0,no_record=0"
    words = ("ids.txt", "--out", "out")
    planned = json.loads(harvester("plan", *words, "--json", cwd=tmp_path).stdout)
    with Simulator(rate_limit=0, fates=shares) as vendor:
        more = ("--base-url", vendor.base_url, "--rate", 2_000, "-q")
        done = harvester("run", *words, *more, cwd=tmp_path, env=KEYS)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    data = size(out / "cdr", "*.parquet")
    assert agrees(planned["data_bytes"], data)
    # What the journal held stays as the size of the database; the parts were staged beside it.
    assert agrees(planned["working_bytes"], size(out / "state") + data)


@pytest.mark.parametrize(("count", "days"), [(1_000, 1), (20_000, 1), (20_000, 7), (20_000, 45)])
def test_the_measured_sizes_are_what_our_writer_makes(
    tmp_path: Path, count: int, days: int
) -> None:
    vendor = Records(SimulatorOptions(fates=ALL_RECORDS))
    answers = [
        Answer(one, vendor.answer(one, 0.0).body, FETCHED_MS, RUN_ID, is_final=True)
        for one in make_ids(count, end=date(2026, 11, 20), days=days)
    ]
    write(tmp_path / "out", [normalize(answers, "default", GROUP_RECORD).table])
    told = estimate(None, Config().pace, Config().output, count, count).data_bytes
    assert agrees(told, size(tmp_path / "out" / "cdr", "*.parquet"))
