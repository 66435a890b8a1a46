"""When a call that is over is unrated, and that the quick look never contradicts the rule."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harvester.answers.rating import is_free
from harvester.client.judge import judge
from harvester.client.transport import Reply
from harvester.client.verdicts import Record

ID = "2203031113381000002"
NOW = datetime(2026, 1, 18, 8, tzinfo=UTC).timestamp()
ABSENT = object()

TALKED: dict[str, Any] = {
    "submitTime": "2026-01-18T14:42:40+08:00",
    "answerTime": "2026-01-18T14:42:50+08:00",
    "hangupTime": "2026-01-18T14:43:55+08:00",
    "callDuration": 65,
    "chargedDuration": 0,
    "cost": "",
    "rate": "",
}
"""An answered call as the vendor gives it before it is rated."""
UNANSWERED = {"answerTime": "", "callDuration": 0, "terminationCode": "486"}


def body(**changes: Any) -> bytes:
    data = {"voiceId": ID, **TALKED, **changes}
    return json.dumps(
        {"status": "0", "data": {name: v for name, v in data.items() if v is not ABSENT}}
    ).encode()


def records(text: bytes) -> list[tuple[bool, bool]]:
    """(over, is_rated) of the record: read the quick way, and the way of odd answers."""
    found = []
    # A byte order mark is nothing but odd.
    for one in (text, b"\xef\xbb\xbf" + text):
        verdict = judge(ID, Reply(200, one), NOW)
        assert isinstance(verdict, Record)
        (record,) = verdict.records
        found.append((record.over, record.is_rated))
    return found


def is_unrated(**changes: Any) -> bool:
    quick, slow = records(body(**changes))
    assert quick == slow, "the ways disagree"
    assert quick[0], "it is over"
    return not quick[1]


@pytest.mark.parametrize("none", ["", None, ABSENT, "-1", -1, "-1.0", "-1.00000000", -1.0])
def test_an_answered_call_without_a_cost_is_unrated(none: Any) -> None:
    assert is_unrated(cost=none)
    assert is_unrated(cost=none, rate="0.02", chargedDuration=80), "whatever else is there"


@pytest.mark.parametrize("zero", ["0", 0, "0.0", 0.0, "0.00000000", "-0", "0e5"])
@pytest.mark.parametrize(
    ("rate", "charged", "unrated"),
    [
        ("0.02", 80, False),
        ("0.02", "80", False),
        (0.02, 80, False),
        ("0", 80, True),
        ("", 80, True),
        (ABSENT, 80, True),
        ("0.02", 0, True),
        ("0.02", "", True),
        ("0.02", ABSENT, True),
        ("0", 0, True),
        ("dear", 80, False),
        ("0.02", "long", False),
    ],
)
def test_a_cost_of_zero_is_a_price_where_rate_and_charged_seconds_explain_it(
    zero: Any, rate: Any, charged: Any, unrated: bool
) -> None:
    assert is_unrated(cost=zero, rate=rate, chargedDuration=charged) == unrated


@pytest.mark.parametrize(
    "cost",
    ["0.04", "0.00000001", "12", 0.04, 4, "1e-2", "5.", "0.0400000000000000001", "-0.02", "-2"],
)
def test_a_cost_above_zero_or_a_credit_is_a_price_whatever_else_is_missing(cost: Any) -> None:
    assert not is_unrated(cost=cost)


@pytest.mark.parametrize("odd", ["free", "0,04", " 0", "1e-40", [], {}, True, "1.2.3"])
def test_a_cost_that_was_sent_and_cannot_be_typed_is_no_reason(odd: Any) -> None:
    assert not is_unrated(cost=odd)


@pytest.mark.parametrize("word", ["NaN", "null", "None", "-", "--", "N/A", "pending", "  "])
def test_a_word_for_no_cost_is_no_price(word: str) -> None:
    assert is_unrated(cost=word)


def test_an_answer_nested_as_deep_as_may_be_ends_nothing() -> None:
    for depth in range(850, 1010):
        text = body(deep=None).replace(b'"deep": null', b'"deep":' + b"[" * depth + b"]" * depth)
        judge(ID, Reply(200, text), NOW)


def test_the_cost_in_euro_stands_for_one_that_is_left_out() -> None:
    assert not is_unrated(cost=ABSENT, costEur="0.04")
    assert not is_unrated(cost="", costEur="0.04")
    assert is_unrated(cost=ABSENT, costEur="0")
    assert is_unrated(cost=ABSENT, costEur="")
    assert is_unrated(cost="0", costEur="0.04"), "where both are sent, cost counts"


@pytest.mark.parametrize(
    "unanswered",
    [
        UNANSWERED,
        {**UNANSWERED, "callDuration": "0"},
        {**UNANSWERED, "callDuration": ABSENT, "answerTime": ABSENT},
        {**UNANSWERED, "callDuration": "", "answerTime": None},
        {**UNANSWERED, "callDuration": "", "answerTime": "0000-00-00 00:00:00"},
        {**UNANSWERED, "callDuration": -1, "answerTime": "-1"},
        {"callDuration": 0},
    ],
)
@pytest.mark.parametrize("cost", ["", "0", "-1", ABSENT])
def test_a_call_without_talk_is_never_unrated(unanswered: dict[str, Any], cost: Any) -> None:
    assert not is_unrated(cost=cost, **unanswered)


def test_where_its_length_is_left_out_the_times_tell_it() -> None:
    assert is_unrated(callDuration=ABSENT)
    assert is_unrated(callDuration="")
    assert is_unrated(callDuration="a minute")
    assert not is_unrated(callDuration=ABSENT, answerTime=TALKED["hangupTime"])
    assert not is_unrated(callDuration=ABSENT, answerTime="1970-01-01T00:00:00+08:00")


def test_a_call_that_goes_on_is_not_unrated() -> None:
    assert records(body(hangupTime="")) == [(False, True)] * 2


@pytest.mark.parametrize(
    ("code", "destinations", "free"),
    [
        ("France(Paris)", ("France",), True),
        ("France", ("Spain", "France"), True),
        ("France(Paris)", ("France(Paris)",), True),
        ("France Mobile", ("France",), True),
        (" France", ("France",), True),
        ("Nigeria(Lagos)", ("Niger",), False),
        ("France", ("France(Paris)",), False),
        ("France", ("france",), False),
        ("", ("France",), False),
        (ABSENT, ("France",), False),
        (ABSENT, ("*",), True),
        ({}, ("France",), False),
        ("France", (), False),
    ],
)
def test_a_free_destination_is_the_beginning_of_its_code(
    code: Any, destinations: tuple[str, ...], free: bool
) -> None:
    assert is_free(body(code=code), destinations) == free


def test_an_answer_that_cannot_be_opened_is_free_only_where_all_are() -> None:
    assert not is_free(b"[", ("France",))
    assert is_free(b"[", ("*",))


AMOUNTS = st.one_of(
    st.none(),
    st.sampled_from(["", "0", "-1", "0.0", "-0.0", "00", ".", "0e9", "0x1", "-", "1e-9", "1e-400"]),
    st.from_regex(r"-?[0-9]{0,4}(\.[0-9]{0,4})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
    st.integers(-2, 3),
    st.floats(-2, 2),
    st.booleans(),
)
LENGTHS = st.sampled_from([None, "", 0, "0", 0.0, "0.0", 1, "65", -1, "x", False, True])
TIMES = st.sampled_from([None, "", "0", TALKED["answerTime"], TALKED["hangupTime"], 0])


@settings(max_examples=300)
@given(cost=AMOUNTS, other=AMOUNTS, rate=AMOUNTS, call_s=LENGTHS, charged=LENGTHS, answer=TIMES)
@example(cost=1e-320, other=None, rate=None, call_s=65, charged=0, answer=TALKED["answerTime"])
def test_the_quick_look_says_rated_only_where_the_rule_does(
    cost: Any, other: Any, rate: Any, call_s: Any, charged: Any, answer: Any
) -> None:
    changes = {"cost": cost, "costEur": other, "rate": rate, "callDuration": call_s}
    is_unrated(**changes, chargedDuration=charged, answerTime=answer)
