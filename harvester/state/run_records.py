"""The table of runs: when each began, how it ended, what it counted; and their order.

A run's number is the first publication that could be its own: each is higher than all before.  Runs
are ordered by it, not by our clock: a run's name begins with the time by our clock, which may have
been another month's for one night.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Mapping

import msgspec

from harvester.errors import GOOD_ENDS
from harvester.state.between_runs import keep_requests_of_day
from harvester.state.database import keep_number, newest_number, one_number, set_meta, transaction
from harvester.state.values import RunRecord

_PUBLICATION = "publication"
_LAST_FIRST = "SELECT COALESCE(MAX(first_publication), 0) FROM run"
_COLUMNS = "id, started_ms, ended_ms, exit_code, first_publication, counters"


def begin_run(db: sqlite3.Connection, run_id: str, started_ms: int) -> RunRecord:
    """Enter a run; until `end_run` it counts as one that was killed.

    Its first publication's number is its own: higher than any of the runs before, so that they are
    in order whatever our clock said.
    """
    with transaction(db):
        first = 1 + max(newest_number(db, _PUBLICATION), one_number(db, _LAST_FIRST))
        keep_newest_number(db, first - 1)
        db.execute(
            "INSERT INTO run VALUES (?, ?, NULL, NULL, ?, '{}')", (run_id, started_ms, first)
        )
        set_meta(db, "clean", "0")
    return RunRecord(run_id, started_ms, None, None, first, {})


def keep_newest_number(db: sqlite3.Connection, number: int) -> None:
    """Let the next publication's number be above `number`, inside whatever transaction is open."""
    keep_number(db, _PUBLICATION, number)


def end_run(
    db: sqlite3.Connection,
    run_id: str,
    ended_ms: int,
    exit_code: int | None,
    counters: Mapping[str, int],
    *,
    requests_of_day: tuple[str, int] | None = None,
) -> None:
    """Close a run's books.  `exit_code` None: it was killed.

    `requests_of_day`: with those that came after the last acknowledgement.
    """
    with transaction(db):
        if requests_of_day is not None:
            keep_requests_of_day(db, requests_of_day)
        db.execute(
            "UPDATE run SET ended_ms = ?, exit_code = ?, counters = ? WHERE id = ?",
            (ended_ms, exit_code, msgspec.json.encode(counters).decode(), run_id),
        )
        set_meta(db, "clean", "1")


def run_record(db: sqlite3.Connection, run_id: str) -> RunRecord:
    """One run, as the ledger has it now.  Raises IndexError if there is none of that name."""
    return _runs(db, "WHERE id = ?", run_id)[0]


def unended_runs(db: sqlite3.Connection) -> list[RunRecord]:
    """Runs that were killed and whose books aren't closed yet."""
    return _runs(db, "WHERE ended_ms IS NULL ORDER BY first_publication, started_ms")


def last_runs(db: sqlite3.Connection, count: int) -> list[RunRecord]:
    """The newest runs, newest first."""
    return _runs(db, "ORDER BY first_publication DESC, started_ms DESC, id DESC LIMIT ?", count)


def all_runs(db: sqlite3.Connection) -> list[RunRecord]:
    """Every run, newest first."""
    return last_runs(db, -1)  # no limit, to SQLite


def count_unrated(db: sqlite3.Connection) -> int:
    """How many calls have no price: those that runs delivered so, and what became of them since."""
    delivered = "SELECT COALESCE(SUM(json_extract(counters, '$.unrated')), 0) FROM run"
    left = "SELECT COALESCE(SUM(json_extract(note, '$.unrated')), 0) FROM publication"
    changed = (
        "SELECT COALESCE(SUM(json_extract(value, '$.unrated')), 0) "
        "FROM publication, json_each(note, '$.compared')"
    )
    return sum(one_number(db, query) for query in (delivered, left, changed))


def last_success_ms(db: sqlite3.Connection) -> int | None:
    """When a run last did what it was meant to; None if none did."""
    row = db.execute(
        "SELECT ended_ms FROM run WHERE exit_code IN (?, ?, ?) "
        "ORDER BY first_publication DESC, started_ms DESC LIMIT 1",
        sorted(GOOD_ENDS),
    ).fetchone()
    return None if row is None else int(row[0])


def _runs(db: sqlite3.Connection, clause: str, *values: int | str) -> list[RunRecord]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM run {clause}",  # noqa: S608
        values,
    )
    return [
        RunRecord(*(*row[:5], msgspec.json.decode(row[5], type=dict[str, int]))) for row in rows
    ]


def in_order(
    numbers: Mapping[str, int | None],
    published: Mapping[str, int] | None = None,
    silent: Container[str] = (),
) -> list[str]:
    """Runs by their numbers, oldest first.

    An older version wrote no number down.  `published` has those publications that hold a run's
    first rows: it goes by that, and one that left no rows goes with the one without a number before
    it by name.  `silent` are those that left nothing to say it in, so each may be of any version:
    they go with the one before by name, whatever that is.
    """
    found: dict[str, tuple[int, str]] = {}
    last = before = 0
    for name in sorted(numbers):
        number = numbers[name]
        if number is None:
            number = (published or {}).get(name, before if name in silent else last)
            last = last if name in silent else number
        before = number
        found[name] = (number, name)
    return sorted(found, key=lambda name: found[name])
