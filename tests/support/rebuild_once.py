"""One rebuild in a process of its own, which may be told to die at one of its steps.

`python -m tests.support.rebuild_once OUT [STEP]`: at the STEP-th step (from 0) it is gone, as by
kill -9.
"""

from __future__ import annotations

import os
import signal
import sys

from harvester.config import load
from harvester.operations.rebuild import rebuild
from tests.support.once import ended


def main() -> int:
    """Rebuild once."""
    out, *rest = sys.argv[1:]
    last = int(rest[0]) if rest else None
    steps = iter(range(1_000))

    def tell(step: str) -> None:
        print(step, flush=True)
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    return ended(lambda: rebuild(load(flags={"output.dir": out}).config, tell=tell))


if __name__ == "__main__":
    sys.exit(main())
