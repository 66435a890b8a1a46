"""Parts of one date, read to be written as one, and the proof that the rows are the same.

Theory of operation.  A part that others will be thrown away for must hold their rows.  So a file is
read as a whole: its bytes are hashed first, and must be those that were published, else damage
would be copied into a new file with a hash of its own.  What goes in and what the new file gives
back, read from the disk again, are added up in the same way (`Contents`): rows, seconds, cost by
currency, and a sum of hashes over the ids, in which order plays no part and an id that is there
twice counts twice.  They must be equal.

One file is in memory at a time, and the rows that go in, packed: 168 MB for a million, and 475 MB
at the peak of sorting and writing them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from harvester.dataset import footer as keys
from harvester.dataset.files import refuse_other_schema, unreadable, usage_in
from harvester.dataset.inspection import first_publications
from harvester.dataset.kind import RecordKind
from harvester.dataset.packing import PIECE_ROWS, Piece, packed
from harvester.dataset.sort_buffer import Held
from harvester.dataset.stated import presumed_in
from harvester.dataset.usage import UsageTotals
from harvester.errors import StoreError
from harvester.storage.disk import store_error

_HASHES = 1 << 128


class Source(msgspec.Struct, frozen=True):
    """A part as it was published."""

    path: Path
    sha256: str
    publication: int


class Contents(msgspec.Struct, frozen=True):
    """What rows come to, whatever their order and their files: equal only if they are the same."""

    usage: UsageTotals = UsageTotals()
    ids: int = 0
    """Sum of the 128-bit hashes of their ids, modulo 2^128."""

    def __add__(self, other: Contents) -> Contents:
        return Contents(self.usage + other.usage, (self.ids + other.ids) % _HASHES)


@dataclass(slots=True)
class Gathered:
    """The rows of some parts, and what their footers say that the new one has to say."""

    held: Held
    contents: Contents = field(default_factory=Contents)
    runs: dict[str, int] = field(default_factory=dict)
    """Run -> the first publication that has rows of it."""
    presumed_of: int = 0
    """Rows of which it is known whether their currency was presumed."""

    def footer(self, rewrite: int) -> dict[str, str]:
        """The keys of a part that `rewrite` makes of them, beside those of every part."""
        found = {
            keys.FOOTER_PUBLICATION: str(rewrite),
            keys.FOOTER_THROUGH: str(rewrite),
            keys.FOOTER_RUNS: msgspec.json.encode(self.runs, order="sorted").decode(),
        }
        if self.presumed_of < self.contents.usage.rows:
            found[keys.FOOTER_PRESUMED_OF] = str(self.presumed_of)
        return found


def contents_of(rows: pa.Table, kind: RecordKind) -> Contents:
    """What the rows come to."""
    digest = xxhash.xxh3_128_intdigest
    ids = (
        sum(digest(voice_id) for voice_id in rows[kind.key].cast(pa.binary()).to_pylist()) % _HASHES
    )
    return Contents(usage_in(rows, kind), ids)


def read_contents(source: Source, kind: RecordKind) -> Contents:
    """What a part comes to, read from the disk.  Raises StoreError."""
    found = Contents()
    with _whole(source, kind) as file:
        for rows in _row_groups(file):
            found += contents_of(rows, kind)
    return found


def gather(sources: Sequence[Source], kind: RecordKind, after_each: Callable[[], None]) -> Gathered:
    """The rows of the parts of one date; `after_each` part it may raise what ends it.

    Raises StoreError if a part is not as it was published.
    """
    found = Gathered(Held(kind))
    loose: list[pa.Table] = []
    for source in sources:
        with _whole(source, kind) as file:
            footer = file.metadata.metadata or {}
            presumed, of = presumed_in(footer, file.metadata.num_rows)
            found.held.presumed += presumed
            found.presumed_of += of
            first = first_publications({k.decode(): v.decode() for k, v in footer.items()})
            for rows in _row_groups(file):
                found.contents += contents_of(rows, kind)
                for run in pc.unique(rows["run_id"]).to_pylist():
                    number = first.get(run, source.publication)
                    found.runs[run] = min(number, found.runs.get(run, number))
                loose.append(rows)
                if sum(table.num_rows for table in loose) >= PIECE_ROWS:
                    _hold(found.held, loose)
        after_each()
    _hold(found.held, loose)
    return found


def _hold(held: Held, loose: list[pa.Table]) -> None:
    if loose:
        rows = pa.concat_tables(loose).replace_schema_metadata(None)
        loose.clear()
        for start in range(0, rows.num_rows, PIECE_ROWS):
            piece = rows.slice(start, PIECE_ROWS).combine_chunks()
            held.add(Piece("", packed(piece, held.kind.schema)))


@contextmanager
def _whole(source: Source, kind: RecordKind) -> Iterator[pq.ParquetFile]:
    """The part, in memory, its hash compared.  What Arrow raises is told as a StoreError."""
    try:
        content = source.path.read_bytes()
    except OSError as exc:
        raise store_error("reading", source.path, exc) from exc
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise StoreError(
            f"{source.path} has changed since it was written (sha256 differs), so nothing is made "
            "of it. Nothing was changed. `harvester verify --deep` shows what else is wrong.",
            code="data.changed",
        )
    try:
        with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
            refuse_other_schema(file, source.path, kind)
            yield file
    except (OSError, ValueError, pa.ArrowException) as exc:
        raise unreadable(source.path, exc) from exc


def _row_groups(file: pq.ParquetFile) -> Iterator[pa.Table]:
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, use_threads=False)
