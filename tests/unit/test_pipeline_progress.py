"""How a run is doing, in figures."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harvester.pipeline.engine.progress import Speedometer, retries
from harvester.state.values import Counters
from tests.unit.test_pipeline_prometheus import NOW


def test_speeds_are_those_of_the_last_10_seconds() -> None:
    meter = Speedometer()
    assert meter.mark(100.0, 50, 40) == (0, 0), "nothing to compare with"
    assert meter.mark(104.0, 90, 60) == (10, 5)
    assert meter.mark(110.0, 150, 90) == (10, 5), "the first mark is 10 s old: it still counts"
    # Only the last 10 s: from 104 on.
    assert meter.mark(114.0, 290, 160) == (20, 10)
    # However long the pause was, there are two marks to compare.
    assert meter.mark(214.0, 390, 360) == (1, 2)


def test_two_marks_at_one_moment_are_no_speed() -> None:
    meter = Speedometer()
    meter.mark(100.0, 1, 1)
    assert meter.mark(100.0, 9, 9) == (0, 0)


def test_retries_are_told_by_cause_and_only_those_that_were() -> None:
    counters = {"retry.timeout": 2, "retry.-18": 1, "retry.reset": 0, "requests": 9, "retried": 3}
    assert list(retries(counters).items()) == [("-18", 1), ("timeout", 2)]


def test_no_less_than_nothing_is_left() -> None:
    """Calls that became due meanwhile are resolved as well."""
    assert replace(NOW, to_fetch=100, resolved=60).left == 40
    assert replace(NOW, to_fetch=100, resolved=101).left == 0


@pytest.mark.parametrize("outcome", ["delivered", "open", "dead", "deferred"])
def test_whatever_became_of_an_id_it_is_settled(outcome: str) -> None:
    counters = Counters(delivered=5, begun=100)
    setattr(counters, outcome, getattr(counters, outcome) + 1)
    assert counters.resolved == 6


def test_a_cause_that_was_renamed_counts_with_its_new_name() -> None:
    counters = {"retry.push_back": 3, "retry.throttled": 4, "retry.torn": 1, "retry.dns": 0}
    assert retries(counters) == {"throttled": 7, "torn": 1}
