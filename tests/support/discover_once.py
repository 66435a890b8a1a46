"""One `discover` in a process of its own, with a trace of when each request was written.

The command itself has no trace to offer: this is what it calls.  `python -m
tests.support.discover_once '{"flags": …, "first": "2026-11-01", …}'` prints what was discovered as
its last line and exits with the command's code.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from harvester.cli.signals import Signals
from harvester.cli.ui.row_output import write_parts
from harvester.config import Secrets, load
from harvester.errors import HarvesterError
from harvester.operations import discover
from harvester.pipeline.listing.rows import SCHEMA
from tests.support.harvest_once import Quiet, tracer

DEAD = 9
_EFFECTS = {"open", "os.rename", "os.remove", "os.mkdir"}


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What to discover."""

    flags: dict[str, object]
    first: date | None = None
    last: date | None = None
    due: bool = False
    take: bool = False
    probe: str | None = None
    compare: int | None = None
    seed: int | None = None
    max_duration_s: float | None = None
    trace: str | None = None
    ids: str | None = None
    """A file for the ids that were listed."""
    dies_at: int = 0
    """Number of the effect on the files of the listing that it does not live to see."""
    full_at: int = 0
    """Number of the effect for which the disk has no room."""
    secrets: tuple[str, str] = ("bDqJFiq9", "7bz1lzh9")


def main() -> int:
    """Discover once; returns the exit code."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    wanted = discover.Order(
        first=order.first,
        last=order.last,
        due=order.due,
        take=order.take,
        probe=order.probe,
        compare=order.compare,
        seed=order.seed,
        max_duration_s=order.max_duration_s,
    )
    if order.dies_at or order.full_at:
        sys.addaudithook(_trouble(order.dies_at, order.full_at))
    signals = Signals(discover.stopped)
    try:
        with signals.handled():
            done = discover.discover(
                load(flags=order.flags).config,
                Secrets(*order.secrets),
                wanted,
                Quiet(),
                signals,
                deliver=None if order.ids is None else partial(_write, order.ids),
                trace=tracer(order.trace),
            )
    except HarvesterError as exc:
        print(f"error: {exc.code}: {exc}", file=sys.stderr)
        return exc.exit_code
    if done.error is not None:
        print(f"error: {done.error.code}: {done.error}", file=sys.stderr)
    found = msgspec.structs.asdict(done)
    found.pop("error")
    print(msgspec.json.encode(found).decode())
    return done.exit_code


def _trouble(dies_at: int, full_at: int) -> Callable[[str, tuple[Any, ...]], None]:
    """Dies, as a kill would have it, at the so manieth effect: a name that is made, changed or
    removed, and a folder that is synced, in state/listed.  Or the disk is full then.
    """
    at = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal at
        if event in _EFFECTS and "/state/listed" in str(args[0]):
            at += 1
            if at == dies_at:
                os._exit(DEAD)
            if at == full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))

    return hook


def _write(file: str, parts: list[Path]) -> None:
    write_parts("txt", Path(file), SCHEMA, parts)


if __name__ == "__main__":
    sys.exit(main())
