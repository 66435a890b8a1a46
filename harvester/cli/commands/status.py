"""`harvester status`: the state of every id."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.ui.console import Line, Terminal, emit, stdout
from harvester.cli.ui.status_screen import idle_screen, running_screen
from harvester.errors import AlreadyRunning, UsageError

if TYPE_CHECKING:
    from harvester.config import Config
    from harvester.operations.status import OutputStatus, Running
    from harvester.storage.output import Output

WATCH_EVERY_S = 2.0
"""As often as a run writes its status.json."""

Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Again every 2 s, until the run ends or Ctrl-C.")
]


def status(
    config: options.ConfigFile = None,
    out: options.Out = None,
    watch: Watch = False,
    json: options.Json = False,
) -> int:
    """Show the state of every id, how the last runs ended, and what to type next.

    While a run is in progress it shows the run, at most two seconds old; with --watch again and
    again, until the run ends. Ctrl-C ends the watching, never the run. Exits 2 where there is no
    output yet, 6 where there is data whose state is lost.

    \b
    Example:
      harvester status -c configs/nightly.toml --watch
    """
    settings = options.settings(config, output__dir=out).config
    from harvester.state.read_only import has_state
    from harvester.storage.output import Output

    output = Output(Path(settings.output.dir))
    if not has_state(output):
        from harvester.pipeline.run.recovery import refuse_data_without_state

        refuse_data_without_state(output)
        raise UsageError(
            f"{output.root} holds no data yet: there is no {output.database}. Begin with "
            f"`harvester run IDS`, or name the right folder with --out or -c.",
            code="output.no_data",
        )
    show = _as_json if json else _Screen(stdout(), str(output.root), redraws=watch)
    if not watch:
        show(_read(output, settings))
        return 0
    try:
        watch_until_idle(lambda: _read(output, settings), show, time.sleep)
    except KeyboardInterrupt:
        return 0  # whoever watches has seen enough; the run goes on
    return 0


def watch_until_idle(
    read: Callable[[], Running | OutputStatus],
    show: Callable[[Running | OutputStatus], None],
    sleep: Callable[[float], None],
) -> None:
    """Show the state every `WATCH_EVERY_S`, until no run uses the output."""
    from harvester.operations.status import OutputStatus

    while True:
        found = read()
        show(found)
        if isinstance(found, OutputStatus):
            return
        sleep(WATCH_EVERY_S)


def _read(output: Output, settings: Config) -> Running | OutputStatus:
    from harvester.operations.status import read_output_status, read_running

    try:
        return read_output_status(output, settings)
    except AlreadyRunning:
        return read_running(output, settings)


def _as_json(found: Running | OutputStatus) -> None:
    from harvester.operations.status import Running

    if isinstance(found, Running):
        emit({"type": "status", "running": True, **msgspec.to_builtins(found)})
    else:
        emit({"type": "status", "running": False, **_fields(found)})


_IDS = (
    "in_data",
    "in_journal",
    "open",
    "open_due",
    "open_unrated",
    "dead",
    "dead_by_reason",
    "pending",
    "retrying",
    "deferred",
    "delivered_unrated",
    "pending_again",
)
_RUN = (
    "started_ms",
    "ended_ms",
    "exit_code",
    "delivered",
    "unrated",
    "open",
    "dead",
    "deferred",
    "requests",
)


def _fields(found: OutputStatus) -> dict[str, object]:
    return {
        "output": found.output,
        "account": found.account,
        **{name: getattr(found.ids, name) for name in _IDS},
        "bad_lines": found.bad_lines,
        "bad_lines_file": found.bad_lines_file,
        "runs": [
            {"run_id": run.id, **{name: getattr(run, name) for name in _RUN}} for run in found.runs
        ],
        "unended": found.unended,
        "limit": msgspec.to_builtins(found.limit),
        "months": [
            {**msgspec.to_builtins(one), "is_complete": one.is_complete} for one in found.months
        ],
    }


class _Screen:
    """Shows the state; on a terminal the new picture takes the place of the old one."""

    def __init__(self, terminal: Terminal, root: str, *, redraws: bool) -> None:
        self._terminal = terminal
        self._root = root
        self._redraws = redraws and terminal.is_live

    def __call__(self, found: Running | OutputStatus) -> None:
        if self._redraws:
            self._terminal.console.clear()
        self._terminal.show(self._lines(found))

    def _lines(self, found: Running | OutputStatus) -> list[Line]:
        from harvester.operations.status import Running

        if isinstance(found, Running):
            return running_screen(found, self._root)
        return idle_screen(found, time.time(), unicode=self._terminal.speaks_unicode)
