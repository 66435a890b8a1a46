"""The records as they are now: the rows of the files, with the changes that came since.

Whether a change is folded into its row or not makes no difference: what a call is now is `new` of
its newest change, and its row where it has none (harvester/dataset/changes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from harvester.answers.rating import NO_COST
from harvester.storage.duckdb_engine import listed, pattern

_RATED = "is_rated"
_FOLDER = "TRY_CAST(regexp_extract(filename, 'submit_date=([0-9-]*)/[^/]*$', 1) AS DATE)"


def rows_sql(files: Sequence[Path]) -> str:
    """SQL: the rows of parts of cdr/, each with the `submit_date` of its folder."""
    return (
        f"(SELECT * EXCLUDE (filename), {_FOLDER} AS submit_date "  # noqa: S608 - our constants
        f"FROM read_parquet({listed(map(pattern, files))}, hive_partitioning = false, "
        "filename = true))"
    )


def changes_sql(changes: Sequence[Path]) -> str:
    """SQL: the rows of parts of changes/."""
    return f"read_parquet({listed(map(pattern, changes))}, hive_partitioning = false)"


def current_sql(
    files: Sequence[Path], changes: Sequence[Path], *, folder: str | None = None
) -> str:
    """SQL: the calls of `files` as they are now, as in `rows_sql`.

    `changes`: all parts of changes/, as a call's newest change may lie in any of them.  One whose
    time was corrected counts by that, whatever folder it lies in.  `folder`: only of this one,
    which `files` are of.
    """
    if not changes:
        return rows_sql(files)
    of_folder = "true"
    if folder is not None:
        day = folder.rpartition("=")[2]
        of_folder = f"submit_date IS NOT DISTINCT FROM TRY_CAST('{day}' AS DATE)"
    return f"""(
        WITH newest AS (
            SELECT voice_id, new, submit_date FROM {changes_sql(changes)}
            WHERE {of_folder}
            QUALIFY row_number() OVER (PARTITION BY voice_id ORDER BY publication DESC) = 1
        )
        SELECT * FROM {rows_sql(files)} WHERE voice_id NOT IN (SELECT voice_id FROM newest)
        UNION ALL BY NAME SELECT unnest(new), submit_date FROM newest
    )"""  # noqa: S608 - our constants


def priced_sql(database: duckdb.DuckDBPyConnection, read: str) -> str:
    """SQL: the calls of `read`, with a `cost` only where it is a price, and with `is_rated`.

    What stands where the price will stand is none: -1, or 0; nor is the -1 of a call that nobody
    answered.  An older version of the columns does not say which 0 it is: `is_rated` is NULL then.
    """
    found = database.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()  # noqa: S608
    if any(name == _RATED for name, *_ in found):
        return f"(SELECT * REPLACE ({price_sql(_RATED)} AS cost) FROM {read})"  # noqa: S608
    cost = f"{price_sql('true')} AS cost"
    return f"(SELECT * REPLACE ({cost}), NULL::BOOLEAN AS {_RATED} FROM {read})"  # noqa: S608


def price_sql(is_rated: str, cost: str = "cost") -> str:
    """SQL: `cost` where it is a price, else NULL; `is_rated`: a condition."""
    return f"CASE WHEN {is_rated} AND {cost} <> {NO_COST} THEN {cost} END"
