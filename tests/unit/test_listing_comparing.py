"""A record of the list against that of a single answer: typed values, and nothing unsaid."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.client.verdicts import RawRecord
from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.pipeline.listing.comparing import code_of, differences, in_single_form

FIELDS = {
    "voiceId": "26112010000000000001",
    "callee": "8613800138000",
    "submitTime": "2026-11-20T10:00:00+08:00",
    "answerTime": "2026-11-20T10:00:05+08:00",
    "hangupTime": "2026-11-20T10:01:05+08:00",
    "callDuration": 60,
    "chargedDuration": 60,
    "terminationCode": "200",
    "cost": "0.02",
    "rate": "0.02",
    "billPeriod": "60+60",
}


def record(**changed: object) -> RawRecord:
    fields = {name: value for name, value in {**FIELDS, **changed}.items() if value is not ...}
    raw = json.dumps({"status": "0", "data": fields}).encode()
    return RawRecord(FIELDS["voiceId"], raw, True)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [GROUP_RECORD, GROUP_RECORD_1])
@pytest.mark.parametrize(
    "same",
    [
        {},
        {"cost": "0.020000"},
        {"cost": 0.02},
        {"callDuration": "60"},
        {"submitTime": "2026-11-20 10:00:00+0800", "answerTime": "2026-11-20T02:00:05Z"},
        {"terminationCode": "0"},
        {"terminationCode": 0},
        {"terminationCode": "200.0"},
        {"calledInfo": ""},
        {"baseCost": None},
        {"newField": ""},
    ],
)
def test_what_means_the_same_is_no_difference(kind: type, same: dict[str, object]) -> None:
    assert differences(kind, record(**same), record()) == ()  # type: ignore[arg-type]
    assert differences(kind, record(), record(**same)) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"cost": "0.0200001"}, ("cost",)),
        ({"cost": ""}, ("cost",)),
        ({"cost": ...}, ("cost",)),
        ({"cost": ..., "costEur": "0.02"}, ("currency", "currency_presumed")),
        ({"currency": "USD"}, ("currency_presumed",)),
        ({"terminationCode": "486"}, ("termination_code", "sip_code")),
        ({"terminationCode": ""}, ("termination_code", "sip_code")),
        ({"terminationCode": 2}, ("termination_code", "sip_code")),
        ({"hangupTime": "2026-11-20T10:01:06+08:00"}, ("hangup_time",)),
        ({"submitTime": "2026-11-20T02:00:00Z"}, ("utc_offset_min",)),
        ({"submitTime": "2026-11-20 10:00:00"}, ("utc_offset_min",)),
        ({"hangupTime": "some day"}, ("hangup_time",)),
        ({"callee": "8613800138001", "cost": "1"}, ("callee", "cost")),
        ({"newField": "1"}, ("extra.newField",)),
        ({"newField": False}, ("extra.newField",)),
        ({"86 138 0013 8000": "1"}, ("extra.odd",)),
        ({"voiceFileId": {}}, ("voice_file_id",)),
    ],
)
def test_each_difference_is_named_by_its_column(
    other: dict[str, object], names: tuple[str, ...]
) -> None:
    assert differences(GROUP_RECORD, record(**other), record()) == names
    assert differences(GROUP_RECORD, record(), record(**other)) == names


@pytest.mark.parametrize(
    ("spelt", "codes", "is_equal"),
    [
        ("0", {"0": "200"}, True),
        ("0", {}, False),  # it would be stored as the list has it
        ("0", {"0": "000"}, False),
        (0, {"0": "200"}, True),
        ("200", {}, True),
        ("200.0", {}, False),
        ("486", {"486": "200"}, False),  # it means something else
    ],
)
def test_once_spellings_are_known_a_new_one_is_a_difference(
    spelt: object, codes: dict[str, str], is_equal: bool
) -> None:
    found = differences(GROUP_RECORD, record(terminationCode=spelt), record(), codes)
    assert (found == ()) is is_equal
    assert found[:1] == (() if is_equal else ("termination_code",))


def test_what_could_not_be_typed_counts_as_sent() -> None:
    odd = record(cost="1,20")
    assert differences(GROUP_RECORD, odd, odd) == ()
    assert differences(GROUP_RECORD, odd, record(cost="1,30")) == ("cost",)
    assert differences(GROUP_RECORD, record(billPeriod="x"), record(billPeriod="x")) == ()


def test_whether_it_is_over_and_rated_counts() -> None:
    raw = record().raw
    over = RawRecord("1", raw, True)
    assert differences(GROUP_RECORD, over, RawRecord("1", raw, False)) == ("is_final",)
    assert differences(GROUP_RECORD, over, RawRecord("1", raw, True, False)) == ("is_rated",)


def test_fields_without_a_column_count_by_value() -> None:
    one = record(a="1.0", b=[1, {"c": 2}], c="x")
    assert differences(GROUP_RECORD, one, record(c="x", b=[1, {"c": 2}], a=1)) == ()
    assert differences(GROUP_RECORD, one, record(a="2", b=[1], c="y")) == (
        "extra.a",
        "extra.b",
        "extra.c",
    )


def test_a_field_that_is_left_out_is_no_difference() -> None:
    kind = GROUP_RECORD.without(["newField", "called_info"])
    assert differences(kind, record(newField="1", calledInfo="a"), record()) == ()


def test_bodies_that_are_no_record_do_not_fail() -> None:
    torn = RawRecord("1", b'{"status":"0","data":[', True)
    assert differences(GROUP_RECORD, torn, torn) == ()
    assert "cost" in differences(GROUP_RECORD, torn, record())
    assert code_of(torn.raw) is None
    assert in_single_form(torn.raw, {"0": "200"}) == torn.raw


@pytest.mark.parametrize(
    ("sent", "made"),
    [
        ('"terminationCode":"0"', '"terminationCode":"200"'),
        ('"terminationCode" : 0 ', '"terminationCode" : "200" '),
        ('"terminationCode":"486"', '"terminationCode":"486"'),
        ('"terminationCode":null', '"terminationCode":null'),
        ('"terminationCode":{"a":"0"}', '"terminationCode":{"a":"0"}'),
        ('"x":{"terminationCode":"0"}', '"x":{"terminationCode":"0"}'),
        (
            '"terminationCode":"0","b":1,"terminationCode":"0"',
            '"terminationCode":"0","b":1,"terminationCode":"200"',
        ),
        (
            r'"a":"\"terminationCode\":\"0\"","cost":1.10',
            r'"a":"\"terminationCode\":\"0\"","cost":1.10',
        ),
    ],
)
def test_a_code_is_spelt_as_single_answers_spell_it_and_nothing_else_changes(
    sent: str, made: str
) -> None:
    raw, other = (
        f'{{"status":"0","data":{{"a":"é\u3000",{one}}}}}'.encode() for one in (sent, made)
    )
    assert in_single_form(raw, {"0": "200"}) == other
    assert in_single_form(raw, {}) == raw
    assert code_of(other) == code_of(in_single_form(raw, {"0": "200"}))


def test_bytes_that_are_no_text_stay() -> None:
    raw = b'{"status":"0","data":{"a":"\xff\xfe","terminationCode":"0"}}'
    assert in_single_form(raw, {"0": "200"}) == raw.replace(
        b'"terminationCode":"0"', b'"terminationCode":"200"'
    )


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.text())
def test_whatever_an_answer_holds_only_its_code_changes(
    fields: dict[str, object], code: str
) -> None:
    raw = json.dumps({"status": "0", "data": {**fields, "terminationCode": code}}).encode()
    made = in_single_form(raw, {code: "200"} if code else {})
    expected = {**fields, "terminationCode": "200" if code else code}
    assert json.loads(made)["data"] == expected
