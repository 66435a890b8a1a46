"""What a run would do: counted, not guessed, and nothing is sent or changed.

The list is drafted in a temporary folder, out of the same parts as a run's own.  Where the output
has a state, its lock is held meanwhile, so that the figures belong together.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.config import Config
from harvester.inputs.bad_line_list import BadLines, first_examples, read_bad_lines, worst_first
from harvester.inputs.discover import IdFile, find
from harvester.inputs.fingerprint import fingerprint
from harvester.inputs.id_dates import VENDOR_KEEPS, OldIds, instant
from harvester.inputs.worklist.build_process import ListResult
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.limits.daily_quota import day_of
from harvester.pipeline.run.belonging import own_settings
from harvester.pipeline.run.estimate import Budget, Estimate, budget, estimate
from harvester.pipeline.run.prepare_list import (
    data_glob,
    draft_list,
    draft_places,
    is_in_force,
    known_stamps,
)
from harvester.pipeline.run.recovery import refuse_missing_drop
from harvester.state import between_runs, id_counts, run_records, work_lists
from harvester.state.read_only import has_state, looking
from harvester.state.values import CHUNK_ROWS, InputRecord, WorkList, chunks_of
from harvester.storage.output import Output

_RUNS_LOOKED_AT = 1_000


class InputPlan(msgspec.Struct, frozen=True, kw_only=True):
    """lines = bad + duplicate + distinct; distinct = resolved + too_young + to_fetch."""

    lines: int
    bad: int
    duplicate: int
    distinct: int
    resolved: int
    to_fetch: int
    too_young: int = 0
    """Younger than `input.min_age_s`: they are fetched by a later run with the same input."""
    bad_examples: tuple[str, ...] = ()
    bad_by_reason: dict[str, int] = {}
    bad_by_file: dict[str, int] = {}
    """Files that hold bad lines, the worst first."""
    known: bool = False
    """Whether the list in force was made for just this input.  Then no line is read again: which
    are bad is known from the `bad_ids.jsonl` of the run that read them, while that is there."""
    listed_by: str = ""
    """That run; empty where it is not known, or the input is not."""


class OldId(msgspec.Struct, frozen=True):
    """An id whose digits hold its date."""

    voice_id: str
    at: str
    """ISO 8601, with the vendor's offset."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the next run of these arguments would do."""

    output: str
    account: str
    has_state: bool
    input: InputPlan | None
    carried_over: int
    """Pending ids of earlier inputs."""
    only: bool
    """Whether they are left alone."""
    open: int
    open_due: int
    to_fetch: int
    requests: int
    retry_share: float
    """Requests per id in the last runs of this output; 1 where there were none."""
    rate_per_s: float
    per_day: int | None
    max_duration_s: float | None
    first_run_requests: int
    """What the budgets allow the next run."""
    left_after: int
    """Ids that are still pending after the next run, by the limits."""
    seconds: float
    """Of fetching, at the full pace; nights without a run between are not counted."""
    runs: int
    """Runs that it takes, one a day, by `--max-duration` and `per_day`; 1 without a budget."""
    ends_at: float
    """Unix time, if it began now and went on at the same hour every day."""
    too_old: int
    """Ids to fetch whose own digits date them before `too_old_before`: the vendor may have
    forgotten them."""
    too_old_before: str
    oldest: tuple[OldId, ...]
    """The oldest of them."""
    data_bytes: int
    """What the records will take as Parquet."""
    working_bytes: int
    """What is needed beside it while it works."""


@dataclass(slots=True)
class _Found:
    """What counting came to."""

    input: InputPlan | None
    carried_over: int
    ages: OldIds
    sample: str | None = None
    """An id to fetch; of the input, if it has one."""


def make_plan(
    config: Config,
    sources: Sequence[str],
    *,
    only: bool = False,
    carried_over_only: bool = False,
    max_duration_s: float | None = None,
) -> Plan:
    """What a run would fetch.  Raises SourceError, StoreError, AlreadyRunning, ConfigError."""
    return survey(
        config,
        sources,
        only=only,
        carried_over_only=carried_over_only,
        max_duration_s=max_duration_s,
    )[0]


def survey(
    config: Config,
    sources: Sequence[str],
    *,
    only: bool = False,
    carried_over_only: bool = False,
    max_duration_s: float | None = None,
) -> tuple[Plan, str | None]:
    """A plan, and one of the ids that it would fetch; of the input, where that has any to fetch."""
    output = Output(Path(config.output.dir))
    sources = () if carried_over_only else sources or config.input.paths
    with tempfile.TemporaryDirectory(prefix="harvester-plan-") as folder:
        scratch = Path(folder)
        # Before the lock: stdin or a pipe may have somebody at its other end who takes his time.
        files = find(sources, spool=scratch, allow_empty=config.input.allow_empty)
        return _surveyed(output, config, files if sources else None, scratch, only, max_duration_s)


def _surveyed(  # noqa: PLR0917 - what survey has, handed on
    output: Output,
    config: Config,
    files: Sequence[IdFile] | None,
    scratch: Path,
    only: bool,
    max_duration_s: float | None,
) -> tuple[Plan, str | None]:
    with _ledger(output) as db:
        if db is not None:
            config = own_settings(db, output, config)
        found = _count(db, output, config, files, scratch, only=only)
        plan = _plan(db, config, found, only=only, max_duration_s=max_duration_s)
        return plan, found.sample


@contextmanager
def _ledger(output: Output) -> Iterator[sqlite3.Connection | None]:
    if not has_state(output):
        yield None
        return
    with looking(output, "plan") as db:
        refuse_missing_drop(db, output)
        yield db


def _count(
    db: sqlite3.Connection | None,
    output: Output,
    config: Config,
    files: Sequence[IdFile] | None,
    scratch: Path,
    *,
    only: bool,
) -> _Found:
    current = work_lists.current_list(db) if db is not None else None
    if files is None:
        known = work_lists.find_input(db, current.input_key) if db and current else None
        return _of_list(db, output, current, known, only=only)
    stamps = known_stamps(db) if db is not None else {}
    print_ = fingerprint(files, config.input.column, stamps)
    known = work_lists.find_input(db, print_.key) if db is not None else None
    if current is not None and known is not None and is_in_force(current, known):
        return _of_list(db, output, current, known, only=only)
    places = draft_places(output, scratch)
    glob = data_glob(db, output) if db is not None else None
    result = draft_list(db, config.input, config.plan, files, places, data_glob=glob)
    found = _found(db, _of_draft(result, places.bad_ids), result.carried_over + result.again)
    _look_at(found, _ids_of_draft(places.list), only=only)
    return found


def _found(db: sqlite3.Connection | None, input_: InputPlan | None, carried_over: int) -> _Found:
    now = datetime.fromtimestamp(_now_s(db), UTC)
    return _Found(input_, carried_over, OldIds(now - VENDOR_KEEPS))


def _now_s(db: sqlite3.Connection | None) -> float:
    """The vendor's time as far as the last run's answers showed it, in Unix seconds."""
    now_ms = time.time_ns() // 1_000_000
    return (now_ms if db is None else between_runs.latest_ms(db, now_ms)) / 1000


def _look_at(found: _Found, ids: Iterable[tuple[bool, pa.Array]], *, only: bool) -> None:
    """Go through the ids to fetch once: how old they are, and one to show.

    `ids`: portions, each with whether it is carried over from earlier inputs.
    """
    of_input = False
    for is_carried_over, portion in ids:
        if not len(portion) or (only and is_carried_over):
            continue
        found.ages.add(portion)
        if not of_input:
            # The last of its portion: among ids of one form the youngest, so the least forgotten.
            found.sample = portion[-1].as_py()
            of_input = not is_carried_over


def _ids_of_draft(path: Path) -> Iterator[tuple[bool, pa.Array]]:
    with pq.ParquetFile(path, pre_buffer=False) as parquet:
        for batch in parquet.iter_batches(use_threads=False):
            ids = batch.column("voice_id")
            # Sorted by rank: the carried over ones are the end.
            first = pc.sum(pc.equal(batch.column("rank"), 0)).as_py() or 0
            yield False, ids.slice(0, first)
            yield True, ids.slice(first)


def _ids_of_list(
    db: sqlite3.Connection, output: Output, current: WorkList
) -> Iterator[tuple[bool, pa.Array]]:
    """The pending ids of the list in force, chunk by chunk."""
    if not current.pending:
        return
    border = current.listed + current.retried
    bits = work_lists.resolved_rows(db, current)
    with ListFile(output.lists / current.path) as ids:
        for no in range(chunks_of(current.rows)):
            pending = work_lists.pending_rows(current, bits, no)
            chunk = ids.chunk(no, CHUNK_ROWS)[0] if pending else []
            for is_carried_over in (False, True):
                rows = [r for r in pending if (no * CHUNK_ROWS + r >= border) is is_carried_over]
                yield is_carried_over, pa.array([chunk[row] for row in rows], pa.string())


def _of_draft(result: ListResult, bad_ids: Path) -> InputPlan:
    return InputPlan(
        lines=result.lines,
        bad=result.bad,
        duplicate=result.duplicate,
        distinct=result.distinct,
        resolved=result.resolved,
        to_fetch=result.listed,
        too_young=result.too_young,
        bad_examples=first_examples(bad_ids),
        bad_by_reason=result.bad_by_reason,
        bad_by_file=worst_first({file.file: file.bad for file in result.files}),
    )


def _of_list(
    db: sqlite3.Connection | None,
    output: Output,
    current: WorkList | None,
    record: InputRecord | None,
    *,
    only: bool,
) -> _Found:
    """The list in force is the one that a run would process."""
    if db is None or current is None:
        return _found(db, None, 0)
    first = work_lists.pending_of_input(db, current)
    if record is None:
        found = _found(db, None, current.pending)
    else:
        found = _found(db, _of_record(db, output, record, first), current.pending - first)
    _look_at(found, _ids_of_list(db, output, current), only=only and record is not None)
    return found


def _of_record(
    db: sqlite3.Connection, output: Output, record: InputRecord, to_fetch: int
) -> InputPlan:
    run_id = _run_at(db, record.first_listed_ms)
    bad = BadLines()
    if run_id and record.bad:
        bad = read_bad_lines(output.run(run_id) / "bad_ids.jsonl")
    # Where not all are listed, how many of them are of which kind is not known.
    whole = bad.count == record.bad
    return InputPlan(
        lines=record.lines,
        bad=record.bad,
        duplicate=record.duplicate,
        distinct=record.distinct,
        resolved=record.distinct - to_fetch,
        to_fetch=to_fetch,
        bad_examples=tuple(bad.examples),
        bad_by_reason=dict(bad.by_reason) if whole else {},
        bad_by_file=worst_first(bad.by_file) if whole else {},
        known=True,
        listed_by=run_id,
    )


def _run_at(db: sqlite3.Connection, instant_ms: int) -> str:
    """The run that worked at an instant, Unix time in ms; empty if it is not among the last."""
    runs = run_records.last_runs(db, _RUNS_LOOKED_AT)
    return next((run.id for run in runs if run.started_ms <= instant_ms), "")


def _plan(
    db: sqlite3.Connection | None,
    config: Config,
    found: _Found,
    *,
    only: bool,
    max_duration_s: float | None,
) -> Plan:
    now = time.time()
    counts = id_counts.count_ids(db, int(now * 1000)) if db is not None else None
    due = counts.open_due if counts else 0
    new = found.input.to_fetch if found.input else 0
    to_fetch = due + new + (0 if only else found.carried_over)
    whole = estimate(db, config.pace, config.output, to_fetch, new + found.carried_over)
    allowed = _allowed(db, config, whole, max_duration_s)
    return Plan(
        output=str(Path(config.output.dir)),
        account=config.vendor.account,
        has_state=db is not None,
        input=found.input,
        carried_over=found.carried_over,
        only=only,
        open=counts.open if counts else 0,
        open_due=due,
        to_fetch=whole.to_fetch,
        requests=whole.requests,
        retry_share=whole.retry_share,
        rate_per_s=config.pace.rate_per_s,
        per_day=config.pace.per_day,
        max_duration_s=max_duration_s,
        first_run_requests=allowed.requests,
        left_after=allowed.left_after,
        seconds=whole.seconds,
        runs=allowed.runs,
        ends_at=now + allowed.seconds,
        too_old=found.ages.count,
        too_old_before=found.ages.before.date().isoformat(),
        oldest=tuple(OldId(id_, instant(at).isoformat()) for at, id_ in found.ages.oldest),
        data_bytes=whole.data_bytes,
        working_bytes=whole.working_bytes,
    )


def _allowed(
    db: sqlite3.Connection | None,
    config: Config,
    whole: Estimate,
    max_duration_s: float | None,
) -> Budget:
    counts = between_runs.requests_by_day(db) if db is not None else {}
    return budget(
        whole,
        rate_per_s=config.pace.rate_per_s,
        per_day=config.pace.per_day,
        sent_today=counts.get(day_of(_now_s(db)), 0),
        max_duration_s=max_duration_s,
    )
