"""Where a run's CPU goes, thread by thread, by the kernel's own count."""

from __future__ import annotations

import json
import os
import resource
import threading
from pathlib import Path

from bench.compare import take_turn
from bench.contestants import environ, floor
from bench.ids import id_file
from bench.measure import measure
from bench.places import OURS, fresh_out, work
from bench.tables import show
from bench.upstream import upstream

_LOOK_EVERY_S = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_HEADS = ("transport", "thread", "CPU us/record")


class ThreadTimes:
    """Watches the threads of this process; one that ended keeps what it had when last seen."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._look_on, name="watcher", daemon=True).start()

    def as_json(self) -> str:
        """CPU seconds by the name of the thread, and of the children."""
        self._over.set()
        self._look()
        found: dict[str, float] = {}
        for name, cpu_s in self._seen.values():
            # The threads of a pool are one.
            pool = name.rstrip("0123456789_")
            found[pool] = found.get(pool, 0.0) + cpu_s
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        found["child"] = children.ru_utime + children.ru_stime
        return json.dumps(found)

    def _look_on(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        names = {str(thread.native_id): thread.name for thread in threading.enumerate()}
        for path in Path("/proc/self/task").glob("*/stat"):
            try:
                told = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended in between
            number = path.parent.name
            known = self._seen.get(number, ("native", 0.0))[0]
            cpu_s = (int(told[11]) + int(told[12])) / _TICKS
            self._seen[number] = (names.get(number, known), cpu_s)


def thread_times(transports: list[str], count: int) -> None:
    """Print the table; FLOOR of the same minute beside it."""
    told = work() / "threads.json"
    with upstream() as server:
        rows = [["FLOOR", "all", f"{take_turn(floor(), server, count).cpu_us:.1f}"]]
        for name in transports:
            measure(
                [
                    *(OURS, "-m", "bench.observed", id_file(work(), count), server.fast),
                    *(fresh_out(), "--transport", name, "--threads", told),
                ],
                environ=environ(name),
            )
            found = sorted(json.loads(told.read_text()).items(), key=lambda item: -item[1])
            rows += [[name, thread, f"{1e6 * cpu_s / count:.1f}"] for thread, cpu_s in found]
    show(f"CPU by thread, {count:,} ids", _HEADS, rows)
