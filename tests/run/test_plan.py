"""`harvester plan`: bad lines and where, old ids, budgets; the same of a draft and of a list."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from harvester.config import Config
from harvester.operations.plan import survey
from harvester.pipeline.limits.daily_quota import day_of
from harvester.pipeline.run.estimate import estimate
from harvester.state.acknowledge import acknowledge
from harvester.state.between_runs import keep_requests_of_day
from harvester.state.database import open_database, set_meta
from harvester.state.run_records import begin_run, end_run
from harvester.state.values import Batch, InputRecord, OpenCall, WorkList
from harvester.state.work_lists import replace_list
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.fakes import House
from tests.support.simulated import Simulator

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
    counts = ["input", "bad", "duplicate", "distinct", "resolved", "new", "carried over", "open"]
    costs = ["to fetch", "too old", "requests", "time", "limits", "ends", "disk"]
    assert labels[1:-1] == [*counts, *costs]
    assert "23 ids still pending" in "\n".join(told)


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
    assert (books["to_fetch"], books["requests_planned"]) == (43, 43)
    assert books["requests_sent"] == 10
    before = plan(folder)["input"]
    assert before["known"]
    # No line is read again, and yet it says which are bad.
    (run_id,) = (path.name for path in (folder / "out" / "runs").glob("2*"))
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
    assert "which is gone" in told
    # The list is sorted: the ids of 2020 were asked first.
    assert found["too_old"] == 0
    assert found["to_fetch"] + books["fetched"] >= 43
    (folder / "c.txt").write_text("2002021200000000001\n4902021200000000001")
    more = harvester("plan", "c.txt", "--out", "out", "--json", cwd=folder).stdout
    assert (json.loads(more)["too_old"], json.loads(more)["input"]["to_fetch"]) == (1, 2)


def test_retries_are_expected_as_they_were_also_after_a_run_that_was_cut_short(
    tmp_path: Path,
) -> None:
    # 64 ids were begun and cut off before they were asked; then a run was refused at once.
    counters = {"begun": 864, "requests": 840, "delivered": 800, "cut_off": 64, "retry.-18": 40}
    with closing(open_database(tmp_path / "state.db", "default")) as db:
        begin_run(db, "20261122T011000Z-5eed00", 1)
        end_run(db, "20261122T011000Z-5eed00", 2, 8, counters)
        assert estimate(db, Config().pace, Config().output, 1_000, 1_000).requests == 1_050
        begin_run(db, "20261123T011000Z-5eed00", 3)
        end_run(db, "20261123T011000Z-5eed00", 4, 4, {"requests": 30, "retry.refused": 30})
        assert estimate(db, Config().pace, Config().output, 1_000, 1_000).requests == 1_050


LISTED = [f"49{number:02}011200000000001" for number in range(1, 11)]
LEFT_OVER = [f"20{number:02}011200000000001" for number in range(1, 5)]


@pytest.fixture
def begun(tmp_path: Path) -> Config:
    """An output in the middle of a list: of the input's 10 ids 8 are pending, of 4 others 3."""
    with closing(House(tmp_path / "out", [*LISTED, *LEFT_OVER])) as house:
        begin_run(house.db, "run-1", 900)
        work_list = WorkList(9, "key", house.work_list.path, None, 9, 1, 4)
        record = InputRecord("key", 20, 1, 2, 17, 7, 10, 1_000)
        replace_list(house.db, work_list, input_record=record)
        due = OpenCall("open", 5, 1, 1, "run-1")
        later = OpenCall("later", 10**14, 1, 1, "run-1")
        acknowledge(
            house.db,
            "run-1",
            Batch(resolved_rows={0: [0, 4, 12]}, list_delivered=3, open_calls=[due, later]),
            work_list=work_list,
            counters={},
            requests_of_day=("", 0),
        )
        # Whichever day of the vendor's it is when this is looked at.
        for day in {day_of(time.time()), day_of(time.time() + 3600)}:
            keep_requests_of_day(house.db, (day, 5))
        begin_run(house.db, "run-2", 2_000)
        return structs.replace(
            house.config, pace=structs.replace(house.config.pace, rate_per_s=2.0, per_day=9)
        )


def test_what_the_list_in_force_has_left_is_counted(begun: Config) -> None:
    found, sample = survey(begun, [])
    assert found.input is not None
    counts = found.input
    assert (counts.lines, counts.bad, counts.duplicate, counts.distinct) == (20, 1, 2, 17)
    assert (counts.to_fetch, counts.resolved) == (8, 9)
    assert (counts.known, counts.listed_by) == (True, "run-1")
    assert (found.carried_over, found.open, found.open_due) == (3, 2, 1)
    assert (found.to_fetch, found.requests) == (12, 12)
    assert sample == LISTED[-1], "the youngest of the input"
    # All but those of 2020 are to come.
    assert (found.too_old, found.oldest[0].voice_id) == (3, LEFT_OVER[0])
    assert (found.per_day, found.first_run_requests, found.left_after) == (9, 4, 8)
    assert (found.seconds, found.runs) == (6, 2)
    assert 86_400 <= found.ends_at - time.time() + 60 <= 86_400 + 120


def test_with_the_input_only_what_earlier_ones_left_over_is_not_counted(begun: Config) -> None:
    found, sample = survey(begun, [], only=True)
    assert (found.to_fetch, found.carried_over, found.too_old) == (9, 3, 0)
    assert sample == LISTED[-1]


def test_without_the_input_all_that_is_left_is_carried_over(begun: Config) -> None:
    with closing(open_database(Path(begun.output.dir) / "state/state.db", "acme")) as db:
        db.execute("DELETE FROM input")
    found, _ = survey(begun, [])
    assert (found.input, found.carried_over, found.to_fetch) == (None, 11, 12)


@pytest.mark.parametrize(("skew_s", "left"), [("0.0", 5), ("172800.0", 2)])
def test_what_was_sent_counts_on_the_day_that_it_is_at_the_vendor(
    tmp_path: Path, skew_s: str, left: int
) -> None:
    """Ours may be another one: that is where its three requests stand."""
    house = House(tmp_path / "out", NEW[:10], pace__per_day=5)
    with closing(house):
        now = time.time() + 172_800
        for day in sorted({day_of(now), day_of(now + 60)}):
            keep_requests_of_day(house.db, (day, 3))
        set_meta(house.db, "clock_skew_s", skew_s)
        house.close()
        assert survey(house.config, ())[0].first_run_requests == left
