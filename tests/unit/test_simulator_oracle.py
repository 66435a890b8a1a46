"""The oracle itself, held against cases that can be worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from harvester.simulator import Fates, SimulatorOptions, make_ids
from harvester.simulator.calls import Call, Fate, call_of
from harvester.simulator.drift import Sent, Statement, state
from tests.support.oracle import NO_DATE, expect_all, expected, row_of

NOW = datetime(2026, 10, 1, tzinfo=UTC)
IDS = tuple(make_ids(4000, 5, end=date(2026, 9, 30)))
VOICE_ID = "2609021133180000041"


def statement() -> tuple[Call, Statement]:
    call = call_of(1, VOICE_ID, Fates(answered=1))
    return call, state(call, 1, drift=False)


def row_with(name: str, sent: Sent) -> dict[str, object]:
    call, said = statement()
    said.fields[name] = sent
    return row_of(said, call, is_final=True)


def test_a_record_is_delivered_at_once_and_an_open_call_later() -> None:
    plain = SimulatorOptions(fates=Fates(0, 0, 0, 0, 0, 0))
    later = SimulatorOptions(fates=Fates(0, 0, 0, 1, 0, 0))
    never = SimulatorOptions(fates=Fates(0, 0, 0, 0, 1, 0))
    found = [expected(options, VOICE_ID, now=NOW) for options in (plain, later, never)]
    assert [(one.first, one.last) for one in found] == [
        ("delivered", "delivered"),
        ("open", "delivered"),
        ("open", "open"),
    ]
    assert [one.row and one.row["is_final"] for one in found] == [True, True, False]


@pytest.mark.parametrize(("now", "first"), [(NOW, "dead"), (NOW.replace(month=9, day=3), "open")])
def test_an_unknown_call_is_dead_at_once_only_if_its_id_is_old(now: datetime, first: str) -> None:
    options = SimulatorOptions(fates=Fates(0, 0, 0, 0, 0, 1))
    found = expected(options, VOICE_ID, now=now)
    assert (found.first, found.last, found.status) == (first, "dead", "no_record")


def test_every_id_is_expected_somewhere_and_every_delivered_one_has_a_row() -> None:
    for one in expect_all(SimulatorOptions(), IDS, now=NOW, account="acme"):
        assert (one.row is None) == (one.last == "dead")
        if one.row is not None:
            assert (one.row["voice_id"], one.row["account"]) == (one.voice_id, "acme")
            assert "fetched_at" not in one.row


def test_the_date_of_a_row_is_the_one_in_the_partitions_time_zone() -> None:
    options = SimulatorOptions(fates=Fates(0, 0, 0, 0, 0, 0), drift=False)
    early = "2609020130000000041"  # 01:30 on the 2nd at +08:00 is still the 1st in UTC
    in_utc = expected(options, early, now=NOW).row
    in_china = expected(options, early, now=NOW, partition_timezone="Asia/Shanghai").row
    assert in_utc
    assert in_utc["submit_date"] == "2026-09-01"
    assert in_china
    assert in_china["submit_date"] == "2026-09-02"


def test_a_submit_time_that_is_none_goes_to_the_partition_without_a_date() -> None:
    rows = [one.row for one in expect_all(SimulatorOptions(), IDS, now=NOW) if one.row]
    undated = [row for row in rows if row["submit_date"] == NO_DATE]
    assert undated
    assert all(row["unparsed"] == {"submitTime": "0000-00-00 00:00:00"} for row in undated)


def test_times_are_cut_at_the_millisecond() -> None:
    exact = datetime(2026, 9, 2, 0, 0, 1, 999_999, tzinfo=UTC)
    row = row_with("submitTime", Sent('""', exact))
    assert row["submit_time"] == exact.replace(microsecond=999_000)


@pytest.mark.parametrize(
    ("code", "expected_code"), [("486", 486), ("200", 200), ("0", None), ("99", None), (None, None)]
)
def test_a_sip_code_is_a_termination_code_from_100_to_699(
    code: str | None, expected_code: int | None
) -> None:
    assert row_with("terminationCode", Sent('""', code))["sip_code"] == expected_code


def test_a_key_that_was_not_pressed_and_an_untold_currency_have_their_meaning() -> None:
    assert row_with("feedbackValue", Sent('"-1"', "-1"))["feedback_key"] is None
    assert row_with("feedbackValue", Sent('"5"', "5"))["feedback_key"] == "5"
    assert row_with("currency", Sent(None))["currency"] == "USD"
    assert row_with("costEur", Sent('"1"', Decimal(1)))["currency"] == "EUR"


def test_a_billing_period_without_numbers_keeps_its_text() -> None:
    row = row_with("billPeriod", Sent('"monthly"', "monthly", "monthly"))
    assert row["bill_period"] == "monthly"
    assert row["bill_initial_s"] is None
    assert row["unparsed"] == {"billPeriod": "monthly"}


def test_fates_of_the_truth_and_of_the_oracle_agree() -> None:
    options = SimulatorOptions(fates=Fates(0.2, 0.1, 0.1, 0.1, 0.1, 0.1))
    for one in expect_all(options, IDS[:500], now=NOW):
        assert one.fate is call_of(options.seed, one.voice_id, options.fates).fate
        assert (one.status == "-22") == (one.fate is Fate.DEAD_PARAM)
