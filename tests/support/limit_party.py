"""One process that takes all the turns it can get from a limit file, until it is killed.

`python -m tests.support.limit_party FILE RATE PRIORITY TRACE`: appends to TRACE the
time at which each turn was taken, as the limit file saw it, under its lock.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from harvester.config import Priority
from harvester.pipeline.limits.limit_file import LimitFile


class _Clock:
    latest = 0

    def __call__(self) -> int:
        self.latest = time.monotonic_ns()
        return self.latest


def main(file: str, rate: str, priority: Priority, trace: str) -> None:
    """Take turns for ever."""
    clock = _Clock()
    # Unbuffered: what a killed process took must be in the trace.
    with Path(trace).open("ab", buffering=0) as written:
        limit = LimitFile(
            Path(file),
            rate_per_s=float(rate),
            owner=bytes(32),
            output=trace,
            priority=priority,
            now_ns=clock,
        )
        while True:
            wait_ns = limit.take()
            if wait_ns:
                time.sleep(min(wait_ns, 50_000_000) / 1e9)
            else:
                written.write(b"%.9f\n" % (clock.latest / 1e9))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])  # type: ignore[arg-type]
