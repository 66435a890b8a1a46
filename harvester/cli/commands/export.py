"""`harvester export`: delivered, dead or open, for a spreadsheet or another tool."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from harvester.cli import options
from harvester.cli.days import DateBy, From, Month, To, Zone, in_words, period
from harvester.cli.ui.next_command import pasted
from harvester.cli.ui.output_files import FileOption, Format, chosen_format, refuse_ours
from harvester.config import load_mask_key
from harvester.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from harvester.analysis.query.export_rows import Chosen
    from harvester.analysis.scope import Scope
    from harvester.cli.ui.row_output import Sink
    from harvester.dataset.kind import RecordKind
    from harvester.storage.output import Output

    Masking: TypeAlias = Callable[[pa.RecordBatch], pa.RecordBatch]


class What(StrEnum):
    """Which ids."""

    delivered = "delivered"
    dead = "dead"
    open = "open"
    changes = "changes"


_OF_DATA = {What.delivered, What.changes}
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
    first: From = None,
    last: To = None,
    month: Month = None,
    zone: Zone = None,
    date_by: DateBy = None,
    json: options.Json = False,
) -> int:
    """Write delivered records, dead letters, open calls or changes as CSV, JSON lines or Parquet.

    Delivered records are as they are now; each of the changes that `refetch` found has a line with
    the old and the new value of every column.

    Delivered records hold phone numbers: a FILE is made readable for you alone. In CSV, text that
    a spreadsheet would take for a formula gets a leading apostrophe.

    With --mask every phone number is replaced by a keyed hash: the same number by the same one in
    every column, export and night, as long as the key is the same. Ids and times stay. Numbers are
    few: whoever has the key has the numbers (docs/export.md).

    --month, or --from and --to, keep the delivered records and the changes of calls of these days:
    on a clock of billing.zone, by billing.date_by, as in `report` and `audit`.

    \b
    Example:
      harvester export delivered --month 2026-11 -o november.parquet
      harvester export dead -c configs/nightly.toml -o dead.csv
      HARVESTER_MASK_KEY_FILE=mask.key harvester export delivered --mask -o masked.parquet
    """
    from harvester.state.read_only import has_state
    from harvester.storage.output import Output

    settings = options.settings(
        config, output__dir=out, billing__zone=zone, billing__date_by=date_by
    ).config
    from harvester.analysis.clock import Clock
    from harvester.analysis.scope import Scope

    chosen = chosen_format(form, file, json=json) or Format.csv
    scope = Scope(Clock.of(settings.billing), period(first, last, month))
    if what not in _OF_DATA and (scope.period.is_bounded or zone or date_by):
        raise UsageError(
            f"days are those of delivered records: `export {what.value}` has no --month, --from, "
            "--to, --zone and --date-by. Leave them out.",
            code="usage.conflict",
        )
    key = load_mask_key(os.environ) if mask else None
    output = Output(Path(settings.output.dir))
    if not has_state(output):
        raise UsageError(
            f"{output.root} holds no data yet: there is no {output.database}. Name the right "
            "folder with --out or -c.",
            code="output.no_data",
        )
    if file is not None:
        refuse_ours(file, output)
    from harvester.dataset.group_record import GROUP_RECORD
    from harvester.dataset.origin import refuse_other_settings

    refuse_other_settings(output.cdr, settings, GROUP_RECORD)
    memory_limit = settings.plan.memory_limit
    if what is What.delivered:
        _write_delivered(scope, chosen, output, file, key, memory_limit)
    elif what is What.changes:
        _write_changes(scope, chosen, output, file, key, memory_limit)
    else:
        _write_kept(what, chosen, output, file, _masking(key, GROUP_RECORD))
    return 0


def _write_kept(
    what: What, form: Format, output: Output, file: Path | None, masking: Masking
) -> None:
    from harvester.analysis.query.export_rows import kept_batches, schema_of
    from harvester.cli.ui.row_output import opened

    with opened(form.value, file, schema_of(what)) as sink:
        _pour(sink, map(masking, kept_batches(output, what, "export")))


def _write_delivered(  # noqa: PLR0917 - what was asked for
    scope: Scope, form: Format, output: Output, file: Path | None, key: str | None, memory: str
) -> None:
    from harvester.analysis.query.export_current import current_batches
    from harvester.analysis.query.export_rows import Chosen, part_batches
    from harvester.analysis.report.data_files import data_files
    from harvester.cli.ui.row_output import opened
    from harvester.dataset.group_record import VERSIONS
    from harvester.dataset.origin import own_version
    from harvester.state import publications
    from harvester.state.read_only import looking

    with looking(output, "export") as db:
        waiting = publications.journal_size(db)[0]
    found = data_files(output, "export")
    within = scope.parts(found.parts)
    found.refuse_damaged(output, within)
    parts = [output.cdr / part for part in within]
    kind = own_version(output.cdr, found.parts, VERSIONS)
    chosen = Chosen(scope)
    # Parts never change, and where a compaction takes one away meanwhile this ends with an error:
    # so the lock needn't be held while they are read.
    with _scratch() as scratch, opened(form.value, file, kind.schema) as sink:
        batches = (
            current_batches(parts, found.changes, kind, memory_limit=memory, scratch=scratch)
            if parts and found.changes
            else part_batches(parts)
        )
        _pour(sink, map(_masking(key, kind), chosen.of(batches)))
    _tell_days(scope, chosen, "records")
    if waiting:
        sys.stderr.write(
            f"note: {waiting:,} delivered records still wait in the journal and are not in this "
            f"export; {pasted('`harvester publish`')} writes them.\n"
        )


def _write_changes(  # noqa: PLR0917 - what was asked for
    scope: Scope, form: Format, output: Output, file: Path | None, key: str | None, memory: str
) -> None:
    from harvester.analysis.query.export_current import change_batches
    from harvester.analysis.query.export_rows import Chosen
    from harvester.analysis.report.data_files import data_files
    from harvester.cli.ui.row_output import opened
    from harvester.dataset.changes import NEW, flat_changes_of
    from harvester.dataset.group_record import VERSIONS
    from harvester.dataset.origin import own_version

    found = data_files(output, "export")
    found.refuse_damaged(output, ())
    kind = own_version(output.cdr, found.parts, VERSIONS)
    flat = flat_changes_of(kind)
    chosen = Chosen(scope, f"{NEW}_")
    with _scratch() as scratch, opened(form.value, file, flat.schema) as sink:
        if found.changes:
            batches = change_batches(found.changes, kind, memory_limit=memory, scratch=scratch)
            _pour(sink, map(_masking(key, flat), chosen.of(batches)))
    _tell_days(scope, chosen, "changes")


def _tell_days(scope: Scope, chosen: Chosen, what: str) -> None:
    if scope.period.is_bounded:
        undated = f"; {chosen.undated:,} without a day left out" if chosen.undated else ""
        sys.stderr.write(
            f"note: {chosen.rows:,} {what}{in_words(scope.period)}, {scope.told}{undated}.\n"
        )


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="harvester-export-") as folder:
        yield Path(folder)


def _masking(key: str | None, kind: RecordKind) -> Masking:
    """What becomes of a portion of `kind` on its way out."""
    if key is None:
        return lambda batch: batch
    from harvester.analysis.query.masks import Masks

    return Masks(key, kind).batch


def _pour(sink: Sink, batches: Iterable[pa.RecordBatch]) -> None:
    for batch in batches:
        sink(batch)
