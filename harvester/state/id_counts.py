"""The one count of where every id stands, which all commands show.

And what was counted of each billing day when it was last reconciled: enough for `status` to say
whether a month is complete without reading the data set.  Those days are the vendor's clock's, by
submitTime.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from harvester.state import publications, run_records, unresolved, work_lists
from harvester.state.between_runs import latest_ms
from harvester.state.database import get_meta, set_meta, transaction
from harvester.state.listings import count_doubted, listed_days
from harvester.state.restore import unrated_before
from harvester.vendor_clock import CLOCK

_DAYS = "billing_days"
_KEPT = 190
COUNTS = ("listed", "delivered", "open", "dead", "pending", "dropped", "missing")
"""Of a billing day; the others add up to the first."""


class IdCounts(msgspec.Struct, frozen=True):
    """How many ids stand where, over all runs: each is delivered, open, dead or pending."""

    in_data: int
    in_journal: int
    """Delivered, but not in the data set before `publish` or the next run writes them."""
    open: int
    open_due: int
    open_unknown: int
    """Of the open ones: those that the vendor does not know yet."""
    open_unrated: int
    """Of the open ones: those that are over, and that the vendor has not put a price on yet."""
    dead: int
    """Without those that are being retried: they are pending."""
    dead_by_reason: Mapping[str, int]
    """Adds up to `dead`; the most frequent reason first."""
    pending: int
    retrying: int
    """Of the pending ones: dead letters whose retry has no outcome yet."""
    deferred: int
    """Of the pending ones: those that failed in the last runs."""
    delivered_unrated: int = 0
    """Of the delivered ones: calls that the vendor had not put a price on."""
    pending_again: int = 0
    """Of the delivered ones: those that `refetch` put on the list, or a list that differed will,
    and that have no outcome yet.
    """

    @property
    def open_by_reason(self) -> dict[str, int]:
        """Adds up to `open`; reasons of no id are left out."""
        waiting = {
            "not_over": self.open - self.open_unknown - self.open_unrated,
            "unrated": self.open_unrated,
            "no_record": self.open_unknown,
        }
        return {reason: ids for reason, ids in waiting.items() if ids}


def count_ids(db: sqlite3.Connection, now_ms: int) -> IdCounts:
    """Where every id of the output stands; what is due at `now_ms` of our clock, counted apart."""
    current = work_lists.current_list(db)
    calls = unresolved.count_open_calls(db, latest_ms(db, now_ms))
    reasons = unresolved.count_dead(db)
    return IdCounts(
        in_data=publications.live_rows(db),
        in_journal=publications.journal_size(db, "new")[0],
        open=calls.all,
        open_due=calls.due,
        open_unknown=calls.unknown,
        open_unrated=calls.unrated,
        dead=sum(reasons.values()),
        dead_by_reason=reasons,
        pending=current.pending_new if current else 0,
        retrying=unresolved.count_retrying(db),
        deferred=unresolved.count_deferred(db),
        delivered_unrated=run_records.count_unrated(db) + unrated_before(db),
        pending_again=count_doubted(db) + (current.pending_again if current else 0),
    )


class BillingDay(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that the vendor lists for a day of its clock, and what has become of them here.

    listed = delivered + open + dead + pending + dropped + missing
    """

    day: str
    """As 2026-11-01."""
    counted_ms: int | None = None
    """When this was counted; ids may have been delivered since. None: it is only listed."""
    listed_ms: int | None = None
    """When the day was listed; None where it is not over, or was never listed for sure."""
    listed: int = 0
    delivered: int = 0
    open: int = 0
    """Unrated ones included."""
    dead: int = 0
    pending: int = 0
    dropped: int = 0
    missing: int = 0
    """Unknown here."""

    @property
    def is_complete(self) -> bool:
        """Whether the day was listed for sure, and every call of it has its record here.

        A count from before the newest listing says nothing of what that has found since.
        """
        return self.is_counted and self.delivered + self.dropped == self.listed

    @property
    def is_counted(self) -> bool:
        """Whether the day was listed for sure, and counted since."""
        if self.listed_ms is None or self.counted_ms is None:
            return False
        return self.counted_ms >= self.listed_ms


class BillingMonth(msgspec.Struct, frozen=True, kw_only=True):
    """The days of a month that are over, of the vendor's clock; counts as those of its days."""

    month: str
    """As 2026-11."""
    days: int
    days_listed: int
    """Of these, the ones that were listed for sure."""
    days_complete: int
    days_counted: int
    """Of days_listed, those that were counted since."""
    is_over: bool
    counted_ms: int | None
    """When the day that was counted longest ago was."""
    listed: int
    delivered: int
    open: int
    dead: int
    pending: int
    dropped: int
    missing: int

    @property
    def is_complete(self) -> bool:
        """Whether every call of these days has its record here."""
        return self.days_complete == self.days


def keep_days(db: sqlite3.Connection, counted: Sequence[BillingDay]) -> None:
    """Keep what was counted; of a day that was counted before, this is true now."""
    with transaction(db):
        known = {one.day: one for one in kept_days(db)}
        known |= {one.day: one for one in counted}
        newest = [known[day] for day in sorted(known)][-_KEPT:]
        set_meta(db, _DAYS, msgspec.json.encode(newest).decode())


def kept_days(db: sqlite3.Connection) -> list[BillingDay]:
    """What was counted of each day, in order; none before the first `reconcile`."""
    kept = get_meta(db, _DAYS)
    return [] if kept is None else msgspec.json.decode(kept, type=list[BillingDay])


def billing_days(db: sqlite3.Connection) -> list[BillingDay]:
    """What is known of each day, in order: those that were counted, or are listed at least."""
    known = {one.day: one for one in kept_days(db)}
    for day, listed_ms in listed_days(db).items():
        known[day] = replace(known.get(day, BillingDay(day=day)), listed_ms=listed_ms)
    return [known[day] for day in sorted(known)]


def billing_months(days: Sequence[BillingDay], now_ms: int) -> list[BillingMonth]:
    """The last month and this one on the vendor's clock, if anything is known of their days."""
    today = datetime.fromtimestamp(now_ms / 1000, CLOCK).date()
    found = []
    for first in ((today.replace(day=1) - timedelta(days=1)).replace(day=1), today.replace(day=1)):
        month = f"{first:%Y-%m}"
        of_month = [one for one in days if one.day.startswith(month) and one.day < str(today)]
        if of_month:
            next_first = (first + timedelta(days=31)).replace(day=1)
            found.append(
                _month(month, of_month, (min(next_first, today) - first).days, next_first <= today)
            )
    return found


def _month(month: str, days: Sequence[BillingDay], over: int, is_over: bool) -> BillingMonth:
    counted = [one.counted_ms for one in days if one.counted_ms is not None]
    return BillingMonth(
        month=month,
        days=over,
        days_listed=sum(one.listed_ms is not None for one in days),
        days_complete=sum(one.is_complete for one in days),
        days_counted=sum(one.is_counted for one in days),
        is_over=is_over,
        counted_ms=min(counted, default=None),
        **{name: sum(getattr(one, name) for one in days) for name in COUNTS},
    )
