"""One id in the data set and on the list: by the statistics in the footers, not by a full scan."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.answers.answer import Answer
from harvester.errors import StoreError
from harvester.state import journal, publications, work_lists
from harvester.state.values import CHUNK_ROWS, WorkList


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the data set."""

    path: Path
    row_group: int
    row: dict[str, Any]


def find_rows(files: Iterable[Path], voice_id: str) -> Iterator[Found]:
    """Every row of `voice_id`; only row groups that may hold it are read.

    Raises StoreError if a file can't be read.
    """
    for path in files:
        try:
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for group in _groups(file, voice_id):
                    ids = file.read_row_group(group, columns=["voice_id"])["voice_id"]
                    if pc.any(pc.equal(ids, voice_id)).as_py():
                        rows = file.read_row_group(group)
                        for row in rows.filter(pc.equal(rows["voice_id"], voice_id)).to_pylist():
                            yield Found(path, group, row)
        except (OSError, pa.ArrowException) as exc:
            raise StoreError(
                f"{path} can't be read ({exc}). `harvester verify` shows what else is wrong.",
                code="data.unreadable",
            ) from exc


def find_on_list(
    db: sqlite3.Connection, work_list: WorkList, path: Path, voice_id: str
) -> tuple[int, int, bool] | None:
    """(row, rank, whether it is settled) of `voice_id` on the list; None if it isn't on it.

    Raises StoreError if the list can't be read.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            found = _row_on_list(file, voice_id)
    except (OSError, pa.ArrowException) as exc:
        raise StoreError(
            f"{path}: the work list can't be read ({exc}). Run `harvester verify`.",
            code="state.damaged",
        ) from exc
    if found is None:
        return None
    row, rank = found
    no, at = divmod(row, CHUNK_ROWS)
    pending = work_lists.pending_rows(work_list, work_lists.resolved_rows(db, work_list), no)
    return row, rank, at not in set(pending)


def find_in_journal(db: sqlite3.Connection, voice_id: str, kind: str) -> Answer | None:
    """The answer of `voice_id` in the journal's rows of `kind`; None if it isn't there."""
    for row in publications.journal_blobs(db, kind=kind):
        for answer in journal.answers_of(row):
            if answer.voice_id == voice_id:
                return answer
    return None


def _row_on_list(file: pq.ParquetFile, voice_id: str) -> tuple[int, int] | None:
    starts = [0]
    for group in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
    for group in _groups(file, voice_id):
        rows = file.read_row_group(group)
        at = pc.index(rows["voice_id"], voice_id).as_py()
        if at >= 0:
            return starts[group] + at, int(rows["rank"][at].as_py())
    return None


def _groups(file: pq.ParquetFile, voice_id: str) -> Iterator[int]:
    """The row groups that may hold `voice_id`, by the footer's statistics."""
    column = file.schema_arrow.get_field_index("voice_id")
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        known = statistics is not None and statistics.has_min_max
        if not known or statistics.min <= voice_id <= statistics.max:
            yield group
