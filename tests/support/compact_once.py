"""One compaction in a process of its own: `python -m tests.support.compact_once OUT`.

Files of more than 25 rows stay as they are, under new names: so both kinds are in each rewrite.
CARELESS names a mistake that it makes, for negative controls: `blind` (recovery exchanges without
looking) or `add_then_remove` (new files are put beside the old ones, then these are removed).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harvester.config import load
from harvester.operations.compact import Order, compact
from harvester.pipeline.publish.rewrite import Rewriter
from harvester.state import publications
from harvester.state.values import PartRecord, Publication
from harvester.storage.disk import RealDisk
from tests.support.events import SignallingEvents
from tests.support.once import ended

MOST_ROWS = 50


class _Blind(Rewriter):
    def _is_exchanged(
        self, folder: str, come: Sequence[PartRecord], go: Sequence[PartRecord]
    ) -> bool:
        return False


def _finish_blindly(self: Rewriter, rewrite: Publication) -> None:
    self.__class__ = _Blind
    come = self._call(publications.parts_of, rewrite.id)
    go = self._call(publications.superseded_parts, rewrite.id)
    self._put_in_place(rewrite.id, come, go)


class _AddThenRemove(RealDisk):
    def exchange(self, one: Path, other: Path) -> None:
        old = list(other.iterdir())
        for path in list(one.iterdir()):
            path.rename(other / path.name)
        for path in old:
            path.rename(one / path.name)


def main() -> int:
    """Compact once."""
    mistake = os.environ.get("CARELESS")
    if mistake == "blind":
        Rewriter.finish = _finish_blindly  # type: ignore[method-assign]
    config = load(flags={"output.dir": sys.argv[1], "compact.grace_s": 0}).config
    order = Order(min_files=2, older_than_s=0, most_rows=MOST_ROWS)
    disk = _AddThenRemove() if mistake == "add_then_remove" else RealDisk()
    return ended(lambda: compact(config, order, SignallingEvents(), disk=disk))


if __name__ == "__main__":
    sys.exit(main())
