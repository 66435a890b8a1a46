"""Fields that are never stored."""

from __future__ import annotations

import pytest

from harvester.answers.answer import Answer
from harvester.dataset.changes import compared
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize, without_omitted
from harvester.errors import ConfigError

BODY = (
    b'{"status":0,"data":{"callee":"861391","calledInfo":"who","code":"X(Y)","cost":"1","pin":"9",'
    b'"other":2,"rate":[1],"billPeriod":"a"}}'
)


def row(*names: str) -> dict[str, object]:
    kind = GROUP_RECORD.without(names)
    (found,) = normalize([Answer("1", BODY, 1, "run", is_final=True)], "a", kind).table.to_pylist()
    return dict(found)


@pytest.mark.parametrize("by_value", [False, True])
def test_columns_unknown_fields_and_evidence_of_them_are_gone(by_value: bool) -> None:
    kind = GROUP_RECORD.without(["called_info", "pin", "rate", "code"])
    answers = [Answer("1", BODY, 1, "run", is_final=True)]
    done = normalize(answers, "a", kind, by_value=by_value)
    (found,) = done.table.to_pylist()
    assert (found["called_info"], found["code"], found["destination_country"]) == (None,) * 3
    assert found["extra"] == '{"other":2}'
    assert found["unparsed"] == '{"billPeriod":"a"}'
    assert done.extra == {"other": 1}
    assert found["callee"] == "861391"


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["code"],
        ["called_info", "pin", "rate", "code"],
        ["bill_period"],
        ["answer_time", "termination_code", "feedback_value", "other"],
        ["pin", "other", "rate", "billPeriod", "hangupTime"],
    ],
)
def test_a_row_that_was_stored_before_is_as_if_the_field_had_never_come(names: list[str]) -> None:
    more = BODY.replace(
        b'"pin"',
        b'"submitTime":"2026-11-01T08:00:00+08:00","answerTime":"2026-11-01T08:00:09+08:00",'
        b'"hangupTime":"soon","terminationCode":"486","feedbackValue":"-1","\\u0070in"',
    )
    answers = [
        Answer(str(at), body, 1, "run", is_final=True)
        for at, body in enumerate([BODY, more, b'{"status":0,"data":{"pin":1}}', more])
    ]
    before = normalize(answers, "a", GROUP_RECORD).table
    kind = GROUP_RECORD.without(names)
    found = without_omitted(before, kind)
    assert found.schema == before.schema
    assert found.to_pylist() == normalize(answers, "a", kind).table.to_pylist()


def test_a_vendors_name_and_a_columns_name_are_the_same() -> None:
    assert row("calledInfo") == row("called_info")
    assert row() != row("callee")
    assert GROUP_RECORD.without([]) is GROUP_RECORD


@pytest.mark.parametrize(
    "name", ["cost", "costEur", "currency", "voice_id", "submitTime", "charged_duration_s", "extra"]
)
def test_what_totals_and_dates_are_made_of_stays(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"omit_fields: {name} can't be left out"):
        GROUP_RECORD.without([name])


def test_what_is_left_out_is_no_change() -> None:
    names = compared(GROUP_RECORD.without(["code", "called_info"]))
    assert "cost" in names
    assert "is_rated" in names
    assert not {"code", "called_info", "destination_country", "extra"} & set(names)
    assert "destination_country" in compared(GROUP_RECORD)
