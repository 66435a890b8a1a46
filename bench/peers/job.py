"""What all peers share: the signature, the plain normalisation of a record, the plain write."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

KEY, SECRET = "bDqJFiq9", "7bz1lzh9"
WORKERS = 64
BATCH_ROWS = 20_000

_TEXTS = (
    "voiceId",
    "callee",
    "displayNum",
    "code",
    "terminationCode",
    "terminationReason",
    "voiceFileId",
    "feedbackValue",
    "calledInfo",
    "currency",
)
_TIMES = ("submitTime", "callTime", "ringingTime", "answerTime", "hangupTime")
_SECONDS = ("callDuration", "chargedDuration")
_MONEY = ("cost", "rate", "baseCost", "settleRate", "quoteExchange", "settlePay")


@dataclass(frozen=True, slots=True)
class Job:
    """What the command line asks for."""

    ids: Path
    prefix: str
    out: Path

    def voice_ids(self) -> Iterator[str]:
        """One id after the other."""
        with self.ids.open() as lines:
            for line in lines:
                yield line.rstrip()


def job() -> Job:
    """IDS ADDRESS OUT, from the command line."""
    ids, address, out = sys.argv[1:4]
    return Job(Path(ids), f"{address}/voice/recordGroup/", Path(out))


def signed() -> dict[str, str]:
    """The headers of one request."""
    now = str(int(time.time()))
    return {
        "Content-Type": "application/json;charset=UTF-8",
        "Sign": hashlib.md5((KEY + SECRET + now).encode()).hexdigest(),
        "Timestamp": now,
        "Api-Key": KEY,
    }


def data_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of an answer.  Raises RuntimeError if there is none."""
    if answer["status"] != "0":
        raise RuntimeError(answer["reason"])
    data: Mapping[str, Any] = answer["data"]
    return data


def normalize(data: Mapping[str, Any]) -> dict[str, object]:
    """One record as a row of Python values."""
    row: dict[str, object] = {name: data.get(name) or None for name in _TEXTS}
    for name in _TIMES:
        text = data.get(name)
        row[name] = datetime.fromisoformat(text).astimezone(UTC) if text else None
    for name in _SECONDS:
        number = data.get(name)
        row[name] = None if number in {None, ""} else int(str(number))
    for name in _MONEY:
        text = data.get(name)
        row[name] = Decimal(text) if text else None
    first, _, then = str(data.get("billPeriod") or "").partition("+")
    row["billInitial"] = int(first) if first else None
    row["billIncrement"] = int(then) if then else None
    submitted = row["submitTime"]
    row["dt"] = submitted.strftime("%Y-%m-%d") if isinstance(submitted, datetime) else None
    return row


@cache
def schema() -> pa.Schema:
    """The columns of a row."""
    fields = [(name, pa.string()) for name in _TEXTS]
    fields += [(name, pa.timestamp("s", "UTC")) for name in _TIMES]
    fields += [(name, pa.int32()) for name in _SECONDS]
    fields += [(name, pa.decimal128(18, 6)) for name in _MONEY]
    fields += [("billInitial", pa.int32()), ("billIncrement", pa.int32()), ("dt", pa.string())]
    return pa.schema(fields)


class Writer:
    """Collects rows and writes them in batches, partitioned by date, zstd."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._rows: list[dict[str, object]] = []
        self._part = 0

    def add(self, row: dict[str, object]) -> None:
        """Keep a row; every so many of them are written."""
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        self._part += 1
        form = ds.ParquetFileFormat()
        ds.write_dataset(
            pa.Table.from_pylist(rows, schema=schema()),
            self._out,
            format=form,
            file_options=form.make_write_options(compression="zstd"),
            partitioning=ds.partitioning(pa.schema([("dt", pa.string())]), flavor="hive"),
            basename_template=f"part-{self._part:05d}-{{i}}.parquet",
            existing_data_behavior="overwrite_or_ignore",
        )
