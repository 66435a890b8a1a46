"""Calls that are over before they are rated, from the first fetch to the data."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harvester.simulator import make_ids
from harvester.simulator.calls import call_of
from tests.run.test_cli_commands import harvester
from tests.support.harvesting import Ended, Harvest
from tests.support.outputs import look
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = sorted(make_ids(300, 11, end=END))
SEED = 1
ANSWERED = {one for one in IDS if call_of(SEED, one).answer_time}
"""Somebody talked: these can be unrated."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(IDS))
    return path


def vendor_of(billing: str, **more: object) -> Simulator:
    return Simulator(
        rate_limit=0, fates=ALL_RECORDS, billing=billing, seed=SEED, drift=False, **more
    )


def impatient(folder: Path, vendor: Simulator, *, unrated_max_age_s: float) -> Harvest:
    """What is open is due at once, and no price is waited for longer."""
    return Harvest(
        folder / "out",
        vendor.base_url,
        open_calls__delays_s=[0.1],
        open_calls__unrated_max_age_s=unrated_max_age_s,
    )


def command(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return harvester(*words, "--out", out, cwd=out.parent)


def status(out: Path) -> dict[str, Any]:
    done = command(out, "status", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def again(harvest: Harvest) -> Ended:
    """Another night: whatever is open is due."""
    time.sleep(0.2)
    ended = harvest.run()
    assert ended.code == 0, ended.err
    return ended


def is_clean(out: Path) -> None:
    deep = command(out, "verify", "--deep")
    assert deep.returncode == 0, deep.stdout


def flags_of(harvest: Harvest) -> Counter[tuple[bool, bool]]:
    return Counter((row["is_final"], row["is_rated"]) for row in harvest.rows())


def test_calls_that_are_rated_later_are_delivered_with_their_price(
    tmp_path: Path, source: Path
) -> None:
    with vendor_of("late=1:2x") as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, open_calls__delays_s=[0.1])
        first = harvest.run(source)
        assert first.code == 0, first.err
        assert first.summary["list"]["open"] == len(ANSWERED)
        assert first.summary["open_unrated"] == len(ANSWERED)
        assert first.summary["run"]["unrated"] == 0
        found = status(harvest.out)
        assert (found["open"], found["open_unrated"]) == (len(ANSWERED), len(ANSWERED))
        is_clean(harvest.out)
        (delivered,) = [{row["voice_id"] for row in harvest.rows()}]
        assert delivered == set(IDS) - ANSWERED, "what is unrated is not in the data"
        again(harvest)
        assert status(harvest.out)["open_unrated"] == len(ANSWERED), "the second is unrated too"
        last = again(harvest)
    assert last.summary["run"]["delivered"] == len(ANSWERED)
    assert flags_of(harvest) == {(True, True): len(IDS)}
    found = status(harvest.out)
    assert (found["open_unrated"], found["delivered_unrated"]) == (0, 0)
    is_clean(harvest.out)
    costs = {one: call_of(SEED, one).cost for one in IDS}
    assert {row["voice_id"]: row["cost"] for row in harvest.rows()} == costs


def test_calls_that_stay_unrated_are_delivered_as_such_when_their_time_is_over(
    tmp_path: Path, source: Path
) -> None:
    with vendor_of("late=1:1000x") as vendor:
        harvest = impatient(tmp_path, vendor, unrated_max_age_s=2.0)
        assert harvest.run(source).code == 0
        time.sleep(2)
        last = again(harvest)
    assert last.summary["run"]["unrated"] == last.summary["run"]["delivered"] == len(ANSWERED)
    assert last.summary["open_unrated"] == 0
    rated = len(IDS) - len(ANSWERED)
    assert flags_of(harvest) == {(True, True): rated, (True, False): len(ANSWERED)}
    assert {row["voice_id"] for row in harvest.rows() if not row["is_rated"]} == ANSWERED
    found = status(harvest.out)
    assert (found["open"], found["delivered_unrated"]) == (0, len(ANSWERED))
    is_clean(harvest.out)
    report = json.loads(command(harvest.out, "report", "--json").stdout)
    assert report["total"]["unrated"] == len(ANSWERED)
    assert report["unfinished"]["delivered_unrated"] == len(ANSWERED)

    rebuilt = command(harvest.out, "rebuild", "--force")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert status(harvest.out)["delivered_unrated"] == len(ANSWERED)
    is_clean(harvest.out)


def test_calls_that_the_vendor_forgot_are_delivered_as_they_were_last(
    tmp_path: Path, source: Path
) -> None:
    with vendor_of("late=1:1000x") as vendor:
        harvest = impatient(tmp_path, vendor, unrated_max_age_s=12.0)
        first = harvest.run(source)
        assert first.code == 0, first.err
        port = vendor.port
    began = time.monotonic()
    with vendor_of("late=1:1000x", port=port, keep_days=0):
        said = again(harvest)
        assert said.summary["run"]["open"] == len(ANSWERED), "a no alone ends nothing"
        assert status(harvest.out)["open_unrated"] == len(ANSWERED)
        time.sleep(max(0.0, 12.5 - (time.monotonic() - began)))
        last = again(harvest)
    assert last.summary["run"]["dead"] == 0
    assert last.summary["run"]["unrated"] == last.summary["run"]["delivered"] == len(ANSWERED)
    forgotten = [row for row in harvest.rows() if not row["is_rated"]]
    assert {row["voice_id"] for row in forgotten} == ANSWERED
    ended = datetime.fromisoformat(first.summary["ended_at"])
    assert all(row["is_final"] and row["fetched_at"] <= ended for row in forgotten)
    is_clean(harvest.out)


def test_free_destinations_have_their_price(tmp_path: Path, source: Path) -> None:
    with vendor_of("late=1:1000x") as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, open_calls__free_destinations=["*"])
        ended = harvest.run(source)
    assert ended.code == 0, ended.err
    assert ended.summary["list"]["delivered"] == len(IDS)
    assert flags_of(harvest) == {(True, True): len(IDS)}
    assert look(harvest.out, "SELECT count(*) FROM open_call") == [(0,)]
