"""Numbers are found however they are written, and nothing else is taken for one."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import UsageError
from harvester.operations.listed_numbers import ListedNumbers, read_numbers

NUMBER = "491511234567"
LISTED = ListedNumbers((NUMBER, "4930901820", "20260901"), GROUP_RECORD)


@pytest.mark.parametrize(
    ("written", "hidden"),
    [
        (NUMBER, "49**********"),
        (f"+{NUMBER}", "+49**********"),
        (f"00{NUMBER}", "0049**********"),
        ("+49 (151) 123-45.67", "+49 (***) ***-**.**"),
        ("0049/1511234567", "0049/**********"),
        (f"call {NUMBER}, or 4930901820!", "call 49**********, or 49********!"),
        (f"1 {NUMBER}", "1 49**********"),
        ("٤٩١٥١١٢٣٤٥٦٧", "٤٩**********"),
    ],
)
def test_a_number_is_hidden_but_for_its_first_two_digits(written: str, hidden: str) -> None:
    assert LISTED.text(written) == hidden
    assert LISTED.number(written) == hidden


@pytest.mark.parametrize(
    "text",
    [
        f"9{NUMBER}",
        f"{NUMBER}0",
        NUMBER[2:],
        f"1{NUMBER}0000001",
        "2026-09-01 12:00:00",
        "on 2026-09-01",
        "",
        "49**********",
    ],
)
def test_what_is_no_listed_number_stays(text: str) -> None:
    assert LISTED.text(text) == text


def test_a_number_column_is_compared_by_all_of_its_digits() -> None:
    assert LISTED.number("49:151:1234567") == "49:***:*******"
    assert LISTED.text("49:151:1234567") == "49:151:1234567"


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        (f'{{"a": {NUMBER}, "b":1.50}}', '{"a": "49**********", "b":1.50}'),
        ('{"a":4.91511234567e11}', '{"a":"49**********"}'),
        (f'{{"callee":"{NUMBER}"}}', '{"callee":"49**********"}'),
        (f'{{"x":["a",{{"y":"+{NUMBER}"}}]}}', '{"x":["a",{"y":"+49**********"}]}'),
        (f'{{"{NUMBER}":1}}', '{"49**********":1}'),
        (r'{"x":"\u0034915\u00311234567"}', '{"x":"49**********"}'),
        (f"no JSON, {NUMBER}", "no JSON, 49**********"),
        (f'{{"cut": "{NUMBER}', '{"cut": "49**********'),
    ],
)
def test_json_stays_json(said: str, hidden: str) -> None:
    assert LISTED.json(said) == hidden
    assert LISTED.answer(said.encode(), "") == hidden.encode()


@pytest.mark.parametrize(
    "said",
    [
        '{"cost":"2.0260901", "submitTime":"2026-09-01T00:00:00Z", "é":"\\u00e9"}',
        f'{{"voiceId":"{NUMBER}"}}',
        '{"a": 491511234567.5, "b": 1e999999999}',
    ],
)
def test_amounts_times_and_the_own_id_stay_byte_for_byte(said: str) -> None:
    assert LISTED.json(said, voice_id=NUMBER) == said
    assert LISTED.answer(said.encode(), NUMBER) == said.encode()


def test_an_answer_that_is_no_text_keeps_its_other_bytes() -> None:
    body = b"\xff\xfe " + NUMBER.encode() + b" \xe2\x28"
    assert LISTED.answer(body, "") == b"\xff\xfe 49********** \xe2\x28"


def test_rows_are_hidden_in_their_own_columns_alone() -> None:
    rows = pa.table(
        {
            "voice_id": [NUMBER, "b", "c"],
            "callee": [f"+{NUMBER}", "4930", None],
            "called_info": [None, f"was {NUMBER}", "x"],
            "extra": [None, json.dumps({"n": NUMBER}), None],
            "run_id": [NUMBER, "r", "r"],
            "call_duration_s": [1, 2, 3],
            "later_column": [None, None, NUMBER],
        }
    )
    found = LISTED.hidden_rows(rows)
    assert found.changed.to_pylist() == [True, True, True]
    assert found.rows.to_pydict() == {
        "voice_id": [NUMBER, "b", "c"],
        "callee": ["+49**********", "4930", None],
        "called_info": [None, "was 49**********", "x"],
        "extra": [None, '{"n": "49**********"}', None],
        "run_id": [NUMBER, "r", "r"],
        "call_duration_s": [1, 2, 3],
        "later_column": [None, None, "49**********"],
    }
    again = LISTED.hidden_rows(found.rows)
    assert again.changed.true_count == 0
    assert again.rows == found.rows


def test_many_numbers_are_found_as_one_is() -> None:
    many = ListedNumbers(tuple(f"4915{n:08}" for n in range(1_000)), GROUP_RECORD)
    rows = pa.table({"voice_id": ["a", "b"], "callee": ["+491500000999", "491500001000"]})
    assert many.hidden_rows(rows).changed.to_pylist() == [True, False]


def test_a_list_is_read_by_lines() -> None:
    assert read_numbers(["\ufeff+49 30 1234567", "", " 0049 30 1234567 ", "٠١٢٣٤٥٦٧"]) == (
        "49301234567",
        "01234567",
    )
    with pytest.raises(UsageError) as raised:
        read_numbers(["", " "])
    assert raised.value.code == "usage.numbers"
