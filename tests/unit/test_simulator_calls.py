"""The truth about simulated calls."""

from __future__ import annotations

import random
import re
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache

import pytest

from harvester.simulator.calls import Call, Fate, Fates, as_open, call_of, charged
from harvester.simulator.ids import make_ids
from harvester.simulator.places import PLACES

IDS = tuple(make_ids(5000, 11, end=date(2026, 9, 30)))
ALL_OPEN = Fates(0, 0, 0, 0, 1, 0)


@cache
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


def shares(values: list[object]) -> dict[object, float]:
    return {value: count / len(values) for value, count in Counter(values).items()}


def test_the_made_up_calls_are_as_varied_as_real_ones() -> None:
    """Ranges to the last value where 5,000 calls are sure to reach it, shares within a few %."""
    found = calls()
    periods = shares([(call.bill_initial_s, call.bill_increment_s) for call in found])
    assert periods.keys() == {(60, 60), (20, 20), (1, 1), (6, 6), (60, 1), (30, 6)}
    assert all(0.14 < share < 0.2 for share in periods.values())
    failed = [call for call in found if call.answer_time is None]
    codes = shares([(call.termination_code, call.termination_reason) for call in failed])
    assert codes.keys() == {
        ("486", "Busy Here"),
        ("487", "Request Terminated"),
        ("480", "Temporarily Unavailable"),
        ("404", "Not Found"),
        ("603", "Decline"),
    }
    assert all(
        (call.ringing_time is None) == (call.termination_code in {"404", "603"}) for call in failed
    )
    assert 0.11 < shares([call.hangup_time is None for call in failed])[True] < 0.18
    assert 0.17 < shares([call.display_num is None for call in found])[True] < 0.23
    assert 0.08 < shares([call.base_cost > 0 for call in found])[True] < 0.12
    assert all(call.base_cost < Decimal("0.01") for call in found)
    assert {call.quote_exchange for call in found} == {
        None,
        Decimal("0.938"),
        Decimal("0.9215"),
        Decimal("1.0837"),
    }
    assert {len(call.display_num) for call in found if call.display_num} == {10}
    # Two destinations of twelve are quoted in EUR.
    assert 0.12 < shares([call.currency for call in found])["EUR"] < 0.21


FORMS = {
    "Afghanistan(Kandahar)": r"93(70|77|79)\d{7}",
    "India(Karnataka)": r"91(9448|9845|9880)\d{6}",
    "India(Mumbai)": r"91(9820|9833|9892)\d{6}",
    "Philippines(Globe)": r"63(905|915|917|926)\d{7}",
    "Indonesia(Telkomsel)": r"62(811|812|813|852)\d{8}",
    "Brazil(São Paulo)": r"55119[789]\d{7}",
    "中国(广东)": r"86(135|137|138|139)\d{8}",
    "Côte d'Ivoire(Abidjan)": r"225(0101|0505|0707)\d{6}",
    "Congo (DRC)(Kinshasa)": r"243(81|82|89|97|99)\d{7}",
    "Korea(South (Seoul))": r"822[235]\d{7}",
    "Antilles (Curaçao (Willemstad))(Mobile (UTS))": r"5999(51[012]|56[012]|66[67])\d{4}",
    "United Kingdom": r"44(7400|7500|7811|7900)\d{6}",
}
"""Country code, the blocks that are in use, and the whole length (ITU-T E.164, national plans)."""


def test_numbers_have_the_form_of_their_destination() -> None:
    """Of every block, and about as many numbers as calls."""
    numbers = {place: set[str]() for place in PLACES}
    for call in calls():
        assert re.fullmatch(FORMS[call.place.code], call.callee), call.callee
        numbers[call.place].add(call.callee)
    for place, found in numbers.items():
        assert all(any(n.startswith(place.prefix + one) for n in found) for one in place.blocks)
        assert len(found) > 350


def test_the_times_of_made_up_calls() -> None:
    found = calls()
    taken = [call for call in found if call.answer_time is not None]

    def waits(calls: list[Call], first: str, then: str) -> set[float]:
        pairs = [(getattr(call, first), getattr(call, then)) for call in calls]
        return {(b - a).total_seconds() for a, b in pairs if a is not None and b is not None}

    assert waits(found, "submit_time", "call_time") == set(range(9))
    assert waits(found, "call_time", "ringing_time") == set(range(1, 6))
    assert waits(taken, "call_time", "answer_time") == set(range(6, 31))
    lasted = [call.call_duration_s for call in taken]
    assert (min(lasted), set(range(1, 111)) - set(lasted)) == (1, set())
    long = [one for one in lasted if one > 110]
    assert 0.013 < len(long) / len(lasted) < 0.027
    assert 3_300 < max(long) <= 3_600
    keys = shares([call.feedback for call in taken])
    assert keys.keys() == {"-1", *"0123456789"}
    assert 0.72 < keys["-1"] < 0.78
    assert {call.feedback for call in found if call.answer_time is None} == {"-1"}


def test_what_a_made_up_call_costs() -> None:
    """The rate is a price a minute, and millionths that do not fit are cut."""
    for call in calls():
        charged_s = charged(call.call_duration_s, call.bill_initial_s, call.bill_increment_s)
        assert call.charged_duration_s == charged_s
        if call.answer_time is not None:
            exact = call.rate * charged_s / 60
            assert 0 <= exact - call.cost < Decimal("0.000001")
        if call.quote_exchange is not None:
            assert call.settle_rate is not None
            assert call.settle_pay is not None
            assert abs(call.settle_rate - call.rate / call.quote_exchange) <= Decimal("0.00005")
            assert abs(call.settle_pay - call.cost / call.quote_exchange) <= Decimal("0.00005")


def test_an_id_without_a_time_is_of_the_60_days_before_its_seeds_date() -> None:
    for seed, last in ((0, date(2022, 1, 1)), (364, date(2022, 12, 31)), (365, date(2022, 1, 1))):
        ages = [
            (
                datetime(last.year, last.month, last.day, tzinfo=UTC)
                - call_of(seed, f"x{n}").submit_time
            )
            for n in range(400)
        ]
        days = [age.total_seconds() / 86_400 for age in ages]
        assert 0 <= min(days) < 1.5
        assert 58.5 < max(days) < 60


def test_an_open_call_has_cost_nothing_yet() -> None:
    for voice_id in IDS[:300]:
        whole = call_of(1, voice_id, ALL_OPEN)
        call = as_open(whole)
        assert (call.call_duration_s, call.charged_duration_s, call.cost) == (0, 0, Decimal(0))
        assert (call.feedback, call.termination_reason) == ("-1", None)
        assert call.termination_code == ("200" if whole.answer_time else None)
        assert call.settle_pay == (None if whole.settle_pay is None else 0)
        assert (call.answer_time, call.rate) == (whole.answer_time, whole.rate)
