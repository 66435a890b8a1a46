"""Ids of a Parquet file's column, where its type has kept every digit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from harvester.errors import SourceError
from harvester.inputs.bad_lines import BadIds
from harvester.inputs.discover import IdFile
from harvester.inputs.formats.id_column import TIMES, position
from harvester.inputs.formats.text_file import counted_from, sift
from harvester.inputs.voice_id import no_ids

_BATCH_ROWS = 131_072


def read_parquet(file: IdFile, column: str, bad: BadIds) -> Iterator[pa.Array]:
    """The ids in `column` of a Parquet file; a bad id's line is its row, counted from 1.

    Raises SourceError if it is no Parquet file, has no such column, or holds numbers in it whose
    digits are lost already.
    """
    try:
        if Path(file.path).stat().st_size == 0:
            return  # an export that found nothing, in any form
        with pq.ParquetFile(file.path, pre_buffer=False) as parquet:
            schema = parquet.schema_arrow
            name = schema.names[position(schema.names, column, file.name)]
            texts = _as_text(schema.field(name).type, file.name, name)
            words = no_ids(column, name)
            first = 1
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=[name], use_threads=False):
                values = texts(batch.column(0))
                yield from sift(values, counted_from(first), bad, words=words)
                first += len(values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as exc:
        raise SourceError(
            f"{file.name}: isn't a Parquet file that can be read ({exc}). Write it again.",
            code="input.damaged",
        ) from exc


def read_columns(file: IdFile, columns: tuple[str, str]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """The values of two columns, of ids and of times, as text; binary.

    Which ids of a file count is for `read_parquet` to say.  Raises SourceError if there are no such
    columns, or the times are neither times nor texts nor whole numbers.
    """
    if Path(file.path).stat().st_size == 0:
        return
    try:
        with pq.ParquetFile(file.path, pre_buffer=False) as parquet:
            schema = parquet.schema_arrow
            ids = schema.names[position(schema.names, columns[0], file.name)]
            times = schema.names[
                position(schema.names, columns[1], file.name, only=False, of=TIMES)
            ]
            text, shown = (
                _as_text(schema.field(ids).type, file.name, ids),
                _shown(schema.field(times)),
            )
            wanted = list(dict.fromkeys((ids, times)))
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
                yield text(batch[ids]), shown(batch[times]).cast(pa.binary())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as exc:
        raise SourceError(
            f"{file.name}: column {columns[1]!r} can't be read as times ({exc}). "
            "Name another by --time-column.",
            code="input.column_type",
        ) from exc


def _shown(field: pa.Field) -> Callable[[pa.Array], pa.Array]:
    """How a column of times becomes text: ISO 8601, with Z where it is an instant."""
    kind = field.type
    if pt.is_timestamp(kind) or pt.is_date(kind):
        form = "%Y-%m-%dT%H:%M:%S" + ("Z" if getattr(kind, "tz", None) else "")
        is_instant = bool(getattr(kind, "tz", None))
        plain = pa.timestamp("s", tz="UTC") if is_instant else pa.timestamp("s")
        return lambda values: pc.strftime(values.cast(plain, safe=False), form)
    return lambda values: values.cast(pa.string())


def _as_text(kind: pa.DataType, path: str, name: str) -> Callable[[pa.Array], pa.Array]:
    """How a column of type `kind` becomes text, as bytes."""
    inner = kind.value_type if pt.is_dictionary(kind) else kind
    if _is_text(inner):
        # To the plain type first, so that a dictionary is looked up and a view copied.
        return lambda values: values.cast(inner).cast(pa.binary())
    if pt.is_integer(inner) or (pt.is_decimal(inner) and inner.scale == 0):
        return lambda values: values.cast(inner).cast(pa.string()).cast(pa.binary())
    if pt.is_floating(inner) or pt.is_decimal(inner):
        raise SourceError(
            f"{path}: column {name!r} is {inner}: long ids have lost digits there. "
            "Write the file again with the ids as text.",
            code="input.column_type",
        )
    raise SourceError(
        f"{path}: column {name!r} is {inner}, not text. Name another by --column.",
        code="input.column_type",
    )


def _is_text(kind: pa.DataType) -> bool:
    tests = (
        pt.is_string,
        pt.is_large_string,
        pt.is_string_view,
        pt.is_binary,
        pt.is_large_binary,
        pt.is_binary_view,
        pt.is_fixed_size_binary,
    )
    return any(test(kind) for test in tests)
