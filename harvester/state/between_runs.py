"""What a run leaves to the next ones beside its ids: the requests of each day, the vendor's clock,
the keys that it has taken, and the fields that were reported.
"""

from __future__ import annotations

import sqlite3
from typing import TypeVar

import msgspec

from harvester.state.database import get_meta, set_meta, transaction

T = TypeVar("T", bound=msgspec.Struct)

DAYS_KEPT = 31
"""Days whose requests are remembered, for a clock that steps back into one."""

_PROOFS = 20
_REPORTED = "reported_publication"


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


def may_have_workers(db: sqlite3.Connection) -> bool:
    """Whether the last run had workers beside its process."""
    return get_meta(db, "workers") == "1"


def had_workers(db: sqlite3.Connection, has_workers: bool) -> bool:
    """Whether the run before this one had workers beside its process; keeps it of this one."""
    had = may_have_workers(db)
    if had is not has_workers:
        with transaction(db):
            set_meta(db, "workers", "1" if has_workers else "0")
    return had


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


def fields_seen(db: sqlite3.Connection, kind: type[T]) -> T:
    """What was remembered of the vendor's fields, as a `kind`; an empty one where nothing was."""
    return msgspec.json.decode(get_meta(db, "fields_seen") or "{}", type=kind)


def reported_publication(db: sqlite3.Connection) -> int:
    """The last publication of which it was shown what is odd in it; 0 before the first."""
    return int(get_meta(db, _REPORTED) or 0)


def remember_fields(db: sqlite3.Connection, seen: msgspec.Struct, publication: int) -> None:
    """Remember what has been shown of the vendor's fields, up to which publication."""
    with transaction(db):
        set_meta(db, "fields_seen", msgspec.json.encode(seen).decode())
        set_meta(db, _REPORTED, str(publication))
