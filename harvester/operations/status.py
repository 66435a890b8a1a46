"""The state of every id of an output, for `status`: from state.db, or from what a run writes."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import msgspec

from harvester.config import Config
from harvester.errors import HarvesterError
from harvester.identity import settled
from harvester.inputs.bad_line_list import newest_list
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.limits.limit_file import read_sharing
from harvester.pipeline.limits.sharing import Sharing
from harvester.state import run_records, work_lists
from harvester.state.belongs import binding
from harvester.state.between_runs import latest_ms
from harvester.state.id_counts import (
    BillingMonth,
    IdCounts,
    billing_days,
    billing_months,
    count_ids,
)
from harvester.state.lock import Holder, read_holder, reads
from harvester.state.read_only import account_of, looking
from harvester.state.values import RunRecord
from harvester.storage.output import Output

_RUNS = 5


class OutputStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Every id that was ever listed is in exactly one of delivered, open, dead and pending."""

    output: str
    account: str
    ids: IdCounts
    bad_lines: int
    """Lines without a voiceId in the input that the list was made for, reported before or not."""
    bad_lines_file: str
    """What lists them; empty where there are none, or it is gone."""
    runs: tuple[RunRecord, ...]
    """The last ones, newest first; one without an exit code was killed, or is in progress."""
    unended: int
    """Runs that were killed; the next run closes their control totals."""
    limit: Sharing | None = None
    """Who shares the limit; None where no file is named, or there is none yet."""
    months: tuple[BillingMonth, ...] = ()
    """The last month and this one, if days of them were listed."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A process that holds the output, and what the run in it last wrote."""

    pid: int | None
    host: str
    since: str
    age_s: float | None
    """How old `progress` is; None where there is none of this process."""
    run_id: str
    progress: Progress | None
    command: str = "run"
    """What it does."""
    limit: Sharing | None = None
    """As OutputStatus has it."""

    @property
    def is_read(self) -> bool:
        """Whether it only reads, and is no run."""
        return reads(self.command)


class _StatusFile(msgspec.Struct, frozen=True):
    pid: int
    at: str
    state: str
    run_id: str
    progress: Progress | None = None


def read_output_status(output: Output, config: Config | None = None) -> OutputStatus:
    """The state of the ids.

    Raises AlreadyRunning while somebody holds the output; StoreError; ConfigError if `config` has
    another account or time zone set than the output's own.
    """
    with looking(output, "status") as db:
        if config is not None:
            settled(config, binding(db))
        current = work_lists.current_list(db)
        known = work_lists.find_input(db, current.input_key) if current else None
        bad = known.bad if known else 0
        now_ms = time.time_ns() // 1_000_000
        return OutputStatus(
            output=str(output.root),
            account=account_of(db),
            ids=count_ids(db, now_ms),
            bad_lines=bad,
            bad_lines_file=newest_list(output.runs, bad) if bad else "",
            runs=tuple(run_records.last_runs(db, _RUNS)),
            unended=len(run_records.unended_runs(db)),
            limit=_limit(config),
            months=tuple(billing_months(billing_days(db), latest_ms(db, now_ms))),
        )


def read_running(output: Output, config: Config | None = None) -> Running:
    """What is known of a process that holds the output; the lock is not tried again."""
    holder = read_holder(output.lock) or Holder(0, "", "")
    told = _read_status(output)
    if told is None or told.pid != holder.pid or told.progress is None:
        told = None
    return _running(holder, told, _limit(config))


def _limit(config: Config | None) -> Sharing | None:
    file = config.pace.limit_file if config else None
    if file is None:
        return None
    try:
        return read_sharing(Path(file))
    except HarvesterError as exc:
        return Sharing(file=file, trouble=str(exc))


def _running(holder: Holder, told: _StatusFile | None, limit: Sharing | None) -> Running:
    return Running(
        pid=holder.pid or None,
        host=holder.host,
        since=holder.since,
        age_s=None if told is None else round(_age_s(told.at), 1),
        run_id="" if told is None else told.run_id,
        progress=None if told is None else told.progress,
        command=holder.command,
        limit=limit,
    )


def _read_status(output: Output) -> _StatusFile | None:
    try:
        return msgspec.json.decode(output.status.read_bytes(), type=_StatusFile)
    except (OSError, msgspec.MsgspecError):
        return None


def _age_s(at: str) -> float:
    return max(0.0, time.time() - datetime.fromisoformat(at).timestamp())
