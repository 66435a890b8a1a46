"""One clock for billing: whose days, and which of a call's times dates it.

Theory of operation.  The folders of the data set are named by submit_time in
output.partition_timezone, which is how the data are stored and not how they are billed.  So rows
are chosen by the instant of the clock's time, and folders only spare the reading of files that
can't hold any.  DuckDB gets the zone as offsets that Python has found: bounds, days and the runs of
a period then agree, whichever release of the time zones either of them carries.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from harvester.analysis.period import Period, day_of
from harvester.config import Billing, DateBy

# No two clocks show dates that are further apart (UTC-12 before its midnight, UTC+14 after its).
_APART_DAYS = 2
_DAY_S = 86_400
# A call has no time before 2000 (a filler); beyond 2100 the last offset is taken.
_OFFSETS_FROM = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
_OFFSETS_TO = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Clock:
    """What `day` and `month` mean in a report, an audit, an export or a query."""

    zone: str
    """IANA name."""
    date_by: DateBy

    @classmethod
    def of(cls, billing: Billing) -> Clock:
        """The clock of these settings."""
        return cls(billing.zone, billing.date_by)

    @property
    def column(self) -> str:
        """The column that dates a call."""
        return f"{self.date_by}_time"

    @property
    def told(self) -> str:
        """As headers say it: "days of Asia/Shanghai, by submit time"."""
        return f"days of {self.zone}, by {self.date_by} time"

    def bounds(self, period: Period) -> tuple[datetime | None, datetime | None]:
        """The first instant (UTC) of the period, and the first one after it; None: no bound."""
        first, last = period.first, period.last
        since = None if first is None else self._begin(first)
        return since, None if last is None else self._begin(last + timedelta(days=1))

    def day_sql(self) -> str:
        """SQL: the DATE of a record; NULL where it has no time of the chosen kind."""
        ms = f"epoch_ms({self.column})"
        offset = _offset_sql(ms, offsets(self.zone))
        return f"(DATE '1970-01-01' + (({ms} + {offset}) // {_DAY_S * 1000})::INTEGER)"

    def within_sql(self, period: Period) -> str:
        """SQL: whether a record is of the period; one without a day is of an unbounded one only."""
        since, until = self.bounds(period)
        conditions = [
            f"{self.column} {sign} TIMESTAMPTZ '{at:%Y-%m-%d %H:%M:%S}+00'"
            for sign, at in ((">=", since), ("<", until))
            if at is not None
        ]
        return " AND ".join(conditions) or "true"

    def parts_of(self, parts: Iterable[str], period: Period) -> list[str]:
        """The parts that may hold records of the period, or records without a day.

        A hangup may be days after the submission that names the folder: then all of them.
        """
        if self.date_by != "submit":
            return sorted(parts)
        reach = period.widened(_APART_DAYS)
        return sorted(p for p in parts if (day := day_of(p)) is None or reach.covers(day))

    def _begin(self, day: date) -> datetime:
        # Of a midnight that a clock shows twice the first; of one that it leaps over, the leap.
        at = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.zone))
        return at.astimezone(UTC)


@lru_cache
def offsets(zone: str) -> tuple[tuple[int, int], ...]:
    """(from this second since 1970 on, offset from UTC in seconds), in order."""
    info = ZoneInfo(zone)

    def offset(at: int) -> int:
        found = datetime.fromtimestamp(at, info).utcoffset()
        assert found is not None, "the zone is known"
        return int(found.total_seconds())

    found = [(_OFFSETS_FROM, offset(_OFFSETS_FROM))]
    for day in range(_OFFSETS_FROM, _OFFSETS_TO, _DAY_S):
        before = found[-1][1]
        if offset(day + _DAY_S) != before:
            seconds = range(day, day + _DAY_S + 1)
            at = bisect_left(seconds, True, key=lambda second: offset(second) != before)
            found.append((seconds[at], offset(seconds[at])))
    return tuple(found)


def _offset_sql(ms: str, pieces: Sequence[tuple[int, int]]) -> str:
    """The offset in milliseconds at `ms`; as a tree, so that few comparisons find it."""
    if len(pieces) == 1:
        return str(pieces[0][1] * 1000)
    half = len(pieces) // 2
    before, after = _offset_sql(ms, pieces[:half]), _offset_sql(ms, pieces[half:])
    return f"CASE WHEN {ms} < {pieces[half][0] * 1000} THEN {before} ELSE {after} END"
