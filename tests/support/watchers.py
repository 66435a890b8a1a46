"""Readers that count the rows of a data set without pause, each in a process of its own.

`python -m tests.support.watchers NAME GLOB CONTROL`: counts the rows of each date as long as the
file CONTROL says how many there must be, and prints a line for each count that was not disturbed:
right, wrong and what was counted, or error.
"""

from __future__ import annotations

import glob
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harvester.dataset.packing import NO_DATE
from tests.support.simulated import ROOT

NAMES = ("duckdb", "polars")


class Watchers:
    """One reader by DuckDB over a list of `glob.glob`, and one by Polars."""

    def __init__(self, out: Path, control: Path) -> None:
        """Counts what lies in `out`, which may come and go while nobody is told to watch."""
        self._control = control
        control.write_text("")
        pattern = f"{out}/cdr/*/*.parquet"
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.watchers", name, pattern, str(control)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in NAMES
        ]

    @contextmanager
    def watching(self, rows: Mapping[str, int], leaving: Collection[str] = ()) -> Iterator[None]:
        """As long as this lasts there must be so many rows of each date, whenever somebody looks.

        Of dates that are `leaving` it is all or none.
        """
        new = self._control.with_suffix(".new")
        told = {"rows": rows, "leaving": sorted(leaving), "time_ns": time.monotonic_ns()}
        new.write_text(json.dumps(told))
        new.replace(self._control)
        try:
            yield
        finally:
            new.write_text("")
            new.replace(self._control)

    def close(self) -> dict[str, Counter[str]]:
        """By reader: how many counts were right, went wrong in which way, or ended in an error."""
        self._control.unlink()
        found = {}
        for name, process in zip(NAMES, self._processes, strict=True):
            told, _ = process.communicate(timeout=60)
            found[name] = Counter(told.splitlines())
        return found


def is_right(counted: Mapping[str, int], told: str) -> bool:
    """Whether this is what somebody who looks now may find."""
    control = json.loads(told)
    must: dict[str, int] = control["rows"]
    stays = must.keys() - set(control["leaving"])
    return counted.items() <= must.items() and stays <= counted.keys()


def _counter(name: str, pattern: str) -> Callable[[], Counter[str]]:
    if name == "polars":
        import polars as pl

        def count_lazily() -> Counter[str]:
            rows = pl.scan_parquet(
                pattern, hive_partitioning=True, missing_columns="insert", extra_columns="ignore"
            )
            return _by_date(rows.select("submit_date", "voice_id").collect().rows())

        return count_lazily
    import duckdb

    def count() -> Counter[str]:
        files = glob.glob(pattern)  # noqa: PTH207 - the line that the docs give to readers
        rows = duckdb.read_parquet(files, hive_partitioning=True, union_by_name=True)
        names = (duckdb.ColumnExpression(name) for name in ("submit_date", "voice_id"))
        return _by_date(rows.select(*names).fetchall())

    return count


def _by_date(rows: list[tuple[object, object]]) -> Counter[str]:
    return Counter(NO_DATE if day is None else str(day) for day, _ in rows)


def main() -> None:
    """Count until the control file is gone."""
    name, pattern, control = sys.argv[1:]
    count, file = _counter(name, pattern), Path(control)
    while True:
        try:
            told = file.read_text()
        except FileNotFoundError:
            return
        if not told:
            time.sleep(0.002)
            continue
        try:
            rows = count()
            said = "right" if is_right(rows, told) else f"wrong {dict(rows)} for {told}"
        except Exception as exc:  # noqa: BLE001 - whatever a reader raises is loud
            said = f"error {type(exc).__name__}"
        try:
            undisturbed = file.read_text() == told
        except FileNotFoundError:
            return
        if undisturbed:
            print(said, flush=True)


if __name__ == "__main__":
    main()
