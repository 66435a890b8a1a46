"""DuckDB as this room uses it: within its memory, without extensions, over files named one by one.

It is loaded in the process of a command that never fetches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import duckdb

from harvester.config import buffer_bytes
from harvester.errors import StoreError


def connect(memory_limit: str, scratch: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills into `scratch` what exceeds `memory_limit`."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{buffer_bytes(memory_limit) // 1000}KB",
        "threads": 2,
        "temp_directory": str(scratch / "duckdb"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute("SET enable_progress_bar = false")
    return connection


def pattern(path: Path) -> str:
    """`path` as read_parquet takes it: DuckDB would expand what looks like a pattern in it."""
    return re.sub(r"([*?[])", r"[\1]", str(path))


def listed(texts: Iterable[str]) -> str:
    """A list of texts as SQL."""
    return f"[{', '.join(map(literal, texts))}]::VARCHAR[]"


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def units(money: str) -> str:
    """SQL: an amount in whole units of 10^-8, the scale of the data set."""
    return f"({money}::DECIMAL(38, 8) * 100000000::DECIMAL(9, 0))::HUGEINT"


def trouble(exc: Exception) -> StoreError:
    """An error of DuckDB or Arrow, with what to do about it."""
    said = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return StoreError(
        f"the data set can't be read through: {said}. If that names a file, restore it; "
        "`harvester verify --deep` looks at each file by itself. If it is about memory or disk, "
        "raise plan.memory_limit or make room."
    )
