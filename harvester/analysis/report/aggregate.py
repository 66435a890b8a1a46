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
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from harvester.analysis.apart import Apart, set_apart
from harvester.analysis.report.figures import (
    RANG_CODE,
    REACHED_CODES,
    RECOVERABLE_CODES,
    SUCCESS_CODE,
    Figures,
    Row,
    Table,
)
from harvester.analysis.report.prices import RATED, PriceChange, Span, changes_of
from harvester.analysis.scope import Scope
from harvester.dataset.usage import currency_name
from harvester.storage.duckdb_engine import connect, trouble

MOST_ROWS = 200
"""Rows of a table; what is beyond them is one row more."""
MOST_CHANGES = 200
CHARTED = 8
"""Destinations whose price is drawn."""
HOUR_MS = 3_600_000
QUARTER_MS = 900_000
"""A quarter of an hour: the zones' offsets are whole multiples of it."""
LONGEST_PDD_MS = 600_000
"""A call doesn't ring after ten minutes: whatever says so is no delay."""
_YEAR_2200_MS = 7_258_118_400_000

# '' where there is none: of a call without a time of the clock's kind.
_DAY = "coalesce(strftime(billing_date, '%Y-%m-%d'), '') AS day"
_PDD = "epoch_ms(ringing_time) - epoch_ms(call_time)"
# Newer accounts send the SIP code as a field that the vendor's page does not name.
_EXTRA_SIP = (
    "CASE WHEN extra LIKE '%\"sipCode\"%' AND json_valid(extra) "
    "THEN TRY_CAST(json_extract_string(extra, '$.sipCode') AS INTEGER) END"
)
_EFFECTIVE = ", ".join(map(str, REACHED_CODES))
_RECOVERABLE = f"(sip BETWEEN 300 AND 399 OR sip IN ({', '.join(map(str, RECOVERABLE_CODES))}))"
# What is known of the way to the other end; NULL where nothing is.
_JUDGED = f"""
SELECT *, coalesce(call_time IS NOT NULL OR answered, false) AS seized,
       coalesce(sip_code, CASE WHEN extra_sip BETWEEN 100 AND 699 THEN extra_sip END) AS sip,
       CASE WHEN answered THEN true
            WHEN sip IS NOT NULL THEN sip IN ({_EFFECTIVE})
            WHEN termination_code = '{SUCCESS_CODE}' THEN true END AS effective,
       effective OR (sip = {RANG_CODE} AND ringing_time IS NOT NULL) AS reached
FROM (SELECT *, {_EXTRA_SIP} AS extra_sip FROM record)
"""  # noqa: S608 - constants of this module, here and below

_SUMS = {
    "calls": "count(*)",
    "answered": "count(*) FILTER (answered)",
    "timed": "count(call_duration_s) FILTER (answered)",
    "call_s": "coalesce(sum(call_duration_s), 0)",
    "charged_s": "coalesce(sum(charged_duration_s), 0)",
    "unfinished": "count(*) FILTER (NOT is_final)",
    "unrated": "count(*) FILTER (NOT is_rated)",
    "pdd_calls": f"count(*) FILTER ({_PDD} BETWEEN 0 AND {LONGEST_PDD_MS})",
    "pdd_ms": f"coalesce(sum({_PDD}) FILTER ({_PDD} BETWEEN 0 AND {LONGEST_PDD_MS}), 0)",
    "seized": "count(*) FILTER (seized)",
    "judged": "count(*) FILTER (seized AND effective IS NOT NULL)",
    "reached": "count(*) FILTER (seized AND reached)",
    "effective": "count(*) FILTER (seized AND effective)",
    "recoverable": f"count(*) FILTER (seized AND NOT answered AND {_RECOVERABLE})",
    "settled": "count(settle_pay)",
    "settle_pay": "coalesce(sum(settle_pay), 0)",
    "cost": "sum(cost)",
}
"""Of each field of Figures, the sum over some records."""
_CELLS = f"""
CREATE OR REPLACE TEMP TABLE cell AS
SELECT billing_date, coalesce(destination_country, '') AS destination,
       coalesce(termination_code, '') AS code, currency,
       {", ".join(f"{sum_} AS {name}" for name, sum_ in _SUMS.items())}
FROM ({_JUDGED}) GROUP BY ALL
"""  # noqa: S608
_ADDED = ", ".join(f"sum({name})" for name in _SUMS)
_DAYS = f"SELECT {_DAY}, currency, {_ADDED} FROM cell GROUP BY ALL ORDER BY day"  # noqa: S608
_HOURS = f"""
SELECT epoch_ms(submit_time) // {QUARTER_MS} AS quarter, count(*), count(*) FILTER (answered)
FROM record WHERE epoch_ms(submit_time) BETWEEN 0 AND {_YEAR_2200_MS} GROUP BY quarter
"""  # noqa: S608
_DELAYS = f"""
SELECT {_PDD} AS pdd, count(*) FROM record
WHERE pdd BETWEEN 0 AND {LONGEST_PDD_MS} GROUP BY pdd
"""  # noqa: S608

# The usual price of a day is the one that most calls had; of two with as many, the higher.
_PRICES = f"""
CREATE OR REPLACE TEMP TABLE price AS
WITH rates AS (
    SELECT coalesce(code, '') AS destination, coalesce(currency, '') AS currency,
           billing_date, rate, count(*) AS calls
    FROM record WHERE rate IS NOT NULL AND billing_date IS NOT NULL GROUP BY ALL
)
SELECT destination, currency, {_DAY}, sum(calls)::BIGINT AS calls, count(*) AS rates,
       min(rate) AS lowest, max(rate) AS highest,
       max({{'calls': calls, 'rate': rate}}) AS usual
FROM rates GROUP BY ALL
"""  # noqa: S608
_SPANS = f"""
WITH hours AS (
    SELECT coalesce(code, '') AS destination, coalesce(currency, '') AS currency, rate,
           epoch_ms(billing_time) // {HOUR_MS} AS hour, billing_date, count(*) AS calls
    FROM record WHERE rate IS NOT NULL AND billing_date IS NOT NULL GROUP BY ALL
), frequent AS (
    SELECT destination, currency, rate, sum(calls)::BIGINT AS in_all FROM hours
    GROUP BY ALL HAVING in_all >= {RATED}
), ranked AS (
    SELECT *, sum(calls) OVER (
        PARTITION BY destination, currency, rate ORDER BY hour, billing_date
    ) AS so_far
    FROM hours JOIN frequent USING (destination, currency, rate)
)
SELECT destination, currency, rate, in_all,
       min(hour) FILTER (20 * so_far > in_all),
       min(billing_date) FILTER (20 * so_far > in_all)::VARCHAR,
       min(hour) FILTER (20 * so_far >= 19 * in_all),
       min(billing_date) FILTER (20 * so_far >= 19 * in_all)::VARCHAR
FROM ranked GROUP BY ALL ORDER BY destination, currency
"""  # noqa: S608
_MIXED = "SELECT count(*), count(*) FILTER (2 * usual.calls <= calls) FROM price"
_CHARTED = """
WITH most AS (
    SELECT destination, currency, sum(calls) AS calls,
           (destination, currency) IN (SELECT (unnest($destinations), unnest($currencies))) AS moved
    FROM price GROUP BY ALL
    ORDER BY moved DESC, calls DESC, destination, currency LIMIT $most
)
SELECT destination, currency, day, usual.rate, lowest, highest
FROM price SEMI JOIN most USING (destination, currency)
ORDER BY destination, currency, day
"""


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
    """What calls to a destination were rated at (`rate`), and when that changed."""

    destination_days: int
    """Pairs of destination and day for which a price is known."""
    mixed: int
    """Of these, those on which no price held for most calls."""
    changes: tuple[PriceChange, ...]
    """Newest first."""
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
    apart: Apart = field(default_factory=Apart)


NO_CALLS = Calls(Figures(), (), Table(()), Table(()), {}, {}, Prices(0, 0, (), 0, ()))


def count_calls(
    files: Sequence[Path],
    scope: Scope,
    changes: Sequence[Path] = (),
    *,
    memory_limit: str,
    scratch: Path,
) -> Calls:
    """Count the records of `files` that are in scope, as they are now.

    `changes`: all files of changes/.  Raises StoreError if they can't be read.
    """
    if not files:
        return NO_CALLS
    database = connect(memory_limit, scratch)
    try:
        scope.see(database, files, changes)
        return _Counting(database).all()
    except duckdb.Error as exc:
        raise trouble(exc) from exc
    finally:
        database.close()


class _Counting:
    """The figures of the view `record`."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database

    def all(self) -> Calls:
        self._database.execute(_CELLS)
        days = tuple(_rows(self._database.execute(_DAYS).fetchall()))
        total = Figures()
        for row in days:
            total.add(row.figures)
        quarters = self._database.execute(_HOURS).fetchall()
        delays = self._database.execute(_DELAYS).fetchall()
        return Calls(
            total=total,
            by_day=days,
            by_destination=self._table("destination"),
            by_code=self._table("code"),
            quarters={quarter: (calls, answered) for quarter, calls, answered in quarters},
            delays=dict(delays),
            prices=self._prices(),
            apart=set_apart(self._database),
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
            f"{ranked} SELECT name, currency, {_ADDED} FROM cell JOIN ranked ON {on} "  # noqa: S608
            "WHERE place <= ? GROUP BY name, currency, place ORDER BY place",
            [MOST_ROWS],
        ).fetchall()
        others = self._database.execute(
            f"{ranked} SELECT '', currency, {_ADDED} FROM cell JOIN ranked ON {on} "  # noqa: S608
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
        self._database.execute(_PRICES)
        known, mixed = self._one(_MIXED)
        spans = self._database.execute(_SPANS).fetchall()
        changes = sorted(changes_of(Span(*span) for span in spans), key=_newest_first)
        shown = tuple(changes[:MOST_CHANGES])
        charted = {
            "destinations": [one.destination for one in shown],
            "currencies": [one.currency for one in shown],
            "most": CHARTED,
        }
        lines: dict[tuple[str, str], list[DayPrice]] = {}
        for destination, currency, *day in self._database.execute(_CHARTED, charted).fetchall():
            lines.setdefault((destination, currency), []).append(DayPrice(*day))
        return Prices(
            destination_days=known,
            mixed=mixed,
            changes=shown,
            changes_in_all=len(changes),
            lines=tuple(
                PriceLine(destination, currency, tuple(days))
                for (destination, currency), days in lines.items()
            ),
        )

    def _one(self, query: str) -> tuple[Any, ...]:
        found = self._database.execute(query).fetchone()
        assert found is not None, "an aggregate has one row"
        return found


def _newest_first(change: PriceChange) -> tuple[int, int, str, str, Decimal]:
    day = date.fromisoformat(change.day).toordinal()
    return -day, -change.calls, change.destination, change.currency, change.after


def _rows(found: Sequence[tuple[Any, ...]]) -> Iterator[Row]:
    """Rows of (name, currency, sums), one name's in one: there is one for each currency."""
    named: dict[str, Figures] = {}
    for name, currency, *sums in found:
        told = dict(zip(_SUMS, sums, strict=True))
        cost = told.pop("cost")
        figures = Figures(**told)
        if cost is not None:
            figures.cost[currency_name(currency)] = cost
        named.setdefault(name, Figures()).add(figures)
    yield from (Row(name, figures) for name, figures in named.items())
