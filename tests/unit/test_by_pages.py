"""Fetching by pages: which time is listed, and which records are compared."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from sqlite3 import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.errors import UsageError
from harvester.pipeline.by_pages import sampling
from harvester.pipeline.by_pages.believed import Believed, believed, days_between
from harvester.pipeline.by_pages.pages import Pages
from harvester.pipeline.by_pages.spans import of_bounds, of_days
from harvester.pipeline.engine.workers import Left
from harvester.pipeline.listing.days import of_days as window_of
from harvester.pipeline.listing.days import oldest
from harvester.pipeline.listing.windows import DAY_S, Window
from harvester.state import listings
from harvester.state.between_runs import keep_clock
from harvester.state.database import open_database
from harvester.state.listings import Comparison
from harvester.vendor_clock import CLOCK

NOW = datetime(2026, 11, 28, 4, tzinfo=UTC).timestamp()
"""Noon of the 28th on the vendor's clock."""
TODAY = date(2026, 11, 28)


def test_a_day_more_on_either_side_is_listed_and_neighbours_are_one_span() -> None:
    days = {date(2026, 11, 3), date(2026, 11, 5), date(2026, 11, 20)}
    assert of_days(days, NOW, is_by_submit=True) == [
        window_of(date(2026, 11, 2), date(2026, 11, 6)),
        window_of(date(2026, 11, 19), date(2026, 11, 21)),
    ]


def test_what_the_vendor_does_not_have_is_left_out() -> None:
    days = {date(2026, 8, 1), date(2026, 11, 28), date(2031, 1, 1)}
    (span,) = of_days(days, NOW, is_by_submit=True)
    assert span == Window(window_of(date(2026, 11, 27), TODAY).start_s, int(NOW))
    assert of_days({date(2026, 8, 1)}, NOW, is_by_submit=False) == []
    assert of_days((), NOW, is_by_submit=True) == []


def test_unprobed_spans_are_wider_and_no_second_is_in_two_of_them() -> None:
    days = {date(2026, 11, 3), date(2026, 11, 8)}
    (span,) = of_days(days, NOW, is_by_submit=False)
    assert span == window_of(date(2026, 11, 1), date(2026, 11, 10))
    named = of_bounds(date(2026, 11, 3), date(2026, 11, 3), NOW, is_by_submit=False)
    assert named == [window_of(date(2026, 11, 2), date(2026, 11, 4))]
    exact = of_bounds(date(2026, 11, 3), date(2026, 11, 3), NOW, is_by_submit=True)
    assert exact == [window_of(date(2026, 11, 3), date(2026, 11, 3))]


@given(
    st.sets(st.dates(date(2026, 10, 1), date(2026, 12, 10))),
    st.booleans(),
)
def test_spans_are_in_order_and_apart_and_hold_the_days(days: set[date], is_probed: bool) -> None:
    spans = of_days(days, NOW, is_by_submit=is_probed)
    assert all(one.until_s < two.start_s for one, two in pairwise(spans))
    assert all(one.start_s < one.until_s <= NOW for one in spans)
    for day in days:
        if date(2026, 10, 2) <= day < TODAY:
            whole = window_of(day, day)
            assert any(s.start_s <= whole.start_s and whole.until_s <= s.until_s for s in spans)


def test_days_of_instants_are_those_of_the_vendors_clock_as_far_as_it_has_them() -> None:
    now_ms = int(NOW * 1000)
    start = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)
    end = start + 10 * DAY_S * 1000
    assert days_between(start, end, now_ms) == (date(2026, 11, 1), date(2026, 11, 11))
    assert days_between(0, end, now_ms) == (date(2026, 10, 1), date(2026, 11, 11))
    assert days_between(0, 1, now_ms) is None
    midnight = int(datetime(2026, 11, 3, tzinfo=CLOCK).timestamp() * 1000)
    one_day = (date(2026, 11, 2), date(2026, 11, 2))
    assert days_between(midnight - DAY_S * 1000, midnight, now_ms) == one_day
    until_next = (date(2026, 11, 2), date(2026, 11, 3))
    assert days_between(midnight - DAY_S * 1000, midnight + 1, now_ms) == until_next
    assert days_between(None, end, now_ms) is None


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    with closing(open_database(tmp_path / "state.db", "default")) as found:
        yield found


def believes(db: Connection, first: date | None = None, last: date | None = None) -> Believed:
    return believed(db, GROUP_RECORD, Pages(first=first, last=last), "here", int(NOW * 1000))


@pytest.mark.parametrize(
    ("compared", "whose", "code"),
    [
        (100, "here", ""),
        (99, "here", "listing.not_compared"),
        (1000, "there", "listing.not_compared"),
    ],
)
def test_the_list_is_believed_once_a_hundred_calls_were_equal_for_this_account_and_address(
    db: Connection, compared: int, whose: str, code: str
) -> None:
    codes = {"0": "200"}
    listings.keep_comparison(db, Comparison(compared, 1, codes, whose))
    if not code:
        found = believes(db)
        assert (found.codes, found.filter, found.now_s) == (codes, None, NOW)
        return
    with pytest.raises(UsageError, match="--compare 1000") as refused:
        believes(db, first=date(2026, 11, 3), last=date(2026, 11, 4))
    assert refused.value.code == code
    assert "harvester discover --from 2026-11-03 --to 2026-11-04" in str(refused.value)
    # Without days: the last one that is over.
    with pytest.raises(UsageError, match="--from 2026-11-27 --to 2026-11-27"):
        believes(db)


def test_what_was_never_compared_or_differed_last_is_not_believed(db: Connection) -> None:
    with pytest.raises(UsageError, match="never found"):
        believes(db)
    listings.keep_comparison(db, Comparison(100, 1, {}, "here"))
    listings.doubt_taken(db)
    with pytest.raises(UsageError, match="differed last"):
        believes(db)


OLDEST = oldest(NOW)


@pytest.mark.parametrize(
    ("first", "last", "code"),
    [
        (OLDEST, TODAY, ""),
        (TODAY, TODAY, ""),
        (TODAY, date(2026, 12, 3), ""),
        (date(2026, 11, 4), date(2026, 11, 3), "usage.date"),
        (OLDEST - timedelta(days=1), TODAY, "usage.date"),
        (date(2026, 11, 29), date(2026, 11, 29), "usage.date"),
        (date(2026, 11, 3), None, "usage.date"),
        (None, date(2026, 11, 3), "usage.date"),
    ],
)
def test_days_are_in_order_and_such_as_the_vendor_has(
    db: Connection, first: date | None, last: date | None, code: str
) -> None:
    listings.keep_comparison(db, Comparison(100, 1, {}, "here"))
    if not code:
        assert believes(db, first, last).pages == Pages(first=first, last=last)
        return
    with pytest.raises(UsageError) as refused:
        believes(db, first, last)
    assert refused.value.code == code


def test_it_may_be_later_on_the_vendors_clock_than_on_ours(db: Connection) -> None:
    listings.keep_comparison(db, Comparison(100, 1, {}, "here"))
    keep_clock(db, "run", 13 * 3_600.0, 0, ("", 0))
    tomorrow = TODAY + timedelta(days=1)
    assert believes(db, tomorrow, tomorrow).now_s == NOW + 13 * 3_600


def test_columns_that_can_not_say_how_a_record_came_are_refused_first(db: Connection) -> None:
    with pytest.raises(UsageError, match="harvester compact --schema") as refused:
        believed(db, GROUP_RECORD_1, Pages(), "here", int(NOW * 1000))
    assert refused.value.code == "output.schema"


def test_twenty_of_the_first_portion_are_compared_and_a_hundredth_of_later_ones() -> None:
    firsts = [sampling.wanted(records, is_first=True) for records in (5, 20, 2000)]
    laters = [sampling.wanted(records, is_first=False) for records in (1, 100, 101, 1500)]
    assert (firsts, laters) == ([5, 20, 20], [1, 1, 2, 15])


def test_what_is_drawn_is_spread_over_the_windows_and_the_seed_repeats_it() -> None:
    windows = {f"id-{n:04}": Window(n % 7, n % 7 + 1) for n in range(700)}
    drawn = sampling.in_turn(windows, random.Random(5))
    assert sorted(drawn) == sorted(windows)
    assert set(Counter(windows[one] for one in drawn[:21]).values()) == {3}
    other_way_round = dict(reversed(windows.items()))
    assert sampling.in_turn(other_way_round, random.Random(5)) == drawn
    assert sampling.in_turn(windows, random.Random(6)) != drawn


def test_a_window_of_few_records_is_no_reason_to_draw_fewer() -> None:
    windows = {f"id-{n:04}": Window(n > 0, 2) for n in range(50)}
    drawn = sampling.in_turn(windows, random.Random(1))
    assert "id-0000" in drawn[:2]
    assert len(set(drawn[:20])) == 20


@pytest.mark.parametrize(
    ("requests", "seconds", "is_room"),
    [
        (None, None, True),
        (48, None, False),
        (49, None, True),
        (None, 9.8, False),
        (None, 9.9, True),
        (49, 9.8, False),
        (48, 9.9, False),
    ],
)
def test_pages_are_asked_for_while_the_budget_holds_a_sample_as_well(
    requests: int | None, seconds: float | None, *, is_room: bool
) -> None:
    # 8 pages on their way, 40 for the sample: at 10 a second 4.8 s, and 5 s to spare
    assert sampling.is_room(Left(requests, seconds), 8, 10.0) is is_room
