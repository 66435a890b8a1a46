"""What no row of the data set tells: open calls, dead letters, and the books of the runs.

Open and dead stand in the ledger, which a run keeps to itself while it works; the books are read
from the runs' summaries, which anybody may read at any time.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import TypeVar

import msgspec

from harvester.analysis.period import Period
from harvester.analysis.places import Places
from harvester.errors import AlreadyRunning, StoreError
from harvester.state import id_counts
from harvester.state.lock import OutputLock
from harvester.state.read_only import view_ledger
from harvester.state.run_records import in_order
from harvester.storage.ownership import READ, refuse_closed

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Loose:
    """The ids that have no final record, over the whole output and as of now."""

    open: int
    open_by_reason: dict[str, int]
    open_due: int
    dead: int
    """Without those that are being retried: they are pending."""
    dead_by_reason: dict[str, int]
    pending: int
    retrying: int
    """Of the pending ones: dead letters whose retry has no outcome yet."""
    in_journal: int
    """Delivered, but not in the data set before `publish` or the next run writes them."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The ledger says nothing now."""

    why: str


class RunBook(msgspec.Struct, frozen=True, kw_only=True):
    """The books of one run, as its summary has them."""

    run_id: str
    started_at: datetime
    exit_code: int | None
    requests: int
    attempted: int
    delivered: int
    open: int
    dead: int
    deferred: int
    rows: int
    cost: dict[str, Decimal]
    balanced: bool


@dataclass(frozen=True, slots=True)
class Books:
    """The runs that began within the period, newest first."""

    runs: tuple[RunBook, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Summaries that can't be read."""


class _Run(msgspec.Struct, frozen=True):
    attempted: int
    delivered: int
    open: int
    dead: int
    deferred: int


class _Data(msgspec.Struct, frozen=True):
    rows: int
    cost: dict[str, Decimal]


class _Summary(msgspec.Struct, frozen=True):
    """What is read of a summary.json; other fields don't matter here."""

    run_id: str
    started_at: datetime
    exit_code: int | None
    requests: int
    run: _Run
    data: _Data
    differences: list[msgspec.Raw]
    first_publication: int | None = None


def read_loose(places: Places) -> Loose | Unknown:
    """Count the open and the dead; change nothing.  Raises StoreError if the ledger is damaged."""
    return ask_ledger(places, "report", _loose)


def ask_ledger(
    places: Places, command: str, question: Callable[[sqlite3.Connection], Told]
) -> Told | Unknown:
    """What the ledger answers, unless a run holds it; `command` is who asks.

    Raises StoreError if it is damaged.
    """
    try:
        refuse_closed(places.root, [places.state, places.database, places.lock], READ)
    except StoreError as exc:
        return Unknown(str(exc))
    if not places.database.is_file():
        return Unknown(
            f"there is no {places.database.relative_to(places.root)}. With the data alone, "
            "`harvester rebuild` makes it again"
        )
    scratch = places.staging if places.staging.is_dir() else None
    try:
        with OutputLock(places.lock, command), view_ledger(places.database, scratch) as db:
            return question(db)
    except AlreadyRunning:
        return Unknown("a run holds the output; ask again when it is done, or `harvester status`")


def _loose(db: sqlite3.Connection) -> Loose:
    found = id_counts.count_ids(db, time.time_ns() // 1_000_000)
    waiting = {"not_over": found.open - found.open_unknown, "no_record": found.open_unknown}
    return Loose(
        open=found.open,
        open_by_reason={reason: number for reason, number in waiting.items() if number},
        open_due=found.open_due,
        dead=found.dead,
        dead_by_reason=dict(found.dead_by_reason),
        pending=found.pending,
        retrying=found.retrying,
        in_journal=found.in_journal,
    )


def read_books(places: Places, period: Period, zone: tzinfo) -> Books:
    """The books of the runs that began in `period`, as days go in `zone`."""
    found: dict[str, _Summary] = {}
    unreadable = []
    if places.runs.exists() and not os.access(places.runs, os.R_OK | os.X_OK):
        unreadable.append("any: runs/ is closed to this user")
    for path in sorted(places.runs.glob("*/summary.json"), reverse=True):
        try:
            summary = msgspec.json.decode(path.read_bytes(), type=_Summary)
        except (OSError, msgspec.MsgspecError):
            unreadable.append(path.parent.name)
            continue
        found[path.parent.name] = summary
    newest_first = reversed(in_order({k: one.first_publication for k, one in found.items()}))
    runs = [
        _book(found[name])
        for name in newest_first
        if period.covers_instant(found[name].started_at, zone)
    ]
    return Books(tuple(runs), tuple(unreadable))


def _book(summary: _Summary) -> RunBook:
    run = summary.run
    return RunBook(
        run_id=summary.run_id,
        started_at=summary.started_at,
        exit_code=summary.exit_code,
        requests=summary.requests,
        attempted=run.attempted,
        delivered=run.delivered,
        open=run.open,
        dead=run.dead,
        deferred=run.deferred,
        rows=summary.data.rows,
        cost=summary.data.cost,
        balanced=not summary.differences,
    )
