"""Amounts and their units of 10^-8: no digit is lost on the way there and back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from harvester import money


@pytest.mark.parametrize(
    ("amount", "units"),
    [
        ("0", 0),
        ("1", 100_000_000),
        ("0.00000001", 1),
        ("-0.00000001", -1),
        ("12.5", 1_250_000_000),
        ("9999999999.99999999", 999_999_999_999_999_999),
    ],
)
def test_an_amount_is_a_whole_number_of_units(amount: str, units: int) -> None:
    assert money.in_units(Decimal(amount)) == units
    back = money.of_units(units)
    assert back == Decimal(amount)
    assert back.as_tuple().exponent == -8, "all its digits are shown"


def test_the_largest_amount_of_the_data_set_has_18_digits_8_of_them_behind_the_point() -> None:
    assert (money.PRECISION, money.SCALE) == (18, 8)
    assert Decimal("0.00000001") == money.UNIT
    assert money.in_units(Decimal(1)) == money.WHOLE
