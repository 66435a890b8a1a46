"""`harvester report`: what the calls of a period came to, and what is unfinished.

Theory of operation.  The data set is read without the output's lock: its files are complete and
never change, and one that a run publishes meanwhile is either listed or not.  So a report can be
had while a run works; only the open and the dead can't be told then.  Should a compaction take away
what was listed, reading it ends with an error.  Nothing is changed.

Days are those of the order's clock, whatever the folders of the data set are named by.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from harvester.analysis.places import Places
from harvester.analysis.report.aggregate import QUARTER_MS, Calls, count_calls
from harvester.analysis.report.corrections import Corrections, corrections
from harvester.analysis.report.data_files import data_files
from harvester.analysis.report.figures import percentile
from harvester.analysis.report.source import read_source
from harvester.analysis.report.unfinished import (
    RunHistory,
    Unknown,
    ask_ledger,
    read_billing_days,
    read_run_history,
    read_unfinished,
)
from harvester.analysis.scope import Scope
from harvester.dataset.stated import Stated
from harvester.errors import StoreError, UsageError
from harvester.state import publications
from harvester.state.id_counts import BillingDay, IdCounts

BUSIEST = 5


@dataclass(frozen=True, slots=True)
class Order:
    """What to report on, and how."""

    scope: Scope
    memory_limit: str


@dataclass(frozen=True, slots=True)
class BusyHour:
    """One hour of one day."""

    begins_at: datetime
    calls: int
    answered: int


@dataclass(frozen=True, slots=True)
class Hours:
    """When calls are submitted, on a clock of the order's time zone."""

    week: tuple[tuple[int, ...], ...]
    """Calls by weekday (0: Monday) and hour."""
    busiest: tuple[BusyHour, ...]


@dataclass(frozen=True, slots=True)
class Delay:
    """Post-dial delay over all calls that have one, in milliseconds."""

    calls: int
    median: int | None
    p95: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report shows."""

    output: str
    made_at: datetime
    scope: Scope
    first_day: date | None
    last_day: date | None
    """The days that there is data of, within the period."""
    files: int
    """Files that were read."""
    foreign: int
    """Files under cdr/ that are not ours, and were not read."""
    calls: Calls
    hours: Hours
    delay: Delay
    unfinished: IdCounts | Unknown
    control_totals: RunHistory
    stated: Stated
    """What the files say of themselves."""
    corrections: Corrections = field(default_factory=Corrections)
    """What has changed since the calls were delivered; the figures are those of today."""
    billing_days: tuple[BillingDay, ...] = ()
    """What the vendor lists for each day of its own clock, and what of it is here."""


def make_report(places: Places, order: Order) -> Report:
    """Reckon up the calls of the order's period.

    Raises UsageError where there is no output, StoreError if something can't be read.
    """
    if not places.cdr.is_dir() and not places.state.is_dir():
        raise UsageError(
            f"{places.root} holds no data yet. Name the right folder with --out or -c, or begin "
            f"with `harvester run IDS`.",
            code="output.no_data",
        )
    found = data_files(places, "report")
    clock, period = order.scope.clock, order.scope.period
    parts = order.scope.parts(found.parts)
    found.refuse_damaged(places, parts)
    with tempfile.TemporaryDirectory(prefix="harvester-report-") as scratch:
        calls = count_calls(
            [places.cdr / part for part in parts],
            order.scope,
            found.changes,
            memory_limit=order.memory_limit,
            scratch=Path(scratch),
        )
        corrected = corrections(
            found.changes,
            order.scope,
            _folded(places),
            memory_limit=order.memory_limit,
            scratch=Path(scratch),
        )
    zone = ZoneInfo(clock.zone)
    days = [date.fromisoformat(row.name) for row in calls.by_day if row.name]
    return Report(
        output=str(places.root),
        made_at=datetime.now(UTC),
        scope=order.scope,
        first_day=min(days, default=None),
        last_day=max(days, default=None),
        files=len(parts),
        foreign=len(found.foreign),
        calls=calls,
        hours=hours_of(calls.quarters, zone),
        delay=_delay(calls.delays),
        unfinished=read_unfinished(places),
        billing_days=read_billing_days(places, period),
        control_totals=read_run_history(places, period, zone),
        stated=read_source(places, parts, "report"),
        corrections=corrected,
    )


def _folded(places: Places) -> Mapping[str, int] | None:
    try:
        found = ask_ledger(places, "report", publications.folded)
    except StoreError:
        return None  # whoever reads the open and the dead says what is wrong with it
    return None if isinstance(found, Unknown) else found


def hours_of(quarters: Mapping[int, tuple[int, int]], zone: ZoneInfo) -> Hours:
    """Quarters of an hour since 1970, UTC, gathered into the hours of a clock in `zone`."""
    week = [[0] * 24 for _ in range(7)]
    hours: dict[datetime, list[int]] = {}
    for quarter, (calls, answered) in quarters.items():
        at = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC).astimezone(zone)
        week[at.weekday()][at.hour] += calls
        # Told apart in UTC: an hour that a clock shows twice counts as two.
        hour = hours.setdefault(at.replace(minute=0).astimezone(UTC), [0, 0])
        hour[0] += calls
        hour[1] += answered
    ranked = sorted(hours.items(), key=lambda item: (-item[1][0], item[0]))
    busiest = tuple(BusyHour(hour.astimezone(zone), *counts) for hour, counts in ranked[:BUSIEST])
    return Hours(tuple(map(tuple, week)), busiest)


def _delay(delays: Mapping[int, int]) -> Delay:
    return Delay(sum(delays.values()), percentile(delays, 50), percentile(delays, 95))
