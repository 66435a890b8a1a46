"""`harvester publish`: what waits in the journal, into the data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harvester.cli import options
from harvester.cli.ui.console import Line, Terminal, emit, stderr, stdout
from harvester.cli.ui.event_text import sentence
from harvester.cli.ui.text import count, one_line, size
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.operations.publish import PublishedAll
    from harvester.pipeline.engine.progress import Progress


def publish(
    config: options.ConfigFile = None,
    out: options.Out = None,
    account: options.Account = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Write the records that wait in the journal into the data set; sends nothing.

    A run does so by itself, unless it is stopped by a signal or killed: then this command does it
    without fetching anything. Needs no key and no secret. Exits 0 also where nothing waits, 7 while
    a run is in progress on the output.

    \b
    Example:
      harvester publish -c configs/nightly.toml
    """
    settings = options.settings(config, output__dir=out, vendor__account=account).config
    from harvester.pipeline.run.recovery import refuse_data_without_state
    from harvester.state.read_only import has_state
    from harvester.storage.output import Output

    output = Output(Path(settings.output.dir))
    if not has_state(output):
        refuse_data_without_state(output)
        raise UsageError(
            f"{output.root} holds no data yet: there is no {output.database}, so nothing can be "
            "published. Name the right folder with --out or -c.",
            code="output.no_data",
        )
    from harvester.cli.signals import Signals
    from harvester.operations.publish import publish_journal, stopped

    terminal = stderr()
    with terminal.working("publishing", shows=not (quiet or json)):
        events = Told(None if json else terminal, quiet=quiet)
        try:
            signals = Signals(stopped)
            with signals.handled():
                done = publish_journal(settings, events, signals)
        finally:
            events.tell()
    if json:
        emit({"type": "publish", **msgspec.to_builtins(done)})
    elif not quiet:
        stdout().show(screen(done))
    return 0


def screen(done: PublishedAll) -> list[Line]:
    """What was written, as lines."""
    where = f"{one_line(done.output)}/cdr"
    if not done.records:
        return [Line(f"Nothing waits in the journal; {where} has every record.", "bold green")]
    told = f"{count(done.records)} records in {count(done.files)} files, {size(done.bytes)}"
    return [
        Line(f"Published {told}.", "bold green"),
        Line(f"Data:     {where}/*/*.parquet"),
    ]


class Told:
    """Implements `harvester.pipeline.engine.progress.Events`: there is no run, so no log of one."""

    def __init__(self, terminal: Terminal | None, *, quiet: bool) -> None:
        self._terminal = terminal
        self._least = "warning" if quiet else "info"
        self._waiting: list[str] = []

    def message(self, level: str, event: str, **fields: object) -> None:
        """Keep it; quiet, only warnings."""
        if level != "info" or self._least == "info":
            self._waiting.append(sentence({"event": event, "level": level, **fields}))

    def tell(self) -> None:
        """Say it, now that the output is free: a terminal or pipe may keep us waiting."""
        if self._terminal is None:
            return
        for line in self._waiting:
            self._terminal.say(line)

    def progress(self, progress: Progress) -> None:
        """Nothing is fetched."""
