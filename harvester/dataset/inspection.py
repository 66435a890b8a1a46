"""What a part holds, compared with what its name and its footer say: the whole file is read.

Only reads.  A fault is a value, not an error: whoever asks may want to see all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.dataset.changes import NEW, records_in
from harvester.dataset.footer import (
    FOOTER_MAX_VOICE_ID,
    FOOTER_MIN_VOICE_ID,
    FOOTER_OFF_DATE,
    FOOTER_PUBLICATION,
    FOOTER_ROWS,
    FOOTER_RUNS,
    FOOTER_THROUGH,
)
from harvester.dataset.kind import RecordKind
from harvester.dataset.packing import submit_dates
from harvester.errors import first_line


@dataclass(frozen=True, slots=True)
class Fault:
    """Something about a part that can't be as we wrote it."""

    kind: str
    """unreadable, footer, unsorted or wrong_date."""
    what: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """A part, read from end to end."""

    rows: int
    accounts: frozenset[str]
    faults: tuple[Fault, ...]
    runs: Mapping[str, int] = field(default_factory=dict)
    """Those that fetched its rows, each with the number of the first publication that has some."""


@dataclass(slots=True)
class _Walk:
    """What the row groups so far have shown."""

    rows: int = 0
    first: str | None = None
    last: str | None = None
    unsorted: bool = False
    misplaced: int = 0
    other_date: str = ""


def inspect(path: Path, name: str, partition_timezone: str, kind: RecordKind) -> Inspection:
    """Read the part at `path`, called `name` relative to cdr/, one row group at a time.

    Never raises for what the file holds.
    """
    walk = _Walk()
    accounts: set[str] = set()
    runs: set[str] = set()
    found = kind.part_name.fullmatch(name)
    date = found["date"] if found else ""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            footer = {
                key.decode(): value.decode()
                for key, value in (file.metadata.metadata or {}).items()
            }
            for group in range(file.num_row_groups):
                # All columns: a page that can't be decoded shows only when it is read.
                rows = file.read_row_group(group, use_threads=False)
                _walk_on(walk, rows, date, partition_timezone, kind)
                accounts.update(_accounts(rows))
                for one in (rows, *records_in(rows)):
                    runs.update(pc.unique(one["run_id"]).drop_null().to_pylist())
            first = first_publications(footer)
    except (OSError, ValueError, pa.ArrowException) as exc:
        return Inspection(walk.rows, frozenset(accounts), (Fault("unreadable", first_line(exc)),))
    return Inspection(
        walk.rows,
        frozenset(accounts),
        (
            *_footer_faults(footer, walk, found),
            *_row_faults(footer, walk, partition_timezone, kind),
        ),
        {run: first.get(run, int(found["publication"]) if found else 0) for run in runs},
    )


def _accounts(rows: pa.Table) -> list[str]:
    """Whose rows they are; of changes, whose the new ones are."""
    if NEW in rows.column_names:
        column = pc.struct_field(rows[NEW].combine_chunks(), "account")
    else:
        column = rows["account"]
    found: list[str] = pc.unique(column).drop_null().to_pylist()
    return found


def first_publications(footer: Mapping[str, str]) -> dict[str, int]:
    """Run -> the first publication that has rows of it, by the footer of a part that was made of
    others.  Raises ValueError.
    """
    return msgspec.json.decode(footer.get(FOOTER_RUNS, "{}"), type=dict[str, int])


def _walk_on(walk: _Walk, rows: pa.Table, date: str, timezone: str, kind: RecordKind) -> None:
    if rows.num_rows == 0:
        return
    ids = rows[kind.key].combine_chunks()
    first, last = ids[0].as_py(), ids[-1].as_py()
    falls = pc.any(pc.greater(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py()
    walk.unsorted |= bool(falls) or (walk.last is not None and first < walk.last)
    walk.rows += rows.num_rows
    walk.first = first if walk.first is None else walk.first
    walk.last = last
    dates = submit_dates(rows, timezone, kind.partition)
    others = dates.filter(pc.not_equal(dates, date))
    if len(others):
        walk.misplaced += len(others)
        walk.other_date = others[0].as_py()


def _footer_faults(footer: dict[str, str], walk: _Walk, name: re.Match[str] | None) -> list[Fault]:
    expected = {
        FOOTER_ROWS: str(walk.rows),
        FOOTER_MIN_VOICE_ID: walk.first or "",
        FOOTER_MAX_VOICE_ID: walk.last or "",
        FOOTER_PUBLICATION: name["publication"] if name else "",
    }
    faults = [
        Fault("footer", f"its footer says {key} = {footer.get(key)}, its rows say {value}")
        for key, value in expected.items()
        if footer.get(key) != value
    ]
    through, rewrite = footer.get(FOOTER_THROUGH), name["rewrite"] if name else None
    # A later rewrite of its folder gives it a new name, not a new footer.
    if through is not None and (rewrite is None or int(through) > int(rewrite)):
        what = f"its footer says {FOOTER_THROUGH} = {through}, its name says {rewrite}"
        faults.append(Fault("footer", what))
    return faults


def _row_faults(
    footer: Mapping[str, str], walk: _Walk, timezone: str, kind: RecordKind
) -> list[Fault]:
    faults = []
    if walk.unsorted:
        faults.append(Fault("unsorted", f"its rows are not sorted by {kind.key}"))
    # A row whose time was corrected stays where it is, and the footer counts it.
    if str(walk.misplaced) != footer.get(FOOTER_OFF_DATE, "0"):
        faults.append(
            Fault(
                "wrong_date",
                f"{walk.misplaced} row(s) belong to another date, such as {walk.other_date}, by "
                f"their {kind.partition.column} in {timezone}",
            )
        )
    return faults
