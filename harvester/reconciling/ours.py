"""What our books hold beside the data set's files: the journal, open calls, the dead, the pending.

Written into one Parquet file, a portion in memory at a time, so that DuckDB can join it.  No id is
in two of these places (docs/internals/states.md), but for two: a dead letter whose last answer was
published is in the data set as well, and most of what waits to be fetched again (`waiting`) is on
the work list, or open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.analysis.verify.check_ids import settled_flags
from harvester.answers.rating import NO_COST
from harvester.dataset.kind import IS_RATED, RecordKind
from harvester.dataset.normalize import normalize
from harvester.money import PRECISION, SCALE
from harvester.state import journal, publications, unresolved, work_lists
from harvester.state.values import CHUNK_ROWS, WorkList

_MS = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("voice_id", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("submit_time", _MS),
        pa.field("seen_at", _MS),
        pa.field("charged_duration_s", pa.int32()),
        pa.field("cost", pa.decimal128(PRECISION, SCALE)),
        pa.field("currency", pa.string()),
    ]
)
WAITING = "waiting"
"""Pending, unless another row of the same id says otherwise."""
PUBLISHED = "published"
"""Dead, and its row is in the data set."""


class Books(msgspec.Struct, frozen=True):
    """An output's state, as it is read here."""

    db: sqlite3.Connection
    account: str
    kind: RecordKind
    lists: Path
    """The folder of the work lists."""


def write_states(books: Books, to: Path) -> None:
    """Write the ids of all these places.  Raises OSError, pa.ArrowException."""
    with pq.ParquetWriter(to, SCHEMA, compression="zstd", compression_level=1) as out:
        for batch in _states(books):
            if batch.num_rows:
                out.write_batch(batch)


def _states(books: Books) -> Iterator[pa.RecordBatch]:
    db = books.db
    yield from _journal(books)
    for calls in unresolved.open_since(db):
        states = ["unrated" if unrated else "open" for _, _, unrated in calls]
        yield _rows([one[0] for one in calls], states, [one[1] for one in calls])
    for letters in unresolved.dead_since(db):
        states = [PUBLISHED if published else "dead" for _, _, published in letters]
        yield _rows([one[0] for one in letters], states, [one[1] for one in letters])
    current = work_lists.current_list(db)
    if current is not None and current.pending_new:
        yield from _pending(db, current, books.lists / current.path)
    for waiting in unresolved.waiting_since(db):
        yield _rows([one[0] for one in waiting], [WAITING] * len(waiting), [w[1] for w in waiting])


def _journal(books: Books) -> Iterator[pa.RecordBatch]:
    for row in publications.journal_blobs(books.db, kind="new"):
        table = normalize(journal.answers_of(row), books.account, books.kind).table
        names = ["voice_id", "submit_time", "charged_duration_s", "cost", "currency"]
        found = table.select(names).append_column("seen_at", table["fetched_at"])
        # What is no price is none here as well: see `current.priced_sql`.
        is_price = pc.not_equal(table["cost"], pa.scalar(NO_COST))
        if IS_RATED.name in table.column_names:
            is_price = pc.and_(is_price, table[IS_RATED.name])
        cost = pc.if_else(is_price, table["cost"], None)
        found = found.set_column(names.index("cost"), "cost", cost)
        state = pa.array(["delivered"] * table.num_rows, pa.string())
        found = found.append_column("state", state).select(SCHEMA.names).cast(SCHEMA)
        yield from found.combine_chunks().to_batches()


def _pending(db: sqlite3.Connection, work_list: WorkList, path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of the list without an outcome, but for those whose record is in the data set."""
    bits = work_lists.resolved_rows(db, work_list)
    known = work_lists.find_input(db, work_list.input_key)
    at_ms = known.first_listed_ms if known else work_lists.last_new_ids_ms(db)
    start = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(CHUNK_ROWS, columns=["voice_id"], use_threads=False):
            ids = batch.column(0).slice(0, max(0, work_list.new - start))
            ids = ids.filter(pc.invert(settled_flags(work_list, bits, start, len(ids))))
            yield _rows(ids, ["pending"] * len(ids), [at_ms] * len(ids))
            start += batch.num_rows


def _rows(
    ids: pa.Array | list[str], states: list[str], seen_ms: list[int | None]
) -> pa.RecordBatch:
    columns = {
        "voice_id": pa.array(ids, pa.string()) if isinstance(ids, list) else ids,
        "state": pa.array(states, pa.string()),
        "seen_at": pa.array(seen_ms, pa.int64()).cast(_MS),
    }
    rows = len(states)
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(rows, field.type)) for field in SCHEMA], schema=SCHEMA
    )
