"""A first look at a data set with DuckDB: calls and cost by day and by destination."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from harvester.cli.ui.console import Line
from harvester.config import Billing

_WIDTH = 24
_BAR = 22

_DAYS = """
SELECT coalesce(strftime(day, '%Y-%m-%d'), '(none)'), count(*), sum(charged_duration_s), sum(cost)
FROM (SELECT *, {day} AS day FROM read_parquet(?, hive_partitioning = false))
WHERE currency = ?
GROUP BY day ORDER BY day DESC NULLS LAST LIMIT 7
"""
_DESTINATIONS = """
SELECT coalesce(destination_country, '(none)'), count(*), sum(charged_duration_s), sum(cost)
FROM read_parquet(?, hive_partitioning = false)
WHERE currency = ?
GROUP BY ALL ORDER BY sum(cost) DESC NULLS LAST LIMIT 7
"""
_CURRENCY = """
SELECT currency FROM read_parquet(?) WHERE currency IS NOT NULL
GROUP BY ALL ORDER BY count(*) DESC LIMIT 1
"""


def first_look(out: Path, billing: Billing, *, unicode: bool = True) -> list[Line]:
    """The newest days and the top destinations by cost of the most frequent currency.

    Days are those of `billing`, as in every other command.
    """
    import duckdb

    from harvester.analysis.clock import Clock

    clock = Clock.of(billing)

    glob = str(out / "cdr" / "*" / "*.parquet")
    with duckdb.connect() as db:
        found = db.execute(_CURRENCY, [glob]).fetchone()
        if found is None:
            return [Line("No record carries a cost yet.")]
        currency = str(found[0])
        days = db.execute(_DAYS.format(day=clock.day_sql()), [glob, currency]).fetchall()
        places = db.execute(_DESTINATIONS, [glob, currency]).fetchall()
    block = "█" if unicode else "#"
    return [
        Line(f"  {clock.told}", "dim"),
        Line(),
        *_table("The newest days", days, currency, block),
        Line(),
        *_table("Top destinations by cost", places, currency, block),
    ]


def _table(title: str, rows: list[tuple[object, ...]], currency: str, block: str) -> list[Line]:
    heading = f"  {title:<{_WIDTH}}{'calls':>8}{'minutes':>10}{currency:>12}"
    most = max((_decimal(row[3]) for row in rows), default=Decimal(0)) or Decimal(1)
    return [Line(heading, "bold"), *(_row(row, most, block) for row in rows)]


def _named(name: str) -> str:
    """The name of a place or day in a column; some scripts take two cells a character."""
    from rich.cells import set_cell_size

    return set_cell_size(name, _WIDTH - 1) + " "


def _row(row: tuple[object, ...], most: Decimal, block: str) -> Line:
    from harvester.analysis.report.formatting import money, tenths

    calls, seconds, cost = map(_decimal, row[1:])
    bar = block * round(_BAR * cost / most)
    figures = f"{calls:>8,}{tenths(seconds / 60):>10}{money(cost):>12}"
    return Line(f"  {_named(str(row[0]))}{figures}  {bar}")


def _decimal(value: object) -> Decimal:
    return Decimal(str(value)) if value is not None else Decimal(0)
