"""Counting requests in sliding seconds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harvester.simulator.limit import SlidingSecond


def arrivals(limit: float | None, times: list[float]) -> SlidingSecond:
    counter = SlidingSecond(limit)
    for at in times:
        counter.arrive(at)
    return counter


def test_requests_exactly_a_second_apart_never_share_a_second() -> None:
    counter = arrivals(1, [0.0, 1.0, 2.0, 3.0])
    assert (counter.total, counter.worst, counter.over) == (4, 1, 0)


def test_a_burst_across_the_turn_of_a_second_is_seen() -> None:
    # Fixed seconds would count 2 and 2.
    counter = arrivals(2, [0.8, 0.9, 1.1, 1.2])
    assert (counter.worst, counter.over) == (4, 2)


def test_only_requests_over_the_limit_are_told_so() -> None:
    counter = SlidingSecond(2)
    assert [counter.arrive(at) for at in (0.0, 0.125, 0.25, 1.125, 1.5)] == [
        True, True, False, True, True,
    ]  # fmt: skip


def test_without_a_limit_nothing_is_over_it() -> None:
    assert arrivals(None, [0.0] * 1000).over == 0


def test_room_is_free_when_the_oldest_that_counts_has_left() -> None:
    counter = arrivals(2, [0.0, 0.25, 0.5])
    assert counter.next_free_s(0.5) == 0.75
    assert arrivals(2, [0.0]).next_free_s(0.5) == 0.0


def test_the_first_and_last_request_are_known() -> None:
    counter = arrivals(2, [3.0, 4.0, 7.5])
    assert (counter.first_at, counter.last_at) == (3.0, 7.5)


@given(st.lists(st.integers(0, 5000), max_size=80), st.integers(1, 20))
def test_the_worst_second_is_what_a_plain_search_finds(millis: list[int], limit: int) -> None:
    times = [one / 1024 for one in sorted(millis)]
    counter = arrivals(limit, times)
    windows = [sum(end - 1 < at <= end for at in times) for end in times]
    assert counter.worst == max(windows, default=0)
    assert (counter.over > 0) == (counter.worst > limit)
