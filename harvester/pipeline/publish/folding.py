"""Folding: the rows of a folder become what the newest changes say that they are now.

Theory of operation.  A change holds the row before and after it, whole, so a row of cdr/ is always
one of these: `old` of its call's first change, or `new` of one of them; which one is told by the
run that fetched it and when.  So folding twice changes nothing, and a row that is none of them is
not overwritten: somebody has changed it by other means.  What is taken out and put there is added
up from the changes alone, not from the rows, so that the proof of the rewrite is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from harvester.dataset.changes import NEW, OLD, changes_of, rows_of
from harvester.dataset.files import usage_in
from harvester.dataset.kind import RecordKind
from harvester.dataset.normalize import without_omitted
from harvester.dataset.packing import NO_DATE
from harvester.errors import StoreError
from harvester.pipeline.publish.merging import Contents, Edited, Source, whole_part

_Stage: TypeAlias = tuple[str, str, int]
"""(voice_id, run that fetched it, when): one of the rows that a call has had."""


class Fold:
    """An edit (`merging.Edit`): the changes of one folder, folded into its rows."""

    def __init__(self, kind: RecordKind, changes: pa.Table, folder: str) -> None:
        """`changes`: those of `folder`, of the kind `changes_of(kind)`, in the order in which they
        came.
        """
        self._kind = kind
        self._folder = folder
        old, new = rows_of(changes[OLD]), rows_of(changes[NEW])
        self._stages = pa.concat_tables([old, new])
        self._stage_at: dict[_Stage, int] = dict(
            zip(_stages_of(self._stages, kind), range(self._stages.num_rows), strict=True)
        )
        ids = changes[kind.key].to_pylist()
        newest = {voice_id: at for at, voice_id in enumerate(ids)}
        self._ids = pa.array(newest, pa.string())
        self._newest = without_omitted(new.take(pa.array(newest.values(), pa.int64())), kind)
        self._missing = set(newest)

    @property
    def reads(self) -> RecordKind:
        return self._kind

    @property
    def writes(self) -> RecordKind:
        return self._kind

    def begin(self, footer: Mapping[bytes, bytes], rows: int) -> None:
        """Any part may have any of the rows."""

    def edited(self, rows: pa.Table) -> Edited:
        """See `merging.Edit`."""
        rows = rows.combine_chunks()
        at = pc.index_in(rows[self._kind.key], value_set=self._ids).combine_chunks()
        found = at.drop_null()
        if not len(found):
            return Edited(rows)
        gone = self._stages.take(self._positions(rows.filter(at.is_valid())))
        came = self._newest.take(found)
        return Edited(
            in_place_of(rows, self._newest.take(at), at.is_valid()),
            Contents(usage_in(gone, self._kind)),
            Contents(usage_in(came, self._kind)),
        )

    def complete(self) -> None:
        """See `merging.Edit`."""
        if self._missing:
            raise StoreError(
                f"call {min(self._missing)} has a change, but no row in {self._folder} "
                f"({len(self._missing)} such call(s)). Nothing was changed: `harvester verify` "
                "shows what else is wrong.",
                code="data.not_proved",
            )

    def _positions(self, rows: pa.Table) -> pa.Array:
        """Which of the stages each of these rows is at."""
        stages = list(_stages_of(rows, self._kind))
        for stage in stages:
            if stage not in self._stage_at:
                raise StoreError(
                    f"the row of call {stage[0]} in {self._folder} is none that its changes tell "
                    "of, so it is not replaced. Nothing was changed: `harvester verify` shows what "
                    "else is wrong.",
                    code="data.not_proved",
                )
        self._missing.difference_update(voice_id for voice_id, _, _ in stages)
        return pa.array([self._stage_at[stage] for stage in stages], pa.int64())


def changes_in(folder: str, sources: Iterable[Source], kind: RecordKind, through: int) -> pa.Table:
    """The changes of rows of a folder of cdr/, out of parts of changes/, up to the publication
    `through`, in the order in which they came.  Raises StoreError if a part is not as it was
    published.
    """
    of = changes_of(kind)
    found = [of.schema.empty_table()]
    for source in sources:
        with whole_part(source, of) as file:
            for group in range(file.num_row_groups):
                dates = file.read_row_group(group, columns=[kind.partition.folder])
                if (mask := _of_folder(dates.column(0), folder)).true_count:
                    found.append(file.read_row_group(group, use_threads=False).filter(mask))
    changes = pa.concat_tables(found)
    changes = changes.filter(pc.less_equal(changes["publication"], through)).combine_chunks()
    return changes.take(pc.sort_indices(changes["publication"]))


def changes_by_folder(sources: Iterable[Source], kind: RecordKind) -> Mapping[str, dict[int, int]]:
    """Folder of cdr/ -> publication -> how many changes of its rows that brought.

    Raises StoreError if a part is not as it was published.
    """
    of, folder = changes_of(kind), kind.partition.folder
    found: dict[str, dict[int, int]] = {}
    for source in sources:
        with whole_part(source, of) as file:
            table = file.read([folder, "publication"], use_threads=False)
        for (date, publication), rows in _counted(table, folder):
            of_folder = found.setdefault(f"{folder}={date or NO_DATE}", {})
            of_folder[publication] = of_folder.get(publication, 0) + rows
    return found


def _counted(table: pa.Table, folder: str) -> Iterator[tuple[tuple[str | None, int], int]]:
    counts = table.group_by([folder, "publication"]).aggregate([([], "count_all")])
    dates = [None if one is None else one.isoformat() for one in counts[folder].to_pylist()]
    keys = zip(dates, counts["publication"].to_pylist(), strict=True)
    yield from zip(keys, counts["count_all"].to_pylist(), strict=True)


def _of_folder(dates: pa.ChunkedArray, folder: str) -> pa.BooleanArray:
    name = folder.partition("=")[2]
    whole = dates.combine_chunks()
    if name == NO_DATE:
        return whole.is_null()
    return pc.fill_null(pc.equal(whole, pa.scalar(name).cast(pa.date32())), False)


def _stages_of(rows: pa.Table, kind: RecordKind) -> Iterator[_Stage]:
    at = rows["fetched_at"].cast(pa.int64()).to_pylist()
    return zip(rows[kind.key].to_pylist(), rows["run_id"].to_pylist(), at, strict=True)


def in_place_of(rows: pa.Table, others: pa.Table, mask: pa.BooleanArray) -> pa.Table:
    """`rows` with those of `others` where `mask` says so."""
    columns = [
        pc.if_else(mask, others[name].combine_chunks(), rows[name].combine_chunks())
        for name in rows.schema.names
    ]
    return pa.Table.from_arrays(columns, schema=rows.schema)
