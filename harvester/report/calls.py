"""The figures of the data set by day, destination, code, hour and price, out of core.

Theory of operation.  The rows are read once for sums: cells of (day, destination, code, currency),
few however many rows there are, from which every table is rolled up; so all tables come from the
same sums and agree.  Three more passes read only the columns that they need: times of submission
by quarter of an hour, post-dial delays by millisecond, prices by destination and day.  What others
wrote (destinations, codes) may have any number of values: DuckDB counts them, and only the largest
leave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from harvester.lake.usage import currency_name
from harvester.report.engine import connect, pattern, trouble
from harvester.report.figures import REACHED_CODES, Figures, Row, Table

MOST_ROWS = 200
"""Rows of a table; what is beyond them is one row more."""
MOST_CHANGES = 200
CHARTED = 8
"""Destinations whose price is drawn."""
QUARTER_MS = 900_000
"""A quarter of an hour: the zones' offsets are whole multiples of it."""
LONGEST_PDD_MS = 600_000
"""A call doesn't ring after ten minutes: whatever says so is no delay."""
_YEAR_2200_MS = 7_258_118_400_000

_READ = "read_parquet($files, hive_partitioning = false, filename = true)"
# One value a file: DuckDB reckons it once for each, not for each row.  '' where there is no date.
_DAY = "regexp_extract(filename, 'submit_date=([0-9-]*)/[^/]*$', 1)"
_PDD = "epoch_ms(ringing_time) - epoch_ms(call_time)"
_REACHED = ", ".join(map(str, REACHED_CODES))

_CELLS = f"""
CREATE OR REPLACE TEMP TABLE cell AS
SELECT {_DAY} AS day, coalesce(destination_country, '') AS destination,
       coalesce(termination_code, '') AS code, currency,
       count(*) AS calls,
       count(*) FILTER (answered) AS answered,
       count(call_duration_s) FILTER (answered) AS timed,
       coalesce(sum(call_duration_s), 0) AS call_s,
       coalesce(sum(charged_duration_s), 0) AS charged_s,
       count(*) FILTER (NOT is_final) AS unfinished,
       count(*) FILTER ({_PDD} BETWEEN 0 AND {LONGEST_PDD_MS}) AS pdd_calls,
       coalesce(sum({_PDD}) FILTER ({_PDD} BETWEEN 0 AND {LONGEST_PDD_MS}), 0) AS pdd_ms,
       count(*) FILTER (answered OR sip_code IS NOT NULL) AS judged,
       count(*) FILTER (answered OR sip_code IN ({_REACHED})) AS reached,
       sum(cost) AS cost
FROM {_READ} GROUP BY ALL
"""  # noqa: S608 - constants of this module, here and below
_SUMS = ", ".join(
    f"sum({name})"
    for name in (
        "calls",
        "answered",
        "timed",
        "call_s",
        "charged_s",
        "unfinished",
        "pdd_calls",
        "pdd_ms",
        "judged",
        "reached",
        "cost",
    )
)
_DAYS = f"SELECT day, currency, {_SUMS} FROM cell GROUP BY ALL ORDER BY day"  # noqa: S608
_HOURS = f"""
SELECT epoch_ms(submit_time) // {QUARTER_MS} AS quarter, count(*), count(*) FILTER (answered)
FROM {_READ} WHERE epoch_ms(submit_time) BETWEEN 0 AND {_YEAR_2200_MS} GROUP BY quarter
"""  # noqa: S608
_DELAYS = f"""
SELECT {_PDD} AS pdd, count(*) FROM {_READ}
WHERE pdd BETWEEN 0 AND {LONGEST_PDD_MS} GROUP BY pdd
"""  # noqa: S608

# The usual price of a day is the one that most calls had; of two with as many, the higher.
_PRICES = f"""
CREATE OR REPLACE TEMP TABLE price AS
WITH rates AS (
    SELECT coalesce(code, '') AS destination, coalesce(currency, '') AS currency, {_DAY} AS day,
           rate, count(*) AS calls
    FROM {_READ} WHERE rate IS NOT NULL AND day <> '' GROUP BY ALL
)
SELECT destination, currency, day, sum(calls)::BIGINT AS calls, count(*) AS rates,
       min(rate) AS lowest, max(rate) AS highest,
       max({{'calls': calls, 'rate': rate}}) AS usual
FROM rates GROUP BY ALL
"""  # noqa: S608
# Compared are the days on which one price held for most calls; a day between them is stepped over.
_CHANGES = """
WITH told AS (
    SELECT *, lag(usual.rate) OVER w AS before, lag(day) OVER w AS day_before
    FROM price WHERE 2 * usual.calls > calls
    WINDOW w AS (PARTITION BY destination, currency ORDER BY day)
)
SELECT destination, currency, day_before, day, before, usual.rate, calls, count(*) OVER ()
FROM told WHERE before <> usual.rate
ORDER BY day DESC, calls DESC, destination, currency LIMIT ?
"""
_MIXED = "SELECT count(*), count(*) FILTER (2 * usual.calls <= calls) FROM price"
_CHARTED = """
WITH most AS (
    SELECT destination, currency, sum(calls) AS calls, count(DISTINCT usual.rate) > 1 AS moved
    FROM price GROUP BY ALL
    ORDER BY moved DESC, calls DESC, destination, currency LIMIT ?
)
SELECT destination, currency, day, usual.rate, lowest, highest
FROM price SEMI JOIN most USING (destination, currency)
ORDER BY destination, currency, day
"""


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A destination's usual price was another one than on the last day that had one."""

    destination: str
    currency: str
    day_before: str
    day: str
    before: Decimal
    after: Decimal
    calls: int
    """Calls to it on `day`."""


@dataclass(frozen=True, slots=True)
class DayPrice:
    """A destination's prices on one day."""

    day: str
    usual: Decimal
    lowest: Decimal
    highest: Decimal


@dataclass(frozen=True, slots=True)
class PriceLine:
    """The prices of one destination, by day."""

    destination: str
    currency: str
    days: tuple[DayPrice, ...]


@dataclass(frozen=True, slots=True)
class Prices:
    """What calls to a destination were quoted at (`rate`), and when that changed."""

    destination_days: int
    """Pairs of destination and day for which a price is known."""
    mixed: int
    """Of these, those on which no price held for most calls: they are not compared."""
    changes: tuple[PriceChange, ...]
    """The newest ones."""
    changes_in_all: int
    lines: tuple[PriceLine, ...]
    """Of some destinations: those whose price moved first, then those with the most calls."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Everything that the data set's rows come to."""

    total: Figures
    by_day: tuple[Row, ...]
    by_destination: Table
    by_code: Table
    quarters: Mapping[int, tuple[int, int]]
    """(calls, answered) by the quarter of an hour since 1970 in which they were submitted."""
    delays: Mapping[int, int]
    """Calls by their post-dial delay in milliseconds."""
    prices: Prices


NO_CALLS = Calls(Figures(), (), Table(()), Table(()), {}, {}, Prices(0, 0, (), 0, ()))


def count_calls(files: Sequence[Path], *, memory_limit: str, scratch: Path) -> Calls:
    """Reckon up the rows of `files`.  Raises StoreError if they can't be read."""
    if not files:
        return NO_CALLS
    database = connect(memory_limit, scratch)
    try:
        return _Counting(database, [pattern(path) for path in files]).all()
    except duckdb.Error as exc:
        raise trouble(exc) from exc
    finally:
        database.close()


class _Counting:
    def __init__(self, database: duckdb.DuckDBPyConnection, files: list[str]) -> None:
        self._database = database
        self._files = {"files": files}

    def all(self) -> Calls:
        self._database.execute(_CELLS, self._files)
        days = tuple(_rows(self._database.execute(_DAYS).fetchall()))
        total = Figures()
        for row in days:
            total.add(row.figures)
        quarters = self._database.execute(_HOURS, self._files).fetchall()
        delays = self._database.execute(_DELAYS, self._files).fetchall()
        return Calls(
            total=total,
            by_day=days,
            by_destination=self._table("destination"),
            by_code=self._table("code"),
            quarters={quarter: (calls, answered) for quarter, calls, answered in quarters},
            delays=dict(delays),
            prices=self._prices(),
        )

    def _table(self, column: str) -> Table:
        """The figures by `column`: the rows with the most calls, and all others in one."""
        ranked = (
            f"WITH ranked AS (SELECT {column} AS name, "  # noqa: S608
            f"row_number() OVER (ORDER BY sum(calls) DESC, {column}) AS place "
            f"FROM cell GROUP BY {column}) "
        )
        on = f"ranked.name = cell.{column}"
        found = self._database.execute(
            f"{ranked} SELECT name, currency, {_SUMS} FROM cell JOIN ranked ON {on} "  # noqa: S608
            "WHERE place <= ? GROUP BY name, currency, place ORDER BY place",
            [MOST_ROWS],
        ).fetchall()
        others = self._database.execute(
            f"{ranked} SELECT '', currency, {_SUMS} FROM cell JOIN ranked ON {on} "  # noqa: S608
            "WHERE place > ? GROUP BY currency",
            [MOST_ROWS],
        ).fetchall()
        named = tuple(_rows(found))
        if not others:
            return Table(named)
        (names,) = self._one(f"SELECT count(DISTINCT {column}) FROM cell")  # noqa: S608
        (rest,) = _rows(others)
        return Table(named, Row(str(names - len(named)), rest.figures))

    def _prices(self) -> Prices:
        self._database.execute(_PRICES, self._files)
        known, mixed = self._one(_MIXED)
        changes = self._database.execute(_CHANGES, [MOST_CHANGES]).fetchall()
        lines: dict[tuple[str, str], list[DayPrice]] = {}
        for destination, currency, *day in self._database.execute(_CHARTED, [CHARTED]).fetchall():
            lines.setdefault((destination, currency), []).append(DayPrice(*day))
        return Prices(
            destination_days=known,
            mixed=mixed,
            changes=tuple(PriceChange(*change[:-1]) for change in changes),
            changes_in_all=changes[0][-1] if changes else 0,
            lines=tuple(
                PriceLine(destination, currency, tuple(days))
                for (destination, currency), days in lines.items()
            ),
        )

    def _one(self, query: str) -> tuple[Any, ...]:
        found = self._database.execute(query).fetchone()
        assert found is not None, "an aggregate has one row"
        return found


def _rows(found: Sequence[tuple[Any, ...]]) -> Iterator[Row]:
    """Rows of (name, currency, sums), one name's in one: there is one for each currency."""
    named: dict[str, Figures] = {}
    for name, currency, *sums in found:
        *counts, cost = sums
        figures = Figures(*counts)
        if cost is not None:
            figures.cost[currency_name(currency)] = cost
        named.setdefault(name, Figures()).add(figures)
    yield from (Row(name, figures) for name, figures in named.items())
