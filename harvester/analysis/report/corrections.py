"""What changed since records were delivered: how many, which columns, and the money.

Theory of operation.  Every change holds the row before and after it, so the sum of all differences
is what the vendor has corrected.  Each counts on the day and the destination that its call has now.
Where the currency changed, the old amount went out of one and the new one came into the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import duckdb

from harvester.analysis.current import changes_sql, price_sql
from harvester.analysis.scope import Scope
from harvester.dataset.packing import NO_DATE
from harvester.dataset.usage import currency_name
from harvester.storage.duckdb_engine import connect, trouble

MOST_ROWS = 200
"""Destinations that are named."""

_CHANGE = """
CREATE TEMP TABLE change AS
SELECT publication, folder_date, reason, changed, old_cost, old_currency, currency,
       {price} AS cost, coalesce(strftime({day}, '%Y-%m-%d'), '') AS day,
       coalesce(destination_country, '') AS destination
FROM (
    SELECT publication, submit_date AS folder_date, reason, changed,
           {old_price} AS old_cost, old.currency AS old_currency, unnest(new)
    FROM {changes}
) WHERE {within}
"""
_MOVED = """
CREATE TEMP TABLE moved AS
SELECT day, destination, currency, coalesce(cost, 0) - coalesce(old_cost, 0) AS amount
FROM change WHERE currency IS NOT DISTINCT FROM old_currency
UNION ALL SELECT day, destination, old_currency, -old_cost
FROM change WHERE currency IS DISTINCT FROM old_currency AND old_cost IS NOT NULL
UNION ALL SELECT day, destination, currency, cost
FROM change WHERE currency IS DISTINCT FROM old_currency AND cost IS NOT NULL
"""
_UP_AND_DOWN = (
    "coalesce(sum(amount) FILTER (amount > 0), 0), coalesce(sum(amount) FILTER (amount < 0), 0)"
)


@dataclass(slots=True)
class Moved:
    """Money by currency: what came on top, and what was taken off, as amounts of 0 or more."""

    up: dict[str, Decimal] = field(default_factory=dict)
    down: dict[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changed:
    """Some of the changes."""

    name: str
    changes: int
    money: Moved


@dataclass(frozen=True, slots=True)
class Corrections:
    """The changes of the calls of a period."""

    changes: int = 0
    money: Moved = field(default_factory=Moved)
    by_reason: Mapping[str, int] = field(default_factory=dict)
    by_column: Mapping[str, int] = field(default_factory=dict)
    """A change may be one of several columns."""
    by_day: tuple[Changed, ...] = ()
    """Of calls, in order; '' is that of calls without one."""
    by_destination: tuple[Changed, ...] = ()
    """Those with the most changes first."""
    not_folded: int | None = 0
    """Changes that are not in the rows of cdr/ yet; None where the state can't be asked now."""


def corrections(
    changes: Sequence[Path],
    scope: Scope,
    folded: Mapping[str, int] | None,
    *,
    memory_limit: str,
    scratch: Path,
) -> Corrections:
    """The changes of calls in scope.

    `changes`: all files of changes/.  `folded`: folder of cdr/ -> the newest change that is folded
    into its rows; None: it is not known now.  Raises StoreError if a file can't be read.
    """
    if not changes:
        return Corrections()
    database = connect(memory_limit, scratch)
    try:
        query = _CHANGE.format(
            day=scope.clock.day_sql(),
            changes=changes_sql(changes),
            price=price_sql("true"),
            old_price=price_sql("true", "old.cost"),
            within=scope.clock.within_sql(scope.period),
        )
        database.execute(query)
        database.execute(_MOVED)
        return _found(database, folded)
    except duckdb.Error as exc:
        raise trouble(exc) from exc
    finally:
        database.close()


def _found(database: duckdb.DuckDBPyConnection, folded: Mapping[str, int] | None) -> Corrections:
    def counts(query: str) -> dict[str, int]:
        return dict(database.execute(query).fetchall())

    days = counts("SELECT day, count(*) FROM change GROUP BY day ORDER BY day")
    destinations = counts(
        "SELECT destination, count(*) AS changes FROM change GROUP BY destination "  # noqa: S608
        f"ORDER BY changes DESC, destination LIMIT {MOST_ROWS}"
    )
    money_by_day = _money(database, "day")
    money_by_destination = _money(database, "destination")
    return Corrections(
        changes=sum(days.values()),
        money=_money(database, "''").get("", Moved()),
        by_reason=counts("SELECT reason, count(*) FROM change GROUP BY reason ORDER BY reason"),
        by_column=counts(
            "SELECT unnest(changed) AS name, count(*) AS changes FROM change GROUP BY name "
            "ORDER BY changes DESC, name"
        ),
        by_day=tuple(Changed(name, n, money_by_day.get(name, Moved())) for name, n in days.items()),
        by_destination=tuple(
            Changed(name, n, money_by_destination.get(name, Moved()))
            for name, n in destinations.items()
        ),
        not_folded=None if folded is None else _not_folded(database, folded),
    )


def _money(database: duckdb.DuckDBPyConnection, by: str) -> dict[str, Moved]:
    found: dict[str, Moved] = {}
    rows = database.execute(
        f"SELECT {by}, currency, {_UP_AND_DOWN} FROM moved GROUP BY ALL"  # noqa: S608 - our names
    ).fetchall()
    for name, currency, up, down in rows:
        moved = found.setdefault(name, Moved())
        for amounts, amount in ((moved.up, up), (moved.down, -down)):
            if amount:
                known = amounts.get(currency_name(currency), Decimal(0))
                amounts[currency_name(currency)] = known + amount
    return found


def _not_folded(database: duckdb.DuckDBPyConnection, folded: Mapping[str, int]) -> int:
    rows = database.execute(
        "SELECT coalesce(strftime(folder_date, '%Y-%m-%d'), ''), publication, count(*) "
        "FROM change GROUP BY ALL"
    ).fetchall()
    through = {folder.partition("=")[2]: newest for folder, newest in folded.items()}
    return sum(n for day, number, n in rows if number > through.get(day or NO_DATE, 0))
