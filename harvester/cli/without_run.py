"""What commands share that change an output without a run: its checks, messages and signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from harvester.cli.ui.console import Terminal, stderr
from harvester.cli.ui.event_text import sentence
from harvester.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from harvester.cli.logs.logs import Logs
    from harvester.pipeline.engine.progress import Progress
    from harvester.pipeline.run.requests import StopSource
    from harvester.storage.output import Output

Result = TypeVar("Result")

_SHOWN_ON_SCREEN = frozenset(
    {
        *("listing_started", "windows_listed", "windows_unsettled"),
        *("calls_compared", "listing_ended"),
    }
)
"""What the screen of a command says in its own words."""


def refuse_no_state(output: Output, done: str) -> None:
    """Raise UsageError where nothing is that could be `done`, StoreError where the state is lost.

    `done`: as in "nothing can be published".
    """
    from harvester.pipeline.run.recovery import refuse_data_without_state
    from harvester.state.read_only import has_state

    if has_state(output):
        return
    refuse_data_without_state(output)
    raise UsageError(
        f"{output.root} holds no data yet: there is no {output.database}, so nothing can be "
        f"{done}. Name the right folder with --out or -c.",
        code="output.no_data",
    )


def carried_out(
    doing: str,
    work: Callable[[Told, StopSource], Result],
    stopped: Callable[[int], Interrupted],
    *,
    quiet: bool,
    json: bool,
    logs: Logs | None = None,
) -> Result:
    """What `work` gives, with a sign of life meanwhile; what it said is told when it is over.

    `doing`: what the sign of life says, until `work` says something else (`Told.doing`).  `logs`:
    where events go at once, in place of that.
    """
    from harvester.cli.signals import Signals

    terminal = stderr()
    with terminal.working(doing, shows=not (quiet or json)) as says:
        events = Told(None if json else terminal, quiet=quiet, doing=says, logs=logs)
        try:
            signals = Signals(stopped)
            with signals.handled():
                return work(events, signals)
        finally:
            events.tell()


class Told:
    """Implements `harvester.pipeline.engine.progress.Events`: there is no run, so no log of one."""

    def __init__(
        self,
        terminal: Terminal | None,
        *,
        quiet: bool,
        doing: Callable[[str], None],
        logs: Logs | None = None,
    ) -> None:
        self.doing = doing
        """Changes what the sign of life says."""
        self._terminal = terminal
        self._logs = logs
        self._least = "warning" if quiet else "info"
        self._waiting: list[str] = []

    def message(self, level: str, event: str, **fields: object) -> None:
        """Keep it; quiet, only warnings."""
        if self._logs is not None:
            self._logs.message(level, event, **fields)
        elif event in _SHOWN_ON_SCREEN:
            pass
        elif level != "info" or self._least == "info":
            self._waiting.append(sentence({"event": event, "level": level, **fields}))

    def tell(self) -> None:
        """Say it, now that the output is free: a terminal or pipe may keep us waiting."""
        if self._terminal is None:
            return
        for line in self._waiting:
            self._terminal.say(line)

    def progress(self, progress: Progress) -> None:
        """Nothing is fetched."""
