"""`audit --fail-above`: what the vendor may charge beyond a rule before the exit code says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from harvester.errors import UsageError
from harvester.money import SCALE

_LIMIT = re.compile(
    rf"\s*([A-Za-z]{{3}}|settled|-)\s*=\s*([0-9]{{1,18}}(?:\.[0-9]{{1,{SCALE}}})?)\s*"
)


class Judged(Protocol):
    """A rule's name, and by currency what was charged beyond it."""

    @property
    def rule(self) -> str: ...

    @property
    def over(self) -> Mapping[str, Decimal]: ...


@dataclass(frozen=True, slots=True)
class Excess:
    """A rule whose amount over is above the limit of its currency."""

    rule: str
    currency: str
    over: Decimal
    limit: Decimal


def parse_limits(texts: Sequence[str]) -> dict[str, Decimal]:
    """Limits by currency in capitals, of texts such as "USD=50" or "USD=50,EUR=20.5".

    Raises UsageError for what is no limit, and for a currency that is named twice.
    """
    limits: dict[str, Decimal] = {}
    for part in (piece for text in texts for piece in text.split(",")):
        found = _LIMIT.fullmatch(part)
        if found is None:
            raise UsageError(
                f"--fail-above {part}: write currency and amount, such as USD=50 or "
                "USD=50,EUR=20.50.",
                code="usage.amount",
            )
        # Also "settled" (the settlement currency), "odd" and "-": as the screen names them.
        currency = found[1].upper()
        if currency in limits:
            raise UsageError(
                f"--fail-above names {currency} twice: give one amount for it.", code="usage.amount"
            )
        limits[currency] = Decimal(found[2])
    return limits


def above(verdicts: Iterable[Judged], limits: Mapping[str, Decimal]) -> tuple[Excess, ...]:
    """Every rule and currency whose amount over is above its limit.

    Rules are compared one by one: a record may break several, so their sum would count it twice.
    """
    return tuple(
        Excess(verdict.rule, currency, over, limits[currency.upper()])
        for verdict in verdicts
        for currency, over in sorted(verdict.over.items())
        if over > limits.get(currency.upper(), over)
    )
