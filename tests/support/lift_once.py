"""One `compact --schema` in a process of its own: `python -m tests.support.lift_once OUT`."""

from __future__ import annotations

import sys

from harvester.config import load
from harvester.operations.compact import Order, compact
from tests.support.events import SignallingEvents
from tests.support.once import ended


def main() -> int:
    """Give all rows the newest columns; merge nothing."""
    config = load(flags={"output.dir": sys.argv[1], "compact.grace_s": 0}).config
    order = Order(min_files=1_000, older_than_s=0, schema=True)
    return ended(lambda: compact(config, order, SignallingEvents()))


if __name__ == "__main__":
    sys.exit(main())
