"""Looking into an output without changing it: for `plan`, `status`, `export`.

The lock is taken, because SQLite's file has one user at a time (design §8); nothing is recovered,
made or closed.  What an unfinished publication holds is still in the journal, so the figures are
right all the same.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from harvester.state.database import get_meta, open_database, refuse_changes, store_errors
from harvester.state.lock import OutputLock
from harvester.state.read_only import view_ledger
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
        _opened(output) as db,
        store_errors(output.database),
    ):
        yield db


@contextmanager
def _opened(output: Output) -> Iterator[sqlite3.Connection]:
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
