"""Whether an output holds each record exactly once, with the right cost, under the right date."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.ids import Facts, facts
from bench.places import BenchError

_COST = pa.decimal128(38, 6)


def check(out: Path, count: int) -> int:
    """Compare with what the first `count` ids come to; the bytes of all Parquet files.

    Peers name their columns as the vendor does, ours and some others in snake_case: both are read.
    Raises BenchError at the first difference.
    """
    ids: set[str] = set()
    rows, cost, answered, size = 0, Decimal(0), 0, 0
    for path in parquet_files(out):
        table = pq.ParquetFile(path).read()
        column = {name.lower().replace("_", ""): table[name] for name in table.column_names}
        rows += table.num_rows
        size += path.stat().st_size
        ids.update(column["voiceid"].to_pylist())
        cost += pc.sum(column["cost"].cast(_COST)).as_py() or 0
        answered += table.num_rows - column["answertime"].null_count
        _check_date(path, column["submittime"])
    found = Facts(rows, int(cost * 1_000_000), answered)
    if found != facts(count) or len(ids) != count:
        raise BenchError(f"{out}: {found} with {len(ids)} ids, but it should be {facts(count)}")
    return size


def parquet_files(out: Path) -> list[Path]:
    """The data of an output; ours keeps its state beside them."""
    root = out / "cdr" if (out / "cdr").is_dir() else out
    return [path for path in sorted(root.rglob("*.parquet")) if "_dlt" not in str(path)]


def _check_date(path: Path, submitted: pa.ChunkedArray) -> None:
    days = pc.unique(pc.strftime(submitted.cast(pa.timestamp("us", "UTC")), format="%Y-%m-%d"))
    if len(days) != 1:
        raise BenchError(f"{path} holds {len(days)} dates")
    day = days[0].as_py()
    if day not in str(path) and day.replace("-", "_") not in str(path):
        raise BenchError(f"{path} holds {day}")
