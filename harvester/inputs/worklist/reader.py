"""Read a finished list: its chunks in turn, and who belongs to an input."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.errors import StoreError, disk_code
from harvester.storage.parquet_file import IDS, ParquetOut


class ListFile:
    """An open list.  Chunks read in turn cost one row group in memory; any chunk can be read."""

    def __init__(self, path: str | Path) -> None:
        """Raises StoreError if it can't be opened."""
        self._path = path
        self._file = _open(path)
        groups = self._file.metadata
        sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
        self._starts = [0, *accumulate(sizes)]
        self._held: tuple[int, pa.RecordBatch | pa.Table] | None = None
        self.rows: int = groups.num_rows
        self.listed = self._rank_0()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let go of the group it held."""
        self._held = None
        self._file.close()

    def chunk(self, no: int, size: int) -> tuple[list[str], list[int]]:
        """The ids of chunk `no` of `size` rows, counted from 0, and their ranks.

        How large a chunk is says the ledger, whose bits are about its rows; the last may be short.
        Raises IndexError if there is no such chunk, StoreError if it can't be read.
        """
        chunks = -(-self.rows // size)
        if not 0 <= no < chunks:
            raise IndexError(f"chunk {no} of {chunks}")
        ids: list[str] = []
        ranks: list[int] = []
        at, end = no * size, min((no + 1) * size, self.rows)
        while at < end:
            group = bisect_right(self._starts, at) - 1
            stop = min(end, self._starts[group + 1])
            rows = self._group(group).slice(at - self._starts[group], stop - at)
            ids += rows.column("voice_id").to_pylist()
            ranks += rows.column("rank").to_pylist()
            at = stop
        return ids, ranks

    def find(self, wanted: Sequence[str]) -> dict[str, int]:
        """The rows of those of the sorted `wanted` that are listed, reading only the groups where
        they could be.  Raises StoreError if one can't be read.
        """
        found: dict[str, int] = {}
        for group, here in _reached(self._file, list(wanted), column=1):
            column = _read(self._file, self._path, group, ["voice_id"]).column("voice_id")
            rows = pc.indices_nonzero(pc.is_in(column, value_set=pa.array(here, pa.string())))
            ids = column.take(rows).to_pylist()
            start = self._starts[group]
            found.update(zip(ids, (start + row for row in rows.to_pylist()), strict=True))
        return found

    def _group(self, no: int) -> pa.Table:
        if self._held is None or self._held[0] != no:
            self._held = None  # let go of the old group before the new one is there
            self._held = no, _read(self._file, self._path, no, ["rank", "voice_id"])
        return self._held[1]

    def _rank_0(self) -> int:
        """Rows of rank 0: all those before the one group where the rank changes, and its own."""
        low, high = 0, len(self._starts) - 1
        while low < high:
            middle = (low + high) // 2
            statistics = self._file.metadata.row_group(middle).column(0).statistics
            if statistics.min == 0:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return 0
        ranks = _read(self._file, self._path, low - 1, ["rank"]).column("rank")
        return int(self._starts[low - 1] + pc.sum(pc.equal(ranks, 0)).as_py())


def members(input_path: str | Path, ids: Sequence[str]) -> set[str]:
    """Which of `ids` are in an input file, reading only the row groups where they could be.

    Raises StoreError if it can't be read.
    """
    wanted = sorted(ids)
    found: set[str] = set()
    with _open(input_path) as parquet:
        for group, here in _reached(parquet, wanted):
            column = _read(parquet, input_path, group, ["voice_id"]).column("voice_id")
            hits = pc.is_in(column, value_set=pa.array(here, pa.string()))
            found.update(column.filter(hits).to_pylist())
    return found


def write_ids(path: str | Path, ids: Iterable[Sequence[str]]) -> int:
    """Write batches of ids to a Parquet file (voice_id), holding one row group; how many.

    The file gets its name when it is whole.  Raises StoreError if it can't be written.
    """
    try:
        with ParquetOut(path, IDS) as out:
            for batch in ids:
                out.write(pa.array(batch, pa.string()))
            out.commit()
    except OSError as exc:
        raise StoreError(
            f"{path}: can't be written ({exc.strerror or exc}). Make room or permit writing.",
            code=disk_code(exc),
        ) from exc
    return out.rows


def _reached(
    parquet: pq.ParquetFile, wanted: list[str], column: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """The row groups whose range holds some of the sorted `wanted`, and those."""
    for group in range(parquet.metadata.num_row_groups):
        statistics = parquet.metadata.row_group(group).column(column).statistics
        low, high = 0, len(wanted)
        if statistics is not None and statistics.has_min_max:
            low = bisect_right(wanted, statistics.min)
            low -= low > 0 and wanted[low - 1] == statistics.min
            high = bisect_right(wanted, statistics.max)
        if low < high:
            yield group, wanted[low:high]


def _open(path: str | Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except (OSError, pa.ArrowException) as exc:
        raise StoreError(_unreadable(path, exc), code="state.damaged") from exc


def _read(parquet: pq.ParquetFile, path: str | Path, group: int, columns: list[str]) -> pa.Table:
    try:
        return parquet.read_row_group(group, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as exc:
        raise StoreError(_unreadable(path, exc), code="state.damaged") from exc


def _unreadable(path: str | Path, exc: Exception) -> str:
    return f"{path}: a list of this output can't be read ({exc}). Run `harvester verify`."
