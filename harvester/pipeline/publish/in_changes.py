"""Edits of changes/: what is done to rows, done to the old and the new rows there; and changes of
dates that leave the data set with the rows that they are of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from harvester.dataset.changes import NEW, OLD, changes_of, rows_of
from harvester.dataset.kind import RecordKind
from harvester.pipeline.publish.merging import Contents, Edit, Edited, contents_of


class InChanges:
    """An edit (`merging.Edit`) of a folder of changes/, made of one of rows: it leaves none out."""

    def __init__(self, edit: Edit) -> None:
        self._edit = edit

    @property
    def reads(self) -> RecordKind:
        return changes_of(self._edit.reads)

    @property
    def writes(self) -> RecordKind:
        return changes_of(self._edit.writes)

    def begin(self, footer: Mapping[bytes, bytes], rows: int) -> None:  # noqa: ARG002 - a protocol
        """See `merging.Edit`.  The footer counts changes, and says nothing of their rows."""
        self._edit.begin({}, rows)

    def edited(self, rows: pa.Table) -> Edited:
        """See `merging.Edit`."""
        columns = {name: rows[name] for name in rows.schema.names}
        gone, came = Contents(), Contents()
        for name in (OLD, NEW):
            done = self._edit.edited(rows_of(rows[name]))
            columns[name] = done.rows.to_struct_array().combine_chunks()
            gone, came = gone + done.gone, came + done.came
        schema = self.writes.schema
        return Edited(
            pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema),
            gone,
            came,
        )

    def complete(self) -> None:
        """Not every row has a change, so nothing can be missing."""


class Without:
    """An edit (`merging.Edit`) of a folder of changes/: without the changes of some dates."""

    def __init__(self, kind: RecordKind, dates: Sequence[str]) -> None:
        """`kind`: that of the rows; `dates`: as the folders of cdr/ are named."""
        self._kind = kind
        self._dates = dates

    @property
    def reads(self) -> RecordKind:
        return changes_of(self._kind)

    @property
    def writes(self) -> RecordKind:
        return changes_of(self._kind)

    def begin(self, footer: Mapping[bytes, bytes], rows: int) -> None:
        """See `merging.Edit`."""

    def edited(self, rows: pa.Table) -> Edited:
        """See `merging.Edit`."""
        gone = of_dates(rows, self._kind, self._dates)
        kept = rows.filter(pc.invert(_is_of(rows, self._kind, self._dates)))
        return Edited(kept, gone=contents_of(gone, self.reads))

    def complete(self) -> None:
        """Nothing can be missing."""


def of_dates(changes: pa.Table, kind: RecordKind, dates: Sequence[str]) -> pa.Table:
    """The changes of rows of these dates."""
    return changes.filter(_is_of(changes, kind, dates))


def _is_of(changes: pa.Table, kind: RecordKind, dates: Sequence[str]) -> pa.ChunkedArray:
    wanted = pa.array(list(dates), pa.string()).cast(pa.date32())
    return pc.is_in(changes[kind.partition.folder], value_set=wanted)
