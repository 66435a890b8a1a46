"""Which times count, and that verdict and row never disagree about them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harvester.answers.answer import Answer
from harvester.answers.times import (
    EARLIEST_MS,
    EARLY_MS,
    LATE_MS,
    Call,
    Ending,
    counts,
    ending_of,
    is_usual_ending,
)
from harvester.client.judge import judge
from harvester.client.transport import Reply
from harvester.client.verdicts import Record
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize

ID = "2203031113381000002"
NOW = datetime(2026, 1, 18, 8, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
SUBMIT = "2026-01-18T14:42:40+08:00"
ANSWER = "2026-01-18T14:42:50+08:00"
HANGUP = "2026-01-18T14:42:55+08:00"

FILLERS = [
    "-1",
    "0",
    "0.0",
    "00000000",
    "-62135596800000",
    "0000-00-00 00:00:00",
    "0000-00-00T00:00:00+08:00",
    "0001-01-01T00:00:00Z",
    "0001-01-01T08:00:00+08:00",
    "0001-01-01",
    "1/1/0001 12:00:00 AM",
    "1753-01-01 00:00:00",
    "1899-12-30",
    "1900-01-01T00:00:00+08:00",
    "1900-01-01 00:00:00.000",
    "1970-01-01T00:00:00Z",
    "1970-01-01T08:00:00+08:00",
    "1970-01-01 08:00:00",
    "1970/01/01 08:00:00",
    "19700101080000",
    "Thu Jan 01 08:00:00 CST 1970",
    "1970-01-01T08:00:00.000+0800",
    "1999-12-31T23:59:59+08:00",
    "1",
    "28800",
    "9999-12-31T23:59:59+08:00",
    "9999-12-31T23:59:59Z",
    "9999-12-31 23:59:59",
    "9999-12-31",
    "99991231235959",
    "253402271999000",
    "2038-01-19T03:14:07Z",
    "2262-04-11T23:47:16.854775807Z",
    "2099-01-01 00:00:00",
    "null",
    "None",
    "N/A",
    "-",
    "--",
    " ",
    "NULL ",
]
ODD = [
    "18/01/2026 14:42",
    "01/18/2026 02:42:55 PM",
    "18.01.2026 14:42:55",
    "2026/01/18 14:42:55",
    "2026年1月18日 14:42:55",
    "Sun Jan 18 14:42:55 CST 2026",
    "Wednesday, 14 January 2026",
    "2026-01-18",
    "2026-01-18T14",
    "2026-01-18T14:42:55 +08:00",
    " 2026-01-18T14:42:55+08:00",
    "2026-02-30T14:42:55+08:00",
    "2026-01-18T14:42:60+08:00",
    "2026-01-18T25:42:55+08:00",
    "20260118144255",
    "20260118",
    "1768718575",
    "1768718575000",
    "1768718575.5",
    "14:42:55",
    "18/01/26 14:42",
]

TIME_COLUMNS = {name: column.name for name, column in GROUP_RECORD.times}


def call(**fields: str | None) -> Call:
    return Call(**{"submit": SUBMIT, **fields})


@pytest.mark.parametrize(
    ("hangup", "answer", "code", "ending"),
    [
        (HANGUP, ANSWER, "200", Ending.OVER),
        (HANGUP, None, None, Ending.OVER),
        (HANGUP, None, "200", Ending.OVER),
        (None, ANSWER, "200", Ending.GOES_ON),
        (None, ANSWER, "486", Ending.GOES_ON),
        (None, ANSWER, None, Ending.GOES_ON),
        (None, None, "486", Ending.OVER),
        (None, None, "487", Ending.OVER),
        (None, None, "-1", Ending.GOES_ON),
        (None, None, "200", Ending.GOES_ON),
        (None, None, "0", Ending.GOES_ON),
        (None, None, "200.0", Ending.GOES_ON),
        (None, None, None, Ending.GOES_ON),
        (None, None, "", Ending.GOES_ON),
        ("", "", "480", Ending.OVER),
        ("1768718575000", None, None, Ending.ODD_GOES_ON),
        # That nobody answered is not known where the time can't be read.
        (None, "18/01/2026 14:42", "486", Ending.GOES_ON),
    ],
)
def test_a_call_is_over(
    hangup: str | None, answer: str | None, code: str | None, ending: Ending
) -> None:
    found = ending_of(call(hangup=hangup, answer=answer, code=code), NOW_MS)
    assert found is ending


@pytest.mark.parametrize(
    "code",
    [
        *("100", "180", "183", "199", "180 Ringing", "202", "200 OK", "00", "000", "0.0", "-1"),
        *("null", "None", "-", "--", "N/A", " ", "nan", "ringing", "Trying", "OK", "Success"),
    ],
)
def test_a_code_that_says_nothing_or_that_a_call_goes_on_ends_none(code: str) -> None:
    assert ending_of(call(code=code), NOW_MS) is Ending.GOES_ON
    assert ending_of(call(code=code, hangup=HANGUP), NOW_MS) is Ending.OVER


@pytest.mark.parametrize(
    "code", ["300", "404", "486", "486 Busy Here", "603", "1", "16", "99", "busy", "NO ANSWER", "x"]
)
def test_a_code_of_a_failure_ends_a_call_that_nobody_answered(code: str) -> None:
    assert ending_of(call(code=code), NOW_MS) is Ending.OVER
    assert ending_of(call(code=code, answer=ANSWER), NOW_MS) is Ending.GOES_ON


@pytest.mark.parametrize("filler", FILLERS)
def test_a_filler_is_no_time(filler: str) -> None:
    used = {"cost": "0.5", "call_s": "5", "charged_s": "60"}
    for fields, ending in (
        ({"hangup": filler, "answer": ANSWER, "code": "200", **used}, Ending.GOES_ON),
        ({"hangup": filler, "answer": filler, "code": "200", **used}, Ending.GOES_ON),
        ({"hangup": filler, "answer": filler, "code": "486"}, Ending.OVER),
        ({"answer": filler, "code": "486"}, Ending.OVER),
        ({"hangup": HANGUP, "answer": filler, "code": "486"}, Ending.OVER),
        ({"hangup": filler, "answer": ANSWER, "code": "486"}, Ending.GOES_ON),
        ({"hangup": filler, "code": "200", "submit": filler}, Ending.GOES_ON),
        ({"hangup": HANGUP, "code": "200", "submit": filler}, Ending.OVER),
    ):
        assert ending_of(call(**fields), NOW_MS) is ending


@pytest.mark.parametrize("odd", ODD)
def test_a_hangup_in_an_unknown_form_is_over_by_what_the_call_used(odd: str) -> None:
    for used in ({"cost": "0.5"}, {"cost": "1e-8"}, {"call_s": "5"}, {"charged_s": "1"}):
        for answer in (ANSWER, None, odd):
            fields = call(hangup=odd, answer=answer, code="200", **used)
            assert ending_of(fields, NOW_MS) is Ending.ODD_OVER
    for unused in (
        {},
        {"cost": "0", "call_s": "0", "charged_s": "0"},
        {"cost": "-1", "call_s": "-1"},
        {"cost": "", "call_s": ""},
        {"cost": "free", "call_s": "long", "charged_s": "true"},
    ):
        fields = call(hangup=odd, answer=None, code="486", **unused)
        assert ending_of(fields, NOW_MS) is Ending.ODD_GOES_ON


def iso(ms: int, hours: int = 8) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms, hours=hours)
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + f"{hours:+03}:00"


SUBMIT_MS = int(datetime.fromisoformat(SUBMIT).timestamp() * 1000)


@pytest.mark.parametrize("hours", [8, 0, -11, 14])
@pytest.mark.parametrize(
    ("ms", "over"),
    [
        (NOW_MS + LATE_MS, True),
        (NOW_MS + LATE_MS + 1, False),
        (SUBMIT_MS - EARLY_MS, True),
        (SUBMIT_MS - EARLY_MS - 1, False),
        (SUBMIT_MS - 3_600_000, False),
    ],
)
def test_a_time_counts_from_ten_minutes_before_the_call_to_a_day_after_the_fetch(
    ms: int, over: bool, hours: int
) -> None:
    fields = call(hangup=iso(ms, hours), answer=ANSWER, code="200")
    assert ending_of(fields, NOW_MS) is (Ending.OVER if over else Ending.GOES_ON)
    (row,) = rows({"submitTime": SUBMIT, "hangupTime": iso(ms, hours)})
    assert (row["hangup_time"] is not None) is over
    assert (row["unparsed"] is None) is over


def test_a_time_counts_from_the_year_2000_on() -> None:
    assert counts(EARLIEST_MS, NOW_MS)
    assert not counts(EARLIEST_MS - 1, NOW_MS)
    assert not counts(EARLIEST_MS - 1, NOW_MS, EARLIEST_MS)
    assert iso(EARLIEST_MS) == "2000-01-01T00:00:00.000+08:00"


def test_the_future_is_told_by_the_fetch_and_not_by_todays_clock() -> None:
    fields = call(hangup="2036-01-18T14:42:55+08:00", answer=ANSWER, code="200")
    ten_years_on = int(datetime(2036, 1, 18, 8, tzinfo=UTC).timestamp() * 1000)
    assert ending_of(fields, NOW_MS) is Ending.GOES_ON
    assert ending_of(fields, ten_years_on) is Ending.OVER
    (now, later) = rows(
        {"hangupTime": fields.hangup}, {"hangupTime": fields.hangup}, at=(NOW_MS, ten_years_on)
    )
    assert now["hangup_time"] is None
    assert later["hangup_time"] is not None


# --- rows ---------------------------------------------------------------------------------------


def body_of(fields: dict[str, object]) -> bytes:
    return json.dumps({"status": "0", "data": {"voiceId": ID, **fields}}).encode()


def rows(
    *calls: dict[str, object], at: tuple[int, ...] | None = None, by_value: bool = False
) -> list[dict[str, Any]]:
    answers = [
        Answer(ID, body_of(fields), at[n] if at else NOW_MS, "run-1", is_final=True)
        for n, fields in enumerate(calls)
    ]
    found: list[dict[str, Any]] = normalize(
        answers, "acme", GROUP_RECORD, by_value=by_value
    ).table.to_pylist()
    return found


@pytest.mark.parametrize("name", TIME_COLUMNS)
@pytest.mark.parametrize("text", [*FILLERS, *ODD])
def test_a_time_that_does_not_count_stands_in_unparsed(name: str, text: str) -> None:
    for by_value in (False, True):
        (row,) = rows({name: text}, by_value=by_value)
        assert row[TIME_COLUMNS[name]] is None
        assert json.loads(row["unparsed"]) == {name: text}
        assert row["answered"] is False
        assert row["utc_offset_min"] is None


def test_a_filler_in_one_row_changes_no_other() -> None:
    usual: dict[str, object] = {"submitTime": SUBMIT, "answerTime": ANSWER, "hangupTime": HANGUP}
    odd = {**usual, "answerTime": "1970-01-01T08:00:00+08:00", "terminationCode": "486"}
    early = {**usual, "hangupTime": "2026-01-18T14:32:39+08:00"}
    found = rows(usual, odd, usual, early, usual)
    assert found[0] == found[2] == found[4]
    assert [row["answered"] for row in found] == [True, False, True, True, True]
    assert [row["hangup_time"] is None for row in found] == [False, False, False, True, False]
    assert json.loads(found[1]["unparsed"]) == {"answerTime": odd["answerTime"]}
    assert json.loads(found[3]["unparsed"]) == {"hangupTime": early["hangupTime"]}


# --- verdict and row agree ----------------------------------------------------------------------

NEAR = st.integers(-90_000_000, 90_000_000).map(lambda ms: NOW_MS + ms)
INSTANTS = st.one_of(
    NEAR,
    st.integers(SUBMIT_MS - EARLY_MS - 2, SUBMIT_MS - EARLY_MS + 2),
    st.integers(NOW_MS + LATE_MS - 2, NOW_MS + LATE_MS + 2),
)
SPELT = st.builds(
    lambda ms, hours, form: form(iso(ms, hours)),
    INSTANTS,
    st.sampled_from([8, 8, 0, -5, 14, -12, 23]),
    st.sampled_from(
        [
            lambda text: text,
            lambda text: text[:19] + text[23:],
            lambda text: text[:19],
            lambda text: text[:19] + "Z",
            lambda text: text[:23] + text[23:26] + text[27:],
            lambda text: text.replace("T", " "),
            lambda text: text[:19].replace("T", " "),
            lambda text: text[:8] + "31" + text[10:],
            lambda text: text.replace("T", "t"),
        ]
    ),
)
TIME_VALUES = st.one_of(
    SPELT,
    SPELT,
    st.sampled_from([*FILLERS, *ODD, "", None, 0, -1, 1768718575, True, {"at": HANGUP}]),
)
CALLS = st.fixed_dictionaries(
    {
        "submitTime": st.one_of(st.just(SUBMIT), TIME_VALUES),
        "answerTime": TIME_VALUES,
        "hangupTime": TIME_VALUES,
        "terminationCode": st.sampled_from(["200", "486", 200, 486, "0", None, ""]),
    },
    optional={
        "callDuration": st.sampled_from([0, 5, "5", "-1", None, 5.5]),
        "chargedDuration": st.sampled_from([0, 60, "60", "x"]),
        "cost": st.sampled_from([0, 0.5, "0.5", "0", "-1", "0.123456789", "", None, True]),
        "costEur": st.sampled_from(["0.5", 0]),
    },
)


@settings(max_examples=300, deadline=None)
@given(CALLS)
@example({"submitTime": SUBMIT, "answerTime": ANSWER, "hangupTime": "2026-01-31T14:42:55+08:00"})
@example({"submitTime": "2026-01-18 23:00:00", "hangupTime": "2026-01-18T01:00:00"})
def test_verdict_and_row_never_disagree(fields: dict[str, object]) -> None:
    verdict = judge(ID, Reply(200, body_of(fields)), NOW_MS / 1000)
    assert isinstance(verdict, Record)
    quick, by_value = (rows(fields, by_value=by)[0] for by in (False, True))
    assert quick == by_value
    used = any((quick[name] or 0) > 0 for name in ("cost", "call_duration_s", "charged_duration_s"))
    unparsed = json.loads(quick["unparsed"] or "{}")
    if quick["hangup_time"] is not None:
        assert verdict == Record(over=True)
    elif verdict.odd_hangup:
        assert "hangupTime" in unparsed
        assert verdict.over is used
    elif "answerTime" not in unparsed:
        failed = quick["termination_code"] not in (None, "200", "0")
        assert verdict.over is (quick["answer_time"] is None and failed)
    else:
        assert not (verdict.over and quick["answer_time"] is not None)


@settings(max_examples=300, deadline=None)
@given(SPELT, SPELT)
def test_the_quick_way_ends_only_calls_that_are_over(hangup: str, submit: str) -> None:
    if is_usual_ending(hangup, submit, NOW_MS / 1000):
        assert ending_of(Call(hangup=hangup, submit=submit), NOW_MS) is Ending.OVER


def test_the_quick_way_takes_what_most_calls_have() -> None:
    for hangup, submit in (
        (HANGUP, SUBMIT),
        (HANGUP[:19] + "Z", SUBMIT[:19] + "Z"),
        ("2026-01-18T15:59:59+08:00", SUBMIT),  # a second ago
    ):
        assert is_usual_ending(hangup, submit, NOW_MS / 1000)


@pytest.mark.parametrize(
    "hangup",
    [
        "2026-01-18T14:42:55+08:60",
        "2026-01-18T14:42:55-23:00",  # by no zone's clock: it could be over a day from now
        "2026-01-18T14:60:55+08:00",
        "2026-02-30T14:42:55+08:00",
        "2026-W03-7T14:42:55+08:00",
        "2026-01-18T14:42:55,12345",
        "2026-01-18T14:42+08:00:00",
        "1999-12-31T14:42:55+08:00",
    ],
)
def test_the_quick_way_takes_nothing_that_is_no_time(hangup: str) -> None:
    assert not is_usual_ending(hangup, hangup, NOW_MS / 1000)


def test_the_quick_way_takes_no_time_to_come_also_when_the_clock_steps_back() -> None:
    """What it keeps from answer to answer is of one hour, whichever way that is left."""
    later = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    in_february = "2026-02-18T14:42:55+08:00"
    for _ in range(2):
        assert is_usual_ending(in_february, SUBMIT, later)
        assert not is_usual_ending(in_february, SUBMIT, NOW.timestamp())
        assert is_usual_ending(HANGUP, SUBMIT, NOW.timestamp())
