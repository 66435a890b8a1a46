"""Write a Parquet file that exists under its name only when it is whole and on the disk."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from harvester.storage.atomic_files import NewFile

GROUP_ROWS = 122_880
"""Rows of a row group: DuckDB's own unit, and a chunk of the list is read from one or two."""

IDS = pa.schema([("voice_id", pa.string())])
LIST = pa.schema([("rank", pa.int8()), ("voice_id", pa.string())])


class ParquetOut:
    """A file being written beside its final name; `commit` gives it the name.

    Leaving the context without a commit removes what was written.  Methods raise OSError.
    """

    def __init__(self, path: str | Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._file = NewFile(Path(path))
        # Sorted ids share their beginnings; zstd finds that, a dictionary of them would not pay.
        self._writer = pq.ParquetWriter(
            self._file.stream,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=["rank"],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whatever ended the writing also ends this; what counts is that error, and no half file.
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._file.__exit__(kind, error, trace)

    def write(self, *columns: pa.Array) -> None:
        """Add rows, given by the schema's columns."""
        batch = pa.RecordBatch.from_arrays(list(columns), schema=self._schema)
        if batch.num_rows == 0:
            return
        self.rows += batch.num_rows
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        if self._waiting_rows >= GROUP_ROWS:
            self._write_groups(self._waiting_rows - self._waiting_rows % GROUP_ROWS)

    def commit(self) -> None:
        """Finish the file, bring it to the disk and give it its name."""
        self._write_groups(self._waiting_rows)
        self._writer.close()
        self._file.commit()

    def _write_groups(self, rows: int) -> None:
        if rows == 0:
            return
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        self._writer.write_table(table.slice(0, rows), row_group_size=GROUP_ROWS)
        self._waiting = table.slice(rows).to_batches()
        self._waiting_rows -= rows
