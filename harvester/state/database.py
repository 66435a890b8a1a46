"""state.db: its tables, how it is opened, and how its errors are told.

Theory of operation.  One SQLite file, WAL, synchronous=FULL: a transaction that is committed
survives a power loss.  One connection holds it exclusively (locking_mode=EXCLUSIVE), because
SQLite before 3.51.3 can lose a WAL when two connections meet in a checkpoint; whoever wants to
know how a run is doing reads status.json instead.

There is no row per finished id: a finished id is a bit of its chunk and a row of the data set.
Every table here stays small however many ids there are, but for open calls, dead letters and
deferred ids, which are few or are news.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from harvester.errors import ConfigError, StoreError, disk_code
from harvester.storage.atomic_files import NewFile

SCHEMA_VERSION = 2
"""A harvester that knows a lower one refuses the database."""

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE input (
    key TEXT PRIMARY KEY, lines INTEGER NOT NULL, bad INTEGER NOT NULL,
    duplicate INTEGER NOT NULL, distinct_ids INTEGER NOT NULL, settled_before INTEGER NOT NULL,
    listed INTEGER NOT NULL, first_listed_ms INTEGER NOT NULL,
    too_young INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE input_file (
    path TEXT PRIMARY KEY, inode INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, xxh128 TEXT NOT NULL, ctime_ns INTEGER NOT NULL DEFAULT 0)
    WITHOUT ROWID;
CREATE TABLE list (
    id INTEGER PRIMARY KEY AUTOINCREMENT, input_key TEXT, path TEXT NOT NULL, ids_path TEXT,
    listed INTEGER NOT NULL, retried INTEGER NOT NULL, left_over INTEGER NOT NULL,
    delivered INTEGER NOT NULL, open INTEGER NOT NULL, dead INTEGER NOT NULL,
    again INTEGER NOT NULL DEFAULT 0, refetched INTEGER NOT NULL DEFAULT 0);
-- Only chunks that are begun have a row. bits NULL: every row of the chunk is settled.
CREATE TABLE chunk (
    list INTEGER NOT NULL, no INTEGER NOT NULL, bits BLOB, PRIMARY KEY (list, no)) WITHOUT ROWID;
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, n INTEGER NOT NULL,
    bytes INTEGER NOT NULL, body BLOB NOT NULL,
    kind TEXT NOT NULL DEFAULT 'new');
-- AUTOINCREMENT: a number that was prepared and dropped is never used again, nor a file's name.
-- kind: append takes the journal's rows of kind 'new' into cdr/, change those of kind 'again' into
-- changes/; rewrite has an empty range, 1 to 0.
-- note: what it is made of, and why (JSON: `values.Note`).
CREATE TABLE publication (
    id INTEGER PRIMARY KEY AUTOINCREMENT, lo INTEGER NOT NULL, hi INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'committed', 'live')),
    kind TEXT NOT NULL DEFAULT 'append' CHECK (kind IN ('append', 'rewrite', 'change')),
    note TEXT);
-- path: relative to cdr/, or to changes/ where it begins with that folder's kind of partition.
-- publication: that in its name.  rewrite: the one that put it into its folder, if one did.
CREATE TABLE file (
    path TEXT PRIMARY KEY, publication INTEGER NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, sha256 TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('committed', 'live', 'retired')),
    rewrite INTEGER, superseded_by INTEGER, retired_ms INTEGER) WITHOUT ROWID;
CREATE TABLE open_call (
    id TEXT PRIMARY KEY, due_ms INTEGER NOT NULL, first_ms INTEGER NOT NULL,
    asks INTEGER NOT NULL, run TEXT NOT NULL, answer BLOB,
    answer_ms INTEGER, unknown_ms INTEGER, unrated_ms INTEGER) WITHOUT ROWID;
CREATE TABLE dead_letter (
    id TEXT PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL, attempts INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, died_ms INTEGER NOT NULL, run TEXT NOT NULL,
    published INTEGER NOT NULL, retrying INTEGER NOT NULL, body BLOB) WITHOUT ROWID;
CREATE INDEX retrying ON dead_letter (retrying) WHERE retrying = 1;
CREATE TABLE deferred (
    id TEXT PRIMARY KEY, cause TEXT NOT NULL, detail TEXT NOT NULL, first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL, run TEXT NOT NULL, runs INTEGER NOT NULL, days TEXT NOT NULL,
    chunk INTEGER, row INTEGER, counts INTEGER NOT NULL,
    again INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
-- The days that `discover` listed: from start_s on and before until_s, in Unix seconds.
-- ended_ms NULL: not all was asked for.  unsettled: windows that are not settled in spite of that.
-- is_running: nobody has said yet what it has sent.  least, most: the vendor's totals of all of it.
-- asked_from_s, asked_until_s: the seconds that are asked for, to have the calls of these days.
CREATE TABLE listing (
    id INTEGER PRIMARY KEY AUTOINCREMENT, start_s INTEGER NOT NULL, until_s INTEGER NOT NULL,
    begun_ms INTEGER NOT NULL, ended_ms INTEGER, requests INTEGER NOT NULL,
    calls INTEGER, unsettled INTEGER NOT NULL DEFAULT 0, is_running INTEGER NOT NULL,
    least INTEGER, most INTEGER, asked_from_s INTEGER, asked_until_s INTEGER);
-- The windows of listings that are not settled.  cause: why it is not settled; empty where it is.
CREATE TABLE listed_window (
    listing INTEGER NOT NULL, start_s INTEGER NOT NULL, until_s INTEGER NOT NULL,
    asked_ms INTEGER NOT NULL, total INTEGER NOT NULL, distinct_ids INTEGER NOT NULL,
    cause TEXT NOT NULL, PRIMARY KEY (listing, start_s)) WITHOUT ROWID;
-- path: relative to state/listed/.
CREATE TABLE listed_file (
    path TEXT PRIMARY KEY, listing INTEGER NOT NULL, rows INTEGER NOT NULL) WITHOUT ROWID;
-- Ids that `--via pages` took from pages, in runs in which that way has not come to its end yet.
CREATE TABLE taken (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, n INTEGER NOT NULL,
    ids BLOB NOT NULL);
CREATE TABLE run (
    id TEXT PRIMARY KEY, started_ms INTEGER NOT NULL, ended_ms INTEGER, exit_code INTEGER,
    first_publication INTEGER NOT NULL, counters TEXT NOT NULL) WITHOUT ROWID;
"""

# Tables that SQLite can't give their new form (a CHECK can't be altered): where they are not as
# they stand in _TABLES they are made anew, with the rows and the columns that they had.
_MADE_ANEW = ("publication", "file")

# Columns that came later: (table, name, definition); only ever appended to, as their number, with
# that of the tables below, names the copy that is kept.  A database that was made without one gets
# it when it is opened; an older harvester of the same version goes on reading it, as it names the
# columns that it reads.
_ADDED = (
    ("input_file", "ctime_ns", "INTEGER NOT NULL DEFAULT 0"),
    ("open_call", "unrated_ms", "INTEGER"),
    ("input", "too_young", "INTEGER NOT NULL DEFAULT 0"),
    ("journal", "kind", "TEXT NOT NULL DEFAULT 'new'"),
    ("list", "again", "INTEGER NOT NULL DEFAULT 0"),
    ("list", "refetched", "INTEGER NOT NULL DEFAULT 0"),
    ("deferred", "again", "INTEGER NOT NULL DEFAULT 0"),
    ("listing", "least", "INTEGER"),
    ("listing", "most", "INTEGER"),
    ("listing", "asked_from_s", "INTEGER"),
    ("listing", "asked_until_s", "INTEGER"),
)

# Tables that came later, all of them: a database that was made without one gets it when it is
# opened.
_ADDED_TABLES = ("listing", "listed_window", "listed_file", "taken")

_FORM = len(_ADDED) + len(_ADDED_TABLES)
"""Which of the forms of this version it is."""


def open_database(path: Path, account: str, *, is_claimed: bool = True) -> sqlite3.Connection:
    """Open state.db, or make it for `account`.  The caller holds the output's lock.

    Raises StoreError if it can't be opened, is no ledger, or is of a newer version; ConfigError
    if it belongs to another account, unless that is not claimed.
    """
    with store_errors(path):
        if not path.exists():
            # Made by us first, so that SQLite's files are never readable by others.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path, account, is_claimed=is_claimed)
        except BaseException:
            db.close()
            raise
        return db


def refuse_changes(db: sqlite3.Connection) -> None:
    """Let `db` answer questions alone, from now on."""
    db.execute("PRAGMA query_only = ON")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, durable at its end."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def store_errors(path: Path | str) -> Iterator[None]:
    """Tell an error of SQLite or the disk as a StoreError that says what to do."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreError(
            f"the state database {path} failed: {exc}. {_remedy(str(exc))}", code="state.failed"
        ) from exc
    except OSError as exc:
        raise StoreError(
            f"the state database {path} failed: {exc.strerror or exc}.", code=disk_code(exc)
        ) from exc


def leave_no_trace(db: sqlite3.Connection) -> None:
    """Overwrite what is removed or replaced from now on, instead of leaving it in free pages."""
    db.execute("PRAGMA secure_delete = ON")


def write_anew(db: sqlite3.Connection) -> None:
    """Make the file anew from what its rows hold now, and empty its log: of what was removed or
    replaced, nothing is left in either.  May be repeated after a crash at any point.
    """
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def copies_of(path: Path) -> list[Path]:
    """The copies that upgrades kept of the database at `path`."""
    return sorted(path.parent.glob(f"{path.name}.before-*"))


def get_meta(db: sqlite3.Connection, key: str) -> str | None:
    """A value of `meta`, or None."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def set_meta(db: sqlite3.Connection, key: str, value: str) -> None:
    """Set a value of `meta`, inside whatever transaction is open."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def one_number(db: sqlite3.Connection, query: str, *values: int) -> int:
    """The one number that `query` gives."""
    return int(db.execute(query, values).fetchone()[0])


def exists(db: sqlite3.Connection, rows: str, *values: str) -> bool:
    """Whether there is any of `rows`: a table, with its WHERE."""
    found = db.execute(f"SELECT EXISTS (SELECT 1 FROM {rows})", values).fetchone()  # noqa: S608
    return bool(found[0])


def newest_number(db: sqlite3.Connection, table: str) -> int:
    """The highest number that `table` ever gave out; 0 for none."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return 0 if row is None else int(row[0])


def keep_number(db: sqlite3.Connection, table: str, number: int) -> None:
    """Let the next number of `table` be above `number`, inside whatever transaction is open."""
    if newest_number(db, table) < number:
        db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        db.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, number))


def _prepare(db: sqlite3.Connection, path: Path, account: str, *, is_claimed: bool) -> None:
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        _create(db, account)
    _check_version(db, path)
    known = get_meta(db, "account")
    if is_claimed and known != account:
        raise ConfigError(
            f"the output of {path.parent.parent} belongs to account {known!r}, not {account!r}. "
            "Use another --out for this account, or set vendor.account back.",
            code="state.belongs.account",
        )
    if get_meta(db, "clean") != "1":
        _check_integrity(db, path)
    _migrate(db, path)


def _statements() -> list[str]:
    plain = re.sub(r"--.*", "", _TABLES)
    return [statement.strip() for statement in plain.split(";") if statement.strip()]


def _statement(table: str) -> str:
    (found,) = (one for one in _statements() if one.startswith(f"CREATE TABLE {table} ("))
    return found


def _create(db: sqlite3.Connection, account: str) -> None:
    with transaction(db):
        for statement in _statements():
            db.execute(statement)
        set_meta(db, "schema", str(SCHEMA_VERSION))
        set_meta(db, "state_id", secrets.token_hex(16))
        set_meta(db, "account", account)
        set_meta(db, "clean", "1")


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Give a database of an older version what came since; a copy of it as it was is kept first."""
    if not is_older(db):
        return
    _keep_copy(db, path.with_name(f"{path.name}.before-{SCHEMA_VERSION}.{_FORM}"))
    bring_up_to_date(db)


def is_older(db: sqlite3.Connection) -> bool:
    """Whether it lacks what this version asks for."""
    return _version(db) < SCHEMA_VERSION or bool(
        _missing_columns(db) or _missing_tables(db) or _of_other_form(db)
    )


def bring_up_to_date(db: sqlite3.Connection) -> None:
    """Give a database of an older version the tables of this one: in one transaction, so that it
    is whole in one of the two at any time.  Nothing happens to one that has them.
    """
    if not is_older(db):
        return
    with transaction(db):
        for table in _of_other_form(db):
            _make_anew(db, table)
        for table in _missing_tables(db):
            db.execute(_statement(table))
        for table, name, definition in _missing_columns(db):
            db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")
        set_meta(db, "schema", str(SCHEMA_VERSION))


def _make_anew(db: sqlite3.Connection, table: str) -> None:
    columns = ", ".join(_columns(db, table))
    newest = newest_number(db, table)
    db.execute(f"ALTER TABLE {table} RENAME TO older")
    db.execute(_statement(table))
    db.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM older")  # noqa: S608
    db.execute("DROP TABLE older")
    keep_number(db, table, newest)


def _of_other_form(db: sqlite3.Connection) -> list[str]:
    made = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    # One that is damaged may lack a table: whoever reads that says so.
    as_made = {table: _statement(table) for table in _MADE_ANEW}
    return [table for table, ours in as_made.items() if made.get(table, ours) != ours]


def _missing_columns(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return [added for added in _ADDED if added[1] not in _columns(db, added[0])]


def _missing_tables(db: sqlite3.Connection) -> list[str]:
    return [table for table in _ADDED_TABLES if not _columns(db, table)]


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def _keep_copy(db: sqlite3.Connection, copy: Path) -> None:
    """A whole, durable copy, for the owner alone, in place of what an earlier try left there."""
    with NewFile(copy) as new:
        # SQLite's own copy holds what a kill left in the log as well.
        with closing(sqlite3.connect(new.half, isolation_level=None)) as target:
            db.backup(target)
        new.commit()


def _version(db: sqlite3.Connection) -> int:
    """0: it is no state database."""
    try:
        return int(get_meta(db, "schema") or 0)
    except (sqlite3.Error, ValueError):
        return 0


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version = _version(db)
    if version == 0:
        raise StoreError(
            f"{path} is a database, but not a state database of cdr-harvester: move it away.",
            code="state.foreign",
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer cdr-harvester (state database version {version}, this "
            f"one knows {SCHEMA_VERSION}). Nothing was changed: install the newer version.",
            code="state.newer",
        )


def _check_integrity(db: sqlite3.Connection, path: Path) -> None:
    """After an end that wasn't clean, look before anything is built on it."""
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone() or ("no answer",)
    if found != "ok":
        raise StoreError(
            f"{path} is damaged ({' '.join(found.split())}). Nothing was changed: restore state/ "
            "from a backup, or make it again from the data with `harvester rebuild`.",
            code="state.damaged",
        )


def _remedy(message: str) -> str:
    if "full" in message:
        return "Free some space and run the same command again: what was acknowledged is safe."
    if "readonly" in message or "unable to open" in message:
        return "Check that the folder is writable and run again."
    if "locked" in message:
        return "Another program has it open: close that, and run the same command again."
    if "disk I/O" in message:
        return (
            "Look at the disk (its free space, its quota, is it mounted read-only?), then run the "
            "same command again: what was acknowledged is safe."
        )
    if "not a database" in message or "malformed" in message:
        return (
            "Restore state/ from a backup, or make it again from the data with `harvester "
            "rebuild`; the data set itself is not touched."
        )
    return "Run the same command again; if it comes back, look at the disk."
