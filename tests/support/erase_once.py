"""One erasure in a process of its own: `python -m tests.support.erase_once OUT`."""

from __future__ import annotations

import sys

from harvester.config import load
from harvester.operations.erase import Order, erase
from harvester.operations.listed_numbers import read_numbers
from tests.crash.scenes import erased_numbers
from tests.support.events import SignallingEvents
from tests.support.once import ended


def main() -> int:
    """Erase once."""
    config = load(flags={"output.dir": sys.argv[1], "compact.grace_s": 0}).config
    order = Order(numbers=read_numbers(erased_numbers()), because="T-1")
    return ended(lambda: erase(config, order, SignallingEvents()))


if __name__ == "__main__":
    sys.exit(main())
