"""Figures as people read them: rounded for the eye, and never to a nothing that is none."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from harvester.analysis.report import formatting
from harvester.analysis.report.figures import Between
from harvester.state.id_counts import BillingDay


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("0", "0.00"),
        ("0.01", "0.01"),
        ("-0.01", "-0.01"),
        ("0.00999999", "0.0100"),
        ("0.00123456", "0.0012"),
        ("-0.00123456", "-0.0012"),
        ("0.00000001", "0.000000010"),
        ("0.015", "0.02"),
        ("2.125", "2.13"),
        ("-2.125", "-2.13"),
        ("2.1249999", "2.12"),
        ("0.00125", "0.0013"),
        ("12.3449", "12.34"),
        ("1234567.5", "1,234,567.50"),
    ],
)
def test_an_amount_is_told_to_the_cent_and_a_smaller_one_to_two_digits(
    amount: str, told: str
) -> None:
    assert formatting.money(Decimal(amount)) == told


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("0.08250000", "0.0825"),
        ("12.50", "12.5"),
        ("7.00000000", "7"),
        ("100", "100"),
        ("0E-8", "0"),
        ("1E+3", "1000"),
        ("-0.10", "-0.1"),
    ],
)
def test_an_exact_amount_keeps_every_digit_but_trailing_zeros(amount: str, told: str) -> None:
    assert formatting.exact(Decimal(amount)) == told


def test_amounts_stand_in_the_order_of_their_currencies() -> None:
    amounts = {"USD": Decimal(3), "EUR": Decimal("12.5")}
    assert formatting.moneys(amounts) == "12.50 EUR, 3.00 USD"
    assert formatting.moneys({}) == "-"


def test_numbers() -> None:
    assert formatting.count(1_234_567) == "1,234,567"
    assert formatting.tenths(Decimal("1234.5")) == "1,234.5"
    assert formatting.tenths(Decimal("1234.25")) == "1,234.3"
    assert formatting.percent(Decimal("59.3417")) == "59.3 %"
    assert formatting.percent(Decimal(547_700) / 5_950) == "92.1 %"  # 92.0504...
    assert formatting.percent(Decimal("92.05")) == "92.1 %"
    assert formatting.percent(Decimal("92.0499")) == "92.0 %"
    assert formatting.seconds(Decimal("1234.56")) == "1,234.6 s"
    assert formatting.milliseconds(2999) == "3.0 s"
    assert formatting.milliseconds(0) == "0.0 s"
    assert (formatting.percent(None), formatting.seconds(None), formatting.milliseconds(None)) == (
        "-",
        "-",
        "-",
    )


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        ("60.2185", "100", "60.2 to 100 %"),
        ("60.29", "71.01", "60.2 to 71.1 %"),  # outwards: bounds hold
        ("99.99", "100", "99.9 to 100 %"),
        ("0", "100", "0.0 to 100 %"),
        ("92.0504", "92.0504", "92.1 %"),
        ("100", "100", "100.0 %"),
    ],
)
def test_a_ratio_is_told_as_its_bounds(low: str, high: str, told: str) -> None:
    assert formatting.percents(Between(Decimal(low), Decimal(high))) == told
    assert formatting.percents(None) == "-"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("0.01", "0.012", "+20.0 %"),
        ("0.012", "0.01", "-16.7 %"),
        ("2", "2", "+0.0 %"),
        ("4", "4.005", "+0.1 %"),  # 0.125
        ("400", "400.2", "+0.1 %"),  # 0.05
        ("0", "1", "-"),
    ],
)
def test_a_change_of_price_is_told_in_per_cent_of_the_price_before(
    before: str, after: str, told: str
) -> None:
    assert formatting.change(Decimal(before), Decimal(after)) == told


def test_pending_ids_say_which_of_them_are_retried() -> None:
    assert formatting.pending(1_200, 0) == "1,200 pending"
    assert formatting.pending(12, 9) == (
        "12 pending, 9 of them dead letters that are fetched again"
    )


def test_days() -> None:
    first, last = date(2026, 10, 31), date(2026, 11, 2)
    days = formatting.days_between(first, last)
    assert days == [first, date(2026, 11, 1), last]
    assert formatting.days_between(last, last) == [last]
    assert formatting.days_between(last, first) == []
    assert formatting.along(days) == ("31 Oct", "1 Nov", "2 Nov")
    assert formatting.along([first, last]) == ("31 Oct", "2 Nov")
    assert formatting.along([*days, date(2026, 11, 3)]) == ("31 Oct", "2 Nov", "3 Nov")


def test_what_others_wrote_is_shown_without_what_acts() -> None:
    assert (
        formatting.named("a\x1b[2J\u202eb")
        == "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b"
    )
    assert formatting.named("") == "(none)"


def test_only_days_that_are_listed_can_be_behind_in_being_counted() -> None:
    never = BillingDay(day="2026-11-01")
    listed = BillingDay(day="2026-11-02", listed_ms=5)
    older = BillingDay(day="2026-11-03", listed_ms=5, counted_ms=4)
    whole = BillingDay(day="2026-11-04", listed_ms=5, counted_ms=6, listed=1, delivered=1)
    assert formatting.days_complete([never, whole]) == "1 of 2 days complete"
    assert formatting.days_complete([never, listed, older, whole]) == (
        "1 of 4 days complete; not counted since last listed: 2 "
        "(`harvester reconcile --from 2026-11-02 --to 2026-11-03`)"
    )
