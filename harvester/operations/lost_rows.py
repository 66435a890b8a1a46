"""Rows whose file is lost, but that a change has told of: they come back, before a state is made.

Theory of operation.  A change holds the row before and after it, whole (harvester/dataset/changes),
so of a call that has changes nothing is lost with its file: `old` of the first change is the row as
it was delivered.  It is put back into the folder that it lay in, by a new file, as a publication
would.  To fetch the call again instead would make a row that its changes do not tell of, and the
vendor may have forgotten it.  A crash in between leaves some folders with a new file, whole: the
next rebuild finds their rows there and goes on with the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.answers.answer import PAGES
from harvester.config import Config
from harvester.dataset import footer as keys
from harvester.dataset.changes import OLD, changes_of, rows_of
from harvester.dataset.kind import CURRENCY_PRESUMED, FETCHED_BY, IS_RATED, RecordKind
from harvester.dataset.packing import NO_DATE, Piece, packed
from harvester.dataset.parts import place, stage, sync_folders
from harvester.identity import Identity
from harvester.pipeline.publish.merging import Source, whole_part
from harvester.pipeline.run.remnants import Parts
from harvester.storage import dropped
from harvester.storage.disk import Disk
from harvester.storage.dropped import Dropped
from harvester.storage.output import Output
from harvester.storage.run_summary import RunSummary

if TYPE_CHECKING:
    from harvester.storage.duckdb_engine import Room


@dataclass(frozen=True, slots=True)
class Data:
    """What lies in an output, read through."""

    output: Output
    config: Config
    kind: RecordKind
    parts: Parts
    changes: Parts

    @property
    def files(self) -> list[Path]:
        return [self.output.cdr / part.path for part in self.parts.records]

    @property
    def change_files(self) -> list[Path]:
        return [self.output.changes / part.path for part in self.changes.records]

    @property
    def room(self) -> Room:
        # Here, not at the top: whoever fetches must never load DuckDB.
        from harvester.storage.duckdb_engine import Room

        return Room(self.config.plan.memory_limit, self.output.staging)

    def count_unrated(self) -> int:
        """Calls that have no price now, where the version of the columns says it."""
        from harvester.operations.overlap import count_unrated

        if IS_RATED.name not in self.kind.by_name:
            return 0
        return count_unrated(self.files, self.change_files, self.room)


class Lost(msgspec.Struct, frozen=True):
    """What runs had found, and is nowhere."""

    rows: int
    changes: int
    erased: int = 0
    """Of the rows, those in which numbers were erased: they are not fetched again."""


def count_lost(data: Data, told: Iterable[RunSummary], drops: Sequence[Dropped]) -> Lost:
    """What the summaries of runs know of, and neither the data set nor a drop has."""
    from harvester.operations.overlap import first_runs

    rows, changes = map(Counter, first_runs(data.files, data.change_files, data.room))
    for drop in drops:
        rows.update({run: left.rows for run, left in drop.runs.items()})
        changes.update(drop.changes)
    runs = list(told)
    return Lost(
        # Over all runs: a row that came back out of its second change is one of that run's.
        max(0, sum(run.rows - rows[run.run_id] for run in runs)),
        sum(max(0, run.changed - changes[run.run_id]) for run in runs),
        _lost_erased(data),
    )


def _lost_erased(data: Data) -> int:
    """Calls whose numbers were erased, and whose rows are nowhere."""
    from harvester.operations.overlap import held_only_in

    erased = dropped.erased_files(data.output.dropped)
    left = dropped.files(data.output.dropped)
    return len(held_only_in(erased, data.files, left, data.room)) if erased else 0


def taken_by_pages(data: Data, runs: Container[str]) -> int:
    """Records that these runs took from pages of the vendor's list."""
    if FETCHED_BY.name not in data.kind.schema.names:
        return 0
    found = 0
    for file in data.files:
        rows = pq.read_table(file, columns=["run_id", FETCHED_BY.name], partitioning=None)
        of_pages = rows.filter(pc.equal(rows[FETCHED_BY.name], PAGES))
        for one in pc.value_counts(of_pages["run_id"]).to_pylist():
            found += one["counts"] if one["values"] in runs else 0
    return found


def put_back_rows(data: Data, identity: Identity, number: int, disk: Disk) -> int:
    """Put the rows back that only changes tell of, by a publication `number`; how many.

    Raises StoreError.
    """
    from harvester.operations.overlap import held_only_in

    if not data.changes.records:
        return 0
    output, kind, mode = data.output, data.kind, data.config.output.file_mode
    # Of a drop that a crash cut off the changes may be there still.
    left = dropped.files(output.dropped)
    lost = held_only_in(data.change_files, data.files, left, data.room)
    if not lost:
        return 0
    sources = [
        Source(output.changes / part.path, part.sha256, part.publication)
        for part in data.changes.records
    ]
    found = _first(sources, pa.array(sorted(lost), pa.string()), kind)
    fetched_by = pc.unique(rows_of(found[OLD])["run_id"]).to_pylist()
    runs = {run: min(number, data.changes.runs.get(run, number)) for run in fetched_by}
    footers = {keys.FOOTER_RUNS: msgspec.json.encode(runs, order="sorted").decode()}
    if CURRENCY_PRESUMED.name not in kind.schema.names:
        footers[keys.FOOTER_PRESUMED_OF] = "0"
    staged = stage(
        _pieces(found, kind),
        kind,
        staging=output.staging,
        state_id=uuid4().hex,
        publication=number,
        mode=mode,
        identity=identity,
        disk=disk,
        more=footers,
    )
    finals = [output.cdr / part.path for part in staged]
    for part, final in zip(staged, finals, strict=True):
        place(part.staged, final, sha256=part.sha256, mode=mode, disk=disk)
    sync_folders(finals, output.cdr, disk=disk)
    return len(lost)


def _first(sources: Sequence[Source], ids: pa.Array, kind: RecordKind) -> pa.Table:
    """The first change of each of the calls."""
    of = changes_of(kind)
    found = [of.schema.empty_table()]
    for source in sources:
        with whole_part(source, of) as file:
            rows = file.read(use_threads=False)
        found.append(rows.filter(pc.is_in(rows[kind.key], value_set=ids)))
    changes = pa.concat_tables(found)
    changes = changes.take(pc.sort_indices(changes, [("publication", "ascending")]))
    at = {voice_id: i for i, voice_id in reversed(list(enumerate(changes[kind.key].to_pylist())))}
    return changes.take(pa.array(sorted(at.values()), pa.int64())).combine_chunks()


def _pieces(changes: pa.Table, kind: RecordKind) -> Iterator[Piece]:
    """The rows as they were, by the folder that each lay in, whatever its time says now."""
    dates = changes[kind.partition.folder].to_pylist()
    names = pa.array([NO_DATE if day is None else day.isoformat() for day in dates], pa.string())
    rows = rows_of(changes[OLD])
    for name in sorted(set(names.to_pylist())):
        of_date = rows.filter(pc.equal(names, name)).combine_chunks()
        presumed = 0
        if CURRENCY_PRESUMED.name in of_date.schema.names:
            presumed = of_date[CURRENCY_PRESUMED.name].combine_chunks().true_count
        yield Piece(name, packed(of_date, kind.schema), presumed)
