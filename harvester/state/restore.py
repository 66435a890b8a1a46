"""A ledger made anew from what lies in the output, when the old one is lost.

What went through the journal of the lost ledger has no range here: a publication that was taken
over is live with the empty range (1, 0).  Its number is kept, and SQLite gives out only higher ones
from then on, so no file's name is ever used twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

import msgspec

from harvester.run_name import stamp_at
from harvester.state.database import get_meta, set_meta, transaction
from harvester.state.run_records import keep_newest_number
from harvester.state.values import PartRecord
from harvester.storage.output import is_change

_REBUILT = "rebuilt_ms"
_RUNS_BEFORE = "runs_before_rebuild"
_LOST = "lost_before_rebuild"
_UNRATED_BEFORE = "unrated_before_rebuild"


def take_over(
    db: sqlite3.Connection,
    parts: Iterable[PartRecord],
    now_ms: int,
    *,
    runs: Iterable[str] = (),
    newest: int = 0,
    unrated: int = 0,
    lost: tuple[int, int] = (0, 0),
) -> None:
    """Enter files that lie in the data set already as published, and note that this was done.

    `runs`: those that left something behind; `newest`: the highest number that any of them had.
    `unrated`: calls in the files that have no price.  `lost`: rows, and changes, that runs had
    found and that are nowhere.
    """
    with transaction(db):
        for part in parts:
            db.execute(
                "INSERT OR IGNORE INTO publication (id, lo, hi, state, kind) "
                "VALUES (?, 1, 0, 'live', ?)",
                (part.brought_by, _kind_of(part)),
            )
            db.execute(
                "INSERT INTO file (path, publication, rows, bytes, sha256, rewrite, state) "
                "VALUES (?, ?, ?, ?, ?, ?, 'live')",
                (part.path, part.publication, part.rows, part.bytes, part.sha256, part.rewrite),
            )
        keep_newest_number(db, newest)
        set_meta(db, _REBUILT, str(now_ms))
        set_meta(db, _RUNS_BEFORE, msgspec.json.encode(sorted(runs)).decode())
        set_meta(db, _UNRATED_BEFORE, str(unrated))
        set_meta(db, _LOST, msgspec.json.encode(lost).decode())


def _kind_of(part: PartRecord) -> str:
    """That of the publication which brought it."""
    if is_change(part.path):
        return "change"
    return "append" if part.rewrite is None else "rewrite"


def unrated_before(db: sqlite3.Connection) -> int:
    """Unrated rows in the data when this ledger was made anew from it; its runs count theirs."""
    return int(get_meta(db, _UNRATED_BEFORE) or 0)


def lost_before(db: sqlite3.Connection) -> tuple[int, int]:
    """(rows, changes) that runs had found and that were nowhere when this ledger was made anew."""
    return msgspec.json.decode(get_meta(db, _LOST) or "[0, 0]", type=tuple[int, int])


def is_rebuilt(db: sqlite3.Connection) -> bool:
    """Whether this ledger was made anew from the data."""
    return get_meta(db, _REBUILT) is not None


def runs_before(db: sqlite3.Connection) -> Callable[[str], bool]:
    """Whether a run was made before the ledger was; every run that came later is in its table."""
    rebuilt, runs = get_meta(db, _REBUILT), get_meta(db, _RUNS_BEFORE)
    if rebuilt is None:
        return lambda _: False
    if runs is not None:
        return frozenset(msgspec.json.decode(runs, type=list[str])).__contains__
    # An older version rebuilt it, and wrote down the time alone.  An id begins with whole seconds:
    # of the next second, it is surely later.
    since = stamp_at(int(rebuilt) // 1000 + 1)
    return lambda run_id: run_id < since
