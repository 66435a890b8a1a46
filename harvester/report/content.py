"""Questions to the whole data set at once, out of core.

DuckDB does the sorting and spills to disk what exceeds its memory.  It is loaded here, in the
process of a command that never fetches, and nowhere else in this room.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa

from harvester.errors import StoreError
from harvester.report.standing import Place

BATCH_ROWS = 122_880
STANDINGS = pa.schema([("voice_id", pa.string()), ("weight", pa.int64())])

# What Python, Arrow and the blocks being read take beside DuckDB's own buffers (ids/engine.py).
_BESIDE_BYTES = 150_000_000
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

UsageRow = tuple[str, str | None, int, int, int, Decimal | None]
"""(run_id, currency, rows, call seconds, charged seconds, cost)."""


class Content:
    """The rows of `files`, read as often as asked."""

    def __init__(self, files: Sequence[Path], *, memory_limit: str, scratch: Path) -> None:
        self._files = [_pattern(path) for path in files]
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{_share(memory_limit) // 1000}KB",
            "threads": 2,
            "temp_directory": str(scratch / "duckdb"),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._connection = duckdb.connect(":memory:", config=settings)
        self._connection.execute("SET enable_progress_bar = false")

    def close(self) -> None:
        """Free its memory and its temporary files."""
        self._connection.close()

    def sorted_ids(self, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Every id of the data and of `others` with its weight, sorted by id; as in STANDINGS.

        Raises StoreError.
        """
        self._connection.register("others", pa.RecordBatchReader.from_batches(STANDINGS, others))
        known = "SELECT voice_id, weight FROM others"
        if self._files:
            weight = f"{Place.DATA.weight}::BIGINT"
            known += f" UNION ALL SELECT voice_id, {weight} FROM {_READ}"  # noqa: S608
        yield from self._stream(f"SELECT * FROM ({known}) ORDER BY voice_id")  # noqa: S608

    def usage(self) -> list[UsageRow]:
        """What the rows of each run add up to, by currency.  Raises StoreError."""
        if not self._files:
            return []
        query = (
            "SELECT run_id, currency, count(*)::BIGINT, "  # noqa: S608
            "coalesce(sum(call_duration_s), 0)::BIGINT, "
            f"coalesce(sum(charged_duration_s), 0)::BIGINT, sum(cost) FROM {_READ} GROUP BY ALL"
        )
        try:
            rows: list[UsageRow] = self._connection.execute(
                query, {"files": self._files}
            ).fetchall()
        except duckdb.Error as exc:
            raise _trouble(exc) from exc
        return rows

    def _stream(self, query: str) -> Iterator[pa.RecordBatch]:
        try:
            parameters = {"files": self._files} if self._files else {}
            relation = self._connection.sql(query, params=parameters)
            yield from relation.to_arrow_reader(BATCH_ROWS)
        except (duckdb.Error, pa.ArrowException) as exc:
            raise _trouble(exc) from exc


_READ = "read_parquet($files, hive_partitioning = false)"


def _pattern(path: Path) -> str:
    # DuckDB would expand what looks like a pattern in a folder's name.
    return re.sub(r"([*?[])", r"[\1]", str(path))


def _share(memory_limit: str) -> int:
    found = re.fullmatch(r"([0-9]+)([KMG]i?B)", memory_limit)
    assert found is not None, "the configuration has checked it"
    limit = int(found[1]) * _UNITS[found[2]]
    return max(limit - _BESIDE_BYTES, limit // 2)


def _trouble(exc: Exception) -> StoreError:
    said = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return StoreError(
        f"the data set can't be read through: {said}. If that names a file, restore it; "
        "`harvester verify --deep` looks at each file by itself. If it is about memory or disk, "
        "raise plan.memory_limit or make room."
    )
