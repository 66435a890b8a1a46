"""What is left of a harvest whose state is lost: its parts, and what the last runs wrote down.

Only reads.  A part is taken for what it says it is only after every byte of it was read: it will be
trusted as long as the output exists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harvester.dataset.files import file_sha256, list_parts, read_all, verify_part
from harvester.dataset.inspection import Inspection, inspect
from harvester.dataset.kind import RecordKind
from harvester.dataset.origin import numbers_of
from harvester.errors import StoreError, first_line
from harvester.pipeline.run.state_snapshot import snapshot_number, value_of
from harvester.run_name import is_run_id
from harvester.state.run_records import in_order
from harvester.state.values import Batch, DeadLetter, Deferred, OpenCall, PartRecord
from harvester.storage.output import Output
from harvester.storage.run_summary import (
    SUMMARY,
    RunSummary,
    summaries,
)
from harvester.vendor_clock import CLOCK

PORTION = 2_000
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Parts:
    """The data set, read through."""

    records: list[PartRecord]
    accounts: frozenset[str]
    runs: dict[str, int]
    """The runs whose rows it holds, each with the number of the publication that has the first."""


def read_parts(
    folder: Path, partition_timezone: str, known_hashes: Mapping[str, str], kind: RecordKind
) -> Parts:
    """Every part of the data set, or of its changes, that lies in `folder`, inspected.

    `kind`: in the version that all of them must have.  `known_hashes`: what an older ledger says of
    them.  Raises StoreError naming what is not whole, not ours, or there twice, and what to do.
    """
    listing = list_parts(folder, kind)
    refused = [f"{folder / name}: not written by the harvester" for name in listing.foreign]
    records: list[PartRecord] = []
    accounts: set[str] = set()
    runs: dict[str, int] = {}
    by_hash: dict[str, str] = {}
    for name, size in listing.parts.items():
        path = folder / name
        sha256 = file_sha256(path)
        wrong, inspection = _inspected(path, name, partition_timezone, kind)
        accounts |= inspection.accounts
        if known_hashes.get(name, sha256) != sha256:
            wrong.append("changed since it was published (sha256 differs)")
        elif name not in known_hashes and not wrong:
            wrong += _damaged_pages(path)
        if sha256 in by_hash:
            wrong.append(f"a copy of {by_hash[sha256]}")
        by_hash.setdefault(sha256, name)
        refused += [f"{path}: {what}" for what in wrong]
        if not wrong:
            number, rewrite = numbers_of(name, kind)
            rows = verify_part(path, kind)
            records.append(PartRecord(name, number, rows, size, sha256, rewrite))
            for run_id, first in inspection.runs.items():
                runs[run_id] = min(first, runs.get(run_id, first))
    if refused:
        raise StoreError(_refusal(refused), code="data.untrusted")
    return Parts(records, frozenset(accounts), runs)


def newest_snapshot(output: Output) -> Path | None:
    """The state.parquet of the newest run that left one, where there is no data."""
    numbers = number_runs(output, summaries(output.runs), ())
    return next(reversed(snapshots(output, in_order(numbers, {}, silent(output)))), None)


def silent(output: Output) -> frozenset[str]:
    """Runs that were killed and left a folder alone, neither summary nor snapshot."""
    return frozenset(
        path.name
        for path in output.runs.glob("*")
        if path.is_dir() and not (path / SUMMARY).exists() and not (path / "state.parquet").exists()
    )


def number_runs(
    output: Output, told: Sequence[RunSummary], in_data: Iterable[str]
) -> dict[str, int | None]:
    """Every run that left anything, with the number that its summary or snapshot says.

    `in_data`: those that left rows in the data set.
    """
    found: dict[str, int | None] = dict.fromkeys(
        path.name for path in output.runs.glob("*") if path.is_dir() and is_run_id(path.name)
    )
    found |= dict.fromkeys(filter(is_run_id, in_data))
    for name in found:
        found[name] = snapshot_number(output.run(name) / "state.parquet")
    said = {run.run_id: run.first_publication for run in told}
    return found | {name: number for name, number in said.items() if number is not None}


def snapshot_rows(path: Path) -> int:
    """How many ids a snapshot holds; 1 for one that can't be read."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return 1


def snapshots(output: Output, runs: Sequence[str]) -> list[Path]:
    """The state.parquet of each of `runs` that left one, in their order."""
    return [path for run in runs if (path := output.run(run) / "state.parquet").is_file()]


def requests_by_day(runs: Sequence[RunSummary]) -> dict[str, int]:
    """Day of +08:00 to requests of the runs that ended in it: `pace.per_day` goes on from there."""
    counts = Counter[str]()
    for run in runs:
        day = run.ended_at.astimezone(CLOCK).date()
        counts[day.isoformat()] += run.requests
    return dict(counts)


def read_snapshot(path: Path, in_data: set[str], ended: set[str]) -> Iterator[tuple[Batch, int]]:
    """What a snapshot holds, in portions to be acknowledged: (batch, rows that were left out).

    `in_data` are its ids that the data set holds now.  Those are left out but for dead letters
    marked published; of these, the ones whose row is lost are left out, and those of `ended` calls,
    which were corrected.  Raises StoreError.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for rows in file.iter_batches(PORTION, use_threads=False):
                yield _batch(rows.to_pylist(), in_data, ended)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as exc:
        raise _damaged(path, exc) from exc


def refuse_damaged_snapshot(path: Path) -> None:
    """Raise StoreError if a snapshot can't be read through."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for _ in file.iter_batches(PORTION, use_threads=False):
                pass
    except (OSError, ValueError, pa.ArrowException) as exc:
        raise _damaged(path, exc) from exc


def _damaged(path: Path, exc: Exception) -> StoreError:
    return StoreError(
        f"{path} can't be read ({exc}). Move it away and run `harvester rebuild` again: then "
        "the snapshot of the run before counts.",
        code="state.damaged",
    )


def _inspected(
    path: Path, name: str, timezone: str, kind: RecordKind
) -> tuple[list[str], Inspection]:
    try:
        verify_part(path, kind)
    except StoreError as exc:
        return [str(exc)], Inspection(0, frozenset(), ())
    inspection = inspect(path, name, timezone, kind)
    return [fault.what for fault in inspection.faults], inspection


def _damaged_pages(path: Path) -> list[str]:
    """What the checksums of its own pages say of a part of which no state has a hash."""
    try:
        read_all(path)
    except StoreError as exc:
        return [f"changed since it was written ({first_line(exc)})"]
    return []


def _refusal(refused: list[str]) -> str:
    more = f" (and {len(refused) - _SHOWN} more)" if len(refused) > _SHOWN else ""
    return (
        f"the data set holds what can't be trusted: {'; '.join(refused[:_SHOWN])}{more}. Nothing "
        "was changed. Restore these files from a backup or move them out of cdr/ (what is missing "
        "then is fetched again), and run `harvester rebuild` again. If all is about dates, "
        "output.partition_timezone was another one: name the configuration with -c."
    )


def _batch(rows: list[dict[str, Any]], in_data: set[str], ended: set[str]) -> tuple[Batch, int]:
    batch = Batch()
    left_out = 0
    for row in rows:
        is_published = bool(row.get("published"))
        if (row["voice_id"] in in_data) != is_published or row["voice_id"] in ended:
            left_out += 1
        else:
            match value_of(row):
                case OpenCall() as call:
                    batch.open_calls.append(call)
                case DeadLetter() as letter:
                    batch.dead_letters.append(letter)
                case Deferred() as item:
                    batch.deferred.append(item)
    return batch, left_out
