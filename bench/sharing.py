"""One limit for three processes: two backfills, and a nightly run that is killed and starts again.

Each is a whole run with an output of its own, at 50 ms an answer; all name one `pace.limit_file`.
The nightly run starts at 4 s, is killed (SIGKILL) at 9 s and starts again at once; a backfill is
killed at 12 s; all are at 16 s.  Where it is slow, the nightly run has 2 connections and nobody is
killed.  "Written" is the clients' own trace, "arrived" the log of nginx, which tells milliseconds.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contestants import environ
from bench.ids import id_file
from bench.places import OURS, ROOT, BenchError, fresh_out, work
from bench.stats import worst_second
from bench.tables import show
from bench.upstream import Upstream, upstream
from harvester.pipeline.limits.limit_file import LimitFile

RATES = (50, 200, 1_000)
NIGHTLY_AT_S, KILLED_AT_S, BACKFILL_KILLED_AT_S, ENDS_AT_S = 4.0, 9.0, 12.0, 16.0
_MANY, _FEW = 192, 2
_TURNS = 200_000
_ROUNDS = 5

_HEADS = (
    "limit/s",
    "share of it used",
    "worst second, written",
    "worst second, arrived",
    "turns of the nightly run, to its kill",
    "the same, started again",
    "in the second after the kill",
)
_SLOW_HEADS = (
    "limit/s",
    "share used without the slow run",
    "beside it",
    "turns/s of the slow run",
    "worst second, written",
)


@dataclass(frozen=True, slots=True)
class Party:
    """One process and the trace of its turns."""

    process: subprocess.Popen[bytes]
    trace: Path

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def turns(self) -> list[float]:
        """Unix times; the last line of one that was killed may be half."""
        if not self.trace.exists():
            return []
        lines = self.trace.read_text().splitlines(keepends=True)
        return [float(line) for line in lines if line.endswith("\n")]


def sharing(transports: Sequence[str]) -> None:
    """Print the tables."""
    _show_price()
    for transport in transports:
        rows = [_killed(rate, transport) for rate in RATES]
        show(f"One limit, three processes, {transport}, {ENDS_AT_S:.0f} s", _HEADS, rows)
        slow = [_slow(rate, transport) for rate in RATES]
        show(f"A nightly run of {_FEW} connections, {transport}", _SLOW_HEADS, slow)


def _show_price() -> None:
    path = _limit_file()
    limit = LimitFile(path, rate_per_s=1e7, owner=bytes(32), output="bench")
    time.sleep(1.1)  # a new file begins with a silent second
    prices = []
    for _ in range(_ROUNDS):
        began = time.process_time_ns()
        missed = sum(limit.take() != 0 for _ in range(_TURNS))
        prices.append((time.process_time_ns() - began) / _TURNS / 1e3)
        if missed:
            raise BenchError("turns had to be waited for: something else uses the limit file.")
    limit.leave()
    show("A turn", ("what", "CPU us"), [["LimitFile.take", f"{min(prices):.2f}"]])


def _killed(rate: int, transport: str) -> list[str]:
    with upstream(logged=True) as server:
        began = time.monotonic()
        cell = _Cell(rate, transport, server)
        backfills = [cell.start("b1", "low"), cell.start("b2", "low")]
        _wait_until(began + NIGHTLY_AT_S)
        first = cell.start("n1", "normal")
        _wait_until(began + KILLED_AT_S)
        first.kill()
        killed_at = time.time()
        again = cell.start("n2", "normal")
        _wait_until(began + BACKFILL_KILLED_AT_S)
        backfills[0].kill()
        _wait_until(began + ENDS_AT_S)
        ended_at = time.time()
        for party in (again, backfills[1]):
            party.kill()
        arrived = server.arrivals()
    written = sorted(at for party in (*backfills, first, again) for at in party.turns())
    after = [at for at in written if killed_at <= at < killed_at + 1.0]
    return [
        f"{rate:,}",
        f"{_share(written, written[0], ended_at, rate):.1%}",
        f"{worst_second(written):,}",
        f"{worst_second(arrived):,}",
        _its_own(first, written, killed_at),
        _its_own(again, written, ended_at),
        f"{len(after) / rate:.1%}",
    ]


def _slow(rate: int, transport: str) -> list[str]:
    with upstream() as server:
        began = time.monotonic()
        cell = _Cell(rate, transport, server)
        backfills = [cell.start("b1", "low"), cell.start("b2", "low")]
        _wait_until(began + 7.0)
        nightly = cell.start("n1", "normal", connections=_FEW)
        _wait_until(began + ENDS_AT_S)
        ended_at = time.time()
        for party in (*backfills, nightly):
            party.kill()
    written = sorted(at for party in (*backfills, nightly) for at in party.turns())
    its = nightly.turns()
    before = [at for at in written if at < its[0]]
    beside = [at for at in written if its[0] <= at < ended_at]
    return [
        f"{rate:,}",
        f"{_share(before, before[0] + 1.0, its[0], rate):.1%}",
        f"{_share(beside, its[0], ended_at, rate):.1%}",
        f"{len(its) / (ended_at - its[0]):,.1f}",
        f"{worst_second(written):,}",
    ]


class _Cell:
    """Runs at one limit, with one limit file."""

    def __init__(self, rate: int, transport: str, server: Upstream) -> None:
        self._rate, self._transport, self._server = rate, transport, server
        self._limit = _limit_file()
        self._ids = id_file(work(), int(rate * ENDS_AT_S))

    def start(self, name: str, priority: str, connections: int = _MANY) -> Party:
        trace = work() / f"trace-{name}"
        trace.unlink(missing_ok=True)
        command: list[str | Path] = [
            *(OURS, "-m", "bench.observed", self._ids, self._server.slow, fresh_out(f"out-{name}")),
            *("--rate", str(self._rate), "--concurrency", str(connections)),
            *("--transport", self._transport, "--trace", trace),
            *("--limit-file", self._limit, "--priority", priority),
        ]
        return Party(subprocess.Popen(command, cwd=ROOT, env=environ(self._transport)), trace)


def _limit_file() -> Path:
    path = work() / "limit"
    path.unlink(missing_ok=True)
    return path


def _wait_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))


def _share(times: Sequence[float], begins: float, ends: float, rate: int) -> float:
    """Of the turns that `rate` allows between two Unix times, those that were used."""
    return sum(begins <= at < ends for at in times) / (rate * (ends - begins))


def _its_own(party: Party, written: Sequence[float], until: float) -> str:
    """Its turns among all, from its first one on."""
    its = [at for at in party.turns() if at < until]
    if not its:
        raise BenchError("the nightly run never had a turn: is this machine too slow?")
    everybody = sum(its[0] <= at < until for at in written)
    return f"{len(its):,} of {everybody:,}, {len(its) / everybody:.1%}"
