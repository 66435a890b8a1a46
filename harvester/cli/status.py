"""`harvester status`: where every id stands."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from harvester.cli import options
from harvester.cli.console import emit, stdout
from harvester.cli.standing import idle_screen, running_screen
from harvester.errors import AlreadyRunning, UsageError


def status(
    config: options.ConfigFile = None, out: options.Out = None, json: options.Json = False
) -> int:
    """Say where every id stands, how the last runs ended, and what to type next.

    While a run works it tells of the run, as of at most two seconds ago. Exits 2 where there is
    no output yet.

    \b
    Example:
      harvester status -c configs/nightly.toml
    """
    folder = options.settings(config, output__dir=out).config.output.dir
    from harvester.harvest.looking import has_state
    from harvester.harvest.output import Output

    output = Output(Path(folder))
    if not has_state(output):
        raise UsageError(
            f"{output.root} holds no harvest yet: there is no {output.database}. Begin with "
            f"`harvester run IDS --out {output.root}`, or name the right folder with --out or -c."
        )
    from harvester.harvest.standing import read_running, read_standing

    try:
        idle = read_standing(output)
    except AlreadyRunning:
        running = read_running(output)
        if json:
            emit({"type": "status", "running": True, **msgspec.to_builtins(running)})
        else:
            stdout().show(running_screen(running, str(output.root)))
        return 0
    if json:
        emit({"type": "status", "running": False, **msgspec.to_builtins(idle)})
    else:
        terminal = stdout()
        terminal.show(idle_screen(idle, time.time(), unicode=terminal.speaks_unicode))
    return 0
