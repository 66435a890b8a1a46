"""Fields that are never stored."""

from __future__ import annotations

import pytest

from harvester.answers.answer import Answer
from harvester.dataset.changes import compared
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
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
