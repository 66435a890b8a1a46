"""The longest callback of the event loop during a run: how long every request may have to wait."""

from __future__ import annotations

import json

from bench.contestants import environ
from bench.ids import id_file
from bench.measure import measure
from bench.places import OURS, fresh_out, work
from bench.tables import show
from bench.upstream import upstream

_HEADS = ("callback", "CPU ms, longest", "wall ms, longest", "how many")
_SHOWN = 6


def callbacks(transports: list[str], count: int) -> None:
    """Print a table for each transport."""
    with upstream() as server:
        for name in transports:
            told = work() / "callbacks.json"
            measure(
                [
                    *(OURS, "-m", "bench.observed", id_file(work(), count), server.fast),
                    *(fresh_out(), "--transport", name, "--callbacks", told),
                ],
                environ=environ(name),
            )
            found = json.loads(told.read_text())
            rows = [
                [callback, f"{cpu_ms:.1f}", f"{wall_ms:.1f}", f"{times:,}"]
                for callback, (cpu_ms, wall_ms, times) in list(found.items())[:_SHOWN]
            ]
            show(f"Longest callbacks of the event loop, {name}, {count:,} ids", _HEADS, rows)
