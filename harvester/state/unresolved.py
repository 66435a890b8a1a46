"""Ids without a final record: open calls, dead letters and deferred ids, as rows and as values.

A dead letter that `retry` put back on the work list stays in its table until its new outcome is
safe, but it is pending, not dead: whatever counts or lists the dead leaves it out, by `_IS_DEAD`.
Only what says "all" in its name has both.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from harvester.state.database import exists, one_number
from harvester.state.values import CHUNK_ROWS, DeadLetter, Deferred, OpenCall

SUCCESSES = (0, 3)
"""Exit codes of runs that worked their list down, and so have reported what died."""

_PAGE = 1_000
_ODD_MS = 600_000
_IS_DUE = (
    "(due_ms <= ? OR MAX(first_ms, COALESCE(answer_ms, 0), COALESCE(unknown_ms, 0)) > ? + "
    f"{_ODD_MS})"
)
"""Due, or dated by a clock that was ahead: then its due time means nothing."""

_IS_DEAD = "retrying = 0"
_IS_RETRYING = "retrying = 1"

# In the order of the fields of OpenCall, DeadLetter and Deferred.
_OPEN = "id, due_ms, first_ms, asks, run, answer, answer_ms, unknown_ms, unrated_ms"
_DEAD = "id, reason, detail, attempts, first_ms, died_ms, run, published, body, retrying"
_DEFERRED = "id, cause, detail, first_ms, last_ms, run, runs, days, chunk, row, counts, again"

_KINDS = {"open_call": "open calls", "dead_letter": "dead letters"}


class OpenCounts(NamedTuple):
    """How many calls are open; of those, how many are due, and why they are open.

    One that the vendor knew, unrated, and then did not know is unrated: it is over.
    """

    all: int
    due: int
    unknown: int
    unrated: int


# --- open calls ----------------------------------------------------------------------------------


def due_open_calls(
    db: sqlite3.Connection, now_ms: int, after: str, limit: int = _PAGE
) -> list[OpenCall]:
    """A page of the open calls due at `now_ms` of the vendor's clock, by id, above `after`."""
    rows = db.execute(
        f"SELECT {_OPEN} FROM open_call WHERE {_IS_DUE} AND id > ? ORDER BY id LIMIT ?",  # noqa: S608
        (now_ms, now_ms, after, limit),
    )
    return [OpenCall(*row) for row in rows]


def open_call(db: sqlite3.Connection, voice_id: str) -> OpenCall | None:
    """One open call, or None."""
    row = db.execute(f"SELECT {_OPEN} FROM open_call WHERE id = ?", (voice_id,)).fetchone()  # noqa: S608
    return None if row is None else OpenCall(*row)


def all_open_calls(db: sqlite3.Connection) -> Iterator[OpenCall]:
    """Every open call, by id."""
    for row in db.execute(f"SELECT {_OPEN} FROM open_call ORDER BY id"):  # noqa: S608
        yield OpenCall(*row)


def count_open_calls(db: sqlite3.Connection, at_ms: int) -> OpenCounts:
    """The open calls, and those that are due at `at_ms` of the vendor's clock."""
    due = f"SELECT COUNT(*) FROM open_call WHERE {_IS_DUE}"  # noqa: S608
    return OpenCounts(
        all=one_number(db, "SELECT COUNT(*) FROM open_call"),
        due=one_number(db, due, at_ms, at_ms),
        unknown=one_number(
            db,
            "SELECT COUNT(*) FROM open_call WHERE unknown_ms IS NOT NULL AND unrated_ms IS NULL",
        ),
        unrated=one_number(db, "SELECT COUNT(*) FROM open_call WHERE unrated_ms IS NOT NULL"),
    )


def put_open_calls(db: sqlite3.Connection, calls: Sequence[OpenCall]) -> None:
    """Enter or replace open calls, inside whatever transaction is open."""
    _put(db, "open_call", _OPEN, [msgspec.structs.astuple(call) for call in calls])


def remove_open_calls(db: sqlite3.Connection, ids: Sequence[str]) -> int:
    """Remove open calls that have an outcome; returns how many there were of them."""
    return _remove(db, "open_call", ids)


# --- dead letters --------------------------------------------------------------------------------


def dead_letter(db: sqlite3.Connection, voice_id: str) -> DeadLetter | None:
    """One dead letter, being retried or not; None if there is none."""
    row = db.execute(f"SELECT {_DEAD} FROM dead_letter WHERE id = ?", (voice_id,)).fetchone()  # noqa: S608
    return None if row is None else _dead_letter(row)


def dead_letters(db: sqlite3.Connection) -> Iterator[DeadLetter]:
    """The ids that are dead, by id: without those that are being retried."""
    for row in db.execute(f"SELECT {_DEAD} FROM dead_letter WHERE {_IS_DEAD} ORDER BY id"):  # noqa: S608
        yield _dead_letter(row)


def all_dead_letters(db: sqlite3.Connection) -> Iterator[DeadLetter]:
    """Every dead letter, by id: with those that are being retried."""
    for row in db.execute(f"SELECT {_DEAD} FROM dead_letter ORDER BY id"):  # noqa: S608
        yield _dead_letter(row)


def count_dead(db: sqlite3.Connection) -> dict[str, int]:
    """How many ids are dead, by reason; the most frequent first."""
    rows = db.execute(
        f"SELECT reason, COUNT(*) FROM dead_letter WHERE {_IS_DEAD} GROUP BY reason "  # noqa: S608
        "ORDER BY COUNT(*) DESC, reason"
    )
    return {str(reason): int(ids) for reason, ids in rows}


def count_retrying(db: sqlite3.Connection) -> int:
    """How many dead letters are pending: their retry has no outcome yet."""
    return one_number(db, f"SELECT COUNT(*) FROM dead_letter WHERE {_IS_RETRYING}")  # noqa: S608


def is_retrying(db: sqlite3.Connection, voice_id: str) -> bool:
    """Whether an id is a dead letter that is on the work list again."""
    return exists(db, f"dead_letter WHERE id = ? AND {_IS_RETRYING}", voice_id)


def retry_counts(db: sqlite3.Connection) -> list[tuple[str, int, int]]:
    """(reason, dead, retrying) of the dead letters that can be fetched again, by reason."""
    rows = db.execute(
        f"SELECT reason, SUM({_IS_DEAD}), SUM({_IS_RETRYING}) FROM dead_letter "  # noqa: S608
        "WHERE published = 0 GROUP BY reason ORDER BY reason"
    )
    return [(str(reason), int(dead), int(retrying)) for reason, dead, retrying in rows]


def retryable_ids(db: sqlite3.Connection, reason: str | None) -> list[str]:
    """Dead letters that can be asked again: not those whose last answer is in the data."""
    rows = db.execute(
        "SELECT id FROM dead_letter WHERE published = 0 AND (? IS NULL OR reason = ?) ORDER BY id",
        (reason, reason),
    )
    return [str(row[0]) for row in rows]


def died_since(db: sqlite3.Connection, since_ms: int) -> list[str]:
    """Ids of dead letters, not being retried, that died at or after `since_ms`."""
    rows = db.execute(
        f"SELECT id FROM dead_letter WHERE died_ms >= ? AND {_IS_DEAD} ORDER BY id",  # noqa: S608
        (since_ms,),
    )
    return [str(row[0]) for row in rows]


def unreported_deaths(db: sqlite3.Connection) -> int:
    """Dead letters, not being retried, that no run has reported yet.

    A run that worked its list down (exit 0 or 3) has reported all that had died by its end; one
    that ended otherwise had something else to say, and one that was killed or has not ended said
    nothing.  Runs are ordered by their first publication before their clock, which may jump.
    """
    return one_number(
        db,
        f"""
        WITH reported AS (
            SELECT first_publication, started_ms FROM run WHERE exit_code IN (?, ?)
            ORDER BY first_publication DESC, started_ms DESC LIMIT 1
        ), silent AS (
            SELECT id FROM run WHERE (exit_code IS NULL OR exit_code NOT IN (?, ?))
            AND NOT EXISTS (
                SELECT 1 FROM reported WHERE (reported.first_publication, reported.started_ms)
                > (run.first_publication, run.started_ms)
            )
        )
        SELECT COUNT(*) FROM dead_letter WHERE {_IS_DEAD} AND run IN (SELECT id FROM silent)
        """,  # noqa: S608
        *SUCCESSES,
        *SUCCESSES,
    )


def put_dead_letters(db: sqlite3.Connection, letters: Sequence[DeadLetter]) -> None:
    """Enter or replace dead letters, inside whatever transaction is open."""
    _put(db, "dead_letter", _DEAD, [msgspec.structs.astuple(letter) for letter in letters])


def remove_dead_letters(db: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Remove those of `ids` whose retry has an outcome; most have none to be removed."""
    # Most runs have no retried ids: one look saves a search per id.
    if ids and exists(db, f"dead_letter WHERE {_IS_RETRYING}"):
        _remove(db, "dead_letter", ids)


def remove_published(db: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Remove the dead letters of `ids` whose last answer was published: it has been corrected."""
    if ids and exists(db, "dead_letter WHERE published = 1"):
        db.executemany(
            "DELETE FROM dead_letter WHERE id = ? AND published = 1", [(one,) for one in ids]
        )


# --- deferred ids --------------------------------------------------------------------------------


def deferred(db: sqlite3.Connection, voice_id: str) -> Deferred | None:
    """One deferred id, or None."""
    row = db.execute(f"SELECT {_DEFERRED} FROM deferred WHERE id = ?", (voice_id,)).fetchone()  # noqa: S608
    return None if row is None else _deferred(row)


def all_deferred(db: sqlite3.Connection) -> Iterator[Deferred]:
    """Every deferred id, by id."""
    for row in db.execute(f"SELECT {_DEFERRED} FROM deferred ORDER BY id"):  # noqa: S608
        yield _deferred(row)


def deferred_of(db: sqlite3.Connection, run_id: str, after: str) -> list[Deferred]:
    """A page of the ids that `run_id` deferred, by id, of ids above `after`."""
    rows = db.execute(
        f"SELECT {_DEFERRED} FROM deferred WHERE run = ? AND id > ? ORDER BY id LIMIT ?",  # noqa: S608
        (run_id, after, _PAGE),
    )
    return [_deferred(row) for row in rows]


def deferred_before(
    db: sqlite3.Connection, run_id: str, among: Sequence[str] | None = None
) -> frozenset[str]:
    """Ids that earlier runs than `run_id` deferred, and none since: of `among`, or one of all."""
    query = "SELECT id FROM deferred WHERE run <> ?"
    if among is None:
        rows = db.execute(f"{query} LIMIT 1", (run_id,))
    else:
        ids = msgspec.json.encode(among).decode()
        rows = db.execute(f"{query} AND id IN (SELECT value FROM json_each(?))", (run_id, ids))  # noqa: S608
    return frozenset(voice_id for (voice_id,) in rows)


def count_deferred(db: sqlite3.Connection) -> int:
    """How many of the pending ids failed in the last runs: an open call that did is open."""
    is_open = "SELECT id FROM open_call"
    return one_number(
        db,
        f"SELECT COUNT(*) FROM deferred WHERE again = 0 AND id NOT IN ({is_open})",  # noqa: S608
    )


def put_deferred(db: sqlite3.Connection, items: Sequence[Deferred]) -> None:
    """Enter or replace deferred ids, inside whatever transaction is open."""
    rows = [msgspec.structs.astuple(item) for item in items]
    _put(db, "deferred", _DEFERRED, [(*row[:7], ",".join(row[7]), *row[8:]) for row in rows])


def remove_deferred(db: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Remove those of `ids` that were deferred and have an outcome now; most were not."""
    if ids and exists(db, "deferred"):
        _remove(db, "deferred", ids)


# --- all of them, for an audit -------------------------------------------------------------------


def open_ids(db: sqlite3.Connection) -> Iterator[list[str]]:
    """The ids of the open calls, in portions of bounded size."""
    for rows in _portions(db, "SELECT id FROM open_call ORDER BY id"):
        yield [str(row[0]) for row in rows]


def dead_only_ids(db: sqlite3.Connection) -> Iterator[list[str]]:
    """The ids that are dead and have no row in the data either, in portions of bounded size."""
    query = f"SELECT id FROM dead_letter WHERE {_IS_DEAD} AND published = 0 ORDER BY id"  # noqa: S608
    for rows in _portions(db, query):
        yield [str(row[0]) for row in rows]


def dead_letter_states(db: sqlite3.Connection) -> Iterator[list[tuple[str, bool, bool]]]:
    """(id, published, retrying) of every dead letter, in portions of bounded size."""
    for rows in _portions(db, "SELECT id, published, retrying FROM dead_letter"):
        yield [(str(voice_id), bool(published), bool(again)) for voice_id, published, again in rows]


def deferred_ids(db: sqlite3.Connection) -> Iterator[list[str]]:
    """The deferred ids that the data set does not have, in portions of bounded size."""
    for rows in _portions(db, "SELECT id FROM deferred WHERE again = 0"):
        yield [str(row[0]) for row in rows]


def open_since(db: sqlite3.Connection) -> Iterator[list[tuple[str, int, bool]]]:
    """(id, first fetched in ms, whether it is over and unrated) of every open call, in portions."""
    query = "SELECT id, first_ms, unrated_ms IS NOT NULL FROM open_call"
    for rows in _portions(db, query):
        yield [(str(voice_id), int(at), bool(unrated)) for voice_id, at, unrated in rows]


def dead_since(db: sqlite3.Connection) -> Iterator[list[tuple[str, int, bool]]]:
    """(id, first fetched in ms, published) of the ids that are dead, in portions."""
    query = f"SELECT id, first_ms, published FROM dead_letter WHERE {_IS_DEAD}"  # noqa: S608
    for rows in _portions(db, query):
        yield [(str(voice_id), int(at), bool(published)) for voice_id, at, published in rows]


def waiting_since(db: sqlite3.Connection) -> Iterator[list[tuple[str, int]]]:
    """(id, first fetched in ms) of deferred ids that the data set does not have, and of dead
    letters that are being retried, in portions; most are on the work list or open as well.
    """
    query = (
        "SELECT id, first_ms FROM deferred WHERE again = 0 UNION ALL "  # noqa: S608
        f"SELECT id, first_ms FROM dead_letter WHERE {_IS_RETRYING}"
    )
    for rows in _portions(db, query):
        yield [(str(voice_id), int(at)) for voice_id, at in rows]


def of_unknown_runs(db: sqlite3.Connection) -> Iterator[tuple[str, str, Counter[str]]]:
    """(table, what its rows are called, run -> how many) of rows of runs that have no row."""
    for table, kind in _KINDS.items():
        rows = db.execute(f"SELECT run FROM {table} WHERE run NOT IN (SELECT id FROM run)")  # noqa: S608
        yield table, kind, Counter(str(run) for (run,) in rows)


def _portions(db: sqlite3.Connection, query: str) -> Iterator[list[tuple[Any, ...]]]:
    cursor = db.execute(query)
    while rows := cursor.fetchmany(CHUNK_ROWS):
        yield rows


def _put(
    db: sqlite3.Connection, table: str, columns: str, rows: Sequence[tuple[object, ...]]
) -> None:
    if rows:
        marks = ", ".join("?" * len(columns.split(",")))
        db.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608


def _remove(db: sqlite3.Connection, table: str, ids: Sequence[str]) -> int:
    done = db.executemany(f"DELETE FROM {table} WHERE id = ?", [(voice_id,) for voice_id in ids])  # noqa: S608
    return done.rowcount


def _dead_letter(row: tuple[Any, ...]) -> DeadLetter:
    return DeadLetter(*(*row[:7], bool(row[7]), row[8], bool(row[9])))


def _deferred(row: tuple[Any, ...]) -> Deferred:
    days = tuple(day for day in row[7].split(",") if day)
    return Deferred(*(*row[:7], days, row[8], row[9], bool(row[10]), bool(row[11])))
