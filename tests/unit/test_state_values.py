"""Counts by name."""

from __future__ import annotations

from harvester.state.values import Counters


def test_what_was_never_counted_is_0_and_stays_out() -> None:
    counters = Counters()
    assert counters["dead"] == 0
    counters["open"] += 2
    counters["open"] -= 3
    assert counters == {"open": -1}


def test_counters_are_read_by_the_names_that_are_stored() -> None:
    names = ("begun", "delivered", "open", "dead", "deferred", "cut_off", "requests", "odd_hangups")
    found = Counters({name: 10**place for place, name in enumerate(names)})
    assert (found.attempted, found.cut_off, found.requests) == (1, 100_000, 1_000_000)
    assert (found.delivered, found.open, found.dead, found.deferred) == (10, 100, 1_000, 10_000)
    assert (found.resolved, found.odd_hangups) == (11_110, 10_000_000)
