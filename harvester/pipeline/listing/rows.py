"""What is kept of a listed call: enough to compare it with others, and no phone number.

So `erase` has nothing to look for here.  The values are read by the rules of the data set
(`answers.literals`); what can't be read is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import msgspec
import pyarrow as pa

from harvester.answers.literals import decimal_of, instant_of, seconds_of
from harvester.answers.opening import data_of, value_of
from harvester.client.record_group import Listed
from harvester.dataset.usage import currency_name
from harvester.money import PRECISION, SCALE

T = TypeVar("T")

SCHEMA = pa.schema(
    [
        pa.field("voice_id", pa.string(), nullable=False),
        pa.field("submit_time", pa.timestamp("ms", tz="UTC")),
        pa.field("answered", pa.bool_()),
        pa.field("charged_duration_s", pa.int32()),
        pa.field("cost", pa.decimal128(PRECISION, SCALE)),
        pa.field("currency", pa.string()),
        pa.field("is_final", pa.bool_()),
        pa.field("is_rated", pa.bool_()),
        pa.field("asked_at", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
_NOTHING = ("null", '""')
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Row(msgspec.Struct, frozen=True, gc=False):
    """A listed call, in the order of `SCHEMA`; times in ms since 1970 UTC."""

    voice_id: str
    submit_ms: int | None
    answered: bool
    charged_s: int | None
    cost: Decimal | None
    currency: str | None
    is_final: bool
    is_rated: bool
    asked_ms: int


def row_of(call: Listed, asked_ms: int) -> Row:
    """What is kept of `call`, as a page had it at `asked_ms`."""
    record = call.record
    try:
        fields: Mapping[str, str] = data_of(record.raw)
    except (ValueError, RecursionError):
        fields = {}
    other_cost = _read(fields, "costEur", decimal_of)
    cost = _read(fields, "cost", decimal_of)
    is_other = cost is None and other_cost is not None
    duration_s = _read(fields, "callDuration", seconds_of)
    return Row(
        record.voice_id,
        call.submit_ms,
        bool(duration_s) or _read(fields, "answerTime", instant_of) is not None,
        _read(fields, "chargedDuration", seconds_of),
        other_cost if is_other else cost,
        "EUR" if is_other else _currency(fields),
        record.over,
        record.is_rated,
        asked_ms,
    )


def table_of(rows: Sequence[Row]) -> list[pa.Array]:
    """The columns of `SCHEMA`."""
    names = Row.__struct_fields__
    return [
        pa.array([_value(getattr(row, name), field) for row in rows], field.type)
        for name, field in zip(names, SCHEMA, strict=True)
    ]


def _currency(fields: Mapping[str, str]) -> str | None:
    """As `usage.currency_name` has it, as all sums do; USD where none is sent."""
    sent = fields.get("currency", "null")
    if sent in _NOTHING:
        return "USD"
    try:
        text = value_of(sent)
    except ValueError:
        return None
    return currency_name(text) if text else None


def _value(value: object, field: pa.Field) -> object:
    if isinstance(value, int) and pa.types.is_timestamp(field.type):
        return _EPOCH + timedelta(milliseconds=value)
    return value


def _read(fields: Mapping[str, str], name: str, rule: Callable[[str], T]) -> T | None:
    try:
        text = value_of(fields.get(name, "null"))
        return rule(text.strip()) if text and text.strip() else None
    except ValueError:
        return None
