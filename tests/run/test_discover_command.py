"""`harvester discover`: what it refuses, what it writes, and what a killed one is counted for."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harvester.pipeline.limits.daily_quota import day_of
from harvester.pipeline.listing.days import most_unrecorded
from harvester.pipeline.run.recovery import open_output
from harvester.state import between_runs, listings
from harvester.state.database import open_database
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.discovering import day
from tests.support.fakes import ACCOUNT, config_of
from tests.support.simulated import Simulator

NOVEMBER = ("--month", "2026-11")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), "usage.date"),
        (("--from", "2026-11-01"), "usage.date"),
        (("--due", *NOVEMBER), "usage.conflict"),
        ((*NOVEMBER, "--from", "2026-11-01"), "usage.date"),
        ((*NOVEMBER, "-o", "calls"), "usage.target"),
        ((*NOVEMBER, "-o", "out/state/calls.txt"), "usage.target"),
        ((*NOVEMBER, "-q", "-v"), "usage.conflict"),
        (("--from", "2021-11-01", "--to", "2021-11-02"), "usage.date"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: tuple[str, ...], code: str) -> None:
    url = ("--base-url", "http://127.0.0.1:9/voice")
    done = harvester("discover", *words, "--out", "out", "--json", *url, cwd=tmp_path, env=KEYS)
    assert done.returncode == 2
    assert json.loads(done.stderr.splitlines()[-1])["code"] == code


def test_without_key_nothing_is_sent(tmp_path: Path) -> None:
    done = harvester("discover", *NOVEMBER, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert not (tmp_path / "out").exists()


def test_calls_are_written_in_the_form_of_the_ending(tmp_path: Path) -> None:
    with Simulator(rate_limit=0, listed="calls=150") as vendor:
        words = ("discover", "--from", day(), "--to", day(), "--out", "out", "--rate", 500, "-q")
        url = ("--base-url", vendor.base_url)
        for form in ("txt", "csv", "jsonl", "parquet"):
            done = harvester(*words, *url, "-o", f"calls.{form}", cwd=tmp_path, env=KEYS)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        ids = (tmp_path / "calls.txt").read_text().split()
        assert sorted(ids) == vendor.listed()["ids"]
    rows = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [row["voice_id"] for row in rows] == ids
    assert pq.read_table(tmp_path / "calls.parquet")["voice_id"].to_pylist() == ids
    assert len((tmp_path / "calls.csv").read_text().splitlines()) == len(ids) + 1
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("calls.*")} == {0o600}


def test_what_a_killed_listing_may_have_sent_counts_for_the_day(tmp_path: Path) -> None:
    config = config_of(tmp_path, pace__concurrency=3)
    with open_output(config):
        pass
    with closing(open_database(tmp_path / "state" / "state.db", ACCOUNT)) as db:
        listings.begin(db, (1_000, 2_000), 9)
        listings.keep(db, 1, (), None, requests=7, requests_of_day=("2026-11-01", 7))
    for _ in range(2):  # once, however often it is opened
        with open_output(config) as opened:
            counts = between_runs.requests_by_day(opened.db)
        assert counts["2026-11-01"] == 7 + most_unrecorded(3)
        assert counts[day_of(time.time())] == most_unrecorded(3)
