"""`harvester publish`: what waits in the journal, into the data set."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harvester.cli import options
from harvester.cli.ui.console import Line, emit, stdout
from harvester.cli.ui.text import count, one_line, size
from harvester.cli.without_run import carried_out, refuse_no_state

if TYPE_CHECKING:
    from harvester.operations.publish import PublishedAll


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
    from harvester.storage.output import Output

    refuse_no_state(Output(Path(settings.output.dir)), "published")
    from harvester.operations.publish import publish_journal, stopped

    done = carried_out(
        "publishing",
        partial(publish_journal, settings),
        stopped,
        quiet=quiet,
        json=json,
    )
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
