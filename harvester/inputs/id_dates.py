"""How old ids are by their own digits: `clean.dated`, for columns of millions.

The vendor keeps a record for about two months.  Where an id tells its date, whoever plans a night
can know beforehand which ones may be gone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from heapq import merge
from itertools import islice

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from harvester.vendor_clock import CLOCK

VENDOR_KEEPS = timedelta(days=59)
"""The shortest two months there are: no page gives a number (docs/internals/vendor-rules.md)."""

_FORM = "%y%m%d%H%M%S"
_DIGITS = "^[0-9]{19,20}$"
# yyMMddHHmmss of the years that `clean.dated` takes for an id's, and only of days that exist.
_STAMP = (
    "^(?:(?:1[5-9]|[234][0-9])(?:"
    "(?:0[13578]|1[02])(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)(?:0[1-9]|[12][0-9]|30)"
    "|02(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:16|20|24|28|32|36|40|44|48)0229)"
    "(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]$"
)


class OldIds(msgspec.Struct):
    """Counts ids dated before an instant, and keeps the oldest few."""

    before: datetime
    shown: int = 5
    count: int = 0
    oldest: list[tuple[str, str]] = []
    """(date, id), the oldest first; dates as `stamps` gives them."""

    def add(self, ids: pa.Array) -> None:
        """Look at a column of ids."""
        told = stamps(ids)
        old = pc.fill_null(pc.less(told, stamp_of(self.before)), False)
        found = pa.table({"at": told, "id": ids}).filter(old)
        self.count += found.num_rows
        first = pc.select_k_unstable(found, self.shown, [("at", "ascending"), ("id", "ascending")])
        rows = sorted((row["at"], row["id"]) for row in found.take(first).to_pylist())
        self.oldest = list(islice(merge(self.oldest, rows), self.shown))


def stamps(ids: pa.Array) -> pa.Array:
    """What each id's own digits tell, as yyMMddHHmmss at +08:00; null where they form no date.

    In that form a later instant is a greater text: the years are those of one century.
    """
    return pc.max_element_wise(*_readings(ids))


def stamp_sql(ids: str) -> str:
    """SQL: what the digits of the column `ids` tell, as `stamps`; NULL where they form no date."""
    readings = [
        f"CASE WHEN regexp_matches(substr({ids}, {at}, 12), '{_STAMP}') "
        f"THEN substr({ids}, {at}, 12) END"
        for at in (1, 2)
    ]
    return f"CASE WHEN regexp_matches({ids}, '{_DIGITS}') THEN greatest({', '.join(readings)}) END"


def between(ids: pa.Array, after: str, until: str) -> pa.Array:
    """Which ids can only be dated after one stamp, and not after another one; never null.

    By the earlier reading, where an id has two: it may be as old as that.
    """
    told = pc.min_element_wise(*_readings(ids))
    within = pc.and_(pc.greater(told, after), pc.less_equal(told, until))
    return pc.fill_null(within, False)


def _readings(ids: pa.Array) -> list[pa.Array]:
    """The stamps that the digits of each id can be read as, with and without a type digit."""
    digits = pc.match_substring_regex(ids, _DIGITS)
    readings = []
    for start in (0, 1):
        text = pc.utf8_slice_codeunits(ids, start, start + 12)
        is_date = pc.and_(digits, pc.match_substring_regex(text, _STAMP))
        readings.append(pc.if_else(is_date, text, pa.scalar(None, pa.string())))
    return readings


def stamp_of(at: datetime) -> str:
    """An instant in the form of `stamps`."""
    return at.astimezone(CLOCK).strftime(_FORM)


def instant(stamp: str) -> datetime:
    """A stamp as an instant."""
    return datetime.strptime(stamp, _FORM).replace(tzinfo=CLOCK)
