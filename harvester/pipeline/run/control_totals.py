"""The books of a run: five equations that must balance.

Plain arithmetic over counts that were taken in different places: the list's child process, the
ledger's bitmaps, the workers, and the rows read back from Parquet.  A difference is never
explained away; it ends the run with exit code 6.
"""

from __future__ import annotations

import msgspec

from harvester.dataset.usage import UsageTotals
from harvester.money import SCALE


class Difference(msgspec.Struct, frozen=True):
    """An equation that does not hold."""

    control_totals: str
    left: str
    right: str


def check_input(
    *,
    lines: int,
    bad: int,
    duplicate: int,
    distinct: int,
    resolved_before: int,
    listed: int,
    too_young: int,
) -> list[Difference]:
    """lines = bad + duplicate + distinct; distinct = settled before + listed + too young."""
    of_distinct = resolved_before + listed + too_young
    return [
        *_equal("input", "lines", lines, "bad + duplicate + distinct", bad + duplicate + distinct),
        *_equal("input", "distinct", distinct, "resolved + listed + too young", of_distinct),
    ]


def check_list(
    *, rows: int, delivered: int, open_: int, dead: int, resolved_bits: int, refetched: int = 0
) -> list[Difference]:
    """listed + left over + again = delivered + open + dead + refetched + pending, pending counted
    in the bitmaps.
    """
    pending = rows - resolved_bits
    total = delivered + open_ + dead + refetched + pending
    also = "refetched + " if refetched else ""
    return _equal("list", "rows", rows, f"delivered + open + dead + {also}pending", total)


def check_again(
    *, again: int, compared: int, forgotten: int, failed: int, in_journal: int
) -> list[Difference]:
    """ids fetched again = compared + forgotten + failed + in the journal."""
    total = compared + forgotten + failed + in_journal
    return _equal("again", "again", again, "compared + forgotten + failed + in journal", total)


def check_run(
    *, begun: int, delivered: int, open_: int, dead: int, deferred: int, cut_off: int
) -> list[Difference]:
    """ids attempted = delivered + open + dead + deferred + cut off."""
    total = delivered + open_ + dead + deferred + cut_off
    return _equal("run", "attempted", begun, "delivered + open + dead + deferred + cut off", total)


def check_data(answers: UsageTotals, data: UsageTotals) -> list[Difference]:
    """What the answers said against the rows read back."""
    found = [
        *_equal("data", "rows from answers", answers.rows, "rows read back", data.rows),
        *_equal(
            "data",
            "call seconds answered",
            answers.call_duration_s,
            "read back",
            data.call_duration_s,
        ),
        *_equal(
            "data",
            "charged seconds answered",
            answers.charged_duration_s,
            "read back",
            data.charged_duration_s,
        ),
    ]
    for currency in sorted({*answers.cost, *data.cost}):
        found += _equal(
            "data",
            f"cost {currency} answered, 1e-{SCALE}",
            answers.cost.get(currency, 0),
            "read back",
            data.cost.get(currency, 0),
        )
    return found


def _equal(book: str, left: str, a: int, right: str, b: int) -> list[Difference]:
    return [] if a == b else [Difference(book, f"{left} = {a}", f"{right} = {b}")]
