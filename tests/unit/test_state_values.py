"""What a run counts, and by which names it is stored."""

from __future__ import annotations

from harvester.state.values import Counters


def test_what_was_never_counted_stays_out() -> None:
    counters = Counters()
    assert counters.dead == 0
    assert counters.stored() == {}
    counters.open += 2
    counters.clock_skew_s = 0
    assert counters.stored() == {"open": 2, "clock_skew_s": 0}


def test_counters_are_stored_by_the_names_that_older_versions_know() -> None:
    counters = Counters(
        begun=1,
        delivered=2,
        open=3,
        dead=4,
        deferred=5,
        cut_off=6,
        opens_published=7,
        requests=8,
        odd_hangups=9,
        clock_skew_s=-10,
        retries={"torn": 11},
        usage={"usage.cost.EUR": 12},
    )
    assert counters.stored() == {
        "begun": 1,
        "delivered": 2,
        "open": 3,
        "dead": 4,
        "deferred": 5,
        "cut_off": 6,
        "opens_published": 7,
        "requests": 8,
        "odd_hangups": 9,
        "clock_skew_s": -10,
        "retry.torn": 11,
        "usage.cost.EUR": 12,
    }
    assert counters.resolved == 2 + 3 + 4 + 5
