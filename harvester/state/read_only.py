"""state.db as it stands, for reading; not one byte of it changes.

Theory of operation.  Opening a ledger in the usual way is already a change: SQLite brings what a
kill left in the write-ahead log into the file, and removes the log.  Whoever audits an output, or
decides whether its state can be trusted, must leave it as found.  So a ledger without such a log is
opened as an immutable file, and of one with a log a private copy is opened (`view_ledger`).  One of
an older version is brought up to date in such a copy.

Whoever only looks at what an output holds (`plan`, `status`, `export`) opens it in the usual way,
but for reading, and with the lock, because SQLite's file has one user at a time (`looking`).
Nothing is recovered, made or closed: what an unfinished publication holds is still in the journal,
so the figures are right all the same.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from harvester.errors import StoreError
from harvester.state.database import (
    SCHEMA_VERSION,
    bring_up_to_date,
    get_meta,
    is_older,
    open_database,
    refuse_changes,
    store_errors,
)
from harvester.state.lock import OutputLock
from harvester.storage.output import Output
from harvester.storage.ownership import READ, refuse_closed


def has_state(output: Output) -> bool:
    """Whether anything was ever asked into this output.  Raises StoreError where this user may
    not know.
    """
    refuse_closed(output.root, [output.state, output.database, output.lock], READ)
    try:
        return output.database.stat().st_size > 0
    except OSError:
        return False


@contextmanager
def looking(output: Output, command: str) -> Iterator[sqlite3.Connection]:
    """The ledger of an output that has one, for reading by `command`, while the lock is held.

    Only for what takes no longer than reading does: nothing is written out and nobody is waited
    for in it.  Raises AlreadyRunning, StoreError.
    """
    with (
        OutputLock(output.lock, command),
        reading(output) as db,
        store_errors(output.database),
    ):
        yield db


@contextmanager
def reading(output: Output) -> Iterator[sqlite3.Connection]:
    """The ledger of an output whose lock the caller holds, for reading.  Raises StoreError."""
    if not os.access(output.database, os.W_OK) or not os.access(output.state, os.W_OK):
        # Another user's, who lets us read: SQLite would have to write.
        with view_ledger(output.database) as db:
            yield db
        return
    with closing(open_database(output.database, "", is_claimed=False)) as db:
        refuse_changes(db)
        yield db


def account_of(db: sqlite3.Connection) -> str:
    """Whose records the output holds."""
    return get_meta(db, "account") or ""


@contextmanager
def view_ledger(path: Path, scratch: Path | None = None) -> Iterator[sqlite3.Connection]:
    """The ledger at `path`, for reading.  The caller holds the output's lock.

    `scratch` is a folder for a copy, should one be needed.  Raises StoreError if there is no
    ledger, if it is damaged or no ledger at all, or if a newer version wrote it.
    """
    with ExitStack() as stack:
        with store_errors(path):
            db = stack.enter_context(closing(_connect(path, scratch, stack)))
            _check(db, path)
            if is_older(db):
                db = stack.enter_context(closing(_newer(db, _folder(scratch, stack))))
            refuse_changes(db)
        try:
            yield db
        except sqlite3.Error as exc:
            raise StoreError(_damaged(path, str(exc)), code="state.damaged") from exc


def _connect(path: Path, scratch: Path | None, stack: ExitStack) -> sqlite3.Connection:
    options = "mode=ro&immutable=1"
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        folder = _folder(scratch, stack)
        for file in (path, log):
            shutil.copyfile(file, folder / file.name)
        path, options = folder / path.name, "mode=rw"
    return _opened_file(path, options)


def _opened_file(path: Path, options: str) -> sqlite3.Connection:
    # DuckDB reads the tables through threads of its own, one at a time.
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


def _newer(db: sqlite3.Connection, folder: Path) -> sqlite3.Connection:
    """A copy of `db` in `folder`, with the tables of this version."""
    copy = _opened_file(folder / "newer.db", "mode=rwc")
    try:
        copy.execute("PRAGMA synchronous = OFF")  # nobody reads it after us
        db.backup(copy)
        bring_up_to_date(copy)
    except BaseException:
        copy.close()
        raise
    return copy


def _folder(scratch: Path | None, stack: ExitStack) -> Path:
    """A folder that is removed when the stack is left."""
    if scratch is not None and not os.access(scratch, os.W_OK | os.X_OK):
        scratch = None  # another user's, who lets us read
    return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))


def _check(db: sqlite3.Connection, path: Path) -> None:
    try:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        raise StoreError(_damaged(path, str(exc)), code="state.damaged") from exc
    if found != "ok":
        raise StoreError(_damaged(path, " ".join(found.split())), code="state.damaged")
    try:
        version = int(get_meta(db, "schema") or 0)
    except (sqlite3.Error, ValueError):
        version = 0
    if version == 0:
        raise StoreError(
            _damaged(path, "it is no state database of cdr-harvester"), code="state.foreign"
        )
    if version > SCHEMA_VERSION:
        raise NewerLedger(
            f"{path} was written by a newer cdr-harvester (state database version {version}, this "
            f"one knows {SCHEMA_VERSION}). Nothing was changed: install the newer version.",
            code="state.newer",
        )


class NewerLedger(StoreError):
    """A newer version wrote it: whole, but not ours to judge."""


def _damaged(path: Path, why: str) -> str:
    return (
        f"the state database {path} can't be read: {why}. Nothing was changed. Restore state/ from "
        "a backup, or make it again from the data with `harvester rebuild`."
    )
