"""What a run tells while it works: how often, and to whom."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.cli.logs.logs import Logs
from harvester.cli.logs.run_events import RunEvents, progress_fields
from harvester.config import Log
from harvester.pipeline.engine.progress import Progress
from tests.unit.test_pipeline_prometheus import NOW

CALM = replace(NOW, pace_per_s=NOW.rate_per_s, outage=False)
RUN = "20261122T010000Z-abcdef"


@pytest.fixture(autouse=True)
def root_handlers() -> Iterator[None]:
    before = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = before


class Clock:
    """Stands until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_told_every_30_seconds_and_no_oftener() -> None:
    said: list[str] = []
    emitted: list[Mapping[str, object]] = []
    clock = Clock()
    with Logs(Log(format="json"), say=said.append) as logs:
        events = RunEvents(logs, command="run", emit=emitted.append, clock=clock)
        for seconds in (0, 29.9, 30, 31, 59.9, 60, 89, 125, 154, 155):
            clock.now = 100.0 + seconds
            events.progress(replace(CALM, elapsed_s=seconds))
    told = [json.loads(line)["elapsed_s"] for line in said]
    assert told == [30, 60, 125, 155]
    assert [one["elapsed_s"] for one in emitted] == told
    assert {one["type"] for one in emitted} == {"progress"}


def test_the_half_minute_begins_anew_with_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    with Logs(Log(format="json"), say=said.append) as logs:
        events = RunEvents(logs, command="run", clock=clock)
        clock.now = 125.0
        events.message("info", "run_started", run_id=RUN, folder=str(tmp_path))
        for clock.now in (154.0, 155.0):
            events.progress(CALM)
    assert [json.loads(line)["event"] for line in said] == ["run_started", "progress"]


def test_the_start_of_a_run_opens_its_log_tells_stdout_and_pings_once(tmp_path: Path) -> None:
    emitted: list[Mapping[str, object]] = []
    started: list[int] = []
    with Logs(Log(), say=lambda _: None) as logs:
        events = RunEvents(
            logs,
            command="refetch",
            emit=emitted.append,
            on_start=lambda: started.append(1),
        )
        events.message("info", "ping_failed", reason="before there is a run")
        assert emitted == []
        assert started == []
        events.message("info", "run_started", run_id=RUN, folder=str(tmp_path))
        events.message("info", "run_ended", run_id=RUN, exit_code=0)
    (start,) = emitted
    assert (start["type"], start["command"], start["run_id"]) == ("start", "refetch", RUN)
    assert started == [1]
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [one["event"] for one in log] == ["run_started", "run_ended"]


NUMBERS = {
    "to_fetch": 2_001,
    "resolved": 1_002,
    "delivered": 503,
    "open": 104,
    "dead": 55,
    "deferred": 26,
    "requests": 3_007,
    "received_bytes": 4_000_008,
}


def test_each_figure_of_progress_stands_under_its_own_name() -> None:
    now: Progress = replace(
        CALM,
        **NUMBERS,
        phase="fetching",
        requests_per_s=12.34,
        rate_per_s=50.0,
        pace_per_s=49.96,
        retries={"throttled": 3},
        elapsed_s=61.26,
        eta_s=9.6,
    )
    assert progress_fields(now) == {
        **NUMBERS,
        "phase": "fetching",
        "requests_per_s": 12.3,
        "limit": 50.0,
        "pace": 50.0,
        "slowed": "",
        "retries": {"throttled": 3},
        "elapsed_s": 61.3,
        "eta_s": 10,
    }
    assert progress_fields(replace(now, eta_s=None))["eta_s"] is None


@pytest.mark.parametrize(
    ("level", "on_screen", "in_file"),
    [
        ("debug", 4, 4),
        ("info", 3, 3),
        # Whoever wants a quiet screen has the whole story in the file.
        ("warning", 2, 3),
        ("error", 1, 3),
    ],
)
def test_the_file_has_what_a_run_did_however_quiet_the_screen_is(
    tmp_path: Path, level: str, on_screen: int, in_file: int
) -> None:
    said: list[str] = []
    with Logs(Log(level=level), say=said.append) as logs:  # type: ignore[arg-type]
        logs.attach(tmp_path / "log.jsonl")
        for one in ("debug", "info", "warning", "error"):
            logs.message(one, "event")
    assert len(said) == on_screen
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == in_file
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_event_of_a_run_that_was_killed_keeps_that_runs_name(tmp_path: Path) -> None:
    said: list[str] = []
    with Logs(Log(format="json"), say=said.append) as logs:
        logs.run_id = RUN
        logs.message("info", "killed_run_closed", run_id="20261101T010000Z-000000")
        logs.message("info", "progress")
    assert [json.loads(line)["run_id"] for line in said] == ["20261101T010000Z-000000", RUN]


def test_events_for_the_file_alone_are_not_on_the_screen(tmp_path: Path) -> None:
    said: list[str] = []
    with Logs(Log(), say=said.append, unsaid=frozenset({"progress"})) as logs:
        logs.attach(tmp_path / "log.jsonl")
        logs.message("info", "progress")
        logs.message("info", "outage_over")
    assert said == ["the vendor answers again"]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_log_that_can_not_be_written_is_told_once_and_the_run_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    with Logs(Log(), say=said.append) as logs:
        logs.attach(tmp_path / "no" / "such" / "log.jsonl")
        logs.message("info", "outage_over")
    assert [line.partition(" (")[0] for line in said] == [
        "warning: the log can't be written",
        "the vendor answers again",
    ]
    assert logs.file is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk without room is Linux's")
def test_a_log_whose_disk_is_full_is_told_once_and_the_screen_goes_on() -> None:
    said: list[str] = []
    with Logs(Log(), say=said.append) as logs:
        logs.attach(Path("/dev/full"))
        for _ in range(3):
            logs.message("info", "outage_over")
    assert [line.partition(" (")[0] for line in sorted(said)] == [
        *["the vendor answers again"] * 3,
        "warning: the log can't be written",
    ]


def test_a_screen_that_is_gone_is_told_to_nobody_and_the_file_goes_on(tmp_path: Path) -> None:
    tries = 0

    def say(line: str) -> None:
        nonlocal tries
        tries += 1
        raise BrokenPipeError

    with Logs(Log(), say=say) as logs:
        logs.attach(tmp_path / "log.jsonl")
        for _ in range(3):
            logs.message("info", "outage_over")
    assert tries == 1
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3


def test_a_log_that_is_there_is_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("{}\n")
    for _ in range(2):
        with Logs(Log(), say=lambda _: None) as logs:
            logs.attach(file)
            logs.message("info", "outage_over")
    lines = file.read_text().splitlines()
    assert (lines[0], len(lines)) == ("{}", 3)
