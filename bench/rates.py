"""How much of the allowed rate is used, and whether it is ever overstepped, at 50 ms an answer.

"Written" is the client's own trace, "arrived" the log of nginx, which tells milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.contestants import environ
from bench.ids import id_file
from bench.measure import measure
from bench.places import OURS, fresh_out, work
from bench.stats import worst_second
from bench.tables import show
from bench.upstream import Upstream, upstream

SECONDS = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """One run at one limit."""

    transport: str
    rate: int
    concurrency: int


CELLS = (
    Cell("aiohttp", 50, 64),
    Cell("aiohttp", 200, 64),
    Cell("aiohttp", 1000, 64),
    Cell("lean", 50, 64),
    Cell("lean", 200, 64),
    Cell("lean", 1000, 64),
    Cell("lean", 3000, 256),
)
_HEADS = (
    "transport",
    "limit/s",
    "concurrency",
    "requests",
    "share of it used",
    "worst second, written",
    "worst second, arrived",
    "CPU us/record",
)


def rates(transports: list[str]) -> None:
    """Print the table."""
    rows = []
    for cell in CELLS:
        if cell.transport in transports:
            with upstream(logged=True) as server:
                rows.append(_row(cell, server))
                print(f"  {rows[-1]}", flush=True)
    show(f"Share of the allowed rate, 50 ms an answer, {SECONDS} s", _HEADS, rows)


def _row(cell: Cell, server: Upstream) -> list[str]:
    count = cell.rate * SECONDS
    trace = work() / "trace"
    usage = measure(
        [
            *(OURS, "-m", "bench.observed", id_file(work(), count), server.slow, fresh_out()),
            *("--rate", str(cell.rate), "--concurrency", str(cell.concurrency)),
            *("--transport", cell.transport, "--trace", trace),
        ],
        environ=environ(cell.transport),
    )
    written = sorted(float(line) for line in trace.read_text().split())
    arrived = server.arrivals()
    used = (len(written) - 1) / (written[-1] - written[0]) / cell.rate
    return [
        cell.transport,
        f"{cell.rate:,}",
        str(cell.concurrency),
        f"{len(written):,}",
        f"{used:.1%}",
        f"{worst_second(written):,}",
        f"{worst_second(arrived):,}",
        f"{1e6 * usage.cpu_s / count:.0f}",
    ]
