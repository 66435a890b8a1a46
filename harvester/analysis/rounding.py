"""The one way in which a figure is rounded: once, where it is shown, and half up.

Half up is commercial rounding: 2.125 is 2.13 and -2.125 is -2.13, as DuckDB's cast to
DECIMAL(38, 2) has it too.  Whatever is shown is rounded from the exact figure, never from another
rounded one: 5,477 of 5,950 are 92.0504 per cent, and so 92.1.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
TENTH = Decimal("0.1")


def rounded(number: Decimal, step: Decimal) -> Decimal:
    """`number` to a multiple of `step` (a power of ten), half up; of below zero the half down."""
    return number.quantize(step, ROUND_HALF_UP)
