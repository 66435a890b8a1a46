"""The one count of where every id stands, which all commands show."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from harvester.state import publications, run_records, unresolved, work_lists
from harvester.state.between_runs import latest_ms
from harvester.state.restore import unrated_before


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
    """Of the delivered ones: those that `refetch` put on the list, and that have no outcome yet."""

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
        pending_again=current.pending_again if current else 0,
    )
