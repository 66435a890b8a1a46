"""Harvests as processes of their own, and reading back what they left."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.support import forked, ways
from tests.support.simulated import ROOT, Simulator

FAST = {
    "pace.rate_per_s": 2000.0,
    "retry.backoff_initial_s": 0.05,
    "retry.backoff_max_s": 0.5,
    "vendor.timeout_s": 3.0,
    "vendor.transport": ways.TRANSPORT,
}
"""Settings that keep a test short; none changes what a harvest comes to."""


class Harvest:
    """Runs against one vendor into one output folder."""

    def __init__(self, out: Path, base_url: str, **flags: object) -> None:
        """`flags`: section__key=value."""
        self.out = out
        named = {name.replace("__", ".", 1): value for name, value in flags.items()}
        self.environment: dict[str, str] | None = None
        """That of the harvests; None: this process's own."""
        self._flags = {**FAST, **named, "output.dir": str(out), "vendor.base_url": base_url}

    def start(self, *sources: object, **order: object) -> subprocess.Popen[str]:
        """Begin a harvest; it ends by itself, or is ended by its pid."""
        text = json.dumps({"flags": self._flags, "sources": [str(s) for s in sources], **order})
        return forked.Popen(
            [sys.executable, "-W", "error", "-m", "tests.support.harvest_once", text],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *sources: object, **order: object) -> Ended:
        """A whole harvest."""
        return self.ended(self.start(*sources, **order))

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for a harvest that was started."""
        out, err = process.communicate(timeout=170)
        return Ended(process.returncode, out, err)

    def rows(self, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Every row of the data set, with its partition as `submit_date`."""
        found = []
        for path in sorted(self.out.glob("cdr/*/*.parquet")):
            date = path.parent.name.removeprefix("submit_date=")
            table = pq.ParquetFile(path).read(columns)
            found += [{**row, "submit_date": date} for row in table.to_pylist()]
        return found

    def typed(self) -> list[dict[str, Any]]:
        """The rows by id, without when and by which run each was fetched: alike in every harvest
        of the same calls.
        """
        left_out = {"fetched_at", "run_id"}
        rows = [
            {name: value for name, value in row.items() if name not in left_out}
            for row in self.rows()
        ]
        return sorted(rows, key=lambda row: str(row["voice_id"]))

    def ids(self) -> list[str]:
        """The voiceIds of the data set, as often as they are in it, sorted."""
        return sorted(row["voice_id"] for row in self.rows(["voice_id"]))


class Ended:
    """How a harvest ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def summary(self) -> dict[str, Any]:
        """The summary that it printed."""
        found: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1], parse_float=Decimal)
        return found


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether the process ends in time."""
    until = time.monotonic() + within_s
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not is_running(pid)


def worst_second(times: Sequence[float]) -> int:
    """The most of `times` (seconds) in any half-open second."""
    times = sorted(times)
    worst = start = 0
    for end, at in enumerate(times):
        while at - times[start] >= 1.0:
            start += 1
        worst = max(worst, end - start + 1)
    return worst


def read_trace(path: Path) -> list[float]:
    """The times of a trace, in seconds."""
    return [float(line) for line in path.read_text().split()]


UNHEARD = 100
"""Requests of one worker that were sent after its last report, at most: a fifth of a second."""


def traced(folder: Path, number: int = 1) -> str:
    """Where a run writes down when its requests were written, its workers' as well."""
    return str(folder / f"{number}.trace")


def assert_kept(folder: Path, vendor: Simulator, limit: float, *, lost: int = 0) -> None:
    """In no second more than the limit were written, over all runs and all processes.

    `lost`: how many of them nobody may have heard of, as their worker was killed.
    """
    times = [at for path in folder.glob("*.trace") for at in read_trace(path)]
    assert len(times) >= vendor.stats()["requests"] - lost
    assert worst_second(times) <= limit
    # When they come to be read is also the vendor's machine's business: its stamps are late.
    assert vendor.stats()["worst_window"] <= 1.1 * limit
