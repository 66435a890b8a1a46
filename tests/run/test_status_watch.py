"""`harvester status --watch`, from another terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS
from tests.security.commands import QUICK
from tests.support import forked
from tests.support.simulated import END, ROOT, Simulator

IDS = list(make_ids(200, 4, end=END))


@contextmanager
def started(
    folder: Path, *words: object, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **KEYS, **QUICK, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    environment.pop("CI", None)
    with forked.Popen(
        [sys.executable, "-m", "harvester", *map(str, words)],
        cwd=folder,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, drift=False, fates="dead_param=0") as up:
        yield up


@contextmanager
def running(folder: Path, vendor: Simulator, rate: int) -> Iterator[subprocess.Popen[str]]:
    """A run that has written its status."""
    (folder / "ids.txt").write_text("\n".join(IDS))
    words = ("run", "ids.txt", "--out", "out", "--rate", rate, "--base-url", vendor.base_url, "-q")
    with started(folder, *words) as process:
        while vendor.stats()["requests"] == 0:
            time.sleep(0.02)
        yield process


def test_it_tells_until_the_run_ends_and_then_where_all_stands(
    tmp_path: Path, vendor: Simulator
) -> None:
    with running(tmp_path, vendor, 60) as run:
        with started(tmp_path, "status", "--out", "out", "--watch", "--json") as watch:
            told, err = watch.communicate(timeout=60)
        assert watch.returncode == 0, err
        assert run.wait(timeout=30) in {0, 3}
    found = [json.loads(line) for line in told.splitlines()]
    assert [one["running"] for one in found] == [True] * (len(found) - 1) + [False]
    assert len(found) >= 2
    assert found[-2]["progress"]["resolved"] > 0
    assert sum(found[-1][state] for state in ("in_data", "open", "dead")) == len(IDS)


def test_ctrl_c_ends_the_watching_and_not_the_run(tmp_path: Path, vendor: Simulator) -> None:
    # So slow that it is at work still, however long the watching takes to start.
    with running(tmp_path, vendor, 5) as run:
        reader, writer = pty.openpty()
        with started(tmp_path, "status", "--out", "out", "-w", stdout=writer) as watch:
            screen = os.read(reader, 4096).decode()
            while ": running" not in screen:
                screen += os.read(reader, 4096).decode()
            watch.send_signal(signal.SIGINT)
            assert watch.wait(timeout=20) == 0
        os.close(writer)
        os.close(reader)
        assert run.poll() is None
    assert "\x1b[2J" in screen, "on a terminal the picture is drawn anew"
