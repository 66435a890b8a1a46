"""Which run is the newest is said by numbers, not by names: our clock was a month ahead once."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.analysis.period import Period
from harvester.analysis.report.unfinished import read_run_history
from harvester.analysis.verify.verify import Order, verify
from harvester.config import load
from harvester.operations.rebuild import Rebuilt, rebuild
from harvester.operations.status import read_output_status
from harvester.pipeline.run.state_snapshot import SCHEMA, write_snapshot
from harvester.state import run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.run_records import in_order
from harvester.state.values import Batch, OpenCall
from harvester.storage.output import Output, make_folders
from tests.support.summaries import summary_of

DAY_MS = 86_400_000
NIGHTS = (
    # name by our clock, which was 30 days ahead in the second night; when it began, in ms
    ("20261125T020000Z-00000a", 1_795_572_000_000),
    ("20261226T020000Z-00000b", 1_795_658_400_000 + 30 * DAY_MS),
    ("20261127T020000Z-00000c", 1_795_744_800_000),
    ("20261128T020000Z-00000d", 1_795_831_200_000),
)
NEWEST_FIRST = [name for name, _ in reversed(NIGHTS)]


def night(out: Output, name: str, started_ms: int) -> None:
    """A run that leaves one more open call, called as it is."""
    with closing(open_database(out.database, "default")) as db:
        run = run_records.begin_run(db, name, started_ms)
        call = OpenCall(name, due_ms=started_ms, first_ms=started_ms, fetches=1, run_id=name)
        acknowledge(
            db,
            name,
            Batch(open_calls=[call]),
            work_list=None,
            counters={},
            requests_of_day=("2026-11-27", 1),
        )
        run_records.end_run(db, name, started_ms + 1_000, 0, {"begun": 1, "open": 1})
        folder = out.run(name)
        folder.mkdir(mode=0o700)
        write_snapshot(db, folder / "state.parquet")
    at = msgspec.json.encode(_instant(started_ms)).decode().strip('"')
    summary = summary_of(
        name,
        started_at=at,
        ended_at=at,
        requests=1,
        run={"attempted": 1, "open": 1},
        first_publication=run.first_publication,
    )
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "summary.json").chmod(0o600)


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


@pytest.fixture
def out(tmp_path: Path) -> Output:
    made = Output(tmp_path / "out")
    make_folders(made, 0o750)
    for name, started_ms in NIGHTS:
        night(made, name, started_ms)
    return made


def rebuilt(out: Output) -> Rebuilt:
    shutil.rmtree(out.state)
    return rebuild(load(flags={"output.dir": str(out.root)}).config)


def test_status_shows_the_newest_run_first(out: Output) -> None:
    assert [run.id for run in read_output_status(out).runs] == NEWEST_FIRST


def test_the_last_success_is_that_of_the_newest_run(out: Output) -> None:
    """Or a month without any would look like a good one."""
    with closing(open_database(out.database, "default")) as db:
        assert run_records.last_success_ms(db) == NIGHTS[-1][1] + 1_000


def test_the_report_shows_the_books_of_the_newest_run_first(out: Output) -> None:
    books = read_run_history(out, Period(), UTC)
    assert [run.run_id for run in books.runs] == NEWEST_FIRST


def test_rebuild_takes_the_snapshot_of_the_newest_run(out: Output) -> None:
    done = rebuilt(out)
    assert done.snapshot == str(out.run(NEWEST_FIRST[0]) / "state.parquet")
    assert done.open == len(NIGHTS)
    assert not any("later run" in unknown for unknown in done.unknown)


def test_rebuild_names_the_runs_after_the_snapshot_by_their_numbers(out: Output) -> None:
    (out.run(NEWEST_FIRST[0]) / "state.parquet").unlink()
    done = rebuilt(out)
    assert done.snapshot == str(out.run(NEWEST_FIRST[1]) / "state.parquet")
    assert any(f"1 later run(s), from {NEWEST_FIRST[0]} on" in one for one in done.unknown)


def test_after_a_rebuild_the_run_with_the_name_of_next_month_is_one_from_before(
    out: Output,
) -> None:
    rebuilt(out)
    audit = verify(out, Order("UTC", "400MB", deep=True))
    assert [one for one in audit.findings if one.severity == "damage"] == []


def test_a_run_after_a_rebuild_is_newer_than_all_before(out: Output) -> None:
    rebuilt(out)
    with closing(open_database(out.database, "default")) as db:
        run = run_records.begin_run(db, "20261129T020000Z-00000e", 1)
    told = [json.loads(path.read_bytes()) for path in out.runs.glob("*/summary.json")]
    assert run.first_publication > max(one["first_publication"] for one in told)


def test_every_run_has_a_number_of_its_own_though_it_published_nothing(out: Output) -> None:
    with closing(open_database(out.database, "default")) as db:
        numbers = [run.first_publication for run in run_records.last_runs(db, 9)]
    assert numbers == sorted(set(numbers), reverse=True)


def older(out: Output, name: str) -> None:
    """Make what a run left that of an older version: without a number."""
    path = out.run(name) / "state.parquet"
    rows = pq.ParquetFile(path).read()
    pq.write_table(pa.Table.from_pylist(rows.to_pylist(), SCHEMA), path)
    summary = json.loads((out.run(name) / "summary.json").read_text())
    del summary["first_publication"]
    (out.run(name) / "summary.json").write_text(json.dumps(summary))


def test_runs_of_an_older_version_go_by_name_before_those_with_a_number(out: Output) -> None:
    for name, _ in NIGHTS[:2]:
        older(out, name)
    assert [run.run_id for run in read_run_history(out, Period(), UTC).runs] == NEWEST_FIRST
    assert rebuilt(out).snapshot == str(out.run(NEWEST_FIRST[0]) / "state.parquet")


@pytest.mark.parametrize(
    ("numbers", "published", "expected"),
    [
        ({}, {}, []),
        ({"b": None, "a": None}, {}, ["a", "b"]),
        ({"a": 1, "c": 3, "z": 2}, {}, ["a", "z", "c"]),
        # By their rows, where an older version left no numbers.
        ({"a": None, "c": None, "z": None}, {"a": 1, "c": 3, "z": 2}, ["a", "z", "c"]),
        ({"a": None, "b": None, "c": None, "z": None}, {"a": 1, "c": 3, "z": 2}, list("abzc")),
        ({"a": None, "z": None, "b": 7}, {"a": 1, "z": 6}, ["a", "z", "b"]),
        ({"a": 7, "z": None}, {}, ["z", "a"]),
    ],
)
def test_the_order(
    numbers: dict[str, int | None], published: dict[str, int], expected: list[str]
) -> None:
    assert in_order(numbers, published) == expected


def test_a_run_that_was_killed_and_said_nothing_goes_with_the_one_before_it_by_name() -> None:
    numbers = {"a": None, "b": 5, "c": None, "d": 6}
    assert in_order(numbers, {}, {"c"}) == ["a", "b", "c", "d"]
    assert in_order(numbers) == ["a", "c", "b", "d"]
