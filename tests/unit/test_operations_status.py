"""What is known of a process that holds an output."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from harvester.operations.status import Running, read_running
from harvester.storage.output import Output
from tests.unit.test_pipeline_prometheus import NOW

HOLDER = {"pid": 7, "host": "night", "since": "2026-09-02T10:00:00+00:00"}


@pytest.fixture
def output(tmp_path: Path) -> Output:
    made = Output(tmp_path)
    made.state.mkdir()
    return made


def write(output: Output, holder: object = HOLDER, status: object = None) -> None:
    output.lock.write_bytes(msgspec.json.encode(holder))
    if status is not None:
        output.status.write_bytes(msgspec.json.encode(status))


def status(**changes: object) -> dict[str, object]:
    at = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
    return {
        "pid": 7,
        "at": at,
        "state": "fetching",
        "run_id": "run-1",
        "progress": NOW,
        **changes,
    }


def test_a_run_that_writes_its_status_is_shown_with_it(output: Output) -> None:
    write(output, status=status())
    found = read_running(output)
    assert (found.pid, found.host, found.since) == (7, "night", HOLDER["since"])
    assert (found.run_id, found.progress) == ("run-1", NOW)
    assert found.age_s is not None
    assert 60 <= found.age_s < 600


def test_a_status_from_the_future_is_no_time_old(output: Output) -> None:
    ahead = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    write(output, status=status(at=ahead))
    assert read_running(output).age_s == 0


@pytest.mark.parametrize(
    "told",
    [None, status(pid=8), {**status(), "progress": None}, {"pid": 7}, []],
    ids=["none", "of another process", "without progress", "half", "no status"],
)
def test_without_a_status_of_its_own_only_the_holder_is_known(output: Output, told: object) -> None:
    write(output, status=told)
    assert read_running(output) == Running(
        pid=7, host="night", since=str(HOLDER["since"]), age_s=None, run_id="", progress=None
    )


def test_a_lock_that_nobody_can_read_names_nobody(output: Output) -> None:
    write(output, holder={})
    assert read_running(output).pid is None
