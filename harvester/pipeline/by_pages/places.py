"""Where ids stand on the work list, and which of them are pending.

Theory of operation.  A page brings a hundred records of whichever calls; those of ours are found in
the list's file by the ranges of its row groups, many ids at a time, so that memory does not grow
with the list.  What is pending say the bits of the list's chunks as they were at the beginning, and
what was taken since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from harvester.inputs.voice_id import dated
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.listing.days import day_at
from harvester.state import work_lists
from harvester.state.values import CHUNK_ROWS, WorkList, chunks_of, rows_of_chunk
from harvester.storage import bitmap


class Place(NamedTuple):
    """Of an id on the list."""

    chunk: int
    row: int
    again: bool
    """Its record is in the data set already."""


class Places:
    """The list of a run.  Reads its file, so not on the event loop's thread."""

    def __init__(
        self, work_list: WorkList, ids: ListFile, bits: Mapping[int, bytes | None], rows: int
    ) -> None:
        """`bits`: as `work_lists.resolved_rows` has them.  `rows`: those that the run works on."""
        self._list = work_list
        self._ids = ids
        self._bits = dict(bits)
        self._rows = rows

    def pending(self, voice_ids: Sequence[str]) -> dict[str, Place]:
        """Those of the sorted `voice_ids` that are pending.  Raises StoreError."""
        found: dict[str, Place] = {}
        for voice_id, at in self._ids.find(voice_ids).items():
            no, row = divmod(at, CHUNK_ROWS)
            if at < self._rows and not self._is_resolved(no, row):
                found[voice_id] = Place(no, row, again=at >= self._list.new)
        return found

    def resolve(self, places: Iterable[Place]) -> None:
        """They are taken."""
        by_chunk: dict[int, list[int]] = {}
        for place in places:
            by_chunk.setdefault(place.chunk, []).append(place.row)
        for no, rows in by_chunk.items():
            bits = self._bits.get(no) or bitmap.empty(rows_of_chunk(no, self._list.rows))
            self._bits[no] = bitmap.with_rows(bits, rows)

    def days(self) -> set[date]:
        """The vendor's days that pending ids tell by their digits; some tell none."""
        found: set[date] = set()
        for no in range(chunks_of(self._rows)):
            rows = work_lists.pending_rows(self._list, self._bits, no)
            reach = rows_of_chunk(no, self._rows)
            if not rows:
                continue
            chunk, _ = self._ids.chunk(no, CHUNK_ROWS)
            told = (dated(chunk[row]) for row in rows if row < reach)
            found.update(day_at(at.timestamp()) for at in told if at is not None)
        return found

    def _is_resolved(self, no: int, row: int) -> bool:
        if no not in self._bits:
            return False
        bits = self._bits[no]
        return bits is None or bitmap.is_set(bits, row)
