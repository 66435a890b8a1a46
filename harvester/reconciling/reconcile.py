"""`harvester reconcile`: the vendor's list, our books and the customer's dialer, compared.

Theory of operation.  First the dialer's file is read, whole: one that is no good is refused before
anything is sent.  Then `discover` lists those of the days that are not listed, or are to be listed
again by now.  Then the output is held once more, and the three lists are read at one moment of its
life.  Nothing but the counts by day is kept; so whatever ends the command, the same one again does
what is left.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from shutil import rmtree

import msgspec

from harvester.config import Config, Secrets
from harvester.errors import (
    EXIT_DONE,
    HarvesterError,
    Interrupted,
    ListIncomplete,
    SourceError,
    StoreError,
    Terminated,
    Unreconciled,
    UsageError,
    disk_code,
)
from harvester.identity import settled
from harvester.operations.discover import Discovered, Tell, discover
from harvester.operations.discover import Order as ToList
from harvester.pipeline.engine.local_workers import Trace
from harvester.pipeline.engine.progress import Events
from harvester.pipeline.listing import days as days_of
from harvester.pipeline.listing.windows import Window
from harvester.pipeline.run.messages import tell_recovery
from harvester.pipeline.run.recovery import Opened, open_output
from harvester.pipeline.run.requests import NEVER, StopSource
from harvester.pipeline.run.run import close_killed
from harvester.reconciling.dialer import Ours, Placed, read_dialer
from harvester.reconciling.figures import (
    REGIONS,
    Dialer,
    Reconciled,
    Region,
    agreeing,
    alive,
    as_json,
    by_day,
    commands,
    fold,
    meanings,
)
from harvester.reconciling.listed import OfDay, of_days, told, write_listed
from harvester.reconciling.ours import Books, write_states
from harvester.reconciling.regions import ROWS, Compared, Sources, compared
from harvester.state import between_runs, listings, publications
from harvester.state.belongs import binding
from harvester.state.database import store_errors
from harvester.state.id_counts import keep_days
from harvester.state.lock import OutputLock
from harvester.state.read_only import has_state, looking
from harvester.storage import dropped
from harvester.storage.atomic_files import sync_folder, write_atomically
from harvester.storage.disk import store_error
from harvester.storage.duckdb_engine import Room
from harvester.storage.output import Output
from harvester.storage.parquet_file import ParquetOut


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be reconciled."""

    first: date
    last: date
    """Days of the vendor's clock, both included."""
    ours: Ours | None = None
    """The customer's dialer; None: V and B alone are compared."""
    allow: int = 0
    files: Path | None = None
    """A folder for the ids of each region."""
    max_duration_s: float | None = None
    pasted: Callable[[str], str] = str
    """Adds to commands in a text what they take to be typed as they stand."""


_ENOUGH = 20
"""Calls on either side, to conclude something from it that none is on both."""
_A_DAY = timedelta(days=1)
_MARK = "reconcile.json"
_STAGED = ".reconcile-"
_STOPPED = "stopped on request; the same command again lists what is not listed yet."


def stopped(number: int) -> Interrupted:
    """Why it ends, once the signal of this number came."""
    return Terminated(_STOPPED) if number == signal.SIGTERM else Interrupted(_STOPPED)


def _unheard(windows: int, requests: int) -> None:
    del windows, requests


def reconcile(
    config: Config,
    secrets: Secrets,
    order: Order,
    events: Events,
    stop: StopSource = NEVER,
    *,
    tell: Tell = _unheard,
    trace: Trace | None = None,
) -> Reconciled:
    """Compare the lists of the days that `order` names.

    Raises SourceError for a dialer's file that is no good, before anything is sent; HarvesterError
    where the days could not be listed to the end, or nothing can be read or kept.
    """
    window = days_of.of_days(order.first, order.last)
    with tempfile.TemporaryDirectory(prefix="harvester-reconcile-") as folder:
        scratch = Path(folder)
        placed = None
        if order.ours is not None:
            placed = read_dialer(config, order.ours, window, scratch)
        found = _list(config, secrets, order, events, stop, tell, trace)
        with (
            stop.watched() as asked_to_stop,
            open_output(config, rebind=None, lock=_LOCK) as opened,
            store_errors(opened.output.database),
        ):
            tell_recovery(opened, events)
            for killed in opened.killed_runs:
                close_killed(opened, killed)
            if (reason := asked_to_stop()) is not None:
                raise reason
            return _compare(opened, order, window, placed, found, scratch)


_LOCK = partial(OutputLock, command="reconcile")


def _list(  # noqa: PLR0917 - what reconcile has, handed on
    config: Config,
    secrets: Secrets,
    order: Order,
    events: Events,
    stop: StopSource,
    tell: Tell,
    trace: Trace | None,
) -> Discovered | None:
    """List what is to be listed; None where that is nothing.  Raises HarvesterError."""
    stretches = _to_list(config, order)
    if not stretches:
        return None
    wanted = ToList(stretches=tuple(stretches), max_duration_s=order.max_duration_s)
    found = discover(config, secrets, wanted, events, stop, tell=tell, trace=trace)
    if not found.is_whole and found.error is not None:
        raise found.error
    return found


def _to_list(config: Config, order: Order) -> list[tuple[date, date]]:
    output, now_s, done = Output(Path(config.output.dir)), time.time(), list[days_of.Done]()
    if has_state(output):
        with looking(output, "reconcile") as db:
            settled(config, binding(db))
            now_s = between_runs.latest_ms(db, int(now_s * 1000)) / 1000
            for one in listings.all_listings(db):
                files = [output.listed / path for path in listings.files(db, one.id)]
                if one.is_settled and all(path.is_file() for path in files):
                    span = Window(one.start_s, one.until_s)
                    done.append(days_of.Done(span, one.begun_ms / 1000))
    if order.first > days_of.day_at(now_s):
        return [(order.first, order.last)]  # `discover` says what is wrong with that
    return days_of.to_list(done, order.first, order.last, now_s)


def _compare(  # noqa: PLR0917 - what reconcile has, handed on
    opened: Opened,
    order: Order,
    window: Window,
    placed: Placed | None,
    found: Discovered | None,
    scratch: Path,
) -> Reconciled:
    db, output, kind = opened.db, opened.output, opened.kind
    room = Room(opened.config.plan.memory_limit, scratch)
    records = listings.all_listings(db)
    days = of_days(records, order.first, order.last)
    books = Books(db, opened.config.vendor.account, kind, output.lists)
    states = scratch / "states.parquet"
    write_states(books, states)
    around = [
        one
        for day in (order.first - _A_DAY, order.last + _A_DAY)
        for one in of_days(records, day, day)
    ]
    sources = Sources(
        nearby=write_listed(db, output.listed, around, room, name="nearby"),
        listed=write_listed(db, output.listed, days, room),
        files=_paths(opened, changes=False),
        changes=_paths(opened, changes=True),
        states=states,
        dropped=dropped.checked_files(output.dropped),
        dialer=None if placed is None else placed.ids,
        sent=None if placed is None else placed.sent,
    )
    now_ms = between_runs.latest_ms(db, time.time_ns() // 1_000_000)
    with compared(sources, window, room) as lists:
        if placed is not None:
            _refuse_rounded(placed.file, lists.rounded)
        groups = lists.groups()
        files = None if order.files is None else str(order.files)
        has_dialer = placed is not None
        names = meanings(has_dialer=has_dialer)
        age = told(days).least_age_days
        what_next = commands(
            str(order.first),
            str(order.last),
            has_dialer=has_dialer,
            files=files,
            is_old=age is not None and age >= days_of.DUE_AFTER[-1],
        )
        what_next = {name: order.pasted(text) for name, text in what_next.items()}
        regions = fold(groups, names, what_next)
        _balance(regions, lists, placed)
        if placed is not None:
            _refuse_strange(placed.file, regions, lists)
        counted = by_day(groups, _listed_ms(days), now_ms)
        keep_days(db, counted)
        together = sum(region.calls for region in regions.values())
        differing = together - agreeing(regions, has_dialer=has_dialer)
        error = _incomplete(days, found, now_ms) or _differing(
            differing, order.allow, has_dialer=has_dialer
        )
        done = Reconciled(
            output=str(output.root),
            days=told(days),
            regions=regions,
            vendor=lists.vendor,
            ours=_with(regions, "B"),
            dialer=None if placed is None else _dialer(placed, lists),
            together=together,
            differing=differing,
            allow=order.allow,
            alive=alive(regions),
            requests=0 if found is None else found.requests,
            by_day=tuple(counted),
            files=files,
            exit_code=error.exit_code if error else EXIT_DONE,
            code=error.code if error else "",
            message=str(error) if error else "",
            error=error,
        )
        if order.files is not None:
            _write_files(order.files, lists, done)
    return done


def _refuse_rounded(file: str, rounded: int) -> None:
    """Raise SourceError for ids without their last digits: each would be a call that nobody here
    placed, and one that the vendor does not know.
    """
    if rounded:
        raise SourceError(
            f"{file}: {rounded:,} of its ids are those of calls that the vendor lists, but for "
            "their last digits: a spreadsheet or a program has rounded them, and nothing brings "
            "them back. Export them again from where they came, as text.",
            code="input.rounded_ids",
        )


def _refuse_strange(file: str, regions: Mapping[str, Region], lists: Compared) -> None:
    """Raise SourceError where not one id is known to anybody: each call of the vendor would be one
    that nobody here placed.
    """
    others = sum(region.calls for name, region in regions.items() if name != "D")
    is_strange = regions["D"].calls == lists.placed and not lists.elsewhere
    if is_strange and min(lists.placed, others) >= _ENOUGH:
        raise SourceError(
            f"{file}: not one of its {lists.placed:,} ids is a call that the vendor lists or that "
            f"is known here, and there are {others:,} of these days: its ids are of another kind, "
            "were cut, or are of another account. Name the column of the voiceIds by --column.",
            code="input.other_ids",
        )


def _paths(opened: Opened, *, changes: bool) -> list[Path]:
    place_of = opened.output.place_of
    parts = publications.current_parts(opened.db, place_of, changes=changes)
    return [place_of(part.path) for part in parts]


def _listed_ms(days: Sequence[OfDay]) -> dict[str, int | None]:
    return {str(one.day): one.settled.begun_ms if one.settled else None for one in days}


def _balance(regions: Mapping[str, Region], lists: Compared, placed: Placed | None) -> None:
    """Raise StoreError unless each list has as many ids as the regions that it is part of."""
    told = [("V", lists.vendor), ("D", lists.placed)]
    wrong = [name for name, ids in told if _with(regions, name) != ids]
    if placed is not None and placed.distinct < lists.placed:
        wrong.append("D")
    if wrong:
        raise StoreError(
            f"the control totals of the reconciliation don't balance ({', '.join(wrong)}): an id "
            "is in two places. `harvester verify --deep` shows where.",
            code="control_totals.differ",
        )


def _with(regions: Mapping[str, Region], name: str) -> int:
    return sum(region.calls for key, region in regions.items() if name in key)


def _dialer(placed: Placed, lists: Compared) -> Dialer:
    return Dialer(
        file=placed.file,
        lines=placed.lines,
        bad=placed.bad,
        double=placed.double,
        calls=lists.placed,
        outside=placed.distinct - lists.placed,
        elsewhere=lists.elsewhere,
        undated=placed.undated,
        by_time=placed.sent is not None,
    )


def _incomplete(
    days: Sequence[OfDay], found: Discovered | None, now_ms: int
) -> HarvesterError | None:
    """What is wrong with V, if anything."""
    if found is not None and found.error is not None:
        return found.error
    missing = [str(one.day) for one in days if one.settled is None]
    if not missing:
        return None
    if days_of.of_days(days[-1].day, days[-1].day).until_s * 1000 > now_ms:
        return ListIncomplete(
            f"the days up to {days[-1].day} are not over on the vendor's clock: calls are still to "
            "come. Run the same command again when they are.",
            code="listing.not_over",
        )
    return ListIncomplete(
        f"{len(missing)} day(s) are not listed for sure, from {missing[0]} on: calls may be "
        "missing. Run the same command again.",
        code="listing.unsettled",
    )


def _differing(differing: int, allow: int, *, has_dialer: bool) -> Unreconciled | None:
    if differing <= allow:
        return None
    lists = "all three lists" if has_dialer else "both lists"
    return Unreconciled(
        f"{differing:,} call(s) are not in {lists}, and --allow is {allow:,}. Each line above says "
        "what to do about its calls.",
        code="reconcile.differ",
    )


def _write_files(folder: Path, lists: Compared, done: Reconciled) -> None:
    """A file of each region, those without a call too, and the mark of a whole set.

    All are whole, in a folder of their own, before any takes the place of an older one: what ends
    the writing leaves an older set as it is.  Raises UsageError, StoreError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.glob(f"{_STAGED}*"):  # a run that was killed had no time to
            rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_STAGED, dir=folder) as staged:
            _write_regions(Path(staged), lists, done.regions)
            told = msgspec.json.format(msgspec.json.encode(as_json(done))) + b"\n"
            write_atomically(Path(staged, _MARK), told)
            # It goes first, and comes last.
            (folder / _MARK).unlink(missing_ok=True)
            for name in (*(_file_of(region) for region in REGIONS), _MARK):
                Path(staged, name).replace(folder / name)
            sync_folder(folder)
    except OSError as exc:
        raise _unwritable(folder, exc) from exc


def _write_regions(folder: Path, lists: Compared, regions: Mapping[str, Region]) -> None:
    rows = lists.rows()
    waiting = next(rows, None)
    for name in sorted(REGIONS):
        with ParquetOut(folder / _file_of(name), ROWS) as out:
            while waiting is not None and waiting[0] == name:
                for batch in waiting[1].to_batches():
                    out.write(*batch.columns)
                waiting = next(rows, None)
            out.commit()
            if out.rows != regions[name].calls:
                raise StoreError(
                    f"{folder}: the file of region {name} has {out.rows} rows instead of "
                    f"{regions[name].calls}. This is a bug: report it.",
                    code="control_totals.differ",
                )


def _file_of(region: str) -> str:
    return f"{region}.parquet"


def _unwritable(folder: Path, exc: OSError) -> HarvesterError:
    """A full disk is nothing that was typed wrong."""
    if disk_code(exc) == "output.full":
        return store_error("writing", folder, exc)
    return UsageError(f"{folder} can't be written: {exc.strerror or exc}.", code="usage.unwritable")
