"""Rows on their way into parts: split by date, and packed.

250,000 rows take 95 MB as Arrow columns, and 42 MB compressed (zstd: 23 MB, for half a µs more a
row).  So a whole publication fits in little memory, and through a pipe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from harvester.dataset.kind import Partition, RecordKind

NO_DATE = "__HIVE_DEFAULT_PARTITION__"

# Large enough that opening a piece costs nothing, small enough to be held as it is.
PIECE_ROWS = 16_384

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a bare clock: the zone's offset is added by hand
_MINUTE_MS = 60_000
_YEAR_1973_MS = 94_694_400_000
"""Since then every zone's offset, and every change of one, falls on a whole minute."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Rows of one date."""

    date: str
    """'YYYY-MM-DD', or NO_DATE."""
    rows: bytes
    """An Arrow IPC file of the kind's schema, compressed."""
    presumed: int = 0
    """Rows whose currency was presumed: the column does not show it."""


class Packer:
    """Takes rows as they come and gives them back by date, in pieces."""

    def __init__(self, timezone: str, kind: RecordKind) -> None:
        """`timezone` is an IANA name: whose days the dates are."""
        self._timezone = timezone
        self._schema = kind.schema
        self._partition = kind.partition
        self._loose: dict[str, list[pa.Table]] = {}
        self._presumed: Counter[str] = Counter()

    def add(self, rows: pa.Table, presumed: pa.BooleanArray | None = None) -> Iterator[Piece]:
        """Take more rows, of the kind's schema; the pieces that are full now.

        `presumed`: of each row, whether its currency was; None: of none.
        """
        dates = submit_dates(rows, self._timezone, self._partition)
        found = pc.unique(dates).to_pylist()
        for date in found:
            of_date = pc.equal(dates, date)
            loose = self._loose.setdefault(date, [])
            loose.append(rows if len(found) == 1 else rows.filter(of_date))
            if presumed is not None:
                self._presumed[date] += pc.and_(of_date, presumed).true_count
            if sum(table.num_rows for table in loose) >= PIECE_ROWS:
                yield self._packed(date)

    def rest(self) -> Iterator[Piece]:
        """What is left."""
        for date in [*self._loose]:
            yield self._packed(date)

    def _packed(self, date: str) -> Piece:
        rows = pa.concat_tables(self._loose.pop(date)).combine_chunks()
        return Piece(date, packed(rows, self._schema), self._presumed.pop(date, 0))


def packed(rows: pa.Table, schema: pa.Schema) -> bytes:
    """Rows as `Piece.rows` has them."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue().to_pybytes())


def pieces_of(tables: Iterable[pa.Table], timezone: str, kind: RecordKind) -> Iterator[Piece]:
    """The rows of `tables` in pieces; those of a date stay in their order."""
    packer = Packer(timezone, kind)
    for table in tables:
        yield from packer.add(table)
    yield from packer.rest()


def submit_dates(table: pa.Table, timezone: str, partition: Partition) -> pa.Array:
    """The partition of each row: the date of its time in `timezone`, 'YYYY-MM-DD', or NO_DATE."""
    ms = table[partition.column].combine_chunks().cast(pa.int64())
    minutes = pc.multiply(pc.divide(ms, _MINUTE_MS), _MINUTE_MS)
    encoded = pc.if_else(pc.greater(ms, _YEAR_1973_MS), minutes, ms).dictionary_encode()
    # Not Arrow's own zones: it needs the system's files, which a slim container lacks.
    zone = ZoneInfo(timezone)
    dates = [_date_of(instant, zone) for instant in encoded.dictionary.to_pylist()]
    return pc.fill_null(pa.array(dates, pa.string()).take(encoded.indices), NO_DATE)


def _date_of(ms: int | None, zone: ZoneInfo) -> str | None:
    if ms is None:
        return None
    utc = (_EPOCH + timedelta(milliseconds=ms)).replace(tzinfo=ZoneInfo("UTC"))
    local = utc.astimezone(zone)
    return f"{local.year:04}-{local.month:02}-{local.day:02}"
