"""`harvester compact`: the small files of a date become few."""

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

if TYPE_CHECKING:
    from harvester.operations.compact import Compacted


def compact(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    account: options.Account = None,
    date: Annotated[
        str | None, typer.Option("--date", metavar="DATE", help="This date alone, as 2026-11-01.")
    ] = None,
    min_files: Annotated[
        int,
        typer.Option("--min-files", metavar="N", min=2, help="Dates of at least so many files."),
    ] = 8,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="TIME", help="Dates that began so long ago; 0d for all dates."
        ),
    ] = "2d",
    schema: Annotated[
        bool,
        typer.Option("--schema", help="First give all records the columns of this version."),
    ] = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> int:
    """Merge the small files of each date into few, and fold changes in; sends nothing.

    Records that `refetch` found changed get their newest form; every other one stays as it is, and
    each stays in the folder of its date. A date with such changes is rewritten however few its
    files are. --schema gives an output that an older harvester began the columns of this one, in
    one step for all its files: so much room is needed again on the disk. A reader that works
    meanwhile either counts right or gets an error that a file is gone, and reads again:
    docs/reading.md. The old files are kept for an hour (compact.grace_s). Exits 0 also where there
    is nothing to do, 2 where the file system can't do it, 7 while a run is in progress.

    \b
    Example:
      harvester compact -c configs/nightly.toml
    """
    from harvester.cli.days import day
    from harvester.cli.duration import duration_s

    settings = options.settings(config, output__dir=out, vendor__account=account).config
    one_day = day("--date", date)
    older_than_s = duration_s(older_than, "--older-than", may_be_zero=True)
    from harvester.storage.output import Output

    refuse_no_state(Output(Path(settings.output.dir)), "compacted")
    from harvester.operations.compact import Order, stopped
    from harvester.operations.compact import compact as compact_output

    order = Order(date=one_day, min_files=min_files, older_than_s=older_than_s, schema=schema)
    done = carried_out(
        "compacting",
        partial(compact_output, settings, order),
        stopped,
        quiet=quiet,
        json=json,
    )
    if json:
        emit({"type": "compact", **msgspec.to_builtins(done)})
    elif not quiet:
        stdout().show(screen(done))
    return 0


def screen(done: Compacted) -> list[Line]:
    """What was merged, as lines."""
    where = f"{one_line(done.output)}/cdr"
    lines = []
    if done.lifted_from is not None:
        lines.append(Line("All records have the columns of this version now.", "bold green"))
    if not done.dates:
        return [
            *lines,
            Line(f"Nothing to compact in {where}.", "bold green"),
            Line(
                f"Left out: {count(done.few_files)} dates of too few files (--min-files), "
                f"{count(done.too_young)} too young (--older-than)."
            ),
        ]
    files = f"{count(done.files_before)} files became {count(done.files_after)}"
    what = f"{count(done.folded)} changes, from {one_line(done.output)}/changes"
    folded = [Line(f"Folded:   {what}")] if done.folded else []
    as_before = "" if done.folded else " as before"
    sizes = f"{size(done.bytes_before)} became {size(done.bytes_after)}"
    return [
        *lines,
        Line(f"Compacted {count(done.dates)} dates: {files}, {sizes}.", "bold green"),
        Line(f"Data:     {where}/*/*.parquet, {count(done.rows)} records{as_before}"),
        *folded,
        Line(f"Kept:     the old files, for {span(done.grace_s)} (compact.grace_s)"),
    ]
