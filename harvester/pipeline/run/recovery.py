"""Opening an output: the lock, the ledger, and whatever an earlier run left half done.

Theory of operation.  Start is recovery; there is no other resume.  First look, then touch: the
ledger's files are compared with what lies under cdr/ before anything is changed, and a difference
that no crash of ours can make stops the run.  Then finish what is committed, drop what is not, and
close the books of runs that were killed.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from harvester.config import Config
from harvester.dataset.changes import changes_of
from harvester.dataset.files import list_parts
from harvester.dataset.group_record import GROUP_RECORD, of_version
from harvester.dataset.kind import RecordKind
from harvester.dataset.parts import folder_mode
from harvester.errors import StoreError
from harvester.identity import Identity, with_address
from harvester.pipeline.engine.acknowledger import BATCH_OUTCOMES
from harvester.pipeline.limits.daily_quota import day_of
from harvester.pipeline.limits.shares import LEASE_S
from harvester.pipeline.publish.latest import write_latest
from harvester.pipeline.publish.publisher import Publisher
from harvester.pipeline.run.belonging import own_settings
from harvester.run_name import stamp_at
from harvester.state import between_runs, listings, publications, run_records, work_lists
from harvester.state.belongs import binding, data_version, keep_data_version, keep_identity
from harvester.state.database import get_meta, open_database, store_errors, transaction
from harvester.state.lock import OutputLock
from harvester.state.values import RunRecord
from harvester.state.writer import InlineLedger
from harvester.storage import dropped
from harvester.storage.old_runs import remove_old
from harvester.storage.output import Output, make_folders, put_back
from harvester.storage.ownership import CHANGE, refuse_closed
from harvester.storage.run_summary import SUMMARY

UNRECORDED_BATCHES = 2

REBUILDING = "rebuilding"
"""Folder in state/ of a ledger that `rebuild` is writing; beside no ledger, nothing may begin."""


class Opened(msgspec.Struct, frozen=True):
    """An output that this process holds."""

    output: Output
    config: Config
    """The settings, with the output's own in place of those that were not set."""
    identity: Identity
    kind: RecordKind
    """That of its records, in the version that it is written in."""
    db: sqlite3.Connection
    state_id: str
    locked_at: float
    """Monotonic time at which the lock was taken, in seconds."""
    finished_publications: int
    killed_runs: tuple[RunRecord, ...]
    """Runs that never ended; their books were closed just now."""


@contextmanager
def open_output(
    config: Config,
    *,
    rebind: bool | None = False,
    lock: Callable[[Path], OutputLock] = OutputLock,
) -> Iterator[Opened]:
    """Hold the output named by `config.output.dir` and bring it up to date.

    `rebind`: the settings may name another address, which is the output's from now on; None:
    nothing will be sent, so the address does not matter.  `lock` takes the lock (tests).

    Raises AlreadyRunning, StoreError, and ConfigError if it belongs to another account, time zone
    or address.
    """
    output = Output(Path(config.output.dir))
    refuse_anothers(output)
    refuse_data_without_state(output)
    make_folders(output, folder_mode(config.output.file_mode))
    with lock(output.lock):
        locked_at = time.monotonic()
        # Once more: who held the lock until now may have changed it.
        refuse_data_without_state(output)
        is_claimed = config.is_set("vendor.account")
        db = open_database(output.database, config.vendor.account, is_claimed=is_claimed)
        try:
            with store_errors(output.database):
                put_back(output)
                compare_with_data(db, output)
                config = own_settings(db, output, config, rebind=rebind, is_kept=True)
                own = binding(db)
                identity = replace(
                    own if rebind is None else with_address(own, config),
                    account=config.vendor.account,
                    timezone=config.output.partition_timezone,
                )
                keep_identity(db, identity)
                kind = of_version(data_version(db, GROUP_RECORD.version))
                keep_data_version(db, kind.version)
                kind = kind.without(config.output.omit_fields)
                opened = _recover(db, output, config, locked_at, identity, kind)
            yield opened
            # Where this fails nothing is lost: the next command that changes the output writes it.
            with suppress(OSError, sqlite3.Error):
                write_latest(db, output)
        finally:
            db.close()


def refuse_anothers(output: Output) -> None:
    """Raise StoreError if another user owns what a run would have to change."""
    roots = [output.root, output.state, output.database, output.lock, output.lists, output.runs]
    refuse_closed(
        output.root, [*roots, output.staging, output.retired, output.cdr, output.changes], CHANGE
    )
    for folder in (output.state, output.lists, output.cdr, output.changes):
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        refuse_closed(output.root, [one for one in inside if not os.access(one, CHANGE)], CHANGE)


def compare_with_data(db: sqlite3.Connection, output: Output) -> None:
    """Check that ledger, data set and list belong together.  Raises StoreError; changes nothing."""
    for changes in (False, True):
        _compare_folder(db, output, changes=changes)
    refuse_missing_drop(db, output)
    _refuse_missing_list(db, output)


def _compare_folder(db: sqlite3.Connection, output: Output, *, changes: bool) -> None:
    """Compare cdr/, or changes/, with the state database."""
    folder = output.changes if changes else output.cdr
    current = publications.current_parts(db, output.place_of, changes=changes)
    known = {part.path for part in current} | publications.committed_paths(db)
    kind = changes_of(GROUP_RECORD) if changes else GROUP_RECORD
    listing = list_parts(folder, kind)
    strange = sorted({*listing.foreign, *(set(listing.parts) - known)})
    if strange:
        raise StoreError(
            f"{folder / strange[0]} is not in the state database ({len(strange)} such "
            "file(s)). Either state/ is older than the data (put the newer one back, or make it "
            "again with `harvester rebuild`), or a file was put there by hand (move it out of the "
            "data set). `harvester verify` shows which. Nothing was changed.",
            code="data.unknown_file",
        )
    for part in current:
        if listing.parts.get(part.path) != part.bytes:
            what = "has another size" if part.path in listing.parts else "is missing"
            raise StoreError(
                f"{folder / part.path} {what}, though the state database has it as published. "
                f"Restore it from a backup; without one, move it out of {folder.name}/ if it is "
                "there, and let `harvester rebuild` make the state again: what is missing is then "
                "fetched again. Nothing was changed.",
                code="data.missing",
            )


def refuse_missing_drop(db: sqlite3.Connection, output: Output) -> None:
    """Raise StoreError if it is not known any more which calls were dropped, or erased in."""
    for number, command in publications.leaving_files(db):
        path = dropped.left_file_of(output.dropped, number, command)
        if not path.is_file():
            raise StoreError(
                f"{path} is missing: it holds the ids of calls that `{command}` took away or "
                "changed, so that they are not fetched again. Restore it from a backup. Without "
                "one, `harvester rebuild` makes a state that knows nothing of them: then take "
                "care that they are in no input. Nothing was changed.",
                code="data.dropped",
            )


def refuse_data_without_state(output: Output) -> None:
    """Raise StoreError if there is data, or ids that are open or dead, but no state database."""
    if output.database.exists():
        return
    if (output.state / REBUILDING).exists():
        raise StoreError(
            f"a rebuild of {output.state} was interrupted. Nothing is lost: run `harvester "
            "rebuild` again.",
            code="state.rebuild_interrupted",
        )
    listing = list_parts(output.cdr, GROUP_RECORD)
    found = [*listing.parts, *listing.foreign]
    if found:
        raise StoreError(
            f"{output.cdr} holds data ({found[0]}, {len(found)} file(s)), but {output.database} "
            "does not exist, so it is unknown what was fetched. Restore state/ from a backup, make "
            "it again from the data with `harvester rebuild`, or choose another --out. Nothing was "
            "changed.",
            code="state.missing",
        )
    _refuse_forgetting(output)


def _refuse_forgetting(output: Output) -> None:
    """Raise StoreError if open calls or dead letters are known to a run's folder alone."""
    if not any(output.runs.glob("*")):
        return
    # Only an output that lost its state comes here: others need not wait for the import.
    from harvester.pipeline.run.remnants import newest_snapshot, snapshot_rows

    kept = newest_snapshot(output)
    if kept is not None and snapshot_rows(kept):
        raise StoreError(
            f"{kept} holds open calls, dead letters or failed ids of an earlier run, but "
            f"{output.database} does not exist, so they would be forgotten. Restore state/ from a "
            "backup, make it again with `harvester rebuild`, or choose another --out. Nothing was "
            "changed.",
            code="state.missing",
        )


def _recover(  # noqa: PLR0917 - what it is opened with
    db: sqlite3.Connection,
    output: Output,
    config: Config,
    locked_at: float,
    identity: Identity,
    kind: RecordKind,
) -> Opened:
    state_id = str(get_meta(db, "state_id"))
    publisher = Publisher(
        InlineLedger(db, output.database),
        output,
        config.output,
        config.vendor.account,
        state_id,
        identity=identity,
        kind=kind,
    )
    finished = publisher.recover()
    _sweep(db, output, config)
    _remove_old_lists(db, output)
    runs = run_records.all_runs(db)
    remove_old(
        output.runs,
        [run.id for run in runs],
        config.output.keep_runs_days,
        time.time_ns() // 1_000_000,
    )
    unrecorded = most_unrecorded_of(config)
    killed = [run for run in runs if _is_summary_owed(output, run)]
    killed += [_close_killed_run(db, run, unrecorded) for run in run_records.unended_runs(db)]
    _close_killed_listings(db, config)
    return Opened(output, config, identity, kind, db, state_id, locked_at, finished, tuple(killed))


def _sweep(db: sqlite3.Connection, output: Output, config: Config) -> None:
    """Remove what rewrites took out of the data set, once nobody can be reading it any more."""
    if not output.retired.is_dir() or not any(output.retired.iterdir()):
        return
    # Only an output with such files comes here: others need not wait for the import.
    from harvester.pipeline.publish.rewrite import sweep_retired

    ledger = InlineLedger(db, output.database)
    sweep_retired(ledger, output, config.compact.grace_s, time.time_ns() // 1_000_000)


def _remove_old_lists(db: sqlite3.Connection, output: Output) -> None:
    """Lists that were made but never put in force, or replaced."""
    work_list = work_lists.current_list(db)
    keep = {work_list.path, work_list.ids_path} if work_list else set()
    for path in output.lists.iterdir():
        if path.name not in keep:
            path.unlink()


def _refuse_missing_list(db: sqlite3.Connection, output: Output) -> None:
    work_list = work_lists.current_list(db)
    if work_list and not (output.lists / work_list.path).is_file():
        raise StoreError(
            f"the work list {output.lists / work_list.path} is missing, so its progress has no "
            "meaning. Restore state/ from a backup, or make it again from the data with `harvester "
            "rebuild`.",
            code="state.missing",
        )


def _is_summary_owed(output: Output, run: RunRecord) -> bool:
    """Whether a run was killed, and the start that closed it came no further than that."""
    if run.ended_ms is None or run.exit_code is not None:
        return False
    folder = output.run(run.id)
    return folder.is_dir() and not (folder / SUMMARY).exists()


def _close_killed_run(db: sqlite3.Connection, run: RunRecord, unrecorded: int) -> RunRecord:
    """The run with its books closed: what it had begun and not finished was cut off by the kill."""
    counts = between_runs.requests_by_day(db)
    last, _ = between_runs.requests_of_day(db)
    # What was sent after its last acknowledgement was not written down: assume the most, for the
    # day that was counted in last.  Killed before it wrote anything, it may have been another.
    days = {last, day_of(run.started_ms / 1000)} if not run.counters else {last}
    with transaction(db):
        for day in sorted(days - {""}):
            sent = counts.get(day, 0) + unrecorded
            between_runs.keep_requests_of_day(db, (day, sent))
    ended_ms = max(run.started_ms, time.time_ns() // 1_000_000)
    counters = dict(run.counters)
    finished = run.delivered + run.open + run.dead + run.deferred
    if run.attempted > finished:
        counters["cut_off"] = run.attempted - finished
    run_records.end_run(db, run.id, ended_ms, None, counters)
    return replace(run, ended_ms=ended_ms, counters=counters)


def _close_killed_listings(db: sqlite3.Connection, config: Config) -> None:
    """What a killed `discover` may have sent and not written down counts as sent."""
    if not listings.are_any_running(db):
        return
    day, sent = between_runs.requests_of_day(db)
    today = day_of(time.time())
    if day and day != today:
        _add_requests(db, day, sent, config)
    _add_requests(db, today, between_runs.requests_by_day(db).get(today, 0), config)
    listings.close_killed(db)


def _add_requests(db: sqlite3.Connection, day: str, sent: int, config: Config) -> None:
    # Where no listing was killed, nobody needs the import.
    from harvester.pipeline.listing.days import most_unrecorded as most_unrecorded_of_listing

    unrecorded = most_unrecorded_of_listing(config.pace.concurrency)
    with transaction(db):
        between_runs.keep_requests_of_day(db, (day, sent + unrecorded))


def most_unrecorded_of(config: Config) -> int:
    """Requests that a killed run may have sent after its last acknowledgement."""
    unrecorded = most_unrecorded(config.pace.concurrency)
    if config.workers.count:
        # What was granted after it: what all may hold, and what they may send in a lease.
        unrecorded += 2 * config.workers.count * config.pace.concurrency
        unrecorded += int(config.pace.rate_per_s * LEASE_S)
    return unrecorded


def most_unrecorded(concurrency: int) -> int:
    """The same of a run without workers."""
    return UNRECORDED_BATCHES * BATCH_OUTCOMES + concurrency


def new_run_id(started: float) -> str:
    """A run's name: when it began (UTC) and six random hex digits; sorts by time."""
    return f"{stamp_at(started)}-{os.urandom(3).hex()}"
