"""The ledger's side of a publication: which range, which files, and what stands in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harvester.state import journal, publications, unresolved
from harvester.state.database import open_database, set_meta
from harvester.state.values import DeadLetter, Entry, KnownPart, Note, OpenCall, PartRecord

DAY_1, DAY_2 = "submit_date=2026-11-01", "submit_date=2026-11-02"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as opened:
        yield opened


def put(db: sqlite3.Connection, kind: str = "new", run: str = "run-1", ids: str = "a") -> None:
    """A row of the journal; of each id 10 bytes, to make sums easy."""
    body, _ = journal.encode(Entry(one, 1, True, b"{}") for one in ids)
    db.execute(
        "INSERT INTO journal (run, n, bytes, body, kind) VALUES (?, ?, ?, ?, ?)",
        (run, len(ids), 10 * len(ids), body, kind),
    )


def part(path: str, publication: int, rewrite: int | None = None) -> PartRecord:
    return PartRecord(path, publication, 5, 99, "hash", rewrite)


def publish(db: sqlite3.Connection, *paths: str, note: Note | None = None) -> int:
    """The number of a publication that takes one blob and brings these files, of 5 rows each."""
    put(db)
    publication = publications.prepare(db, 1)
    assert publication is not None
    parts = [part(path, publication.id) for path in paths]
    publications.commit(db, publication.id, parts, note or publications.NOTED)
    publications.make_live(db, publication)
    return publication.id


def rewrite(
    db: sqlite3.Connection, come: list[str], go: list[PartRecord], note: Note | None = None
) -> int:
    """The number of a rewrite past its commit point; what comes is of publication 1."""
    number = publications.prepare_rewrite(db)
    parts = [part(path, 1, number) for path in come]
    publications.commit_rewrite(db, number, parts, go, note or Note("compact"))
    return number


def current(db: sqlite3.Connection, root: Path, since: int = 0) -> list[str]:
    return [one.path for one in publications.current_parts(db, root.joinpath, since)]


def states(db: sqlite3.Connection) -> dict[str, tuple[str, int | None, int | None]]:
    """What is known of each file: its state, what superseded it, when it was retired."""
    return {
        path: (one.state, one.superseded_by, one.retired_ms)
        for path, one in publications.known_parts(db).items()
    }


@pytest.mark.parametrize(
    ("max_bytes", "hi", "records", "size"),
    [(1, 1, 2, 20), (20, 1, 2, 20), (21, 2, 3, 30), (30, 2, 3, 30), (31, 3, 4, 40), (99, 3, 4, 40)],
)
def test_a_range_ends_with_the_blob_that_makes_it_large_enough(
    db: sqlite3.Connection, max_bytes: int, hi: int, records: int, size: int
) -> None:
    for ids in ("ab", "c", "d"):
        put(db, ids=ids)
    found = publications.prepare(db, max_bytes)
    assert found is not None
    assert (found.id, found.lo, found.hi) == (1, 1, hi)
    assert (found.records, found.bytes, found.kind) == (records, size, "append")


def test_a_range_ends_before_answers_of_another_kind(db: sqlite3.Connection) -> None:
    for kind in ("again", "again", "new", "again"):
        put(db, kind)
    found = publications.prepare(db, 999)
    assert found is not None
    assert (found.lo, found.hi, found.kind, found.is_change) == (1, 2, "change", True)


def test_the_blobs_of_a_range_come_one_after_the_other(db: sqlite3.Connection) -> None:
    for run in ("run-1", "run-2", "run-3"):
        put(db, run=run)
    found = [publications.next_blob(db, after, 2) for after in (0, 1, 2)]
    assert [one and one[:2] for one in found] == [(1, "run-1"), (2, "run-2"), None]
    (first, *_) = found
    assert first is not None
    assert [one.voice_id for one in journal.decode(first[2], "run-1")] == ["a"]


def test_the_journal_is_read_by_run_and_by_kind(db: sqlite3.Connection) -> None:
    for run, kind in (("run-1", "new"), ("run-1", "again"), ("run-2", "new"), ("run-2", "again")):
        put(db, kind, run)

    def found(run: str | None = None, kind: str | None = None) -> list[int]:
        return [one.seq for one in publications.journal_blobs(db, run, kind)]

    assert found() == [1, 2, 3, 4]
    assert found(run="run-2") == [3, 4]
    assert found(kind="again") == [2, 4]
    assert found("run-1", "again") == [2]
    assert publications.journal_size(db) == (4, 40)
    assert publications.journal_size(db, "new") == (2, 20)
    assert publications.journal_size(db, "other") == (0, 0)


def test_making_a_publication_live_touches_no_other(db: sqlite3.Connection) -> None:
    for ids in ("a", "b", "c"):
        put(db, ids=ids)
    first, second = publications.prepare(db, 1), publications.prepare_rewrite(db)
    assert first is not None
    publications.commit(db, first.id, [part("one", first.id)])
    publications.commit_rewrite(db, second, [part("two", 9, second)], [], Note("compact"))
    assert publications.committed_paths(db) == {"one"}, "the other is a rewrite's"
    publications.make_live(db, first)
    assert states(db) == {"one": ("live", None, None), "two": ("committed", None, None)}
    assert [one.seq for one in publications.journal_blobs(db)] == [2, 3]
    assert [one.id for one in publications.unfinished(db)] == [second]


def test_what_was_prepared_is_dropped_and_nothing_else(db: sqlite3.Connection) -> None:
    publish(db, "one")
    rewrite(db, [], [])
    put(db)
    dropped = publications.prepare(db, 1)
    assert dropped is not None
    assert publications.drop_prepared(db) == [dropped.id]
    found = [(one.id, one.state, one.kind) for one in publications.all_publications(db)]
    assert found == [(1, "live", "append"), (2, "committed", "rewrite")]
    assert publications.newest_live(db) == 1
    assert publications.newest_number(db) == 3


def test_before_the_first_publication_nothing_is_live(db: sqlite3.Connection) -> None:
    assert publications.newest_live(db) == publications.newest_number(db) == 0
    assert not publications.has_live_parts(db)
    publish(db, "one")
    publish(db, "two")
    assert publications.newest_live(db) == publications.newest_number(db) == 2
    assert publications.has_live_parts(db)


def test_a_publication_says_how_many_of_its_records_the_journal_holds(
    db: sqlite3.Connection,
) -> None:
    publish(db, "one", note=Note(records=1))
    put(db, ids="abc")
    publications.prepare(db, 1)
    found = [(one.records, one.note) for one in publications.all_publications(db)]
    assert found == [(0, Note(records=1)), (3, None)]


def test_rows_of_changes_are_no_rows_of_the_data_set(db: sqlite3.Connection) -> None:
    publish(db, f"{DAY_1}/a", f"{DAY_2}/b", "change_date=2026-11-03/c")
    assert publications.live_rows(db) == 10
    none_is_there = Path("nowhere").joinpath
    changes = publications.current_parts(db, none_is_there, changes=True)
    assert [one.path for one in changes] == ["change_date=2026-11-03/c"]
    found = publications.current_parts(db, none_is_there)
    assert [one.path for one in found] == [f"{DAY_1}/a", f"{DAY_2}/b"]


def test_only_the_part_that_was_made_again_gets_another_hash(db: sqlite3.Connection) -> None:
    put(db)
    publication = publications.prepare(db, 1)
    assert publication is not None
    publications.commit(db, publication.id, [part("one", 1), part("two", 1)])
    publications.amend(db, PartRecord("two", 1, 5, 7, "new"))
    assert [one.sha256 for one in publications.parts_of(db, 1)] == ["hash", "new"]


def test_a_rewrite_takes_the_place_of_the_files_that_it_names(db: sqlite3.Connection) -> None:
    publish(db, "stays", "goes")
    number = rewrite(db, ["comes"], [part("goes", 1)])
    assert publications.parts_of(db, number) == [part("comes", 1, number)]
    assert publications.superseded_parts(db, number) == [part("goes", 1)]
    assert states(db) == {
        "stays": ("live", None, None),
        "goes": ("live", number, None),
        "comes": ("committed", None, None),
    }
    assert publications.retired_at(db) == {}
    publications.retire(db, number, 777)
    assert states(db) == {
        "stays": ("live", None, None),
        "goes": ("retired", number, 777),
        "comes": ("live", None, None),
    }
    assert publications.unfinished(db) == []
    assert publications.newest_live(db) == number
    assert publications.live_rows(db) == 10


def test_all_that_is_known_of_a_file_is_told(db: sqlite3.Connection) -> None:
    publish(db, "one")
    first = rewrite(db, ["two"], [part("one", 1)])
    publications.retire(db, first, 10)
    second = rewrite(db, [], [part("two", 1)])
    publications.retire(db, second, 20)
    assert publications.known_parts(db)["two"] == KnownPart(
        "two", 1, 5, 99, "hash", first, state="retired", superseded_by=second, retired_ms=20
    )


def test_a_rewrite_takes_nothing_from_the_journal(db: sqlite3.Connection) -> None:
    put(db)
    rewrite(db, [], [])
    (found,) = publications.all_publications(db)
    assert (found.is_rewrite, found.records) == (True, 0)


def test_retired_files_are_forgotten_one_rewrite_after_the_other(db: sqlite3.Connection) -> None:
    publish(db, "one", "two", "three")
    first, second = (rewrite(db, [], [part(path, 1)]) for path in ("one", "two"))
    publications.retire(db, first, 10)
    publications.forget_retired(db, second)
    assert states(db)["two"] == ("live", second, None), "it is not retired yet"
    publications.retire(db, second, 20)
    assert publications.retired_at(db) == {first: 10, second: 20}
    publications.forget_retired(db, first)
    assert publications.retired_at(db) == {second: 20}
    assert sorted(states(db)) == ["three", "two"]


def test_files_were_retired_when_the_last_of_a_rewrite_was(db: sqlite3.Connection) -> None:
    publish(db, "one", "two")
    number = rewrite(db, [], [part("one", 1), part("two", 1)])
    publications.retire(db, number, 10)
    db.execute("UPDATE file SET retired_ms = 30 WHERE path = 'one'")
    assert publications.retired_at(db) == {number: 30}


def test_what_has_to_be_true_with_a_rewrite_is_written_with_it_or_not_at_all(
    db: sqlite3.Connection,
) -> None:
    def mark(at: sqlite3.Connection) -> None:
        set_meta(at, "mark", "there")

    publish(db, "one")
    taken = [part("one", 1)]  # a name that is taken: the rewrite fails
    number = publications.prepare_rewrite(db)
    with pytest.raises(sqlite3.IntegrityError):
        publications.commit_rewrite(db, number, taken, taken, Note("drop"), mark)
    assert db.execute("SELECT value FROM meta WHERE key = 'mark'").fetchall() == []
    publications.commit_rewrite(db, number, [], taken, Note("drop"), mark)
    assert db.execute("SELECT value FROM meta WHERE key = 'mark'").fetchall() == [("there",)]


def test_only_what_was_dropped_or_erased_leaves_a_file_behind(db: sqlite3.Connection) -> None:
    publish(db, "one")
    drop, _, erase = (rewrite(db, [], [], Note(one)) for one in ("drop", "compact", "erase"))
    publications.retire(db, drop, 5)
    publications.prepare_rewrite(db)
    assert publications.leaving_files(db) == [(drop, "drop"), (erase, "erase")]


def test_a_folder_has_the_newest_change_that_was_folded_into_it(db: sqlite3.Connection) -> None:
    assert publications.folded(db) == {}
    publish(db, "one", note=Note(folded={"no rewrite's": 1}))
    for folded in ({DAY_1: 3, DAY_2: 3}, {DAY_1: 5}, {}):
        rewrite(db, [], [], Note("compact", folded=folded))
    publications.prepare_rewrite(db)
    assert publications.folded(db) == {DAY_1: 5, DAY_2: 3}


def test_current_are_the_files_of_a_publication_or_later_ones(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    numbers = [publish(db, path) for path in ("b/1", "a/2", "c/3")]
    assert current(db, tmp_path) == ["a/2", "b/1", "c/3"]
    assert current(db, tmp_path, numbers[1]) == ["a/2", "c/3"]
    assert publications.current_parts(db, tmp_path.joinpath) == [
        part("a/2", 2),
        part("b/1", 1),
        part("c/3", 3),
    ]


def test_of_a_rewrite_that_is_not_finished_each_folder_is_as_before_or_as_after(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    """By what lies in it.  A folder that leaves is there, or not any more."""
    old = ["a/old", "left/old", "leaves/old", "z/old"]
    publish(db, "m/other", *old)
    rewrite(db, ["a/new", "z/new"], [part(path, 1) for path in old])
    (tmp_path / "leaves").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a/new").touch()
    assert current(db, tmp_path) == ["a/new", "leaves/old", "m/other", "z/old"]
    assert current(db, tmp_path, 1) == ["a/new", "leaves/old", "m/other", "z/old"]
    assert current(db, tmp_path, 2) == []


def test_a_folder_whose_old_files_are_lost_is_as_before_until_it_is_exchanged(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    publish(db, "a/old")
    rewrite(db, ["a/new"], [part("a/old", 1)])
    assert current(db, tmp_path) == ["a/old"], "so that somebody misses it"


def test_a_committed_publication_of_the_journal_is_in_none_of_its_folders_yet(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    publish(db, "a/old")
    rewrite(db, ["a/new"], [part("a/old", 1)])
    put(db)
    publication = publications.prepare(db, 1)
    assert publication is not None
    publications.commit(db, publication.id, [part("b/next", publication.id)])
    (tmp_path / "b").mkdir()
    (tmp_path / "b/next").touch()
    assert current(db, tmp_path) == ["a/old"]


def test_notes_are_those_of_newer_publications_that_are_in_place(db: sqlite3.Connection) -> None:
    for number in (1, 2, 3):
        publish(db, f"{number}", note=Note(records=number))
    publications.retire(db, rewrite(db, [], [], Note("compact")), 5)
    put(db)
    publication = publications.prepare(db, 1)
    assert publication is not None
    publications.commit(db, publication.id, [], Note(records=9))
    found = publications.notes_since(db, 1)
    assert found == [(2, Note(records=2)), (3, Note(records=3))]


def test_some_id_that_is_resolved_is_known(db: sqlite3.Connection) -> None:
    """From the journal, or else an open or a dead one; what is in the data set does not count."""
    assert publications.known_id(db) is None
    unresolved.put_dead_letters(db, [DeadLetter("dead", "gave_up", "", 1, 1, 1, "run-1")])
    assert publications.known_id(db) == "dead"
    unresolved.put_open_calls(db, [OpenCall("open", 1, 1, 1, "run-1")])
    assert publications.known_id(db) in {"dead", "open"}
    put(db, "again", ids="x")
    assert publications.known_id(db) in {"dead", "open"}
    put(db, ids="a")
    assert publications.known_id(db) == "a"
