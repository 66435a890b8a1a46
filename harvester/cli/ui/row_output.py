"""Rows on their way out of an output: read in portions, written as CSV, JSON lines or Parquet.

Whatever the number of rows, one portion is in memory at a time.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pyarrow.types as pt

from harvester.analysis.scope import Scope
from harvester.cli.ui.output_files import private_file
from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import StoreError
from harvester.pipeline.run.open_read_only import looking
from harvester.state import records
from harvester.state.values import DeadLetter, OpenCall
from harvester.storage.output import Output

Sink: TypeAlias = Callable[[pa.RecordBatch], None]

_PORTION = 8_192
_MS = pa.timestamp("ms", tz="UTC")
# What a spreadsheet takes for a formula, or lets run into one.
_FORMULA = r"\A[=+\-@\t\r]"
_ISO = "%Y-%m-%dT%H:%M:%SZ"

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
        ("asks", pa.int32()),
        ("run_id", pa.string()),
        ("answered_at", _MS),
        ("answer", pa.string()),
    ]
)
_SCHEMAS = {"delivered": GROUP_RECORD.schema, "dead": _DEAD, "open": _OPEN}


def schema_of(what: str) -> pa.Schema:
    """The columns of an export."""
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
                "backup and export again."
            ) from exc


class Chosen:
    """Of batches of the data set, the rows of a period; what there is no day of is counted."""

    def __init__(self, scope: Scope) -> None:
        self._column = scope.clock.column
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
            for batch in ledger_batches(db, what):
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
            "the same command again."
        ) from exc


def ledger_batches(db: sqlite3.Connection, what: str) -> Iterator[pa.RecordBatch]:
    """The rows of the dead letters or of the open calls."""
    if what == "dead":
        rows = map(_dead_row, records.dead_letters(db))
    else:
        rows = map(_open_row, records.all_open_calls(db))
    schema = schema_of(what)
    while portion := list(islice(rows, _PORTION)):
        yield pa.RecordBatch.from_pylist(portion, schema)


@contextmanager
def opened(form: str, file: Path | None, schema: pa.Schema) -> Iterator[Sink]:
    """What takes batches.  A file appears under its name when it is whole.

    Raises UsageError if it can't be written.
    """
    if file is None:
        with _WRITERS[form](sys.stdout.buffer, schema) as sink:
            yield sink
        sys.stdout.buffer.flush()
        return
    with private_file(file) as stream, _WRITERS[form](stream, schema) as sink:
        yield sink


def write_all(file: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write `batches` into `file` as Parquet; see `opened`."""
    with opened("parquet", file, schema) as sink:
        for batch in batches:
            sink(batch)


@contextmanager
def _csv(stream: BinaryIO, schema: pa.Schema) -> Iterator[Sink]:
    texts = pa.schema([pa.field(name, pa.string()) for name in schema.names])
    options = pa_csv.WriteOptions(include_header=True, quoting_style="needed")
    with pa_csv.CSVWriter(stream, texts, write_options=options) as writer:
        yield lambda batch: writer.write(_as_texts(batch, texts, guard=True))


@contextmanager
def _jsonl(stream: BinaryIO, schema: pa.Schema) -> Iterator[Sink]:
    def write(batch: pa.RecordBatch) -> None:
        rows = zip(*map(_json_values, batch.columns), strict=True)
        stream.writelines(
            msgspec.json.encode(dict(zip(schema.names, row, strict=True))) + b"\n" for row in rows
        )

    yield write


@contextmanager
def _parquet(stream: BinaryIO, schema: pa.Schema) -> Iterator[Sink]:
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        yield writer.write_batch


_WRITERS: dict[str, Any] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def _as_texts(batch: pa.RecordBatch, schema: pa.Schema, *, guard: bool) -> pa.RecordBatch:
    columns = []
    for column in batch.columns:
        text = as_text(column)
        # Our own numbers and times are no formulas; a vendor's text may be.
        if guard and pt.is_string(column.type):
            text = _guarded(text)
        columns.append(text)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def as_text(column: pa.Array) -> pa.Array:
    """A column as text: instants as ISO 8601, money with all its digits and no exponent."""
    if pt.is_timestamp(column.type):
        return pc.strftime(column, format=_ISO)
    if pt.is_decimal(column.type):
        # Arrow writes small amounts as 1E-8, which people misread and some tools refuse.
        return pa.array([None if v is None else f"{v:f}" for v in column.to_pylist()], pa.string())
    return column.cast(pa.string())


def _guarded(column: pa.Array) -> pa.Array:
    risky = pc.match_substring_regex(column, _FORMULA)
    return pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)


def _json_values(column: pa.Array) -> list[Any]:
    """A column as JSON has it; what JSON's own types would blur is text."""
    kind = column.type
    if pt.is_decimal(kind) and kind.scale == 0:
        return [None if one is None else int(one) for one in column.to_pylist()]
    is_plain = pt.is_string(kind) or pt.is_integer(kind) or pt.is_boolean(kind)
    plain = column if is_plain or pt.is_floating(kind) else as_text(column)
    return plain.to_pylist()  # type: ignore[no-any-return]


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
        "asks": call.asks,
        "run_id": call.run_id,
        "answered_at": call.answer_ms,
        "answer": _readable(call.answer),
    }


def _readable(answer: bytes | None) -> str | None:
    return None if answer is None else answer.decode("utf-8", "backslashreplace")
