"""What lies under cdr/: which parts, which strangers, are they whole, and what do they add up to.

Only reads.  A path is relative to cdr/, as in `parts.StagedPart.path`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.dataset.footer import FOOTER_MAX_VOICE_ID, FOOTER_SCHEMA_VERSION
from harvester.dataset.kind import FETCHED_AT, RecordKind
from harvester.dataset.usage import UsageTotals, cost_units
from harvester.errors import StoreError
from harvester.storage.disk import store_error
from harvester.storage.output import is_systems_own
from harvester.storage.ownership import READ, refuse_closed

_FEW = 64


class Listing(msgspec.Struct, frozen=True):
    """The files under cdr/."""

    parts: dict[str, int]
    """Path -> size in bytes of what has a name that we give."""
    foreign: list[str]
    """Paths that we never wrote; readers may choke on them."""


def list_parts(cdr: Path, kind: RecordKind) -> Listing:
    """Every file under cdr/; none where the folder doesn't exist.  Raises StoreError."""
    listing = Listing({}, [])
    refuse_closed(cdr.parent, [cdr], READ)
    try:
        for path in sorted(cdr.rglob("*")):
            is_folder = path.is_dir() and not path.is_symlink()
            if not os.access(path, READ | (os.X_OK if is_folder else 0)):
                # It would be passed over, and nobody would miss its rows.
                refuse_closed(cdr.parent, [path], READ)
            if is_folder:
                continue
            name = path.relative_to(cdr).as_posix()
            if is_systems_own(path):
                continue
            if kind.part_name.fullmatch(name) and path.is_file() and not path.is_symlink():
                listing.parts[name] = path.stat().st_size
            else:
                listing.foreign.append(name)
    except OSError as exc:
        raise store_error("listing", cdr, exc) from exc
    return listing


def file_sha256(path: Path) -> str:
    """The file's hash, in hex.  Raises StoreError if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise store_error("reading", path, exc) from exc


def holds(path: Path, sha256: str) -> bool:
    """Whether there is a file at `path`, and with this content."""
    return path.is_file() and file_sha256(path) == sha256


def verify_part(path: Path, kind: RecordKind) -> int:
    """The rows of a part, from its footer alone.

    Raises StoreError if it is no whole Parquet file of the kind's schema.
    """
    with _opened(path) as file:
        refuse_other_schema(file, path, kind)
        return int(file.metadata.num_rows)


def read_all(path: Path) -> None:
    """Read a part through, and have the checksums of its pages looked at.

    Raises StoreError if one of them differs.  Parts of an earlier version have none.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group, use_threads=False)
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(path, exc) from exc


def refuse_other_schema(file: pq.ParquetFile, path: Path, kind: RecordKind) -> None:
    """Raise StoreError if the open file at `path` has not the kind's schema."""
    version = (file.metadata.metadata or {}).get(FOOTER_SCHEMA_VERSION.encode())
    if version != str(kind.version).encode() or not file.schema_arrow.equals(kind.schema):
        raise StoreError(
            f"{path} has the schema of another version of the harvester, or of another tool "
            f"(version {version!r}, ours is {kind.version}). Move it out of the data set.",
            code="data.schema",
        )


def totals(files: Iterable[Path], run_id: str, kind: RecordKind) -> UsageTotals:
    """What the rows of this run in `files` add up to; one row group at a time in memory.

    Raises StoreError if a file can't be read.
    """
    total, names = UsageTotals(), _usage_names(kind)
    for path in files:
        with _opened(path) as file:
            for group in _groups_of(file, run_id):
                try:
                    # In this thread: each of Arrow's own keeps memory of its own.
                    rows = file.read_row_group(group, columns=names, use_threads=False)
                    total += totals_of(rows, run_id, kind)
                except (OSError, pa.ArrowException) as exc:
                    raise unreadable(path, exc) from exc
        # Or it grows with the number of files: what one has left behind does not fit the next.
        pa.default_memory_pool().release_unused()
    return total


def totals_of(table: pa.Table, run_id: str, kind: RecordKind) -> UsageTotals:
    """What the rows of this run in `table` add up to."""
    rows = table.select(_usage_names(kind))
    return usage_in(rows.filter(pc.equal(table["run_id"], run_id)), kind)


def usage_in(rows: pa.Table, kind: RecordKind) -> UsageTotals:
    """What rows add up to."""
    usage = kind.usage
    priced = rows.filter(rows[usage.cost].is_valid())
    return UsageTotals(
        rows=rows.num_rows,
        call_duration_s=_sum(rows[usage.call_duration]),
        charged_duration_s=_sum(rows[usage.charged_duration]),
        cost=cost_units(_cost_by_currency(priced[usage.cost], priced[usage.currency]).items()),
    )


def newest_fetch_ms(path: Path) -> int:
    """When the last row of a part was fetched, on the vendor's clock, by the part's statistics;
    0 where they don't say.  Raises StoreError.
    """
    found = 0
    with _opened(path) as file:
        at = file.schema_arrow.get_field_index(FETCHED_AT.name)
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(at).statistics
            if statistics is not None and statistics.has_min_max:
                found = max(found, round(statistics.max.timestamp() * 1000))
    return found


def newest_id(files: Iterable[Path]) -> str | None:
    """The last id of the first file that names one in its footer, whatever stands there.

    Raises StoreError.
    """
    for path in files:
        with _opened(path) as file:
            footer = file.metadata.metadata or {}
        if found := footer.get(FOOTER_MAX_VOICE_ID.encode(), b""):
            return str(found, "utf-8", "replace")
    return None


def _usage_names(kind: RecordKind) -> list[str]:
    usage = kind.usage
    return ["run_id", usage.call_duration, usage.charged_duration, usage.cost, usage.currency]


def _cost_by_currency(
    costs: pa.ChunkedArray, currencies: pa.ChunkedArray
) -> dict[str | None, Decimal]:
    found = pc.unique(currencies).to_pylist()
    if len(found) > _FEW:
        # Imports Arrow's engine and its data sets, which is half of what summing needs.
        priced = pa.table({"cost": costs, "currency": currencies})
        sums = priced.group_by("currency").aggregate([("cost", "sum")])
        return dict(zip(sums["currency"].to_pylist(), sums["cost_sum"].to_pylist(), strict=True))
    is_null = currencies.is_null()
    masks = [is_null if one is None else pc.equal(currencies, one) for one in found]
    return {one: pc.sum(costs.filter(mask)).as_py() for one, mask in zip(found, masks, strict=True)}


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(path, exc) from exc


def _groups_of(file: pq.ParquetFile, run_id: str) -> Sequence[int]:
    """The row groups that may hold rows of this run, by the footer's statistics."""
    column = file.schema_arrow.get_field_index("run_id")
    groups = []
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        known = statistics is not None and statistics.has_min_max
        if not known or statistics.min <= run_id <= statistics.max:
            groups.append(group)
    return groups


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def unreadable(path: Path, exc: Exception) -> StoreError:
    """The error for a part that is no readable Parquet file, with what to do about it."""
    if isinstance(exc, FileNotFoundError):
        return StoreError(
            f"{path} can't be read as Parquet: it is gone. Run the command again, as `harvester "
            "compact` may have put another in its place meanwhile. If it is missing still, restore "
            "it from a backup; `harvester verify` shows what else is wrong.",
            code="data.unreadable",
        )
    return StoreError(
        f"{path} can't be read as Parquet ({exc}). `harvester verify` shows what else is wrong; "
        f"restore the file from a backup, or move it away and run `harvester rebuild`.",
        code="data.unreadable",
    )
