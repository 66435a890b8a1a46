"""What a run leaves behind, as text to search, however it is packed."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import zstandard

KEY, SECRET = "KEYq7Zx81mPf", "SECw3Lr90tVb"
ENV = {"HARVESTER_API_KEY": KEY, "HARVESTER_API_SECRET": SECRET}

_ZSTD = b"\x28\xb5\x2f\xfd"


def left_behind(out: Path) -> dict[str, bytes]:
    """Every file under `out` by name: its bytes, and what is packed in them."""
    found = {}
    with TemporaryDirectory() as spare:
        # A copy: whoever opens a ledger after a kill tidies its WAL away.
        copy = shutil.copytree(out, Path(spare) / "out", symlinks=True)
        paths = sorted(p for p in copy.rglob("*") if p.is_file())
        contents = {path: path.read_bytes() for path in paths}
        for path, content in contents.items():
            name = str(path.relative_to(copy))
            found[name] = b"\n".join([name.encode(), content, *_unpacked_cells(path)])
    return found


def leaks(places: Mapping[str, bytes], hidden: Iterable[str]) -> list[tuple[str, str]]:
    """(place, what) of everything hidden that is found."""
    needles = [(what, what.encode()) for what in hidden]
    return [
        (place, what)
        for place, content in places.items()
        for what, needle in needles
        if needle in content
    ]


def told_to_people(places: Mapping[str, bytes]) -> dict[str, bytes]:
    """Logs and summaries, where no phone number may stand."""
    names = ("summary.json", "log.jsonl", "status.json", "lock")
    return {place: content for place, content in places.items() if place.endswith(names)}


def signs(key: str, secret: str, begin: float, end: float) -> set[str]:
    """Every Sign that could have been made between two Unix times."""
    return {
        hashlib.md5(f"{key}{secret}{second}".encode()).hexdigest()
        for second in range(int(begin) - 2, int(end) + 3)
    }


def _unpacked_cells(path: Path) -> Iterator[bytes]:
    if path.suffix == ".parquet":
        yield from _cells_of_parquet(path)
    if path.name == "state.db":
        yield from _cells_of_database(path)


def _cells_of_parquet(path: Path) -> Iterator[bytes]:
    table = pq.read_table(path, partitioning=None)
    yield str(table.schema.metadata).encode()
    for row in table.to_pylist():
        yield str(row).encode()
        for value in row.values():
            if isinstance(value, bytes):
                yield _unpacked(value)


def _cells_of_database(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in tables:
            for row in db.execute(f"SELECT * FROM {name}"):
                for cell in row:
                    yield _unpacked(cell) if isinstance(cell, bytes) else str(cell).encode()


def _unpacked(blob: bytes) -> bytes:
    if not blob.startswith(_ZSTD):
        return blob
    return zstandard.ZstdDecompressor().decompressobj().decompress(blob)
