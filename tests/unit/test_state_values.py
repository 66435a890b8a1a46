"""Counts by name."""

from __future__ import annotations

from harvester.state.values import Tally


def test_what_was_never_counted_is_0_and_stays_out() -> None:
    tally = Tally()
    assert tally["dead"] == 0
    tally["open"] += 2
    tally["open"] -= 3
    assert tally == {"open": -1}
