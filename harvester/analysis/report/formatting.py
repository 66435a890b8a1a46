"""Figures as people read them.  Money stays a decimal until it is text; nothing here is a float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from harvester.analysis.phrases import meaning
from harvester.analysis.report.figures import Between, Figures, quotient
from harvester.analysis.rounding import CENT, TENTH, rounded
from harvester.state.id_counts import COUNTS, BillingDay
from harvester.vendor_clock import CLOCK

NONE = "-"
UNNAMED = "(none)"
_ALL = Decimal(100)


def count(number: int) -> str:
    """12345 -> "12,345"."""
    return f"{number:,}"


def pending(ids: int, retrying: int) -> str:
    """12, 9 -> "12 pending, 9 of them dead letters that are fetched again"."""
    again = f", {count(retrying)} of them dead letters that are fetched again"
    return f"{count(ids)} pending{again if retrying else ''}"


def money(amount: Decimal) -> str:
    """An amount to the cent; one that a cent is too coarse for keeps two digits of its own."""
    if amount and abs(amount) < CENT:
        return f"{rounded(amount, Decimal(1).scaleb(amount.adjusted() - 1)):f}"
    return f"{rounded(amount, CENT):,f}"


def exact(amount: Decimal) -> str:
    """An amount with all its digits but trailing zeros: "0.0825", "12.5", "7"."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def moneys(amounts: Mapping[str, Decimal]) -> str:
    """Amounts by currency: "12.50 EUR, 3.00 USD"."""
    told = (f"{money(amount)} {currency}" for currency, amount in sorted(amounts.items()))
    return ", ".join(told) or NONE


def moved(up: Mapping[str, Decimal], down: Mapping[str, Decimal], currency: str) -> str:
    """What came on top in a currency, and what was taken off: "+12.50, -3.00"."""
    zero = Decimal(0)
    return f"+{money(up.get(currency, zero))}, -{money(down.get(currency, zero))}"


BILLING_HEADS = ("listed at", "calls", *(name for name in COUNTS if name != "listed"))
"""Of a table of billing days, behind the day."""


def days_complete(days: Sequence[BillingDay]) -> str:
    """How many of these days are complete, and what to do where that can't be known."""
    told = f"{count(sum(one.is_complete for one in days))} of {count(len(days))} days complete"
    behind = [one.day for one in days if one.listed_ms is not None and not one.is_counted]
    if not behind:
        return told
    command = f"harvester reconcile --from {min(behind)} --to {max(behind)}"
    return f"{told}; not counted since last listed: {count(len(behind))} (`{command}`)"


def billing_day(one: BillingDay) -> list[str]:
    """A row of that table."""
    at = "not for sure"
    if one.listed_ms is not None:
        at = f"{datetime.fromtimestamp(one.listed_ms / 1000, UTC).astimezone(CLOCK):%Y-%m-%d %H:%M}"
    if one.counted_ms is None:
        return [at, *(NONE for _ in COUNTS)]
    return [at, *(count(getattr(one, name)) for name in COUNTS)]


def not_folded(changes: int | None) -> str:
    """Where changes are: in the rows of the files, or beside them alone."""
    if changes is None:
        return "how many are folded into the files of cdr/ is not known now"
    if not changes:
        return "all are folded into the files of cdr/"
    return f"{count(changes)} not folded into the files of cdr/; `harvester compact` does that"


def tenths(number: Decimal) -> str:
    """1234.56 -> "1,234.6"."""
    return f"{rounded(number, TENTH):,f}"


def percent(number: Decimal | None) -> str:
    """59.3417 -> "59.3 %"; "-" where there is none."""
    return NONE if number is None else f"{tenths(number)} %"


def percents(ratio: Between | None) -> str:
    """As `percent`; of a ratio that is known within bounds only, "60.2 to 100 %".

    The bounds are rounded outwards, so that they hold.
    """
    if ratio is None or ratio.is_exact:
        return percent(None if ratio is None else ratio.low)
    low = ratio.low.quantize(TENTH, ROUND_FLOOR)
    high = ratio.high.quantize(TENTH, ROUND_CEILING)
    return f"{low} to {min(_ALL, high)} %"


def unjudged(total: Figures) -> str:
    """Behind NER: which share of the seizures can't be judged; "" for none."""
    share = quotient(100 * total.unjudged, total.seized)
    return f"; {percent(share)} of the seizures can't be judged" if share else ""


def settled(total: Figures) -> str:
    """Beside the sum of settle_pay: its digits, and what it is."""
    return (
        f"exactly {exact(total.settle_pay)}; settle_pay of {count(total.settled)} calls, in the "
        "account's own currency"
    )


def seconds(number: Decimal | None) -> str:
    """2.999 -> "3.0 s"; "-" where there is none."""
    return NONE if number is None else f"{tenths(number)} s"


def milliseconds(number: int | None) -> str:
    """2999 -> "3.0 s"."""
    return seconds(None if number is None else Decimal(number) / 1000)


def change(before: Decimal, after: Decimal) -> str:
    """By how much a price moved: "+12.5 %"; "-" from zero."""
    return NONE if not before else f"{rounded((after - before) * 100 / before, TENTH):+} %"


def days_between(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def plain(text: str) -> str:
    """What others wrote, without characters that act on whoever shows them."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def named(text: str) -> str:
    """A destination or a code, as `plain`; "(none)" where the record says none."""
    return plain(text) or UNNAMED


def coded(code: str) -> str:
    """A termination code with its words: "486 Busy Here"."""
    return " ".join(filter(None, (named(code), meaning(code))))


def along(days: Sequence[date]) -> tuple[str, ...]:
    """The first, the middle and the last day."""
    if len(days) < 3:
        return tuple(map(_short, days))
    return _short(days[0]), _short(days[len(days) // 2]), _short(days[-1])


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"
