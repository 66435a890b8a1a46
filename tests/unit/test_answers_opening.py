"""One place opens an answer: the same bytes mean the same for verdict, control totals and rows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.answers.answer import Answer
from harvester.answers.opening import members, plain
from harvester.client.judge import judge
from harvester.client.transport import Reply
from harvester.client.verdicts import NetworkFailure, Record
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.usage import answer_totals, usage_of
from harvester.state import journal
from harvester.state.values import Entry

ID = "2203031113381000002"
NOW = 1_767_225_600.0  # 2026-01-01
BOM = b"\xef\xbb\xbf"
JSON_UTF8 = "application/json;charset=UTF-8"
JSON_GBK = "application/json;charset=GBK"


def text(info: str = "订单一百二十三号已经发货", **more: str) -> str:
    """An answer; `more` are JSON literals."""
    fields = {"code": '"中国(广东)"', "calledInfo": json.dumps(info, ensure_ascii=False), **more}
    data = ",".join(f'"{name}":{literal}' for name, literal in fields.items())
    return (
        f'{{"status":"0","reason":"成功","data":{{"voiceId":"{ID}","callee":"8613800000000",'
        f'"submitTime":"2025-12-31T14:42:40+08:00","answerTime":"2025-12-31T14:42:50+08:00",'
        f'"hangupTime":"2025-12-31T14:42:55+08:00","callDuration":5,"chargedDuration":60,'
        f'"cost":"0.10",{data}}}}}'
    )


def taken(body: bytes, content_type: str | None = JSON_UTF8) -> tuple[Record, dict[str, Any]]:
    """The verdict, and the row of what a run keeps of the answer; the totals agree with it."""
    verdict = judge(ID, Reply(200, body, content_type=content_type), NOW)
    assert isinstance(verdict, Record), verdict
    kept = verdict.records[0].raw
    (entry,) = journal.decode(journal.encode([Entry(ID, int(NOW * 1000), True, kept)])[0], "run-1")
    (row,) = rows(entry.body)
    for found in (kept, entry.body):
        totals = answer_totals(found, GROUP_RECORD)
        assert totals.call_duration_s == (row["call_duration_s"] or 0)
        assert totals.charged_duration_s == (row["charged_duration_s"] or 0)
        assert (totals.cost, totals.currency) == (row["cost"], row["currency"])
        assert (
            usage_of([found, text().encode()], GROUP_RECORD).call_duration_s
            == totals.call_duration_s + 5
        )
    return verdict, row


def rows(*bodies: bytes) -> list[dict[str, Any]]:
    answers = [Answer(ID, body, int(NOW * 1000), "run-1", is_final=True) for body in bodies]
    found: list[dict[str, Any]] = normalize(answers, "acme", GROUP_RECORD).table.to_pylist()
    return found


USUAL = text().encode()


@pytest.mark.parametrize("before", [b"", b" \r\n", b"\t"])
@pytest.mark.parametrize("mark", [b"", BOM, BOM + BOM])
@pytest.mark.parametrize("between", [b"", b"\n ", "\u00a0\u3000".encode()])
@pytest.mark.parametrize("after", [b"", b"\r\n", b" \n" + BOM, b"\0", b"\0\0\r\n"])
def test_what_stands_around_an_answer_changes_nothing(
    before: bytes, mark: bytes, between: bytes, after: bytes
) -> None:
    assert taken(before + mark + between + USUAL + after) == taken(USUAL)
    # What an older version has left in the journal or with an open call is read likewise.
    assert rows(before + mark + between + USUAL + after) == rows(USUAL)


@pytest.mark.parametrize("coding", ["gbk", "gb18030", "gb2312"])
@pytest.mark.parametrize("content_type", [JSON_GBK, JSON_UTF8, "application/json", None])
def test_an_answer_in_chinese_coding_is_read(coding: str, content_type: str | None) -> None:
    assert taken(text().encode(coding), content_type) == taken(USUAL)


def test_chinese_in_utf_8_stays_what_it_is_though_a_header_says_gbk() -> None:
    """Of an even number of characters its bytes are whole ones of GBK as well, but other ones."""
    sent = f'{{"status":"0","data":{{"voiceId":"{ID}","calledInfo":"中文"}}}}'
    assert sent.encode().decode("gb18030") != sent
    assert taken(sent.encode(), JSON_GBK)[1]["called_info"] == "中文"


@pytest.mark.parametrize(
    "said",
    [
        "application/json; charset=gbk",
        'text/html;charset="GB18030"',
        "application/json; Charset = gb2312",
        "application/json;charset=x-gbk",
        "application/json;charset=cp936",
        "application/json;charset=MS936",
        "application/json;charset=EUC-CN",
    ],
)
def test_a_header_that_says_so_is_believed(said: str) -> None:
    # Rare and traditional characters, whose second byte may be a backslash or a letter.
    info = "誠\\臺灣龍鳳鬱"
    assert taken(text(info).encode("gbk"), said)[1]["called_info"] == info
    # Two bytes that are UTF-8 as well.
    sent = b'{"status":"0","data":{"voiceId":"%s","calledInfo":"\xd2\xbb"}}' % ID.encode()
    assert taken(sent, said)[1]["called_info"] == "一"
    assert taken(sent, JSON_UTF8)[1]["called_info"] == "\u04bb"


def test_a_header_that_is_wrong_is_not_believed() -> None:
    assert taken(USUAL, JSON_GBK) == taken(USUAL)
    assert taken(text("crée").encode(), JSON_UTF8)[1]["called_info"] == "crée"


@pytest.mark.parametrize(
    "coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"]
)
def test_every_coding_of_unicode_is_read(coding: str) -> None:
    assert taken(text().encode(coding)) == taken(USUAL)
    assert taken(text("plain").encode(coding)) == taken(text("plain").encode())


@pytest.mark.parametrize(
    "damaged",
    [
        b"\xff",
        b"caf\xe9",
        b"\xe9tude cr\xe9\xe9e",
        b"25\xb0C",
        b"M\xfcller, K\xf6ln",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"cut \xe4\xb8",
        b"\xf0\x9f\x98",
        "Москва, Тверская".encode("cp1251"),
        "東京都".encode("shift_jis"),
        "中国".encode() + b"\xff",
        "订单".encode() + "订单".encode("gbk"),
    ],
)
@pytest.mark.parametrize("code", ["中国(广东)", "Afghanistan(Kandahar)"])
@pytest.mark.parametrize("content_type", [JSON_UTF8, None])
def test_bytes_that_are_no_text_cost_their_own_field_alone(
    damaged: bytes, code: str, content_type: str | None
) -> None:
    usual = USUAL.replace("中国(广东)".encode(), code.encode())
    body = usual.replace("订单一百二十三号已经发货".encode(), damaged)
    body = body.replace("成功".encode(), b"success")
    verdict, row = taken(body, content_type)
    assert verdict == Record(over=True)
    assert row["called_info"] is None
    assert list(json.loads(row["unparsed"])) == ["calledInfo"]
    assert row == {**taken(usual)[1], "called_info": None, "unparsed": row["unparsed"]}


def test_a_character_cut_in_half_costs_its_own_field_in_chinese_coding_too() -> None:
    body = text("订单").encode("gbk").replace("单".encode("gbk"), "单".encode("gbk")[:1])
    row = taken(body)[1]
    assert (row["code"], row["called_info"]) == ("中国(广东)", None)
    assert list(json.loads(row["unparsed"])) == ["calledInfo"]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "[1, NaN]"])
@pytest.mark.parametrize("name", ["cost", "calledInfo", "rate", "callDuration", "hangupTime"])
def test_a_number_that_is_none_costs_its_own_field_alone(constant: str, name: str) -> None:
    fields = json.loads(text())["data"]
    fields[name] = "@"
    body = json.dumps({"status": "0", "data": fields}).replace('"@"', constant).encode()
    row = taken(body)[1]
    assert json.loads(row["unparsed"]) == {name: constant}
    assert row["callee"] == "8613800000000"


def test_a_number_that_is_none_stays_readable_where_no_column_is() -> None:
    row = taken(text(new="NaN", newer="[1,-Infinity]", newest='"NaN"').encode())[1]
    assert json.loads(row["extra"]) == {"new": "NaN", "newer": "[1,-Infinity]", "newest": "NaN"}
    body = text().replace('"status"', '"took":NaN,"status"').encode()
    assert taken(body) == taken(USUAL)


@pytest.mark.parametrize("raw", ["\n", "\t", "\0", "\x1b[2J", "a\r\nb", '\\"\n', "\\\\\n"])
def test_a_control_character_within_a_text_is_part_of_it(raw: str) -> None:
    row = taken(text().replace("订单一百二十三号已经发货", raw).encode())[1]
    assert row["called_info"] == raw.replace('\\"', '"').replace("\\\\", "\\")


@pytest.mark.parametrize("status", ["0.0", '" 0 "', "0.00", "-0", "0"])
def test_a_status_of_zero_may_be_written_in_any_way(status: str) -> None:
    assert taken(USUAL.replace(b'"status":"0"', b'"status":' + status.encode())) == taken(USUAL)


def test_of_equal_names_the_last_one_counts_for_all_three() -> None:
    twice = text(cost='"7"', callDuration="9", voiceId=f'"{ID}"').encode()
    for body in (twice, BOM + twice, twice.replace(b'"data"', b'"data":{"cost":NaN},"data"')):
        row = taken(body)[1]
        assert (row["cost"], row["call_duration_s"]) == (Decimal(7), 9)


@pytest.mark.parametrize(
    "voice_id", [b'"\xff"', b"NaN", b'"\\ud800"', b"1e400", b"null", f'"{ID}\0"'.encode()]
)
def test_an_id_that_cannot_be_read_is_never_ours(voice_id: bytes) -> None:
    for before in (b"", BOM):
        body = before + USUAL.replace(f'"{ID}"'.encode(), voice_id)
        assert judge(ID, Reply(200, body), NOW) == NetworkFailure("other_record")


@pytest.mark.parametrize(
    "body",
    [
        USUAL[:-1],
        text().encode("gbk")[:-2],
        text().encode("utf-16")[:-1],
        text().encode("utf-16")[:-2],
        USUAL[:-1] + b",}",
        USUAL.replace(b'"voiceId":', b'"voiceId"'),
        USUAL + b"}",
        USUAL.replace(b'"0.10"', b"nan"),
        USUAL.replace(b'"0.10"', b"'0.10'"),
        b'{"status":"0","data":{"voiceId":"1","x":"' + b'\\"' * 100_000,
        b'{"x":"' + b"\xd6" * 100_000,
    ],
    ids=range(11),
)
def test_what_is_torn_or_no_json_is_still_no_answer(body: bytes) -> None:
    for before in (b"", BOM):
        assert judge(ID, Reply(200, before + body), NOW) == NetworkFailure("not_an_envelope")


@given(st.binary(max_size=200), st.sampled_from([None, JSON_UTF8, JSON_GBK, "text/html"]))
def test_no_bytes_break_the_opening_and_what_is_plain_stays_so(
    body: bytes, content_type: str | None
) -> None:
    once = plain(body, content_type)
    if once.decode("utf-8", "surrogateescape").startswith("{"):
        assert plain(once) == once


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"\xff", b"\xe9", b"\xd6", "中".encode(), "中".encode("gbk"), b"a"]))
)
def test_what_a_mixed_text_is_opened_to_is_opened_to_itself(pieces: list[bytes]) -> None:
    body = b'{"status":"0","data":{"voiceId":"1","x":"' + b"".join(pieces) + b'"}}'
    once = plain(body)
    assert plain(once) == once
    assert members(once.decode("utf-8", "surrogateescape"))["status"] == '"0"'


@given(st.text(max_size=60), st.text(max_size=5))
def test_text_in_utf8_is_never_taken_for_anything_else(info: str, more: str) -> None:
    body = text(info, more=json.dumps(more, ensure_ascii=False)).encode("utf-8", "replace")
    assert plain(body) is body


@pytest.mark.parametrize("text", ["{}", "{ }", "{} ", " {\n} \n"])
def test_an_object_without_members_has_none(text: str) -> None:
    assert members(text) == {}
