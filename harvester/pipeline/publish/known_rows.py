"""What the data set knows of some calls now: the row of each, wherever it lies.

Theory of operation.  Rows never move, so a call's row lies in the folder of its date as it was
delivered: the folder of the date that it has now is looked through first, and only for what is not
there all files whose range of ids (in their footers) may hold it.  Where the row has changed since,
`new` of its newest change counts.  Only row groups that may hold one of the ids are read, and of
those only the wanted rows are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.dataset.changes import NEW
from harvester.dataset.files import unreadable
from harvester.dataset.footer import FOOTER_MAX_VOICE_ID, FOOTER_MIN_VOICE_ID
from harvester.dataset.kind import RecordKind
from harvester.state.values import PartRecord

_PUBLICATION = "publication"


class Known(msgspec.Struct, frozen=True):
    """Rows in the order of their ids, and the date of the folder of each."""

    rows: pa.Table
    folders: pa.Array
    """Text, as folders are called behind the `=`."""


class KnownRows:
    """The data set, as far as it was published."""

    def __init__(
        self,
        parts: Sequence[PartRecord],
        changes: Sequence[PartRecord],
        place_of: Callable[[str], Path],
        kind: RecordKind,
    ) -> None:
        self._parts = parts
        self._changes = changes
        self._place_of = place_of
        self._kind = kind

    def of(self, ids: pa.Array, date: str | None) -> Known:
        """The rows of those of `ids` that lie in the folder of `date`; None: in any.

        Raises StoreError if a file can't be read.
        """
        key, schema = self._kind.key, self._kind.schema
        here = [p for p in self._parts if date is None or _date_of(p) == date]
        tables, folders = [schema.empty_table()], [pa.array([], pa.string())]
        for part, rows in self._found(here, ids, None):
            tables.append(rows.cast(schema))
            folders.append(pa.repeat(_date_of(part), rows.num_rows))
        rows = pa.concat_tables(tables)
        order = pc.sort_indices(rows[key])
        rows, folder = rows.take(order), pa.concat_arrays(folders).take(order)
        return Known(self._as_now(rows), folder)

    def _as_now(self, rows: pa.Table) -> pa.Table:
        """The same rows as their newest changes have them."""
        key = self._kind.key
        columns = [key, _PUBLICATION, NEW]
        ids = rows[key].combine_chunks()
        found = [rows for _, rows in self._found(self._changes, ids, columns)]
        if not found:
            return rows
        table = pa.concat_tables(found)
        order = pc.sort_indices(table, sort_keys=[(key, "ascending"), (_PUBLICATION, "descending")])
        table = table.take(order).combine_chunks()
        by_id = table[key].combine_chunks()
        # The first row of each id is of its highest publication.
        first = pa.concat_arrays(
            [
                pa.array([True]),
                pc.not_equal(by_id.slice(1), by_id.slice(0, len(by_id) - 1)),
            ]
        )
        table = table.filter(first)
        news = pa.Table.from_struct_array(table[NEW].combine_chunks()).cast(self._kind.schema)
        kept = rows.filter(pc.invert(pc.is_in(ids, value_set=by_id)))
        both = pa.concat_tables([kept, news])
        return both.take(pc.sort_indices(both[key]))

    def _found(
        self, parts: Iterable[PartRecord], ids: pa.Array, columns: list[str] | None
    ) -> Iterator[tuple[PartRecord, pa.Table]]:
        if not len(ids):
            return
        reach = pc.min_max(ids)
        first, last = reach["min"].as_py(), reach["max"].as_py()
        for part in parts:
            path = self._place_of(part.path)
            try:
                with pq.ParquetFile(path, pre_buffer=False) as file:
                    if not _may_hold(file, first, last):
                        continue
                    for group in range(file.num_row_groups):
                        if not _group_may_hold(file, group, self._kind.key, first, last):
                            continue
                        rows = self._of_group(file, group, ids, columns)
                        if rows.num_rows:
                            yield part, rows
            except (OSError, ValueError, pa.ArrowException) as exc:
                raise unreadable(path, exc) from exc

    def _of_group(
        self, file: pq.ParquetFile, group: int, ids: pa.Array, columns: list[str] | None
    ) -> pa.Table:
        key = self._kind.key
        own = file.read_row_group(group, columns=[key], use_threads=False)
        wanted = pc.is_in(own[key], value_set=ids)
        if not pc.any(wanted).as_py():
            return own.slice(0, 0)
        rows = file.read_row_group(group, columns=columns, use_threads=False)
        return rows.filter(wanted).replace_schema_metadata(None)


def _date_of(part: PartRecord) -> str:
    return part.folder.partition("=")[2]


def _may_hold(file: pq.ParquetFile, first: str, last: str) -> bool:
    footer = file.metadata.metadata or {}
    low = footer.get(FOOTER_MIN_VOICE_ID.encode(), b"").decode()
    high = footer.get(FOOTER_MAX_VOICE_ID.encode(), b"").decode()
    return not (low and high) or (low <= last and first <= high)


def _group_may_hold(file: pq.ParquetFile, group: int, key: str, first: str, last: str) -> bool:
    column = file.schema_arrow.get_field_index(key)
    statistics = file.metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= last and first <= statistics.max)
