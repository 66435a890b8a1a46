"""`harvester compact`: many small files of a date become few, sorted by voiceId.

Theory of operation.  A nightly run adds a file to each date that its calls are of, and reading
sixty small files takes more than ten times as long as reading one.  The output is opened as a run
opens it.  Then dates are rewritten (harvester/pipeline/publish/rewrite.py), some at a time, each
time with a commit point of its own: what is done by then stays done if it is stopped.  Changes of
its calls are folded into the rows of a date that is rewritten.  Rows stay in the folder that they
are in.

Columns of a newer version come to all files at once, as versions never mix: one commit point for
the whole data set, before any date is compacted.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from types import MappingProxyType
from zoneinfo import ZoneInfo

import msgspec

from harvester.config import Config
from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import Interrupted, Terminated, UsageError
from harvester.pipeline.engine.progress import Events
from harvester.pipeline.publish.edits import Unfolded, fold, lift, unfolded
from harvester.pipeline.publish.rewrite import Folder, Rewriter, Rewritten
from harvester.pipeline.run.messages import tell_recovery
from harvester.pipeline.run.recovery import Opened, open_output
from harvester.pipeline.run.requests import NEVER, StopCheck, StopSource
from harvester.pipeline.run.run import close_killed
from harvester.state import publications
from harvester.state.belongs import note_data_version
from harvester.state.database import store_errors
from harvester.state.lock import OutputLock
from harvester.state.values import Note, PartRecord, by_folder
from harvester.state.writer import InlineLedger
from harvester.storage.disk import Disk, store_error, why_no_exchange
from harvester.storage.output import Output

MOST_ROWS = 750_000
"""Of a file that is made of others: to sort so many takes 0.4 GB of memory and 7 s of CPU."""
ROWS_AT_ONCE = 5_000_000
"""Of a rewrite: so much is done again if it is killed before its commit point."""

_LOCK = partial(OutputLock, command="compact")
_STOPPED = (
    "stopped on request; dates that were compacted by then are complete, and the others are as "
    "they were: run `harvester compact` again."
)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which dates to compact."""

    date: date | None = None
    """This one alone."""
    min_files: int = 8
    """Those that have at least so many files."""
    older_than_s: float = 172_800.0
    """Those that began so long ago; 0: all."""
    most_rows: int = MOST_ROWS
    """Of a file that is made of others; one of more than half of it stays as it is."""
    rows_at_once: int = ROWS_AT_ONCE
    """Dates of about so many rows have one commit point."""
    schema: bool = False
    """First give all rows the newest columns."""


class Chosen(msgspec.Struct, frozen=True):
    """The dates that an order names, and how many it leaves out."""

    folders: tuple[Folder, ...]
    folded: Mapping[str, Unfolded] = {}
    """Those of them that have changes to be folded in."""
    too_young: int = 0
    few_files: int = 0


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """What `harvester compact` did."""

    output: str
    dates: int
    rows: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    too_young: int
    """Dates left out, as they began after `--older-than`."""
    few_files: int
    """Dates left out, as they have fewer files than `--min-files`, or would not have fewer."""
    grace_s: float
    """So long the old files are kept."""
    folded: int
    """Changes that were folded into their rows."""
    lifted_from: int | None = None
    """The version of the columns before, if all rows got newer ones."""
    finished_publications: int
    """Publications that an earlier command left half done."""


def stopped(number: int) -> Interrupted:
    """Why it ends, once the signal of this number came."""
    return Terminated(_STOPPED) if number == signal.SIGTERM else Interrupted(_STOPPED)


def compact(
    config: Config,
    order: Order,
    events: Events,
    stop: StopSource = NEVER,
    *,
    disk: Disk | None = None,
) -> Compacted:
    """Merge the small files of the dates that `order` names; sends nothing.

    `disk` replaces the operating system's file system (tests).
    Raises AlreadyRunning, StoreError, ConfigError; UsageError where folders can't be exchanged;
    Interrupted when a signal ended it.
    """
    with stop.watched() as asked_to_stop, open_output(config, rebind=None, lock=_LOCK) as opened:
        refuse_no_exchange(opened.output, disk)
        with store_errors(opened.output.database):
            tell_recovery(opened, events)
            for killed in opened.killed_runs:
                close_killed(opened, killed)
            before, lifted = opened.kind.version, opened
            if order.schema and before < GROUP_RECORD.version:
                lifted = _lifted(opened, asked_to_stop, disk)
            parts = publications.current_parts(opened.db, opened.output.place_of)
            zone = opened.config.output.partition_timezone
            waiting = unfolded(opened.db, opened.output, lifted.kind)
            chosen = choose(parts, order, zone, datetime.now(UTC), waiting)
            some = _some_at_a_time(chosen.folders, order.rows_at_once)
            done = list(_rewritten(lifted, some, chosen.folded, asked_to_stop, disk))
        reason = asked_to_stop()
        go = [part for one in done for part in one.go]
        come = [part for one in done for part in one.come]
        if reason is not None and len({part.folder for part in go}) < len(chosen.folders):
            raise reason
        return Compacted(
            output=str(opened.output.root),
            dates=len(chosen.folders),
            rows=sum(part.rows for part in come),
            files_before=len(go),
            files_after=len(come),
            bytes_before=sum(part.bytes for part in go),
            bytes_after=sum(part.bytes for part in come),
            too_young=chosen.too_young,
            few_files=chosen.few_files,
            grace_s=config.compact.grace_s,
            folded=sum(one.changes for one in chosen.folded.values()),
            lifted_from=before if before < lifted.kind.version else None,
            finished_publications=opened.finished_publications,
        )


def no_exchange(output: Output, disk: Disk | None = None) -> str:
    """Why folders of the output can't be exchanged; "" if they can.  Raises StoreError."""
    try:
        return why_no_exchange(output.staging, disk)
    except OSError as exc:
        raise store_error("writing into", output.staging, exc) from exc


def refuse_no_exchange(output: Output, disk: Disk | None = None) -> None:
    """Raise UsageError where folders can't be exchanged."""
    why = no_exchange(output, disk)
    if why:
        raise UsageError(
            f"the file system of {output.cdr} can't exchange two folders in one step ({why}), and "
            "without that a reader could count too few rows. Nothing was changed. Put the output "
            "on ext4, xfs, btrfs or another local file system that can, or leave its files as they "
            "are.",
            code="output.no_exchange",
        )


def choose(
    parts: Sequence[PartRecord],
    order: Order,
    timezone: str,
    now: datetime,
    waiting: Mapping[str, Unfolded] = MappingProxyType({}),
) -> Chosen:
    """The dates to compact, the oldest first.

    `timezone`: whose days the folders are.  `waiting`: those that have changes to be folded in,
    however few files they have.
    """
    folders, too_young, few_files = [], 0, 0
    for name, of_date in sorted(by_folder(parts).items()):
        day = _day_of(name)
        if order.date is not None and day != order.date:
            continue
        groups = _groups(of_date, order.most_rows)
        if not _is_older(day, order.older_than_s, timezone, now):
            too_young += 1
        elif name in waiting or len(groups) < len(of_date) >= order.min_files:
            folders.append(Folder(groups))
        else:
            few_files += 1
    named = {folder.go[0].folder for folder in folders}
    folded = {name: one for name, one in waiting.items() if name in named}
    return Chosen(tuple(folders), folded, too_young, few_files)


def _day_of(folder: str) -> date | None:
    """The date of a partition; None for that of rows without one."""
    try:
        return date.fromisoformat(folder.rpartition("=")[2])
    except ValueError:
        return None


def _is_older(day: date | None, than_s: float, timezone: str, now: datetime) -> bool:
    if day is None or not than_s:
        return True
    begin = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
    return (now - begin).total_seconds() >= than_s


def _groups(parts: Sequence[PartRecord], most_rows: int) -> tuple[tuple[PartRecord, ...], ...]:
    """Which parts of a date become one: small ones, as many as have room in a file."""
    groups: list[list[PartRecord]] = []
    room = 0
    for part in sorted(parts, key=lambda part: (part.rows > most_rows // 2, part.path)):
        if part.rows > most_rows // 2 or part.rows > room:
            groups.append([])
            room = 0 if part.rows > most_rows // 2 else most_rows
        groups[-1].append(part)
        room -= part.rows
    return tuple(map(tuple, groups))


def _lifted(opened: Opened, stop: StopCheck, disk: Disk | None) -> Opened:
    """The output with the newest columns.  Raises Interrupted if it was stopped before that."""
    old, new, output = opened.kind, GROUP_RECORD, opened.output
    free = opened.config.open_calls.free_destinations
    parts = [
        *publications.current_parts(opened.db, output.place_of),
        *publications.current_parts(opened.db, output.place_of, changes=True),
    ]
    folders = [
        Folder(tuple((part,) for part in of_folder), lift(name, old, new, free))
        for name, of_folder in by_folder(parts).items()
    ]
    done = _rewriter(msgspec.structs.replace(opened, kind=new), disk).rewrite(
        folders,
        Note("compact", lifted_from=old.version, free_destinations=free),
        lambda: stop() is not None,
        also=partial(note_data_version, version=new.version),
    )
    reason = stop()
    if done is None and reason is not None:
        raise reason
    return msgspec.structs.replace(opened, kind=new)


def _rewriter(opened: Opened, disk: Disk | None) -> Rewriter:
    return Rewriter(
        InlineLedger(opened.db, opened.output.database),
        opened.output,
        opened.config.output,
        opened.state_id,
        identity=opened.identity,
        disk=disk,
        kind=opened.kind,
    )


def _rewritten(
    opened: Opened,
    at_a_time: Iterable[list[Folder]],
    waiting: Mapping[str, Unfolded],
    stop: StopCheck,
    disk: Disk | None,
) -> Iterator[Rewritten]:
    rewriter = _rewriter(opened, disk)
    for some in at_a_time:
        if stop() is not None:
            return
        names = [folder.go[0].folder for folder in some]
        through = {name: waiting[name].newest for name in names if name in waiting}
        folders = [_with_changes(opened, folder, through) for folder in some]
        note = Note("compact", folded=through)
        done = rewriter.rewrite(folders, note, lambda: stop() is not None)
        if done is None:
            return
        yield done


def _with_changes(opened: Opened, folder: Folder, through: Mapping[str, int]) -> Folder:
    name = folder.go[0].folder
    if name not in through:
        return folder
    edit = fold(opened.db, opened.output, opened.kind, name, through[name])
    return msgspec.structs.replace(folder, make_edit=edit)


def _some_at_a_time(folders: Iterable[Folder], most_rows: int) -> Iterator[list[Folder]]:
    some: list[Folder] = []
    rows = 0
    for folder in folders:
        some.append(folder)
        rows += sum(part.rows for part in folder.go)
        if rows >= most_rows:
            yield some
            some, rows = [], 0
    if some:
        yield some
