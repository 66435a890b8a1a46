"""The records that a question is about, as views in DuckDB.

`record`   the records of the period, each with its `billing_time` and `billing_date` by the clock;
           where the period is unbounded, also those without a day
`around`   those, the records of a day before and after, and those without a day: what a record of
           the period may have to do with
`undated`  the records without a day
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from harvester.analysis.clock import Clock
from harvester.analysis.current import current_sql, priced_sql
from harvester.analysis.period import Period

AROUND_DAYS = 1
"""How far beyond a period `around` reaches: no call lasts longer."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which days, on which clock."""

    clock: Clock
    period: Period

    @property
    def told(self) -> str:
        """The clock, as headers say it."""
        return self.clock.told

    def parts(self, parts: Iterable[str]) -> list[str]:
        """Of the parts of a data set, those that may hold what `record` and `undated` show."""
        return self.clock.parts_of(parts, self.period)

    def parts_around(self, parts: Iterable[str]) -> list[str]:
        """Those that may hold what `around` shows."""
        return self.clock.parts_of(parts, self.period.widened(AROUND_DAYS))

    def see(
        self,
        database: duckdb.DuckDBPyConnection,
        files: Sequence[Path],
        changes: Sequence[Path] = (),
        *,
        folder: str | None = None,
    ) -> None:
        """Make the views over the calls of `files`, of which there is one at least, as they are
        now: see `current.current_sql`.  Raises duckdb.Error.

        What an older version of the columns lacks is NULL, and so is a cost that is no price.
        """
        read = priced_sql(database, current_sql(files, changes, folder=folder))
        at, day = self.clock.column, self.clock.day_sql()
        around = self.clock.within_sql(self.period.widened(AROUND_DAYS))
        database.execute(
            f"CREATE OR REPLACE TEMP VIEW record AS SELECT *, {at} AS billing_time, {day} AS "  # noqa: S608
            f"billing_date FROM {read} WHERE {self.clock.within_sql(self.period)}"
        )
        database.execute(
            f"CREATE OR REPLACE TEMP VIEW around AS SELECT * FROM {read} "  # noqa: S608
            f"WHERE ({around}) OR {at} IS NULL"
        )
        database.execute(
            f"CREATE OR REPLACE TEMP VIEW undated AS SELECT * FROM {read} "  # noqa: S608
            f"WHERE {at} IS NULL"
        )
