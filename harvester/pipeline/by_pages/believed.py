"""Whether fetching by pages may be believed at all, and by what."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import date, timedelta

import msgspec

from harvester.dataset.kind import FETCHED_BY, RecordKind
from harvester.errors import UsageError
from harvester.pipeline.by_pages.pages import Pages
from harvester.pipeline.listing import days as days_of
from harvester.pipeline.listing.both_ways import LEAST_PROOF
from harvester.pipeline.listing.probing import Filter
from harvester.state import between_runs, listings

_A_DAY = timedelta(days=1)


class Believed(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the vendor's list, for a run that is to fetch by its pages."""

    pages: Pages
    filter: Filter | None
    codes: Mapping[str, str]
    now_s: float
    """The latest that it may be on the vendor's clock."""


def believed(
    db: sqlite3.Connection, kind: RecordKind, pages: Pages, proof: str, now_ms: int
) -> Believed:
    """What is needed to fetch by pages.  Raises UsageError where that may not be.

    `proof`: of this account at this address.  `now_ms`: by our clock.
    """
    if FETCHED_BY.name not in kind.by_name:
        raise UsageError(
            "this output has columns of an older version, which can't say that a record came by a "
            "page. Run `harvester compact --schema` once, then the same command again.",
            code="output.schema",
        )
    now_s = between_runs.latest_ms(db, now_ms) / 1000
    found = listings.comparison(db)
    if found is None or found.proof != proof or found.compared < LEAST_PROOF:
        yesterday = days_of.day_at(now_s) - _A_DAY
        first, last = pages.first or yesterday, pages.last or yesterday
        raise UsageError(
            "it is not known that the vendor's list says of a call what an answer about it alone "
            "says, for this account and address: that was never found, or it differed last. Run "
            f"`harvester discover --from {first} --to {last} --compare 1000` first, or leave out "
            "--via pages.",
            code="listing.not_compared",
        )
    _refuse_days(pages, now_s)
    return Believed(
        pages=pages, filter=listings.list_filter(db, Filter), codes=found.codes, now_s=now_s
    )


def _refuse_days(pages: Pages, now_s: float) -> None:
    first, last = pages.first, pages.last
    if first is None and last is None:
        return
    if first is None or last is None:
        raise UsageError(
            "days of the vendor's list have a first and a last one: give both, or none.",
            code="usage.date",
        )
    oldest, today = days_of.oldest(now_s), days_of.day_at(now_s)
    if last < first:
        raise UsageError(f"{last} is before {first}: name the days in order.", code="usage.date")
    if first < oldest:
        raise UsageError(
            f"the vendor keeps its list for {days_of.KEPT_DAYS} days: {first} is too old. Ask for "
            f"days from {oldest} on.",
            code="usage.date",
        )
    if first > today:
        raise UsageError(
            f"{first} has not begun on the vendor's clock: it is {today} there.",
            code="usage.date",
        )


def days_between(
    since_ms: int | None, until_ms: int | None, now_ms: int
) -> tuple[date, date] | None:
    """The vendor's days that hold the instants from the one on and before the other, as far as it
    has them; None where that is none, or a bound is missing.
    """
    if since_ms is None or until_ms is None:
        return None
    first = max(days_of.day_at(since_ms / 1000), days_of.oldest(now_ms / 1000))
    last = min(days_of.day_at((until_ms - 1) / 1000), days_of.day_at(now_ms / 1000))
    return (first, last) if first <= last else None
