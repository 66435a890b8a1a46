"""Masks of phone numbers: which texts are one number, and what is left as it is."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.analysis.query.masks import Masks
from harvester.dataset.group_record import GROUP_RECORD

KEY = "0123456789abcdef0123456789abcdef"
ID = "2609021234561234567"
MASKS = Masks(KEY, GROUP_RECORD)
NUMBER = MASKS.number("4915112345678")
SHORT = MASKS.number("1234567")
UNPARSED = '{"callDuration":"4915112345678","cost":"0.123456789012"}'
LONG = MASKS.number("123456789012345678901234567890123")
HUGER = MASKS.number("1e99999999999999999999")
HUGE = MASKS.number("1e99999999")


def _mask(number: str) -> str:
    return f'"{MASKS.number(number)}"'


def test_a_mask_can_be_reckoned_elsewhere() -> None:
    reckoned = hmac.new(KEY.encode(), b"4915112345678", hashlib.sha256).hexdigest()[:20]
    assert f"tel_{reckoned}" == NUMBER


@pytest.mark.parametrize(
    "written",
    [
        "+4915112345678",
        "+49 151 1234-5678",
        "(49) 151/12345678",
        "49.151.12345678",
        " 4915112345678 ",
        "49\u2011151\u00a012345678",
        "٤٩١٥١١٢٣٤٥٦٧٨",
    ],
)
def test_the_digits_alone_make_a_number(written: str) -> None:
    assert MASKS.number(written) == NUMBER
    assert MASKS.text(f"no route to {written.strip()}!") == f"no route to {NUMBER}!"
    assert NUMBER in MASKS.json(json.dumps({"peer": f"sip:{written}@host"}))


@pytest.mark.parametrize("other", ["004915112345678", "15112345678", "49151123456789", "x", "+"])
def test_other_digits_are_another_number(other: str) -> None:
    assert MASKS.number(other) != NUMBER
    assert MASKS.number(other) == MASKS.number(other)


def test_another_key_makes_other_masks() -> None:
    assert Masks(KEY + "x", GROUP_RECORD).number("4915112345678") != NUMBER


def test_whatever_stands_in_a_number_s_place_is_masked() -> None:
    for odd in ("anonymous", "sip:alice@example.com", "110", "#31#", "", "\udfff"):
        assert re.fullmatch("tel_[0-9a-f]{20}", MASKS.number(odd))


@pytest.mark.parametrize(
    "text",
    [
        "Afghanistan(Kandahar)",
        "486",
        "20+20",
        "Busy Here",
        "123456",
        "2026-09-02",
        "since 2026-09-02T10:00:00+08:00 or 2026-09-02 10:00:00.123456Z",
        ID,
        f"no record {ID}",
        "tel_short",
    ],
)
def test_text_without_a_number_stays(text: str) -> None:
    assert MASKS.text(text, ID) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("2026-09-02 4915112345678", f"2026-09-02 {NUMBER}"),
        ("rec4915112345678.wav", f"rec{NUMBER}.wav"),
        ("4915112345678,4915112345678", f"{NUMBER},{NUMBER}"),
        ("4915112345678 after 3 s", f"{NUMBER} after 3 s"),
    ],
)
def test_numbers_within_text_are_masked(text: str, masked: str) -> None:
    assert MASKS.text(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"tel": "4915112345678"}', f'{{"tel":"{NUMBER}"}}'),
        ('{"tel":4915112345678}', f'{{"tel":"{NUMBER}"}}'),
        ('{"tel":4915112345678.0}', f'{{"tel":"{NUMBER}"}}'),
        ('{"tel":4.915112345678E12}', f'{{"tel":"{NUMBER}"}}'),
        ('{"tel":-4915112345678}', f'{{"tel":"{NUMBER}"}}'),
        (r'{"tel":"\u0034915112345678"}', f'{{"tel":"{NUMBER}"}}'),
        ('{"4915112345678":[1,{"a":"4915112345678"}]}', f'{{"{NUMBER}":[1,{{"a":"{NUMBER}"}}]}}'),
        ('{"a":1,"a":4915112345678}', f'{{"a":1,"a":"{NUMBER}"}}'),
        ('{"callee":"110"}', f'{{"callee":"{MASKS.number("110")}"}}'),
        ('{"displayNum":110}', f'{{"displayNum":"{MASKS.number("110")}"}}'),
        ('{"callee":""}', '{"callee":""}'),
        ('{"callee":null}', '{"callee":null}'),
        ('{"cost":"4915112345678"}', f'{{"cost":"{NUMBER}"}}'),
        ('torn {"tel":"4915112345678', f'torn {{"tel":"{NUMBER}'),
        ("NaN 4915112345678", f"NaN {NUMBER}"),
        ("[" * 100_000 + "4915112345678", "[" * 100_000 + NUMBER),
        ('{"n":1e99999999999999999999,"tel":1234567}', f'{{"n":"{HUGER}","tel":"{SHORT}"}}'),
        ('{"n":123456789012345678901234567890123}', f'{{"n":"{LONG}"}}'),
        ('{"n":1000000,"m":999999}', f'{{"n":"{MASKS.number("1000000")}","m":999999}}'),
        (
            '{"a":1e40,"b":1e41,"tel":1234567}',
            f'{{"a":{_mask("1" + "0" * 40)},"b":{_mask("1e41")},"tel":"{SHORT}"}}',
        ),
        ('{"cost":"123456.5","tel":1234567}', f'{{"cost":"123456.5","tel":"{SHORT}"}}'),
        ('{"cost":"1234567.5"}', f'{{"cost":"{MASKS.number("1234567.5")}"}}'),
        (
            '{"cost":"1e99","rate":1e9,"x":12345678}',
            f'{{"cost":"1e99","rate":1e9,"x":{_mask("12345678")}}}',
        ),
        ('{"n":1e99999999,"tel":1234567}', f'{{"n":"{HUGE}","tel":"{SHORT}"}}'),
    ],
)
def test_json_stays_json_without_its_numbers(text: str, masked: str) -> None:
    assert MASKS.json(text, ID) == masked


@pytest.mark.parametrize(
    "text",
    [
        '{ "a" : [1.10, 2e5], "b":null, "c":true }',
        r'{"odd":"\udfff"}',
        '{"ms":123456}',
    ],
)
def test_json_without_a_number_is_not_touched(text: str) -> None:
    assert MASKS.json(text) == text


def test_what_is_no_number_in_an_answer_stays() -> None:
    answer = {
        "voiceId": ID,
        "callee": "4915112345678",
        "submitTime": "2026-09-02T10:00:00+08:00",
        "cost": "0.01200000",
        "rate": "0.123456789012",
    }
    text = json.dumps({"status": "0", "data": answer})
    assert json.loads(MASKS.json(text, ID))["data"] == {**answer, "callee": NUMBER}
    exact = '{"callee":"1","cost":0.10000000000000000000001}'
    assert '"cost":0.10000000000000000000001' in MASKS.json(exact)
    assert MASKS.json(r'{"callee":"1","odd":"\udfff"}').endswith(r'"odd":"\udfff"}')


def test_a_portion_keeps_its_columns_its_nulls_and_all_that_is_no_text() -> None:
    rows: list[dict[str, Any]] = [
        {"voice_id": ID, "account": "4915112345678", "callee": "4915112345678", "is_final": True},
        {"voice_id": "2" + ID, "callee": None, "display_num": "+4915112345678"},
        {"voice_id": "3" + ID, "called_info": "to 4915112345678", "extra": '{"a":4915112345678}'},
        {"voice_id": "4" + ID, "unparsed": UNPARSED, "extra": r'{"a":"\u0034915112345678"}'},
        {"voice_id": "4915112345678", "feedback_key": "1", "termination_reason": "Busy Here"},
    ]
    plain = pa.RecordBatch.from_pylist(rows, GROUP_RECORD.schema)
    masked = MASKS.batch(plain)
    assert masked.schema == plain.schema
    found = masked.to_pylist()
    assert [row["voice_id"] for row in found] == [row["voice_id"] for row in rows]
    assert found[0] == plain.to_pylist()[0] | {"callee": NUMBER}
    assert found[1] == plain.to_pylist()[1] | {"display_num": NUMBER}
    assert found[2]["called_info"] == f"to {NUMBER}"
    assert json.loads(found[2]["extra"]) == {"a": NUMBER}
    assert found[3]["unparsed"] == UNPARSED.replace('"4915112345678"', f'"{NUMBER}"')
    assert json.loads(found[3]["extra"]) == {"a": NUMBER}
    assert found[4] == plain.to_pylist()[4]


@given(
    st.text(alphabet="0123456789", min_size=7, max_size=20),
    st.text(alphabet=" .-/()", max_size=3),
    st.text(alphabet='abc:;=@"\\ \n', max_size=5),
)
@example("2026090", "", "")
def test_no_spelling_of_a_long_number_survives(digits: str, between: str, around: str) -> None:
    spelled = between.join(digits)
    for text in (spelled, f"{around}x{spelled}x{around}"):
        assert re.sub(r"\D", "", re.sub("tel_[0-9a-f]{20}", "", MASKS.text(text))) == ""
        told = MASKS.json(json.dumps({"k": [text]}))
        assert re.sub(r"\D", "", re.sub("tel_[0-9a-f]{20}", "", told)) == ""
