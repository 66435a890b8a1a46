"""A page of the vendor's list: the request, and what an answer to it means."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from harvester.client.record_group import (
    Page,
    Query,
    judge_page,
    page_request,
    record_request,
)
from harvester.client.transport import Reply
from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    Refusal,
    Throttled,
    TimeRefused,
    UnknownStatus,
    Verdict,
)

START = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
QUERY = Query(START, START + 3600, current=2)
NOW = START + 86_400.0


def record(number: int = 1, **fields: object) -> dict[str, object]:
    times = {"submitTime": "2026-11-01T08:10:00+08:00", "hangupTime": "2026-11-01T08:10:30+08:00"}
    return {"voiceId": f"26110108100000000{number:02}", **times, "cost": "0.10", **fields}


def data(*records: object, **more: object) -> dict[str, object]:
    return {"records": list(records), "total": len(records), "size": 100, "current": 2, **more}


def body(answer: object, status: object = "0") -> bytes:
    return json.dumps({"status": status, "reason": "", "data": answer}).encode()


def judged(answer: bytes, http: int = 200, retry_after: str | None = None) -> Page | Verdict:
    return judge_page(QUERY, Reply(http, answer, retry_after=retry_after), NOW)


def page(answer: bytes) -> Page:
    found = judged(answer)
    assert isinstance(found, Page)
    return found


def ids(found: Page) -> list[str]:
    return [one.record.voice_id for one in found.calls]


def test_a_request_names_page_size_and_window_on_the_vendors_clock() -> None:
    request = page_request(Query(START, START + 60, current=3, size=50))
    request.check()
    assert (request.method, request.path) == ("POST", "recordGroupQuery")
    assert json.loads(request.body or b"") == {
        "current": 3,
        "size": 50,
        "params": {"strTime": "2026-11-01T08:00:00+08:00", "endTime": "2026-11-01T08:01:00+08:00"},
    }


def test_the_first_hundred_are_asked_for_where_nothing_else_is_said() -> None:
    asked = json.loads(page_request(Query(START, START + 60)).body or b"")
    assert (asked["current"], asked["size"]) == (1, 100)


def test_the_record_of_an_id_is_asked_for_by_its_path() -> None:
    request = record_request("26110108100000000001")
    request.check()
    assert (request.method, request.path) == ("GET", "recordGroup/26110108100000000001")


def test_a_page_brings_each_record_as_it_was_sent() -> None:
    literal = '{"cost": 0.10000000000000001, "voiceId":26110108100000000001, "x":[1,{"y":"é"}]}'
    found = page(
        f'{{"status":0,"data":{{"total":"2","records":[{literal},{json.dumps(record())}],'
        f'"size":"100","current":2.0,"orders":[],"hitCount":false}}}}'.encode()
    )
    assert (found.total, found.records, found.size, found.current) == (2, 2, 100, 2)
    assert ids(found) == ["26110108100000000001", "2611010810000000001"]
    assert found.calls[0].record.raw == f'{{"status":"0","data":{literal}}}'.encode()
    assert found.calls[0].submit_ms is None
    assert found.calls[1].submit_ms == (START + 600) * 1000
    assert [one.record.over for one in found.calls] == [False, True]


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030"])
def test_a_page_in_another_encoding_is_the_same_page(encoding: str) -> None:
    sent = data(record(calledInfo="您的验证码是订单一百二十三号已经发货"))
    text = json.dumps({"status": "0", "data": sent}, ensure_ascii=False)
    assert ids(page(text.encode(encoding))) == [record()["voiceId"]]


def test_what_is_odd_in_one_record_costs_no_other() -> None:
    found = page(body(data(record(voiceId=None), "text", None, record(2, cost={}), record(3))))
    assert found.records == 5
    assert ids(found) == [record(2)["voiceId"], record(3)["voiceId"]]


def test_nothing_is_a_page_where_the_vendor_says_so() -> None:
    for answer in (body(data()), body(None, "-24"), body({"total": 0, "records": None})):
        assert page(answer) == Page(0, (), 0, *(() if b"size" not in answer else (100, 2)))


@pytest.mark.parametrize(
    "odd",
    [
        None,
        {},
        [],
        "text",
        record(),
        {"records": [record()]},
        {"records": [], "total": None},
        {"records": [], "total": -1},
        {"records": [], "total": "many"},
        {"records": [], "total": 1.5},
        {"records": {}, "total": 1},
        {"total": 1},
    ],
)
def test_what_is_no_page_is_tried_again(odd: object) -> None:
    assert judged(body(odd)) == NetworkFailure("not_a_page")
    assert judged(body(odd), retry_after="7") == Throttled(7.0)


def test_records_of_another_window_are_no_answer_to_this_one() -> None:
    other = {"submitTime": "2026-11-04T08:10:00+08:00", "hangupTime": "2026-11-04T08:10:30+08:00"}
    assert judged(body(data(record(), record(2, **other)))) == NetworkFailure("other_window")


def test_a_time_that_no_record_shows_may_be_the_one_that_counts() -> None:
    later = {"submitTime": "2026-11-01T06:10:00+08:00", "hangupTime": "2026-11-01T06:10:30+08:00"}
    assert page(body(data(record(1, **later)))).records == 1


def test_any_time_of_a_call_may_be_the_one_that_it_is_listed_by() -> None:
    assert page(body(data(record(submitTime="2026-10-31T08:10:00+08:00")))).records == 1
    assert page(body(data(record(submitTime="0000-00-00", hangupTime="")))).records == 1
    by_submit = Query(START, START + 3600, by="submitTime")
    reply = Reply(200, body(data(record(submitTime="2026-10-31T08:10:00+08:00"))))
    assert judge_page(by_submit, reply, NOW) == NetworkFailure("other_window")


@pytest.mark.parametrize(
    ("submit", "is_of_it"),
    [
        ("2026-11-01T07:59:58+08:00", False),
        ("2026-11-01T07:59:59+08:00", True),
        ("2026-11-01T09:00:02+08:00", True),
        ("2026-11-01T09:00:03+08:00", False),
    ],
)
def test_a_window_has_its_last_second_whole_and_a_second_more_on_both_sides(
    submit: str, is_of_it: bool
) -> None:
    query = Query(START, START + 3600, by="submitTime")
    found = judge_page(query, Reply(200, body(data(record(submitTime=submit)))), NOW)
    assert isinstance(found, Page) is is_of_it


def test_the_calls_that_end_in_an_odd_form_are_told() -> None:
    odd = record(2, hangupTime="1 Nov 2026", callDuration=30)
    found = page(body(data(record(), odd)))
    assert [one.odd_hangup for one in found.calls] == [False, True]


@pytest.mark.parametrize(
    ("answer", "http", "means"),
    [
        (body(None, "-18"), 200, Busy("-18")),
        (body(None, -16), 200, TimeRefused()),
        (body(None, "-15"), 200, Throttled(None)),
        (body(None, "-25"), 200, Dead("out_of_time_range")),
        (body(None, "-22"), 200, Dead("parameter_exception")),
        (body(None, "-1"), 200, Refusal("-1")),
        (body(None, "-99"), 200, UnknownStatus("-99")),
        (b"<html>", 404, Refusal("http_404")),
        (b"<html>", 429, Throttled(None)),
        (b"<html>", 500, Busy("http_500")),
        (b"", 200, NetworkFailure("not_an_envelope")),
        (body(data(record()))[:-9], 200, NetworkFailure("not_an_envelope")),
        (b"[" + body(data()) + b"]", 200, NetworkFailure("not_an_envelope")),
        (b'{"data":{}}', 200, NetworkFailure("not_an_envelope")),
    ],
)
def test_any_other_answer_means_what_it_means_to_a_single_id(
    answer: bytes, http: int, means: Verdict
) -> None:
    assert judged(answer, http) == means


def test_a_page_stands_whatever_pause_it_asks_for() -> None:
    assert isinstance(judged(body(data(record())), retry_after="7"), Page)


@pytest.mark.parametrize("deep", ["[", '{"x":'])
def test_a_page_without_end_is_none(deep: str) -> None:
    nested = f'{{"status":"0","data":{{"total":1,"records":[{deep * 100_000}'
    assert judged(nested.encode()) == NetworkFailure("not_an_envelope")


ODD_VALUES: list[object] = [
    None,
    7,
    "7",
    7.0,
    1e2,
    "",
    " 7 ",
    -1,
    True,
    [],
    {},
    "x",
    10**30,
    "é\u20ac",
    0,
]


def odd_answers(seed: int, count: int) -> Iterator[bytes]:
    """Pages with odd values, names and white space, names twice, and some that are cut."""
    dice = random.Random(seed)
    for _ in range(count):
        found = data(*(record(number) for number in range(dice.randrange(4))))
        for _ in range(dice.randrange(3)):
            name = dice.choice([*found, "Total", "pages", "voiceId"])
            found[name] = dice.choice(ODD_VALUES)
        if found["records"] and isinstance(found["records"], list) and dice.random() < 0.3:
            found["records"].append(dice.choice(ODD_VALUES))
        status = dice.choice(["0", "0", "0", 0, 0.0, None, "-18"])
        text = json.dumps(
            {"status": status, "data": dice.choice([found, found, found, None, [found]])},
            ensure_ascii=dice.random() < 0.5,
            indent=dice.choice([None, 2]),
        )
        if dice.random() < 0.2:
            text = text.replace('"total"', '"total": 3, "total"', 1)
        if dice.random() < 0.1:
            text = text.replace("7", dice.choice(["NaN", "07", "\x01", "7 ", "+7"]), 1)
        if dice.random() < 0.1:
            text = text[: dice.randrange(len(text))]
        yield text.encode()


@pytest.mark.parametrize("seed", range(5))
def test_a_page_is_the_same_however_it_is_opened(seed: int) -> None:
    """White space that no JSON has around it is opened with care, all else quickly."""
    for answer in odd_answers(seed, 400):
        assert judged(answer) == judged(b"\xef\xbb\xbf" + answer), answer
