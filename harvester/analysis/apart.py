"""Records that a total says nothing true of: without a day, without a cost, or with an absurd one.

Theory of operation.  They are counted with their money, never changed and never left out on the
quiet: a reader has to know of them before believing a sum.  A cost is absurd if it is
`ABSURD_AMOUNT` or more, or over `ABSURD_TIMES` the usual price of a charged minute to its
destination (code) in its currency.  The usual price is the median over all rated calls of the
period, of which there must be `RATED` at least; of two in the middle the lower.  It is found by
counting equal prices, so that it needs no more memory than there are prices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import duckdb

from harvester.dataset.usage import currency_name
from harvester.storage.duckdb_engine import units

ABSURD_TIMES = 20
ABSURD_AMOUNT = 1_000_000
RATED = 20
"""Rated calls: those with a cost above zero and charged seconds."""

_MINUTE_U = f"{units('cost')} * 60"
_DESTINATION = "coalesce(code, '') AS destination, coalesce(currency, '') AS paid_in"
_MIDDLE = f"""
CREATE OR REPLACE TEMP TABLE middle AS
WITH minute AS (
    SELECT {_DESTINATION}, {_MINUTE_U} // charged_duration_s AS minute_u, count(*) AS calls
    FROM record WHERE cost > 0 AND charged_duration_s > 0 GROUP BY ALL
), ranked AS (
    SELECT *, sum(calls) OVER (PARTITION BY destination, paid_in ORDER BY minute_u) AS so_far,
           sum(calls) OVER (PARTITION BY destination, paid_in) AS in_all
    FROM minute
)
SELECT destination, paid_in, min(minute_u) FILTER (2 * so_far >= in_all) AS minute_u
FROM ranked WHERE in_all >= {RATED} GROUP BY ALL
"""  # noqa: S608 - constants of this module, here and below
_ABSURD = f"""
(SELECT * FROM (SELECT *, {_DESTINATION} FROM record WHERE cost IS NOT NULL)
 LEFT JOIN middle USING (destination, paid_in)
 WHERE abs(cost) >= {ABSURD_AMOUNT}
    OR (charged_duration_s > 0 AND {_MINUTE_U} > {ABSURD_TIMES} * minute_u * charged_duration_s))
"""  # noqa: S608
_SUMS = (
    "SELECT currency, count(*), count(*) FILTER (answered), "
    "coalesce(sum(charged_duration_s), 0)::BIGINT, sum(cost) FROM {} GROUP BY currency"
)


@dataclass(slots=True)
class Group:
    """Some of these records."""

    calls: int = 0
    answered: int = 0
    charged_duration_s: int = 0
    calls_by_currency: dict[str, int] = field(default_factory=dict)
    cost: dict[str, Decimal] = field(default_factory=dict)
    """By currency; one in which none of them has a cost is left out."""


@dataclass(frozen=True, slots=True)
class Apart:
    """The records of a period that need a look, and those that are of none."""

    without_day: Group = field(default_factory=Group)
    """They lack the clock's time.  Only figures over all days have them."""
    without_cost: Group = field(default_factory=Group)
    absurd: Group = field(default_factory=Group)


def set_apart(database: duckdb.DuckDBPyConnection) -> Apart:
    """Count them in the views of `scope`.  Raises duckdb.Error."""
    database.execute(_MIDDLE)
    sources = ("undated", "record WHERE cost IS NULL", _ABSURD)
    return Apart(*(_group(database, source) for source in sources))


def _group(database: duckdb.DuckDBPyConnection, source: str) -> Group:
    found = Group()
    for currency, calls, answered, charged_s, cost in database.execute(
        _SUMS.format(source)
    ).fetchall():
        name = currency_name(currency)
        found.calls += calls
        found.answered += answered
        found.charged_duration_s += charged_s
        found.calls_by_currency[name] = found.calls_by_currency.get(name, 0) + calls
        if cost is not None:
            found.cost[name] = found.cost.get(name, Decimal(0)) + cost
    return found
