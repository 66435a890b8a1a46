"""Ids that are younger than `input.min_age_s` wait for a later run with the same input."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harvester.vendor_clock import CLOCK
from tests.run.test_cli_commands import harvester
from tests.support.harvesting import Harvest
from tests.support.simulated import ALL_RECORDS, Simulator

OLD = 20


def dated(ago_s: float, count: int) -> list[str]:
    """Ids that date themselves so many seconds back."""
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return [f"{at.astimezone(CLOCK):%y%m%d%H%M%S}{n:07}" for n in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "ids.txt"
    path.write_text("\n".join([*dated(3_600, OLD), *dated(2, 5), *dated(-86_400 * 30, 1)]))
    return path


def test_young_ids_are_fetched_by_a_later_run_with_the_same_input(
    tmp_path: Path, source: Path
) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, input__min_age_s=8.0)
        began = time.monotonic()
        first = harvest.run(source)
        assert first.code == 0, first.err
        books = first.summary["input"]
        assert (books["distinct"], books["listed"], books["too_young"]) == (26, 21, 5)
        assert first.summary["differences"] == []
        assert len(harvest.ids()) == OLD
        assert first.summary["list"]["open"] == 1, "dated far ahead: that is no date"
        time.sleep(max(0.0, 8 - (time.monotonic() - began)))
        again = harvest.run(source)
        assert again.code == 0, again.err
        books = again.summary["input"]
        assert (books["resolved_before"], books["listed"], books["too_young"]) == (21, 5, 0)
        assert len(harvest.ids()) == OLD + 5
        assert harvest.run(source).summary["input"]["listed"] == 5, "the list in force is kept"
        assert sum(vendor.asks().values()) == 26
    deep = harvester("verify", "--deep", "--out", "out", cwd=tmp_path)
    assert deep.returncode == 0, deep.stdout


def test_a_plan_tells_them_too(tmp_path: Path, source: Path) -> None:
    (tmp_path / "harvester.toml").write_text("[input]\nmin_age_s = 600\n")
    words = ("plan", source, "--out", "out", "-c", "harvester.toml")
    found = json.loads(harvester(*words, "--json", cwd=tmp_path).stdout)
    assert (found["input"]["to_fetch"], found["input"]["too_young"]) == (21, 5)
    told = harvester(*words, cwd=tmp_path).stdout
    assert "too young" in told
