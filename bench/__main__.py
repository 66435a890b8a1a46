"""`python -m bench TABLE`: one table, or a few."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from bench import contestants
from bench.compare import compare
from bench.places import BenchError
from bench.upstream import upstream

PAIRS = int(os.environ.get("PAIRS") or 11)


def main() -> int:
    """Run what the command line names; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("table", choices=sorted(_TABLES))
    parser.add_argument("--ids", type=int, default=None, help="how many (the table's own default)")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="rounds (PAIRS, 11)")
    given = parser.parse_args()
    try:
        _TABLES[given.table](given)
    except BenchError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    return 0


def _small(given: argparse.Namespace, *, everyone: bool = False) -> None:
    """The usual field, start-up weighing."""
    field = [*_us(), *contestants.peers(everyone=everyone)]
    with upstream() as server:
        compare(field, server, ids=given.ids or 20_000, rounds=given.pairs)


def _large(given: argparse.Namespace) -> None:
    """Ours only."""
    with upstream() as server:
        compare(_us(), server, ids=given.ids or 200_000, rounds=given.pairs)


def _usual(given: argparse.Namespace) -> None:
    _small(given)
    _large(given)


def _full(given: argparse.Namespace) -> None:
    _small(given, everyone=True)
    _large(given)


def _latency(given: argparse.Namespace) -> None:
    """50 ms an answer, at equal concurrency."""
    with upstream() as server:
        compare(_us(), server, ids=given.ids or 20_000, rounds=given.pairs, slow=True)


def _us() -> list[contestants.Contestant]:
    return [contestants.floor(), *(contestants.ours(name) for name in contestants.transports())]


_TABLES: dict[str, Callable[[argparse.Namespace], None]] = {
    "usual": _usual,
    "full": _full,
    "small": _small,
    "large": _large,
    "latency": _latency,
}

if __name__ == "__main__":
    sys.exit(main())
