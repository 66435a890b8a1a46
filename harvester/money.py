"""Money as it is kept and added up: decimals of one scale, sums in whole units of 10^-8.

Whatever reads, stores, sums or compares amounts has its digits from here, SQL among it.
"""

from __future__ import annotations

from decimal import Decimal

SCALE = 8
"""Digits behind the point, of an amount in the data set as of a unit."""
PRECISION = 18
"""Digits of an amount in the data set, those behind the point among them."""
WHOLE = 10**SCALE
"""Units of 1."""
UNIT = Decimal(1).scaleb(-SCALE)


def in_units(amount: Decimal) -> int:
    """An amount of at most `SCALE` digits behind the point, in units of 10^-8."""
    return int(amount.scaleb(SCALE))


def of_units(units: int) -> Decimal:
    """The amount that `units` of 10^-8 are, with all its digits behind the point."""
    return Decimal(units).scaleb(-SCALE)
