"""What left the data set on purpose: the ids of the calls, and what they came to.

Theory of operation.  `drop` takes whole dates out of the output.  Their calls stay resolved: a list
that is harvested again must not fetch what the law had deleted.  So each drop leaves a file of the
ids behind, in OUT/dropped/, that outlives the state database; in its footer stands what each run
had delivered of them, so that control totals hold, and for each billing month a sum of hashes by
which anybody who has the rows can show that they are these.  It is written and durable before the
commit point of the rewrite; what a crash leaves of one that was not committed goes with it.

`erase` hides numbers in rows that stay.  The vendor still has them, so the ids of these rows are
left behind in the same way, and no refetch takes them, nor a run if their file is lost.

One flipped bit in such a file is an id that nobody dropped, in the place of one that is fetched
again.  So it bears a hash of what was written, and whoever goes by its ids looks whether they are
these (`checked_files`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.errors import StoreError, first_line
from harvester.storage.disk import Disk, store_error
from harvester.storage.output import PRIVATE, is_systems_own

if TYPE_CHECKING:
    from hashlib import _Hash

_FOOTER = b"cdr.dropped"
_CHECK = b"cdr.sha256"
"""SHA-256 of the ids, each and a line end, and of the footer above, if there is one; in hex."""
_SCHEMA = pa.schema([pa.field("voice_id", pa.string(), nullable=False)])


class LeftOfRun(msgspec.Struct, frozen=True):
    """What the calls that left came to, as a run had delivered them."""

    rows: int
    call_duration_s: int
    charged_duration_s: int
    cost: Mapping[str, int]
    """By currency, in units of 10^-8."""


class LeftOfMonth(msgspec.Struct, frozen=True):
    """The calls of a billing month that left."""

    rows: int
    first: str
    """Sum of the XXH3-128 hashes, modulo 2^128, of "voice_id|charged seconds|cost|currency" of each
    call, as it was first delivered; in hex.  Absent values are empty, and the cost has 8 places."""
    current: str
    """The same of the calls as they were when they left."""
    cost: Mapping[str, int]
    """As they were then, by currency, in units of 10^-8."""


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A drop, as the footer of its file has it."""

    number: int
    """The rewrite."""
    at_ms: int
    before: str
    """The date that was given, YYYY-MM-DD."""
    dates: tuple[str, ...]
    """Those that left."""
    rows: int
    runs: Mapping[str, LeftOfRun]
    months: Mapping[str, LeftOfMonth]
    """By billing month, YYYY-MM; "" is that of calls without one."""
    changes: Mapping[str, int] = {}
    """By run: changes that left with the calls."""
    archive: str | None = None
    """The folder that they were copied to; None: they were deleted."""


def file_of(folder: Path, number: int) -> Path:
    """Where the file of a drop lies in OUT/dropped/; `number`: that of its rewrite."""
    return folder / f"drop-{number}.parquet"


def erased_file_of(folder: Path, number: int) -> Path:
    """Where that of an erasure lies."""
    return folder / f"erase-{number}.parquet"


def left_file_of(folder: Path, number: int, command: str) -> Path:
    """Where that of a rewrite lies, by the `command` that wanted it: drop or erase."""
    return file_of(folder, number) if command == "drop" else erased_file_of(folder, number)


def files(folder: Path) -> list[Path]:
    """Those of all drops, in their order."""
    return sorted(folder.glob("drop-*.parquet"), key=_number)


def erased_files(folder: Path) -> list[Path]:
    """Those of all erasures, in their order."""
    return sorted(folder.glob("erase-*.parquet"), key=_number)


def numbers(folder: Path) -> list[int]:
    """Their numbers, which no other publication may have."""
    return [_number(path) for path in (*files(folder), *erased_files(folder))]


def _number(path: Path) -> int:
    digits = path.stem.partition("-")[2]
    return int(digits) if digits.isdigit() else 0


def checked_files(folder: Path) -> list[Path]:
    """Those of all drops and erasures, whose ids are no others than were written.

    Raises StoreError naming one that is damaged.
    """
    found = [*files(folder), *erased_files(folder)]
    for path in found:
        if why := damage_of(path):
            raise unreadable(path, why)
    return found


def damage_of(path: Path) -> str:
    """What is wrong with a file of a drop or an erasure; "" for nothing."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            footers = file.metadata.metadata or {}
            check = hashlib.sha256()
            for batch in file.iter_batches(columns=["voice_id"], use_threads=False):
                _digest(check, batch.column(0))
    except IndexError:
        return "has no column voice_id"
    except (OSError, ValueError, KeyError, pa.ArrowException) as exc:
        return f"can't be read ({first_line(exc)})"
    check.update(footers.get(_FOOTER, b""))
    # An earlier version wrote none.
    is_same = footers.get(_CHECK, check.hexdigest().encode()) == check.hexdigest().encode()
    return "" if is_same else "was changed since it was written (sha256 differs)"


def strangers(folder: Path) -> list[str]:
    """Names that no drop and no erasure has given, sorted."""
    ours = {path.name for path in (*files(folder), *erased_files(folder)) if _number(path)}
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(one.name for one in there if one.name not in ours and not is_systems_own(one))


def _digest(check: _Hash, ids: pa.Array) -> None:
    # Joined by Arrow: there may be millions.
    lines = pc.binary_join(pa.ListArray.from_arrays([0, len(ids)], ids), "\n")
    if len(ids):
        check.update(memoryview(lines[0].as_buffer()))
        check.update(b"\n")


def write(folder: Path, dropped: Dropped, ids: Iterable[pa.Array], disk: Disk) -> None:
    """Write the file of a drop, durably.  Raises StoreError.

    `ids`: a sorted column of ids for each date.
    """
    _write(file_of(folder, dropped.number), ids, msgspec.json.encode(dropped), disk)


def write_erased(folder: Path, number: int, ids: Iterable[str], disk: Disk) -> None:
    """Write the file of an erasure, durably.  Raises StoreError."""
    _write(erased_file_of(folder, number), [pa.array(sorted(ids), pa.string())], b"", disk)


def _write(path: Path, ids: Iterable[pa.Array], footer: bytes, disk: Disk) -> None:
    folder, check = path.parent, hashlib.sha256()
    try:
        disk.make_folder(folder, PRIVATE)
        with disk.create(path, 0o600) as file:
            with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
                for column in ids:
                    table = pa.table([column], schema=_SCHEMA)
                    for chunk in table["voice_id"].chunks:
                        _digest(check, chunk)
                    writer.write_table(table)
                check.update(footer)
                footers = {_CHECK.decode(): check.hexdigest()}
                if footer:
                    footers[_FOOTER.decode()] = footer.decode()
                writer.add_key_value_metadata(footers)
            disk.sync_file(file)
        for parent in (folder, folder.parent):
            disk.sync_folder(parent)
    except OSError as exc:
        raise store_error("writing", path, exc) from exc


def forget(folder: Path, number: int, disk: Disk) -> None:
    """Remove the file of a rewrite that was never committed.  Raises StoreError."""
    for path in (file_of(folder, number), erased_file_of(folder, number)):
        if path.exists():
            try:
                disk.remove(path)
                disk.sync_folder(folder)
            except OSError as exc:
                raise store_error("removing", path, exc) from exc


def read(folder: Path) -> list[Dropped]:
    """All drops, in their order.  Raises StoreError if one can't be read."""
    return [_read(path) for path in files(folder)]


def _read(path: Path) -> Dropped:
    try:
        found = (pq.read_metadata(path).metadata or {})[_FOOTER]
        return msgspec.json.decode(found, type=Dropped)
    except (OSError, KeyError, ValueError, pa.ArrowException) as exc:
        raise unreadable(path, "can't be read") from exc


def drop_of(folder: Path, voice_id: str) -> Dropped | None:
    """The drop by which a call left; None if it did not.  Raises StoreError."""
    for path in files(folder):
        try:
            ids = pq.read_table(path, columns=["voice_id"], use_threads=False)["voice_id"]
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(path, "can't be read") from exc
        if pc.index(ids, voice_id).as_py() >= 0:
            return _read(path)
    return None


def unreadable(path: Path, why: str) -> StoreError:
    """The error for a file of a drop or an erasure that can't be trusted."""
    return StoreError(
        f"{path} {why}: it holds the ids of calls that were dropped or erased in, so that they are "
        "not fetched again. Restore it from a backup. Without one, move it away and let `harvester "
        "rebuild` make a state that knows nothing of them: then take care that they are in no "
        "input. Nothing was changed.",
        code="data.dropped",
    )
