"""Reading and writing the small tables: runs, open calls, dead letters, deferred ids; and the one
count of where every id stands, which all commands show.

A dead letter that `retry` put back on the work list stays in its table until its new outcome is
safe, but it is pending, not dead: `standing` and `dead_letters` leave it out of the dead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from harvester.errors import GOOD_ENDS
from harvester.state import journal, work_lists
from harvester.state.database import get_meta, set_meta, transaction
from harvester.state.read_only import newest_number
from harvester.state.values import DeadLetter, Deferred, OpenCall, RunRecord

T = TypeVar("T", bound=msgspec.Struct)

SUCCESSES = (0, 3)
"""Exit codes of runs that worked their list down, and so have reported what died."""

DAYS_KEPT = 31
"""Days whose requests are remembered, for a clock that steps back into one."""

_PAGE = 1_000
_PROOFS = 20
_ODD_MS = 600_000
_IS_DUE = (
    "(due_ms <= ? OR MAX(first_ms, COALESCE(answer_ms, 0), COALESCE(unknown_ms, 0)) > ? + "
    f"{_ODD_MS})"
)
"""Due, or dated by a clock that was ahead: then its due time means nothing."""

_PUBLICATION = "publication"
_LAST_FIRST = "SELECT COALESCE(MAX(first_publication), 0) FROM run"
_OPEN = "id, due_ms, first_ms, asks, run, answer, answer_ms, unknown_ms"
_DEAD = "id, reason, detail, attempts, first_ms, died_ms, run, published, body"
_DEFERRED = "id, cause, detail, first_ms, last_ms, run, runs, days, chunk, row, counts"


class Standing(msgspec.Struct, frozen=True):
    """How many ids stand where, over all runs: each is delivered, open, dead or pending."""

    in_data: int
    in_journal: int
    open: int
    open_due: int
    open_unknown: int
    """Of the open ones: those that the vendor does not know yet."""
    dead: int
    dead_by_reason: Mapping[str, int]
    """Adds up to `dead`; the most frequent reason first."""
    pending: int
    retrying: int
    """Of the pending ones: dead letters whose retry has no outcome yet."""
    deferred: int
    """Of the pending ones: those that failed in the last runs."""


def begin_run(db: sqlite3.Connection, run_id: str, started_ms: int) -> RunRecord:
    """Enter a run; until `end_run` it counts as one that was killed.

    Its first publication's number is its own: higher than any of the runs before, so that they are
    in order whatever our clock said.
    """
    with transaction(db):
        first = 1 + max(newest_number(db, _PUBLICATION), _number(db, _LAST_FIRST))
        keep_newest_number(db, first - 1)
        db.execute(
            "INSERT INTO run VALUES (?, ?, NULL, NULL, ?, '{}')", (run_id, started_ms, first)
        )
        set_meta(db, "clean", "0")
    return RunRecord(run_id, started_ms, None, None, first, {})


def keep_newest_number(db: sqlite3.Connection, number: int) -> None:
    """Let the next publication's number be above `number`, inside whatever transaction is open."""
    if newest_number(db, _PUBLICATION) < number:
        db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (_PUBLICATION,))
        db.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (_PUBLICATION, number))


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


def last_success_ms(db: sqlite3.Connection) -> int | None:
    """When a run last did what it was meant to; None if none did."""
    row = db.execute(
        "SELECT ended_ms FROM run WHERE exit_code IN (?, ?, ?) "
        "ORDER BY first_publication DESC, started_ms DESC LIMIT 1",
        sorted(GOOD_ENDS),
    ).fetchone()
    return None if row is None else int(row[0])


def keep_requests_of_day(db: sqlite3.Connection, requests: tuple[str, int]) -> None:
    """Keep (day of +08:00, requests sent in it), inside whatever transaction is open.

    The counts of the last days stay beside it: a clock that is set back must find them.
    """
    day, sent = requests
    if day:
        counts = requests_by_day(db)
        counts.pop(day, None)
        counts[day] = sent
        kept = list(counts.items())[-DAYS_KEPT:]
        set_meta(db, "requests_of_day", msgspec.json.encode(kept).decode())


def requests_of_day(db: sqlite3.Connection) -> tuple[str, int]:
    """(day of +08:00, requests sent in it), as of the last acknowledgement."""
    return next(reversed(requests_by_day(db).items()), ("", 0))


def requests_by_day(db: sqlite3.Connection) -> dict[str, int]:
    """Day of +08:00 to requests sent in it; the one that was counted in last comes last."""
    kept = msgspec.json.decode(get_meta(db, "requests_of_day") or "[]")
    if kept and isinstance(kept[0], str):
        kept = [kept]  # an older ledger holds one pair
    return {str(day): int(sent) for day, sent in kept}


def last_skew_s(db: sqlite3.Connection) -> float:
    """(vendor clock - ours) as the last run saw it that saw any, in seconds."""
    return float(get_meta(db, "clock_skew_s") or 0)


def latest_ms(db: sqlite3.Connection, now_ms: int) -> int:
    """The latest that it may be on the vendor's clock when it is `now_ms` on ours.

    Good until a run's first answer tells: what is taken for due too early is only fetched too
    early.
    """
    return now_ms + max(0, int(last_skew_s(db) * 1000))


def keep_clock(  # noqa: PLR0917 - what a run learnt, and what it dated before
    db: sqlite3.Connection,
    run_id: str,
    skew_s: float,
    shift_ms: int,
    requests: tuple[str, int],
    listed: tuple[str, int] | None = None,
) -> None:
    """Keep what a run saw of (vendor clock - ours), for the next one, and what it sent today.

    What the run dated by our clock before its first answer goes by the vendor's from now on,
    `shift_ms` later: its own start, and the first listing of an input.  `listed`: that input's key
    and the instant, as the ledger has it; None if this run listed none.
    """
    with transaction(db):
        set_meta(db, "clock_skew_s", repr(round(skew_s, 1)))
        keep_requests_of_day(db, requests)
        db.execute("UPDATE run SET started_ms = started_ms + ? WHERE id = ?", (shift_ms, run_id))
        if listed is not None:
            db.execute(
                "UPDATE input SET first_listed_ms = first_listed_ms + ? "
                "WHERE key = ? AND first_listed_ms = ?",
                (shift_ms, *listed),
            )
            # That instant is also when ids last came.
            db.execute(
                "UPDATE meta SET value = CAST(value AS INTEGER) + ? "
                "WHERE key = 'new_ids_ms' AND value = ?",
                (shift_ms, str(listed[1])),
            )


def prove(db: sqlite3.Connection, proof: str) -> None:
    """Keep that records were delivered at the address and with the key that `proof` stands for."""
    known = [one for one in _proofs(db) if one != proof]
    with transaction(db):
        set_meta(db, "proofs", " ".join([*known, proof][-_PROOFS:]))


def is_proven(db: sqlite3.Connection, proof: str) -> bool:
    """Whether `prove` was called for it."""
    return proof in _proofs(db)


def _proofs(db: sqlite3.Connection) -> list[str]:
    return (get_meta(db, "proofs") or "").split()


def standing(db: sqlite3.Connection, now_ms: int) -> Standing:
    """Where every id of the output stands; what is due at `now_ms` of our clock, counted apart."""
    at_ms = latest_ms(db, now_ms)
    reasons = db.execute(
        "SELECT reason, COUNT(*) FROM dead_letter WHERE retrying = 0 GROUP BY reason "
        "ORDER BY COUNT(*) DESC, reason"
    ).fetchall()
    current = work_lists.current_list(db)
    return Standing(
        in_data=_number(db, "SELECT COALESCE(SUM(rows), 0) FROM file WHERE state = 'live'"),
        in_journal=_number(db, "SELECT COALESCE(SUM(n), 0) FROM journal"),
        open=_number(db, "SELECT COUNT(*) FROM open_call"),
        open_due=_number(
            db,
            f"SELECT COUNT(*) FROM open_call WHERE {_IS_DUE}",  # noqa: S608
            at_ms,
            at_ms,
        ),
        open_unknown=_number(db, "SELECT COUNT(*) FROM open_call WHERE unknown_ms IS NOT NULL"),
        dead=sum(n for _, n in reasons),
        dead_by_reason={str(reason): int(n) for reason, n in reasons},
        pending=current.pending if current else 0,
        retrying=_number(db, "SELECT COUNT(*) FROM dead_letter WHERE retrying = 1"),
        deferred=_number(
            db, "SELECT COUNT(*) FROM deferred WHERE id NOT IN (SELECT id FROM open_call)"
        ),
    )


def fields_seen(db: sqlite3.Connection, kind: type[T]) -> T:
    """What was remembered of the vendor's fields, as a `kind`; an empty one where nothing was."""
    return msgspec.json.decode(get_meta(db, "fields_seen") or "{}", type=kind)


def remember_fields(db: sqlite3.Connection, seen: msgspec.Struct) -> None:
    """Remember what has been told of the vendor's fields."""
    with transaction(db):
        set_meta(db, "fields_seen", msgspec.json.encode(seen).decode())


def has_live_parts(db: sqlite3.Connection) -> bool:
    """Whether anything was ever published."""
    return bool(_number(db, "SELECT EXISTS (SELECT 1 FROM file WHERE state = 'live')"))


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


def known_id(db: sqlite3.Connection) -> str | None:
    """Some id that was resolved, and is not in the data set's files; None if there is none."""
    row = db.execute("SELECT body FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
    if row is not None:
        return journal.decode(row[0])[-1].voice_id
    row = db.execute(
        "SELECT id FROM open_call UNION ALL SELECT id FROM dead_letter ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def all_open_calls(db: sqlite3.Connection) -> Iterator[OpenCall]:
    """Every open call, by id."""
    for row in db.execute(f"SELECT {_OPEN} FROM open_call ORDER BY id"):  # noqa: S608
        yield OpenCall(*row)


def dead_letters(db: sqlite3.Connection) -> Iterator[DeadLetter]:
    """The ids that are dead, by id: without those that are being retried."""
    return _dead_letters(db, "WHERE retrying = 0")


def all_dead_letters(db: sqlite3.Connection) -> Iterator[DeadLetter]:
    """Every dead letter, by id: with those that are being retried."""
    return _dead_letters(db, "")


def retry_counts(db: sqlite3.Connection) -> list[tuple[str, int, int]]:
    """(reason, dead, retrying) of the dead letters that can be fetched again, by reason."""
    rows = db.execute(
        "SELECT reason, SUM(retrying = 0), SUM(retrying = 1) FROM dead_letter "
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
        "SELECT id FROM dead_letter WHERE died_ms >= ? AND retrying = 0 ORDER BY id", (since_ms,)
    )
    return [str(row[0]) for row in rows]


def unreported_deaths(db: sqlite3.Connection) -> int:
    """Dead letters, not being retried, that no run has reported yet.

    A run that worked its list down (exit 0 or 3) has reported all that had died by its end; one
    that ended otherwise had something else to say, and one that was killed or has not ended said
    nothing.  Runs are ordered by their first publication before their clock, which may jump.
    """
    return _number(
        db,
        """
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
        SELECT COUNT(*) FROM dead_letter WHERE retrying = 0 AND run IN (SELECT id FROM silent)
        """,
        *SUCCESSES,
        *SUCCESSES,
    )


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


def deferred(db: sqlite3.Connection, voice_id: str) -> Deferred | None:
    """One deferred id, or None."""
    row = db.execute(f"SELECT {_DEFERRED} FROM deferred WHERE id = ?", (voice_id,)).fetchone()  # noqa: S608
    return None if row is None else _deferred(row)


def is_retrying(db: sqlite3.Connection, voice_id: str) -> bool:
    """Whether an id is a dead letter that is on the work list again."""
    query = "SELECT EXISTS (SELECT 1 FROM dead_letter WHERE id = ? AND retrying = 1)"
    return bool(db.execute(query, (voice_id,)).fetchone()[0])


def all_deferred(db: sqlite3.Connection) -> Iterator[Deferred]:
    """Every deferred id, by id."""
    for row in db.execute(f"SELECT {_DEFERRED} FROM deferred ORDER BY id"):  # noqa: S608
        yield _deferred(row)


def _dead_letters(db: sqlite3.Connection, clause: str) -> Iterator[DeadLetter]:
    for row in db.execute(f"SELECT {_DEAD} FROM dead_letter {clause} ORDER BY id"):  # noqa: S608
        yield DeadLetter(*(*row[:7], bool(row[7]), row[8]))


def _deferred(
    row: tuple[str, str, str, int, int, str, int, str, int | None, int | None, int],
) -> Deferred:
    days = tuple(day for day in row[7].split(",") if day)
    return Deferred(*row[:7], days, row[8], row[9], bool(row[10]))


def _runs(db: sqlite3.Connection, clause: str, *values: int | str) -> list[RunRecord]:
    rows = db.execute(
        "SELECT id, started_ms, ended_ms, exit_code, first_publication, counters FROM run "  # noqa: S608
        + clause,
        values,
    )
    return [
        RunRecord(*(*row[:5], msgspec.json.decode(row[5], type=dict[str, int]))) for row in rows
    ]


def _number(db: sqlite3.Connection, query: str, *values: int) -> int:
    return int(db.execute(query, values).fetchone()[0])
