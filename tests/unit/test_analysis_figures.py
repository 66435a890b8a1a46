"""Figures add up field by field, and are divided and rounded at the very end."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import pytest

from harvester.analysis.report.figures import Between, Figures, percentile, quotient

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
        calls=12,
        answered=3,
        timed=7,
        call_s=100,
        charged_s=200,
        pdd_calls=3,
        pdd_ms=10_000,
        seized=8,
        judged=7,
        reached=5,
        effective=4,
        recoverable=3,
    )
    assert found.minutes == Decimal(100) / 60
    assert found.charged_minutes == Decimal(200) / 60
    assert found.asr == Decimal("37.5")  # 3 / 8
    assert found.abr == Decimal(25)  # 3 / 12
    assert found.ner == Between(Decimal("62.5"), Decimal(75))  # 5 / 8 to 6 / 8
    assert found.seer == Between(Decimal(80), Decimal(100))  # 4 / 5 to 5 / 5
    assert found.unjudged == 1
    assert found.acd_s == Decimal(100) / 7
    assert found.pdd_s == Decimal(10) / 3


def test_nothing_is_divided_by_nothing() -> None:
    none = Figures()
    measures = (none.asr, none.abr, none.ner, none.seer, none.acd_s, none.pdd_s)
    assert measures == (None,) * 6
    assert quotient(5, 0) is None
    assert quotient(0, 5) == 0
    assert none.minutes == 0


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
