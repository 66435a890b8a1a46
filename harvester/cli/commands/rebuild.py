"""`harvester rebuild`: the state database made again from the data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.ui.console import Line, emit, stderr, stdout
from harvester.cli.ui.next_command import next_told
from harvester.cli.ui.text import count, one_line, size

if TYPE_CHECKING:
    from harvester.operations.rebuild import Rebuilt

Force = Annotated[
    bool, typer.Option("--force", help="Even if the state agrees with the data: replace it.")
]


def rebuild(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    account: options.Account = None,
    force: Force = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Make state/ again from the data, when it is gone, damaged or older than the data.

    Sends nothing. Reads every file of the data set, and fails (exit 6) if one is not complete or
    not of this output. An old state is moved to state.old-TIME, never deleted. Afterwards a run of
    the same inputs fetches only what is really missing.

    \b
    Example:
      harvester rebuild -c configs/nightly.toml
    """
    settings = options.settings(config, output__dir=out, vendor__account=account).config
    from harvester.operations.rebuild import rebuild

    terminal = stderr()
    silent = quiet or json
    done = rebuild(
        settings, force=force, tell=lambda step: None if silent else terminal.say(f"{step} …")
    )
    if json:
        emit({"type": "rebuild", **msgspec.to_builtins(done)})
    else:
        stdout().show(screen(done))
    return 0


def screen(done: Rebuilt) -> list[Line]:
    """What was rebuilt, as lines."""
    source = done.snapshot or "no snapshot was found"
    lines = [
        Line(f"Rebuilt the state of {one_line(done.output)}, account {done.account}", "bold"),
        Line(f"  because      {one_line(done.reason)}"),
        Line(f"  data         {count(done.files)} files, {count(done.rows)} rows, {_size(done)}"),
        Line(
            f"  restored     {count(done.open)} open calls, {count(done.dead)} dead letters, "
            f"{count(done.deferred)} deferred ids"
        ),
        Line(f"  from         {one_line(source)}"),
        Line(f"  put back     {count(done.put_back)} rows of lost files, out of changes/"),
        Line(f"  left out     {count(done.left_out)} of its rows: resolved since, or row lost"),
        Line(f"  old state    {one_line(done.old_state or 'there was none')}"),
        Line(),
        Line("What could not be known:", "bold yellow"),
    ]
    lines += [Line(f"  - {one_line(unknown)}") for unknown in done.unknown]
    return [*lines, Line(), Line(f"Next:  {one_line(next_told(done.next))}")]


def _size(done: Rebuilt) -> str:
    return size(done.bytes)
