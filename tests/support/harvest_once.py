"""One harvest in a process of its own, with a trace of when each request was written.

The command itself has no trace to offer, and none is wanted there: this is what it calls, with one
line more.  `python -m tests.support.harvest_once '{"flags": …, "sources": […], "trace": "FILE"}'`
prints the summary as its last line and exits with the run's code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from harvester.cli.signals import Signals
from harvester.config import Secrets, load
from harvester.errors import HarvesterError
from harvester.pipeline.by_pages.pages import Pages
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.requests import RefetchRequest, Request, RunRequest, stopped
from harvester.pipeline.run.run import run


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What to harvest."""

    flags: dict[str, object]
    sources: tuple[str, ...] = ()
    only: bool = False
    carried_over_only: bool = False
    rebind: bool = False
    refetch: dict[str, Any] | None = None
    """A refetch, with the fields of its request."""
    max_duration_s: float | None = None
    by_pages: Pages | None = None
    trace: str | None = None
    secrets: tuple[str, str] = ("bDqJFiq9", "7bz1lzh9")


class Quiet:
    """Whoever listens to a process that nobody listens to."""

    def message(self, level: str, event: str, **fields: object) -> None:
        """On stderr."""
        print(level, event, fields, file=sys.stderr)

    def progress(self, progress: Progress) -> None:
        """Not shown."""


def main() -> int:
    """Harvest once; returns the exit code."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    config = load(flags=order.flags).config
    request: Request = RunRequest(
        sources=order.sources,
        input_only=order.only,
        carried_over_only=order.carried_over_only,
        rebind=order.rebind,
        max_duration_s=order.max_duration_s,
        by_pages=order.by_pages,
    )
    if order.refetch is not None:
        told = {"max_duration_s": order.max_duration_s, **order.refetch}
        request = msgspec.structs.replace(
            msgspec.convert(told, RefetchRequest), by_pages=order.by_pages
        )
    signals = Signals(stopped)
    try:
        with signals.handled():
            secrets, trace = Secrets(*order.secrets), tracer(order.trace)
            result = run(config, secrets, request, Quiet(), signals, trace=trace)
    except HarvesterError as exc:
        print(f"error: {exc.code}: {exc}", file=sys.stderr)
        return exc.exit_code
    if result.error is not None:
        print(f"error: {result.error}", file=sys.stderr)
    print(msgspec.json.encode(result.summary).decode())
    return result.exit_code


def tracer(path: str | None) -> Callable[[float], None] | None:
    """What writes each time into the file `path`; None for none."""
    if path is None:
        return None
    # Unbuffered: what a killed process sent must be in the trace.
    file = Path(path).open("ab", buffering=0)  # noqa: SIM115 - open as long as the process

    def trace(at: float) -> None:
        file.write(b"%.6f\n" % at)

    return trace


if __name__ == "__main__":
    sys.exit(main())
