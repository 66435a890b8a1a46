"""Rows on their way out: written as CSV, JSON lines or Parquet, a portion at a time.

Whatever the number of rows, one portion is in memory at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pyarrow.types as pt

from harvester.cli.ui.output_files import private_file

Sink: TypeAlias = Callable[[pa.RecordBatch], None]

_PORTION = 8_192
_MS = pa.timestamp("ms", tz="UTC")
# What a spreadsheet takes for a formula, or lets run into one.
_FORMULA = r"\A[=+\-@\t\r]"
_ISO = "%Y-%m-%dT%H:%M:%SZ"


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


def write_parts(form: str, file: Path, schema: pa.Schema, parts: Iterable[Path]) -> None:
    """Write the rows of `parts`, Parquet files of `schema`, into `file`; see `opened`."""
    with opened(form, file, schema) as sink:
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches():
                sink(batch)


@contextmanager
def _txt(stream: BinaryIO, schema: pa.Schema) -> Iterator[Sink]:
    """The first column alone, a value a line."""
    del schema
    yield lambda batch: stream.writelines(
        f"{value}\n".encode() for value in as_text(batch.column(0)).to_pylist()
    )


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


_WRITERS: dict[str, Any] = {"txt": _txt, "csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


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
