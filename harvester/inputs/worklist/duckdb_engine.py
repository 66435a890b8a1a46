"""DuckDB, held to a limit; nothing else in the package may load it.

It gets `config.buffer_bytes` for its buffers; what doesn't fit goes to its temp_directory.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from harvester.config import buffer_bytes

BATCH_ROWS = 122_880


class Engine:
    """One in-memory DuckDB whose queries are read as streams."""

    def __init__(self, *, memory_limit: str, threads: int, scratch: str) -> None:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{buffer_bytes(memory_limit) // 1000}KB",
            "threads": threads,
            "temp_directory": str(Path(scratch) / "duckdb"),
            # Every order that matters is asked for; keeping others costs memory.
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._connection = duckdb.connect(":memory:", config=settings)
        # A bar on stdout would stand where the result is read from.
        self._connection.execute("SET enable_progress_bar = false")

    def close(self) -> None:
        """Free its memory and its temporary files."""
        self._connection.close()

    def offer(self, name: str, reader: pa.RecordBatchReader) -> None:
        """Let queries read `reader`, once, as table `name`."""
        self._connection.register(name, reader)

    def stream(self, query: str, parameters: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
        """The rows of `query`, a batch at a time; a result is never held as a whole."""
        relation = self._connection.sql(query, params=dict(parameters))
        yield from relation.to_arrow_reader(BATCH_ROWS)


def exactly(paths: Sequence[str]) -> list[str]:
    """Patterns that match these very paths: in a file's name DuckDB would expand `*?[`."""
    return [glob.escape(path) for path in paths]


def parts(pattern: str | None) -> list[str]:
    """The files of a data set, as patterns for DuckDB.

    The folders before the first `*` are taken as they are called, if they exist.
    """
    if pattern is None:
        return []
    folder, star, _ = pattern.partition("*")
    root = folder.rpartition("/")[0] if star else ""
    if root and Path(root).is_dir():
        pattern = glob.escape(root) + pattern[len(root) :]
    return exactly(sorted(glob.glob(pattern)))  # noqa: PTH207 - the pattern may be absolute
