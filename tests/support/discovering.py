"""`discover` as processes of their own, and what they left."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

from harvester.simulator import last_whole_day
from tests.support import forked
from tests.support.harvesting import FAST, Ended
from tests.support.simulated import ROOT


class Listing(Protocol):
    """A vendor with a list: the simulator, or `hostile_list.HostileList`."""

    base_url: str

    def listed(self) -> dict[str, Any]:
        """`ids`: of the calls that there are."""


class Discovery:
    """Listings of one vendor into one output folder; of the day before, unless told otherwise."""

    def __init__(self, out: Path, vendor: Listing, **flags: object) -> None:
        """`flags`: section__key=value."""
        named = {name.replace("__", ".", 1): value for name, value in flags.items()}
        self.out = out
        self.vendor = vendor
        self.found = out.with_name(f"{out.name}-ids.txt")
        self._flags = {
            **FAST,
            "vendor.base_url": vendor.base_url,
            **named,
            "output.dir": str(out),
        }

    def start(self, **order: object) -> subprocess.Popen[str]:
        """Begin one."""
        if not order.keys() & {"first", "due", "probe"}:
            order |= {"first": day(), "last": day()}
        wanted = {"ids": self.found, **order, "flags": self._flags}
        text = json.dumps(wanted, default=str)
        return forked.Popen(
            [sys.executable, "-W", "error", "-m", "tests.support.discover_once", text],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **order: object) -> Ended:
        """A whole one."""
        return self.ended(self.start(**order))

    @staticmethod
    def ended(process: subprocess.Popen[str]) -> Ended:
        """Wait for one that was started."""
        out, err = process.communicate(timeout=170)
        return Ended(process.returncode, out, err)

    def ids(self) -> list[str]:
        """The ids that it has written."""
        return self.found.read_text().split()

    def missing(self) -> set[str]:
        """Calls that the vendor has, and that were not found."""
        return set(self.vendor.listed()["ids"]) - set(self.ids())


def day(before: int = 0) -> date:
    """The vendor's last whole day, or one before it."""
    return last_whole_day() - timedelta(days=before)
