"""DuckDB, held to a limit; nothing else in the house may load it.

Its memory_limit covers its own buffers only.  Beside them stand Python, Arrow and the blocks that
are being read: measured 150 to 200 MB.  So it gets the limit less that share, and what doesn't
fit goes to its temp_directory.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from harvester.errors import StoreError

BATCH_ROWS = 122_880

_BESIDE_BYTES = 150_000_000
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Engine:
    """One in-memory DuckDB whose queries are read as streams."""

    def __init__(self, *, memory_limit: str, threads: int, scratch: str) -> None:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{share(memory_limit) // 1000}KB",
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


def share(memory_limit: str) -> int:
    """DuckDB's share of `memory_limit`, in bytes."""
    match = re.fullmatch(r"([0-9]+)([KMG]i?B)", memory_limit)
    if match is None:
        raise StoreError(f"plan.memory_limit: {memory_limit!r} isn't a size such as 400MB.")
    limit = int(match[1]) * _UNITS[match[2]]
    return max(limit - _BESIDE_BYTES, limit // 2)


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
