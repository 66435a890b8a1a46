"""`audit --fail-above`: which texts are limits, and what is above them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest

from harvester.analysis.audit.limits import Excess, above, parse_limits
from harvester.errors import UsageError


@dataclass
class Judged:
    rule: str
    over: dict[str, Decimal]


@pytest.mark.parametrize(
    ("texts", "limits"),
    [
        ([], {}),
        (["USD=50"], {"USD": Decimal(50)}),
        (["USD=50,EUR=20.5"], {"USD": Decimal(50), "EUR": Decimal("20.5")}),
        (["USD=50", "eur = 0.00000001"], {"USD": Decimal(50), "EUR": Decimal("0.00000001")}),
        (["settled=0,-=1"], {"SETTLED": Decimal(0), "-": Decimal(1)}),
    ],
)
def test_limits_are_a_list_or_given_again_and_again(
    texts: list[str], limits: dict[str, Decimal]
) -> None:
    assert parse_limits(texts) == limits


@pytest.mark.parametrize(
    "text",
    ["", "USD", "50", "USD=", "USD=-1", "USD=1e3", "USD=nan", "USD=1.123456789", "USD=1,", "$=5"],
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--fail-above .*write currency and amount"):
        parse_limits([text])


def test_a_currency_has_one_limit() -> None:
    with pytest.raises(UsageError, match="names USD twice"):
        parse_limits(["USD=1", "usd=2"])


def test_above_is_what_exceeds_the_limit_of_its_currency_rule_by_rule() -> None:
    verdicts = [
        Judged("a", {"USD": Decimal("50.01"), "EUR": Decimal(99)}),
        Judged("b", {"USD": Decimal(50)}),
        Judged("c", {}),
        Judged("d", {"usd": Decimal(51)}),
    ]
    assert above(verdicts, {"USD": Decimal(50)}) == (
        Excess("a", "USD", Decimal("50.01"), Decimal(50)),
        Excess("d", "usd", Decimal(51), Decimal(50)),
    )
    assert above(verdicts, {}) == ()
