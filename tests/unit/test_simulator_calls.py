"""The truth about simulated calls."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from harvester.simulator.calls import Call, Fate, Fates, as_open, call_of, charged
from harvester.simulator.ids import make_ids

IDS = tuple(make_ids(5000, 11, end=date(2026, 9, 30)))
ALL_OPEN = Fates(0, 0, 0, 0, 1, 0)


def calls() -> list[Call]:
    return [call_of(1, voice_id) for voice_id in IDS]


def test_a_call_is_the_same_whatever_the_order_of_the_questions() -> None:
    in_order = {voice_id: call_of(1, voice_id) for voice_id in IDS[:500]}
    mixed = random.Random(3).sample(IDS[:500], 500)
    assert {voice_id: call_of(1, voice_id) for voice_id in mixed} == in_order


def test_another_seed_makes_other_calls() -> None:
    assert call_of(1, IDS[0]) != call_of(2, IDS[0])


def test_shares_of_fates_are_about_as_wished() -> None:
    fates = Fates(
        dead_param=0.1,
        dead_empty=0.05,
        dead_range=0.05,
        open_then_final=0.1,
        open_forever=0.1,
        no_record=0.1,
    )
    found = Counter(call_of(1, voice_id, fates).fate for voice_id in IDS)
    assert 0.45 < found[Fate.RECORD] / len(IDS) < 0.55
    for fate, share in {Fate.DEAD_PARAM: 0.1, Fate.DEAD_RANGE: 0.05, Fate.NO_RECORD: 0.1}.items():
        assert 0.7 * share < found[fate] / len(IDS) < 1.3 * share


def test_about_six_in_ten_calls_are_answered() -> None:
    answered = sum(call.answer_time is not None for call in calls())
    assert 0.57 < answered / len(IDS) < 0.63


def test_times_of_a_call_follow_each_other_and_its_duration() -> None:
    for call in calls():
        told = [call.submit_time, call.call_time, call.ringing_time, call.answer_time]
        known = [moment for moment in (*told, call.hangup_time) if moment is not None]
        assert known == sorted(known)
        if call.answer_time is not None and call.hangup_time is not None:
            lasted = call.hangup_time - call.answer_time
            assert lasted.total_seconds() == call.call_duration_s > 0


def test_a_call_that_nobody_took_costs_nothing_and_says_why() -> None:
    for call in calls():
        if call.answer_time is None:
            assert call.call_duration_s == call.charged_duration_s == 0
            assert call.cost == Decimal(0)
            assert call.termination_code in {"486", "487", "480", "404", "603"}


def test_a_call_is_handed_in_when_its_id_says() -> None:
    call = call_of(1, "12205181141482000029")
    assert call.submit_time == datetime(2022, 5, 18, 3, 41, 48, tzinfo=UTC)
    assert call.submit_time.tzinfo is UTC


def test_an_id_without_a_time_still_gets_one() -> None:
    assert call_of(1, "abc-1").submit_time == call_of(1, "abc-1").submit_time
    assert call_of(1, "abc-1").submit_time.year in (2021, 2022)


@pytest.mark.parametrize(
    ("duration_s", "initial_s", "increment_s", "expected"),
    [
        (0, 20, 20, 0),
        (13, 20, 20, 20),
        (20, 20, 20, 20),
        (21, 20, 20, 40),
        (61, 60, 1, 61),
        (10, 60, 60, 60),
        (7, 6, 6, 12),
        (1, 1, 1, 1),
    ],
)
def test_charged_seconds_are_whole_periods(
    duration_s: int, initial_s: int, increment_s: int, expected: int
) -> None:
    assert charged(duration_s, initial_s, increment_s) == expected


def test_money_is_exact_and_the_currency_left_out_where_it_is_dollars() -> None:
    seen = {call.currency for call in calls()}
    assert seen == {None, "EUR"}
    for call in calls():
        assert isinstance(call.cost, Decimal)
        assert (call.settle_pay is None) == (call.currency is None)


def test_an_open_call_has_no_end_and_no_code_that_would_be_one() -> None:
    for voice_id in IDS[:500]:
        call = as_open(call_of(1, voice_id, ALL_OPEN))
        assert call.hangup_time is None
        assert call.answer_time is not None or call.termination_code is None
