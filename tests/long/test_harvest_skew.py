"""Whole runs over sockets while a clock is wrong: the vendor's by its skew, ours by libfaketime."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harvester.simulator import make_ids
from harvester.state import between_runs, run_records, unresolved
from harvester.state.database import open_database
from harvester.storage.output import Output
from tests.support.harvesting import Ended, Harvest
from tests.support.simulated import ALL_RECORDS, END, Simulator

DAY = 86_400.0
COUNT = 120
PER_DAY = 80
_LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
IDS = list(make_ids(COUNT, 7, end=END))
ALL_OPEN = ALL_RECORDS.replace("open_forever=0", "open_forever=1")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(IDS) + "\n")
    return path


@pytest.fixture
def vendor() -> Iterator[Simulator]:
    """All of whose calls go on for ever."""
    with Simulator(rate_limit=0, fates=ALL_OPEN) as running:
        yield running


def ledger(harvest: Harvest) -> dict[str, Any]:
    """What the ledger holds that goes by the clock."""
    path = Output(harvest.out).database
    with closing(open_database(path, "default")) as db:
        return {
            "open": [call.voice_id for call in unresolved.all_open_calls(db)],
            "requests": between_runs.requests_by_day(db),
            "runs": [(run.id, run.counters.get("clock_skew_s")) for run in _runs(db)],
        }


def _runs(db: sqlite3.Connection) -> list[Any]:
    return run_records.last_runs(db, 100)


def day(ahead_s: float = 0.0) -> str:
    """Today on a clock at +08:00 that is so far ahead of the real one."""
    return (datetime.now(UTC) + timedelta(hours=8, seconds=ahead_s)).date().isoformat()


def wrong(out: Path, base_url: str, ahead: str, **flags: object) -> Harvest:
    """Runs on a machine whose clock is so many days ahead: "+30d"."""
    if not Path(_LIBRARY).exists():
        pytest.skip("libfaketime is not here (Debian: faketime), so our clock can't be set wrong")
    other = Harvest(out, base_url, **flags)
    moved = f"{int(float(ahead[:-1]) * DAY) + _moved_s():+}s"
    other.environment = {**os.environ, "LD_PRELOAD": _LIBRARY, "FAKETIME": moved}
    return other


def _moved_s() -> int:
    """By how much the clock of the tests themselves is moved (`make any-day`)."""
    return int(os.environ.get("FAKETIME", "+0s")[:-1])


def test_our_clock_30_days_ahead_for_one_night(
    tmp_path: Path, source: Path, vendor: Simulator
) -> None:
    """Open calls stay open and none is published, in that night and in the next."""
    harvest = Harvest(tmp_path / "out", vendor.base_url)
    ahead = wrong(harvest.out, vendor.base_url, "+30d")
    first = harvest.run(source)
    assert first.code == 0, first.err
    night = ahead.run(source)
    assert night.code == 0, night.err
    assert night.summary["ages_held"]
    assert abs(float(night.summary["clock_skew_s"]) + 30 * DAY) < 60
    assert "ages_held" in night.err
    # None was due by the vendor's clock; it was asked which time it is, with one id.
    assert night.summary["run"]["attempted"] == 1
    assert not night.summary["started_at"] > day(2 * DAY), "by the vendor's clock"
    after = harvest.run(source)
    assert after.code == 0, after.err
    assert harvest.rows() == []
    assert sorted(ledger(harvest)["open"]) == sorted(IDS)


@pytest.mark.parametrize("ahead", ["+30d", "-30d"])
def test_ids_that_died_while_our_clock_was_wrong_are_of_their_input_in_later_runs(
    tmp_path: Path, source: Path, ahead: str
) -> None:
    """They are counted by comparing when an id died with when its input was first listed."""
    with Simulator(rate_limit=0, fates=ALL_RECORDS.replace("param=0", "param=0.05")) as vendor:
        out, flags = tmp_path / "out", {"pace__concurrency": 1}
        night = wrong(out, vendor.base_url, ahead, **flags).run(source)
        assert night.code == 3, night.err
        dead = night.summary["input"]["dead_since_first_listed"]
        assert dead == night.summary["run"]["dead"] > 0
        assert night.summary["plan"]["seconds_taken"] < 60
        assert night.summary["started_at"] < night.summary["ended_at"]
        assert abs(_age_s(night.summary["input"]["first_listed_at"])) < 600
        after = Harvest(out, vendor.base_url, **flags).run(source)
        assert after.code == 0, "the night before has reported them"
        assert after.summary["input"]["dead_since_first_listed"] == dead


def _age_s(text: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


@pytest.mark.parametrize("ahead", ["+30d", "-30d", "+1d", "-1d"])
def test_per_day_is_not_given_again_by_our_clock(
    tmp_path: Path, source: Path, vendor: Simulator, ahead: str
) -> None:
    harvest = Harvest(tmp_path / "out", vendor.base_url, pace__per_day=PER_DAY)
    other = wrong(harvest.out, vendor.base_url, ahead, pace__per_day=PER_DAY)
    today = day()
    assert harvest.run(source).code == 8
    assert vendor.stats()["requests"] == PER_DAY
    for n, machine in enumerate((other, harvest, other), start=1):
        ended = machine.run(source)
        assert ended.code == 8, ended.err
        # At most the one request that learns the day.
        assert vendor.stats()["requests"] <= PER_DAY + n
    if today == day():
        assert ledger(harvest)["requests"][today] == vendor.stats()["requests"]


@pytest.mark.parametrize("ahead_s", [30 * DAY, -30 * DAY])
def test_a_vendors_clock_that_jumps_for_one_night_ends_no_id(
    tmp_path: Path, source: Path, vendor: Simulator, ahead_s: float
) -> None:
    flags: dict[str, object] = {"open_calls__delays_s": [0.05], "pace__per_day": 10_000}
    harvest = Harvest(tmp_path / "out", vendor.base_url, **flags)
    held: list[bool] = []
    for skew in (0.0, ahead_s, 0.0):
        vendor.post_faults(clock_skew_s=skew)
        ended = harvest.run(source)
        assert ended.code == 0, ended.err
        held.append(ended.summary["ages_held"])
        assert ended.summary["run"]["attempted"] == COUNT
        assert _requests(ended) <= COUNT + 2
    assert held == [False, True, True]
    assert harvest.rows() == []
    found = ledger(harvest)
    assert sorted(found["open"]) == sorted(IDS)
    # The requests of each night count for the day that the vendor had then.
    assert sum(found["requests"].values()) == vendor.stats()["requests"]
    assert len(found["requests"]) >= 2
    skews = [skew for _, skew in sorted(found["runs"])]
    assert [round(skew / DAY) for skew in skews] == [0, round(ahead_s / DAY), 0]


def _requests(ended: Ended) -> int:
    return int(ended.summary["requests"])
