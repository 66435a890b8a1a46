"""A ledger made anew from what lies in the output, when the old one is lost.

What went through the journal of the lost ledger has no range here: a publication that was taken
over is live with the empty range (1, 0).  Its number is kept, and SQLite gives out only higher ones
from then on, so no file's name is ever used twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime

from harvester.ledger.database import get_meta, set_meta, transaction
from harvester.ledger.values import PartRecord

_REBUILT = "rebuilt_ms"


def take_over(db: sqlite3.Connection, parts: Iterable[PartRecord], now_ms: int) -> None:
    """Enter files that lie in the data set already as published, and note that this was done."""
    with transaction(db):
        for part in parts:
            db.execute(
                "INSERT OR IGNORE INTO publication (id, lo, hi, state) VALUES (?, 1, 0, 'live')",
                (part.publication,),
            )
            db.execute(
                "INSERT INTO file VALUES (?, ?, ?, ?, ?, 'live')",
                (part.path, part.publication, part.rows, part.bytes, part.sha256),
            )
        set_meta(db, _REBUILT, str(now_ms))


def is_rebuilt(db: sqlite3.Connection) -> bool:
    """Whether this ledger was made anew from the data."""
    return get_meta(db, _REBUILT) is not None


def known_since(db: sqlite3.Connection) -> str:
    """Runs whose id is below this text began before the ledger was made anew; "" if it never was.

    Of those it knows nothing; every run that came later is in its table.
    """
    text = get_meta(db, _REBUILT)
    if text is None:
        return ""
    # An id begins with whole seconds: of the next second, it is surely later.
    return datetime.fromtimestamp(int(text) // 1000 + 1, UTC).strftime("%Y%m%dT%H%M%SZ")
