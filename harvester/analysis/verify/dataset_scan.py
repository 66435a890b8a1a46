"""Questions to the whole data set at once, out of core.

DuckDB does the sorting and spills to disk what exceeds its memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa

from harvester.analysis.verify.id_states import Place
from harvester.storage.duckdb_engine import connect, pattern, trouble

BATCH_ROWS = 122_880
STANDINGS = pa.schema([("voice_id", pa.string()), ("weight", pa.int64())])

UsageRow = tuple[str, str | None, int, int, int, Decimal | None]
"""(run_id, currency, rows, call seconds, charged seconds, cost)."""


class Content:
    """The rows of `files`, read as often as asked."""

    def __init__(
        self,
        files: Sequence[Path],
        changes: Sequence[Path],
        dropped: Sequence[Path],
        *,
        memory_limit: str,
        scratch: Path,
    ) -> None:
        """`changes`: the files of changes/, which say how rows were before they were folded in.

        `dropped`: those with the ids of calls that left the data set.
        """
        self._dropped = [pattern(path) for path in dropped]
        self._files = [pattern(path) for path in files]
        self._changes = [pattern(path) for path in changes]
        self._connection = connect(memory_limit, scratch)

    def close(self) -> None:
        """Free its memory and its temporary files."""
        self._connection.close()

    def sorted_ids(self, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Every id of the data and of `others` with its weight, sorted by id; as in STANDINGS.

        Raises StoreError.
        """
        self._connection.register("others", pa.RecordBatchReader.from_batches(STANDINGS, others))
        known = "SELECT voice_id, weight FROM others"
        if self._files or self._dropped:
            # A call that was dropped has its outcome as one of the data has.
            weight = f"{Place.DATA.weight}::BIGINT"
            known += f" UNION ALL SELECT voice_id, {weight} FROM {_READ}"  # noqa: S608
        yield from self._stream(f"SELECT * FROM ({known}) ORDER BY voice_id")  # noqa: S608

    def usage(self) -> list[UsageRow]:
        """What the rows of each run add up to, by currency, as first delivered.

        Raises StoreError.
        """
        if not self._files:
            return []
        rows_of, parameters = _READ, {"files": self._files}
        if self._changes:
            rows_of, parameters = _FIRST, parameters | {"changes": self._changes}
        query = (
            "SELECT run_id, currency, count(*)::BIGINT, "  # noqa: S608
            "coalesce(sum(call_duration_s), 0)::BIGINT, "
            f"coalesce(sum(charged_duration_s), 0)::BIGINT, sum(cost) FROM {rows_of} GROUP BY ALL"
        )
        try:
            rows: list[UsageRow] = self._connection.execute(query, parameters).fetchall()
        except duckdb.Error as exc:
            raise trouble(exc) from exc
        return rows

    def _stream(self, query: str) -> Iterator[pa.RecordBatch]:
        try:
            files = [*self._files, *self._dropped]
            parameters = {"files": files} if files else {}
            relation = self._connection.sql(query, params=parameters)
            yield from relation.to_arrow_reader(BATCH_ROWS)
        except (duckdb.Error, pa.ArrowException) as exc:
            raise trouble(exc) from exc


_READ = "read_parquet($files, hive_partitioning = false)"
# Whether a change is folded in or not: as first delivered a call is the `old` of its first one.
_FIRST = f"""(
    WITH first AS (
        SELECT voice_id, old FROM read_parquet($changes, hive_partitioning = false)
        QUALIFY row_number() OVER (PARTITION BY voice_id ORDER BY publication) = 1
    )
    SELECT run_id, currency, call_duration_s, charged_duration_s, cost FROM {_READ}
    WHERE voice_id NOT IN (SELECT voice_id FROM first)
    UNION ALL
    SELECT old.run_id, old.currency, old.call_duration_s, old.charged_duration_s, old.cost
    FROM first
)"""  # noqa: S608 - our constants
