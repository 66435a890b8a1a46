"""state.db itself: what opening makes of it, what its small helpers promise, what errors say."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harvester.errors import ConfigError, StoreError
from harvester.state import database, publications
from harvester.state.database import open_database, store_errors, transaction

SECRET = "+4915112345678"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "out/state").mkdir(parents=True)
    return tmp_path / "out/state/state.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(path, "acme")) as opened:
        yield opened


def test_a_new_database_says_what_it_is_and_whose(db: sqlite3.Connection) -> None:
    found = dict(db.execute("SELECT key, value FROM meta"))
    assert re.fullmatch("[0-9a-f]{32}", found.pop("state_id"))
    assert found == {"schema": "2", "account": "acme", "clean": "1"}
    assert database.get_meta(db, "other") is None


def test_what_belongs_to_another_account_opens_where_none_is_claimed(path: Path) -> None:
    open_database(path, "acme").close()
    with pytest.raises(ConfigError) as refused:
        open_database(path, "other")
    assert refused.value.code == "state.belongs.account"
    open_database(path, "", is_claimed=False).close()


def test_a_database_that_is_only_read_takes_no_change(db: sqlite3.Connection) -> None:
    database.refuse_changes(db)
    assert database.get_meta(db, "account") == "acme"
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.set_meta(db, "account", "other")


def fail_after(db: sqlite3.Connection, statement: str) -> None:
    with transaction(db):
        database.set_meta(db, "mark", "there")
        db.execute(statement)
        raise KeyboardInterrupt


# After the second one SQLite has ended the transaction already.
@pytest.mark.parametrize("statement", ["SELECT 1", "ROLLBACK"])
def test_a_transaction_that_is_left_by_an_error_never_was(
    db: sqlite3.Connection, statement: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_after(db, statement)
    assert not db.in_transaction
    assert database.get_meta(db, "mark") is None


def test_a_transaction_is_over_when_it_is_left(db: sqlite3.Connection) -> None:
    with transaction(db):
        assert db.in_transaction
        database.set_meta(db, "mark", "there")
    assert not db.in_transaction
    assert database.get_meta(db, "mark") == "there"


def test_the_next_number_never_goes_back(db: sqlite3.Connection) -> None:
    assert database.newest_number(db, "publication") == 0
    for number, newest in ((7, 7), (3, 7), (8, 8)):
        database.keep_number(db, "publication", number)
        assert database.newest_number(db, "publication") == newest
    assert publications.prepare_rewrite(db) == 9


def test_whether_there_are_rows_is_told_by_yes_or_no(db: sqlite3.Connection) -> None:
    assert database.exists(db, "meta") is True
    assert database.exists(db, "run") is False
    assert database.exists(db, "meta WHERE key = ?", "account") is True
    assert database.exists(db, "meta WHERE key = ?", "other") is False


def wrote(path: Path) -> bytes:
    return b"".join(one.read_bytes() for one in path.parent.glob("state.db*"))


def test_what_was_there_before_it_is_written_anew_is_left_nowhere(
    path: Path, db: sqlite3.Connection
) -> None:
    db.execute("PRAGMA secure_delete = OFF")  # some builds of SQLite begin with it on
    database.set_meta(db, "number", 50 * SECRET)
    database.set_meta(db, "number", "none")
    assert SECRET.encode() in wrote(path)
    database.write_anew(db)
    assert SECRET.encode() not in wrote(path)
    assert path.with_name("state.db-wal").stat().st_size == 0
    assert database.get_meta(db, "number") == "none"


def test_what_is_removed_is_overwritten_once_that_is_asked_for(
    path: Path, db: sqlite3.Connection
) -> None:
    db.execute("PRAGMA secure_delete = OFF")
    database.set_meta(db, "number", SECRET)
    database.leave_no_trace(db)
    db.execute("DELETE FROM meta WHERE key = 'number'")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert SECRET.encode() not in wrote(path)


def test_copies_of_upgrades_are_found_in_order_and_nothing_else(path: Path) -> None:
    names = ["state.db.before-2.9", "state.db.before-1", "state.db.before-2.11"]
    for name in [*names, "state.db", "state.db-wal", "other.db.before-1"]:
        path.with_name(name).touch()
    assert [one.name for one in database.copies_of(path)] == sorted(names)


ADDED = [
    ("input", "too_young"),
    ("input_file", "ctime_ns"),
    ("open_call", "unrated_ms"),
    ("journal", "kind"),
    ("list", "again"),
    ("list", "refetched"),
    ("deferred", "again"),
]
"""Columns that came after version 2 was first made."""


def form(db: sqlite3.Connection) -> dict[str, set[str]]:
    """The columns of each table."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        table: {str(row[1]) for row in db.execute(f"PRAGMA table_info({table})")}
        for table in tables
    }


@pytest.mark.parametrize(
    "lost",
    [f"ALTER TABLE {table} DROP COLUMN {column}" for table, column in ADDED]
    + [f"DROP TABLE {one}" for one in ("listing", "listed_window", "listed_file", "taken")],
)
def test_whatever_an_older_one_lacks_it_gets_and_a_copy_of_before_is_kept(
    path: Path, lost: str
) -> None:
    with closing(open_database(path, "acme")) as db:
        whole = form(db)
        assert not database.is_older(db)
        db.execute(lost)
        older = form(db)
        assert database.is_older(db)
    with closing(open_database(path, "acme")) as db:
        assert form(db) == whole
        assert not database.is_older(db)
    (copy,) = database.copies_of(path)
    with closing(sqlite3.connect(copy)) as db:
        assert form(db) == older


def test_tables_of_version_1_keep_their_rows_and_no_number_is_given_again(path: Path) -> None:
    """Also one that no row has any more: a file of its name may be with somebody."""
    row = "(1, 0, 'live')"
    with closing(open_database(path, "acme")) as db:
        db.execute("DROP TABLE publication")
        db.execute("DROP TABLE file")
        db.execute(
            "CREATE TABLE publication (id INTEGER PRIMARY KEY AUTOINCREMENT, lo INTEGER NOT NULL, "
            "hi INTEGER NOT NULL, state TEXT NOT NULL "
            "CHECK (state IN ('prepared', 'committed', 'live')))"
        )
        db.execute(
            "CREATE TABLE file (path TEXT PRIMARY KEY, publication INTEGER NOT NULL, "
            "rows INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, "
            "state TEXT NOT NULL CHECK (state IN ('committed', 'live'))) WITHOUT ROWID"
        )
        db.execute(f"INSERT INTO publication (lo, hi, state) VALUES {row}, {row}, {row}")
        db.execute("INSERT INTO file VALUES ('submit_date=2026-11-01/a', 2, 3, 4, 'hash', 'live')")
        db.execute("DELETE FROM publication WHERE id = 3")
        database.set_meta(db, "schema", "1")
    with closing(open_database(path, "acme")) as db:
        found = publications.all_publications(db)
        assert [(one.id, one.state, one.kind) for one in found] == [
            (1, "live", "append"),
            (2, "live", "append"),
        ]
        (part,) = publications.known_parts(db).values()
        assert (part.publication, part.rows, part.bytes, part.sha256) == (2, 3, 4, "hash")
        assert (part.state, part.rewrite, part.superseded_by) == ("live", None, None)
        assert publications.prepare_rewrite(db) == 4
        assert database.get_meta(db, "schema") == "2"


def test_one_that_has_all_is_not_touched_by_bringing_it_up_to_date(db: sqlite3.Connection) -> None:
    before = list(db.iterdump())
    database.bring_up_to_date(db)
    assert list(db.iterdump()) == before
    assert not db.in_transaction


@pytest.mark.parametrize("schema", ["0", "no number", None])
def test_a_database_without_a_version_of_ours_is_another_programs(
    path: Path, schema: str | None
) -> None:
    with closing(open_database(path, "acme")) as db:
        if schema is None:
            db.execute("DELETE FROM meta WHERE key = 'schema'")
        else:
            database.set_meta(db, "schema", schema)
    with pytest.raises(StoreError) as refused:
        open_database(path, "acme")
    assert refused.value.code == "state.foreign"


@pytest.mark.parametrize(("schema", "code"), [("2", None), ("3", "state.newer")])
def test_the_next_version_is_too_new(path: Path, schema: str, code: str | None) -> None:
    with closing(open_database(path, "acme")) as db:
        database.set_meta(db, "schema", schema)
    if code is None:
        open_database(path, "acme").close()
        return
    with pytest.raises(StoreError) as refused:
        open_database(path, "acme")
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("database or disk is full", "Free some space"),
        ("attempt to write a readonly database", "the folder is writable"),
        ("unable to open database file", "the folder is writable"),
        ("database is locked", "Another program has it open"),
        ("disk I/O error", "Look at the disk"),
        ("file is not a database", "harvester rebuild"),
        ("database disk image is malformed", "harvester rebuild"),
        ("something else", "Run the same command again; if it comes back"),
    ],
)
def test_an_error_of_sqlite_says_what_to_do(said: str, advice: str) -> None:
    failed = f"^the state database x failed: {said}. .*{advice}"
    with pytest.raises(StoreError, match=failed) as told, store_errors("x"):
        raise sqlite3.OperationalError(said)
    assert told.value.code == "state.failed"


@pytest.mark.parametrize(
    ("error", "said"), [(OSError(errno.EIO, "Bad disk"), "Bad disk"), (OSError("odd"), "odd")]
)
def test_an_error_of_the_disk_is_told_as_the_system_has_it(error: OSError, said: str) -> None:
    failed = rf"^the state database x failed: {said}\.$"
    with pytest.raises(StoreError, match=failed), store_errors("x"):
        raise error
