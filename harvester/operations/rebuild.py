"""`harvester rebuild`: a state made again from the data, when the old one is gone or older.

Theory of operation.  Nothing is sent.  The data set is the truth: every part of it is
read through and entered as published, and their footers say what the output belongs to.  Open
calls, dead letters and deferred ids come from the snapshot of the newest run, but for those that
the data holds by now; the newest by its number, because our clock may have been wrong when it was
named.  What was only in the old state is lost, and is shown: the progress of the list, and answers
that were not published yet.  Their ids are fetched again when their input is given again.

The output's lock is held all the time, and it lies in state/, so that folder stays where it is:

1. the new ledger is written to state/rebuilding/ and brought to the disk;
2. what was in state/ is moved to state.old-<time>/, the ledger first, and nothing of it is deleted;
3. the new ledger is renamed into its place.

A crash before 2 changes nothing.  Between 2 and 3 there is no ledger but there is
state/rebuilding/: every other command refuses to begin, and rebuild begins again.
"""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import msgspec

from harvester.config import Config
from harvester.dataset.changes import changes_of
from harvester.dataset.files import list_parts
from harvester.dataset.group_record import GROUP_RECORD, VERSIONS
from harvester.dataset.origin import identities, own_version, zone_of_folders
from harvester.dataset.parts import folder_mode
from harvester.errors import EXIT_DONE, EXIT_SOME_DEAD, ConfigError, StoreError, UsageError
from harvester.identity import Identity, merged, settled
from harvester.operations.lost_rows import (
    Data,
    Lost,
    count_lost,
    put_back_rows,
    taken_by_pages,
)
from harvester.pipeline.publish.latest import begin_anew, write_anew
from harvester.pipeline.run.recovery import REBUILDING, compare_with_data, refuse_anothers
from harvester.pipeline.run.remnants import (
    Parts,
    number_runs,
    read_parts,
    read_snapshot,
    refuse_damaged_snapshot,
    requests_by_day,
    silent,
    snapshots,
)
from harvester.pipeline.run.state_snapshot import snapshot_identity
from harvester.run_name import stamp_at
from harvester.state import between_runs, publications, run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.belongs import keep_data_version, keep_identity, read_identity
from harvester.state.database import copies_of, open_database, store_errors
from harvester.state.lock import OutputLock
from harvester.state.read_only import NewerLedger, view_ledger
from harvester.state.restore import runs_before, take_over
from harvester.state.run_records import in_order
from harvester.state.values import Batch
from harvester.storage import dropped
from harvester.storage.disk import Disk, RealDisk, store_error
from harvester.storage.output import Output, make_folders
from harvester.storage.run_summary import RunSummary, summaries

_PRIVATE = 0o700
_STATE_FILES = ("state.db", "state.db-wal", "state.db-shm", "state.db-journal", "status.json")


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What the new state holds, and what could not be known."""

    output: str
    account: str
    reason: str
    """Why it was made again."""
    files: int
    rows: int
    bytes: int
    snapshot: str | None
    """Where open calls, dead letters and deferred ids come from."""
    open: int
    dead: int
    deferred: int
    left_out: int
    """Rows of the snapshot that the data set resolves by now, or whose own row is lost."""
    put_back: int
    """Rows of lost files that came back out of changes/."""
    old_state: str | None
    old_list: str | None
    unknown: tuple[str, ...]
    next: str


@dataclass(slots=True)
class _Old:
    """What the old state is good for."""

    reason: str
    identity: Identity = field(default_factory=Identity)
    hashes: dict[str, str] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    in_journal: int | None = None
    had_listings: bool = False
    left_files: list[Path] = field(default_factory=list)
    """Of drops and erasures, those that it knows and that are gone."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The newest snapshot, and what the data set says of its ids."""

    path: Path
    in_data: set[str]
    ended: set[str]
    """Those that the data set shows to be over, by their row or a change of it."""


@dataclass(slots=True)
class _Restored:
    open: int = 0
    dead: int = 0
    deferred: int = 0
    left_out: int = 0


def rebuild(
    config: Config,
    *,
    force: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    disk: Disk | None = None,
) -> Rebuilt:
    """Make the state of the output again.  `tell` hears of each step; `disk` replaces the operating
    system's file system (tests).

    Raises UsageError if there is nothing to rebuild from, or no need to; AlreadyRunning;
    ConfigError if the data belongs to another account; StoreError if the data can't be trusted.
    """
    output = Output(Path(config.output.dir))
    refuse_anothers(output)
    if not output.cdr.is_dir() and not output.runs.is_dir():
        raise UsageError(
            f"{output.root} holds neither data nor runs, so there is nothing to rebuild from. "
            "Name the right folder with --out or -c.",
            code="output.no_data",
        )
    make_folders(output, folder_mode(config.output.file_mode))
    with OutputLock(output.lock, "rebuild"):
        old = _judge(output)
        if not old.reason and not force:
            raise UsageError(
                f"the state of {output.root} agrees with its data: there is nothing to rebuild. "
                "A rebuild forgets the work list's progress; if you want it all the same, add "
                "--force.",
                code="state.agrees",
            )
        return _rebuild(output, config, old, tell, disk or RealDisk())


def _rebuild(
    output: Output, config: Config, old: _Old, tell: Callable[[str], None], disk: Disk
) -> Rebuilt:
    tell("reading the data set")
    _refuse_strangers(output)
    dropped.checked_files(output.dropped)
    own = _own(output, old)
    config = _own_days(output, config, own)
    listed = list_parts(output.cdr, GROUP_RECORD).parts
    kind = own_version(output.cdr, listed, VERSIONS)
    zone = config.output.partition_timezone
    parts = read_parts(output.cdr, zone, old.hashes, kind)
    changes = read_parts(output.changes, zone, old.hashes, changes_of(kind))
    told = summaries(output.runs)
    in_files = _runs_of(output, parts, changes)
    numbers = number_runs(output, told, in_files)
    runs = in_order(numbers, in_files, silent(output))
    config = _own_account(config, own, parts, told, runs)
    identity = Identity(
        account=config.vendor.account,
        timezone=zone if parts.records or changes.records else None,
        addresses=own.addresses,
    )
    data = Data(output, config, kind, parts, changes)
    tell("looking for ids that are there twice")
    _refuse_twice(data)
    tell("looking for rows that only changes tell of")
    newest = _newest(output, data, numbers)
    back = put_back_rows(data, identity, newest + 1, disk)
    if back:
        parts = read_parts(output.cdr, zone, old.hashes, kind)
        data = Data(output, config, kind, parts, changes)
    snapshot = next(reversed(snapshots(output, runs)), None)
    kept = None if snapshot is None else _kept(data, snapshot)
    lost = count_lost(data, told, dropped.read(output.dropped))
    tell("writing the new state")
    restored = _write(
        data,
        identity,
        kept,
        _requests(told, old),
        numbers,
        _newest(output, data, numbers),
        lost,
        disk,
    )
    tell("putting the new state in place")
    aside = _swap(output, tell, disk)
    # Where this fails nothing is lost: the next command that changes the output writes it.
    with suppress(OSError, StoreError), view_ledger(output.database, output.staging) as db:
        write_anew(db, output)
    tell("done")
    old_list = _old_list(aside)
    return Rebuilt(
        output=str(output.root),
        account=config.vendor.account,
        reason=old.reason or "--force was given",
        files=len(parts.records) + len(changes.records),
        rows=sum(part.rows for part in parts.records),
        bytes=sum(part.bytes for part in parts.records),
        snapshot=None if snapshot is None else str(snapshot),
        open=restored.open,
        dead=restored.dead,
        deferred=restored.deferred,
        left_out=restored.left_out,
        put_back=back,
        old_state=None if aside is None else str(aside),
        old_list=old_list,
        unknown=(
            *_unknown(runs, snapshot, old),
            *_lost(lost, old),
            *_doubted(told),
            *_unproven(data, runs, told),
        ),
        next=_next(old_list),
    )


def _runs_of(output: Output, parts: Parts, changes: Parts) -> dict[str, int]:
    """Runs whose rows are in the data set, or were: each with the first publication that has one
    of them.
    """
    found = dict(parts.runs)
    left = {run: drop.number for drop in dropped.read(output.dropped) for run in drop.runs}
    for others in (changes.runs, left):
        for run, number in others.items():
            found.setdefault(run, number)
    return found


def _judge(output: Output) -> _Old:
    """Whether the state that is there can be trusted; its reason says why not."""
    if not output.database.is_file():
        return _Old("there is no state.db")
    old = _Old("", had_listings=output.listed.is_dir())
    try:
        with view_ledger(output.database, output.staging) as db:
            old.identity = read_identity(db)
            old.hashes = {
                part.path: part.sha256
                for changes in (False, True)
                for part in publications.current_parts(db, output.place_of, changes=changes)
            }
            old.requests = between_runs.requests_by_day(db)
            old.in_journal = publications.journal_size(db)[0]
            paths = [
                dropped.left_file_of(output.dropped, *one) for one in publications.leaving_files(db)
            ]
            old.left_files = [path for path in paths if not path.is_file()]
            old.reason = _outdated(db, output)
            compare_with_data(db, output)
    except NewerLedger:
        raise
    except StoreError as exc:
        old.reason = str(exc).partition(". ")[0]
    return old


def _outdated(db: sqlite3.Connection, output: Output) -> str:
    """The run that is newer than the ledger, as a reason; "" for none."""
    known = {run.id for run in run_records.all_runs(db)}
    is_before = runs_before(db)
    unknown = sorted(
        run.run_id
        for run in summaries(output.runs)
        if run.run_id not in known and not is_before(run.run_id)
    )
    return f"it does not know run {unknown[0]}, so it is older" if unknown else ""


def _own(output: Output, old: _Old) -> Identity:
    """What the output belongs to: by its parts, else by its snapshots, else by the old state.

    Raises StoreError naming two parts that say otherwise.
    """
    own, apart = merged(identities(output.cdr, list_parts(output.cdr, GROUP_RECORD).parts))
    if apart:
        one, says, other, otherwise = apart
        raise StoreError(
            f"the data set holds parts of several outputs: {output.cdr / one} has {says}, but "
            f"{output.cdr / other} has {otherwise}. Move the files that do not belong here out of "
            "cdr/, and run `harvester rebuild` again. Nothing was changed.",
            code="data.mixed",
        )
    for told in (_of_snapshots(output), old.identity):
        own = Identity(
            account=own.account or told.account,
            timezone=own.timezone or told.timezone,
            addresses=own.addresses or told.addresses,
        )
    return own


def _of_snapshots(output: Output) -> Identity:
    """What the snapshot that knows the most addresses says."""
    found = [snapshot_identity(path) for path in output.runs.glob("*/state.parquet")]
    return max(found, key=lambda one: len(one.addresses), default=Identity())


def _own_days(output: Output, config: Config, own: Identity) -> Config:
    """The settings with the time zone of the data.  Raises ConfigError if another one was set."""
    zone = own.timezone or zone_of_folders(
        output.cdr,
        list(list_parts(output.cdr, GROUP_RECORD).parts),
        config,
        GROUP_RECORD,
        is_kept=True,
    )
    return settled(config, Identity(timezone=zone))


def _own_account(
    config: Config,
    own: Identity,
    parts: Parts,
    told: Sequence[RunSummary],
    runs: Sequence[str],
) -> Config:
    """The settings with the account of the data.  Raises ConfigError if another one was set."""
    found = set(parts.accounts)
    if not found:
        by_run = {run.run_id: run.account for run in told}
        newest = [by_run[run] for run in runs if run in by_run][-1:]
        found = {own.account} if own.account else set(newest)
    given = config.vendor.account
    if len(found) > 1:
        raise StoreError(
            f"the data set holds rows of several accounts ({', '.join(sorted(found))}), but an "
            "output belongs to one. Move the files of the others out of cdr/. Nothing was changed.",
            code="data.mixed",
        )
    if config.is_set("vendor.account") and found and found != {given}:
        raise ConfigError(
            f"the data belongs to account {found.pop()!r}, not {given!r}. Name the configuration "
            "that it was harvested with (-c), or its account (--account). Nothing was changed.",
            code="state.belongs.account",
        )
    return settled(config, Identity(account=found.pop() if found else None))


def _refuse_twice(data: Data) -> None:
    """Raise StoreError if the data set holds an id twice."""
    # Here, not at the top: whoever fetches must never load DuckDB.
    from harvester.operations.overlap import held_twice

    twice = held_twice(data.files, data.room) if data.files else []
    if twice:
        raise StoreError(
            f"the data set holds ids twice, such as {'; '.join(twice)}. Nothing was changed. "
            "Move the file that is too much out of cdr/, and run `harvester rebuild` again.",
            code="data.duplicate",
        )


def _refuse_strangers(output: Output) -> None:
    """Raise StoreError if a file of dropped/ has a name that no drop and no erasure gives."""
    strange = dropped.strangers(output.dropped)
    if strange:
        raise StoreError(
            f"{output.dropped / strange[0]} was not named by `drop` or `erase` ({len(strange)} "
            "such file(s)): the ids in it would not be known. Give a file that was renamed its "
            "name back (drop-N.parquet, erase-N.parquet), move others out of dropped/, and run "
            "`harvester rebuild` again. Nothing was changed.",
            code="data.dropped",
        )


def _kept(data: Data, snapshot: Path) -> _Kept:
    """What of the snapshot the data set resolves.  Raises StoreError."""
    from harvester.operations.overlap import ended_of, held_of

    refuse_damaged_snapshot(snapshot)
    return _Kept(
        snapshot,
        held_of(snapshot, data.files, data.room) if data.files else set(),
        ended_of(snapshot, data.files, data.change_files, data.room) if data.files else set(),
    )


def _newest(output: Output, data: Data, runs: Mapping[str, int | None]) -> int:
    """The highest number of a publication that left anything."""
    # Those of folders that rewrites have left behind: their names are taken.
    taken = [int(one.name) for one in output.retired.glob("*") if one.name.isdigit()]
    taken += dropped.numbers(output.dropped)
    taken += [part.brought_by for part in (*data.parts.records, *data.changes.records)]
    return max([*taken, *(number for number in runs.values() if number is not None)], default=0)


def _rebuilding(output: Output) -> Path:
    return output.state / REBUILDING


def _requests(runs: Sequence[RunSummary], old: _Old) -> dict[str, int]:
    """What counts as sent each day: what the summaries say, or the old state if that is more."""
    told, kept = requests_by_day(runs), old.requests
    return {day: max(told.get(day, 0), kept.get(day, 0)) for day in sorted({*told, *kept})}


def _write(  # noqa: PLR0917 - what a ledger is made of
    data: Data,
    identity: Identity,
    snapshot: _Kept | None,
    requests: dict[str, int],
    runs: Mapping[str, int | None],
    newest: int,
    lost: Lost,
    disk: Disk,
) -> _Restored:
    """A whole, durable ledger in state/rebuilding/."""
    output, parts = data.output, data.parts
    with _explained("writing", _rebuilding(output)):
        if _rebuilding(output).exists():
            shutil.rmtree(_rebuilding(output))  # of a rebuild that was killed
        _rebuilding(output).mkdir(mode=_PRIVATE)
    path = _rebuilding(output) / output.database.name
    restored = _Restored()
    with store_errors(path), closing(open_database(path, identity.account or "")) as db:
        now_ms = time.time_ns() // 1_000_000
        records = [*parts.records, *data.changes.records]
        # One more than there are: whoever follows runs/latest.json has to begin anew.
        take_over(
            db,
            records,
            now_ms,
            runs=runs,
            newest=newest + 1,
            unrated=data.count_unrated(),
            lost=(lost.rows, lost.changes),
        )
        begin_anew(db, newest + 1)
        keep_identity(db, identity)
        keep_data_version(db, data.kind.version)
        for sent in requests.items():
            acknowledge(db, "", Batch(), work_list=None, counters={}, requests_of_day=sent)
        for batch, left_out in _batches(snapshot):
            acknowledge(db, "", batch, work_list=None, counters={}, requests_of_day=("", 0))
            restored.open += len(batch.open_calls)
            restored.dead += len(batch.dead_letters)
            restored.deferred += len(batch.deferred)
            restored.left_out += left_out
    with _explained("syncing", path):
        with path.open("rb") as file:
            disk.sync_file(file)
        disk.sync_folder(_rebuilding(output))
        disk.sync_folder(output.state)
    return restored


def _batches(kept: _Kept | None) -> Iterator[tuple[Batch, int]]:
    if kept is not None:
        yield from read_snapshot(kept.path, kept.in_data, kept.ended)


def _swap(output: Output, tell: Callable[[str], None], disk: Disk) -> Path | None:
    """Move what was in state/ aside and the new ledger in; where the old things are now."""
    aside: Path | None = None
    with _explained("moving the old state out of", output.state):
        for source in _old_things(output):
            if aside is None:
                aside = _new_folder(output)
            source.rename(aside / source.name)
            tell(f"moved {source.name} aside")
        if aside is not None:
            for folder in (aside, output.root):
                disk.sync_folder(folder)
        disk.sync_folder(output.state)
    with _explained("moving the new state into", output.state):
        (_rebuilding(output) / output.database.name).rename(output.database)
        output.lists.mkdir(mode=_PRIVATE, exist_ok=True)
        disk.sync_folder(output.state)
        _rebuilding(output).rmdir()
    return aside


def _old_things(output: Output) -> list[Path]:
    """What is to be moved, the ledger first: its log alone can't be taken for a ledger."""
    found = [output.state / name for name in _STATE_FILES]
    # The copies that were kept before it was migrated (harvester/state/database.py).
    found += copies_of(output.database)
    if output.lists.is_dir() and any(output.lists.iterdir()):
        found.append(output.lists)
    return [path for path in found if path.exists()]


def _new_folder(output: Output) -> Path:
    stamp = stamp_at(time.time())
    for number in count(1):
        folder = output.root / (f"state.old-{stamp}" + (f"-{number}" if number > 1 else ""))
        try:
            folder.mkdir(mode=_PRIVATE)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("numbers don't end")


def _old_list(aside: Path | None) -> str | None:
    """The newest work list of the old state, if it is still there."""
    lists = aside.glob("lists/list-*.parquet") if aside else ()
    newest = max(lists, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if newest is None else str(newest)


def _unknown(runs: Sequence[str], snapshot: Path | None, old: _Old) -> tuple[str, ...]:
    """What is not known any more."""
    found = ["which ids of earlier inputs were still pending: the work list is gone"]
    if old.had_listings:
        found.append(
            "which days `harvester discover` has listed, and how the vendor cuts its list: list "
            "the days again, with --probe"
        )
    if old.in_journal is None:
        found.append("answers that were acknowledged but not published yet, if there were any")
    elif old.in_journal:
        found.append(
            f"{old.in_journal} answers of the old state's journal (some may be in the data)"
        )
    if snapshot is None:
        found.append("open calls, dead letters and deferred ids: no run left a snapshot")
        return tuple(found)
    later = runs[runs.index(snapshot.parent.name) + 1 :]
    if later:
        found.append(
            f"open calls, dead letters and deferred ids since run {snapshot.parent.name}: "
            f"{len(later)} later run(s), from {later[0]} on, left no snapshot"
        )
    return tuple(found)


def _lost(lost: Lost, old: _Old) -> Iterator[str]:
    """What runs had found, and is nowhere."""
    again = lost.rows - lost.erased
    if again > 0:
        yield (
            f"{again} calls that runs had delivered and whose rows are nowhere: of inputs that "
            "are run again they are fetched again, as far as the vendor has them"
        )
    if lost.erased:
        yield (
            f"{lost.erased} calls in which numbers were erased, and whose rows are nowhere: they "
            "are not fetched again, for the vendor still has the numbers"
        )
    if lost.changes:
        yield (
            f"{lost.changes} changes that runs had found: their files are gone from changes/. What "
            "the vendor still has, `harvester refetch delivered` fetches again"
        )
    for path in old.left_files:
        yield (
            f"which calls {path.name} named: it is gone. Calls that were dropped, or erased in, "
            "are fetched again if they are in an input: keep them out of it"
        )


_WORKED_DOWN = (EXIT_DONE, EXIT_SOME_DEAD)
_FETCH_PAGES_AGAIN = (
    "`harvester sql \"SELECT voice_id FROM cdr WHERE fetched_by = 'pages'\" -o pages.csv` has "
    "their ids, and `harvester refetch delivered --ids pages.csv` fetches them again"
)


def _doubted(told: Sequence[RunSummary]) -> Iterator[str]:
    """What came by pages of a list that differed, and was on the work list that is gone."""
    runs = [one for one in told if one.doubted]
    if runs:
        records = sum(one.doubted for one in runs)
        yield (
            f"whether {records} records that came by pages, in run {runs[-1].run_id} or before, "
            f"were fetched again: the list differed. {_FETCH_PAGES_AGAIN}"
        )


def _unproven(data: Data, runs: Sequence[str], told: Sequence[RunSummary]) -> Iterator[str]:
    """What killed runs took from pages: whether a sample differed afterwards stood in the state."""
    known = {one.run_id: one for one in told}
    some: set[str] = set()
    for run_id in reversed(runs):
        run = known.get(run_id)
        if run is not None and run.took_pages and run.exit_code in _WORKED_DOWN:
            break
        some.add(run_id)
    if all(run_id in known and known[run_id].exit_code is not None for run_id in some):
        return
    records = taken_by_pages(data, some)
    if records:
        yield (
            f"whether {records} records that came by pages, in runs that were killed or before "
            "these, are what answers about them alone say: samples that came later may have "
            f"differed. {_FETCH_PAGES_AGAIN}"
        )


def _next(old_list: str | None) -> str:
    told = (
        "Run the same inputs again: what the data, the open calls and the dead letters hold is "
        "resolved, and only the rest is fetched. "
    )
    if old_list is not None:
        told += (
            "Of inputs that you have no more, the old list has the ids: "
            f"`harvester run {shlex.quote(old_list)} --column voice_id`. "
        )
    return told + "Then `harvester verify --deep`."


@contextmanager
def _explained(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise store_error(doing, path, exc) from exc
