"""One drop in a process of its own: `python -m tests.support.drop_once OUT`.

All dates but the last leave.
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from harvester.config import load
from harvester.operations.drop import Order, drop
from tests.support.events import SignallingEvents
from tests.support.once import ended


def last_date(out: Path) -> str:
    """The last date of an output."""
    return max(path.name.partition("=")[2] for path in out.glob("cdr/submit_date=2*"))


def main() -> int:
    """Drop once."""
    out = Path(sys.argv[1])
    flags = {"output.dir": str(out), "compact.grace_s": 0, "billing.zone": "UTC"}
    order = Order(before=date.fromisoformat(last_date(out)), is_meant=True, to=out / ".." / "kept")
    return ended(lambda: drop(load(flags=flags).config, order, SignallingEvents()))


if __name__ == "__main__":
    sys.exit(main())
