"""What is in no row of the data set: open calls, dead letters, and what the runs came to.

Open and dead are in the state database, which a run keeps to itself while it works; control
totals are read from the runs' summaries, which anybody may read at any time.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import TypeVar

from harvester.analysis.period import Period
from harvester.analysis.places import Places
from harvester.errors import AlreadyRunning, StoreError
from harvester.state.id_counts import BillingDay, IdCounts, billing_days, count_ids
from harvester.state.lock import OutputLock
from harvester.state.read_only import view_ledger
from harvester.state.run_records import in_order
from harvester.storage.ownership import READ, refuse_closed
from harvester.storage.run_summary import RunSummary, SummaryError, read_summary, summary_files

Result = TypeVar("Result")
_BILLING_DAYS = 62

RUN_COLUMNS = (
    "run_id",
    "started_at",
    "exit_code",
    "requests",
    "attempted",
    "delivered",
    "open",
    "dead",
    "deferred",
    "rows",
    "cost",
    "balanced",
)
"""What a report says of a run, and the table `run` of `sql`: fields of RunSummary."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The ledger says nothing now."""

    why: str


@dataclass(frozen=True, slots=True)
class RunHistory:
    """The runs that began within the period, newest first."""

    runs: tuple[RunSummary, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Summaries that can't be read."""


def read_unfinished(places: Places) -> IdCounts | Unknown:
    """Count the open and the dead; change nothing.  Raises StoreError if the ledger is damaged."""
    return ask_ledger(places, "report", lambda db: count_ids(db, time.time_ns() // 1_000_000))


def read_billing_days(places: Places, period: Period) -> tuple[BillingDay, ...]:
    """What was counted of the days of the period when they were reconciled; of the last ones, where
    the period has no bounds.  None while nobody knows: `read_unfinished` says why.
    """
    found = ask_ledger(places, "report", billing_days)
    if isinstance(found, Unknown):
        return ()
    days = [one for one in found if period.covers(date.fromisoformat(one.day))]
    return tuple(days if period.is_bounded else days[-_BILLING_DAYS:])


def ask_ledger(
    places: Places, command: str, question: Callable[[sqlite3.Connection], Result]
) -> Result | Unknown:
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
        return Unknown("a run uses the output; try again when it has ended, or `harvester status`")


def read_run_history(places: Places, period: Period, zone: tzinfo) -> RunHistory:
    """The runs that began in `period`, as days go in `zone`."""
    found: dict[str, RunSummary] = {}
    unreadable = []
    if places.runs.exists() and not os.access(places.runs, os.R_OK | os.X_OK):
        unreadable.append("any: runs/ is closed to this user")
    for path in reversed(list(summary_files(places.runs))):
        try:
            found[path.parent.name] = read_summary(path)
        except SummaryError:
            unreadable.append(path.parent.name)
    newest_first = reversed(in_order({k: one.first_publication for k, one in found.items()}))
    runs = [
        found[name] for name in newest_first if period.covers_instant(found[name].started_at, zone)
    ]
    return RunHistory(tuple(runs), tuple(unreadable))
