"""`harvester erase`: phone numbers leave every place of the output; calls and money stay."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.numbers import Numbers, numbers_of, refuse_number
from harvester.cli.ui.console import Line, emit, stdout
from harvester.cli.ui.held_places import place_lines
from harvester.cli.ui.text import count, one_line
from harvester.cli.without_run import carried_out, refuse_no_state
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.config import Config
    from harvester.operations.erase import Erased
    from harvester.operations.number_places import Place


def erase(  # noqa: PLR0917 - typer makes a flag of each
    numbers: Numbers,
    because: Annotated[
        str,
        typer.Option(
            "--because",
            metavar="TICKET",
            show_default=False,
            help="The request that asks for it; kept in the receipt.",
        ),
    ],
    config: options.ConfigFile = None,
    out: options.Out = None,
    account: options.Account = None,
    readers_stopped: Annotated[
        bool,
        typer.Option(
            "--readers-stopped",
            help="Nobody reads the data now: works where folders can't be exchanged in one step.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what holds them; change nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without this it only shows what holds them.")
    ] = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Hide phone numbers wherever the output holds them; sends nothing.

    In rows, changes and answers all digits of a number but its first two become a *; calls, times
    and money stay, and so do all totals. Numbers are compared by their digits: a plus, a leading
    00, spaces and dashes do not matter. Old files and old copies of the state go at once. What was
    done is written to OUT/runs/erase-TIME/erasure.json, without the numbers; it also names what
    can't be reached, such as backups. Exits 2 without --yes or --dry-run, and while answers wait in
    the journal; 7 while a run is in progress.

    \b
    Example:
      harvester erase --numbers request.txt --because GDPR-2026-17 --yes -c configs/nightly.toml
    """
    settings = options.settings(config, output__dir=out, vendor__account=account).config
    listed = numbers_of(numbers)
    refuse_number(because, listed, "--because")
    from harvester.storage.output import Output

    refuse_no_state(Output(Path(settings.output.dir)), "erased")
    if dry_run or not yes:
        _show_places(settings, listed, quiet=quiet, json=json, dry_run=dry_run)
        return 0
    from harvester.operations.erase import Order, stopped
    from harvester.operations.erase import erase as erase_numbers

    order = Order(numbers=listed, because=because, readers_stopped=readers_stopped)
    done = carried_out(
        "erasing", partial(erase_numbers, settings, order), stopped, quiet=quiet, json=json
    )
    if json:
        emit({"type": "erase", "dry_run": False, **msgspec.to_builtins(done)})
    elif not quiet:
        stdout().show(screen(done))
    return 0


def _show_places(
    settings: Config,
    listed: tuple[str, ...],
    *,
    quiet: bool,
    json: bool,
    dry_run: bool,
) -> None:
    """What holds them.  Raises UsageError where it was to be done, and nobody said so."""
    from harvester.operations.number_places import where

    found = where(settings, listed, "erase --dry-run")
    if json:
        told = {"output": settings.output.dir, "numbers": len(listed)}
        places = msgspec.to_builtins(found)
        emit({"type": "erase", "dry_run": True, **told, "places": places})
    elif not quiet:
        stdout().show(shown(found, settings.output.dir))
    if not dry_run:
        raise UsageError(
            "nothing was erased: this is what holds the numbers. To erase them, add --yes.",
            code="usage.consent",
        )


def shown(found: tuple[Place, ...], output: str) -> list[Line]:
    """What would be erased, as lines."""
    if not found:
        return [Line(f"Nothing in {one_line(output)} holds the numbers.", "bold green")]
    return [Line(f"Would erase the numbers in {one_line(output)}.", "bold"), *place_lines(found)]


def screen(done: Erased) -> list[Line]:
    """What was erased, as lines."""
    told = f"Erased {count(done.numbers)} numbers" if done.places else "Nothing held the numbers"
    return [
        Line(
            f"{told} in {one_line(done.output)}, because of {one_line(done.because)}.", "bold green"
        ),
        *place_lines(done.places),
        Line("Not reached:"),
        *(Line(f"  {one_line(one)}", "yellow") for one in done.not_reached),
        Line(f"Receipt:  {one_line(done.receipt)}"),
    ]
