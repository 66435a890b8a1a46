"""What a run leaves in its folder and says on its way: each figure the right one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harvester.config import load
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.requests import RunRequest
from harvester.pipeline.run.run import Result, run
from harvester.simulator import make_ids
from harvester.state import run_records
from harvester.state.database import open_database
from harvester.storage.output import Output
from tests.run.test_in_place import SECRETS
from tests.support.harvesting import FAST
from tests.support.outputs import edit
from tests.support.simulated import ALL_RECORDS, END, Simulator
from tests.unit.test_pipeline_prometheus import read

IDS = sorted(make_ids(12, 31, end=END))


class Told:
    """Everything that a run says, in its order."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, dict[str, object]]] = []
        self.last: Progress | None = None

    def message(self, level: str, event: str, **fields: object) -> None:
        self.messages.append((level, event, fields))

    def progress(self, progress: Progress) -> None:
        self.last = progress

    def of(self, event: str) -> list[tuple[str, dict[str, object]]]:
        return [(level, fields) for level, name, fields in self.messages if name == event]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as up:
        yield up


@pytest.fixture
def output(tmp_path: Path) -> Output:
    (tmp_path / "ids.txt").write_text("\n".join([*IDS[:10], IDS[0], IDS[1], "no id"]))
    return Output(tmp_path / "out")


def harvest(vendor: Simulator, output: Output, **flags: object) -> tuple[Result, Told]:
    base = {**FAST, "output.dir": str(output.root), "vendor.base_url": vendor.base_url}
    named = {name.replace("__", ".", 1): value for name, value in flags.items()}
    told = Told()
    request = RunRequest(sources=(str(output.root.parent / "ids.txt"),))
    return run(load(flags={**base, **named}).config, SECRETS, request, told), told


def summary_of(output: Output, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output.run(run_id) / "summary.json").read_text())
    return found


def test_the_files_of_a_run_tell_what_it_did(vendor: Simulator, output: Output) -> None:
    result, told = harvest(vendor, output)
    run_id = result.summary.run_id
    folder = output.run(run_id)
    assert (result.exit_code, result.error) == (0, None)
    written = summary_of(output, run_id)
    assert written["input"] == {
        "lines": 13,
        "bad": 1,
        "duplicate": 2,
        "distinct": 10,
        "resolved_before": 0,
        "listed": 10,
        "first_listed_at": written["input"]["first_listed_at"],
        "dead_since_first_listed": 0,
        "too_young": 0,
    }
    assert (written["run"]["attempted"], written["run"]["delivered"]) == (10, 10)
    assert (written["data"]["rows"], written["data"]["rows_in_journal"]) == (10, 0)
    plan = written["plan"]
    assert (plan["to_fetch"], plan["fetched"]) == (10, 10)
    assert (plan["requests_planned"], plan["requests_sent"]) == (10, written["requests"])
    assert plan["bytes_written"] == written["published_bytes"] > 0
    assert written["published_files"] == len(list(output.cdr.glob("*/*.parquet")))
    assert (written["exit_code"], written["differences"]) == (0, [])
    assert (written["version"], written["code"], written["message"]) == (2, "", "")
    assert written["started_at"] <= written["ended_at"]
    assert told.of("run_started") == [("info", {"run_id": run_id, "folder": str(folder)})]
    counts = {name: written["input"][name] for name in ("lines", "bad", "duplicate", "distinct")}
    assert told.of("input_listed") == [("info", {**counts, "resolved_before": 0, "listed": 10})]
    assert told.last is not None
    assert (told.last.resolved, told.last.to_fetch) == (10, 10)
    for path in (folder / "summary.json", output.status):
        assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    status = json.loads(output.status.read_text())
    assert (status["state"], status["run_id"], status["exit_code"]) == ("ended", run_id, 0)
    assert sorted(path.name for path in folder.iterdir()) == [
        "bad_ids.jsonl",
        "state.parquet",
        "summary.json",
    ]


def test_an_input_that_is_known_is_not_told_as_new(vendor: Simulator, output: Output) -> None:
    first, _ = harvest(vendor, output)
    again, told = harvest(vendor, output)
    assert told.of("input_listed") == []
    assert again.exit_code == 0
    assert (again.summary.requests, again.summary.run.attempted) == (0, 0)
    assert again.summary.input == first.summary.input
    assert again.summary.ages_held is False


@pytest.mark.parametrize("ended", ["NULL", "started_ms"])
def test_of_a_run_that_was_killed_the_next_one_closes_the_control_totals(
    ended: str, vendor: Simulator, output: Output
) -> None:
    """Or the one after it, where that came no further than to note the end."""
    first, _ = harvest(vendor, output)
    run_id = first.summary.run_id
    (output.run(run_id) / "summary.json").unlink()
    edit(output.root, f"UPDATE run SET ended_ms = {ended}, exit_code = NULL")
    _, told = harvest(vendor, output)
    assert told.of("killed_run_closed") == [("warning", {"run_id": run_id})]
    closed = summary_of(output, run_id)
    assert (closed["run_id"], closed["exit_code"]) == (run_id, None)
    assert closed["code"] == "stopped.killed"
    assert "killed" in closed["message"]
    assert closed["run"] == summary_of_run(first)
    assert closed["data"]["rows"] == 10
    assert (closed["input"], closed["differences"]) == (None, [])
    assert closed["ended_at"] >= closed["started_at"]
    _, told = harvest(vendor, output)
    assert told.of("killed_run_closed") == []


def summary_of_run(result: Result) -> object:
    counts = result.summary.run
    return {name: getattr(counts, name) for name in counts.__struct_fields__}


def test_a_run_that_could_not_do_all_says_why(vendor: Simulator, output: Output) -> None:
    metrics = output.root.parent / "run.prom"
    result, _ = harvest(
        vendor, output, pace__per_day=4, pace__concurrency=1, monitor__metrics_file=str(metrics)
    )
    assert result.exit_code == 8
    # Its own budget is used up, as it was meant to be: no alert for a night without success.
    found = read(metrics.read_text())
    ended = found[("run_end_timestamp_seconds", ())]
    assert found[("last_success_timestamp_seconds", ())] == ended
    with closing(open_database(output.database, "default")) as db:
        assert run_records.last_success_ms(db) == round(ended * 1000)
    written = summary_of(output, result.summary.run_id)
    assert "pace.per_day = 4" in written["message"]
    assert (written["run"]["attempted"], written["requests"]) == (
        written["run"]["delivered"] + 1,
        4,
    )
    assert json.loads(output.status.read_text())["exit_code"] == 8
