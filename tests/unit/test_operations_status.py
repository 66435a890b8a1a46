"""What is known of a process that holds an output."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from harvester.errors import ConfigError
from harvester.operations.status import Running, read_output_status, read_running
from harvester.state import run_records
from harvester.state.between_runs import keep_clock
from harvester.state.database import open_database
from harvester.state.id_counts import BillingDay, keep_days
from harvester.storage.output import Output, make_folders
from harvester.vendor_clock import CLOCK
from tests.support.fakes import config_of
from tests.unit.test_identity import of
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
    assert found.age_s == round(found.age_s, 1)


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


@pytest.fixture
def stored(tmp_path: Path) -> Output:
    """An output that had seven runs, the last of them killed, and no input yet."""
    made = Output(tmp_path / "stored")
    make_folders(made, 0o750)
    with closing(open_database(made.database, "acme")) as db:
        for number in range(1, 8):
            run_records.begin_run(db, f"run-{number}", number)
            if number < 7:
                run_records.end_run(db, f"run-{number}", number, 0, {})
    return made


def test_an_output_without_an_input_has_no_bad_lines_and_shows_its_last_five_runs(
    stored: Output,
) -> None:
    found = read_output_status(stored)
    assert (found.account, found.bad_lines, found.bad_lines_file) == ("acme", 0, "")
    assert [run.id for run in found.runs] == ["run-7", "run-6", "run-5", "run-4", "run-3"]
    assert found.unended == 1
    assert found.limit is None


def test_the_status_of_another_account_is_not_shown_as_this_ones(stored: Output) -> None:
    assert read_output_status(stored, config_of(stored.root)).account == "acme"
    with pytest.raises(ConfigError, match="account"):
        read_output_status(stored, of(vendor__account="other"))


def test_a_limit_file_that_cant_be_read_is_told_and_hides_no_status(stored: Output) -> None:
    (stored.root / "a.limit").write_text("no limit file")
    file = str(stored.root / "a.limit")
    found = read_output_status(stored, config_of(stored.root, pace__limit_file=file))
    assert found.limit is not None
    assert found.limit.file == file
    assert "no limit file" in found.limit.trouble


def test_months_are_those_of_the_vendors_clock_as_the_last_run_saw_it(stored: Output) -> None:
    """Ours may be months behind: a machine without a battery begins anywhere."""
    ahead = timedelta(days=70)
    yesterday = (datetime.now(UTC) + ahead).astimezone(CLOCK).date() - timedelta(days=1)
    known = BillingDay(day=str(yesterday), counted_ms=7, listed_ms=6, listed=3, delivered=3)
    with closing(open_database(stored.database, "acme")) as db:
        keep_days(db, [known])
    assert read_output_status(stored).months == (), "no day of a time to come is told"
    with closing(open_database(stored.database, "acme")) as db:
        no_run = ""
        keep_clock(db, no_run, ahead.total_seconds(), 0, ("", 0))
    (month,) = read_output_status(stored).months
    assert (month.month, month.listed, month.delivered) == (f"{yesterday:%Y-%m}", 3, 3)
