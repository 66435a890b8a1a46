"""The moments at which `make any-day` runs the suite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.any_day import command, drawn, moments
from tests.support.ways import TIME_ZONE

NOWS = [
    datetime(2026, 11, 27, 5, 11, 28, 123, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2028, 2, 28, 12, 30, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 59, tzinfo=UTC),
    datetime(2027, 4, 3, 13, 59, 30, tzinfo=UTC),
    datetime(2039, 9, 30, 15, 59, tzinfo=UTC),
]


@pytest.mark.parametrize("now", NOWS)
def test_ten_moments_lie_ahead(now: datetime) -> None:
    """libfaketime could go back as well, but a file made today would be of the future there."""
    found = moments(now)
    assert len(set(found.values())) == 10
    assert min(found.values()) > now
    assert (found["leap-day"].month, found["leap-day"].day) == (2, 29)
    assert (found["month-end"] + timedelta(minutes=2)).day == 1
    assert (found["year-end"] + timedelta(minutes=2)).timetuple()[1:4] == (1, 1, 0)
    assert found["years-ahead"] > now + timedelta(days=8 * 365)


@pytest.mark.parametrize("now", NOWS)
@pytest.mark.parametrize(("name", "goes_by_h"), [("clock-forward", 1), ("clock-back", -1)])
def test_the_clocks_change_a_minute_later(now: datetime, name: str, goes_by_h: int) -> None:
    at = moments(now)[name].astimezone(ZoneInfo(TIME_ZONE))
    after = (at.astimezone(UTC) + timedelta(minutes=1)).astimezone(at.tzinfo)
    shown = after.replace(tzinfo=None) - at.replace(tzinfo=None)
    assert shown == timedelta(hours=goes_by_h, minutes=1)


def test_each_moment_has_its_turn_within_ten_days() -> None:
    begin = datetime(2026, 11, 27, 20, tzinfo=UTC)
    turns = [drawn(begin + timedelta(days=day)) for day in range(10)]
    assert sorted(turns) == sorted(moments(begin))


def test_the_offset_is_counted_from_now() -> None:
    now = datetime(2026, 11, 27, tzinfo=UTC)
    words = command(now + timedelta(days=8), now, ["pytest", "-x"])
    assert words == ["faketime", "-f", "+691200s", "pytest", "-x"]
