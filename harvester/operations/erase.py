"""`harvester erase`: phone numbers leave every place of the output; calls, times and money stay.

Theory of operation.  The order is such that what was begun can be finished by the same command, at
whatever step it was killed, and that nothing is lost on the way:

    E1  rows of cdr/ and changes/: one rewrite (harvester/pipeline/publish/rewrite.py) of the
        folders that hold one of the numbers.  Before its commit point the ids of these rows are
        written to OUT/dropped/, so that no refetch brings the numbers back
    E2  what rewrites took out of the data set, this one included, goes at once if it holds one
    E3  answers and details in the state database: one transaction, then the file is written anew,
        as its free pages and its log hold what was there before
    E4  runs/*/state.parquet and bad_ids.jsonl: each replaced in one step; copies of the state
        database that upgrades kept: removed, whatever they hold
    E5  everything is looked through again, and must hold none
    E6  the receipt, runs/erase-…/erasure.json: with neither a number nor a hash of one

After a kill the next `erase` with the same numbers finds what is left, and does that.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from harvester.config import Config
from harvester.dataset.kind import RecordKind
from harvester.errors import Interrupted, StoreError, Terminated, UsageError
from harvester.operations.compact import no_exchange
from harvester.operations.drop import refuse_refetch
from harvester.operations.listed_numbers import ListedNumbers
from harvester.operations.number_places import (
    BAD_LINES,
    CHANGES,
    DATA,
    NOT_LOOKED_INTO,
    OLD_STATES,
    SNAPSHOTS,
    Held,
    Place,
    held,
    hidden_bad_lines,
    hidden_snapshot,
    hidden_values,
    in_retired,
    places,
)
from harvester.pipeline.engine.progress import Events
from harvester.pipeline.publish.in_changes import InChanges
from harvester.pipeline.publish.merging import Edit, Edited
from harvester.pipeline.publish.rewrite import Folder, Rewriter
from harvester.pipeline.run.messages import tell_recovery
from harvester.pipeline.run.recovery import Opened, new_run_id, open_output
from harvester.pipeline.run.requests import NEVER, StopSource
from harvester.pipeline.run.run import close_killed
from harvester.state import publications, unresolved
from harvester.state.database import (
    copies_of,
    leave_no_trace,
    store_errors,
    transaction,
    write_anew,
)
from harvester.state.lock import OutputLock
from harvester.state.values import Note, PartRecord
from harvester.state.writer import InlineLedger
from harvester.storage import dropped
from harvester.storage.atomic_files import NewFile, write_atomically
from harvester.storage.disk import Disk, RealDisk, store_error
from harvester.storage.output import PRIVATE, Output

RECEIPT = "erasure.json"
_LOCK = partial(OutputLock, command="erase")
_STOPPED = "stopped on request; nothing was erased: run `harvester erase` again."
_BEYOND = (
    "backups and snapshots of the disk: keep the requests, and run them again after a restore",
    "exports, archives of `harvester drop`, tables and every other copy that was made of the data",
    "versions that an object store keeps of files that were synced to it",
    "input files, and what the vendor keeps",
    "calls that are open, pending or dead: a later answer brings the numbers back; run it again",
)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to erase, and why."""

    numbers: tuple[str, ...]
    """As `read_numbers` gives them."""
    because: str
    """The request, by its name in the books of whoever erases."""
    readers_stopped: bool = False
    """Nobody reads the data meanwhile, so its folders need not be exchanged in one step."""


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What `harvester erase` did; the receipt holds it."""

    output: str
    because: str
    at: str
    numbers: int
    """How many were asked for."""
    places: tuple[Place, ...]
    """What held one of them before."""
    written: tuple[str, ...]
    """Files that came in the place of others, relative to the output."""
    not_reached: tuple[str, ...]
    receipt: str
    finished_publications: int


class Erase:
    """An edit (`merging.Edit`): rows of cdr/ with the numbers hidden."""

    def __init__(self, kind: RecordKind, listed: ListedNumbers) -> None:
        self.reads = kind
        self.writes = kind
        self._listed = listed

    def begin(self, footer: Mapping[bytes, bytes], rows: int) -> None:
        """See `merging.Edit`."""

    def edited(self, rows: pa.Table) -> Edited:
        """See `merging.Edit`."""
        return Edited(self._listed.hidden_rows(rows).rows)

    def complete(self) -> None:
        """Nothing can be missing."""


def stopped(number: int) -> Interrupted:
    """Why it ends, once the signal of this number came."""
    return Terminated(_STOPPED) if number == signal.SIGTERM else Interrupted(_STOPPED)


def erase(
    config: Config,
    order: Order,
    events: Events,
    stop: StopSource = NEVER,
    *,
    disk: Disk | None = None,
) -> Erased:
    """Hide the numbers wherever the output holds them; sends nothing.

    `disk` replaces the operating system's file system (tests).  Raises AlreadyRunning, StoreError,
    ConfigError; UsageError while the journal is not empty or a refetch is not finished, or where
    folders can't be exchanged; Interrupted when a signal ended it.
    """
    with (
        stop.watched() as asked_to_stop,
        open_output(config, rebind=None, lock=_LOCK) as opened,
        store_errors(opened.output.database),
    ):
        tell_recovery(opened, events)
        for killed in opened.killed_runs:
            close_killed(opened, killed)
        listed = ListedNumbers(order.numbers, opened.kind)
        _refuse_journal(opened)
        refuse_refetch(opened, "are erased", "erase")
        found = tuple(held(opened.db, opened.output, opened.kind, listed))
        deed = _Deed(opened, listed, disk or RealDisk())
        should_stop = lambda: asked_to_stop() is not None  # noqa: E731
        if not deed.rewrite(found, should_stop, readers_stopped=order.readers_stopped):
            reason = asked_to_stop()
            assert reason is not None, "nothing else stops it"
            raise reason
        deed.remove_retired()
        deed.mend_state()
        deed.mend_runs(found)
        deed.look_again()
        return _receipt(opened, order, found, deed.written)


def _refuse_journal(opened: Opened) -> None:
    records, _ = publications.journal_size(opened.db)
    if records:
        raise UsageError(
            f"{records} answers in the journal are not published yet, and may hold the numbers. "
            "Publish them with `harvester publish`, then erase. Nothing was changed.",
            code="usage.conflict",
        )


class _Deed:
    """The steps E1 to E5, each of which may be repeated."""

    def __init__(self, opened: Opened, listed: ListedNumbers, disk: Disk) -> None:
        self._opened = opened
        self._output = opened.output
        self._listed = listed
        self._disk = disk
        self.written: list[str] = []

    def rewrite(
        self, found: Iterable[Held], should_stop: Callable[[], bool], *, readers_stopped: bool
    ) -> bool:
        """E1; False if it was stopped before its commit point."""
        in_rows = [one for one in found if one.place in (DATA, CHANGES)]
        if not in_rows:
            return not should_stop()
        why = no_exchange(self._output, self._disk)
        if why and not readers_stopped:
            raise UsageError(
                f"the file system of {self._output.cdr} can't exchange two folders in one step "
                f"({why}), and without that a reader could count too few rows. Nothing was "
                "changed. Stop whoever reads the data, and run again with --readers-stopped.",
                code="output.no_exchange",
            )
        ids = {voice_id for one in in_rows for voice_id in one.ids}
        done = self._rewriter().rewrite(
            self._folders({one.path.parent.name for one in in_rows}),
            Note(command="erase", by_renames=bool(why)),
            should_stop,
            beside=lambda number: dropped.write_erased(
                self._output.dropped, number, ids, self._disk
            ),
        )
        if done is None:
            return False
        self.written += [_told(self._output.place_of(one.path), self._output) for one in done.come]
        return True

    def remove_retired(self) -> None:
        """E2: they are kept for readers and to be put back, and neither is wanted."""
        opened, output = self._opened, self._output
        holding = {one.path.parents[1] for one in in_retired(output, opened.kind, self._listed)}
        for folder in sorted(holding):
            try:
                self._disk.remove_folder(folder)
                self._disk.sync_folder(output.retired)
            except OSError as exc:
                raise store_error("removing", folder, exc) from exc
            publications.forget_retired(opened.db, int(folder.name))

    def mend_state(self) -> None:
        """E3.  The file is written anew even if no row held one: free pages may."""
        db = self._opened.db
        hidden = hidden_values(db, self._listed)
        leave_no_trace(db)
        with transaction(db):
            unresolved.put_open_calls(db, hidden.open_calls)
            unresolved.put_dead_letters(db, hidden.dead_letters)
            unresolved.put_deferred(db, hidden.deferred)
        write_anew(db)

    def mend_runs(self, found: Iterable[Held]) -> None:
        """E4."""
        for one in found:
            if one.place == SNAPSHOTS:
                _replace_snapshot(one.path, hidden_snapshot(one.path, self._listed).rows)
            elif one.place == BAD_LINES:
                write_atomically(one.path, hidden_bad_lines(one.path, self._listed)[0])
            else:
                continue
            self.written.append(_told(one.path, self._output))
        for copy in copies_of(self._output.database):
            try:
                self._disk.remove(copy)
                self._disk.sync_folder(copy.parent)
            except OSError as exc:
                raise store_error("removing", copy, exc) from exc

    def look_again(self) -> None:
        """E5.  Raises StoreError if a number is left."""
        opened = self._opened
        for one in held(opened.db, self._output, opened.kind, self._listed):
            if one.place not in NOT_LOOKED_INTO:
                raise StoreError(
                    f"{one.path} still holds one of the numbers ({one.place}) after it was "
                    "erased. No receipt was written: keep the output as it is, and report it.",
                    code="data.not_erased",
                )

    def _folders(self, names: Iterable[str]) -> list[Folder]:
        opened = self._opened
        by_folder: dict[str, list[PartRecord]] = {name: [] for name in sorted(names)}
        makes: dict[str, Callable[[], Edit]] = {}
        for changes in (False, True):
            for part in publications.current_parts(
                opened.db, self._output.place_of, changes=changes
            ):
                if part.folder in by_folder:
                    by_folder[part.folder].append(part)
                    makes[part.folder] = self._in_changes if changes else self._edit
        return [
            Folder(tuple((part,) for part in parts), makes[name])
            for name, parts in by_folder.items()
        ]

    def _edit(self) -> Edit:
        return Erase(self._opened.kind, self._listed)

    def _in_changes(self) -> Edit:
        return InChanges(self._edit())

    def _rewriter(self) -> Rewriter:
        opened = self._opened
        return Rewriter(
            InlineLedger(opened.db, self._output.database),
            self._output,
            opened.config.output,
            opened.state_id,
            identity=opened.identity,
            disk=self._disk,
            kind=opened.kind,
        )


def _replace_snapshot(path: Path, rows: pa.Table) -> None:
    try:
        with NewFile(path) as new:
            pq.write_table(rows, new.stream, compression="zstd")
            new.commit()
    except OSError as exc:
        raise store_error("writing", path, exc) from exc


def _receipt(opened: Opened, order: Order, found: Sequence[Held], written: Sequence[str]) -> Erased:
    """E6: what was done, durable."""
    output, now = opened.output, time.time()
    folder = output.runs / f"erase-{new_run_id(now)}"
    old = [
        f"{_told(one.path, output)}: a state that was set aside; remove it"
        for one in found
        if one.place == OLD_STATES
    ]
    done = Erased(
        output=str(output.root),
        because=order.because,
        at=datetime.fromtimestamp(int(now), UTC).isoformat(),
        numbers=len(order.numbers),
        places=places(found, output),
        written=tuple(written),
        not_reached=(*old, *_BEYOND),
        receipt=_told(folder / RECEIPT, output),
        finished_publications=opened.finished_publications,
    )
    disk = RealDisk()
    try:
        disk.make_folder(folder, PRIVATE)
        disk.sync_folder(output.runs)
    except OSError as exc:
        raise store_error("making", folder, exc) from exc
    told = msgspec.to_builtins(done)
    told["places"] = {
        one.place: {"files": list(one.files), "rows": one.rows, "calls": len(one.ids)}
        for one in done.places
    }
    content = msgspec.json.format(msgspec.json.encode({"type": "erasure", **told}), indent=2)
    write_atomically(folder / RECEIPT, content + b"\n")
    return done


def _told(path: Path, output: Output) -> str:
    return str(path.relative_to(output.root))
