"""What is an envelope of the vendor, what it says, and that no body whatever breaks the reader."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.client.envelope import Envelope, open_envelope

ID = "2203031113381000002"
HANGUP = "2022-01-18T14:42:55+08:00"
ANSWER = "2022-01-18T14:42:50+08:00"
NOW = 1_767_225_600.0  # 2026-01-01
DEEP = 100_000


class Seen(NamedTuple):
    """What an envelope says, but for the bytes that are kept."""

    status: str
    voice_id: str | None
    has_data: bool
    over: bool


def opened(text: str | bytes, http_status: int = 200) -> Seen | None:
    body = text if isinstance(text, bytes) else text.encode()
    found = open_envelope(body, http_status, NOW)
    if found is None:
        return None
    over = [record.over for record in found.records]
    return Seen(found.status, found.voice_id, found.has_data, over == [True])


def bare(status: str, *, has_data: bool = False, voice_id: str | None = None) -> Seen:
    return Seen(status, voice_id, has_data, over=False)


def over(voice_id: str) -> str:
    """A record as most are: of a call that is over."""
    record = {"voiceId": voice_id, "submitTime": ANSWER, "hangupTime": HANGUP}
    return json.dumps({"status": "0", "reason": "success", "data": record})


@pytest.mark.parametrize(
    ("text", "envelope"),
    [
        ('{"status": "0", "reason": "success", "data": null}', bare("0")),
        ('{"status": "0"}', bare("0")),
        ('{"status": 0, "data": ""}', bare("0")),
        ('{"status": "0", "data": {}}', bare("0")),
        (' {"status":"0","data": { } }\r\n', bare("0")),
        ('{"status": "0", "data": []}', bare("0")),
        ('{"status": "0", "data": [{"voiceId": "1"}]}', bare("0", has_data=True)),
        ('{"status": "0", "data": "no such record"}', bare("0", has_data=True)),
        ('{"status": "0", "data": {"callee": "1"}}', bare("0", has_data=True)),
        ('{"status": "0", "data": {"voiceId": ""}}', bare("0", has_data=True)),
        ('{"status": "0", "data": {"voiceId": null}}', bare("0", has_data=True)),
        ('{"status": "0", "data": {"voiceId": ["1"]}}', bare("0", has_data=True)),
        ('{"status": "0", "data": {"voiceId": true}}', bare("0", has_data=True)),
        ('{"status": "-16", "reason": "timestamp expires"}', bare("-16")),
        ('{"status": -16}', bare("-16")),
        ('{"status": " -16 "}', bare("-16")),
        ('{"reason": 5, "data": null, "status": "0", "more": {"x": [1.5]}}', bare("0")),
        (f'{{"status":0,"data":{{"voiceId":{ID}}}}}', bare("0", has_data=True, voice_id=ID)),
        (
            '{"status":0,"data":{"voiceId":22121121451211349002}}',
            bare("0", has_data=True, voice_id="22121121451211349002"),
        ),
        (f'{{"status":0,"data":{{"voiceId":" {ID} "}}}}', bare("0", has_data=True, voice_id=ID)),
        (over(ID), Seen("0", ID, True, True)),
        (over(f" {ID} "), Seen("0", ID, True, True)),
        (over(" "), Seen("0", None, True, False)),
        ('{"status": "UP"}', bare("UP")),
        ('{"status": 500}', bare("500")),
        (b'\xef\xbb\xbf{"status": "0"}', bare("0")),
        ('{"status": "0"}'.encode("utf-16"), bare("0")),
        ('{"status": 0.0}', bare("0")),
        ('{"status": -22.0}', bare("-22")),
        ('{"status": "0", "data": {"cost": NaN}}', bare("0", has_data=True)),
        ('{"status": "0", "data": {"cost": -Infinity}}', bare("0", has_data=True)),
        ('{"status": "0", "data": {"callee": "\n"}}', bare("0", has_data=True)),
        (b'{"status": "0", "data": {"calledInfo": "\xff\xfe"}}', bare("0", has_data=True)),
    ],
)
def test_an_envelope_says(text: str | bytes, envelope: Seen) -> None:
    assert opened(text) == envelope


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "0",
        '"0"',
        "[]",
        '[{"status": "0"}]',
        "{}",
        '{"data": {"voiceId": "1"}}',
        '{"status": null}',
        '{"status": ""}',
        '{"status": "  "}',
        '{"status": true}',
        '{"status": ["0"]}',
        '{"status": {"code": "0"}}',
        '{"Status": "0"}',
        "<html><body>status</body></html>",
        '{"status": "0", "data": {"voiceId": "1", "cal',
        '{"status": "0", "data": {"voiceId": "1"}',
        '{"status": "0"}{"status": "0"}',
        '{"status": "0"} trailing',
        "{'status': '0'}",
        '{"status": "0", "data": {"cost": nan}}',
        '{"status": "0", "data": {"cost": +Infinity}}',
        '{"status": "0", "data": {"callee": \n"}}',
        '{"status": "0",}',
        '{"status": NaN}',
        b'{"status": "\xff0"}',
        '{"status": "0"}'.encode("utf-16")[:-2],
        b"\x00" * 100,
        b"\x1f\x8b\x08\x00" + b"\x00" * 20,
    ],
)
def test_this_is_no_envelope(text: str | bytes) -> None:
    assert opened(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP,
        '{"status":"0","x":' + "[" * DEEP + "]" * DEEP + "}",
        '{"status":"0","data":' + "[" * DEEP + "]" * DEEP + "}",
        '{"status":"0","data":{"x":' + "[" * DEEP + "]" * DEEP + "}}",
        '{"status":"0","data":' + '{"data":' * DEEP + "1" + "}" * DEEP + "}",
    ],
)
def test_a_body_nested_without_end_is_no_envelope(text: str) -> None:
    assert opened(text) is None


@pytest.mark.parametrize("literal", ["9" * 5_000, "-" + "9" * 5_000, "1e999", "0." + "1" * 5_000])
def test_a_number_that_no_type_holds_does_not_hide_the_record(literal: str) -> None:
    for text in (
        f'{{"status":"0","data":{{"voiceId":"{ID}","cost":{literal}}}}}',
        f'{{"status":"0","data":{{"cost":{literal},"voiceId":{ID}}}}}',
        f'{{"status":"0","more":{literal},"data":{{"voiceId":"{ID}"}}}}',
    ):
        assert opened(text) == bare("0", has_data=True, voice_id=ID)
    # Without an id it is looked at more closely, and must not break there either.
    assert opened(f'{{"status":"0","data":{{"cost":{literal}}}}}') == bare("0", has_data=True)
    assert opened(f'{{"status":{literal}}}') == bare(literal)


def test_the_last_of_equal_names_counts() -> None:
    text = '{"status":"-22","status":"0","data":{"voiceId":"1","voiceId":"2"}}'
    assert opened(text) == bare("0", has_data=True, voice_id="2")
    assert opened('{"status":"0","data":{"voiceId":"1"},"data":null}') == bare("0")
    assert opened('{"status":"0","status":"-22","data":"x"}') == bare("-22", has_data=True)


def test_half_a_character_in_a_field_does_not_cost_the_record() -> None:
    """An emoji cut at 1,000 characters; the lake keeps what it can of it."""
    found = opened(rf'{{"status":"0","data":{{"voiceId":"{ID}","x":"\ud83d"}}}}')
    assert found is not None
    assert found.voice_id == ID


@pytest.mark.parametrize(
    "page",
    [
        '{"timestamp":"2026-09-02T00:00:00Z","status":404,"error":"Not Found","path":"/voice"}',
        '{"status":"404"}',
        '{"status":"error","message":"upstream"}',
        '{"status":1001}',
        '{"status":404,"data":"x"}',
    ],
)
def test_a_servers_own_error_page_is_no_envelope(page: str) -> None:
    assert opened(page, 404) is None
    assert opened(page, 200) is not None


@pytest.mark.parametrize("http_status", [302, 404, 429, 500, 502])
@pytest.mark.parametrize("status", ["0", "-1", "-18", "-24", "-99"])
def test_the_vendors_status_counts_under_any_http_code(status: str, http_status: int) -> None:
    assert opened(f'{{"status":"{status}"}}', http_status) == bare(status)
    assert opened(f'{{"status":{status}}}', http_status) == bare(status)


@pytest.mark.parametrize(
    ("fields", "over"),
    [
        ({"hangupTime": HANGUP}, True),
        ({"hangupTime": 1642488175000}, False),
        ({"hangupTime": 1642488175000, "cost": 0.5}, True),
        ({"hangupTime": -1, "cost": 0.5}, False),
        ({"hangupTime": 0, "answerTime": ANSWER}, False),
        ({"hangupTime": False, "answerTime": ANSWER}, False),
        ({"hangupTime": {"at": HANGUP}, "answerTime": ANSWER}, False),
        ({"hangupTime": " ", "answerTime": "", "terminationCode": 486}, True),
        ({"hangupTime": None, "answerTime": None, "terminationCode": "486"}, True),
        ({"terminationCode": 200}, False),
        ({"terminationCode": 200.0}, False),
        ({"terminationCode": 0}, False),
        ({"terminationCode": [486]}, False),
        ({}, False),
    ],
)
def test_a_record_says_whether_its_call_is_over(fields: dict[str, object], over: bool) -> None:
    quick = {"status": "0", "data": {"voiceId": ID, **fields}}
    slow = {"status": "0", "data": {"voiceId": ID, **fields}, "huge": 10**400}
    for answer in (quick, slow):
        envelope = opened(json.dumps(answer))
        assert envelope is not None
        assert envelope.voice_id == ID
        assert envelope.over is over


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
names = st.sampled_from(["status", "data", "voiceId", "answerTime", "hangupTime", "reason"])
near_envelopes = st.dictionaries(names, json_values | st.dictionaries(names, json_values))


@given(st.binary(max_size=300), st.integers(0, 999))
@example(b'{"status":"0","data":{"x":1e999}}', 200)
@example(b'{"status":"0","data":{"x":' + b"9" * 5_000 + b"}}", 200)
@example(b'{"status":' + b"9" * 5_000 + b"}", 404)
def test_no_bytes_break_the_reader(body: bytes, http_status: int) -> None:
    open_envelope(body, http_status, NOW)


@given(near_envelopes, st.integers(0, 999))
def test_nothing_that_is_nearly_an_envelope_breaks_the_reader(
    answer: dict[str, object], http_status: int
) -> None:
    envelope = open_envelope(json.dumps(answer).encode(), http_status, NOW)
    if envelope is not None:
        assert envelope.status.strip()


@given(near_envelopes)
def test_both_ways_of_reading_agree(answer: dict[str, object]) -> None:
    quick = open_envelope(json.dumps(answer).encode(), 200, NOW)
    slow = open_envelope(json.dumps({**answer, "huge": 10**400}).encode(), 200, NOW)
    assert _numbers_apart(quick) == _numbers_apart(slow)


def _numbers_apart(envelope: Envelope | None) -> tuple[bool, bool] | None:
    """A float's text is another one on the slow way; that may not change what is told apart."""
    return None if envelope is None else (envelope.has_data, envelope.voice_id is None)
