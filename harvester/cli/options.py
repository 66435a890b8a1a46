"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harvester.cli.ui import next_command
from harvester.config import Config, Settings, load
from harvester.errors import UsageError

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IDS",
        help="Files, quoted globs or folders of voiceIds, or - for stdin: .txt .csv .tsv .jsonl "
        "(each also .gz or .zst) and .parquet. Default: input.paths; where that is empty too, as "
        "--carried-over-only.",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration (TOML).")
]
Out = Annotated[
    str | None, typer.Option("--out", metavar="DIR", help="Output folder (output.dir).")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, one object a line.")]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="The vendor's address (vendor.base_url)."),
]
Account = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="Account name (vendor.account).")
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", metavar="N", help="Requests a second, never more (pace.rate_per_s)."),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", metavar="N", help="Requests under way (pace.concurrency)."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", help="Processes that fetch beside this one (workers.count)."
    ),
]
Column = Annotated[
    str | None, typer.Option("--column", metavar="NAME", help="Column of ids (input.column).")
]
InputOnly = Annotated[
    bool,
    typer.Option("--input-only", help="Only due open calls and this input: leave older ids."),
]
Only = Annotated[bool, typer.Option("--only", hidden=True, help="Old name of --input-only.")]
CarriedOverOnly = Annotated[
    bool,
    typer.Option(
        "--carried-over-only",
        help="Read no input: only due open calls and ids of earlier inputs.",
    ),
]


class Way(StrEnum):
    """How records are fetched."""

    single = "single"
    pages = "pages"


Via = Annotated[
    Way,
    typer.Option(
        "--via",
        help="single: each id by a request of its own. pages: up to 100 records a request, from "
        "the vendor's list, and singly what that does not have; needs `discover --compare` once.",
    ),
]
MaxDuration = Annotated[
    str | None,
    typer.Option("--max-duration", metavar="TIME", help="Stop after 90s, 45m, 5h or 2d (exit 8)."),
]
MetricsFile = Annotated[
    str | None,
    typer.Option(
        "--metrics-file",
        metavar="FILE",
        help="Write figures here for Prometheus (monitor.metrics_file).",
    ),
]
Rebind = Annotated[
    bool,
    typer.Option(
        "--rebind",
        help="Another address than the output's is meant: the vendor has moved, or a tunnel.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be fetched; send and change nothing.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More messages.")]


def refuse_contradiction(
    ids: list[str] | None, *, input_only: bool, carried_over_only: bool
) -> None:
    """Raise UsageError where an input is given, or wanted alone, and none is to be read."""
    if carried_over_only and (ids or input_only):
        raise UsageError(
            "--carried-over-only reads no input: leave out the IDS and --input-only, or leave out "
            "--carried-over-only.",
            code="usage.conflict",
        )


def settings(config: Path | None, **flags: object) -> Settings:
    """The configuration; `flags` are named section__key.  Raises ConfigError."""
    given = (flags.get(name) for name in ("output__dir", "vendor__account", "vendor__base_url"))
    next_command.note(config, *given)
    named = {name.replace("__", ".", 1): value for name, value in flags.items()}
    found = load(config, environ=os.environ, flags=named)
    _refuse_odd_name(found.config.output.dir)
    return found


def _refuse_odd_name(folder: str) -> None:
    """Raise UsageError for an output that DuckDB and Arrow would look for under another name:
    theirs are UTF-8, ours are what the locale makes of them.
    """
    try:
        path = os.path.abspath(folder)  # noqa: PTH100 - a Path would lose nothing, nor gain
        if os.fsencode(path) == path.encode():
            return
    except UnicodeEncodeError:
        pass
    raise UsageError(
        f"the output folder {folder} has a name that is not UTF-8, or this locale has another "
        "encoding. Set LC_ALL=C.UTF-8, or choose another folder with --out.",
        code="output.name",
    )


def refuse_aimless(config: Config, *, rebind: bool) -> None:
    """Raise UsageError if another address is meant, but none is named."""
    if rebind and not config.is_set("vendor.base_url"):
        raise UsageError(
            "--rebind needs the new address: give it with --base-url, or set vendor.base_url.",
            code="usage.rebind",
        )
