"""`python -m bench TABLE`: one table, or a few."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from compileall import compile_dir

from bench import contestants
from bench.callbacks import callbacks
from bench.compare import compare
from bench.lists import lists
from bench.memory import memory
from bench.places import ROOT, BenchError
from bench.rates import rates
from bench.reconcile import reconcile
from bench.report import report
from bench.screens import screens
from bench.sharing import sharing
from bench.sizes import sizes
from bench.startup import help_text, known_input
from bench.thread_times import thread_times
from bench.upstream import upstream

PAIRS = int(os.environ.get("PAIRS") or 11)
IDS = int(os.environ.get("IDS") or 0)


def main() -> int:
    """Run what the command line names; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="; ".join(f"{name}: {table.__doc__}" for name, table in _TABLES.items()),
    )
    parser.add_argument("table", choices=sorted(_TABLES))
    parser.add_argument("--ids", type=int, default=IDS, help="how many, not the table's own number")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="rounds (default: $PAIRS, or 11)")
    given = parser.parse_args()
    for part in ("harvester", "bench"):
        compile_dir(ROOT / part, quiet=1)  # as an installer does
    try:
        _TABLES[given.table](given)
    except BenchError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    return 0


def _small(given: argparse.Namespace) -> None:
    """ours and two peers beside FLOOR, 20,000 ids"""
    with upstream() as server:
        field = [*_us(), *contestants.peers(everyone=False)]
        compare(field, server, ids=given.ids or 20_000, rounds=given.pairs)


def _large(given: argparse.Namespace) -> None:
    """ours beside FLOOR, 200,000 ids"""
    with upstream() as server:
        compare(_us(), server, ids=given.ids or 200_000, rounds=given.pairs)


def _peers(given: argparse.Namespace) -> None:
    """every peer that is installed, 20,000 ids, 3 rounds"""
    with upstream() as server:
        field = [*_us(), *contestants.peers(everyone=True)]
        compare(field, server, ids=given.ids or 20_000, rounds=min(given.pairs, 3))


def _latency(given: argparse.Namespace) -> None:
    """50 ms an answer at equal concurrency, 20,000 ids"""
    with upstream() as server:
        compare(_us(), server, ids=given.ids or 20_000, rounds=given.pairs, slow=True)


def _gets(given: argparse.Namespace) -> None:
    """bare GETs by several HTTP clients, 20,000 ids"""
    with upstream() as server:
        field = [contestants.floor(), *contestants.clients()]
        compare(field, server, ids=given.ids or 20_000, rounds=given.pairs)


def _rates(_: argparse.Namespace) -> None:
    """share of the allowed rate, worst second"""
    rates(contestants.transports())


def _limit(_: argparse.Namespace) -> None:
    """one limit for three processes, a killed one among them; the price of a turn"""
    sharing(contestants.transports())


def _memory(given: argparse.Namespace) -> None:
    """peak memory of a run of 1 million ids (--ids 10000000 by hand: hours)"""
    memory(contestants.transports(), given.ids or 1_000_000)


def _lists(given: argparse.Namespace) -> None:
    """making a list of 10 million ids, and a tenth of them against that many settled ones"""
    lists(given.ids or 10_000_000)


def _known(given: argparse.Namespace) -> None:
    """start to first request of a known input of 10 million ids"""
    known_input(given.ids or 10_000_000, rounds=min(given.pairs, 5))


def _help(given: argparse.Namespace) -> None:
    """CPU of `harvester --help`"""
    help_text(given.pairs)


def _sizes(given: argparse.Namespace) -> None:
    """Parquet bytes per record on the simulator's calls"""
    sizes(given.ids or 200_000)


def _callbacks(given: argparse.Namespace) -> None:
    """longest callback of the event loop, 200,000 ids"""
    callbacks(contestants.transports(), given.ids or 200_000)


def _threads(given: argparse.Namespace) -> None:
    """CPU by thread, 60,000 ids"""
    thread_times(contestants.transports(), given.ids or 60_000)


def _report(given: argparse.Namespace) -> None:
    """`harvester report` and `audit` over 10 million rows"""
    report(given.ids or 10_000_000, rounds=min(given.pairs, 3))


def _reconcile(given: argparse.Namespace) -> None:
    """`harvester reconcile` of a tenth of 10 million calls"""
    reconcile(given.ids or 10_000_000, rounds=min(given.pairs, 3))


def _screens(_: argparse.Namespace) -> None:
    """pictures of a report for the docs (`make screens`)"""
    screens()


def _usual(given: argparse.Namespace) -> None:
    """small and large"""
    _small(given)
    _large(given)


def _full(given: argparse.Namespace) -> None:
    """everything"""
    for table in (
        _usual,
        _peers,
        _latency,
        _gets,
        _rates,
        _limit,
        _callbacks,
        _threads,
        _sizes,
        _help,
    ):
        table(given)
    for table in (_lists, _known, _memory, _report):
        table(given)


def _us() -> list[contestants.Contestant]:
    return [contestants.floor(), *(contestants.ours(name) for name in contestants.transports())]


_TABLES: dict[str, Callable[[argparse.Namespace], None]] = {
    "usual": _usual,
    "full": _full,
    "small": _small,
    "large": _large,
    "peers": _peers,
    "latency": _latency,
    "gets": _gets,
    "rates": _rates,
    "limit": _limit,
    "memory": _memory,
    "lists": _lists,
    "known": _known,
    "help": _help,
    "sizes": _sizes,
    "callbacks": _callbacks,
    "report": _report,
    "reconcile": _reconcile,
    "screens": _screens,
    "threads": _threads,
}

if __name__ == "__main__":
    sys.exit(main())
