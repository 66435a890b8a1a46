"""What a command costs: CPU of its whole process tree, wall time, and peak memory.

CPU is what the kernel charged the process and the children it waited for (wait4): start-up, the
process that makes the list and all.  Memory is looked at a few times a second, process by process
(VmHWM is a peak already, so nothing but the last moment is missed), and as the sum of what all
processes of the tree hold at one moment.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.places import ROOT, BenchError

LIMIT_S = 7200.0
_LOOK_EVERY_S = 0.1
_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Usage:
    """One command, from its start to its end."""

    started_at: float
    """Unix time."""
    wall_s: float
    cpu_s: float
    rss_mb: float
    """Peak of the process itself."""
    children_mb: float
    """Peak of the largest of its children; 0 without any."""
    tree_mb: float
    """Peak of what all of them held at one moment."""
    code: int
    out: str


def measure(
    command: Sequence[str | Path],
    *,
    environ: Mapping[str, str] | None = None,
    codes: Sequence[int] = (0,),
    stdin: str = "",
    limit_s: float = LIMIT_S,
) -> Usage:
    """Run `command` in the project's folder.  Raises BenchError if it ends otherwise than `codes`.

    It is killed after `limit_s`.  `stdin` stays open until it ends.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as complaints:
        started_at, began = time.time(), time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env={**_as_installed(), **(environ or {})},
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=out,
            stderr=complaints,
            text=True,
        )
        if process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.flush()
        killer = threading.Timer(limit_s, process.kill)
        killer.start()
        with _Watch(process.pid) as watch:
            _, status, used = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
        killer.cancel()
        if process.stdin is not None:
            process.stdin.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        complaints.seek(0)
        if process.returncode not in codes:
            raise BenchError(_told(command, process.returncode, complaints.read()))
        return Usage(
            started_at,
            wall_s,
            used.ru_utime + used.ru_stime,
            watch.own_kb / 1024,
            watch.children_kb / 1024,
            watch.tree_kb / 1024,
            process.returncode,
            out.read(),
        )


def _as_installed() -> dict[str, str]:
    """The environment, in which Python keeps what it compiles, as it does for any user.

    Where that is switched off, each start would compile all of ours again: half a second.
    """
    return {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class _Watch:
    """Looks at the memory of a process and its descendants until the `with` ends."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.own_kb = self.children_kb = self.tree_kb = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            held = 0
            for pid in _tree(self._pid):
                peak, now = _memory_kb(pid)
                held += now
                if pid == self._pid:
                    self.own_kb = max(self.own_kb, peak)
                else:
                    self.children_kb = max(self.children_kb, peak)
            self.tree_kb = max(self.tree_kb, held)
            if self._over.wait(_LOOK_EVERY_S):
                return


def _tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue  # it ended in between
    return found


def _memory_kb(pid: int) -> tuple[int, int]:
    """(peak, present) of one process; zeros once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    told = dict(line.split(":", 1) for line in lines)
    peak, now = (told.get(name, "0 kB").split()[0] for name in ("VmHWM", "VmRSS"))
    return int(peak), int(now)


def _told(command: Sequence[str | Path], code: int, complaints: str) -> str:
    words = " ".join(str(part) for part in command)
    return f"exit {code} of: {words}\n{complaints[-_SHOWN:]}"
