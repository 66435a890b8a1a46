"""The rows of an output that leave it: of the data set, the dead letters, the open calls.

Whatever the number of rows, one portion is in memory at a time.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.analysis.scope import Scope
from harvester.errors import StoreError
from harvester.state import unresolved
from harvester.state.read_only import looking
from harvester.state.values import DeadLetter, OpenCall
from harvester.storage.output import Output

_PORTION = 8_192
_MS = pa.timestamp("ms", tz="UTC")

_DEAD = pa.schema(
    [
        ("voice_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("attempts", pa.int32()),
        ("first_at", _MS),
        ("died_at", _MS),
        ("run_id", pa.string()),
        ("published", pa.bool_()),
        ("answer", pa.string()),
    ]
)
_OPEN = pa.schema(
    [
        ("voice_id", pa.string()),
        ("due_at", _MS),
        ("first_at", _MS),
        ("fetches", pa.int32()),
        ("run_id", pa.string()),
        ("answered_at", _MS),
        ("unrated_since", _MS),
        ("answer", pa.string()),
    ]
)
_SCHEMAS = {"dead": _DEAD, "open": _OPEN}


def schema_of(what: str) -> pa.Schema:
    """The columns of an export of dead letters or open calls."""
    return _SCHEMAS[what]


def part_batches(parts: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """The rows of the data set, part by part.  Raises StoreError if one can't be read."""
    for part in parts:
        try:
            with pq.ParquetFile(part) as file:
                yield from file.iter_batches(_PORTION)
        except (OSError, pa.ArrowException) as exc:
            raise StoreError(
                f"{part} can't be read: {exc}. The export ends here; restore the file from a "
                "backup and export again.",
                code="data.unreadable",
            ) from exc


class Chosen:
    """Of batches of the data set, the rows of a period; what there is no day of is counted."""

    def __init__(self, scope: Scope, prefix: str = "") -> None:
        """`prefix`: what the names of a call's columns begin with."""
        self._column = prefix + scope.clock.column
        self._bounds = scope.clock.bounds(scope.period)
        self.rows = 0
        self.undated = 0

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows of the period; all of them where it has no bound."""
        for batch in batches:
            found = batch.filter(self._within(batch[self._column]))
            self.rows += len(found)
            if len(found):
                yield found

    def _within(self, times: pa.Array) -> pa.Array:
        since, until = self._bounds
        if since is None and until is None:
            return pa.array([True] * len(times))
        self.undated += times.null_count
        kept = times.is_valid()
        if since is not None:
            kept = pc.and_(kept, pc.greater_equal(times, pa.scalar(since, times.type)))
        if until is not None:
            kept = pc.and_(kept, pc.less(times, pa.scalar(until, times.type)))
        return pc.fill_null(kept, False)


def kept_batches(output: Output, what: str, command: str) -> Iterator[pa.RecordBatch]:
    """The dead letters or the open calls as they stand now.

    All of them are read into a file without a name before the first is handed out: whoever takes
    them may be slow, or stand still for a night, and the output is free all the while.  Raises
    AlreadyRunning, StoreError.
    """
    with _spool(output) as file:
        with (
            looking(output, command) as db,
            _room_explained(),
            pa.ipc.new_stream(file, schema_of(what)) as writer,
        ):
            for batch in state_batches(db, what):
                writer.write_batch(batch)
        file.seek(0)
        yield from pa.ipc.open_stream(file)


def _spool(output: Output) -> IO[bytes]:
    # Where the data's own disk can't be written, by a reader who is another user, elsewhere.
    folder = output.staging if os.access(output.staging, os.W_OK | os.X_OK) else None
    with _room_explained():
        return tempfile.TemporaryFile(dir=folder)


@contextmanager
def _room_explained() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreError(
            f"there is no room for temporary files: {exc.strerror or exc}. Free some space and run "
            "the same command again.",
            code="output.full",
        ) from exc


def state_batches(db: sqlite3.Connection, what: str) -> Iterator[pa.RecordBatch]:
    """The rows of the dead letters or of the open calls."""
    if what == "dead":
        rows = map(_dead_row, unresolved.dead_letters(db))
    else:
        rows = map(_open_row, unresolved.all_open_calls(db))
    schema = schema_of(what)
    while portion := list(islice(rows, _PORTION)):
        yield pa.RecordBatch.from_pylist(portion, schema)


def _dead_row(letter: DeadLetter) -> dict[str, object]:
    return {
        "voice_id": letter.voice_id,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "first_at": letter.first_ms,
        "died_at": letter.died_ms,
        "run_id": letter.run_id,
        "published": letter.published,
        "answer": _readable(letter.body),
    }


def _open_row(call: OpenCall) -> dict[str, object]:
    return {
        "voice_id": call.voice_id,
        "due_at": call.due_ms,
        "first_at": call.first_ms,
        "fetches": call.fetches,
        "run_id": call.run_id,
        "answered_at": call.answer_ms,
        "unrated_since": call.unrated_ms,
        "answer": _readable(call.answer),
    }


def _readable(answer: bytes | None) -> str | None:
    return None if answer is None else answer.decode("utf-8", "backslashreplace")
