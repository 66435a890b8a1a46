"""The calls that a listing brought, each once and as last seen, out of core.

Loads DuckDB: only for a process that has done with fetching.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from harvester.pipeline.listing.rows import SCHEMA
from harvester.pipeline.listing.windows import Window
from harvester.storage.duckdb_engine import Room, answers, pattern

_FILES = "read_parquet($files, hive_partitioning = false)"
_INSIDE = "(submit_time IS NULL OR (submit_time >= $first AND submit_time < $last))"
_NEWEST = (
    "SELECT unnest(arg_max(row, asked_at)) FROM "  # noqa: S608
    f"(SELECT voice_id, asked_at, row FROM {_FILES} AS row) GROUP BY voice_id"
)


class CallCounts(msgspec.Struct, frozen=True):
    """Calls of a listing."""

    calls: int
    """Submitted in its days, or at a time that can't be read."""
    undated: int
    """Of those, the ones whose time can't be read."""
    outside: int
    """Submitted on another day."""


def write_calls(
    files: Sequence[Path], days: Window, to: Path, room: Room, *, part_of: Window | None = None
) -> CallCounts:
    """Write the calls of `days` into the Parquet file `to`, in order of time.  Raises StoreError.

    `files`: what the listing brought.  `part_of`: days that these are some of; calls of the others
    are not outside.
    """
    if not files:
        pq.write_table(SCHEMA.empty_table(), to)
        return CallCounts(0, 0, 0)
    names = ", ".join(SCHEMA.names)
    query = f"SELECT {names} FROM ({_NEWEST}) WHERE {_INSIDE} ORDER BY submit_time, voice_id"  # noqa: S608
    counts = f"SELECT count(*) FROM ({_NEWEST}) WHERE NOT {_INSIDE}"  # noqa: S608
    calls = undated = outside = 0
    named = {"files": [pattern(path) for path in files]}
    with pq.ParquetWriter(to, SCHEMA, compression="zstd") as out:
        for batch in answers(query, {**named, **_ends(days)}, room):
            table = pa.Table.from_batches([batch]).cast(SCHEMA)
            calls += table.num_rows
            undated += table["submit_time"].null_count
            out.write_table(table)
    for batch in answers(counts, {**named, **_ends(part_of or days)}, room):
        outside += batch.column(0)[0].as_py()
    return CallCounts(calls, undated, outside)


def count_rows(files: Sequence[Path], room: Room) -> int:
    """Of what a listing brought: distinct ids and submitTimes.  Raises StoreError."""
    query = f"SELECT count(*) FROM (SELECT DISTINCT voice_id, submit_time FROM {_FILES})"  # noqa: S608
    named = {"files": [pattern(path) for path in files]}
    found = answers(query, named, room) if files else ()
    return sum(batch.column(0)[0].as_py() for batch in found)


def _ends(days: Window) -> dict[str, datetime]:
    return {
        "first": datetime.fromtimestamp(days.start_s, UTC),
        "last": datetime.fromtimestamp(days.until_s, UTC),
    }
