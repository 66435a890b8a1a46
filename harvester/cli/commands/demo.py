"""`harvester demo`: a run against a simulator on this machine that injects faults.

Everything it does is a command that its reader can type; each is shown before it runs.  The
stand-in vendor and the run are processes of their own, as they would be.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from harvester.cli import options
from harvester.cli.commands.demo_tables import first_look
from harvester.cli.templates import templates
from harvester.cli.ui.console import Line, Terminal, stdout
from harvester.cli.ui.text import span
from harvester.config import load
from harvester.errors import EXIT_DONE, EXIT_SOME_DEAD, HarvesterError

RATE_PER_S = 1000
# The vendor's own published sample, which the simulator knows.
_ENVIRONMENT = {"HARVESTER_API_KEY": "bDqJFiq9", "HARVESTER_API_SECRET": "7bz1lzh9"}
_FAULTS = "busy=0.03,expired=0.01,throttle=0.0004,torn=0.01"
_HARVESTER = (sys.executable, "-m", "harvester")
_SEED = 20
_DAYS = 28

Folder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where it goes, and stays.")]
Configuration = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration (TOML). Default: its own."),
]
Number = Annotated[int, typer.Option("--ids", metavar="N", help="How many calls.")]


def demo(
    config: Configuration = None,
    out: Folder = Path("demo-out"),
    ids: Number = 10_000,
) -> int:
    """Fetch made-up calls from a simulator that injects faults, and show the data.

    Needs no network and no key: the simulator is a process on this machine. If it is interrupted,
    the same command goes on where it stopped.

    \b
    Example:
      harvester demo
    """
    began = time.monotonic()
    config = config or _own_config(out)
    terminal = stdout()
    file = out / "ids" / "calls.txt"
    again = _write_ids(file, ids)
    terminal.show(_opening(out, file, ids, again=again))
    with _vendor() as base_url:
        code = _harvest(terminal, config, out, file, base_url)
    if code not in (EXIT_DONE, EXIT_SOME_DEAD):
        terminal.say(
            "\nThe demo stops here. The same command again goes on where it stopped.", "yellow"
        )
        return code
    terminal.show(_explained(code))
    terminal.show([Line(), Line("A first look, with DuckDB", "bold cyan"), Line()])
    # The clock of the demo's own file: the run does not see the environment's settings either.
    billing = load(config).config.billing
    terminal.show(first_look(out, billing, unicode=terminal.speaks_unicode))
    terminal.show(_closing(out, time.monotonic() - began))
    return 0


def demo_look(out: Annotated[Path, typer.Argument(metavar="DIR")] = Path("demo-out")) -> int:
    """Calls and cost by day and destination of the data in DIR."""
    terminal = stdout()
    billing = options.settings(None).config.billing
    terminal.show(first_look(out, billing, unicode=terminal.speaks_unicode))
    return 0


def _write_ids(file: Path, number: int) -> bool:
    """Write the ids, unless they are there; True if they were."""
    from harvester.simulator import last_whole_day, write_ids

    if file.exists():
        return True
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    write_ids(temporary, number, _SEED, end=last_whole_day(), days=_DAYS)
    temporary.replace(file)
    return False


def _own_config(out: Path) -> Path:
    """A copy beside the ids: the commands that name it are typed more easily than where it is."""
    file = out / "demo.toml"
    out.mkdir(parents=True, exist_ok=True)
    file.write_bytes((templates() / "demo.toml").read_bytes())
    return file


@contextmanager
def _vendor() -> Iterator[str]:
    """The simulator on a free port of this machine; gives its base URL."""
    command = [*_HARVESTER, "simulate", "--port", "0", "--enforce", "--faults", _FAULTS]
    # Without drift: it makes amounts that would spoil a first look.
    command += ["--rate-limit", str(round(1.05 * RATE_PER_S)), "--latency-ms", "20", "--no-drift"]
    # Its own session: Ctrl-C is for the run, which still has answers to take in then.
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        if not told.startswith("listening on "):
            raise HarvesterError(
                "the simulator did not start: try `harvester simulate`.", code="internal.simulator"
            )
        yield told.removeprefix("listening on ").strip()
    finally:
        process.terminate()
        process.wait()


def _harvest(terminal: Terminal, config: Path, out: Path, file: Path, base_url: str) -> int:
    """The run, as a command of its own on this very terminal; its exit code."""
    arguments = ["run", str(file), "-c", str(config), "--out", str(out), "--base-url", base_url]
    terminal.show([Line(f"$ harvester {shlex.join(arguments)}", "bold cyan"), Line()])
    # Ctrl-C reaches the run as well; it drains, and we wait for it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*_HARVESTER, *arguments],
            env={**_clean(os.environ), **_ENVIRONMENT},
            # The ignored signal would be inherited.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no thread runs here
        )
        return run.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Without settings that somebody made for the real vendor."""
    return {name: value for name, value in environ.items() if not name.startswith("HARVESTER_")}


def _opening(out: Path, file: Path, ids: int, *, again: bool) -> list[Line]:
    lines = [
        Line("Demo run against a simulator that injects faults", "bold cyan"),
        Line(),
        Line("A simulator of the vendor runs on this machine."),
        Line(f"{ids:,} voiceIds of {_DAYS} days are in {file};"),
        Line(f"they are fetched with at most {RATE_PER_S:,} requests a second."),
        Line(),
        Line("The simulator injects faults: it answers -18 (busy), -16 (wrong time) and 429"),
        Line("(too many requests), cuts answers off, calls a few ids invalid (-22), and says"),
        Line("of some calls that they are not over yet."),
        Line(),
    ]
    if again:
        lines += [
            Line(f"{out} is there from before, so the run goes on where that one stopped:"),
            Line("what is resolved is not fetched again; if all is resolved, no request is sent."),
            Line(f"To begin from scratch: rm -r {out}"),
            Line(),
        ]
    return lines


def _explained(code: int) -> list[Line]:
    if code == EXIT_DONE:
        return []
    return [
        Line(),
        Line("This is expected: some ids of the demo are invalid on purpose. A run that leaves"),
        Line("dead ids ends with exit code 3, so that a nightly job can't miss it."),
    ]


def _own_name() -> str:
    """What to type for the program that runs: as short as this shell takes it."""
    own = Path(sys.executable).with_name("harvester")
    if own.parent.parent == Path.cwd() / ".venv":
        return ".venv/bin/harvester"
    known = shutil.which("harvester")
    # pipx and uv put a link to it where the shell looks.
    return "harvester" if known and Path(known).resolve() == own.resolve() else str(own)


def _closing(out: Path, seconds: float) -> list[Line]:
    harvester = shlex.quote(_own_name())
    # A checkout, and whoever typed `init` before, has them.
    begin = "less configs/nightly.toml" if Path("configs").is_dir() else f"{harvester} init"
    return [
        Line(),
        Line(f"All of it took {span(seconds)}. It is kept:", "bold"),
        Line(f"  {out}/cdr/submit_date=*/*.parquet   the records, for any reader of Parquet"),
        Line(f"  {out}/runs/*/summary.json           what each run did"),
        Line(f"  {out}/state/                        the state of every id; do not change it"),
        Line(),
        Line("What to type next:", "bold"),
        Line(f"  {harvester} status --out {out}"),
        Line(f"  {harvester} export dead --out {out}"),
        Line(f"  {harvester} demo --out {out}    # again: fetches nothing twice"),
        Line(f"  {begin}    # to begin with, for your own ids and key"),
    ]
