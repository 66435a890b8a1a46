"""Folding changes into rows: which row becomes which, and what is refused."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from harvester.dataset.changes import NEW, OLD, changes_of
from harvester.dataset.footer import FOOTER_SCHEMA_VERSION
from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.dataset.kind import RecordKind
from harvester.dataset.packing import NO_DATE
from harvester.dataset.usage import UsageTotals
from harvester.errors import StoreError
from harvester.pipeline.publish.edits import Unfolded, again, unfolded
from harvester.pipeline.publish.folding import Fold, changes_by_folder, changes_in
from harvester.pipeline.publish.in_changes import InChanges, Without
from harvester.pipeline.publish.merging import Contents, Source, contents_of
from harvester.state.database import open_database
from harvester.state.values import Note
from harvester.storage.output import Output
from tests.support.changed_rows import CHANGES, change, changes, row, rows

FOLDER = "submit_date=2026-11-01"


def fold(*found: dict[str, Any], kind: RecordKind = GROUP_RECORD) -> Fold:
    return Fold(kind, changes(*found), FOLDER)


def part(folder: Path, number: int, *found: dict[str, Any]) -> Source:
    """A part of changes/, in row groups of one."""
    path = folder / f"part-s-{number}-0.parquet"
    with pq.ParquetWriter(path, CHANGES.schema) as writer:
        writer.write_table(changes(*found), row_group_size=1)
        writer.add_key_value_metadata({FOOTER_SCHEMA_VERSION: str(CHANGES.version)})
    return Source(path, hashlib.sha256(path.read_bytes()).hexdigest(), number)


A1, A2, A3 = row("a", "1", "one"), row("a", "2", "two", 5), row("a", "4", "three", 6)
B1, B2 = row("b", "10", "one"), row("b", "20", "two", 5)
C1 = row("c", "100", "one")


def test_rows_become_what_their_newest_changes_say_in_the_same_order() -> None:
    found = fold(change(A1, A2, 1), change(B1, B2, 1), change(A2, A3, 2)).edited(rows(C1, B1, A1))
    assert found.rows.to_pylist() == [C1, B2, A3]
    assert found.rows.schema == GROUP_RECORD.schema


def test_what_goes_and_what_comes_is_told_by_the_changes() -> None:
    found = fold(change(A1, A2, 1), change(A2, A3, 2)).edited(rows(C1, A1))
    unit = 10**8
    assert found.gone == Contents(UsageTotals(1, 60, 60, {"USD": 1 * unit}))
    assert found.came == Contents(UsageTotals(1, 60, 60, {"USD": 4 * unit}))


@pytest.mark.parametrize("at", [A1, A2, A3])
def test_a_row_at_any_stage_of_its_changes_becomes_the_newest(at: dict[str, Any]) -> None:
    found = fold(change(A1, A2, 1), change(A2, A3, 2)).edited(rows(at))
    assert found.rows.to_pylist() == [A3]
    assert found.gone.usage.cost == {"USD": int(at["cost"] * 10**8)}


@pytest.mark.parametrize("other", [row("a", "1", "other"), row("a", "1", "one", 1)])
def test_a_row_of_another_run_or_time_is_not_overwritten(other: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=r"the row of call a in .* is none") as raised:
        fold(change(A1, A2, 1)).edited(rows(C1, other))
    assert raised.value.code == "data.not_proved"


def test_rows_without_changes_stay_as_they_are() -> None:
    found = fold(change(A1, A2, 1)).edited(rows(C1, B1))
    assert found.rows.to_pylist() == [C1, B1]
    assert (found.gone, found.came) == (Contents(), Contents())


def test_a_change_of_which_no_row_came_is_refused_at_the_end() -> None:
    both = fold(change(A1, A2, 1), change(B1, B2, 1))
    both.begin({}, 1)
    both.edited(rows(A1))
    with pytest.raises(StoreError, match=r"call b has a change, but no row .*\(1 such call") as hit:
        both.complete()
    assert hit.value.code == "data.not_proved"
    both.edited(rows(B1))
    both.complete()


def test_a_field_that_is_left_out_is_not_brought_by_a_change() -> None:
    old, new = (
        row("a", "1", callee="49", calledInfo="x"),
        row("a", "2", "two", callee="49", calledInfo="y"),
    )
    without = GROUP_RECORD.without(("called_info",))
    (found,) = fold(change(old, new, 1), kind=without).edited(rows(old)).rows.to_pylist()
    assert (found["called_info"], found["callee"], found["cost"]) == (None, "49", Decimal(2))


def test_changes_of_a_folder_come_in_the_order_of_their_publications(tmp_path: Path) -> None:
    later = part(tmp_path, 3, change(A2, A3, 3), change(B1, B2, 3, "2026-11-02"))
    sources = [later, part(tmp_path, 2, change(B1, B2, 2, None), change(A1, A2, 2))]

    def found(folder: str, through: int) -> list[tuple[str, int]]:
        of = changes_in(folder, sources, GROUP_RECORD, through)
        assert of.schema == CHANGES.schema
        return list(zip(of["voice_id"].to_pylist(), of["publication"].to_pylist(), strict=True))

    assert found(FOLDER, 3) == [("a", 2), ("a", 3)]
    assert found(FOLDER, 2) == [("a", 2)]
    assert found(FOLDER, 1) == []
    assert found("submit_date=2026-11-02", 9) == [("b", 3)]
    assert found(f"submit_date={NO_DATE}", 9) == [("b", 2)]
    assert found("submit_date=2026-11-03", 9) == []


def test_changes_are_counted_by_folder_and_publication(tmp_path: Path) -> None:
    sources = [
        part(tmp_path, 2, change(A1, A2, 2), change(B1, B2, 2), change(C1, C1, 2, None)),
        part(tmp_path, 3, change(A2, A3, 3), change(B2, B2, 2)),
    ]
    assert changes_by_folder(sources, GROUP_RECORD) == {
        FOLDER: {2: 3, 3: 1},
        f"submit_date={NO_DATE}": {2: 1},
    }


def test_what_is_done_to_rows_is_done_to_old_and_new_of_a_change() -> None:
    edit = InChanges(fold(change(A1, A3, 1)))
    assert (edit.reads, edit.writes) == (CHANGES, CHANGES)
    edit.begin({}, 1)
    found = edit.edited(changes(change(A1, B1, 1), change(C1, A3, 2)))
    pairs: Sequence[dict[str, Any]] = found.rows.to_pylist()
    assert [(one[OLD], one[NEW]) for one in pairs] == [(A3, B1), (C1, A3)]
    unit = 10**8
    assert found.gone.usage == UsageTotals(2, 120, 120, {"USD": 5 * unit})
    assert found.came.usage == UsageTotals(2, 120, 120, {"USD": 8 * unit})
    edit.complete()


def test_footers_of_changes_say_nothing_of_the_rows_in_them() -> None:
    began: list[tuple[dict[bytes, bytes], int]] = []

    class Begun(Fold):
        def begin(self, footer: Mapping[bytes, bytes], rows: int) -> None:
            began.append((dict(footer), rows))

    InChanges(Begun(GROUP_RECORD, changes(), FOLDER)).begin({b"cdr.presumed_currency": b"2"}, 2)
    assert began == [({}, 2)]


def test_changes_of_rows_that_left_leave_with_them() -> None:
    left = change(A1, A2, 1)
    kept = (change(B1, B2, 1, "2026-11-02"), change(C1, C1, 1, None))
    edit = Without(GROUP_RECORD, ["2026-11-01", "2026-11-03"])
    assert (edit.reads, edit.writes) == (CHANGES, CHANGES)
    found = edit.edited(changes(left, *kept))
    assert found.rows.to_pylist() == list(kept)
    assert found.gone == contents_of(changes(left), CHANGES)
    assert found.came == Contents()


# --- which edit a folder gets ---------------------------------------------------------------------


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "out")


@pytest.fixture
def db(tmp_path: Path, output: Output) -> Iterator[sqlite3.Connection]:
    """A state that knows two publications of changes: 2 of a folder, then 1 of it and 1 more."""
    folder = output.changes / "change_date=1970-01-01"
    folder.mkdir(parents=True)
    found = [
        part(folder, 1, change(A1, A2, 1), change(B1, B2, 1)),
        part(folder, 2, change(A2, A3, 2), change(C1, C1, 2, "2026-11-02")),
    ]
    with closing(open_database(tmp_path / "state.db", "acme")) as made:
        for one in found:
            rewrite(made, Note(), "change")
            made.execute(
                "INSERT INTO file (path, publication, rows, bytes, sha256, state) "
                "VALUES (?, ?, 2, 1, ?, 'live')",
                (f"{folder.name}/{one.path.name}", one.publication, one.sha256),
            )
        yield made


def rewrite(db: sqlite3.Connection, note: Note, kind: str = "rewrite") -> None:
    db.execute(
        "INSERT INTO publication (lo, hi, state, kind, note) VALUES (1, 0, 'live', ?, ?)",
        (kind, msgspec.json.encode(note).decode()),
    )


def test_changes_wait_for_a_fold_until_they_are_folded_in(
    db: sqlite3.Connection, output: Output
) -> None:
    other = "submit_date=2026-11-02"
    assert unfolded(db, output, GROUP_RECORD) == {FOLDER: Unfolded(3, 2), other: Unfolded(1, 2)}
    rewrite(db, Note(folded={FOLDER: 1}))
    assert unfolded(db, output, GROUP_RECORD) == {FOLDER: Unfolded(1, 2), other: Unfolded(1, 2)}
    rewrite(db, Note(folded={FOLDER: 2}))
    assert unfolded(db, output, GROUP_RECORD) == {other: Unfolded(1, 2)}


def test_a_fold_goes_as_far_as_its_note_says(db: sqlite3.Connection, output: Output) -> None:
    for through, newest in ((1, A2), (2, A3)):
        note = Note("compact", folded={FOLDER: through})
        make = again(db, output, GROUP_RECORD, note, FOLDER)
        assert make is not None
        # A new one for each time that it is made.
        for edit in (make(), make()):
            assert edit.edited(rows(A1, B1)).rows.to_pylist() == [newest, B2]
            edit.complete()


def test_a_folder_that_was_only_compacted_is_made_again_as_it_is(
    db: sqlite3.Connection, output: Output
) -> None:
    note = Note("compact", folded={"submit_date=2026-11-02": 2})
    assert again(db, output, GROUP_RECORD, note, FOLDER) is None


def test_columns_are_lifted_again_from_the_version_that_they_had(
    db: sqlite3.Connection, output: Output
) -> None:
    note = Note("compact", lifted_from=1, free_destinations=("*",))
    for folder, of in ((FOLDER, lambda kind: kind), ("change_date=2026-11-01", changes_of)):
        make = again(db, output, GROUP_RECORD, note, folder)
        assert make is not None
        edit = make()
        assert (edit.reads, edit.writes) == (of(GROUP_RECORD_1), of(GROUP_RECORD))
    old = row("a", "0", hangupTime="2026-11-01T10:01:00Z", code="France")
    make = again(db, output, GROUP_RECORD, note, FOLDER)
    assert make is not None
    before = rows(old).select(GROUP_RECORD_1.schema.names)
    assert make().edited(before).rows["is_rated"].to_pylist() == [True], "it costs nothing there"


def test_what_was_dropped_leaves_changes_again_but_rows_of_others_are_lost(
    db: sqlite3.Connection, output: Output
) -> None:
    note = Note("drop", dropped=("2026-11-01",))
    make = again(db, output, GROUP_RECORD, note, "change_date=2026-11-01")
    assert make is not None
    kept = change(C1, C1, 2, "2026-11-02")
    assert make().edited(changes(change(A1, A2, 1), kept)).rows.to_pylist() == [kept]
    with pytest.raises(
        StoreError, match=r"the new files of .* are lost, and `harvester drop`"
    ) as hit:
        again(db, output, GROUP_RECORD, note, FOLDER)
    assert hit.value.code == "data.part_lost"
    with pytest.raises(StoreError, match="harvester erase"):
        again(db, output, GROUP_RECORD, Note("erase"), "change_date=2026-11-01")
