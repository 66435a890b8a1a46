"""`harvester drop`: whole dates leave the output, to an archive or for good."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.ui.console import Line, emit, stdout
from harvester.cli.ui.text import count, one_line, size, span
from harvester.cli.without_run import carried_out, refuse_no_state
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.operations.drop import Left

_SHOWN = 12


def drop(  # noqa: PLR0917 - typer makes a flag of each
    before: Annotated[
        str,
        typer.Option(
            "--before",
            metavar="DATE",
            show_default=False,
            help="Dates before it leave.",
        ),
    ],
    config: options.ConfigFile = None,
    out: options.Out = None,
    account: options.Account = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Copy them to this archive folder first."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without this it only says what would leave.")
    ] = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Let whole dates leave the output, with their changes; sends nothing.

    The calls of these dates stay resolved: they are never fetched again. What each run had
    delivered of them and, for each billing month, their number, cost and a hash stay in
    OUT/dropped/, so that control totals hold. A date that also holds calls of a billing month not
    before DATE stays, and is named. With --to every file is copied and compared first; without it
    the files are deleted once the grace is over (compact.grace_s, by the next command after it).
    Exits 2 without --yes, 7 while a run is in progress.

    \b
    Example:
      harvester drop --before 2025-01-01 --to /archive/cdr --yes -c configs/nightly.toml
    """
    from harvester.cli.days import day

    settings = options.settings(config, output__dir=out, vendor__account=account).config
    first = day("--before", before)
    assert first is not None, "typer asks for it"
    from harvester.storage.output import Output

    refuse_no_state(Output(Path(settings.output.dir)), "dropped")
    from harvester.operations.drop import Order, stopped
    from harvester.operations.drop import drop as drop_dates

    order = Order(before=first, to=to, is_meant=yes)
    done = carried_out(
        "dropping" if yes else "looking at what would leave",
        partial(drop_dates, settings, order),
        stopped,
        quiet=quiet,
        json=json,
    )
    if json:
        emit({"type": "drop", **msgspec.to_builtins(done)})
    elif not quiet:
        stdout().show(screen(done, before))
    if not yes and done.dates:
        raise UsageError(
            f"nothing was dropped: {count(done.rows)} calls of {count(len(done.dates))} dates "
            "would leave. To let them leave, add --yes.",
            code="usage.consent",
        )
    return 0


def screen(done: Left, before: str) -> list[Line]:
    """What left, or would, as lines."""
    where = one_line(done.output)
    lines: list[Line] = []
    if not done.dates:
        lines.append(Line(f"Nothing to drop before {one_line(before)} in {where}.", "bold green"))
    else:
        verb = "Dropped" if done.is_done else "Would drop"
        sizes = f"{count(done.files)} files, {size(done.bytes)}"
        head = f"{verb} {count(len(done.dates))} dates: {count(done.rows)} calls, {sizes}."
        lines += [Line(head, "bold green"), Line(f"Dates:    {_span(done.dates)}")]
        for month, left in done.months.items():
            lines.append(Line(f"Month:    {month or 'none'}, {count(left.rows)} calls"))
        if done.archive is not None:
            lines.append(Line(f"Archive:  {one_line(done.archive)}"))
        elif done.is_done:
            lines.append(Line(f"Deleted:  in {span(done.grace_s)} (compact.grace_s)"))
    stay = list(done.kept.items())
    lines += [Line(f"Stays:    {day}: {why}", "yellow") for day, why in stay[:_SHOWN]]
    if len(stay) > _SHOWN:
        lines.append(Line(f"Stay:     {count(len(stay) - _SHOWN)} more (--json names them)"))
    return lines


def _span(dates: tuple[str, ...]) -> str:
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
