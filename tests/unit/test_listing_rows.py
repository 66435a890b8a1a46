"""What is kept of a listed call: exact money, and no phone number."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from harvester.client.record_group import Listed
from harvester.client.verdicts import RawRecord
from harvester.pipeline.listing.rows import SCHEMA, Row, row_of, table_of

PHONE = "8613800138000"


def listed(fields: str) -> Row:
    raw = f'{{"status":"0","data":{{"voiceId":"1","callee":"{PHONE}",{fields}}}}}'
    return row_of(Listed(RawRecord("1", raw.encode(), True, False), 1_000), 5_000)


def test_values_are_exact_and_no_number_is_kept() -> None:
    row = listed(
        '"cost":0.10000001,"chargedDuration":"60","callDuration":5,"currency":"EUR",'
        '"answerTime":"2026-11-01T08:00:00+08:00"'
    )
    assert row == Row("1", 1_000, True, 60, Decimal("0.10000001"), "EUR", True, False, 5_000)
    table = pa.table(table_of([row]), schema=SCHEMA)
    assert table["cost"].to_pylist() == [Decimal("0.10000001")]
    assert PHONE not in str(table.to_pylist())


@pytest.mark.parametrize(
    ("fields", "cost", "currency"),
    [
        ('"cost":""', None, "USD"),
        ('"costEur":"0.5"', Decimal("0.5"), "EUR"),
        ('"cost":"0.4","costEur":"0.5","currency":"GBP"', Decimal("0.4"), "GBP"),
        ('"cost":"1,20"', None, "USD"),
        ('"cost":{}', None, "USD"),
        ('"cost":"1","currency":""', Decimal(1), "USD"),
        (f'"cost":"1","currency":"{PHONE}"', Decimal(1), "odd"),
        ('"cost":"1","currency":"EUR "', Decimal(1), "odd"),
        ('"cost":"1","currency":{}', Decimal(1), None),
    ],
)
def test_money_is_that_of_the_data_set(
    fields: str, cost: Decimal | None, currency: str | None
) -> None:
    row = listed(fields)
    assert (row.cost, row.currency, row.answered, row.charged_s) == (cost, currency, False, None)


def test_a_record_that_can_not_be_opened_is_kept_by_its_id() -> None:
    row = row_of(Listed(RawRecord("1", b'{"status":"0","data":[', False), None), 5_000)
    assert (row.voice_id, row.submit_ms, row.cost) == ("1", None, None)
