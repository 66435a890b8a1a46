"""Rows of an export that have to be made: calls as they are now, and changes with a line each.

Whatever the number of rows, one portion is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from harvester.analysis.current import changes_sql, current_sql
from harvester.dataset.changes import changes_of, flat_changes_of
from harvester.dataset.kind import Column, RecordKind
from harvester.storage.duckdb_engine import connect, trouble

_PORTION = 8_192


def current_batches(
    files: Sequence[Path],
    changes: Sequence[Path],
    kind: RecordKind,
    *,
    memory_limit: str,
    scratch: Path,
) -> Iterator[pa.RecordBatch]:
    """The calls of parts of cdr/ as they are now; `changes`: all parts of changes/.

    Raises StoreError if one can't be read.
    """
    columns = ", ".join(kind.schema.names)
    query = f"SELECT {columns} FROM {current_sql(files, changes)}"  # noqa: S608 - our constants
    yield from _asked(query, kind.schema, memory_limit, scratch)


def change_batches(
    changes: Sequence[Path], kind: RecordKind, *, memory_limit: str, scratch: Path
) -> Iterator[pa.RecordBatch]:
    """The changes of calls of `kind`, in the order in which they came; as `flat_changes_of` says.

    Raises StoreError if a part can't be read.
    """
    flat, of = flat_changes_of(kind), changes_of(kind).by_name
    columns = [_flat_sql(name, of) for name in flat.schema.names]
    query = (
        f"SELECT {', '.join(columns)} FROM {changes_sql(changes)} "  # noqa: S608 - our constants
        "ORDER BY publication, voice_id"
    )
    yield from _asked(query, flat.schema, memory_limit, scratch)


def _flat_sql(name: str, of: Mapping[str, Column]) -> str:
    if name in of:
        is_list = pa.types.is_list(of[name].type)
        return f"array_to_string({name}, ',') AS {name}" if is_list else name
    side, _, column = name.partition("_")
    return f"{side}.{column} AS {name}"


def _asked(
    query: str, schema: pa.Schema, memory_limit: str, scratch: Path
) -> Iterator[pa.RecordBatch]:
    database = connect(memory_limit, scratch)
    try:
        database.execute("SET TimeZone = 'UTC'")
        for batch in database.sql(query).to_arrow_reader(_PORTION):
            yield from pa.Table.from_batches([batch]).cast(schema).combine_chunks().to_batches()
    except (duckdb.Error, pa.ArrowException) as exc:
        raise trouble(exc) from exc
    finally:
        database.close()
