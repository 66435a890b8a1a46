"""What a run would do: counted, not guessed, and nothing is sent or changed.

The list is drafted in a temporary folder, out of the same parts as a run's own.  Where the output
has a state, its lock is held meanwhile, so that the figures belong together.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import msgspec

from harvester.config import Config
from harvester.harvest.listing import Places, data_glob, draft_list, known_stamps
from harvester.harvest.looking import has_state, looking
from harvester.harvest.output import Output
from harvester.ids.files import find
from harvester.ids.fingerprint import fingerprint
from harvester.ids.worklist import ListResult
from harvester.ledger import bitmap, publications, records, worklists
from harvester.ledger.values import CHUNK_ROWS, InputRecord, WorkList

BYTES_PER_ROW = 220
"""Parquet per record, where this output has none yet to measure; simulated calls take this."""
_BYTES_PER_LISTED = 30
_BAD_SHOWN = 5
_RUNS_MEASURED = 10


class InputPlan(msgspec.Struct, frozen=True, kw_only=True):
    """lines = bad + duplicate + distinct; distinct = settled + to_ask."""

    lines: int
    bad: int
    duplicate: int
    distinct: int
    settled: int
    to_ask: int
    bad_examples: tuple[str, ...] = ()
    known: bool = False
    """Whether the list in force was made for just this input."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the next run of these arguments would do."""

    output: str
    account: str
    has_state: bool
    input: InputPlan | None
    left_over: int
    """Pending ids of earlier inputs."""
    only: bool
    """Whether they are left alone."""
    open: int
    open_due: int
    to_ask: int
    requests: int
    retry_share: float
    """Requests per id in the last runs of this output; 1 where there were none."""
    rate_per_s: float
    per_day: int | None
    seconds: float
    """At the full pace; nights without a run between are not counted."""
    runs: int
    """Days of `per_day` that it takes; 1 without such a budget."""
    ends_at: float
    """Unix time, if it began now."""
    data_bytes: int
    """What the records will take as Parquet."""
    working_bytes: int
    """What is needed beside it while it works."""


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    input: InputPlan | None
    left_over: int


def make_plan(config: Config, sources: Sequence[str], *, only: bool = False) -> Plan:
    """Count what a run would ask.  Raises SourceError, StoreError, AlreadyRunning, ConfigError."""
    output = Output(Path(config.output.dir))
    sources = sources or config.input.paths
    with _ledger(output, config.vendor.account) as db:
        found = _count(db, output, config, sources)
        return _plan(db, config, output, found, only=only)


@contextmanager
def _ledger(output: Output, account: str) -> Iterator[sqlite3.Connection | None]:
    if not has_state(output):
        yield None
        return
    with looking(output, account) as db:
        yield db


def _count(
    db: sqlite3.Connection | None, output: Output, config: Config, sources: Sequence[str]
) -> _Found:
    current = worklists.current_list(db) if db is not None else None
    if not sources:
        known = worklists.find_input(db, current.input_key) if db and current else None
        return _of_list(db, current, known)
    with tempfile.TemporaryDirectory(prefix="harvester-plan-") as folder:
        scratch = Path(folder)
        files = find(sources, spool=scratch)
        stamps = known_stamps(db) if db is not None else {}
        print_ = fingerprint(files, config.input.column, stamps)
        if db is not None and current is not None and current.input_key == print_.key:
            return _of_list(db, current, worklists.find_input(db, print_.key))
        places = Places(
            scratch / "list.parquet",
            scratch / "ids.parquet",
            scratch / "bad_ids.jsonl",
            scratch,
            output.lists,
        )
        glob = data_glob(db, output) if db is not None else None
        result = draft_list(db, config, files, places, data_glob=glob)
        return _Found(input=_of_draft(result, places.bad_ids), left_over=result.left_over)


def _of_draft(result: ListResult, bad_ids: Path) -> InputPlan:
    return InputPlan(
        lines=result.lines,
        bad=result.bad,
        duplicate=result.duplicate,
        distinct=result.distinct,
        settled=result.settled,
        to_ask=result.listed,
        bad_examples=_bad_examples(bad_ids),
    )


def _of_list(
    db: sqlite3.Connection | None, current: WorkList | None, record: InputRecord | None
) -> _Found:
    """The list in force is the one that a run would work down."""
    if db is None or current is None:
        return _Found(input=None, left_over=0)
    first = _pending_of_first(db, current)
    left_over = current.pending - first
    if record is None:
        return _Found(input=None, left_over=current.pending)
    listed = InputPlan(
        lines=record.lines,
        bad=record.bad,
        duplicate=record.duplicate,
        distinct=record.distinct,
        settled=record.distinct - first,
        to_ask=first,
        known=True,
    )
    return _Found(input=listed, left_over=left_over)


def _pending_of_first(db: sqlite3.Connection, work_list: WorkList) -> int:
    """Pending ids of rank 0: those that the list was made for."""
    border = work_list.listed + work_list.retried
    settled = 0
    for no, bits in worklists.settled_rows(db, work_list).items():
        rows = min(CHUNK_ROWS, border - no * CHUNK_ROWS)
        if rows <= 0:
            continue
        settled += rows if bits is None else rows - sum(1 for _ in bitmap.unset(bits, rows))
    return border - settled


def _plan(
    db: sqlite3.Connection | None, config: Config, output: Output, found: _Found, *, only: bool
) -> Plan:
    standing = records.standing(db, time.time_ns() // 1_000_000) if db is not None else None
    due = standing.open_due if standing else 0
    new = found.input.to_ask if found.input else 0
    to_ask = due + new + (0 if only else found.left_over)
    share = _retry_share(db)
    requests = round(to_ask * share)
    per_day = config.pace.per_day
    seconds = requests / config.pace.rate_per_s
    return Plan(
        output=str(output.root),
        account=config.vendor.account,
        has_state=db is not None,
        input=found.input,
        left_over=found.left_over,
        only=only,
        open=standing.open if standing else 0,
        open_due=due,
        to_ask=to_ask,
        requests=requests,
        retry_share=round(share, 3),
        rate_per_s=config.pace.rate_per_s,
        per_day=per_day,
        seconds=seconds,
        runs=1 if per_day is None else max(1, -(-requests // per_day)),
        ends_at=time.time() + seconds,
        data_bytes=round(to_ask * _bytes_per_row(db)),
        working_bytes=_working_bytes(config, to_ask, new + found.left_over),
    )


def _retry_share(db: sqlite3.Connection | None) -> float:
    """Requests per id, as the last runs had it."""
    if db is None:
        return 1.0
    runs = records.last_runs(db, _RUNS_MEASURED)
    begun = sum(run.counters.get("begun", 0) for run in runs)
    requests = sum(run.counters.get("requests", 0) for run in runs)
    return max(1.0, requests / begun) if begun else 1.0


def _bytes_per_row(db: sqlite3.Connection | None) -> float:
    if db is None:
        return BYTES_PER_ROW
    rows = size = 0
    for part in publications.live_parts(db, 0):
        rows += part.rows
        size += part.bytes
    return size / rows if rows else BYTES_PER_ROW


def _working_bytes(config: Config, to_ask: int, listed: int) -> int:
    """The journal at its fullest (twice a publication) and its staged parts, and the lists."""
    journal = min(2 * config.output.publish_bytes, to_ask * BYTES_PER_ROW)
    return (
        journal
        + min(to_ask, config.output.publish_records) * BYTES_PER_ROW
        + (2 * listed * _BYTES_PER_LISTED)
    )


def _bad_examples(path: Path) -> tuple[str, ...]:
    if not path.exists():
        return ()
    with path.open(encoding="utf-8") as lines:
        return tuple(_told(json.loads(line)) for line in _first(lines))


def _first(lines: Iterable[str]) -> Iterator[str]:
    return islice(lines, _BAD_SHOWN)


def _told(bad: dict[str, object]) -> str:
    reason = str(bad["reason"]).replace("_", " ")
    return f"{bad['file']}:{bad['line']}: {reason}: {bad['excerpt']}"
