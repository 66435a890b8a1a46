"""The columns of any query in the types that CSV, JSON lines and Parquet have alike.

Text, whole numbers, decimals, floats, truth values, dates and instants stay what they are; instants
are cut at the millisecond, as in the data.  Lists, structs and maps become JSON text, intervals
"1 day 02:00:00", bytes hex.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

_INSTANT = pa.timestamp("ms", "UTC")
_SAME = (pt.is_string, pt.is_integer, pt.is_boolean, pt.is_decimal, pt.is_floating, pt.is_date)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of `plain`; of two with one name, the second gets a number."""
    names = _told_apart(schema.names)
    return pa.schema([(name, _kind(one.type)) for name, one in zip(names, schema, strict=True)])


def plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A portion of a result with the columns of `schema`, its `plain_schema`."""
    columns = [
        _column(column, field.type) for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _kind(kind: pa.DataType) -> pa.DataType:
    if pt.is_timestamp(kind) and kind.tz is not None:
        return _INSTANT
    return kind if any(same(kind) for same in _SAME) else pa.string()


def _column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if pt.is_timestamp(kind):
        return column.cast(kind, safe=False)
    if pt.is_timestamp(column.type):
        return pc.strftime(column.cast(pa.timestamp("ms"), safe=False), format="%Y-%m-%dT%H:%M:%S")
    if pt.is_dictionary(column.type) or pt.is_time(column.type):
        return column.cast(kind)
    values = column.to_pylist()
    if pt.is_map(column.type) and pt.is_string(column.type.key_type):
        values = [None if one is None else dict(one) for one in values]
    return pa.array([None if one is None else _spoken(one) for one in values], kind)


def _spoken(value: object) -> str:
    match value:
        case pa.MonthDayNano():
            return _interval(value)
        case bytes():
            return value.hex()
        case _:
            return msgspec.json.encode(value, enc_hook=str).decode()


def _interval(value: pa.MonthDayNano) -> str:
    years, months = divmod(abs(value.months), 12)
    sign = -1 if value.months < 0 else 1
    amounts = ((sign * years, "year"), (sign * months, "month"), (value.days, "day"))
    told = [f"{n} {unit}{'' if abs(n) == 1 else 's'}" for n, unit in amounts if n]
    seconds, rest = divmod(abs(value.nanoseconds) // 1000, 10**6)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    clock += f".{rest:06}".rstrip("0") if rest else ""
    if value.nanoseconds or not told:
        told.append(f"-{clock}" if value.nanoseconds < 0 else clock)
    return " ".join(told)


def _told_apart(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number, one = 1, name
        while one in found:
            number += 1
            one = f"{name}_{number}"
        found.append(one)
    return found
