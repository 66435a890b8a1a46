"""Why no name under cdr/ is ever used again: DuckDB's own glob, while a folder is exchanged.

A reader reads the folder, then looks at each name, and leaves out one that is gone by then.  Where
files that stay keep their names in the new folder, those are found and the merged ones not, and the
count is short without a word.  Where all names are new, the reader gets an error: unless it looks
at all names in the gap of some microseconds, which finds no row at all.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.simulated import ROOT

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

FILES = 60
STAY = 30
"""Of the files; the others are merged into one."""
_EXCHANGING = """
import sys, time
from pathlib import Path
from harvester.storage.disk import RealDisk
one, other, disk = Path(sys.argv[1]), Path(sys.argv[2]), RealDisk()
while True:
    disk.exchange(one, other)
    time.sleep(float(sys.argv[3]))
"""


def make(tmp_path: Path, suffix: str) -> tuple[Path, Path]:
    """A folder of many files, and one of the same rows in which some are merged."""
    here, there = tmp_path / "cdr/submit_date=2026-11-01", tmp_path / "staging"
    for folder in (here, there):
        folder.mkdir(parents=True)
    for number in range(FILES):
        pq.write_table(pa.table({"n": [number]}), here / f"part-{number:02}.parquet")
        if number < STAY:
            pq.write_table(pa.table({"n": [number]}), there / f"part-{number:02}{suffix}.parquet")
    pq.write_table(pa.table({"n": range(STAY, FILES)}), there / "part-99-r9.parquet")
    return here, there


def counts(
    tmp_path: Path, suffix: str, pause_s: float, seconds: float, *, until_short: bool
) -> Counter[str]:
    """What DuckDB counts by its glob while two folders of the same rows change places."""
    words = [sys.executable, "-c", _EXCHANGING, *map(str, make(tmp_path, suffix)), str(pause_s)]
    process = subprocess.Popen(words, cwd=ROOT)
    found = Counter[str]()
    try:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not (until_short and found["short"]):
            found[_count(f"{tmp_path}/cdr/*/*.parquet")] += 1
    finally:
        process.kill()
        process.wait()
    print(dict(found))
    return found


def _count(pattern: str) -> str:
    try:
        row = duckdb.execute(f"SELECT count(*) FROM '{pattern}'").fetchone()
    except duckdb.Error:
        return "error"
    assert row is not None
    return {FILES: "right", 0: "none"}.get(row[0], "short")


def test_negative_control_with_kept_names_a_count_is_short_without_a_word(tmp_path: Path) -> None:
    assert counts(tmp_path, "", 0.002, 120, until_short=True)["short"]


def test_with_new_names_for_all_no_count_is_short(tmp_path: Path) -> None:
    found = counts(tmp_path, "-r9", 0.01, 10, until_short=False)
    assert found["right"]
    assert not found["short"]
