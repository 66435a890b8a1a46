"""A whole `harvester run` in this process, watched from within.

`--trace FILE` gets the moment of each request's write (Unix seconds, one a line); `--callbacks
FILE` what each kind of callback cost the event loop's thread, `--threads FILE` what each thread
cost, both as JSON.  Watching costs: what a run
costs is measured without it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.thread_times import ThreadTimes
from harvester.config import load, load_secrets
from harvester.errors import HarvesterError
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.requests import RunRequest
from harvester.pipeline.run.run import run


class _Silent:
    def message(self, level: str, event: str, **fields: object) -> None:
        if level == "error":
            print(event, fields, file=sys.stderr)

    def progress(self, progress: Progress) -> None:
        pass


class Callbacks:
    """What the callbacks of the event loop cost, by name."""

    def __init__(self) -> None:
        self.longest: dict[str, list[float]] = {}
        """Name -> [CPU ms of the longest, wall ms of the longest, how many]."""

    def watch(self) -> None:
        """Time every callback of every loop from now on."""
        run_one = asyncio.Handle._run  # noqa: SLF001 - the one door that all callbacks pass

        def timed(handle: asyncio.Handle) -> None:
            began, cpu = time.perf_counter(), time.thread_time()
            run_one(handle)
            self._note(handle, time.thread_time() - cpu, time.perf_counter() - began)

        asyncio.Handle._run = timed  # type: ignore[assignment]  # noqa: SLF001

    def as_json(self) -> str:
        """All of them, the longest first."""
        ordered = sorted(self.longest.items(), key=lambda item: -item[1][0])
        return json.dumps(dict(ordered))

    def _note(self, handle: asyncio.Handle, cpu_s: float, wall_s: float) -> None:
        kept = self.longest.setdefault(_name(handle), [0.0, 0.0, 0])
        kept[0] = max(kept[0], 1e3 * cpu_s)
        kept[1] = max(kept[1], 1e3 * wall_s)
        kept[2] += 1


def _name(handle: asyncio.Handle) -> str:
    callback = handle._callback  # type: ignore[attr-defined]  # noqa: SLF001
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine = owner.get_coro()
        return f"task {getattr(coroutine, '__qualname__', type(coroutine).__name__)}"
    return str(getattr(callback, "__qualname__", callback))


def _tracer(path: Path) -> Callable[[float], None]:
    ahead_s = time.time() - time.monotonic()
    # Unbuffered: what a killed run sent must be in the trace.
    file = path.open("wb", buffering=0)

    def trace(at: float) -> None:
        file.write(b"%.6f\n" % (at + ahead_s))

    return trace


def main() -> int:
    """Harvest once; the run's exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.observed", description=__doc__)
    parser.add_argument("ids")
    parser.add_argument("address")
    parser.add_argument("out")
    parser.add_argument("--rate", type=float, default=1_000_000.0)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--transport", default="aiohttp")
    parser.add_argument("--limit-file")
    parser.add_argument("--priority", default="normal")
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--callbacks", type=Path)
    parser.add_argument("--threads", type=Path)
    given = parser.parse_args()
    flags = {
        "vendor.base_url": f"{given.address}/voice",
        "vendor.transport": given.transport,
        "pace.rate_per_s": given.rate,
        "pace.concurrency": given.concurrency,
        "pace.limit_file": given.limit_file,
        "pace.priority": given.priority,
        "output.dir": given.out,
    }
    callbacks = Callbacks()
    if given.callbacks:
        callbacks.watch()
    threads = ThreadTimes() if given.threads else None
    request = RunRequest(sources=(given.ids,))
    trace = _tracer(given.trace) if given.trace else None
    try:
        result = run(
            load(flags=flags).config, load_secrets(os.environ), request, _Silent(), trace=trace
        )
    except HarvesterError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    if given.callbacks:
        given.callbacks.write_text(callbacks.as_json())
    if threads is not None:
        given.threads.write_text(threads.as_json())
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
