"""What `harvester report` costs on a data set of millions of rows."""

from __future__ import annotations

from pathlib import Path

from bench.calls import write_calls
from bench.measure import measure
from bench.places import OURS, work
from bench.tables import show

MEMORY_LIMIT = "400MB"
_HEADS = ("command", "rows", "wall s", "CPU s", "RSS MB")


def report(count: int, rounds: int) -> None:
    """Print the table: `count` calls of 60 days, the fastest of `rounds`."""
    out = work() / f"calls-{count}"
    if not out.exists():
        fresh = out.with_suffix(".new")
        write_calls(fresh, count)
        fresh.rename(out)
    rows = [_row(["report"], out.name, count, rounds), _row(["audit"], out.name, count, rounds)]
    show(f"Reading the morning's figures, plan.memory_limit = {MEMORY_LIMIT}", _HEADS, rows)


def _row(words: list[str], name: str, count: int, rounds: int) -> list[str]:
    command: list[str | Path] = [
        OURS,
        "-m",
        "harvester",
        *words,
        "--out",
        str(work() / name),
        "--json",
    ]
    turns = [measure(command) for _ in range(rounds)]
    best = min(turns, key=lambda turn: turn.wall_s)
    return [
        f"harvester {words[0]}",
        f"{count:,}",
        f"{best.wall_s:.1f}",
        f"{best.cpu_s:.1f}",
        f"{max(turn.rss_mb for turn in turns):.0f}",
    ]
