"""`harvester export`: delivered, dead or open, for a spreadsheet or another tool."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli import options
from harvester.cli.targets import refuse_ours
from harvester.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from harvester.cli.tables import Sink
    from harvester.harvest.output import Output


class What(StrEnum):
    """Which ids."""

    delivered = "delivered"
    dead = "dead"
    open = "open"


class Format(StrEnum):
    """How they are written."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


WhatArgument = Annotated[What, typer.Argument(help="Which ids.", show_default=False)]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Default: by FILE's ending, else csv.")
]
FileOption = Annotated[
    Path | None, typer.Option("-o", metavar="FILE", help="Write to FILE instead of stdout.")
]


def export(  # noqa: PLR0917 - typer makes a flag of each
    what: WhatArgument,
    config: options.ConfigFile = None,
    out: options.Out = None,
    form: FormatOption = None,
    file: FileOption = None,
    json: options.Json = False,
) -> int:
    """Write delivered records, dead letters or open calls as CSV, JSON lines or Parquet.

    Delivered records hold phone numbers: a FILE is made readable for you alone. In CSV, text that
    a spreadsheet would take for a formula gets a leading apostrophe.

    \b
    Example:
      harvester export dead -c configs/nightly.toml -o dead.csv
    """
    from harvester.harvest.looking import has_state
    from harvester.harvest.output import Output

    folder = options.settings(config, output__dir=out).config.output.dir
    chosen = _format(form, file, json=json)
    output = Output(Path(folder))
    if not has_state(output):
        raise UsageError(
            f"{output.root} holds no harvest: there is no {output.database}. Name the right "
            "folder with --out or -c."
        )
    if file is not None:
        refuse_ours(file, output)
    _write(what, chosen, output, file)
    return 0


def _format(form: Format | None, file: Path | None, *, json: bool) -> Format:
    if form is None and json:
        return Format.jsonl
    if form is None and file is not None:
        named = file.suffix.lower().removeprefix(".")
        form = Format({"ndjson": "jsonl"}.get(named, named)) if named in _SUFFIXES else None
    if form is Format.parquet and file is None:
        raise UsageError("Parquet is no text for a terminal or a pipe: name a file with -o.")
    return form or Format.csv


_SUFFIXES = frozenset({"csv", "jsonl", "ndjson", "parquet"})


def _write(what: What, form: Format, output: Output, file: Path | None) -> None:
    from harvester.cli.tables import schema_of
    from harvester.harvest.looking import looking
    from harvester.ledger import publications

    with looking(output) as db:
        if what is not What.delivered:
            from harvester.cli.tables import ledger_batches

            with _sink(form, file, schema_of(what)) as sink:
                _pour(sink, ledger_batches(db, what))
            return
        parts = [output.cdr / part.path for part in publications.live_parts(db)]
        waiting = publications.journal_size(db)[0]
    # Parts never change and never go: the lock needn't be held while they are read.
    from harvester.cli.tables import part_batches

    with _sink(form, file, schema_of(what)) as sink:
        _pour(sink, part_batches(sorted(parts)))
    if waiting:
        sys.stderr.write(
            f"note: {waiting:,} delivered records still wait in the journal and are not in this "
            "export; `harvester run` publishes them.\n"
        )


def _sink(form: Format, file: Path | None, schema: pa.Schema) -> AbstractContextManager[Sink]:
    from harvester.cli.tables import opened

    return opened(form.value, file, schema)


def _pour(sink: Sink, batches: Iterable[pa.RecordBatch]) -> None:
    for batch in batches:
        sink(batch)
