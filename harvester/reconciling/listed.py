"""Which listings say what the vendor has of a day, and their calls.

Of a day that is listed for sure, the newest such listing counts, and what later ones have found
that are not settled: none of them may have all.  Where the list was never settled, all that was
found counts, and somebody else says that it may not be all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec

from harvester.pipeline.listing import days as days_of
from harvester.pipeline.listing.calls import write_calls
from harvester.pipeline.listing.windows import Window
from harvester.reconciling.figures import Days
from harvester.state import listings
from harvester.state.listings import ListingRecord
from harvester.storage.duckdb_engine import Room


class OfDay(msgspec.Struct, frozen=True):
    """The listings that count for a day."""

    day: date
    settled: ListingRecord | None
    """The newest that has all of it for sure."""
    others: tuple[ListingRecord, ...]
    """Later ones that have not."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Their numbers."""
        first = () if self.settled is None else (self.settled.id,)
        return (*first, *(one.id for one in self.others))

    @property
    def age_days(self) -> int | None:
        """Days after this one on which it was listed for sure."""
        if self.settled is None:
            return None
        return (days_of.day_at(self.settled.begun_ms / 1000) - self.day).days


def of_days(records: Sequence[ListingRecord], first: date, last: date) -> list[OfDay]:
    """The listings of each day from `first` to `last`."""
    found, day = [], first
    while day <= last:
        covering = [one for one in records if days_of.covers(_window(one), day)]
        settled = next((one for one in reversed(covering) if one.is_settled), None)
        least = 0 if settled is None else settled.id
        others = tuple(one for one in covering if one.id > least and not one.is_settled)
        found.append(OfDay(day, settled, others))
        day += timedelta(days=1)
    return found


def told(days: Sequence[OfDay]) -> Days:
    """How far the list of these days can be relied on."""
    settled = [one.settled for one in days if one.settled is not None]
    ages = [one.age_days for one in days if one.age_days is not None]
    return Days(
        first=str(days[0].day),
        last=str(days[-1].day),
        listed=len(settled),
        oldest_listing_ms=min((one.begun_ms for one in settled), default=None),
        least_age_days=min(ages, default=None),
        not_listed=tuple(str(one.day) for one in days if one.settled is None),
    )


def write_listed(
    db: sqlite3.Connection,
    folder: Path,
    days: Sequence[OfDay],
    room: Room,
    *,
    name: str = "listed",
) -> list[Path]:
    """Write the calls of the days into files in the scratch folder.  Raises StoreError.

    `folder`: that of the listings' own files.  `name`: how those of the scratch folder begin.
    """
    written = []
    for number, stretch in enumerate(_stretches(days)):
        files = [folder / path for one in stretch[0].ids for path in listings.files(db, one)]
        if files:
            window = days_of.of_days(stretch[0].day, stretch[-1].day)
            written.append(room.scratch / f"{name}-{number}.parquet")
            write_calls(files, window, written[-1], room)
    return written


def _stretches(days: Sequence[OfDay]) -> Iterator[list[OfDay]]:
    """Days in a row that the same listings count for."""
    stretch: list[OfDay] = []
    for one in days:
        if stretch and stretch[-1].ids != one.ids:
            yield stretch
            stretch = []
        stretch.append(one)
    if stretch:
        yield stretch


def _window(one: ListingRecord) -> Window:
    return Window(one.start_s, one.until_s)
