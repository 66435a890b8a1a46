"""The invoice queries of docs/sql.md: a perfect invoice, and spoilt ones counted line by line."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harvester.analysis.clock import Clock
from harvester.analysis.query.session import Records, opened
from harvester.analysis.query.tables import tables
from harvester.config import DateBy
from harvester.dataset.group_record import GROUP_RECORD
from harvester.storage.output import Output
from tests.run.test_sql import BLOCKS, rows
from tests.support.datasets import made

BY_CURRENCY = BLOCKS["The invoice against the data, by currency"]
MONTHS_BILL = BLOCKS["The month's bill, to the cent"]
BY_CALL = BLOCKS["The invoice against the data, call by call"]
VENDOR = timezone(timedelta(hours=8))
NOVEMBER = datetime(2026, 11, 1, tzinfo=VENDOR)
DECEMBER = datetime(2026, 12, 1, tzinfo=VENDOR)
COUNT = 300


class Bill(NamedTuple):
    """A line of the vendor's invoice, as text."""

    voice_id: str
    submit_time: str
    amount: str
    currency: str


def call(submitted: datetime, cost: str | None) -> dict[str, Any]:
    return {
        "submit_time": submitted.astimezone(UTC),
        "cost": None if cost is None else Decimal(cost),
    }


# Every second counts at both ends of the month, on the vendor's clock and on no other.
SECOND = timedelta(seconds=1)
CALLS = [
    *(call(NOVEMBER + n * timedelta(hours=2), f"0.{100 + n}5") for n in range(COUNT)),
    call(NOVEMBER - SECOND, "5"),
    call(DECEMBER - SECOND, "0.125"),
    call(DECEMBER, "7"),
    call(NOVEMBER, "0"),
    call(NOVEMBER, None),
    {"submit_time": None, "cost": Decimal(11)},
]
# Costs of 0.1005, 0.1015 … 0.3995 and one of 0.125: 300 * 0.25 + 0.125.
TOTAL = Decimal("75.125")
CHARGED = [*range(COUNT), COUNT + 1]
PERFECT = [
    Bill(
        f"{n:019}",
        f"{CALLS[n]['submit_time'].astimezone(VENDOR):%Y-%m-%d %H:%M:%S}",
        str(CALLS[n]["cost"]),
        "USD",
    )
    for n in CHARGED
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("billed") / "out"
    made(out, CALLS)
    return out


def asked(out: Path, tmp_path: Path, invoice: list[Bill]) -> tuple[Any, Any]:
    """What the two queries say: rows by currency, and by call."""
    file = tmp_path / "invoice.csv"
    with file.open("w") as lines:
        csv.writer(lines).writerows([Bill._fields, *invoice])
    parts = sorted(out.glob("cdr/*/*.parquet"))
    files = {"invoice": file}
    sources = tables(Output(out))
    clock = Clock("Asia/Shanghai", "submit")
    with opened(
        Records(tuple(parts), ()),
        GROUP_RECORD,
        sources,
        files,
        clock=clock,
        memory_limit="400MB",
        scratch=tmp_path,
    ) as session:
        return rows(session, BY_CURRENCY), rows(session, BY_CALL)


def bill_of(
    out: Path, tmp_path: Path, zone: str = "Asia/Shanghai", date_by: DateBy = "submit"
) -> dict[tuple[str | None, str], tuple[Decimal | None, int]]:
    """The month's bill: (month, currency) -> (cost, charged calls)."""
    parts = sorted(out.glob("cdr/*/*.parquet"))
    with opened(
        Records(tuple(parts), ()),
        GROUP_RECORD,
        tables(Output(out)),
        {},
        clock=Clock(zone, date_by),
        memory_limit="400MB",
        scratch=tmp_path,
    ) as session:
        found = rows(session, MONTHS_BILL)
    assert {row["account"] for row in found} == {"default"}
    bill = {(row["month"], row["currency"]): (row["cost"], row["charged_calls"]) for row in found}
    assert len(bill) == len(found), "a row for each month and currency"
    return bill


def test_the_months_bill_is_what_a_perfect_invoice_comes_to(out: Path, tmp_path: Path) -> None:
    """Of Shanghai's months: the calls a second before and after each edge are of their own."""
    bill = bill_of(out, tmp_path)
    assert bill == {
        ("2026-10", "USD"): (Decimal(5), 1),
        ("2026-11", "USD"): (Decimal("75.13"), 301),  # 75.125, half-up
        ("2026-12", "USD"): (Decimal(7), 1),
        (None, "USD"): (Decimal(11), 1),
    }
    invoiced = sum((Decimal(line.amount) for line in PERFECT), Decimal(0))
    assert (invoiced, len(PERFECT)) == (TOTAL, 301)


def test_the_months_bill_goes_by_the_clock_that_is_chosen(out: Path, tmp_path: Path) -> None:
    """In UTC November begins eight hours later: the calls of its first 8 h are October's there."""
    early = [Decimal(f"0.{100 + n}5") for n in range(4)]  # at 0, 2, 4 and 6 h: 0.1005 … 0.1035
    bill = bill_of(out, tmp_path, "UTC")
    assert bill["2026-10", "USD"] == (Decimal(5) + Decimal("0.41"), 5)  # 0.408
    # Shanghai's December begins within UTC's November, with the call of 7.
    assert sum(early) == Decimal("0.408")
    assert bill["2026-11", "USD"] == (Decimal("81.72"), 298)  # 75.125 - 0.408 + 7 = 81.717
    assert ("2026-12", "USD") not in bill
    # All calls hung up on 2 November, the plain call's own time.
    whole = TOTAL + 5 + 7 + 11
    assert bill_of(out, tmp_path, date_by="hangup") == {
        ("2026-11", "USD"): (whole.quantize(Decimal("0.01"), ROUND_HALF_UP), 304)
    }


def test_a_spoilt_invoice_differs_from_the_months_bill_by_what_was_spoilt(tmp_path: Path) -> None:
    """Two currencies and a credit: each month and currency by itself, nothing added across."""
    euro = call(NOVEMBER, "0.005") | {"currency": "EUR"}
    credit = call(DECEMBER - SECOND, "-0.25")
    made(tmp_path / "out", [*CALLS[:10], euro, euro, credit, call(DECEMBER, "9")])
    bill = bill_of(tmp_path / "out", tmp_path)
    # 0.1005 + … + 0.1095 = 1.05; less 0.25.
    assert bill == {
        ("2026-11", "EUR"): (Decimal("0.01"), 2),
        ("2026-11", "USD"): (Decimal("0.80"), 11),
        ("2026-12", "USD"): (Decimal(9), 1),
    }
    lines = [*PERFECT[:10], PERFECT[0], Bill("7", "2026-11-30 23:59:59", "-0.25", "USD")]
    spoilt = sum((Decimal(line.amount) for line in lines), Decimal(0))
    cost, calls = bill["2026-11", "USD"]
    assert cost is not None
    assert spoilt - cost == Decimal("0.1005"), "the line that is there twice"
    assert len(lines) - calls == 1


def told(currency: str, **figures: object) -> dict[str, object]:
    """A row by currency; what isn't named is 0."""
    money = ("billed", "found", "billed_beyond", "billed_for_other_days")
    counts = ("lines", "repeated_lines", "calls", "free_calls", "lines_of_other_days")
    empty: dict[str, object] = {**dict.fromkeys(counts, 0), **dict.fromkeys(money, Decimal(0))}
    return {"currency": currency, **empty, **figures}


def test_nothing_differs_in_a_perfect_invoice(out: Path, tmp_path: Path) -> None:
    by_currency, by_call = asked(out, tmp_path, PERFECT)
    total = Decimal("75.13")  # 75.125, half-up
    figures = {"lines": 301, "calls": 301, "billed": total, "found": total, "free_calls": 2}
    assert by_currency == [told("USD", **figures)]
    assert by_call == []


def test_a_cent_and_the_way_of_writing_make_no_difference(out: Path, tmp_path: Path) -> None:
    """Rounded to three digits, in lower case, and a line of nothing for a free call."""
    lines = [one._replace(amount=f"{Decimal(one.amount):.3f}", currency=" usd") for one in PERFECT]
    lines.append(Bill(f"{COUNT + 3:019}", "2026-11-01T00:00:00+08:00", "0.00", "USD"))
    by_currency, by_call = asked(out, tmp_path, lines)
    assert by_call == []
    (row,) = by_currency
    assert (row["lines"], row["calls"], row["free_calls"]) == (302, 301, 2)


def test_a_spoilt_invoice_is_counted_line_by_line(out: Path, tmp_path: Path) -> None:
    """94 lines twice, one amount a cent off, one half a cent, one less, one missing, one more."""
    lines = [*PERFECT, *PERFECT[:94]]
    lines[100] = lines[100]._replace(amount="0.2105")  # 0.2005 and a cent
    lines[101] = lines[101]._replace(amount="0.2065")  # 0.2015 and half a cent
    lines[102] = lines[102]._replace(amount="0.19751")  # 0.2025 and not quite half a cent less
    del lines[200]  # 0.3005
    lines.append(Bill("9" * 20, "2026-11-30 23:59:59", "7.25", "USD"))
    by_currency, by_call = asked(out, tmp_path, lines)
    assert Counter(row["difference"] for row in by_call) == {
        "billed more than once": 94,
        "another amount": 2,
        "not billed": 1,
        "no call of the month": 1,
    }
    by_id = {row["voice_id"]: row for row in by_call}
    assert by_id.keys() == {
        *(f"{n:019}" for n in (*range(94), 100, 101, 200)),
        "9" * 20,
    }
    first = by_id[f"{0:019}"]
    assert (first["lines"], first["billed"], first["found"]) == (
        2,
        Decimal("0.201"),
        Decimal("0.1005"),
    )
    # The 94 cost 0.1005 … 0.1935: 94 * 0.147 = 13.818.  All: 13.818 + 0.01 + 0.005 - 0.00499
    # - 0.3005 + 7.25 = 20.77751 beyond the 75.125.
    assert by_currency == [
        told(
            "USD",
            lines=395,
            repeated_lines=94,
            calls=301,
            billed=Decimal("95.90"),
            found=Decimal("75.13"),
            billed_beyond=Decimal("20.78"),
            free_calls=2,
        )
    ]


def test_another_currency_is_seen_in_every_line(out: Path, tmp_path: Path) -> None:
    lines = [one._replace(currency="EUR") for one in PERFECT]
    by_currency, by_call = asked(out, tmp_path, lines)
    total = Decimal("75.13")
    assert by_currency == [
        told("EUR", lines=301, billed=total, billed_beyond=total),
        told("USD", calls=301, found=total, billed_beyond=-total, free_calls=2),
    ]
    assert Counter(row["difference"] for row in by_call) == {"another currency": 301}
    assert {(row["billed_in"], row["found_in"]) for row in by_call} == {("EUR", "USD")}


def test_lines_of_other_days_are_apart(out: Path, tmp_path: Path) -> None:
    """The calls just outside of the month, one without a day, and one with a day of no form."""
    others = [
        Bill(f"{COUNT:019}", "2026-10-31 23:59:59", "5", "USD"),
        Bill(f"{COUNT + 2:019}", "2026-12-01 00:00:00", "7", "USD"),
        Bill(f"{COUNT + 5:019}", "", "11", "USD"),
        Bill("8" * 20, "03.11.2026", "2", "USD"),
    ]
    by_currency, by_call = asked(out, tmp_path, [*PERFECT, *others])
    (row,) = by_currency
    assert (row["lines"], row["billed_beyond"]) == (301, 0)
    assert (row["lines_of_other_days"], row["billed_for_other_days"]) == (4, Decimal(25))
    assert by_call == []
