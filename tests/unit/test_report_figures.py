"""Figures add up field by field, and are divided and rounded at the very end."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import pytest

from harvester.report.figures import Figures, minutes, percentile, quotient

NUMBERS = [field.name for field in fields(Figures) if field.name != "cost"]


def test_every_figure_is_added_to_its_own() -> None:
    one = Figures(**{name: 10**n for n, name in enumerate(NUMBERS)}, cost={"USD": Decimal("0.1")})
    more = Figures(
        **{name: 2 * 10**n for n, name in enumerate(NUMBERS)},
        cost={"USD": Decimal("0.2"), "EUR": Decimal(5)},
    )
    one.add(more)
    assert [getattr(one, name) for name in NUMBERS] == [3 * 10**n for n in range(len(NUMBERS))]
    assert one.cost == {"USD": Decimal("0.3"), "EUR": Decimal(5)}
    assert more.cost == {"USD": Decimal("0.2"), "EUR": Decimal(5)}


def test_each_measure_has_its_own_two_figures() -> None:
    found = Figures(
        calls=9,
        answered=3,
        timed=7,
        call_s=100,
        charged_s=200,
        pdd_calls=3,
        pdd_ms=10_000,
        judged=7,
        reached=5,
    )
    assert found.minutes == Decimal("1.7")
    assert found.charged_minutes == Decimal("3.3")
    assert found.asr == Decimal("33.33")
    assert found.ner == Decimal("71.43")
    assert found.acd_s == Decimal("14.3")
    assert found.pdd_s == Decimal("3.333")


def test_nothing_is_divided_by_nothing() -> None:
    none = Figures()
    assert (none.asr, none.ner, none.acd_s, none.pdd_s) == (None, None, None, None)
    assert quotient(5, 0, Decimal(1)) is None
    assert quotient(0, 5, Decimal(1)) == 0
    assert minutes(0) == 0


@pytest.mark.parametrize(
    ("counts", "percent", "value"),
    [
        ({}, 50, None),
        ({7: 1}, 50, 7),
        ({7: 1}, 100, 7),
        ({30: 1, 10: 1, 20: 1, 40: 1}, 50, 20),
        ({10: 1, 20: 1, 30: 1}, 50, 20),
        ({10: 19, 20: 1}, 95, 10),
        ({10: 18, 20: 2}, 95, 20),
        ({10: 1, 20: 99}, 1, 10),
        ({10: 1, 20: 99}, 2, 20),
        ({10: 1, 20: 99}, 100, 20),
    ],
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    counts: dict[int, int], percent: int, value: int | None
) -> None:
    assert percentile(counts, percent) == value
