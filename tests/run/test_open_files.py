"""A run under a limit of open files: it costs no id anything, and the run ends as it should."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from harvester.pipeline.limits.open_files import SPARE_FILES
from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS
from tests.support.simulated import END, Simulator

IDS = list(make_ids(150, 4, end=END))


def limited(words: list[str], soft: int, hard: int, cwd: Path, transport: str) -> list[str]:
    """Run a command under a limit; stderr's lines."""
    # `ulimit` in a shell of its own: a function before exec is no good beside threads.
    line = f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"'
    environ = {**os.environ, **KEYS, "HARVESTER_VENDOR__TRANSPORT": transport}
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", "harvester", *words],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize("transport", ["aiohttp", "lean"])
def test_a_run_keeps_as_many_connections_as_there_is_room_for(
    tmp_path: Path, transport: str
) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    with Simulator(rate_limit=0, drift=False, latency_ms=200) as vendor:
        words = ["run", "ids.txt", "--out", "out", "--base-url", vendor.base_url]
        words += ["--rate", "500", "--concurrency", "100"]
        told = limited(words, 72, 72, tmp_path, transport)
        asked = vendor.asks()
    assert asked == dict.fromkeys(IDS, 1), "no attempt is lost"
    (warning,) = [line for line in told if "open files" in line]
    assert f"{72 - SPARE_FILES} connections, not pace.concurrency = 100" in warning
    (run,) = (tmp_path / "out" / "runs").glob("2*")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["exit_code"] == 0
    assert summary["retries"] == {}


def test_a_soft_limit_is_raised_as_far_as_it_may_be(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 200:
        pytest.skip("this machine allows fewer open files than that")
    code = (
        "import resource\n"
        "from harvester.pipeline.limits.open_files import most_files, room_for\n"
        "print(most_files(), room_for(100), resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "print(room_for(1000), resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "print(room_for(10), resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    line = 'ulimit -Sn 70; ulimit -Hn 200; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"200 100 ({100 + SPARE_FILES}, 200)",
        f"{200 - SPARE_FILES} (200, 200)",
        "10 (200, 200)",
    ]
