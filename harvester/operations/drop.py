"""`harvester drop`: whole dates leave the output, to an archive or for good.

Theory of operation.  Telecom data may be kept for a time and no longer, so a date leaves as a
whole: its folder of cdr/ in one step, its changes with it, by a rewrite
(harvester/pipeline/publish/rewrite.py).  What is left of it is durable before the commit point: the
file with the ids and sums (harvester/storage/dropped.py) and, where an archive was named, a copy of
every file with its hash compared.  A folder that also holds calls of a later billing month stays,
as that month would not be whole any more.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from harvester.config import Config
from harvester.dataset.changes import changes_of
from harvester.dataset.files import holds
from harvester.errors import Interrupted, StoreError, Terminated, UsageError
from harvester.operations.leaving_dates import (
    LeavingDate,
    choose,
    months_of,
    runs_of,
    source_of,
)
from harvester.pipeline.engine.progress import Events
from harvester.pipeline.publish.folding import changes_by_folder
from harvester.pipeline.publish.in_changes import Without, of_dates
from harvester.pipeline.publish.merging import whole_part
from harvester.pipeline.publish.rewrite import Folder, Rewriter
from harvester.pipeline.run.messages import tell_recovery
from harvester.pipeline.run.recovery import Opened, open_output
from harvester.pipeline.run.requests import NEVER, StopSource
from harvester.pipeline.run.run import close_killed
from harvester.state import listings, publications, work_lists
from harvester.state.database import store_errors
from harvester.state.lock import OutputLock
from harvester.state.values import Note, PartRecord, by_folder
from harvester.state.writer import InlineLedger
from harvester.storage import dropped
from harvester.storage.disk import Disk, RealDisk, store_error
from harvester.storage.dropped import Dropped, LeftOfMonth
from harvester.storage.output import PRIVATE

_LOCK = partial(OutputLock, command="drop")
_STOPPED = "stopped on request; nothing was dropped: run `harvester drop` again."


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which dates leave."""

    before: date
    to: Path | None = None
    """The archive that they are copied to first."""
    is_meant: bool = False
    """False: only say what would leave."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What `harvester drop` did, or would do."""

    output: str
    dates: tuple[str, ...]
    """Those that left."""
    kept: Mapping[str, str]
    """Dates before the given one that stayed, and why."""
    rows: int
    files: int
    bytes: int
    months: Mapping[str, LeftOfMonth]
    """By billing month."""
    archive: str | None
    grace_s: float
    """So long the files are kept out of the data set, if they went to no archive."""
    is_done: bool
    finished_publications: int


def stopped(number: int) -> Interrupted:
    """Why it ends, once the signal of this number came."""
    return Terminated(_STOPPED) if number == signal.SIGTERM else Interrupted(_STOPPED)


def drop(
    config: Config,
    order: Order,
    events: Events,
    stop: StopSource = NEVER,
    *,
    disk: Disk | None = None,
) -> Left:
    """Take the dates before `order.before` out of the data set; sends nothing.

    `disk` replaces the operating system's file system (tests).  Raises AlreadyRunning, StoreError,
    ConfigError; UsageError while a refetch is not finished; Interrupted when a signal ended it.
    """
    if order.to is not None:
        _refuse_inside(order.to, Path(config.output.dir))
    with stop.watched() as asked_to_stop, open_output(config, rebind=None, lock=_LOCK) as opened:
        with store_errors(opened.output.database):
            tell_recovery(opened, events)
            for killed in opened.killed_runs:
                close_killed(opened, killed)
            refuse_refetch(opened, "leave", "drop")
            parts = publications.current_parts(opened.db, opened.output.place_of)
            changes = publications.current_parts(opened.db, opened.output.place_of, changes=True)
            dates, kept = choose(opened, order.before, parts, changes)
            left = _told(opened, order, dates, kept, config.compact.grace_s)
            if order.is_meant and dates:
                should_stop = lambda: asked_to_stop() is not None  # noqa: E731
                done = _take_out(opened, order, dates, changes, disk or RealDisk(), should_stop)
                left = msgspec.structs.replace(left, is_done=done)
        reason = asked_to_stop()
        if reason is not None and order.is_meant and not left.is_done:
            raise reason
        return left


def refuse_refetch(opened: Opened, become: str, then: str) -> None:
    """Raise UsageError while ids of a refetch are pending; `become`: what calls are about to."""
    current = work_lists.current_list(opened.db)
    pending = listings.count_doubted(opened.db) + (current.pending_again if current else 0)
    if pending:
        raise UsageError(
            f"{pending} ids of a refetch are pending, and calls that {become} would "
            f"be fetched again. Finish it with `harvester run --carried-over-only`, then {then}. "
            "Nothing was changed.",
            code="usage.conflict",
        )


def _refuse_inside(to: Path, root: Path) -> None:
    """Raise UsageError for an archive that shares a folder with the output: it would be a part of
    what leaves, or of what is tidied up.
    """
    archive, output = to.resolve(), root.resolve()
    if archive.is_relative_to(output) or output.is_relative_to(archive):
        raise UsageError(
            f"--to {to} and the output {root} lie within each other: choose an archive folder "
            "apart from it. Nothing was dropped.",
            code="usage.target",
        )


def _told(
    opened: Opened, order: Order, dates: Sequence[LeavingDate], kept: dict[str, str], grace_s: float
) -> Left:
    parts = [part for one in dates for part in one.parts]
    return Left(
        output=str(opened.output.root),
        dates=tuple(one.date for one in dates),
        kept=kept,
        rows=sum(part.rows for part in parts),
        files=len(parts),
        bytes=sum(part.bytes for part in parts),
        months=months_of(dates),
        archive=None if order.to is None else str(order.to),
        grace_s=grace_s,
        is_done=False,
        finished_publications=opened.finished_publications,
    )


def _take_out(  # noqa: PLR0917 - what a drop is
    opened: Opened,
    order: Order,
    dates: Sequence[LeavingDate],
    changes: Sequence[PartRecord],
    disk: Disk,
    should_stop: Callable[[], bool],
) -> bool:
    output, kind = opened.output, opened.kind
    names = tuple(one.date for one in dates)
    touched = _with_changes_of(opened, names, changes)
    runs_of_changes = Counter[str]()
    if order.to is not None:
        _archive(opened, order.to, dates, disk)
    for part, rows in _leaving_changes(opened, touched, names):
        runs_of_changes.update(rows["run_id"].to_pylist())
        if order.to is not None:
            _archive_changes(rows, order.to / "changes" / part.path, disk)
    leaving = [Folder((one.parts,), leaves=True) for one in dates]
    edited = [
        Folder(tuple((part,) for part in of_folder), partial(Without, kind, names))
        for of_folder in touched.values()
    ]

    def leave_behind(number: int) -> None:
        left = Dropped(
            number=number,
            at_ms=time.time_ns() // 1_000_000,
            before=order.before.isoformat(),
            dates=names,
            rows=sum(len(one.ids) for one in dates),
            runs=runs_of(dates),
            months=months_of(dates),
            archive=None if order.to is None else str(order.to),
            changes=dict(sorted(runs_of_changes.items())),
        )
        dropped.write(output.dropped, left, (one.ids for one in dates), disk)

    rewriter = Rewriter(
        InlineLedger(opened.db, output.database),
        output,
        opened.config.output,
        opened.state_id,
        identity=opened.identity,
        disk=disk,
        kind=kind,
    )
    note = Note(command="drop", dropped=names, unrated=-sum(one.unrated for one in dates))
    return rewriter.rewrite([*leaving, *edited], note, should_stop, beside=leave_behind) is not None


def _with_changes_of(
    opened: Opened, names: Sequence[str], changes: Sequence[PartRecord]
) -> dict[str, list[PartRecord]]:
    """The folders of changes/ that have changes of these dates, whole."""
    dates = {f"{opened.kind.partition.folder}={name}" for name in names}
    return {
        folder: parts
        for folder, parts in by_folder(changes).items()
        if dates & changes_by_folder([source_of(opened, one) for one in parts], opened.kind).keys()
    }


def _leaving_changes(
    opened: Opened, touched: Mapping[str, Sequence[PartRecord]], names: Sequence[str]
) -> Iterator[tuple[PartRecord, pa.Table]]:
    """Each file of changes/ that has changes of these dates, and these.  Raises StoreError."""
    for part in (part for of_folder in touched.values() for part in of_folder):
        with whole_part(source_of(opened, part), changes_of(opened.kind)) as file:
            rows = of_dates(file.read(use_threads=False), opened.kind, names)
        if rows.num_rows:
            yield part, rows


def _archive(opened: Opened, to: Path, dates: Sequence[LeavingDate], disk: Disk) -> None:
    """Copy the rows that leave, durably, never over another file.  Raises StoreError."""
    for part in (part for one in dates for part in one.parts):
        source, target = opened.output.place_of(part.path), to / part.path
        if not holds(target, part.sha256):
            _copied(source.read_bytes(), target, disk)
        if not holds(target, part.sha256):
            raise _not_copied(target)


def _archive_changes(rows: pa.Table, target: Path, disk: Disk) -> None:
    """The same for changes that leave with them."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    content = sink.getvalue().to_pybytes()
    if not (target.is_file() and target.read_bytes() == content):
        _copied(content, target, disk)


def _copied(content: bytes, target: Path, disk: Disk) -> None:
    """Write a file whole or not at all: a copy that was cut off has another name.

    That name is the same each time, so the next try takes its place.
    """
    if target.exists():
        raise StoreError(
            f"{target} exists already with other content, and is never replaced. Name another "
            "folder with --to, or move it away. Nothing was dropped.",
            code="data.part_exists",
        )
    begun = target.with_name(f".{target.name}.begun")
    named_in = [target.parent, target.parent.parent]
    while not named_in[-2].exists():
        named_in.append(named_in[-1].parent)
    try:
        disk.make_folder(target.parent, PRIVATE)
        disk.remove(begun)
        try:
            with disk.create(begun, 0o600) as file:
                file.write(content)
                disk.sync_file(file)
            disk.move(begun, target)
        except OSError:
            # An archive that is full has room for what is needed to make some.
            with suppress(OSError):
                disk.remove(begun)
            raise
        for folder in named_in:
            disk.sync_folder(folder)
    except OSError as exc:
        raise store_error("copying to", target, exc) from exc


def _not_copied(target: Path) -> StoreError:
    return StoreError(
        f"{target} is not what was copied there (sha256 differs). Nothing was dropped: look at the "
        "disk that it lies on, and run again.",
        code="data.changed",
    )
