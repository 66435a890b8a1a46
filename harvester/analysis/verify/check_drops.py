"""What `drop` and `erase` left behind: ids, and what runs had delivered of calls that went."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from harvester.analysis.places import Places
from harvester.analysis.verify.findings import Finding, damage
from harvester.dataset.usage import UsageTotals
from harvester.state import publications
from harvester.storage import dropped
from harvester.storage.dropped import Dropped

_RESTORE = (
    "Restore it from a backup: without it, ids that were dropped are fetched again when they are "
    "in an input, and control totals do not hold."
)
_KEEP_ERASED = "Restore it from a backup: without it, a refetch brings the erased numbers back."


def check_drops(db: sqlite3.Connection, places: Places) -> Iterator[Finding]:
    """The file of every drop and erasure that the state database knows is there, and whole."""
    for number, command in publications.leaving_files(db):
        path = dropped.left_file_of(places.dropped, number, command)
        remedy = _RESTORE if command == "drop" else _KEEP_ERASED
        if not path.is_file():
            yield damage("missing_file", f"was left by `{command}`, and is gone", path, remedy)
        elif why := dropped.damage_of(path):
            yield damage("unreadable", why, path, remedy)


def with_left(
    totals: Mapping[str, UsageTotals], drops: Iterable[Dropped]
) -> dict[str, UsageTotals]:
    """The totals of runs, with what each had delivered of the calls that were dropped."""
    found = dict(totals)
    for drop in drops:
        for run, left in drop.runs.items():
            usage = UsageTotals(
                left.rows, left.call_duration_s, left.charged_duration_s, dict(left.cost)
            )
            found[run] = found.get(run, UsageTotals()) + usage
    return found
