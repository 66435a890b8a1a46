"""Where the benchmarks keep things, and how they give up."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = Path(os.environ.get("BENCH_DIR") or ROOT / ".bench")
PEERS = Path(os.environ.get("BENCH_PEERS") or ROOT / ".venv-bench") / "bin" / "python"
"""The Python with the packages of the peers, which are no dependencies of ours."""

OURS = Path(sys.executable)


class BenchError(Exception):
    """A benchmark can't be run here; the message says what to do."""


def work() -> Path:
    """The folder for ids, outputs and ledgers."""
    WORK.mkdir(exist_ok=True)
    return WORK


def fresh_out(name: str = "out") -> Path:
    """The path of an output that doesn't exist yet; an old one is removed."""
    path = work() / name
    shutil.rmtree(path, ignore_errors=True)
    return path
