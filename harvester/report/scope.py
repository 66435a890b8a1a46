"""The records that a question is about, as views in DuckDB.

`record`   the records of the period, each with its `billing_time` and `billing_date` by the clock;
           where the period is unbounded, also those without a day
`undated`  the records without a day
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from harvester.report.clock import Clock
from harvester.report.engine import listed, pattern
from harvester.report.period import Period


@dataclass(frozen=True, slots=True)
class Scope:
    """Which days, on which clock."""

    clock: Clock
    period: Period

    @property
    def told(self) -> str:
        """The clock, as headers say it."""
        return self.clock.told

    def see(self, database: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
        """Make the views over `files`, of which there is one at least.  Raises duckdb.Error."""
        read = f"read_parquet({listed(map(pattern, files))}, hive_partitioning = false)"
        at, day = self.clock.column, self.clock.day_sql()
        database.execute(
            f"CREATE OR REPLACE TEMP VIEW record AS SELECT *, {at} AS billing_time, {day} AS "  # noqa: S608
            f"billing_date FROM {read} WHERE {self.clock.within_sql(self.period)}"
        )
        database.execute(
            f"CREATE OR REPLACE TEMP VIEW undated AS SELECT * FROM {read} "  # noqa: S608
            f"WHERE {at} IS NULL"
        )
