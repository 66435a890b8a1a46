"""`harvester export`: delivered, dead or open, for a spreadsheet or another tool."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from harvester.cli import options
from harvester.cli.again import pasted
from harvester.cli.targets import FileOption, Format, chosen_format, refuse_ours
from harvester.config import load_mask_key
from harvester.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from harvester.cli.tables import Sink
    from harvester.harvest.output import Output

    Masking: TypeAlias = Callable[[pa.RecordBatch], pa.RecordBatch]


class What(StrEnum):
    """Which ids."""

    delivered = "delivered"
    dead = "dead"
    open = "open"


WhatArgument = Annotated[What, typer.Argument(help="Which ids.", show_default=False)]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Default: by FILE's ending, else csv.")
]
Mask = Annotated[
    bool,
    typer.Option("--mask", help="Phone numbers as keyed hashes (HARVESTER_MASK_KEY or ..._FILE)."),
]


def export(  # noqa: PLR0917 - typer makes a flag of each
    what: WhatArgument,
    config: options.ConfigFile = None,
    out: options.Out = None,
    form: FormatOption = None,
    file: FileOption = None,
    mask: Mask = False,
    json: options.Json = False,
) -> int:
    """Write delivered records, dead letters or open calls as CSV, JSON lines or Parquet.

    Delivered records hold phone numbers: a FILE is made readable for you alone. In CSV, text that
    a spreadsheet would take for a formula gets a leading apostrophe.

    With --mask every phone number is replaced by a keyed hash: the same number by the same one in
    every column, export and night, as long as the key is the same. Ids and times stay. Numbers are
    few: whoever has the key has the numbers (docs/export.md).

    \b
    Example:
      harvester export dead -c configs/nightly.toml -o dead.csv
      HARVESTER_MASK_KEY_FILE=mask.key harvester export delivered --mask -o masked.parquet
    """
    from harvester.harvest.looking import has_state
    from harvester.harvest.output import Output

    settings = options.settings(config, output__dir=out).config
    chosen = chosen_format(form, file, json=json) or Format.csv
    key = load_mask_key(os.environ) if mask else None
    output = Output(Path(settings.output.dir))
    if not has_state(output):
        raise UsageError(
            f"{output.root} holds no harvest: there is no {output.database}. Name the right "
            "folder with --out or -c."
        )
    if file is not None:
        refuse_ours(file, output)
    from harvester.lake.origin import refuse_other_settings

    refuse_other_settings(output.cdr, settings)
    _write(what, chosen, output, file, _masking(key))
    return 0


def _write(what: What, form: Format, output: Output, file: Path | None, masking: Masking) -> None:
    from harvester.cli.tables import kept_batches, opened, part_batches, schema_of
    from harvester.harvest.looking import looking
    from harvester.ledger import publications

    schema = schema_of(what)
    if what is not What.delivered:
        with opened(form.value, file, schema) as sink:
            _pour(sink, map(masking, kept_batches(output, what, "export")))
        return
    with looking(output, "export") as db:
        parts = [output.cdr / part.path for part in publications.live_parts(db)]
        waiting = publications.journal_size(db)[0]
    # Parts never change and never go: the lock needn't be held while they are read.
    with opened(form.value, file, schema) as sink:
        _pour(sink, map(masking, part_batches(sorted(parts))))
    if waiting:
        sys.stderr.write(
            f"note: {waiting:,} delivered records still wait in the journal and are not in this "
            f"export; {pasted('`harvester publish`')} writes them.\n"
        )


def _masking(key: str | None) -> Masking:
    """What becomes of a portion on its way out."""
    if key is None:
        return lambda batch: batch
    from harvester.report.masks import Masks

    return Masks(key).batch


def _pour(sink: Sink, batches: Iterable[pa.RecordBatch]) -> None:
    for batch in batches:
        sink(batch)
