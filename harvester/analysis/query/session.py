"""Anybody's SQL over an output, by which nothing can be changed.

Theory of operation.  DuckDB runs in memory.  `cdr` is a view over the parts, named one by one as
they lie there at the start, and over the changes, so that it shows each call as it is now; what a
run publishes meanwhile belongs to the next session.  `cdr_files` shows the parts alone.  The other
tables are read when a statement first names them, because the ledger has one user at a time; until
then a view stands in their place that refuses to be read.  Then the settings are locked: no file
can be opened but those parts, no extension loaded, no setting changed back; and `readonly` lets no
statement pass that does more than read.

A statement runs in a thread of its own, so that Ctrl-C is heard while DuckDB works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from harvester.analysis.clock import Clock
from harvester.analysis.current import changes_sql, current_sql, rows_sql
from harvester.analysis.query.read_only_sql import refuse_writing
from harvester.dataset.changes import changes_of
from harvester.dataset.kind import RecordKind
from harvester.errors import HarvesterError, UsageError, first_line
from harvester.redact import without_long_numbers
from harvester.storage.duckdb_engine import connect, listed, pattern, trouble

BATCH_ROWS = 8_192
_T = TypeVar("_T")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_COLUMNS_ONLY = re.compile(r"\s*(?:DESCRIBE|SHOW)\s+(?:TABLES|[a-z_]+)\s*\Z", re.IGNORECASE)
_SUBMIT_DATE = "submit_date"
_OURS = ("/cdr/submit_date=", "/changes/change_date=")
OF_DATA = ("cdr", "cdr_files", "changes")
"""The tables that the files of the data set make."""
_KIND = re.compile(r"\A[A-Z][A-Za-z ]* Error: ")


@dataclass(frozen=True, slots=True)
class Records:
    """The files of the data set."""

    files: tuple[Path, ...]
    """Those of cdr/."""
    changes: tuple[Path, ...]
    """Those of changes/."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table that is read when it is first asked for."""

    schema: pa.Schema
    read: Callable[[], Iterable[pa.RecordBatch]]
    """Raises HarvesterError if it can't be read now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The columns of a result, and its rows as they come."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class Session:
    """An output to be asked."""

    def __init__(self, database: duckdb.DuckDBPyConnection, sources: Mapping[str, Source]) -> None:
        self._database = database
        self._unread = dict(sources)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="sql")
        self._reader: pa.RecordBatchReader | None = None
        self._names = ", ".join(sorted({*OF_DATA, *sources}))

    def ask(self, statement: str) -> Answer:
        """The answer to one statement that reads.

        Raises UsageError if it isn't one, or can't be answered; StoreError if the data can't be
        read; KeyboardInterrupt, after which the session can be used again.
        """
        with self._explained():
            self._end_last()
            refuse_writing(self._database, statement)
            for name in self._named(statement):
                self._fill(name)
            self._reader = reader = self._away(lambda: self._begun(statement))
        return Answer(reader.schema, self._batches(reader))

    def close(self) -> None:
        """End what still runs."""
        self._end_last()
        self._database.interrupt()
        self._worker.shutdown()

    def _end_last(self) -> None:
        """Let go of an answer of which no more rows are wanted: DuckDB has one at a time."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _named(self, statement: str) -> list[str]:
        """The tables that have to be read first; their columns alone can be told without."""
        if _COLUMNS_ONLY.match(statement):
            return []
        return [name for name in self._unread if name in statement.lower()]

    def _begun(self, statement: str) -> pa.RecordBatchReader:
        relation = self._database.sql(statement)
        return relation.to_arrow_reader(BATCH_ROWS)

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with self._explained():
            while (batch := self._away(lambda: next(reader, None))) is not None:
                yield batch

    def _away(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, done in the other thread."""
        doing = self._worker.submit(work)
        try:
            return doing.result()
        except KeyboardInterrupt:
            if not doing.done():
                self._database.interrupt()
            doing.exception()  # not before it has ended may anything else be asked
            raise

    def _fill(self, name: str) -> None:
        batches = iter(self._unread[name].read())
        # The first one by hand: an error of ours must not go through DuckDB's hands.
        first = next(batches, None)
        schema = self._unread[name].schema
        rows = [] if first is None else [first]
        reader = pa.RecordBatchReader.from_batches(schema, _chained(rows, batches))
        self._database.register("incoming", reader)
        self._database.execute(f"DROP VIEW {name}")
        self._database.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")  # noqa: S608
        self._database.unregister("incoming")
        del self._unread[name]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, pa.ArrowException) as exc:
            raise self._said(exc) from exc

    def _said(self, exc: Exception) -> HarvesterError:
        broken = duckdb.IOException | duckdb.OutOfMemoryException | duckdb.FatalException
        if isinstance(exc, duckdb.PermissionException):
            return UsageError(
                f"{told(exc)} A file of yours is named with --table NAME=FILE; where rows go is "
                "said by -o FILE.",
                code="usage.query",
            )
        if isinstance(exc, broken) or any(path in str(exc) for path in _OURS):
            return trouble(exc)
        return UsageError(
            f"the query can't be answered: {told(exc)} There are: {self._names}.",
            code="usage.query",
        )


def told(exc: Exception) -> str:
    """An error of DuckDB in one line, without the query and without long numbers."""
    text = str(exc).partition("\n\nLINE ")[0]
    said = " ".join(_KIND.sub("", text).split())
    said = without_long_numbers(said)  # DuckDB quotes values: one may be somebody's number
    return said if said.endswith((".", "!", "?")) else f"{said}."


@contextmanager
def opened(
    records: Records,
    kind: RecordKind,
    sources: Mapping[str, Source],
    files: Mapping[str, Path],
    *,
    clock: Clock,
    memory_limit: str,
    scratch: Path,
) -> Iterator[Session]:
    """A session over `records`, with `sources` beside them, and `files` of the user's by name.

    `kind`: that of the records, in the version that they are written in.  `clock` gives each one
    its billing_date.

    Raises UsageError if one of the files can't be read, StoreError if a part can't.
    """
    database = connect(memory_limit, scratch)
    try:
        database.execute("SET TimeZone = 'UTC'")
        # A name that is no table must not be looked for among our own variables.
        database.execute("SET python_enable_replacements = false")
        found = {name: _matching(file) for name, file in files.items()}
        for name, file in files.items():
            _load(database, name, file, found[name], taken={*OF_DATA, *sources})
        for name, source in sources.items():
            _announce(database, name, source.schema)
        try:
            _view(database, records, kind, clock)
            own = [*records.files, *records.changes]
            _shut(database, [*own, *(path for paths in found.values() for path in paths)])
        except duckdb.Error as exc:
            raise trouble(exc) from exc
        session = Session(database, sources)
        try:
            yield session
        finally:
            session.close()
    finally:
        database.close()


def _view(
    database: duckdb.DuckDBPyConnection, records: Records, kind: RecordKind, clock: Clock
) -> None:
    """Make `cdr`, `cdr_files` and `changes`."""
    columns = ", ".join([*kind.schema.names, "submit_date", f"{clock.day_sql()} AS billing_date"])
    files, changes = records.files, records.changes
    no_row = f"(SELECT {_nulls(database, kind.schema)}, NULL::DATE AS submit_date WHERE false)"
    no_change = f"(SELECT {_nulls(database, changes_of(kind).schema)} WHERE false)"
    views = {
        "cdr": f"SELECT {columns} FROM {current_sql(files, changes) if files else no_row}",  # noqa: S608
        "cdr_files": f"SELECT {columns} FROM {rows_sql(files) if files else no_row}",  # noqa: S608
        "changes": f"SELECT * FROM {changes_sql(changes) if changes else no_change}",  # noqa: S608
    }
    for name, query in views.items():
        database.execute(f"CREATE VIEW {name} AS {query}")


def _shut(database: duckdb.DuckDBPyConnection, files: Iterable[Path]) -> None:
    """From now on nothing else can be opened, and no setting changed."""
    paths = [file.absolute() for file in files]
    allowed = listed({name for path in paths for name in (str(path), pattern(path))})
    database.execute(f"SET allowed_paths = {allowed}")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")


def _announce(database: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema) -> None:
    """A view with the columns of a table that is not read yet; to read it is an error."""
    columns = _nulls(database, schema)
    database.execute(
        f"CREATE VIEW {name} AS SELECT {columns} "  # noqa: S608
        f"FROM (SELECT error('{name} is not read yet') AS why) WHERE why IS NULL"
    )


def _nulls(database: duckdb.DuckDBPyConnection, schema: pa.Schema) -> str:
    """SQL: a NULL for each column, of its name and type."""
    database.register("shape", schema.empty_table())
    types = database.execute("DESCRIBE shape").fetchall()
    database.unregister("shape")
    return ", ".join(f'NULL::{kind} AS "{column}"' for column, kind, *_ in types)


_READERS = {
    ".csv": "read_csv({file}, all_varchar = true, header = true)",
    ".tsv": "read_csv({file}, all_varchar = true, header = true, delim = '\t')",
    ".parquet": "read_parquet({file}, hive_partitioning = false)",
}


def _matching(file: Path) -> list[Path]:
    """The file of that name, or those that match it as a pattern; where none does, itself."""
    if file.exists():
        return [file]
    return [Path(name) for name in sorted(glob(str(file), recursive=True))] or [file]  # noqa: PTH207


def _load(
    database: duckdb.DuckDBPyConnection,
    name: str,
    file: Path,
    found: Sequence[Path],
    *,
    taken: Iterable[str],
) -> None:
    """Read a file of the user's; text columns stay text, so ids keep their digits.

    Parquet files, which may be the parts of other outputs, are read when they are asked for.
    """
    if not _NAME.fullmatch(name) or name in taken:
        raise UsageError(
            f"--table {name}={file}: a table is named by lower-case letters, digits and _, and not "
            f"{', '.join(sorted(taken))}.",
            code="usage.table",
        )
    kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    reader = _READERS.get(kind.lower())
    if reader is None:
        raise UsageError(
            f"--table {name}={file}: only .csv, .tsv (also .gz) and .parquet are read.",
            code="usage.table",
        )
    read = reader.format(file=listed(pattern(path.absolute()) for path in found))
    what = "VIEW" if kind.lower() == ".parquet" else "TABLE"
    try:
        database.execute(f"CREATE {what} {name} AS SELECT * FROM {read}")  # noqa: S608
    except duckdb.Error as exc:
        raise UsageError(
            f"--table {name}={file} can't be read: {_said_first(exc)}", code="usage.table"
        ) from exc


def _said_first(exc: Exception) -> str:
    return without_long_numbers(_KIND.sub("", first_line(exc)))


def _chained(
    first: Iterable[pa.RecordBatch], others: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    yield from first
    yield from others
