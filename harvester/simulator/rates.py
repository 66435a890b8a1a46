"""What a call costs: a rate sheet by destination and day, made up of the seed or read from a file.

A price holds for a destination from a day on, on the vendor's clock (+08:00), until the next one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from harvester.errors import UsageError
from harvester.simulator.dice import Dice
from harvester.simulator.places import PLACES, Place

BILL_PERIODS = ((60, 60), (20, 20), (1, 1), (6, 6), (60, 1), (30, 6))
PRICE_DAYS = 30
"""A price of the made-up sheet holds for so many days, counted for each destination by itself."""
_STEPS = 41  # from 20 % below to 20 % above the destination's usual price, by whole per cent
_IN_EUROS = 2  # of the dozen destinations
HEADER = ("destination", "from", "rate", "increment", "currency")
_RATE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_INCREMENT = re.compile(r"([0-9]{1,4})(?:\+([0-9]{1,4}))?")
_CURRENCY = re.compile(r"[A-Z]{3}")


class Rate(NamedTuple):
    """A price a minute, and the periods that it is charged in."""

    rate: Decimal
    initial_s: int
    increment_s: int
    currency: str


class Line(NamedTuple):
    """A line of a sheet: from a day on, a destination has a rate."""

    destination: str
    """As the vendor writes it ("India(Mumbai)"), its country, or the first digits of a number."""
    first_day: date
    rate: Rate


@dataclass(frozen=True, slots=True)
class Sheet:
    """Lines of a file; what none of them is for has the made-up price."""

    lines: tuple[Line, ...]

    def rate(self, place: Place, callee: str, day: date) -> Rate | None:
        """The rate of a call to `callee` on `day`; None if no line is for it.

        The destination as the vendor writes it comes first, then the longest prefix, then the
        country; of several lines for the same the latest that is in force.
        """
        found = [
            (rank, line.first_day, line.rate)
            for line in self.lines
            if line.first_day <= day and (rank := _rank(line.destination, place, callee))
        ]
        return max(found, key=lambda one: one[:2])[2] if found else None


def _rank(destination: str, place: Place, callee: str) -> int:
    if destination == place.code:
        return 100
    if destination.isdigit():
        return 1 + len(destination) if callee.startswith(destination) else 0
    return 1 if destination == place.country else 0


@lru_cache(maxsize=4096)
def made_up_rate(seed: int, place: Place, day: date) -> Rate:
    """The rate of `place` on `day` as the seed has it: another one every 30 days."""
    dice = Dice(seed, place.code, b"rate")
    usual, shift = dice.roll(90_000) + 1_000, dice.roll(PRICE_DAYS)
    price = (day.toordinal() + shift) // PRICE_DAYS
    percent = 80 + Dice(seed, f"{place.code}/{price}", b"price").roll(_STEPS)
    rank = _order(seed).index(place.code)
    return Rate(
        micros(usual * percent // 100),
        *BILL_PERIODS[rank % len(BILL_PERIODS)],
        "EUR" if rank < _IN_EUROS else "USD",
    )


@lru_cache(maxsize=64)
def _order(seed: int) -> tuple[str, ...]:
    """The destinations in an order of the seed's own, which deals out periods and currencies."""
    return tuple(
        sorted((one.code for one in PLACES), key=lambda code: Dice(seed, code, b"deal").share())
    )


def micros(millionths: int) -> Decimal:
    """Millionths as an amount with six decimals."""
    return Decimal(f"{millionths // 1_000_000}.{millionths % 1_000_000:06d}")


def parse_sheet(lines: Iterable[str], name: str) -> Sheet:
    """Read a sheet: CSV with a heading, its columns those of HEADER in any order.

    `destination` may be called `prefix`.  Raises UsageError naming file and line.
    """
    rows = csv.DictReader(lines, restval="", restkey="…")
    heading = {"destination" if one == "prefix" else one for one in rows.fieldnames or ()}
    if heading != set(HEADER):
        raise UsageError(f"{name}: the columns of a rate sheet are {', '.join(HEADER)}.")
    return Sheet(tuple(_line(row, f"{name}:{rows.line_num}") for row in rows))


def _line(row: Mapping[str, object], where: str) -> Line:
    told = {key: value.strip() for key, value in row.items() if isinstance(value, str)}
    if len(told) < len(row):
        raise UsageError(f"{where}: more cells than columns. A rate has a point, not a comma.")
    destination = told.get("prefix", told.get("destination", ""))
    rate, increment = _RATE.fullmatch(told["rate"]), _INCREMENT.fullmatch(told["increment"])
    if rate is None or increment is None or not int(increment[2] or increment[1]):
        raise UsageError(
            f"{where}: a rate has up to six decimals, such as 0.0125, and an increment is 60 or "
            "60+6 seconds."
        )
    if not destination or not _CURRENCY.fullmatch(told["currency"]):
        raise UsageError(
            f"{where}: a line needs a destination (or a prefix) and a currency such as USD."
        )
    try:
        first_day = date.fromisoformat(told["from"])
    except ValueError as exc:
        raise UsageError(f"{where}: from is a day such as 2026-11-15.") from exc
    initial_s = int(increment[1])
    periods = initial_s, int(increment[2] or initial_s)
    return Line(destination, first_day, Rate(Decimal(told["rate"]), *periods, told["currency"]))
