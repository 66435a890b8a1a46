"""Looking into an output without changing it: for `plan`, `status`, `export`.

The lock is taken, because SQLite's file has one user at a time (design §8); nothing is recovered,
made or closed.  What an unfinished publication holds is still in the journal, so the figures are
right all the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from harvester.harvest.output import Output
from harvester.ledger.database import get_meta, open_database, store_errors
from harvester.ledger.lock import OutputLock


def has_state(output: Output) -> bool:
    """Whether anything was ever asked into this output."""
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
        closing(open_database(output.database, "", is_claimed=False)) as db,
        store_errors(output.database),
    ):
        db.execute("PRAGMA query_only = ON")
        yield db


def account_of(db: sqlite3.Connection) -> str:
    """Whose records the output holds."""
    return get_meta(db, "account") or ""
