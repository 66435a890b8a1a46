"""Lives of a harvest that end anywhere: a run in a process of its own that dies at its n-th effect.

`python -m tests.support.mortal` reads one order a line, forks, lets the child live it, and answers
with its exit code.  Effects are calls of the ledger and every making, linking, renaming
and removing of a name, those of recovery among them.  A death is `os._exit` there and then:
no handler runs, no transaction ends.  The vendor is `Chaos`, the loop's time is virtual, so
a life takes milliseconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from harvester.errors import Interrupted
from harvester.pipeline.engine.engine import Engine
from harvester.pipeline.run.recovery import Opened, open_output
from tests.support.fakes import Answer, Chaos, FakeVendor, House, config_of
from tests.support.simulated import ROOT
from tests.support.virtual_time import run_virtually, virtual_loop

DEAD = 9
ASKED_AGAIN = 7
_NAME_EVENTS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}


@dataclass(frozen=True, slots=True)
class Life:
    """One run of an output that has a list, and when it dies."""

    root: str
    settings: dict[str, Any]
    ids: list[str]
    seed: int
    dies_at: int
    """Number of the effect that it does not live to see; 0: it dies of old age."""
    stops_at_s: float


class _Fate:
    """Counts effects."""

    def __init__(self, dies_at: int) -> None:
        self._left = dies_at

    def effect(self) -> None:
        self._left -= 1
        if self._left == 0:
            os._exit(DEAD)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _NAME_EVENTS:
            self.effect()

    def ledger(self, function: object) -> float:
        self.effect()
        return 0.1


def reopened(opened: Opened, ids: list[str], **settings: object) -> House:
    """The house of an output that is held and recovered, with the list of `ids` in force."""
    house = House(opened.output.root, (), opened.db, **settings)
    house.ids = ids
    house.runs = opened.db.execute("SELECT COUNT(*) FROM run").fetchone()[0]
    return house


def live(life: Life) -> None:
    """Recover the output and work on its list; exits with ASKED_AGAIN if a settled id is asked."""
    fate = _Fate(life.dies_at)
    sys.addaudithook(fate.audit)
    with open_output(config_of(Path(life.root), **life.settings)) as opened:
        house = reopened(opened, life.ids, **life.settings)
        settled = {*house.delivered(), *house.open(), *house.dead()}
        chaos = Chaos(life.seed)

        def script(voice_id: str, before: int) -> Answer:
            if voice_id in settled:
                os._exit(ASKED_AGAIN)
            return chaos.script(voice_id, before)

        vendor = FakeVendor(script, chaos.latency_s)
        stop_at = _stopping(life.stops_at_s)
        run_virtually(lambda: house.run(vendor, meanwhile=stop_at, before=fate.ledger))


def _stopping(at_s: float) -> Callable[[Engine], None]:
    def begin(engine: Engine) -> None:
        virtual_loop().call_later(at_s, engine.stop.stop, Interrupted("enough"))

    return begin


class Mortals:
    """A process that has everything imported already, and forks a life at a time."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.support.mortal"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.communicate()

    def live(self, life: Life) -> int:
        """Live it; the exit code."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(msgspec.json.encode(life) + b"\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


def _serve() -> None:
    # The parent has no thread but this one, so a fork is safe.
    for line in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            live(msgspec.json.decode(line, type=Life))
            os._exit(0)
        _, code = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(code), flush=True)


if __name__ == "__main__":
    _serve()
