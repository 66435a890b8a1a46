"""The table of `make bench`: ours and others beside bare aiohttp, in rounds.

A ratio is taken within a round, against the FLOOR of that round; the order turns from round to
round, so that a machine that slows down favours nobody.  Every output is checked.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.check import check
from bench.contestants import FLOOR, Contestant
from bench.ids import id_file
from bench.machine import busy_s, busy_s_of, describe
from bench.measure import Usage, measure
from bench.places import BenchError, fresh_out, work
from bench.stats import spread
from bench.tables import show
from bench.upstream import Upstream

_HEADS = (
    "contestant",
    "ids",
    "CPU us/record",
    "x FLOOR: median (min q1 q3 max)",
    "records/s",
    "x FLOOR: median (min q1 q3 max)",
    "RSS MB",
    "tree MB",
    "bytes/record",
)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one contestant did in one round."""

    usage: Usage
    ids: int
    bytes: int
    others: float
    """Cores that were busy with anything but this, upstream and benchmark included."""

    @property
    def cpu_us(self) -> float:
        return 1e6 * self.usage.cpu_s / self.ids

    @property
    def per_s(self) -> float:
        return self.ids / self.usage.wall_s


def compare(
    field: Sequence[Contestant], server: Upstream, *, ids: int, rounds: int, slow: bool = False
) -> dict[str, list[Turn]]:
    """Let the field run `rounds` times and print its table.  The first one is the FLOOR."""
    upstream = "50 ms an answer" if slow else "answers at once"
    title = f"{ids:,} ids, {upstream}, rounds: {rounds}"
    print(f"\n{title}; {describe()}", flush=True)
    ledger = work() / f"results-{datetime.now(UTC):%m%d-%H%M%S}.jsonl"
    turns: dict[str, list[Turn]] = {one.name: [] for one in field}
    for number in range(rounds):
        order = field if number % 2 == 0 else [*field][::-1]
        for one in order:
            turn = take_turn(one, server, ids, slow=slow)
            turns[one.name].append(turn)
            _note(ledger, title, number, one.name, turn)
    show(title, _HEADS, [_row(name, turns) for name in turns])
    others = [turn.others for taken in turns.values() for turn in taken]
    print(f"\nCores busy with other work meanwhile: {spread(others)}", flush=True)
    return turns


def take_turn(one: Contestant, server: Upstream, ids: int, *, slow: bool = False) -> Turn:
    """One run from nothing, checked."""
    ids = min(ids, one.most or ids)
    out = fresh_out()
    command = one.filled(id_file(work(), ids), server.address(slow=slow), out)
    before = _others_s(server)
    usage = measure(command, environ=one.environ)
    others = (_others_s(server) - before - usage.cpu_s) / usage.wall_s
    if one.writes:
        return Turn(usage, ids, check(out, ids), others)
    if _answers_in(usage.out) != ids:
        raise BenchError(f"{one.name} got {usage.out[:100]!r} of {ids} answers")
    return Turn(usage, ids, 0, others)


def _others_s(server: Upstream) -> float:
    """CPU seconds of the machine so far, without the upstream's and our own."""
    return busy_s() - busy_s_of(server.pid) - time.process_time()


def _answers_in(out: str) -> int:
    """How many answers a contestant that writes no files says it got: a number, or Singer's."""
    return int(out) if out.strip().isdigit() else out.count('"type":"RECORD"')


def _row(name: str, turns: dict[str, list[Turn]]) -> list[str]:
    mine, floor = turns[name], turns[FLOOR]
    size = mine[0].bytes
    return [
        name,
        f"{mine[0].ids:,}",
        f"{_median(mine, lambda turn: turn.cpu_us):.0f}",
        _ratios(mine, floor, lambda turn: turn.cpu_us),
        f"{_median(mine, lambda turn: turn.per_s):,.0f}",
        _ratios(mine, floor, lambda turn: turn.per_s),
        f"{_median(mine, lambda turn: turn.usage.rss_mb):.0f}",
        f"{_median(mine, lambda turn: turn.usage.tree_mb):.0f}",
        f"{size / mine[0].ids:.1f}" if size else "",
    ]


def _median(turns: Sequence[Turn], of: Callable[[Turn], float]) -> float:
    return statistics.median(of(turn) for turn in turns)


def _ratios(mine: Sequence[Turn], floor: Sequence[Turn], of: Callable[[Turn], float]) -> str:
    if mine is floor:
        return "1.00"
    return str(spread([of(one) / of(other) for one, other in zip(mine, floor, strict=True)]))


def _note(ledger: Path, title: str, number: int, name: str, turn: Turn) -> None:
    with ledger.open("a") as file:
        told = {"table": title, "round": number, "name": name, **asdict(turn)}
        file.write(json.dumps(told) + "\n")
    print(
        f"  {number + 1}: {name}: {turn.cpu_us:.0f} us, {turn.per_s:,.0f}/s, "
        f"others {turn.others:.2f}",
        file=sys.stderr,
        flush=True,
    )
