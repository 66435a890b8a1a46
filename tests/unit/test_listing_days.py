"""Days of the vendor's clock, and which of them are to be listed again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.pipeline.listing.days import (
    DUE_AFTER,
    KEPT_DAYS,
    REDIALLED_DAYS,
    Done,
    day_at,
    due,
    is_current,
    of_days,
    oldest,
    split,
    to_list,
    widened,
)
from harvester.pipeline.listing.windows import DAY_S, Window

TODAY = date(2026, 11, 28)
NOON = datetime(2026, 11, 28, 4, tzinfo=UTC).timestamp()  # at +08:00


def days_before(*ages: int) -> list[date]:
    return [TODAY - timedelta(days=age) for age in ages]


def days_of(stretches: list[tuple[date, date]]) -> list[date]:
    return [
        first + timedelta(days=number)
        for first, last in stretches
        for number in range((last - first).days + 1)
    ]


def test_a_day_begins_at_midnight_of_the_vendors_clock() -> None:
    window = of_days(TODAY, TODAY)
    assert datetime.fromtimestamp(window.start_s, UTC) == datetime(2026, 11, 27, 16, tzinfo=UTC)
    assert window.seconds == DAY_S
    assert day_at(window.start_s) == day_at(window.until_s - 1) == TODAY
    assert of_days(*days_before(29, 0)).seconds == 30 * DAY_S


def test_the_first_time_all_days_are_due_that_are_listed_again_at_all() -> None:
    assert due([], NOON) == [(TODAY - timedelta(days=12), TODAY - timedelta(days=1))]


def test_each_day_is_due_one_three_and_twelve_days_after_it() -> None:
    done: list[Done] = []
    listed: dict[date, list[int]] = {}
    for night in range(40):
        now_s = NOON + night * DAY_S
        today = day_at(now_s)
        for first, last in due(done, now_s):
            for day in days_of([(first, last)]):
                listed.setdefault(day, []).append((today - day).days)
            done.append(Done(of_days(first, last), now_s))
    for day, ages in listed.items():
        if TODAY <= day <= TODAY + timedelta(days=20):
            assert ages == list(DUE_AFTER), day


def test_days_that_were_never_listed_are_asked_for_up_to_the_one_that_goes_on() -> None:
    """Those that the vendor has no more among them: somebody else says so."""
    first, last = TODAY - timedelta(days=60), TODAY + timedelta(days=5)
    assert to_list([], first, last, NOON) == [(first, TODAY)]
    assert to_list([], TODAY + timedelta(days=1), last, NOON) == []


def test_of_listed_days_those_are_asked_for_that_are_due_and_the_one_that_goes_on() -> None:
    first = TODAY - timedelta(days=60)
    just_now = [Done(of_days(first, TODAY), NOON)]
    assert to_list(just_now, first, TODAY, NOON) == [(TODAY, TODAY)]
    yesterday = [Done(of_days(first, TODAY - timedelta(days=1)), NOON - DAY_S)]
    assert days_of(to_list(yesterday, first, TODAY, NOON)) == days_before(12, 3, 1, 0)
    some, until = days_before(13, 4)
    assert days_of(to_list(yesterday, some, until, NOON)) == days_before(12)


def test_a_listed_day_that_the_vendor_has_no_more_is_not_asked_for_again() -> None:
    """It keeps 59 days, today's among them; these were seven to ten days old when listed."""
    first, last = days_before(60, 57)
    done = [Done(of_days(first, last), NOON - 50 * DAY_S)]
    assert days_of(to_list(done, first, last, NOON)) == days_before(58, 57)
    others = [Done(of_days(*days_before(60, 60)), NOON - 50 * DAY_S)]
    assert days_of(to_list(others, first, last, NOON)) == days_before(59, 58, 57)


def test_a_night_that_was_left_out_is_made_up_for() -> None:
    done = [Done(of_days(*days_before(30, 3)), NOON - 2 * DAY_S)]
    # Yesterday and the day before were never listed; three days ago was, too early to be its third;
    # twelve days ago was listed at ten.
    assert days_of(due(done, NOON)) == days_before(13, 12, 4, 3, 2, 1)


@pytest.mark.parametrize(
    ("age", "asked_days_ago", "stays"),
    [
        (5, 0, True),
        (5, 2, True),
        (5, 3, False),  # three days after it it was due again
        (12, 0, True),
        (12, 1, False),
        (1, 0, True),
        (1, 1, False),  # it was not over
        (0, 0, True),
        (40, 11, True),
        (40, 12, False),  # however old the day: calls come late
    ],
)
def test_a_window_goes_on_as_long_as_its_day_has_not_become_due_since_it_was_asked(
    age: int, asked_days_ago: int, stays: bool
) -> None:
    span = of_days(*days_before(age, age))
    window = Window(span.until_s - 600, span.until_s)
    assert is_current(window, NOON - asked_days_ago * DAY_S, NOON) is stays


def test_a_window_of_two_days_is_due_with_either() -> None:
    span = of_days(*days_before(13, 12))
    assert not is_current(span, NOON - DAY_S, NOON)
    assert is_current(span, NOON - DAY_S / 4, NOON)


def test_stretches_are_cut_between_days_of_different_parts() -> None:
    first, second, today = days_before(9, 8, 0)
    later = TODAY + timedelta(days=2)
    parts = {first: "one", second: "two"}
    cut = [(first, first), (second, second), (days_before(7)[0], later)]
    assert split([(first, later)], parts.get) == cut
    assert split([(first, second), (today, later)], lambda _: 1) == [
        (first, second),
        (today, later),
    ]
    assert split([(first, later)], lambda day: day >= today) == [
        (first, TODAY - timedelta(days=1)),
        (today, later),
    ]


def test_a_listing_that_began_before_the_day_was_over_does_not_count() -> None:
    (yesterday,) = days_before(1)
    span = of_days(yesterday, yesterday)
    early = [Done(span, span.until_s - 1.0)]
    assert yesterday in days_of(due(early, NOON))
    assert yesterday not in days_of(due([Done(span, span.until_s + 0.0)], NOON))


@given(nights=st.lists(st.integers(1, 9), max_size=12))
def test_whatever_nights_there_are_the_last_ones_leave_nothing_due(nights: list[int]) -> None:
    done: list[Done] = []
    now_s = NOON
    for gap in nights:
        now_s += gap * DAY_S
        found = due(done, now_s)
        done += [Done(of_days(first, last), now_s) for first, last in found]
        assert due(done, now_s) == []
        assert all(day >= oldest(now_s) for day in days_of(found))


def test_a_span_is_wider_by_a_day_but_not_older_than_the_vendor_keeps() -> None:
    span = of_days(*days_before(5, 3))
    assert widened(span, NOON) == Window(span.start_s - DAY_S, span.until_s + DAY_S)
    old = of_days(oldest(NOON), oldest(NOON))
    assert widened(old, NOON).start_s == int(NOON) - KEPT_DAYS * DAY_S < old.start_s


def test_calls_that_are_redialled_are_within_ten_days_after_theirs() -> None:
    days = of_days(date(2026, 11, 2), date(2026, 11, 3))
    span = widened(days, days.until_s + 40 * 86_400, after_days=REDIALLED_DAYS)
    assert (span.start_s, span.until_s) == (days.start_s - 86_400, days.until_s + 10 * 86_400)
