"""Figures as people read them.  Money stays a decimal until it is text; nothing here is a float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

NONE = "-"
UNNAMED = "(none)"
_CENT = Decimal("0.01")


def count(number: int) -> str:
    """12345 -> "12,345"."""
    return f"{number:,}"


def pending(ids: int, retrying: int) -> str:
    """12, 9 -> "12 pending, 9 of them dead letters whose retry is not finished"."""
    again = f", {count(retrying)} of them dead letters whose retry is not finished"
    return f"{count(ids)} pending{again if retrying else ''}"


def money(amount: Decimal) -> str:
    """An amount to the cent; one that a cent is too coarse for keeps two digits of its own."""
    if amount and abs(amount) < _CENT:
        return f"{amount.quantize(Decimal(1).scaleb(amount.adjusted() - 1)):f}"
    return f"{amount.quantize(_CENT):,f}"


def exact(amount: Decimal) -> str:
    """An amount with all its digits but trailing zeros: "0.0825", "12.5", "7"."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def moneys(amounts: Mapping[str, Decimal]) -> str:
    """Amounts by currency: "12.50 EUR, 3.00 USD"."""
    told = (f"{money(amount)} {currency}" for currency, amount in sorted(amounts.items()))
    return ", ".join(told) or NONE


def tenths(number: Decimal) -> str:
    """A number with its decimals, thousands apart."""
    return f"{number:,f}"


def percent(number: Decimal | None) -> str:
    """59.3417 -> "59.3 %"; "-" where there is none."""
    return NONE if number is None else f"{number:.1f} %"


def seconds(number: Decimal | None) -> str:
    """2.999 -> "3.0 s"; "-" where there is none."""
    return NONE if number is None else f"{number:,.1f} s"


def milliseconds(number: int | None) -> str:
    """2999 -> "3.0 s"."""
    return seconds(None if number is None else Decimal(number) / 1000)


def change(before: Decimal, after: Decimal) -> str:
    """By how much a price moved: "+12.5 %"; "-" from zero."""
    return NONE if not before else f"{(after - before) * 100 / before:+.1f} %"


def days_between(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def plain(text: str) -> str:
    """What others wrote, without characters that act on whoever shows them."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def named(text: str) -> str:
    """A destination or a code, as `plain`; "(none)" where the record says none."""
    return plain(text) or UNNAMED


def along(days: Sequence[date]) -> tuple[str, ...]:
    """The first, the middle and the last day."""
    if len(days) < 3:
        return tuple(map(_short, days))
    return _short(days[0]), _short(days[len(days) // 2]), _short(days[-1])


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"
