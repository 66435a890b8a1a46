"""state.db as it stands: looked at in any state, and not a byte of it changed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from harvester.errors import AlreadyRunning, StoreError
from harvester.state.database import get_meta, open_database, set_meta
from harvester.state.lock import OutputLock
from harvester.state.read_only import NewerLedger, account_of, has_state, looking, view_ledger
from harvester.storage.output import Output


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """One with a ledger."""
    made = Output(tmp_path / "out #1?")
    made.state.mkdir(parents=True)
    with closing(open_database(made.database, "acme")) as db:
        set_meta(db, "mark", "in the file")
    return made


def viewed(output: Output) -> AbstractContextManager[sqlite3.Connection]:
    return view_ledger(output.database)


@contextmanager
def killed(output: Output) -> Iterator[Output]:
    """A copy of the output of which the last change is in the log alone."""
    copy = Output(output.root.with_name("killed"))
    with closing(open_database(output.database, "acme")) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        set_meta(db, "mark", "in the log")
        shutil.copytree(output.root, copy.root)
    yield copy


def content(output: Output) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.state.iterdir()}


def refuse(db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        set_meta(db, "mark", "changed")


def test_an_output_has_a_state_once_it_has_a_ledger(tmp_path: Path, output: Output) -> None:
    assert has_state(output)
    assert not has_state(Output(tmp_path / "none"))
    output.database.write_bytes(b"")
    assert not has_state(output)
    output.database.write_bytes(b"x")
    assert has_state(output)


def test_who_looks_holds_the_lock_and_changes_nothing(output: Output) -> None:
    with looking(output, "status") as db:
        assert get_meta(db, "mark") == "in the file"
        assert account_of(db) == "acme"
        refuse(db)
        with pytest.raises(AlreadyRunning, match="`harvester status` reads"):
            OutputLock(output.lock, wait_s=0)
    with OutputLock(output.lock, wait_s=0):
        pass


def test_an_error_while_looking_is_one_of_the_store(output: Output) -> None:
    with pytest.raises(StoreError, match="no such table"), looking(output, "status") as db:
        db.execute("SELECT * FROM none")


def test_of_a_ledger_without_an_account_none_is_told(output: Output) -> None:
    with looking(output, "status") as db:
        assert account_of(db) == "acme"
    with closing(open_database(output.database, "acme")) as db:
        db.execute("DELETE FROM meta WHERE key = 'account'")
    with looking(output, "status") as db:
        assert account_of(db) == ""


@pytest.mark.parametrize("has_scratch", [True, False])
def test_a_ledger_is_viewed_as_it_is_and_left_so(
    output: Output, tmp_path: Path, has_scratch: bool
) -> None:
    before = content(output)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with view_ledger(output.database, scratch if has_scratch else None) as db:
        assert get_meta(db, "mark") == "in the file"
        refuse(db)
        assert list(scratch.iterdir()) == [], "no copy is needed"
    assert content(output) == before


@pytest.mark.parametrize("has_scratch", [True, False])
def test_what_a_kill_left_in_the_log_is_seen_in_a_copy(
    output: Output, tmp_path: Path, has_scratch: bool
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with killed(output) as left:
        before = content(left)
        assert before["state.db-wal"]
        with view_ledger(left.database, scratch if has_scratch else None) as db:
            assert get_meta(db, "mark") == "in the log"
            refuse(db)
            assert len(list(scratch.iterdir())) == has_scratch
        assert content(left) == before
        assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("is_there", [True, False])
def test_where_no_copy_can_be_put_another_folder_is_taken(
    output: Output, tmp_path: Path, is_there: bool
) -> None:
    """The output's own is another user's, who lets us read; root may write there all the same."""
    scratch = tmp_path / "scratch"
    if is_there:
        scratch.mkdir(mode=0o500)
    with killed(output) as left:
        before = content(left)
        with view_ledger(left.database, scratch) as db:
            assert get_meta(db, "mark") == "in the log"
        assert content(left) == before
    assert scratch.exists() == is_there


def test_a_ledger_is_read_through_other_threads_too(output: Output) -> None:
    with viewed(output) as db, ThreadPoolExecutor(1) as other:
        assert other.submit(get_meta, db, "mark").result() == "in the file"


def test_an_empty_log_needs_no_copy(output: Output, tmp_path: Path) -> None:
    output.database.with_name("state.db-wal").touch()
    before = content(output)
    with view_ledger(output.database, tmp_path / "none") as db:
        assert get_meta(db, "mark") == "in the file"
    assert content(output) == before


def test_one_of_an_older_version_is_brought_up_to_date_in_a_copy(
    output: Output, tmp_path: Path
) -> None:
    with closing(open_database(output.database, "acme")) as db:
        db.execute("DROP TABLE taken")
    before = content(output)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with view_ledger(output.database, scratch) as db:
        assert db.execute("SELECT count(*) FROM taken").fetchone() == (0,)
        assert get_meta(db, "mark") == "in the file"
        refuse(db)
        assert len(list(scratch.iterdir())) == 1
    assert content(output) == before
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("schema", [None, "0", "x"])
def test_one_that_does_not_say_its_version_is_another_programs(
    output: Output, schema: str | None
) -> None:
    with closing(sqlite3.connect(output.database)) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'schema'")
        if schema is not None:
            set_meta(db, "schema", schema)
    with pytest.raises(StoreError, match="no state database") as told, viewed(output):
        pass
    assert told.value.code == "state.foreign"


@pytest.mark.parametrize(("schema", "is_newer"), [("2", False), ("3", True)])
def test_one_of_a_newer_version_is_not_ours_to_judge(
    output: Output, schema: str, is_newer: bool
) -> None:
    with closing(sqlite3.connect(output.database)) as db, db:
        set_meta(db, "schema", schema)
    if not is_newer:
        with view_ledger(output.database) as db:
            assert get_meta(db, "schema") == "2"
        return
    with pytest.raises(NewerLedger, match="version 3, this one knows 2") as told, viewed(output):
        pass
    assert told.value.code == "state.newer"


def test_one_that_is_damaged_is_told_as_such(output: Output) -> None:
    whole = output.database.read_bytes()
    for at in (0, 4096):  # the file's head, and its first page of rows
        output.database.write_bytes(whole[:at] + b"\xff" * 4096 + whole[at + 4096 :])
        said = "can't be read: .*harvester rebuild"
        with pytest.raises(StoreError, match=said) as told, viewed(output):
            pass
        assert told.value.code == "state.damaged"


def test_one_that_turns_out_to_be_damaged_while_it_is_read_is_told_as_such(
    output: Output,
) -> None:
    said = "can't be read: no such table: none"
    with pytest.raises(StoreError, match=said) as told, viewed(output) as db:
        db.execute("SELECT * FROM none")
    assert told.value.code == "state.damaged"


def test_one_that_is_not_there_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"), view_ledger(tmp_path / "state.db"):
        pass
    assert list(tmp_path.iterdir()) == []
