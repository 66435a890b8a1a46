"""`harvester init`: configurations and schedule files to begin with."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from harvester.cli import options
from harvester.cli.templates import files_for_users
from harvester.cli.ui.console import Line, emit, stdout
from harvester.cli.ui.text import one_line
from harvester.errors import UsageError
from harvester.storage.atomic_files import in_place_of

FOLDER = "configs"
"""Below the folder that is named: so the commands of every page work in it as they stand."""
_READABLE = 0o644  # no secret is in them

Folder = Annotated[Path, typer.Argument(metavar="[DIR]", help="Where configs/ is made.")]
Force = Annotated[bool, typer.Option("--force", help="Write over files that are there.")]


def init(folder: Folder = Path(), force: Force = False, json: options.Json = False) -> int:
    """Write commented configurations and schedule files into DIR/configs.

    Every key, its unit and its default are in nightly.toml and backfill.toml; schedule/ has a
    night for systemd, cron, Airflow, Kubernetes and Docker. No file is overwritten without --force;
    where one is there, nothing is written at all (exit 2). Needs no network and no key.

    \b
    Example:
      harvester init
      harvester init /srv/cdr
    """
    files = {folder / FOLDER / name: content for name, content in files_for_users().items()}
    there = [path for path in files if os.path.lexists(path)]
    if there and not force:
        raise UsageError(_refusal(there), code="usage.exists")
    write(files)
    if json:
        emit({"type": "init", "written": [str(path) for path in files]})
    else:
        stdout().show(screen(folder, list(files)))
    return 0


def write(files: Mapping[Path, bytes]) -> None:
    """Write each file, whole or not at all.  Raises UsageError naming the one that can't be."""
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with in_place_of(path, _READABLE) as stream:
                stream.write(content)
        except OSError as exc:
            raise UsageError(
                f"{path} can't be written: {exc.strerror or exc}. Choose another folder, or make "
                "this one writable, and run `harvester init` again with --force.",
                code="usage.unwritable",
            ) from exc


def screen(folder: Path, files: Sequence[Path]) -> list[Line]:
    """What was written, and what comes next."""
    config = shlex.quote(str(folder / FOLDER / "nightly.toml"))
    return [
        Line("Written:", "bold"),
        *(Line(f"  {one_line(str(path))}") for path in files),
        Line(),
        Line("Next:", "bold"),
        Line("  1. Put your key and your secret into a file each, readable for you alone,"),
        Line("     and name the files:"),
        Line("       export HARVESTER_API_KEY_FILE=/etc/harvester/key"),
        Line("       export HARVESTER_API_SECRET_FILE=/etc/harvester/secret"),
        Line(f"  2. In {one_line(config)} set vendor.account,"),
        Line("     pace.rate_per_s, output.dir and input.paths."),
        Line(f"  3. harvester doctor -c {one_line(config)}"),
        Line("     Is everything in order? Tries key and secret with one request."),
        Line(f"  4. harvester run -c {one_line(config)}"),
        Line("  5. Every night: each file of schedule/ begins with how to install it."),
        Line(),
        Line("To try it without a key first: harvester demo"),
    ]


def _refusal(there: Sequence[Path]) -> str:
    return (
        f"there already: {', '.join(map(str, there))}. Nothing was written. Choose another folder, "
        "or write over what is there with --force."
    )
