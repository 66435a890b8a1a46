"""Parts of a report that need no data set: hours on a clock, and the days that were reconciled."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from harvester.analysis.period import Period
from harvester.analysis.report.report import hours_of
from harvester.analysis.report.unfinished import read_billing_days
from harvester.state.database import open_database
from harvester.state.id_counts import BillingDay, keep_days
from harvester.storage.output import Output

NEW_YORK = ZoneInfo("America/New_York")


def quarter(*at: int) -> int:
    """The quarter of an hour since 1970 that begins at an instant of UTC."""
    return int(datetime(*at, tzinfo=UTC).timestamp()) // 900  # type: ignore[misc,arg-type]


def test_an_hour_that_a_clock_shows_twice_counts_as_two() -> None:
    # On 2026-11-01 New York's clocks go from 2:00 back to 1:00, at 6:00 UTC.
    found = hours_of(
        {
            quarter(2026, 11, 1, 5, 0): (10, 4),
            quarter(2026, 11, 1, 5, 45): (5, 1),
            quarter(2026, 11, 1, 6, 15): (7, 2),
        },
        NEW_YORK,
    )
    told = [(one.begins_at.astimezone(UTC).hour, one.calls, one.answered) for one in found.busiest]
    assert told == [(5, 15, 5), (6, 7, 2)]
    assert [one.begins_at.hour for one in found.busiest] == [1, 1]
    assert found.week[6][1] == 22, "a Sunday, at one"


def test_hours_are_those_of_the_clock_and_quarters_of_them_are_gathered() -> None:
    # India is five and a half hours ahead: from 18:30 UTC on it is the next day there.
    found = hours_of(
        {
            quarter(2026, 11, 1, 18, 15): (3, 0),
            quarter(2026, 11, 1, 18, 30): (4, 1),
            quarter(2026, 11, 1, 19, 15): (5, 2),
        },
        ZoneInfo("Asia/Kolkata"),
    )
    assert found.week[6][23] == 3
    assert found.week[0][0] == 9
    assert sum(map(sum, found.week)) == 12


def test_the_five_busiest_hours_are_told_and_of_equals_the_earlier_ones() -> None:
    calls = {quarter(2026, 11, 2, hour): (5 + (hour == 9), hour) for hour in range(3, 12)}
    found = hours_of(calls, ZoneInfo("UTC"))
    assert [one.begins_at.hour for one in found.busiest] == [9, 3, 4, 5, 6]


def test_of_the_days_that_were_reconciled_the_last_62_are_told_or_those_of_the_period(
    tmp_path: Path,
) -> None:
    first = date(2026, 8, 1)
    days = [first + timedelta(days=n) for n in range(100)]
    output = Output(tmp_path)
    output.state.mkdir()
    with closing(open_database(output.database, "default")) as db:
        keep_days(db, [BillingDay(day=str(one), counted_ms=1, listed_ms=1) for one in days])
    told = [one.day for one in read_billing_days(output, Period())]
    assert told == [str(one) for one in days[-62:]]
    september = Period(date(2026, 9, 1), date(2026, 9, 30))
    assert [one.day for one in read_billing_days(output, september)] == [
        f"2026-09-{day:02}" for day in range(1, 31)
    ]
    from_then_on = read_billing_days(output, Period(days[10], None))
    assert [one.day for one in from_then_on] == [str(one) for one in days[10:]]
