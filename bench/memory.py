"""Peak memory of a run: the process that fetches, its largest child, all at one moment."""

from __future__ import annotations

from bench.compare import take_turn
from bench.contestants import ours
from bench.tables import show
from bench.upstream import upstream

_HEADS = (
    "transport",
    "ids",
    "fetching MB",
    "largest child MB",
    "all MB",
    "wall s",
    "CPU us/record",
)


def memory(transports: list[str], count: int) -> None:
    """Print the table: a whole run for each transport."""
    rows = []
    with upstream() as server:
        for name in transports:
            turn = take_turn(ours(name), server, count)
            usage = turn.usage
            row = [
                name,
                f"{count:,}",
                *(f"{mb:.0f}" for mb in (usage.rss_mb, usage.children_mb, usage.tree_mb)),
                f"{usage.wall_s:.0f}",
                f"{turn.cpu_us:.0f}",
            ]
            print(f"  {row}", flush=True)
            rows.append(row)
    show("Peak memory of `harvester run`", _HEADS, rows)
