"""Files that a command is told to write: whole or not at all, and never inside an output's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from harvester.errors import UsageError
from harvester.storage.atomic_files import in_place_of

if TYPE_CHECKING:
    from harvester.storage.output import Output


class Format(StrEnum):
    """How rows are written."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


FileOption = Annotated[
    Path | None, typer.Option("-o", metavar="FILE", help="Write to FILE instead of stdout.")
]

_SUFFIXES = frozenset({"csv", "jsonl", "ndjson", "parquet"})


def chosen_format(form: Format | None, file: Path | None, *, json: bool) -> Format | None:
    """The form that the options ask for; None if they leave it open.  Raises UsageError."""
    if form is None and json:
        return Format.jsonl
    if form is None and file is not None:
        named = file.suffix.lower().removeprefix(".")
        return Format({"ndjson": "jsonl"}.get(named, named)) if named in _SUFFIXES else Format.csv
    if form is Format.parquet and file is None:
        raise UsageError(
            "Parquet is binary, not for a terminal or a pipe: write it to a file with -o.",
            code="usage.target",
        )
    return form


def refuse_ours(file: Path, output: Output) -> None:
    """Raise UsageError if `file` would be a stranger in the data set, or overwrite the state."""
    if output.is_among_ours(file):
        raise UsageError(
            f"{file} is inside the output folder {output.root}: choose a path outside it.",
            code="usage.target",
        )


@contextmanager
def private_file(file: Path) -> Iterator[BinaryIO]:
    """A file for the owner alone; see `in_place_of`.  Raises UsageError if it can't be written."""
    try:
        with in_place_of(file) as stream:
            yield stream
    except OSError as exc:
        raise UsageError(
            f"{file} can't be written: {exc.strerror or exc}.", code="usage.unwritable"
        ) from exc


def write_private(file: Path, text: str) -> None:
    """Write `text` as a private file.  Raises UsageError if it can't be written."""
    with private_file(file) as stream:
        stream.write(text.encode())
