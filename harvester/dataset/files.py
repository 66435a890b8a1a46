"""What lies under cdr/: which parts, which strangers, are they whole, and what do they add up to.

Only reads.  A path is relative to cdr/, as in `parts.StagedPart.path`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.dataset.schema import (
    FOOTER_MAX_VOICE_ID,
    FOOTER_SCHEMA_VERSION,
    SCHEMA,
    SCHEMA_VERSION,
)
from harvester.dataset.usage import UsageTotals, cost_units
from harvester.errors import StoreError
from harvester.storage.disk import store_error
from harvester.storage.ownership import READ, refuse_closed

PART_NAME = re.compile(
    r"submit_date=(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}|__HIVE_DEFAULT_PARTITION__)"
    r"/part-(?P<state>[0-9A-Za-z]{1,8})-(?P<publication>[0-9]+)-(?P<k>[0-9]+)\.parquet"
)
_FEW = 64
_USAGE = ["run_id", "call_duration_s", "charged_duration_s", "cost", "currency"]


class Listing(msgspec.Struct, frozen=True):
    """The files under cdr/."""

    parts: dict[str, int]
    """Path -> size in bytes of what has a name that we give."""
    foreign: list[str]
    """Paths that we never wrote; readers may choke on them."""


def list_parts(cdr: Path) -> Listing:
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
            if PART_NAME.fullmatch(name) and path.is_file() and not path.is_symlink():
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


def verify_part(path: Path) -> int:
    """The rows of a part, from its footer alone.

    Raises StoreError if it is no whole Parquet file of our schema.
    """
    with _opened(path) as file:
        version = (file.metadata.metadata or {}).get(FOOTER_SCHEMA_VERSION.encode())
        if version != str(SCHEMA_VERSION).encode() or not file.schema_arrow.equals(SCHEMA):
            raise StoreError(
                f"{path} has the schema of another version of the harvester, or of another tool "
                f"(version {version!r}, ours is {SCHEMA_VERSION}). Move it out of the data set."
            )
        return int(file.metadata.num_rows)


def totals(files: Iterable[Path], run_id: str) -> UsageTotals:
    """What the rows of this run in `files` add up to; one row group at a time in memory.

    Raises StoreError if a file can't be read.
    """
    total = UsageTotals()
    for path in files:
        with _opened(path) as file:
            for group in _groups_of(file, run_id):
                try:
                    # In this thread: each of Arrow's own keeps memory of its own.
                    rows = file.read_row_group(group, columns=_USAGE, use_threads=False)
                    total += totals_of(rows, run_id)
                except (OSError, pa.ArrowException) as exc:
                    raise unreadable(path, exc) from exc
        # Or it grows with the number of files: what one has left behind does not fit the next.
        pa.default_memory_pool().release_unused()
    return total


def totals_of(table: pa.Table, run_id: str) -> UsageTotals:
    """What the rows of this run in `table` add up to."""
    rows = table.select(_USAGE).filter(pc.equal(table["run_id"], run_id))
    return UsageTotals(
        rows=rows.num_rows,
        call_duration_s=_sum(rows["call_duration_s"]),
        charged_duration_s=_sum(rows["charged_duration_s"]),
        cost=cost_units(_cost_by_currency(rows.filter(rows["cost"].is_valid())).items()),
    )


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


def _cost_by_currency(priced: pa.Table) -> dict[str | None, Decimal]:
    currencies = pc.unique(priced["currency"]).to_pylist()
    if len(currencies) > _FEW:
        # Imports Arrow's engine and its data sets, which is half of what summing needs.
        sums = priced.group_by("currency").aggregate([("cost", "sum")])
        return dict(zip(sums["currency"].to_pylist(), sums["cost_sum"].to_pylist(), strict=True))
    is_null = priced["currency"].is_null()
    masks = [is_null if c is None else pc.equal(priced["currency"], c) for c in currencies]
    costs = [pc.sum(priced["cost"].filter(mask)).as_py() for mask in masks]
    return dict(zip(currencies, costs, strict=True))


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
    return StoreError(
        f"{path} can't be read as Parquet ({exc}). `harvester verify` shows what else is wrong; "
        f"restore the file from a backup, or move it away and run `harvester rebuild`."
    )
