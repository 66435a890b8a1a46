"""The work list in the ledger: what a new one takes along, and how far one has come."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from harvester.state import listings, run_records, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.values import Batch, DeadLetter, Entry, FileStamp, InputRecord, WorkList
from harvester.storage import bitmap

LIST = WorkList(1, "key", "l", None, 19_999, 2, 4_999)
"""Of 25,000 rows: two chunks of 10,000 and one of 5,000."""


class Why(msgspec.Struct, frozen=True):
    """What a list was made for."""

    month: str


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as opened:
        yield opened


def list_input(db: sqlite3.Connection, key: str, listed: int, at_ms: int) -> None:
    number = work_lists.next_list_id(db)
    record = InputRecord(key, 9, 0, 0, 9, 0, listed, at_ms)
    work_lists.replace_list(db, WorkList(number, key, "l", None, listed, 0, 0), input_record=record)


def some_settled() -> dict[int, bytes | None]:
    """All rows of chunk 0, the first and the last of chunk 1, none of chunk 2."""
    return {0: None, 1: bitmap.with_rows(bitmap.empty(10_000), [0, 9_999])}


@pytest.mark.parametrize(
    ("rows", "settled"),
    [
        (None, 10_002),
        (25_000, 10_002),
        (20_000, 10_002),
        (19_999, 10_001),
        (10_001, 10_001),
        (10_000, 10_000),
        (5_000, 5_000),
        (0, 0),
    ],
)
def test_settled_rows_are_counted_up_to_a_row_of_the_list(rows: int | None, settled: int) -> None:
    assert work_lists.resolved_count(LIST, some_settled(), rows) == settled


@pytest.mark.parametrize(
    ("no", "pending"), [(0, []), (1, list(range(1, 9_999))), (2, list(range(5_000)))]
)
def test_pending_are_the_rows_that_are_not_settled(no: int, pending: list[int]) -> None:
    assert work_lists.pending_rows(LIST, some_settled(), no) == pending


def test_there_is_one_list_at_most_and_each_has_a_number_of_its_own(
    db: sqlite3.Connection,
) -> None:
    assert work_lists.current_list(db) is None
    assert (work_lists.count_lists(db), work_lists.next_list_id(db)) == (0, 1)
    for number in (1, 2):
        list_input(db, "a", 1, 5)
        assert (work_lists.count_lists(db), work_lists.next_list_id(db)) == (1, number + 1)


def test_the_progress_of_the_old_list_goes_with_it(db: sqlite3.Connection) -> None:
    list_input(db, "a", 1, 5)
    db.execute("INSERT INTO chunk VALUES (1, 0, NULL)")
    list_input(db, "b", 1, 5)
    assert db.execute("SELECT * FROM chunk").fetchall() == []


def test_new_ids_last_came_with_the_newest_input_that_had_any(db: sqlite3.Connection) -> None:
    """In a ledger of before that was noted; one without any has the start of its first run."""
    assert work_lists.last_new_ids_ms(db) is None
    run_records.begin_run(db, "run-1", 7)
    run_records.begin_run(db, "run-2", 9)
    assert work_lists.last_new_ids_ms(db) == 7
    list_input(db, "nothing new", 0, 300)
    assert work_lists.last_new_ids_ms(db) == 7
    list_input(db, "later", 3, 200)
    list_input(db, "earlier", 3, 100)
    assert work_lists.last_new_ids_ms(db) == 200


def test_when_new_ids_came_is_noted_with_their_list_and_stays(db: sqlite3.Connection) -> None:
    list_input(db, "a", 3, 200)
    work_lists.replace_list(db, WorkList(2, None, "l", None, 1, 0, 0), new_ids_ms=50)
    work_lists.replace_list(db, WorkList(3, None, "l", None, 0, 1, 0))
    assert work_lists.last_new_ids_ms(db) == 50


def test_what_a_refetch_was_for_is_known_until_the_next_one(db: sqlite3.Connection) -> None:
    assert work_lists.refetched_for(db, Why) is None
    for number, refetch in enumerate([Why("2026-10"), None, Why("2026-11"), None], start=1):
        new = WorkList(number, None, "l", None, 0, 0, 0, again=5)
        work_lists.replace_list(db, new, refetch=refetch)
        month = "2026-10" if number < 3 else "2026-11"
        assert work_lists.refetched_for(db, Why) == Why(month)


def test_only_a_list_that_has_what_pages_brought_clears_it(db: sqlite3.Connection) -> None:
    listings.keep_taken(db, "run-1", ["a", "b"])
    work_lists.replace_list(db, WorkList(1, None, "l", None, 1, 0, 0))
    assert listings.count_taken(db) == 2
    work_lists.replace_list(db, WorkList(2, None, "l", None, 3, 0, 0), has_taken=True)
    assert listings.count_taken(db) == 0


def test_a_record_that_was_fetched_again_settles_no_id_anew(db: sqlite3.Connection) -> None:
    """The data set's files have it already."""
    run_records.begin_run(db, "run-1", 1)
    batch = Batch(entries=[Entry("new", 1, True, b"{}")], again=[Entry("again", 1, True, b"{}")])
    acknowledge(db, "run-1", batch, work_list=None, counters={}, requests_of_day=("", 0))
    assert list(work_lists.resolved_ids(db)) == [["new"]]


def test_of_dead_letters_those_that_are_to_be_retried_are_not_settled(
    db: sqlite3.Connection,
) -> None:
    run_records.begin_run(db, "run-1", 1)
    batch = Batch(dead_letters=[DeadLetter(one, "gave_up", "", 1, 1, 1, "run-1") for one in "ab"])
    acknowledge(db, "run-1", batch, work_list=None, counters={}, requests_of_day=("", 0))
    assert list(work_lists.resolved_ids(db, {"a"})) == [["b"]]


def test_every_input_and_every_file_that_was_read_is_remembered(db: sqlite3.Connection) -> None:
    list_input(db, "a", 1, 5)
    list_input(db, "b", 2, 6)
    assert {one.key: one.listed for one in work_lists.all_inputs(db)} == {"a": 1, "b": 2}
    stamps = [FileStamp(path, 1, 2, 3, 4, "hash") for path in ("/a.txt", "/b.txt")]
    work_lists.remember_stamps(db, stamps)
    assert work_lists.known_stamps(db) == {one.path: one for one in stamps}
    assert not db.in_transaction


def test_progress_on_another_list_than_the_one_in_force_is_stray(db: sqlite3.Connection) -> None:
    list_input(db, "a", 1, 5)
    current = work_lists.current_list(db)
    assert current is not None
    db.execute("INSERT INTO chunk VALUES (1, 0, NULL), (7, 0, NULL), (7, 1, NULL)")
    assert work_lists.stray_chunks(db, current) == 2
