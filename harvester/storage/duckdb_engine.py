"""DuckDB, held to a limit; whoever needs it gets it here.

It gets `config.buffer_bytes` for its buffers, what doesn't fit goes to its temp_directory, and it
loads no extension.  Files are named to it one by one.  It is loaded in processes that never fetch:
the one that makes a work list, and those of commands that only read.
"""

from __future__ import annotations

import glob
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa

from harvester.config import buffer_bytes
from harvester.errors import StoreError, first_line
from harvester.money import SCALE, WHOLE

BATCH_ROWS = 122_880


def connect(memory_limit: str, scratch: Path, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills into `scratch` what exceeds `memory_limit`."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{buffer_bytes(memory_limit) // 1000}KB",
        "threads": threads,
        "temp_directory": str(scratch / "duckdb"),
        # Every order that matters is asked for; keeping others costs memory.
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=settings)
    # A bar on stdout would stand where the result is read from.
    connection.execute("SET enable_progress_bar = false")
    return connection


class Engine:
    """One in-memory DuckDB whose queries are read as streams."""

    def __init__(self, *, memory_limit: str, threads: int, scratch: str) -> None:
        self._connection = connect(memory_limit, Path(scratch), threads)

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


class Room(msgspec.Struct, frozen=True):
    """What a query may use: so much memory, and a folder for the rest."""

    memory_limit: str
    scratch: Path


def answers(query: str, parameters: Mapping[str, object], room: Room) -> Generator[pa.RecordBatch]:
    """The rows of one query, by an engine of its own; no batch is empty.  Raises StoreError."""
    with closing(
        Engine(memory_limit=room.memory_limit, threads=2, scratch=str(room.scratch))
    ) as engine:
        try:
            for batch in engine.stream(query, parameters):
                if batch.num_rows:
                    yield batch
        except (duckdb.Error, pa.ArrowException, OSError) as exc:
            raise trouble(exc) from exc


def pattern(path: Path | str) -> str:
    """A pattern that matches this very path: in a file's name DuckDB would expand `*?[`."""
    return glob.escape(str(path))


def parts(data_glob: str | None) -> list[str]:
    """The files of a data set, as patterns for DuckDB.

    The folders before the first `*` are taken as they are called, if they exist.
    """
    if data_glob is None:
        return []
    folder, star, _ = data_glob.partition("*")
    root = folder.rpartition("/")[0] if star else ""
    if root and Path(root).is_dir():
        data_glob = glob.escape(root) + data_glob[len(root) :]
    found = glob.glob(data_glob)  # noqa: PTH207 - the pattern may be absolute
    return [pattern(path) for path in sorted(found)]


def listed(texts: Iterable[str]) -> str:
    """A list of texts as SQL."""
    return f"[{', '.join(map(literal, texts))}]::VARCHAR[]"


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def units(money: str) -> str:
    """SQL: an amount in whole units of 10^-8, the scale of the data set."""
    return f"({money}::DECIMAL(38, {SCALE}) * {WHOLE}::DECIMAL({SCALE + 1}, 0))::HUGEINT"


def trouble(exc: Exception) -> StoreError:
    """An error of DuckDB or Arrow over the data set, with what to do about it."""
    return StoreError(
        f"the data set can't be read through: {first_line(exc)}. If that names a file, run the "
        "command again, as `harvester compact` may have put another in its place meanwhile; else "
        "restore it. `harvester verify --deep` looks at each file by itself. If it is about memory "
        "or disk, raise plan.memory_limit or make room.",
        code="data.unreadable",
    )
