"""An edit of rows, done to the old and the new rows that changes hold."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from harvester.dataset.changes import NEW, OLD, changes_of, rows_of
from harvester.dataset.kind import RecordKind
from harvester.pipeline.publish.merging import Contents, Edit, Edited


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

    def begin(self, footer: Mapping[bytes, bytes], rows: int) -> None:
        """See `merging.Edit`."""
        self._edit.begin(footer, rows)

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
