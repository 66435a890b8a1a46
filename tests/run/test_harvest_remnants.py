"""What runs leave behind, read again: the snapshot row by row, and what is damaged or strange."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import StoreError
from harvester.identity import Identity
from harvester.pipeline.run.remnants import (
    newest_snapshot,
    read_parts,
    read_snapshot,
    snapshot_rows,
)
from harvester.pipeline.run.state_snapshot import (
    SCHEMA,
    snapshot_identity,
    snapshot_number,
    write_snapshot,
)
from harvester.state import run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.values import Batch, DeadLetter, Deferred, OpenCall
from harvester.storage.output import Output, make_folders
from harvester.storage.run_summary import summaries
from tests.support.datasets import filled, write
from tests.support.summaries import summary_of

RUN, LATER = "20261101T000000Z-00000a", "20261102T000000Z-00000b"
OPEN = [
    OpenCall("open-known", 1_001, 2_002, 3, "run-1", answer=b'{"status":0}', answer_ms=4_004),
    OpenCall("open-never-known", 0, 1, 1, "run-1", unknown_ms=1),
    OpenCall("open-lost", 1, 2, 9, "run-2", answer=b"{}", answer_ms=3, unknown_ms=4),
    OpenCall("open-unrated", 1, 2, 9, "run-2", answer=b"{}", answer_ms=3, unrated_ms=5),
]
DEAD = [
    DeadLetter("dead-plain", "-22", "said twice", 3, 1_001, 2_002, "run-1", body=b"no such id"),
    DeadLetter("dead-without-body", "no_record", "", 0, 0, 0, "run-2"),
]
DEFERRED = [
    Deferred("deferred", "busy", "after 8", 1_001, 2_002, "run-1", 2, ("2026-11-01", "2026-11-02")),
    Deferred("deferred-first", "network", "", 0, 0, "run-2"),
]


@pytest.fixture
def output(tmp_path: Path) -> Output:
    made = Output(tmp_path / "out")
    make_folders(made, 0o750)
    return made


def snapshot_of(output: Output, batch: Batch, run_id: str = "run-1") -> Path:
    """The snapshot that a run leaves with these ids in the ledger."""
    folder = output.run(run_id)
    folder.mkdir(parents=True)
    with closing(open_database(output.database, "acme")) as db:
        run_records.begin_run(db, run_id, 1)
        acknowledge(db, "", batch, work_list=None, counters={}, requests_of_day=("2026-11-01", 1))
        write_snapshot(db, folder / "state.parquet")
    return folder / "state.parquet"


def all_of(path: Path, in_data: set[str]) -> tuple[dict[str, Any], int]:
    """What the snapshot gives, by id, and how many rows it leaves out."""
    found: dict[str, Any] = {}
    left_out = 0
    for batch, number in read_snapshot(path, in_data, set()):
        items: list[Any] = [*batch.open_calls, *batch.dead_letters, *batch.deferred]
        found |= {item.voice_id: item for item in items}
        left_out += number
    return found, left_out


def test_each_id_comes_back_from_a_snapshot_as_it_was(output: Output) -> None:
    path = snapshot_of(output, Batch(open_calls=OPEN, dead_letters=DEAD, deferred=DEFERRED))
    items: list[Any] = [*OPEN, *DEAD, *DEFERRED]
    wanted = {item.voice_id: item for item in items}
    assert all_of(path, set()) == (wanted, 0)
    assert snapshot_rows(path) == len(wanted)


def test_a_snapshot_says_which_run_left_it_by_its_number(output: Output) -> None:
    """By our clock, and by their names, the second may be the older one."""
    first = snapshot_number(snapshot_of(output, Batch(), LATER))
    second = snapshot_number(snapshot_of(output, Batch(), RUN))
    assert first is not None
    assert second == first + 1
    assert newest_snapshot(output) == output.run(RUN) / "state.parquet"


def test_a_dead_letter_that_is_being_retried_is_dead_again_where_the_list_is_lost(
    output: Output,
) -> None:
    """Its retry has no outcome yet, and stands on the work list alone."""
    retried = DeadLetter("1", "no_record", "why", 2, 3, 4, "run-1", retrying=True)
    path = snapshot_of(output, Batch(dead_letters=[retried]))
    assert all_of(path, set()) == ({"1": replace(retried, retrying=False)}, 0)


def test_a_snapshot_of_before_unknown_calls_had_a_time_has_them_unknown_since_the_first_answer(
    output: Output,
) -> None:
    path = snapshot_of(output, Batch(open_calls=OPEN))
    with pq.ParquetFile(path) as file:
        rows = file.read()
    pq.write_table(rows.drop_columns(["unknown_at"]), path)
    found, _ = all_of(path, set())
    assert {one: call.unknown_ms for one, call in found.items()} == {
        "open-known": None,
        "open-never-known": 1,
        "open-lost": None,
        "open-unrated": None,
    }


@pytest.mark.parametrize("is_in_data", [False, True])
@pytest.mark.parametrize("is_published", [False, True])
def test_a_row_is_taken_over_where_the_data_is_as_it_says(
    output: Output, is_in_data: bool, is_published: bool
) -> None:
    letter = DeadLetter("1", "no_record", "", 1, 1, 1, "run-1", published=is_published)
    path = snapshot_of(output, Batch(dead_letters=[letter]))
    found, left_out = all_of(path, {"1"} if is_in_data else set())
    agrees = is_in_data == is_published
    assert (found, left_out) == (({"1": letter}, 0) if agrees else ({}, 1))


@pytest.mark.parametrize(
    "ruin",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: path.write_bytes(b"no Parquet"),
        lambda path: path.unlink(),
        lambda path: pq.write_table(pa.table({"voice_id": ["1"]}), path),
    ],
    ids=["cut", "strange", "gone", "another table"],
)
def test_a_snapshot_that_cannot_be_read_is_named_with_the_way_on(
    output: Output, ruin: Callable[[Path], object]
) -> None:
    path = snapshot_of(output, Batch(open_calls=OPEN))
    ruin(path)
    with pytest.raises(StoreError) as told:
        list(read_snapshot(path, set(), set()))
    assert str(path) in str(told.value)
    assert "run `harvester rebuild` again" in str(told.value)


@pytest.mark.parametrize("content", [b"", b"no Parquet", None])
def test_a_snapshot_that_cannot_be_read_may_hold_ids(tmp_path: Path, content: bytes | None) -> None:
    """A start that took it for empty would forget them."""
    path = tmp_path / "state.parquet"
    if content is not None:
        path.write_bytes(content)
    assert snapshot_rows(path) == 1
    assert snapshot_number(path) is None
    assert snapshot_identity(path) == Identity()


def test_an_empty_snapshot_holds_none(output: Output) -> None:
    assert snapshot_rows(snapshot_of(output, Batch())) == 0


@pytest.mark.parametrize(
    ("footer", "number"),
    [
        ({"cdr.first_publication": "7"}, 7),
        ({"cdr.first_publication": "0"}, 0),
        ({"cdr.first_publication": "9" * 15}, 10**15 - 1),
        ({"cdr.first_publication": "9" * 16}, None),
        ({"cdr.first_publication": "-7"}, None),
        ({"cdr.first_publication": ""}, None),
        ({}, None),
    ],
)
def test_the_number_of_a_snapshot(
    tmp_path: Path, footer: dict[str, str], number: int | None
) -> None:
    path = tmp_path / "state.parquet"
    pq.write_table(SCHEMA.empty_table().replace_schema_metadata(footer), path)
    assert snapshot_number(path) == number
    with pq.ParquetWriter(path, SCHEMA, store_schema=False):
        pass  # a footer without one key
    assert snapshot_number(path) is None


def test_a_snapshot_whose_footer_says_nothing_we_understand_belongs_to_nobody_known(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.parquet"
    footer = {"cdr.account": "acme", "cdr.base_urls": "no JSON"}
    pq.write_table(SCHEMA.empty_table().replace_schema_metadata(footer), path)
    assert snapshot_identity(path) == Identity()


SUMMARY = msgspec.json.encode(
    summary_of(
        "20261101T000000Z-00000a",
        account="acme",
        ended_at="2026-11-01T00:00:01Z",
        requests=3,
        first_publication=2,
        **{"else": 1},
    )
)


def test_summaries_are_read_by_the_names_of_their_runs_and_bad_ones_are_left_out(
    output: Output,
) -> None:
    for name, content in {
        "20261101T000000Z-00000a": SUMMARY,
        "20261102T000000Z-00000b": b"{",
        "20261103T000000Z-00000c": b'{"run_id":"x"}',
        "notes": SUMMARY,
        "20261104T000000Z-00000g": SUMMARY,
    }.items():
        (output.runs / name).mkdir()
        (output.runs / name / "summary.json").write_bytes(content)
    (output.runs / "20261105T000000Z-00000e" / "summary.json").mkdir(parents=True)
    (run,) = summaries(output.runs)
    assert (run.run_id, run.account, run.requests) == ("20261101T000000Z-00000a", "acme", 3)
    assert (run.ended_at, run.first_publication) == (datetime(2026, 11, 1, 0, 0, 1, tzinfo=UTC), 2)


def test_the_newest_snapshot_is_that_of_the_newest_run_that_left_one(output: Output) -> None:
    assert newest_snapshot(output) is None
    for name in ("20261101T000000Z-00000a", "20261102T000000Z-00000b", "20261103T000000Z-00000c"):
        output.run(name).mkdir()
    assert newest_snapshot(output) is None
    path = snapshot_of(output, Batch(), "20261101T111111Z-000000")
    assert newest_snapshot(output) == path


def night(output: Output, publication: int, day: int, *runs: str) -> str:
    """A file of one date with a row of each of these runs; its path."""
    at = datetime(2026, 11, day, 12, tzinfo=UTC)
    rows = [{"voice_id": f"{publication}-{run}", "run_id": run, "submit_time": at} for run in runs]
    write(output.root, [filled(rows)], publication=publication)
    return f"submit_date=2026-11-{day:02}/part-made0000-{publication}-0.parquet"


@pytest.mark.parametrize("days", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_a_run_is_as_old_as_the_first_publication_that_has_a_row_of_it(
    output: Output, days: tuple[int, int, int]
) -> None:
    """Whatever the order in which its files are read."""
    first, second, third = days
    paths = {
        4: night(output, 4, first, RUN),
        7: night(output, 7, second, RUN, LATER),
        9: night(output, 9, third, LATER),
    }
    found = read_parts(output.cdr, "UTC", {}, GROUP_RECORD)
    assert found.runs == {RUN: 4, LATER: 7}
    assert found.accounts == {"default"}
    assert {part.publication: (part.path, part.rows) for part in found.records} == {
        number: (path, 2 if number == 7 else 1) for number, path in paths.items()
    }


def test_a_part_is_taken_for_what_it_says_only_as_it_was_published(output: Output) -> None:
    path = night(output, 4, 1, RUN)
    (part,) = read_parts(output.cdr, "UTC", {}, GROUP_RECORD).records
    assert read_parts(output.cdr, "UTC", {path: part.sha256}, GROUP_RECORD).records == [part]
    with pytest.raises(StoreError, match="changed since it was published") as told:
        read_parts(output.cdr, "UTC", {path: "0" * 64}, GROUP_RECORD)
    assert told.value.code == "data.untrusted"


@pytest.mark.parametrize("name", ["part-made0000-5-0.parquet", "part-made0000-4-0-r5.parquet"])
def test_a_copy_under_another_name_is_refused_with_the_name_of_its_pattern(
    output: Output, name: str
) -> None:
    path = output.cdr / night(output, 4, 1, RUN)
    path.with_name(name).write_bytes(path.read_bytes())
    with pytest.raises(StoreError, match="a copy of ") as told:
        read_parts(output.cdr, "UTC", {}, GROUP_RECORD)
    assert str(path.relative_to(output.cdr)) in str(told.value)


def test_files_of_other_days_and_of_others_are_all_named(output: Output) -> None:
    night(output, 4, 1, RUN)
    (output.cdr / "notes.txt").touch()
    with pytest.raises(StoreError) as told:
        read_parts(output.cdr, "Pacific/Kiritimati", {}, GROUP_RECORD)
    assert "1 row(s) belong to another date" in str(told.value)
    assert "notes.txt: not written by the harvester" in str(told.value)
