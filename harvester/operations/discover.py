"""`harvester discover`: every call that the vendor lists, and which of them are unknown to us.

Theory of operation.  The output is opened as a run opens it, so start is recovery here as well.
Days are listed by `pipeline.listing`, each stretch of days a listing of its own, which goes on
where it was cut off.  What it brought is then read once: calls of the days that were asked for, by
their submitTime, each once, as last seen.  Known is what a work list made of these ids would take
for resolved, or has pending already: the one place that decides it is the one that makes lists.
With `take` that list is put in force, and the books of the input see it as any other.

With `compare` calls of these days, drawn by chance, are fetched both singly and from their pages
(`listing.both_ways`); days that are listed already need not be listed again for that.  What was
found is kept in one transaction at its end, so a command that is killed has found nothing; a
difference takes away what was kept before, also where the command was stopped.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
from msgspec.structs import replace

from harvester.client.connect import way_to
from harvester.client.record_group import OTHER_WINDOW
from harvester.config import Config, Secrets
from harvester.errors import (
    EXIT_DONE,
    HarvesterError,
    Interrupted,
    ListDiffers,
    ListIncomplete,
    Terminated,
    UsageError,
)
from harvester.identity import proof_of
from harvester.inputs.discover import IdFile
from harvester.inputs.voice_id import clean
from harvester.pipeline.engine.local_workers import (
    QUIET_AFTER_LOCK_S,
    QUIET_AFTER_WORKERS_S,
    Fetching,
    Trace,
)
from harvester.pipeline.engine.progress import Events
from harvester.pipeline.limits.limit_file import LimitFile, sharing
from harvester.pipeline.limits.open_files import room_for
from harvester.pipeline.listing import days as days_of
from harvester.pipeline.listing.both_ways import LEAST_PROOF, BothWays, Comparer, draw
from harvester.pipeline.listing.lister import MOST_LATE, Day, Lister, Span, TotalOfAll
from harvester.pipeline.listing.probing import Filter, find_filter, find_unnamed
from harvester.pipeline.listing.windows import Window, gaps
from harvester.pipeline.run.messages import tell_recovery
from harvester.pipeline.run.prepare_list import data_glob, draft_list, draft_places, list_input
from harvester.pipeline.run.recovery import Opened, open_output
from harvester.pipeline.run.requests import NEVER, StopCheck, StopSource
from harvester.pipeline.run.run import close_killed
from harvester.state import between_runs, listings, work_lists
from harvester.state.database import store_errors
from harvester.state.listings import Comparison, ListingRecord, WindowRecord
from harvester.state.lock import OutputLock
from harvester.state.writer import LedgerWriter
from harvester.storage.disk import store_error
from harvester.storage.output import Output

_LOOK_EVERY_S = 0.2
_SAY_EVERY_S = 30.0
_MOST_SHOWN = 20
_SUBMIT = "submitTime"
_TOTAL_OF_ALL = "total_of_all"
"""All windows of a listing, which are settled each, have not brought as many calls as there are."""
Deliver = Callable[[Sequence[Path]], None]
"""Gets Parquet files of the calls (`listing.rows.SCHEMA`), each day in one; they go afterwards."""

Tell = Callable[[int, int], None]
"""Gets the windows that are closed and the requests that are sent, a few times a second."""


def _unheard(windows: int, requests: int) -> None:
    del windows, requests


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be listed."""

    first: date | None = None
    last: date | None = None
    """Days of the vendor's clock, both included."""
    due: bool = False
    """Instead: the days that are to be listed again by now."""
    stretches: tuple[tuple[date, date], ...] = ()
    """Instead: several stretches of days, first and last of each, in order."""
    take: bool = False
    probe: str | None = None
    """A call that shows how the vendor cuts windows."""
    compare: int | None = None
    """So many calls are compared with answers about them alone."""
    seed: int | None = None
    """Draws them; None: any."""
    max_duration_s: float | None = None


class Unsettled(msgspec.Struct, frozen=True):
    """A window that could not be listed for sure; seconds of Unix time."""

    start_s: int
    until_s: int
    total: int
    distinct: int
    cause: str


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """What was listed.  listed = known + unknown + too_young."""

    output: str
    days: tuple[tuple[str, str], ...]
    """Stretches of days, first and last."""
    listed: int
    """Distinct ids of calls submitted in these days."""
    known: int
    """Of those, resolved or pending already."""
    unknown: int
    too_young: int
    """Unknown, but younger than input.min_age_s: they are taken later."""
    taken: int
    undated: int
    """Of those listed, calls whose submitTime can't be read."""
    outside: int
    """Beside them: calls of other days, which were asked for to be sure."""
    windows: int
    unsettled: tuple[Unsettled, ...]
    unsettled_windows: int
    not_over: bool
    """Days that go on still are among them."""
    requests: int
    retries: dict[str, int]
    """Of the requests, those that were sent again, by cause."""
    filter: Filter | None
    comparison: BothWays | None
    """None: nothing was compared."""
    is_believed: bool
    """The list was found to be equal, of this account at this address, now or before."""
    is_whole: bool
    """It came to its end; else nothing was counted but windows and requests."""
    exit_code: int
    code: str
    message: str
    error: HarvesterError | None = None
    """Why it stopped early, or what is wrong."""


_STOPPED = (
    "stopped on request; what is not listed yet is listed when the same command is run again."
)


def stopped(number: int) -> Interrupted:
    """Why it ends, once the signal of this number came."""
    return Terminated(_STOPPED) if number == signal.SIGTERM else Interrupted(_STOPPED)


def discover(
    config: Config,
    secrets: Secrets,
    order: Order,
    events: Events,
    stop: StopSource = NEVER,
    *,
    deliver: Deliver | None = None,
    tell: Tell = _unheard,
    trace: Trace | None = None,
) -> Discovered:
    """List the days that `order` names.

    Raises HarvesterError where nothing was listed, or nothing can be kept.  `trace` gets the
    monotonic time of each request that is written, in seconds.
    """
    began = time.monotonic()
    with (
        open_output(config, lock=partial(OutputLock, command="discover")) as opened,
        store_errors(opened.output.database),
        sharing(opened.config.vendor, opened.config.pace, secrets, opened.output.root) as limit,
    ):
        tell_recovery(opened, events)
        for killed in opened.killed_runs:
            close_killed(opened, killed)
        limit_s = order.max_duration_s
        deadline = None if limit_s is None else began + limit_s
        fetching = _fetching(opened, secrets, limit, trace)
        this = _Discovery(opened, order, fetching, deadline, events=events, tell=tell)
        this.fetch(stop)
        done = this.close(deliver)
    _tell_end(done, events)
    return done


class _Discovery:
    """One command on an output that is held."""

    def __init__(
        self,
        opened: Opened,
        order: Order,
        fetching: Fetching,
        deadline: float | None,
        *,
        events: Events,
        tell: Tell,
    ) -> None:
        """Raises UsageError for days that the vendor does not have any more, or not yet."""
        self._opened = opened
        self._order = order
        self._fetching = fetching
        self._deadline = deadline
        self._events = events
        self._tell = tell
        db = opened.db
        gone = [path for path in listings.files(db) if not (opened.output.listed / path).is_file()]
        listings.forget(db, gone)
        self._now_s = between_runs.latest_ms(db, time.time_ns() // 1_000_000) / 1000
        self._over_s = self._now_s
        """What is before this is over."""
        self._settled = [one for one in listings.all_listings(db) if one.is_settled]
        self._days = self._chosen()
        self._stretches = days_of.split(self._days, self._part_of)
        self._filter = listings.list_filter(db, Filter)
        self._has_looked = listings.has_looked(db, time.time_ns() // 1_000_000)
        self._listings: list[ListingRecord] = []
        self._asked: dict[int, Window] = {}
        """What there was to ask for, by listing."""
        self._totals: dict[int, TotalOfAll] = {}
        """By listing."""
        self._comparison: BothWays | None = None
        config = opened.config.vendor
        self._proof = proof_of(config.base_url, config.account, opened.state_id)
        self._reason: HarvesterError | None = None
        self._requests = 0
        self._retries: dict[str, int] = {}
        _sweep(opened.output, listings.files(db))

    def fetch(self, stop: StopSource) -> None:
        """Send the requests.  Raises StoreError, UsageError."""
        if not self._stretches and self._order.probe is None:
            return
        ledger = LedgerWriter(self._opened.db, self._opened.output.database)
        try:
            with asyncio.Runner() as runner:
                runner.run(self._drive(ledger, stop))
        finally:
            ledger.close()

    def close(self, deliver: Deliver | None) -> Discovered:
        """What came of it, and the work list, if it is to have what is unknown."""
        if self._reason is not None:
            counts = _Counts()
            closed = [self._closed(one, counts) for one in self._listings]
            return self._summary(counts, sum(map(len, closed)))
        with tempfile.TemporaryDirectory(prefix="discover-", dir=self._opened.output.staging) as at:
            counts = self._read(Path(at), deliver)
            windows = self._end(counts)
            return self._summary(counts, windows)

    def _chosen(self) -> list[tuple[date, date]]:
        order, now_s = self._order, self._now_s
        if order.due:
            return days_of.due(_done(listings.all_listings(self._opened.db)), now_s)
        chosen = list(order.stretches)
        if order.first is not None and order.last is not None:
            chosen = [(order.first, order.last)]
        if not chosen:
            return []
        first = chosen[0][0]
        oldest, today = days_of.oldest(now_s), days_of.day_at(now_s)
        if first < oldest:
            raise UsageError(
                f"the vendor keeps its list for {days_of.KEPT_DAYS} days: {first} is too "
                f"old. Ask for days from {oldest} on.",
                code="usage.date",
            )
        if first > today:
            raise UsageError(
                f"{first} has not begun on the vendor's clock: it is {today} there.",
                code="usage.date",
            )
        return chosen

    def _part_of(self, day: date) -> object:
        """What is over is a listing of its own, which can come to its end; and so is what a listing
        has that need not be asked for again.
        """
        known = self._known(day)
        return day >= days_of.day_at(self._now_s), known and known.id

    def _known(self, day: date) -> ListingRecord | None:
        """The newest listing of a day, where its calls are only to be compared and it isn't due."""
        if not self._order.compare or self._order.due:
            return None
        for one, done in zip(reversed(self._settled), reversed(_done(self._settled)), strict=True):
            if days_of.covers(done.window, day):
                return None if days_of.to_list([done], day, day, self._now_s) else one
        return None

    async def _drive(self, ledger: LedgerWriter, stop: StopSource) -> None:
        db = self._opened.db
        day = Day(between_runs.requests_by_day(db), between_runs.last_skew_s(db))
        lister = Lister(
            self._fetching,
            day,
            ledger,
            self._opened.output.listed,
            is_id=_is_id,
            deadline=self._deadline,
        )
        with stop.watched() as asked_to_stop:
            behind = [
                asyncio.create_task(self._heed(lister, asked_to_stop)),
                asyncio.create_task(lister.keep_budget()),
            ]
            try:
                await self._ask(lister, ledger)
            finally:
                for task in behind:
                    task.cancel()
                await asyncio.gather(*behind, return_exceptions=True)
                await lister.close()
                await ledger.call(between_runs.keep_requests_of_day, lister.requests_of_day)
        # No day is over before the vendor says so: what it knows then is known of no call since.
        self._over_s = min(self._now_s, lister.clock.now())
        self._requests, self._retries = lister.requests, lister.retries
        self._reason = lister.stop.reason or asked_to_stop()

    async def _ask(self, lister: Lister, ledger: LedgerWriter) -> None:
        if self._order.probe is not None:
            now_ms = lister.clock.now_ms()
            self._filter = await find_filter(lister, self._order.probe, now_ms)
            if self._filter is not None:
                await ledger.call(listings.keep_filter, self._filter)
        for first, last in self._stretches:
            if lister.stop.is_set:
                return
            await self._list(lister, ledger, first, last)
        if self._order.compare and self._stretches and not lister.stop.is_set:
            await self._compare_ways(lister, ledger, self._order.compare)

    async def _list(self, lister: Lister, ledger: LedgerWriter, first: date, last: date) -> None:
        known, days = self._known(first), days_of.of_days(first, last)
        if known is not None:
            self._listings.append(known)
            return
        if self._filter is None and not self._has_looked:
            await self._look(lister, ledger, days)
        found = self._filter
        is_by_submit = found is not None and found.by == _SUBMIT
        if found is not None and found.is_named and is_by_submit:
            span = days
        else:
            after_days = 1 if is_by_submit else days_of.REDIALLED_DAYS
            span = days_of.widened(days, self._now_s, after_days=after_days)
        now_ms = lister.clock.now_ms()
        # What is to come is not listed yet.
        until_s = max(span.start_s, min(span.until_s, now_ms // 1000))
        record = await ledger.call(
            listings.begin,
            (days.start_s, days.until_s),
            now_ms,
            lambda one: days_of.is_current(
                Window(one.start_s, one.until_s), one.asked_ms / 1000, now_ms / 1000
            ),
            asked=(span.start_s, until_s),
        )
        self._listings.append(record)
        settled = await ledger.call(listings.windows, record.id)
        assert record.asked_until_s is not None
        to_ask = Window(span.start_s, until_s)
        self._asked[record.id] = to_ask
        self._events.message(
            "info",
            "listing_started",
            first=str(first),
            last=str(last),
            by=found.by if found is not None else None,
            settled=len(settled),
        )
        this = Span(
            record.id,
            to_ask,
            tuple(Window(one.start_s, one.until_s) for one in settled),
            found.by if found is not None else None,
            found is not None and found.is_start_counted,
        )
        try:
            if record.asked_until_s < until_s:
                before = Window(span.start_s, record.asked_until_s)
                await lister.widen(replace(this, window=before), until_s)
            self._totals[record.id] = await lister.list_span(this)
        finally:
            await ledger.call(listings.rest, record.id)

    async def _look(self, lister: Lister, ledger: LedgerWriter, days: Window) -> None:
        """Find out by which time windows are cut, where nobody has named a call."""
        self._has_looked = True
        now_ms = lister.clock.now_ms()
        # Before it is done: a command that is cut short here must get further the next time.
        await ledger.call(listings.keep_look, time.time_ns() // 1_000_000)
        # What is to come is not listed yet.
        span = Window(days.start_s, max(days.start_s, min(days.until_s, now_ms // 1000)))
        self._filter = await find_unnamed(lister, span, now_ms, _is_id)
        if self._filter is not None:
            await ledger.call(listings.keep_filter, self._filter)

    async def _compare_ways(self, lister: Lister, ledger: LedgerWriter, wanted: int) -> None:
        """Compare calls of these days as the list and as answers about them alone have them."""
        seed = self._order.seed
        seed = random.SystemRandom().randrange(10**9) if seed is None else seed
        files = [
            (self._opened.output.listed / path, days_of.of_days(*stretch))
            for record, stretch in zip(self._listings, self._stretches, strict=True)
            for path in await ledger.call(listings.files, record.id)
        ]
        drawn = await asyncio.to_thread(draw, files, wanted, seed)
        by = self._filter.by if self._filter is not None else None
        comparer = Comparer(self._opened.kind, drawn, wanted, seed, by)
        last = self._listings[-1].id
        await ledger.call(listings.go_on, last)
        try:
            await comparer.compare(lister.each)
        finally:
            await ledger.call(listings.rest, last)
        self._comparison = found = comparer.found
        _tell_compared(found, self._events)
        if found.differing:
            await ledger.call(listings.doubt_taken)
        elif found.is_proof and not lister.stop.is_set:
            now_ms = lister.clock.now_ms()
            one = Comparison(found.equal, now_ms, found.codes, self._proof)
            await ledger.call(listings.keep_comparison, one)

    async def _heed(self, lister: Lister, asked_to_stop: StopCheck) -> None:
        """Have it stop once somebody asks for that, or its limit file is gone."""
        limit = self._fetching.limit
        said_at, was_out = time.monotonic(), False
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self._tell(lister.windows, lister.requests)
            if lister.is_out is not was_out:
                was_out = not was_out
                _tell_outage(was_out, lister.requests, self._events)
            if time.monotonic() - said_at >= _SAY_EVERY_S:
                said_at = time.monotonic()
                self._events.message(
                    "info", "windows_listed", windows=lister.windows, requests=lister.requests
                )
            reason: HarvesterError | None = asked_to_stop()
            try:
                if isinstance(limit, LimitFile):
                    limit.refuse_moved()
            except HarvesterError as exc:
                reason = exc
            if reason is not None:
                lister.stop.stop(reason)
                return

    def _read(self, scratch: Path, deliver: Deliver | None) -> _Counts:
        # Only now: who fetches never loads DuckDB.
        from harvester.pipeline.listing.calls import count_rows, write_calls
        from harvester.storage.duckdb_engine import Room

        room = Room(self._opened.config.plan.memory_limit, scratch)
        counts, files = _Counts(), []
        for number, record in enumerate(self._listings):
            first, last = self._stretches[number]
            paths = [
                self._opened.output.listed / path
                for path in listings.files(self._opened.db, record.id)
            ]
            files.append(scratch / f"calls-{number}.parquet")
            chosen = next(one for one in self._days if one[0] <= first <= one[1])
            found = write_calls(
                paths,
                days_of.of_days(first, last),
                files[-1],
                room,
                part_of=days_of.of_days(*chosen),
            )
            counts.of_listing[record.id] = found.calls
            total = self._totals.get(record.id)
            if total is not None and total.is_known:
                counts.rows_of[record.id] = count_rows(paths, room)
            counts.listed += found.calls
            counts.undated += found.undated
            counts.outside += found.outside
        if deliver is not None:
            deliver(files)
        self._compare(files, counts, scratch)
        return counts

    def _compare(self, files: Sequence[Path], counts: _Counts, scratch: Path) -> None:
        """Count what is known, and take what is not, if that is wished."""
        ids = scratch / "listed.txt"
        counts.listed = _write_ids(files, ids)
        if not counts.listed:
            return
        opened, config = self._opened, self._opened.config
        db, output = opened.db, opened.output
        current = work_lists.current_list(db)
        pending = current.pending_new if current is not None else 0
        input_ = [IdFile(str(ids), "txt")]
        places, glob = draft_places(output, scratch), data_glob(db, output)
        draft = draft_list(db, config.input, config.plan, input_, places, data_glob=glob)
        # A call without a readable time may be among those of two stretches of days.
        counts.listed = draft.distinct
        counts.too_young = draft.too_young
        counts.unknown = draft.listed - (pending - draft.carried_over)
        counts.known = counts.listed - counts.unknown - counts.too_young
        if self._order.take and counts.unknown:
            list_input(db, output, config.input, config.plan, input_, scratch)
            counts.taken = counts.unknown

    def _closed(self, record: ListingRecord, counts: _Counts) -> list[WindowRecord]:
        """The windows of a listing; those that are not settled are added to `counts`."""
        closed = listings.windows(self._opened.db, record.id)
        bad = [one for one in closed if one.cause]
        counts.unsettled_windows += len(bad)
        counts.unsettled += [
            Unsettled(one.start_s, one.until_s, one.total, one.distinct, one.cause)
            for one in bad[:_MOST_SHOWN]
        ]
        return closed

    def _end(self, counts: _Counts) -> int:
        """End the listings of which nothing is left to do; how many windows there were."""
        db, windows = self._opened.db, 0
        for record, (_, last) in zip(self._listings, self._stretches, strict=True):
            if record.id not in self._asked:  # it had ended before
                continue
            now_ms, asked = int(self._now_s * 1000), self._asked[record.id]
            self._check_whole(record, counts, now_ms)
            closed = self._closed(record, counts)
            self._doubt_filter(closed)
            windows += len(closed)
            covered = [Window(one.start_s, one.until_s) for one in closed]
            left = gaps([asked], covered)
            is_over = days_of.of_days(last, last).until_s <= self._over_s
            if is_over and not left:
                listings.end(
                    db,
                    record.id,
                    now_ms,
                    calls=counts.of_listing[record.id],
                    unsettled=sum(bool(one.cause) for one in closed),
                )
        _sweep(self._opened.output, listings.files(db))
        return windows

    def _doubt_filter(self, closed: Sequence[WindowRecord]) -> None:
        """Do without it for now, where windows are not cut as some calls of the list showed, or a
        call is listed by another time than the others.
        """
        found = self._filter
        is_odd = any(one.cause == OTHER_WINDOW.cause for one in closed)
        if is_odd and found is not None and not found.is_named:
            listings.drop_filter(self._opened.db, time.time_ns() // 1_000_000)

    def _check_whole(self, record: ListingRecord, counts: _Counts, now_ms: int) -> None:
        """Where all are settled, but have not brought as many calls as there are, none is."""
        db, whole = self._opened.db, self._asked[record.id]
        if any(one.cause for one in listings.windows(db, record.id)):
            return
        if cause := self._totals[record.id].cause:
            unsettled = 0, 0, cause
        elif (wrong := self._wrong_total(record.id, counts)) is not None:
            unsettled = *wrong, _TOTAL_OF_ALL
        else:
            return
        one = WindowRecord(whole.start_s, whole.until_s, now_ms, *unsettled)
        listings.keep_unsettled(db, record.id, one)

    def _wrong_total(self, number: int, counts: _Counts) -> tuple[int, int] | None:
        """The total of all and the calls that came, where these are not as many."""
        kept = listings.listing(self._opened.db, number)
        rows = counts.rows_of.get(number)
        if rows is None or kept.least is None or kept.most is None:
            return None
        # A total that was too low once must not make up for calls that are missing.
        spread = kept.most - kept.least - self._totals[number].where_parts_meet
        is_sure = spread <= kept.most // MOST_LATE
        if is_sure and kept.least <= rows <= kept.most:
            return None
        return (kept.least if is_sure and rows < kept.least else kept.most), rows

    def _summary(self, counts: _Counts, windows: int) -> Discovered:
        not_over = any(
            days_of.of_days(*stretch).until_s > self._over_s for stretch in self._stretches
        )
        is_whole = self._reason is None
        error = (
            self._reason
            or _differing(self._comparison, listings.count_taken(self._opened.db))
            or _incomplete(counts, not_over=not_over)
            or _unproven(self._comparison)
        )
        kept = listings.comparison(self._opened.db)
        return Discovered(
            output=str(self._opened.output.root),
            days=tuple((str(first), str(last)) for first, last in self._days),
            listed=counts.listed,
            known=counts.known,
            unknown=counts.unknown,
            too_young=counts.too_young,
            taken=counts.taken,
            undated=counts.undated,
            outside=counts.outside,
            windows=windows,
            unsettled=tuple(counts.unsettled[:_MOST_SHOWN]),
            unsettled_windows=counts.unsettled_windows,
            not_over=not_over,
            requests=self._requests,
            retries=self._retries,
            filter=self._filter,
            comparison=self._comparison,
            is_believed=kept is not None and kept.proof == self._proof,
            is_whole=is_whole,
            exit_code=error.exit_code if error else EXIT_DONE,
            code=error.code if error else "",
            message=str(error) if error else "",
            error=error,
        )


def _tell_outage(is_out: bool, requests: int, events: Events) -> None:
    if is_out:
        events.message("warning", "outage_began", requests=requests)
    else:
        events.message("info", "outage_over", requests=requests)


def _tell_compared(found: BothWays, events: Events) -> None:
    level = "warning" if found.differing else "info"
    events.message(
        level,
        "calls_compared",
        seed=found.seed,
        drawn=found.drawn,
        equal=found.equal,
        differing=found.differing,
        apart=found.apart,
    )


def _tell_end(done: Discovered, events: Events) -> None:
    if done.unsettled_windows:
        causes = sorted({one.cause for one in done.unsettled})
        events.message("warning", "windows_unsettled", count=done.unsettled_windows, causes=causes)
    level = "info" if done.error is None else "error"
    events.message(
        level,
        "listing_ended",
        listed=done.listed,
        unknown=done.unknown,
        taken=done.taken,
        windows=done.windows,
        requests=done.requests,
        exit_code=done.exit_code,
        code=done.code,
        message=done.message,
    )


def _incomplete(counts: _Counts, *, not_over: bool) -> ListIncomplete | None:
    """What is wrong with a listing that came to its end."""
    if counts.unsettled_windows:
        causes = ", ".join(sorted({one.cause for one in counts.unsettled}))
        return ListIncomplete(
            f"{counts.unsettled_windows} window(s) of the vendor's list are not settled "
            f"({causes}): calls may be missing. Run the same command again; only these are asked "
            "for.",
            code="listing.unsettled",
        )
    if not_over:
        return ListIncomplete(
            "a day that is asked for is not over on the vendor's clock: calls are still to come. "
            "Run the same command again when it is.",
            code="listing.not_over",
        )
    return None


def _differing(found: BothWays | None, taken: int) -> ListDiffers | None:
    """`taken`: records that came by pages, and are doubted with the list."""
    if found is None or not found.differing:
        return None
    named = ", ".join(f"{one.voice_id}: {' '.join(one.columns)}" for one in found.differences[:3])
    again = (
        f" {taken} records that came by pages before are fetched again, one by one, by `harvester "
        "run --carried-over-only`."
        if taken
        else ""
    )
    return ListDiffers(
        f"{found.differing} of {found.drawn} call(s) are otherwise in the vendor's list than in "
        f"answers about them alone ({named}): nothing is fetched by pages. Show these ids to the "
        f"vendor; a field that you can do without may be left out by output.omit_fields.{again}",
        code="listing.differs",
    )


def _unproven(found: BothWays | None) -> ListIncomplete | None:
    """What is wrong with a comparison that was to prove something, and found no difference."""
    if found is None or found.is_proof or found.wanted < LEAST_PROOF:
        return None
    apart = ", ".join(f"{cause} {count}" for cause, count in found.apart.items())
    return ListIncomplete(
        f"{found.equal} calls were compared, and {sum(found.apart.values())} could not be "
        f"({apart or 'there are no more'}): that proves nothing. It takes {LEAST_PROOF} that are "
        "equal, and nine of ten that can be compared. Compare calls of more days, or later.",
        code="listing.unproven",
    )


class _Counts(msgspec.Struct):
    listed: int = 0
    known: int = 0
    unknown: int = 0
    too_young: int = 0
    taken: int = 0
    undated: int = 0
    outside: int = 0
    unsettled_windows: int = 0
    unsettled: list[Unsettled] = []
    of_listing: dict[int, int] = {}
    rows_of: dict[int, int] = {}
    """As `calls.count_rows` has it, where it is known how many there are at least."""


def _fetching(
    opened: Opened, secrets: Secrets, limit: LimitFile | None, trace: Trace | None
) -> Fetching:
    config = opened.config
    pace = replace(config.pace, concurrency=room_for(config.pace.concurrency))
    had_workers = between_runs.may_have_workers(opened.db)
    return Fetching(
        vendor=config.vendor,
        pace=pace,
        retry=config.retry,
        secrets=secrets,
        connect=way_to(config.vendor),
        locked_at=opened.locked_at,
        quiet_s=QUIET_AFTER_WORKERS_S if had_workers else QUIET_AFTER_LOCK_S,
        limit=limit,
        trace=trace,
    )


def _is_id(text: str) -> bool:
    return clean(text) == text


def _done(records: Sequence[ListingRecord]) -> list[days_of.Done]:
    return [
        days_of.Done(Window(one.start_s, one.until_s), one.begun_ms / 1000)
        for one in records
        if one.is_settled
    ]


def _write_ids(files: Sequence[Path], to: Path) -> int:
    """The ids of `files`, one a line; days are apart, so none is in two of them."""
    written = 0
    with to.open("w", encoding="ascii", newline="\n") as out:
        for path in files:
            with pq.ParquetFile(path) as parquet:
                for batch in parquet.iter_batches(columns=["voice_id"]):
                    ids = batch.column(0).to_pylist()
                    out.writelines(f"{voice_id}\n" for voice_id in ids)
                    written += len(ids)
    return written


def _sweep(output: Output, named: Sequence[str]) -> None:
    """Remove what no listing names: of one that was killed, or that a later one covers."""
    if output.listed.is_dir():
        keep = set(named)
        for path in output.listed.iterdir():
            if path.name not in keep:
                try:
                    path.unlink()
                except OSError as exc:
                    raise store_error("removing", path, exc) from exc
