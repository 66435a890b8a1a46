"""Pieces become Parquet parts: staged first, then put in their place.

Theory of operation.  Whatever lies under cdr/ is complete and immutable, and a name is never used
twice.  So a part is written in staging/ (the same file system, but where no reader looks):

1. `stage`: one file a date, each fsynced; then the staging folder.  Now the caller may commit.
2. `place`, for every part: make its folder, move it in, never over a file that is there.
3. `sync_folders`: the partition folders, cdr/ and the folder above.  Only then may the caller
   forget the journal range: until here a power cut can take the new names away again.

Each step may be repeated after a crash: `stage` writes the same rows under the same names anew,
`place` is content with a part that is already there.  A path is relative to cdr/:
`submit_date=2026-09-02/part-<state8>-<publication>-<k>.parquet`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from harvester.dataset import footer as keys
from harvester.dataset.files import holds
from harvester.dataset.kind import RecordKind
from harvester.dataset.origin import footer_of
from harvester.dataset.packing import Piece
from harvester.dataset.sort_buffer import Held
from harvester.errors import StoreError
from harvester.identity import Identity
from harvester.storage.disk import Disk, RealDisk, store_error

# A row group is unpacked, sorted and encoded as a whole: one of twice the rows takes 30 MB more,
# and makes the file one per cent smaller.
ROW_GROUP_ROWS = 65_536


class StagedPart(msgspec.Struct, frozen=True):
    """A finished file in staging."""

    staged: Path
    path: str
    """Where it belongs, relative to cdr/."""
    rows: int
    bytes: int
    sha256: str
    presumed: int
    """Rows whose currency was presumed."""


def stage(
    pieces: Iterable[Piece],
    kind: RecordKind,
    *,
    staging: Path,
    state_id: str,
    publication: int,
    mode: int,
    tool: str = "cdr-harvester",
    identity: Identity | None = None,
    disk: Disk | None = None,
    more: Mapping[str, str] | None = None,
) -> list[StagedPart]:
    """Write the rows of `pieces` into `staging`, one durable file a date, sorted by the key.

    Deterministic: the same rows get the same names.  `mode` is that of the files; `tool`,
    `identity` and `more` keys go into their footers.  Raises StoreError if the disk does not take
    them.
    """
    disk = disk or RealDisk()
    by_date = _by_date(pieces, kind)
    pa.default_memory_pool().release_unused()  # normalising had it; sorting takes as much again
    parts = []
    for k, date in enumerate(sorted(by_date)):
        name = f"part-{state_id[:8]}-{publication}-{k}.parquet"
        footer = {
            keys.FOOTER_TOOL: tool,
            keys.FOOTER_PUBLICATION: str(publication),
            **footer_of(identity or Identity()),
            **(more or {}),
        }
        held = by_date.pop(date)
        written = write_part(held, staging / name, mode, footer, disk)
        path = f"{kind.partition.folder}={date}/{name}"
        parts.append(StagedPart(staging / name, path, *written, held.presumed))
        del held  # before the next date is read
    with explained("syncing the folder", staging):
        disk.sync_folder(staging)
    pa.default_memory_pool().release_unused()
    return parts


def place(staged: Path, final: Path, *, sha256: str, mode: int, disk: Disk | None = None) -> None:
    """Move a staged part to its place; `mode` is that of the file, its folder's follows from it.

    Content with a part of this hash that is there already: a crash came after the move.  Raises
    StoreError if another file has the name, if the part is nowhere, or if the disk refuses.
    Durable only after `sync_folders`.
    """
    disk = disk or RealDisk()
    with explained("moving a part to", final):
        disk.make_folder(final.parent, folder_mode(mode))
        try:
            disk.move(staged, final)
        except (FileExistsError, FileNotFoundError) as exc:
            if not holds(final, sha256):
                raise _not_placed(staged, final) from exc
            disk.remove(staged)


def sync_folders(finals: Iterable[Path], cdr: Path, *, disk: Disk | None = None) -> None:
    """Make the names of placed parts durable: their folders, then cdr/ and the one above it."""
    disk = disk or RealDisk()
    for folder in [*sorted({final.parent for final in finals}), cdr, cdr.parent]:
        with explained("syncing the folder", folder):
            disk.sync_folder(folder)


def folder_mode(mode: int) -> int:
    """The mode of a folder whose files have `mode`: who may read them may list it; 0640 -> 0750."""
    return mode | (mode & 0o444) >> 2 | 0o700


def _by_date(pieces: Iterable[Piece], kind: RecordKind) -> dict[str, Held]:
    found: dict[str, Held] = {}
    for piece in pieces:
        found.setdefault(piece.date, Held(kind)).add(piece)
    return found


def write_part(
    held: Held, path: Path, mode: int, footer: dict[str, str], disk: Disk
) -> tuple[int, int, str]:
    """One part at `path`, synced: (rows, bytes, sha256).  Raises StoreError."""
    with explained("writing", path), disk.create(path, mode) as file:
        sink = _Hashing(file)
        rows = _write_parquet(held, sink, footer)
        disk.sync_file(file)
    return rows, sink.size, sink.digest.hexdigest()


def _write_parquet(held: Held, sink: _Hashing, footer: dict[str, str]) -> int:
    kind = held.kind
    rows, first, last = 0, None, None
    with pq.ParquetWriter(
        sink,
        kind.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=kind.dictionary,
        column_encoding=kind.column_encoding,
        write_page_index=True,
        write_page_checksum=True,
    ) as writer:
        for group in held.row_groups(ROW_GROUP_ROWS):
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            rows += group.num_rows
            last = group[kind.key][-1].as_py()
            first = first or group[kind.key][0].as_py()
            del group  # before the next one is made
        writer.add_key_value_metadata(
            {
                **footer,
                keys.FOOTER_SCHEMA_VERSION: str(kind.version),
                keys.FOOTER_ROWS: str(rows),
                keys.FOOTER_PRESUMED: str(held.presumed),
                keys.FOOTER_MIN_VOICE_ID: first,
                keys.FOOTER_MAX_VOICE_ID: last,
            }
        )
    return rows


class _Hashing:
    """A file, as Arrow wants one to write to, that knows the hash and the size of its content."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> int:
        self._file.write(content)
        self.digest.update(content)
        self.size += len(content)
        return len(content)

    def flush(self) -> None:
        """Arrow asks for it; `Disk.sync_file` does it."""


@contextmanager
def explained(doing: str, path: Path) -> Iterator[None]:
    """An error of the disk as a StoreError that says what was done."""
    try:
        yield
    except OSError as exc:
        raise store_error(doing, path, exc) from exc


def _not_placed(staged: Path, final: Path) -> StoreError:
    if final.exists():
        return StoreError(
            f"{final} exists already with other content and is never replaced. Move it out of the "
            f"data set, or see `harvester verify`; the new part waits at {staged}.",
            code="data.part_exists",
        )
    return StoreError(
        f"the part for {final} is neither there nor at {staged}. Run again: it is made again from "
        f"the journal.",
        code="data.part_lost",
    )
