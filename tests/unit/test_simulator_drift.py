"""The vendor's JSON and the truth must say the same."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from harvester.simulator import render
from harvester.simulator.calls import Call, call_of
from harvester.simulator.drift import (
    ODD_MONEY,
    SPOILT,
    Clockwork,
    Sent,
    Statement,
    state,
    unrated,
    write_time,
)
from harvester.simulator.ids import make_ids

IDS = tuple(make_ids(12000, 11, end=date(2026, 9, 30)))
VENDOR_TIME = timezone(timedelta(hours=8))
TIMES = {"submitTime", "callTime", "ringingTime", "answerTime", "hangupTime"}
NUMBERS = {
    "callDuration",
    "chargedDuration",
    "cost",
    "costEur",
    "rate",
    "baseCost",
    "settleRate",
    "quoteExchange",
    "settlePay",
}


@cache
def said(drift: bool = True, wild: bool = False) -> list[tuple[Call, Statement]]:
    calls = [call_of(1, voice_id) for voice_id in IDS]
    return [(call, state(call, 1, drift=drift, wild=wild)) for call in calls]


def parsed(statement: Statement) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        render.success(render.record(statement)), parse_float=Decimal
    )
    assert answer["status"] in ("0", 0)
    record: dict[str, Any] = answer["data"]
    return record


def meaning(name: str, raw: Any) -> object:
    """What a plain reader of the vendor's page takes `raw` for."""
    if raw is None or raw == "":
        return None
    if name in TIMES:
        moment = datetime.fromisoformat(raw)
        return moment if moment.tzinfo else moment.replace(tzinfo=VENDOR_TIME)
    return Decimal(raw) if name in NUMBERS else str(raw)


@pytest.mark.parametrize("drift", [True, False])
def test_every_typed_field_means_in_json_what_the_truth_says(drift: bool) -> None:
    for _, statement in said(drift):
        record = parsed(statement)
        for name, sent in statement.fields.items():
            if sent.unparsed is None:
                assert meaning(name, record.get(name)) == sent.value, (name, sent)


def test_every_value_that_fits_no_type_is_kept_as_it_was_sent() -> None:
    found = set()
    for _, statement in said():
        record = parsed(statement)
        for name, sent in statement.fields.items():
            if sent.unparsed is not None:
                assert str(record[name]) == sent.unparsed
                found.add((name, sent.literal, sent.unparsed))
    assert found == set(SPOILT)


def test_fields_that_are_left_out_mean_nothing() -> None:
    for _, statement in said():
        record = parsed(statement)
        missing = {name for name, sent in statement.fields.items() if name not in record}
        assert all(statement.fields[name].value is None for name in missing)
        assert set(record) == (set(statement.fields) - missing) | set(statement.extra)


def test_without_drift_records_are_as_the_vendors_page_has_them() -> None:
    for call, statement in said(drift=False):
        record = parsed(statement)
        assert not statement.extra
        assert all(sent.unparsed is None for sent in statement.fields.values())
        assert record["submitTime"].endswith("+08:00")
        assert isinstance(record["cost"], str)
        assert isinstance(record["callDuration"], int)
        assert record["code"] == call.place.code


def test_drift_shows_every_variety_within_a_few_thousand_records() -> None:
    records = [parsed(statement) for _, statement in said()]
    assert any("costEur" in record and "cost" not in record for record in records)
    assert any(record.get("currency") == "USD" for record in records)
    assert any(record.get("callStatus") == 50 for record in records)
    assert any("callStatus" in record and record["callStatus"] is None for record in records)
    assert any(isinstance(record.get("ext"), dict) for record in records)
    assert any(isinstance(record.get("cost"), Decimal) for record in records)
    assert any(record["callDuration"] == "0" for record in records)
    assert any(record["terminationCode"] == "0" for record in records)
    assert any(isinstance(record["terminationCode"], int) for record in records)
    assert any(record["submitTime"].endswith("Z") for record in records)
    assert any(record["submitTime"][-6] not in "+-" for record in records)
    assert {None, "", "left out"} <= {record.get("answerTime", "left out") for record in records}
    assert any("\n" in (record.get("calledInfo") or "") for record in records)
    assert any("e-6" in record.get("cost", "") for record in records if _is_text(record, "cost"))
    assert any("e-6" in record.get("rate", "") for record in records if _is_text(record, "rate"))
    assert any(statement.numeric_status for _, statement in said())


def test_drift_is_the_same_every_time() -> None:
    call = call_of(1, IDS[3])
    assert render.record(state(call, 1, drift=True)) == render.record(state(call, 1, drift=True))


def test_the_end_of_a_call_is_never_in_doubt() -> None:
    for call, statement in said():
        assert statement.fields["hangupTime"].unparsed is None
        assert (statement.fields["hangupTime"].value is None) == (call.hangup_time is None)


MOMENT = datetime(2026, 9, 1, 16, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("clock", "text", "micros"),
    [
        (Clockwork(), "2026-09-02T00:30:00+08:00", 0),
        (Clockwork(0, "Z", digits=3), "2026-09-01T16:30:00.123Z", 123_000),
        (Clockwork(330, "+05:30"), "2026-09-01T22:00:00+05:30", 0),
        (Clockwork(-180, "-03:00", digits=6), "2026-09-01T13:30:00.123456-03:00", 123_456),
        (Clockwork(None, "", " ", 9), "2026-09-02 00:30:00.123456789", 123_456),
    ],
)
def test_an_instant_is_written_in_many_ways(clock: Clockwork, text: str, micros: int) -> None:
    # Only offsets of the table have a shift; these are all in it.
    sent = write_time(MOMENT, clock, 123_456_789)
    assert sent == Sent(f'"{text}"', MOMENT + timedelta(microseconds=micros))


def test_absurd_money_comes_with_wild_drift_alone() -> None:
    def costs(wild: bool) -> set[str]:
        values = (_cost(statement).value for _, statement in said(wild=wild))
        return {f"{value:f}" for value in values if isinstance(value, Decimal)}

    assert {str(value) for _, value in ODD_MONEY} <= costs(wild=True)
    # Where a cost can be typed at all, it is that of the call: as it always is without drift.
    for call, statement in said():
        for name, amount in (("cost", call.cost), ("rate", call.rate)):
            sent = statement.fields.get(name, Sent(None))
            assert sent.value in (amount, None)


def test_an_unrated_record_has_neither_money_nor_seconds() -> None:
    for drift in (False, True):
        for call, statement in said(drift)[:400]:
            before = dict(statement.fields)
            late = unrated(replace(statement, fields=dict(statement.fields)))
            record = parsed(late)
            money = {"cost", "costEur", "rate", "settleRate", "settlePay"} & record.keys()
            assert all(record[name] == "" for name in money)
            assert record["chargedDuration"] == 0
            spared = before.keys() - money - {"chargedDuration"}
            assert all(late.fields[name] == before[name] for name in spared)
            assert late.fields["callDuration"].value in (call.call_duration_s, None)


def _is_text(record: dict[str, Any], name: str) -> bool:
    return isinstance(record.get(name), str)


def _cost(statement: Statement) -> Sent:
    return statement.fields.get("cost", Sent(None))
