"""`harvester plan`: bad lines and where, old ids, budgets; the same of a draft and of a list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harvester.config import Config
from harvester.harvest.estimate import estimate
from harvester.ledger.database import open_database
from harvester.ledger.records import begin_run, end_run
from tests.run.test_cli_commands import KEYS, harvester
from tests.simulated import Simulator

OLD = ["2001021200000000001", "2003041200000000002", "12002031200000000003"]
NEW = [f"49010212000000{n:05d}" for n in range(40)]
"""Dated in 2049: whenever this test runs, none of these is old."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("\n".join([*NEW, *OLD, "no id", "-" * 65]))
    (tmp_path / "b.txt").write_text("\n".join(["?", *OLD, *NEW[:5], ""]))
    return tmp_path


def plan(folder: Path, *words: object) -> dict[str, Any]:
    done = harvester("plan", "a.txt", "b.txt", *words, "--out", "out", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_bad_lines_are_told_by_reason_and_by_file(folder: Path) -> None:
    found = plan(folder)["input"]
    assert (found["bad"], found["duplicate"], found["distinct"]) == (3, 8, 43)
    assert found["bad_by_reason"] == {"forbidden_character": 2, "too_long": 1}
    assert [(Path(file).name, bad) for file, bad in found["bad_by_file"].items()] == [
        ("a.txt", 2),
        ("b.txt", 1),
    ]


def test_ids_that_the_vendor_may_have_forgotten_are_told_oldest_first(folder: Path) -> None:
    found = plan(folder)
    assert found["too_old"] == 3
    assert [one["voice_id"] for one in found["oldest"]] == [OLD[0], OLD[2], OLD[1]]
    assert found["oldest"][0]["at"] == "2020-01-02T12:00:00+08:00"


def test_budgets_say_what_one_run_leaves_over(folder: Path) -> None:
    found = plan(folder, "--rate", 2, "--max-duration", "10s")
    assert (found["first_run_requests"], found["left_after"], found["runs"]) == (20, 23, 3)
    assert plan(folder)["left_after"] == 0


def test_screen_is_a_table_of_one_page(folder: Path) -> None:
    words = ["plan", "a.txt", "b.txt", "--rate", 2, "--max-duration", "10s"]
    told = harvester(*words, cwd=folder).stdout.splitlines()
    assert len(told) <= 30
    labels = [line.split("  ")[0] for line in told if line and not line.startswith(" ")]
    counts = ["input", "bad", "duplicate", "distinct", "settled", "new", "left over", "open"]
    costs = ["to ask", "too old", "requests", "time", "budget", "ends", "disk"]
    assert labels[1:-1] == [*counts, *costs]
    assert "23 ids left over" in "\n".join(told)


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, drift=False) as up:
        yield up


def test_list_in_force_is_looked_at_as_a_draft_is_and_the_summary_has_the_plan(
    folder: Path, vendor: Simulator
) -> None:
    words = ("run", "a.txt", "b.txt", "--out", "out", "--rate", 1000, "--base-url", vendor.base_url)
    env = {**KEYS, "HARVESTER_PACE__PER_DAY": "10", "HARVESTER_PACE__CONCURRENCY": "1"}
    drafted = plan(folder)["input"]
    done = harvester(*words, "--json", cwd=folder, env=env)
    assert done.returncode == 8, done.stderr
    books = json.loads(done.stdout.splitlines()[-1])["plan"]
    assert (books["to_ask"], books["requests_planned"]) == (43, 43)
    assert books["requests_sent"] == 10
    before = plan(folder)["input"]
    assert before["known"]
    # No line is read again, and yet it says which are bad.
    (run_id,) = (path.name for path in (folder / "out" / "runs").iterdir())
    assert before["listed_by"] == run_id
    assert {name: before[name] for name in ("bad_by_reason", "bad_by_file", "bad_examples")} == {
        name: drafted[name] for name in ("bad_by_reason", "bad_by_file", "bad_examples")
    }
    assert before["bad_examples"]
    (folder / "out" / "runs" / run_id / "bad_ids.jsonl").unlink()
    found = plan(folder)
    assert found["input"]["bad"] == drafted["bad"]
    assert found["input"]["bad_examples"] == []
    told = harvester("plan", "a.txt", "b.txt", "--out", "out", cwd=folder).stdout
    assert "it is gone" in told
    # The list is sorted: the ids of 2020 were asked first.
    assert found["too_old"] == 0
    assert found["to_ask"] + books["asked"] >= 43
    (folder / "c.txt").write_text("2002021200000000001\n4902021200000000001")
    more = harvester("plan", "c.txt", "--out", "out", "--json", cwd=folder).stdout
    assert (json.loads(more)["too_old"], json.loads(more)["input"]["to_ask"]) == (1, 2)


def test_retries_are_expected_as_they_were_also_after_a_run_that_was_cut_short(
    tmp_path: Path,
) -> None:
    # 64 ids were begun and cut off before they were asked; then a run was refused at once.
    counters = {"begun": 864, "requests": 840, "delivered": 800, "cut_off": 64, "retry.-18": 40}
    with closing(open_database(tmp_path / "state.db", "default")) as db:
        begin_run(db, "20261122T011000Z-5eed00", 1)
        end_run(db, "20261122T011000Z-5eed00", 2, 8, counters)
        assert estimate(db, Config(), 1_000, 1_000).requests == 1_050
        begin_run(db, "20261123T011000Z-5eed00", 3)
        end_run(db, "20261123T011000Z-5eed00", 4, 4, {"requests": 30, "retry.refused": 30})
        assert estimate(db, Config(), 1_000, 1_000).requests == 1_050
