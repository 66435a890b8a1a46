"""What a run leaves in its folder and says on its way: each figure the right one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harvester.config import load
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.requests import (
    NEVER,
    RefetchRequest,
    Request,
    RunRequest,
    StopCheck,
    StopSource,
    stopped,
)
from harvester.pipeline.run.run import Result, run
from harvester.simulator import make_ids
from harvester.state import between_runs, run_records
from harvester.state.database import open_database
from harvester.storage.output import Output
from tests.run.test_in_place import SECRETS
from tests.security.hostile import Ask, HostileVendor
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


def harvest(
    vendor: Simulator,
    output: Output,
    request: Request | None = None,
    stop: StopSource = NEVER,
    **flags: object,
) -> tuple[Result, Told]:
    """`request` None: for the ids of the fixture."""
    return harvest_at(output, request, stop, vendor__base_url=vendor.base_url, **flags)


def harvest_at(
    output: Output, request: Request | None = None, stop: StopSource = NEVER, **flags: object
) -> tuple[Result, Told]:
    base = {**FAST, "output.dir": str(output.root)}
    named = {name.replace("__", ".", 1): value for name, value in flags.items()}
    told = Told()
    request = request or RunRequest(sources=(str(output.root.parent / "ids.txt"),))
    return run(load(flags={**base, **named}).config, SECRETS, request, told, stop), told


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
    counts = dict.fromkeys(("retried", "carried_over", "open", "dead", "pending"), 0)
    again = {"again": 0, "refetched": 0}
    assert written["list"] == {"listed": 10, "delivered": 10, **counts, **again}
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
    bad = {"count": 1, "new": 1, "file": str(folder / "bad_ids.jsonl")}
    assert told.of("bad_ids") == [("warning", bad)]
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
    file = str(output.run(again.summary.run_id) / "bad_ids.jsonl")
    assert told.of("bad_ids") == [("info", {"count": 1, "new": 0, "file": file})]
    assert again.exit_code == 0
    assert (again.summary.requests, again.summary.run.attempted) == (0, 0)
    assert again.summary.input == first.summary.input
    assert again.summary.ages_held is False


def test_the_metrics_at_the_end_are_those_of_the_run_and_of_the_output(
    vendor: Simulator, output: Output
) -> None:
    file = output.root.parent / "run.prom"
    summary = harvest(vendor, output, monitor__metrics_file=str(file))[0].summary
    assert summary.input is not None
    found = read(file.read_text())
    states = ("open", "dead", "pending", "retrying")
    stand = {"delivered": 10} | dict.fromkeys(states, 0)
    assert {
        dict(labels)["state"]: n for (name, labels), n in found.items() if name == "output_ids"
    } == stand
    ended = instant_s(summary.ended_at)
    assert {name: n for (name, labels), n in found.items() if not labels and name in AT_END} == {
        "run_active": 0,
        "run_exit_code": 0,
        "run_start_timestamp_seconds": instant_s(summary.started_at),
        "run_end_timestamp_seconds": ended,
        "last_success_timestamp_seconds": ended,
        "last_new_ids_timestamp_seconds": instant_s(summary.input.first_listed_at),
        "published_records_total": 10,
        "published_files_total": summary.published_files,
        "published_bytes_total": summary.published_bytes,
        "journal_records": 0,
        "throttled_total": 0,
        "outages_total": 0,
        "changed_fields": len(summary.odd.changed_fields) + len(summary.odd.new_fields),
        "clock_skew_seconds": summary.clock_skew_s,
        "requests_total": summary.requests,
    }
    ((_, labels),) = (key for key in found if key[0] == "run_info")
    assert (dict(labels)["account"], dict(labels)["run_id"]) == ("default", summary.run_id)
    # A run that fetches nothing says the same of the output, and when ids and success last came.
    harvest(vendor, output, monitor__metrics_file=str(file))
    again = read(file.read_text())
    assert again[("output_ids", (("state", "delivered"),))] == 10
    new_ids = ("last_new_ids_timestamp_seconds", ())
    assert again[new_ids] == found[new_ids]
    assert again[("last_success_timestamp_seconds", ())] > ended


def test_what_is_odd_in_its_records_stands_in_its_summary_and_its_metrics(output: Output) -> None:
    file = output.root.parent / "run.prom"

    def odd(ask: Ask) -> None:
        if ask.voice_id in IDS[:3] and strange.asked(ask.voice_id) == 1:
            ask.answer(b"", status="429 Too Many Requests")
        elif ask.voice_id == IDS[0]:
            ask.deliver(rate="much", novelty=1, currency=None)
        else:
            ask.deliver(callDuration=60, currency="USD")

    with HostileVendor(odd) as strange:
        result, told = harvest_at(
            output, vendor__base_url=strange.base_url, monitor__metrics_file=str(file)
        )
    summary, found = result.summary, read(file.read_text())
    assert summary.run.delivered == 10
    assert (summary.unparsed, summary.extra) == ({"rate": 1}, {"novelty": 1})
    assert (summary.presumed_currency, summary.odd.new_fields) == (1, {"novelty": 1})
    assert told.of("unreadable_values") == [("warning", {"fields": {"rate": 1}})]
    assert told.of("new_fields") == [("warning", {"fields": {"novelty": 1}})]
    assert summary.throttled == 3
    assert found[("throttled_total", ())] == 3
    assert found[("unparsed_values_total", (("field", "rate"),))] == 1
    assert found[("unknown_field_values_total", ())] == 1
    assert found[("changed_fields", ())] == 1


AT_END = frozenset(
    {
        "run_active",
        "run_exit_code",
        "run_start_timestamp_seconds",
        "run_end_timestamp_seconds",
        "last_success_timestamp_seconds",
        "last_new_ids_timestamp_seconds",
        "published_records_total",
        "published_files_total",
        "published_bytes_total",
        "journal_records",
        "throttled_total",
        "outages_total",
        "changed_fields",
        "clock_skew_seconds",
        "requests_total",
    }
)


def instant_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_an_input_of_the_configuration_that_has_no_ids_is_a_warning_with_when_ids_last_came(
    vendor: Simulator, output: Output
) -> None:
    first, _ = harvest(vendor, output)
    assert first.summary.input is not None
    empty = output.root.parent / "empty.txt"
    empty.write_text("# none tonight\n")
    result, told = harvest(vendor, output, RunRequest(), input__paths=[str(empty)])
    last = first.summary.input.first_listed_at
    assert told.of("no_ids") == [("warning", {"input": str(empty), "last_new_at": last})]
    assert (result.exit_code, result.summary.requests) == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_to_stop_says_so_once_and_leaves_the_rest_pending(
    vendor: Simulator, output: Output, number: signal.Signals
) -> None:
    class Stop:
        @contextmanager
        def watched(self) -> Iterator[StopCheck]:
            yield lambda: stopped(number)

    result, told = harvest(vendor, output, stop=Stop())
    assert told.of("stopping") == [("warning", {"signal": number.name})]
    assert result.error is not None
    assert (result.exit_code, str(result.error)) == (128 + number, str(stopped(number)))
    assert result.summary.code == result.error.code
    assert result.summary.work_list is not None
    assert result.summary.work_list.pending == 10
    assert harvest(vendor, output)[0].exit_code == 0


def test_what_one_input_left_over_is_no_matter_of_a_run_for_another_one_alone(
    vendor: Simulator, output: Output
) -> None:
    first, _ = harvest(vendor, output, pace__per_day=4, pace__concurrency=1)
    left = 10 - first.summary.run.delivered
    assert left > 0
    other = output.root.parent / "other.txt"
    other.write_text("\n".join(IDS[10:]))
    alone = RunRequest(sources=(str(other),), input_only=True)
    second, told = harvest(vendor, output, alone)
    assert (second.exit_code, second.summary.run.attempted) == (0, 2)
    assert told.last is not None
    assert told.last.to_fetch == 2
    assert second.summary.work_list is not None
    assert (second.summary.work_list.carried_over, second.summary.work_list.pending) == (left, left)
    third, told = harvest(vendor, output, RunRequest(carried_over_only=True))
    assert (third.exit_code, third.summary.run.attempted) == (0, left)
    assert told.last is not None
    assert told.last.to_fetch == left
    assert told.of("input_listed") == told.of("no_ids") == []


def test_a_refetch_says_what_it_fetches_again_and_what_became_of_it(
    vendor: Simulator, output: Output
) -> None:
    metrics = output.root.parent / "run.prom"
    harvest(vendor, output)
    whole = RefetchRequest(what="delivered", since_ms=0)
    result, told = harvest(vendor, output, whole, monitor__metrics_file=str(metrics))
    assert (result.exit_code, result.summary.run.attempted) == (0, 0)
    counts = {"again": 10, "population": 10, "left_out": 0}
    assert told.of("refetch_listed") == [("info", counts)]
    assert told.of("input_listed") == told.of("no_ids") == []
    totals = result.summary.refetch
    assert totals is not None
    assert (totals.again, totals.pending, totals.in_journal) == (10, 0, 0)
    assert sum(totals.outcomes.values()) == 10
    found = read(metrics.read_text())
    assert {
        dict(labels)["outcome"]: n
        for (name, labels), n in found.items()
        if name == "refetched_ids_total"
    } == totals.outcomes
    assert told.last is not None
    assert told.last.to_fetch == 10
    some = output.root.parent / "some.txt"
    some.write_text("\n".join([*IDS[:2], IDS[11]]))
    few, told = harvest(
        vendor, output, RefetchRequest(what="delivered", since_ms=0, ids=(str(some),))
    )
    assert few.summary.refetch is not None
    assert (few.summary.refetch.again, few.summary.refetch.outside) == (2, 1)
    assert told.of("ids_not_delivered") == [("warning", {"count": 1, "ids": [IDS[11]]})]
    # With nothing that is dead there is nothing to retry.
    none, told = harvest(vendor, output, RefetchRequest(what="dead"))
    assert (none.exit_code, none.summary.requests, none.summary.refetch) == (0, 0, None)


def test_a_run_ends_when_its_time_is_up(vendor: Simulator, output: Output) -> None:
    source = (str(output.root.parent / "ids.txt"),)
    result, _ = harvest(vendor, output, RunRequest(sources=source, max_duration_s=0.001))
    assert result.exit_code == 8
    assert result.error is not None
    assert result.summary.work_list is not None
    assert result.summary.work_list.pending > 0
    whole, _ = harvest(vendor, output, RunRequest(sources=source, max_duration_s=600))
    assert (whole.exit_code, whole.error) == (0, None)


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


def test_requests_that_brought_no_outcome_count_for_the_day_all_the_same(output: Output) -> None:
    """`pace.per_day` is a promise about what is sent, not about what comes of it."""
    with HostileVendor(lambda ask: ask.say("-30", reason="disabled")) as vendor:
        result, _ = harvest_at(output, vendor__base_url=vendor.base_url)
        sent = len(vendor.asks)
    assert (result.exit_code, result.summary.run.delivered) == (4, 0)
    assert sent == result.summary.requests > 0
    with closing(open_database(output.database, "default")) as db:
        assert sum(between_runs.requests_by_day(db).values()) == sent
