"""The command as its users type it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.security.leaks import ENV
from tests.support import forked, ways
from tests.support.simulated import ROOT

QUICK = {
    "HARVESTER_RETRY__BACKOFF_INITIAL_S": "0.02",
    "HARVESTER_RETRY__BACKOFF_MAX_S": "0.2",
    "HARVESTER_VENDOR__TIMEOUT_S": "3",
    "HARVESTER_VENDOR__TRANSPORT": ways.TRANSPORT,
}


def start(
    *words: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m", "harvester"),
) -> subprocess.Popen[str]:
    """`harvester …` in `cwd`, with our key and secret and short waits."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HARVESTER_")}
    return forked.Popen(
        [sys.executable, *program, *map(str, words)],
        cwd=cwd,
        env={**clean, "PYTHONPATH": str(ROOT), **ENV, **QUICK, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def harvester(
    *words: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m", "harvester"),
) -> subprocess.CompletedProcess[str]:
    """As `start`, to its end."""
    process = start(*words, cwd=cwd, env=env, program=program)
    out, err = process.communicate(timeout=150)
    return subprocess.CompletedProcess([*map(str, words)], process.returncode, out, err)


def run(
    base_url: str, cwd: Path, *more: object, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`harvester run ids.txt -v` into `cwd`/out."""
    return harvester(*run_words(base_url), *more, cwd=cwd, env=env)


def run_words(base_url: str) -> tuple[object, ...]:
    """The words of `run`."""
    return ("run", "ids.txt", "-v", "--out", "out", "--rate", 2000, "--base-url", base_url)
