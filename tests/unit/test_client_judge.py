"""Design §5, row by row: what an answer means."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.client.judge import MAX_RETRY_AFTER_S, http_date, judge, retry_after_s
from harvester.client.transport import Reply
from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    NoRecord,
    Record,
    Refusal,
    Throttled,
    TimeRefused,
    UnknownStatus,
    Verdict,
)

ID = "2203031113381000002"
NOW = 1_630_468_800.0  # Wed, 01 Sep 2021 04:00:00 GMT
HTML = b"<html><title>502 Bad Gateway</title></html>"
SPRING = b'{"timestamp":"2026-09-02T00:00:00Z","status":%d,"error":"Not Found","path":"/"}'


def envelope(status: object, data: object = None) -> bytes:
    return json.dumps({"status": status, "reason": "", "data": data}).encode()


def record(voice_id: object = ID, **fields: object) -> dict[str, object]:
    return {"voiceId": voice_id, "hangupTime": "2021-08-18T14:42:55+08:00", **fields}


def verdict(body: bytes, http: int = 200, retry_after: str | None = None) -> Verdict:
    return judge(ID, Reply(http, body, retry_after=retry_after), NOW)


def kept(found: Record) -> bytes:
    (only,) = found.records
    assert (only.voice_id, only.over) == (ID, found.over)
    return only.raw


OURS = envelope("0", record())
USUAL = {
    "submitTime": "2021-08-18T14:41:40+08:00",
    "answerTime": "2021-08-18T14:41:55+08:00",
    "callDuration": 60,
    "cost": "0.0125",
}
"""With these a record is rated at first sight."""


@pytest.mark.parametrize("zero", ["0", 0])
@pytest.mark.parametrize("http", [200, 201, 302, 403, 404, 429, 500, 502, 503])
def test_zero_with_our_record_is_delivered_whatever_the_http_code(zero: object, http: int) -> None:
    assert verdict(envelope(zero, record()), http) == Record(over=True)
    assert verdict(envelope(zero, record(int(ID))), http) == Record(over=True)


def test_zero_with_our_record_is_open_while_the_call_goes_on() -> None:
    ringing = {"voiceId": ID, "answerTime": None, "terminationCode": None}
    assert verdict(envelope("0", ringing)) == Record(over=False)
    assert verdict(envelope("0", {**ringing, "terminationCode": "486"})) == Record(over=True)


@pytest.mark.parametrize("nothing", [None, "", {}, []])
def test_zero_without_data_is_no_record(nothing: object) -> None:
    assert verdict(envelope("0", nothing)) == NoRecord()


def test_zero_without_a_data_field_is_no_record() -> None:
    assert verdict(b'{"status":"0"}') == NoRecord()


@pytest.mark.parametrize("status", ["-24", -24])
def test_minus_24_is_no_record(status: object) -> None:
    assert verdict(envelope(status)) == NoRecord()


@pytest.mark.parametrize(
    "data",
    [
        record("2203031113381000003"),
        record(None),
        record(""),
        record(int(ID) + 1),
        record(float(ID)),
        record([ID]),
        record("2203031113381000003", **USUAL),
        {"callee": "91856321412"},
        [record()],
        "a text",
        7,
        True,
    ],
)
def test_zero_with_another_record_or_none_that_can_be_told_is_a_network_failure(
    data: object,
) -> None:
    assert verdict(envelope("0", data)) == NetworkFailure("other_record")


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ("-16", TimeRefused()),
        ("-1", Refusal("-1")),
        ("-2", Refusal("-2")),
        ("-13", Refusal("-13")),
        ("-29", Refusal("-29")),
        ("-30", Refusal("-30")),
        ("-31", Refusal("-31")),
        ("-32", Refusal("-32")),
        ("-15", Throttled(None)),
        ("-18", Busy("-18")),
        ("-22", Dead("parameter_exception")),
        ("-14", Dead("bad_query_id")),
        ("-25", Dead("out_of_time_range")),
        ("-99", UnknownStatus("-99")),
        ("1", UnknownStatus("1")),
        ("-10", UnknownStatus("-10")),
        ("00", UnknownStatus("00")),
        ("error", UnknownStatus("error")),
    ],
)
@pytest.mark.parametrize("data", [None, {}, "x", record()])
def test_a_status_means(status: str, meaning: Verdict, data: object) -> None:
    if isinstance(meaning, Dead) and data == record():
        meaning = Dead(meaning.reason, is_named=True)
    assert verdict(envelope(status, data)) == meaning
    if status.lstrip("-").isdigit() and status != "00":
        assert verdict(envelope(int(status), data)) == meaning


@pytest.mark.parametrize("status", ["-22", "-14", "-25"])
def test_a_no_that_names_another_id_is_no_answer_to_this_one(status: str) -> None:
    another = envelope(status, record("2203031113381000003"))
    assert verdict(another) == NetworkFailure("other_record")


@pytest.mark.parametrize("http", [302, 401, 403, 404, 429, 500, 503])
def test_the_vendors_status_counts_before_the_http_code(http: int) -> None:
    assert verdict(envelope("-22"), http) == Dead("parameter_exception")
    assert verdict(envelope("-16"), http) == TimeRefused()
    assert verdict(envelope("-1"), http) == Refusal("-1")
    assert verdict(envelope("-99"), http) == UnknownStatus("-99")


@pytest.mark.parametrize(
    "body", [b"", HTML, b"[]", b"{}", b'{"status":"0","da', b'{"message":"x"}']
)
@pytest.mark.parametrize(
    ("http", "meaning"),
    [
        (401, Refusal("http_401")),
        (403, Refusal("http_403")),
        (407, Refusal("http_407")),
        (300, Refusal("http_300")),
        (301, Refusal("http_301")),
        (302, Refusal("http_302")),
        (304, Refusal("http_304")),
        (307, Refusal("http_307")),
        (308, Refusal("http_308")),
        (399, Refusal("http_399")),
        (499, NetworkFailure("http_499")),
        (600, NetworkFailure("not_an_envelope")),
        (299, NetworkFailure("not_an_envelope")),
        (404, Refusal("http_404")),
        (405, Refusal("http_405")),
        (410, Refusal("http_410")),
        (429, Throttled(None)),
        (500, Busy("http_500")),
        (502, Busy("http_502")),
        (503, Busy("http_503")),
        (504, Busy("http_504")),
        (599, Busy("http_599")),
        (400, NetworkFailure("http_400")),
        (408, NetworkFailure("http_408")),
        (451, NetworkFailure("http_451")),
        (200, NetworkFailure("not_an_envelope")),
        (204, NetworkFailure("not_an_envelope")),
        (101, NetworkFailure("not_an_envelope")),
        (999, NetworkFailure("not_an_envelope")),
    ],
)
def test_without_an_envelope_the_http_code_means(body: bytes, http: int, meaning: Verdict) -> None:
    assert verdict(body, http) == meaning


@pytest.mark.parametrize(
    ("http", "meaning"),
    [
        (404, Refusal("http_404")),
        (403, Refusal("http_403")),
        (500, Busy("http_500")),
        (429, Throttled(None)),
        (400, NetworkFailure("http_400")),
    ],
)
def test_a_servers_own_error_page_in_json_is_judged_by_its_http_code(
    http: int, meaning: Verdict
) -> None:
    assert verdict(SPRING % http, http) == meaning
    assert verdict(b'{"status":"error","message":"upstream"}', http) == meaning


@pytest.mark.parametrize(
    ("body", "http"),
    [
        (envelope("-18"), 200),
        (envelope("-1"), 200),
        (envelope("-99"), 200),
        (envelope("-24"), 200),
        (envelope("0"), 200),
        (envelope("0", record("1")), 200),
        (envelope("-15"), 200),
        (HTML, 429),
        (HTML, 503),
        (HTML, 403),
        (HTML, 302),
        (HTML, 200),
    ],
)
def test_a_retry_after_makes_an_answer_that_settles_nothing_a_push_back(
    body: bytes, http: int
) -> None:
    assert verdict(body, http, "7") == Throttled(7.0)
    assert verdict(body, http, "soon") == Throttled(None)


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        (OURS, Record(over=True)),
        (envelope("0", {"voiceId": ID}), Record(over=False)),
        (envelope("-22"), Dead("parameter_exception")),
        (envelope("-16"), TimeRefused()),
    ],
)
def test_a_retry_after_takes_no_settled_answer_away(body: bytes, meaning: Verdict) -> None:
    assert verdict(body, 200, "7") == meaning
    assert verdict(body, 503, "7") == meaning


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("007", 7.0),
        ("0000000000000120", 120.0),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 5_000, 300.0),
        ("1.5", None),
        ("-1", None),
        ("7s", None),
        ("soon", None),
        ("\u0667", None),
        ("\u00b2", None),
        ("Wed, 01 Sep 2021 04:00:30 GMT", 30.0),
        ("Wednesday, 01-Sep-21 04:00:30 GMT", 30.0),
        ("Wed Sep  1 04:00:30 2021", 30.0),
        ("Wed, 01 Sep 2021 12:00:30 +0800", 30.0),
        ("Wed, 01 Sep 2021 03:59:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 02 Sep 2021 04:00:00 GMT", MAX_RETRY_AFTER_S),
        ("Fri, 31 Dec 9999 23:59:59 -2359", MAX_RETRY_AFTER_S),
        ("Wed, 99 Sep 2021 04:00:30 GMT", None),
    ],
)
def test_a_retry_after_asks_for(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "never",
        "0",
        "Wed, 01 Sep 2021",
        "Mon, 01 Jan 0001 00:00:00 +999999999999",
        "\udcff\x00",
        "9" * 5_000,
        "(" * 10_000,
    ],
)
def test_what_is_no_http_date_is_none(text: str | None) -> None:
    assert http_date(text) is None


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1)))  # noqa: DTZ001
def test_an_http_date_is_read_to_the_second(at: datetime) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    assert http_date(format_datetime(at, usegmt=True)) == at.timestamp()


@given(
    st.binary(max_size=200) | st.sampled_from([OURS, HTML, envelope("-22"), envelope("0")]),
    st.integers(-1, 1_000),
    st.none() | st.text(max_size=40),
)
@example(b'{"status":"0","data":{"x":1e999}}', 200, None)
@example(b'{"status":"0"}', 200, "Mon, 01 Jan 0001 00:00:00 +2359")
def test_judging_never_raises(body: bytes, http: int, retry_after: str | None) -> None:
    found = verdict(body, http, retry_after)
    if isinstance(found, Throttled) and found.after_s is not None:
        assert 0 <= found.after_s <= MAX_RETRY_AFTER_S


@given(st.text(min_size=1))
@example("\x1b[2J\x1b]0;owned\x07")
@example("\ud800")
@example("9" * 100_000)
def test_an_unknown_status_is_short_and_printable(status: str) -> None:
    body = json.dumps({"status": status}).encode()
    found = verdict(body)
    if isinstance(found, UnknownStatus):
        assert found.status.isascii()
        assert found.status.isprintable()
        assert len(found.status) <= 40


def test_of_an_unknown_status_forty_characters_are_kept() -> None:
    assert verdict(envelope("9" * 40)) == UnknownStatus("9" * 40)
    assert verdict(envelope("8" + "9" * 40)) == UnknownStatus("8" + "9" * 39)


@pytest.mark.parametrize("status", ["1", "error", "-", "00", "-1x", "1-1"])
def test_a_status_that_is_not_the_vendors_counts_below_300_alone(status: str) -> None:
    assert verdict(envelope(status), 299) == UnknownStatus(status)
    assert verdict(envelope(status), 300) == Refusal("http_300")


def test_a_record_in_another_coding_or_with_an_odd_end_says_so() -> None:
    """What is kept of the first is the answer in UTF-8; the second is told of."""
    marked = verdict(b"\xef\xbb\xbf" + OURS)
    assert isinstance(marked, Record)
    assert (marked.over, marked.odd_hangup, kept(marked)) == (True, False, OURS)
    odd = verdict(envelope("0", record(hangupTime="18 Aug 2021", callDuration=60)))
    assert isinstance(odd, Record)
    assert (odd.over, odd.odd_hangup) == (True, True)
    plain = verdict(OURS)
    assert isinstance(plain, Record)
    assert (plain.over, plain.odd_hangup, kept(plain)) == (True, False, OURS)


def test_a_usual_record_of_this_id_is_delivered() -> None:
    found = verdict(envelope("0", record(**USUAL)))
    assert isinstance(found, Record)
    assert (found.over, found.records[0].is_rated) == (True, True)


def test_a_call_that_goes_on_waits_for_no_price() -> None:
    found = verdict(envelope("0", record(hangupTime=None, callDuration=60, cost="-1")))
    assert isinstance(found, Record)
    assert (found.over, found.records[0].is_rated) == (False, True)


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (record(**USUAL), "any record"),
        (record(hangupTime=None), "any record"),
        (None, NoRecord()),
        ({**record(**USUAL), "voiceId": None}, NetworkFailure("other_record")),
    ],
)
def test_where_no_id_was_asked_for_by_name_any_record_with_an_id_is_an_answer(
    data: dict[str, object] | None, meant: Verdict | str
) -> None:
    found = judge(None, Reply(200, envelope("0", data)), NOW)
    if meant == "any record":
        assert isinstance(found, Record)
        assert [one.voice_id for one in found.records] == [ID]
        assert found.over is (data is not None and data["hangupTime"] is not None)
    else:
        assert found == meant


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("-18", Busy("-18")),
        ("-22", Dead("parameter_exception", is_named=True)),
        ("7", UnknownStatus("7")),
    ],
)
def test_the_status_counts_whatever_record_lies_beside_it(status: str, meant: Verdict) -> None:
    assert verdict(envelope(status, record(**USUAL))) == meant


@pytest.mark.parametrize(
    ("fields", "over", "rated"),
    [
        (USUAL, True, True),
        ({}, True, True),
        ({**USUAL, "hangupTime": None, "cost": None}, False, True),
        ({**USUAL, "cost": None}, True, False),
        ({**USUAL, "cost": "0"}, True, False),
        ({**USUAL, "cost": None, "callDuration": 0}, True, True),
        ({**USUAL, "cost": None, "callDuration": None}, True, False),  # it tells by its times
        ({**USUAL, "cost": None, "costEur": "0.0125"}, True, True),
        ({**USUAL, "submitTime": 1_629_268_900_000}, True, True),
        ({**USUAL, "hangupTime": None, "callDuration": None, "cost": None}, False, True),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["usual", "byte order mark"])
def test_a_record_says_whether_its_call_is_over_and_has_its_price(
    fields: dict[str, object], over: bool, rated: bool, mark: bytes
) -> None:
    found = verdict(mark + envelope("0", record() | fields))
    assert isinstance(found, Record)
    assert found.over is over
    assert [(one.over, one.is_rated) for one in found.records] == [(over, rated)]


@pytest.mark.parametrize("fields", [USUAL, {}], ids=["at first sight", "at a closer look"])
@pytest.mark.parametrize("coding", ["gbk", "utf-8"])
def test_a_record_in_another_coding_is_kept_in_utf_8(
    coding: str, fields: dict[str, object]
) -> None:
    data = {**record(**fields), "calledInfo": "订单"}
    text = json.dumps({"status": "0", "data": data}, ensure_ascii=False)
    said = f"application/json;charset={coding}"
    found = judge(ID, Reply(200, text.encode(coding), content_type=said), NOW)
    assert isinstance(found, Record)
    assert kept(found).decode() == text


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["usual", "byte order mark"])
@pytest.mark.parametrize(
    ("status", "http", "meant"),
    [
        ("-18", 500, Busy("-18")),
        ("77", 299, UnknownStatus("77")),
        ("77", 300, Refusal("http_300")),
        ("77", 500, Busy("http_500")),
    ],
)
def test_under_an_http_error_only_the_vendors_own_numbers_are_a_status(
    status: str, http: int, meant: Verdict, mark: bytes
) -> None:
    assert verdict(mark + envelope(status), http) == meant


def test_an_end_in_a_form_that_nobody_knows_is_one_where_the_call_has_a_cost() -> None:
    for cost in ({"cost": "0.0125"}, {"costEur": "0.0125"}):
        found = verdict(envelope("0", record(hangupTime="18 Aug 2021", **cost)))
        assert isinstance(found, Record)
        assert (found.over, found.odd_hangup) == (True, True)
    free = verdict(envelope("0", record(hangupTime="18 Aug 2021")))
    assert isinstance(free, Record)
    assert (free.over, free.odd_hangup) == (False, True)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("77", "77"),
        ("-77", "-77"),
        ("999999", "999999"),
        ("-999999", "-999999"),
        ("5551234", "odd"),
        ("-5551234", "odd"),
        ("--7", "odd"),
        ("7.0", "odd"),
        ("\u0667", "odd"),
        ("-", "odd"),
        ("", "odd"),
        ("failed", "odd"),
    ],
)
def test_an_unknown_status_is_told_by_its_number_unless_that_could_be_a_phones(
    status: str, name: str
) -> None:
    assert UnknownStatus(status).name == name
