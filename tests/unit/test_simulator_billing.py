"""Billing that is late or wrong, and records beyond the vendor's clock."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harvester.errors import UsageError
from harvester.simulator import SimulatorOptions, write_ids
from harvester.simulator.billing import Bill, Billing, parse_billing
from harvester.simulator.calls import Call, Fates, call_of, charged, twin_of
from harvester.simulator.ids import VENDOR_ZONE, double_of, make_ids, original_of, time_in_id
from harvester.simulator.records import Records

IDS = tuple(make_ids(4_000, 11, end=date(2026, 9, 30)))
ALL_RECORDS = Fates(0, 0, 0, 0, 0, 0)
ALL_ANSWERED = Fates(0, 0, 0, 0, 0, 0, 1)
SECOND = timedelta(seconds=1)
LONG_AFTER = datetime(2040, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Billing()),
        ("", Billing()),
        ("late=0.1,early=0.05,double=0.02", Billing(0.1, 21_600, 0.05, 0.02)),
        ("late=1:90", Billing(1, 90)),
        ("late=0.5:3x", Billing(0.5, late_answers=3)),
        (" double=1 , late=0:0 ", Billing(0, 0, 0, 1)),
    ],
)
def test_shares_are_read_as_those_of_faults(text: str, expected: Billing) -> None:
    assert parse_billing(text) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lait=1", "'lait' is none. Known are: none, late, rerated, early, double"),
        ("late", "needs a share from 0 to 1"),
        ("early=2", "needs a share from 0 to 1"),
        ("late=0.1:", "needs a share"),
        ("late=0.1:-1", "needs a share"),
        ("late=0.1:x", "needs a share"),
        ("early=0.1:2x", "only late"),
        ("early=0.1:60", "only late takes seconds"),
        ("double=nan", "needs a share"),
    ],
)
def test_a_share_that_makes_no_sense_is_refused(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_billing(text)
    with pytest.raises(UsageError, match=named):
        SimulatorOptions(billing=text)


def calls(billing: Billing, fates: Fates = ALL_RECORDS) -> list[Call]:
    return [call_of(1, voice_id, fates, Bill(billing)) for voice_id in IDS]


def test_early_calls_are_billed_from_ringing() -> None:
    changed = 0
    for right, early in zip(calls(Billing()), calls(Billing(early=0.25)), strict=True):
        if right == early:
            continue
        changed += 1
        assert early.hangup_time is not None
        assert early.ringing_time is not None
        assert (early.answer_time, early.hangup_time) == (right.answer_time, right.hangup_time)
        seconds = (early.hangup_time - early.ringing_time).total_seconds()
        assert early.call_duration_s == seconds > right.call_duration_s
        whole = charged(early.call_duration_s, early.bill_initial_s, early.bill_increment_s)
        assert early.charged_duration_s == whole
        assert 0 <= early.rate * whole / 60 - early.cost < Decimal("0.000001")
    answered = sum(call.answer_time is not None for call in calls(Billing()))
    assert 0.2 < changed / answered < 0.3


def record(records: Records, call: Call, now: datetime) -> tuple[str, dict[str, Any]]:
    reply = records.answer(call.voice_id, 0.0, now_s=now.timestamp())
    return reply.why, json.loads(reply.body)["data"]


def test_late_calls_are_rated_so_long_after_their_end() -> None:
    billing = "late=0.25:3600"
    options = SimulatorOptions(billing=billing, fates=ALL_RECORDS, drift=False)
    records = Records(options)
    late = 0
    for call in calls(Billing()):
        if call.answer_time is None or call.hangup_time is None:
            continue
        due = call.hangup_time + timedelta(hours=1)
        why, before = record(records, call, due - SECOND)
        final, after = record(records, call, due)
        assert (final, after["cost"], after["rate"]) == ("record", str(call.cost), str(call.rate))
        assert after["chargedDuration"] == call.charged_duration_s
        if why == "unrated":
            late += 1
            assert (before["cost"], before["rate"], before["chargedDuration"]) == ("", "", 0)
            assert before["hangupTime"] == after["hangupTime"]
            assert before["callDuration"] == after["callDuration"]
        else:
            assert before == after
    answered = sum(call.answer_time is not None for call in calls(Billing()))
    assert 0.2 < late / answered < 0.3


def test_late_calls_may_be_rated_after_so_many_answers() -> None:
    options = SimulatorOptions(billing="late=1:2x", fates=ALL_RECORDS, drift=False)
    records = Records(options)
    for call in calls(Billing()):
        is_late = call.answer_time is not None
        whys = [record(records, call, LONG_AFTER)[0] for _ in range(4)]
        assert whys == ["unrated" if is_late and n < 2 else "record" for n in range(4)]


ODD_LENGTH = "260901021133000000049"


def test_an_id_and_its_double_lead_to_each_other() -> None:
    made = set(IDS)
    for voice_id in IDS:
        double = double_of(voice_id)
        assert double is not None
        assert double not in made
        assert original_of(double) == voice_id
        assert original_of(voice_id) is None
        told, again = time_in_id(voice_id), time_in_id(double)
        assert told is not None
        assert again == told + SECOND
    assert len({double_of(voice_id) for voice_id in IDS}) == len(IDS)


@pytest.mark.parametrize(
    "voice_id",
    ["abc-1", "9" * 20, "260901021133000004", "²" * 19 + "9", "2609010211330000049", ODD_LENGTH],
)
def test_an_id_of_another_form_has_no_double(voice_id: str) -> None:
    assert (double_of(voice_id), original_of(voice_id)) == (None, None)


def test_double_calls_are_there_again_a_second_later() -> None:
    bill = Bill(Billing(double=0.25))
    doubled = 0
    for call in calls(Billing(double=0.25)):
        assert call == call_of(1, call.voice_id, ALL_RECORDS)
        twin = twin_of(1, call.voice_id, ALL_RECORDS, bill)
        if twin is None:
            continue
        doubled += 1
        again = call_of(1, twin, ALL_RECORDS, bill)
        assert call.answer_time is not None
        assert call.hangup_time is not None
        assert (again.voice_id, again.callee, again.cost) == (twin, call.callee, call.cost)
        assert again.call_duration_s == call.call_duration_s
        assert again.submit_time == call.submit_time + SECOND
        assert again.answer_time == call.answer_time + SECOND
        assert again.hangup_time == call.hangup_time + SECOND
        assert twin_of(1, twin, ALL_RECORDS, bill) is None
    answered = sum(call.answer_time is not None for call in calls(Billing()))
    assert 0.2 < doubled / answered < 0.3


def test_without_doubles_an_id_of_their_form_is_any_other() -> None:
    double = double_of(IDS[0])
    assert double is not None
    assert call_of(1, double, ALL_ANSWERED).callee != call_of(1, IDS[0], ALL_ANSWERED).callee
    assert twin_of(1, IDS[0], ALL_ANSWERED) is None


def test_made_up_ids_are_written_with_their_doubles(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"

    def twin(voice_id: str) -> str | None:
        return double_of(voice_id) if voice_id == IDS[1] else None

    assert write_ids(file, 4_000, 11, end=date(2026, 9, 30), twin_of=twin) == 4_001
    written = file.read_text().split()
    assert written[:3] == [IDS[0], IDS[1], double_of(IDS[1])]
    assert len(set(written)) == 4_001


def at_vendors(voice_id: str) -> datetime:
    told = time_in_id(voice_id)
    assert told is not None
    return told.astimezone(VENDOR_ZONE)


def whys(options: SimulatorOptions, voice_id: str, now: datetime) -> tuple[str, str]:
    reply = Records(options).answer(voice_id, 0.0, now_s=now.timestamp())
    return reply.why, reply.status


def test_a_call_of_the_future_is_not_known_yet() -> None:
    options = SimulatorOptions(fates=ALL_RECORDS)
    for voice_id in IDS[:100]:
        told = at_vendors(voice_id)
        assert whys(options, voice_id, told)[0] == "record"
        why, status = whys(options, voice_id, told - SECOND)
        assert (why, status in ("-24", "0")) == ("future", True)


def test_a_record_is_forgotten_once_it_is_too_old() -> None:
    options = SimulatorOptions(fates=ALL_RECORDS, keep_days=62)
    statuses = set()
    for voice_id in IDS[:100]:
        last = at_vendors(voice_id) + timedelta(days=62)
        assert whys(options, voice_id, last)[0] == "record"
        why, status = whys(options, voice_id, last + SECOND)
        assert why == "forgotten"
        statuses.add(status)
        for_ever = SimulatorOptions(fates=ALL_RECORDS)
        assert whys(for_ever, voice_id, last + timedelta(days=900))[0] == "record"
    assert statuses == {"-25", "-24", "0"}


def test_an_id_without_a_date_is_never_too_old_nor_of_the_future() -> None:
    options = SimulatorOptions(fates=ALL_RECORDS, keep_days=62)
    for year in (2001, 2099):
        assert whys(options, "abc-1", datetime(year, 1, 1, tzinfo=UTC))[0] == "record"
