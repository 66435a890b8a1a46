"""`harvester run`, from the lock to the summary.

Theory of operation.  Everything is checked before the first request: output, ledger, input.  Then
the engine runs on the event loop, and the ledger moves to its own thread.  Whatever ends the run
(done, drained, refused, an outage, a budget), the batch in hand is acknowledged and the books are
drawn up; only when the store itself fails is the run left open, for the next start to close.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from harvester.client.connect import way_to
from harvester.config import Config, Input, Secrets
from harvester.errors import (
    EXIT_DONE,
    EXIT_PENDING,
    EXIT_SOME_DEAD,
    GOOD_ENDS,
    AlreadyRunning,
    HarvesterError,
    ListIncomplete,
    StoreError,
    Terminated,
    UsageError,
    disk_code,
    worst,
)
from harvester.identity import proof_of
from harvester.inputs.discover import IdFile, find
from harvester.inputs.fingerprint import fingerprint
from harvester.inputs.worklist.reader import ListFile, members
from harvester.pipeline.engine.engine import Engine, EngineResult, Job
from harvester.pipeline.engine.local_workers import (
    QUIET_AFTER_WORKERS_S,
    Fetching,
    Trace,
    local_workers,
)
from harvester.pipeline.engine.progress import Events, Progress
from harvester.pipeline.engine.workers import MakeAhead, MakeWorkers
from harvester.pipeline.limits.limit_file import LimitFile, sharing
from harvester.pipeline.limits.open_files import room_for
from harvester.pipeline.publish.normalizer_process import NormalizerAside
from harvester.pipeline.publish.oddities import Oddities, named
from harvester.pipeline.publish.publisher import Publisher
from harvester.pipeline.run.control_totals import Difference
from harvester.pipeline.run.delivered_id import newest_delivered
from harvester.pipeline.run.estimate import estimate
from harvester.pipeline.run.in_place import InPlace
from harvester.pipeline.run.messages import (
    tell_bad_lines,
    tell_chosen,
    tell_failures,
    tell_input,
    tell_lost,
    tell_oddities,
    tell_pages,
    tell_recovery,
)
from harvester.pipeline.run.metrics_file import EVERY_S, MetricsFile
from harvester.pipeline.run.prepare_list import (
    Listing,
    list_again,
    list_input,
    list_retry,
    list_taken,
)
from harvester.pipeline.run.prometheus import PagesFigures, RunFigures
from harvester.pipeline.run.recovery import Opened, new_run_id, open_output
from harvester.pipeline.run.refetch import (
    Ordered,
    RefetchTotals,
    compared_for,
    exceeded,
    key_of,
    refetch_totals,
    selection_of,
)
from harvester.pipeline.run.requests import (
    NEVER,
    RefetchRequest,
    Request,
    RunRequest,
    StopCheck,
    StopSource,
)
from harvester.pipeline.run.state_snapshot import write_snapshot
from harvester.pipeline.run.summary import (
    END_CODES,
    KILLED,
    InputTotals,
    Summary,
    check_control_totals,
    input_totals,
    instant,
    list_totals,
    make_summary,
    pages_totals,
)
from harvester.state import (
    between_runs,
    id_counts,
    listings,
    publications,
    run_records,
    unresolved,
    work_lists,
)
from harvester.state.database import store_errors, transaction
from harvester.state.lock import OutputLock
from harvester.state.values import InputRecord, RunRecord, WorkList
from harvester.state.writer import InlineLedger, LedgerWriter
from harvester.storage.atomic_files import write_atomically
from harvester.storage.output import PRIVATE, Output

if TYPE_CHECKING:
    from harvester.pipeline.by_pages.believed import Believed

_STATUS_EVERY_S = 2.0
_PROGRESS_EVERY_S = 0.25


class Result(msgspec.Struct, frozen=True):
    """How a run ended."""

    summary: Summary
    exit_code: int
    error: HarvesterError | None
    """Why it stopped early; None if it worked the list down."""


def run(
    config: Config,
    secrets: Secrets,
    request: Request,
    events: Events,
    stop: StopSource = NEVER,
    *,
    trace: Trace | None = None,
) -> Result:
    """Harvest.  Raises HarvesterError where nothing was fetched, or nothing can be kept.

    It installs no signal handler, so it may be called in any thread; `stop` ends it early.
    `trace` gets the monotonic time of each request that is written, in seconds.
    """
    began = (time.time(), time.monotonic())
    metrics = MetricsFile(config.monitor.metrics_file, events)
    try:
        return _harvest(config, secrets, request, events, stop, trace, began, metrics)
    except AlreadyRunning:
        raise  # the file tells of the run that holds the output
    except HarvesterError as exc:
        metrics.write_failure(config.vendor.account, began[0], time.time(), exc.exit_code)
        raise


def _harvest(  # noqa: PLR0917 - the parts of one call
    config: Config,
    secrets: Secrets,
    request: Request,
    events: Events,
    stop: StopSource,
    trace: Trace | None,
    began: tuple[float, float],
    metrics: MetricsFile,
) -> Result:
    rebind = isinstance(request, RunRequest) and request.rebind
    if rebind and request.by_pages is not None:
        # Before the output takes the address: there the list is not known to tell the truth.
        raise UsageError(
            "--rebind makes a comparison of the vendor's list void: run it without --via pages, "
            "then `harvester discover --from D --to D --compare 1000`.",
            code="usage.rebind_pages",
        )
    with (
        open_output(
            config, rebind=rebind, lock=partial(OutputLock, command=request.command)
        ) as opened,
        store_errors(opened.output.database),
        # Before anything that takes its time: another rate in the file is an error at once.
        sharing(opened.config.vendor, opened.config.pace, secrets, opened.output.root) as limit,
    ):
        config = opened.config
        tell_recovery(opened, events)
        for killed in opened.killed_runs:
            close_killed(opened, killed)
        if rebind:
            with transaction(opened.db):
                listings.drop_comparison(opened.db)
        # Before there is a run: a mistyped name leaves nothing behind but its message.
        pages = _believed(opened, request)
        files = _find_files(opened.output, config.input, request)
        only = _find_ids(opened.output, request)
        this = _Run(opened, config, request, events, began, metrics, limit, pages)
        listing = this.list_ids(files, only)
        return this.close(listing, this.fetch(listing, secrets, stop, trace))


class _Run:
    """One run of an output that is held."""

    def __init__(  # noqa: PLR0917 - the parts of a run
        self,
        opened: Opened,
        config: Config,
        request: Request,
        events: Events,
        began: tuple[float, float],
        metrics: MetricsFile,
        limit: LimitFile | None,
        pages: Believed | None,
    ) -> None:
        """`began`: Unix and monotonic time at which the command was given."""
        self._pages = pages
        self._limit = limit
        self._opened = opened
        self._config = config
        self._request = request
        self._events = events
        self._metrics = metrics
        started, self._monotonic = began
        self._started_ms = int(started * 1000)
        self._id = new_run_id(started)
        self._dir = _make_run_dir(opened, self._id)
        self._in_place = InPlace(opened.output)
        self._in_place.note_run(self._dir)
        events.message("info", "run_started", run_id=self._id, folder=str(self._dir))
        self._last_success_ms = run_records.last_success_ms(opened.db)
        self._note_new_ids()
        self._metrics.write(self._figures())

    def list_ids(
        self, files: Sequence[IdFile] | None, only: Sequence[IdFile] | None = None
    ) -> Listing:
        """Make or find the work list.  Raises SourceError before anything is asked.

        `only`: where ids are fetched again, those of these files alone.
        """
        db, output = self._opened.db, self._opened.output
        request, config = self._request, self._config
        self._list_taken()
        if isinstance(request, RefetchRequest):
            if request.what == "dead":
                return list_retry(db, output, config.input, config.plan, request.reason, self._dir)
            return self._list_again(request, only)
        listing = list_input(db, output, config.input, config.plan, files, self._dir)
        if files is not None and listing.input is not None:
            tell_input(
                listing.input,
                self._events,
                sources=request.sources or self._config.input.paths,
                last_new_ids_ms=self._last_new_ids_ms,
                is_new=listing.result is not None,
            )
            if listing.input.bad:
                runs, bad = self._opened.output.runs, listing.input.bad
                tell_bad_lines(db, runs, self._id, bad, self._events)
        self._note_new_ids()
        return listing

    def _list_again(self, request: RefetchRequest, only: Sequence[IdFile] | None) -> Listing:
        opened, config = self._opened, self._config
        db, output = opened.db, opened.output
        ids_key = "" if only is None else fingerprint(only, config.input.column, {}).key
        files = None if only is None else tuple(only)
        selection = selection_of(
            db, output, opened.kind, request, files, self._started_ms, self._id
        )
        listing = list_again(
            db, output, config.input, config.plan, selection, key_of(request, ids_key), self._dir
        )
        if listing.result is not None:
            tell_chosen(listing.result, request.what, self._events)
        return listing

    def _list_taken(self) -> None:
        """Where pages turned out not to be believed, have fetched again what came by them: in a run
        that was stopped, or killed, before it could see to that itself.
        """
        opened, config = self._opened, self._config
        db = opened.db
        if not listings.is_taken_doubted(db):
            return
        # The list is made of what is published.
        publisher = Publisher(
            InlineLedger(db, opened.output.database),
            opened.output,
            config.output,
            config.vendor.account,
            opened.state_id,
            identity=opened.identity,
            kind=opened.kind,
        )
        while publisher.publish() is not None:
            pass
        if listings.count_taken(db):
            list_taken(db, opened.output, opened.kind, config.input, config.plan, self._dir)
        else:
            listings.forget_taken(db)

    def fetch(
        self, listing: Listing, secrets: Secrets, stop: StopSource, trace: Trace | None
    ) -> EngineResult:
        """Work the list down.  Raises StoreError."""
        opened, config = self._opened, self._config
        job = self._job(listing, secrets, trace)
        rows = listing.work_list.rows if listing.work_list else 0
        # Before this run is among the last ones itself.
        self._planned = estimate(opened.db, config.pace, config.output, job.to_fetch, rows)
        run_records.begin_run(opened.db, self._id, self._started_ms)
        if listing.work_list is not None:
            self._in_place.note_state(listing.work_list.path, listing.work_list.ids_path)
        ledger = LedgerWriter(opened.db, opened.output.database)
        publisher = Publisher(
            ledger,
            opened.output,
            config.output,
            config.vendor.account,
            opened.state_id,
            aside=NormalizerAside,
            identity=opened.identity,
            kind=opened.kind,
        )
        try:
            with asyncio.Runner() as runner:
                telling = (self._tell_status, self._tell_metrics)
                return runner.run(_drive(job, ledger, publisher, self._events, stop, telling))
        except StoreError as exc:
            # What can't be written where nothing is any more is told by what is gone.
            raise (self._in_place.trouble() or exc) from exc
        finally:
            ledger.close()
            if job.ids is not None:
                job.ids.close()

    def close(self, listing: Listing, done: EngineResult) -> Result:
        """Draw up the books, write summary and snapshot, end the run.

        Raises StoreError where the output is not in its place any more: the run stays open, for
        the next start to close.
        """
        db, output, config = self._opened.db, self._opened.output, self._config
        self._refuse_moved()
        work_list = work_lists.current_list(db)
        # Read again: what was dated before the first answer goes by the vendor's clock now.
        record = run_records.run_record(db, self._id)
        input_ = work_lists.find_input(db, listing.input.key) if listing.input else None
        self._started_ms = record.started_ms
        self._note_new_ids()
        now_ms = record.started_ms + int((time.monotonic() - self._monotonic) * 1000)
        ended = replace(
            record, ended_ms=now_ms, exit_code=EXIT_DONE, counters=done.counters.stored()
        )
        data, differences = check_control_totals(
            db, output, config.vendor.account, ended, record=input_, work_list=work_list
        )
        newly_dead = unresolved.unreported_deaths(db)
        is_again = ended.again or self._is_again
        ordered = work_lists.refetched_for(db, Ordered) if is_again else None
        refetch = refetch_totals(db, ended, work_list, ordered)
        found_code, found = exceeded(self._request, compared_for(db, ordered))
        taken = listings.count_doubted(db)
        error = self._unbalanced(differences) or done.reason or _of_taken(taken)
        unreported = tell_oddities(db, self._events, done.counters.odd_hangups)
        odd = unreported.odd
        is_found = newly_dead + bool(found_code)
        # A call that is open, and could not be had, is on no list.
        pending = _pending(db, work_list, self._request) or ended.deferred
        code = _exit_code(error, pending, is_found)
        ended = replace(ended, exit_code=code)
        end_code, message = END_CODES.get(code, ""), ""
        if found_code and code == EXIT_SOME_DEAD:
            end_code, message = found_code, found
        summary = make_summary(
            ended,
            account=config.vendor.account,
            code=error.code if error else end_code,
            message=str(error) if error else message,
            output=output,
            input_=self._input_totals(input_, work_list),
            list_=list_totals(work_list) if work_list else None,
            data=data,
            differences=differences,
            open_unrated=unresolved.count_open_calls(db, now_ms).unrated,
            newly_dead=newly_dead,
            published=done.published,
            throttled=done.figures.throttled,
            outages=done.figures.outages,
            clock_skew_s=done.worst_skew_s,
            ages_held=done.counters.requests > 0 and not done.are_ages_sure,
            planned=self._planned,
            odd=odd,
            unparsed=unreported.unparsed,
            extra=unreported.extra,
            presumed_currency=unreported.presumed,
            refetch=refetch,
            by_pages=pages_totals(ended, done.ahead, taken) if done.ahead else None,
        )
        _write_summary(self._dir, summary)
        if summary.ages_held:
            self._events.message("warning", "ages_held", clock_skew_s=summary.clock_skew_s)
        write_snapshot(db, self._dir / "state.parquet")
        if not (differences or publications.journal_size(db)[0]):
            self._list_taken()
        sent = done.requests_of_day
        run_records.end_run(db, ended.id, now_ms, code, ended.counters, requests_of_day=sent)
        _write_status(output.status, {"state": "ended", "run_id": ended.id, "exit_code": code})
        self._refuse_moved()  # the books took their time
        self._metrics.write(self._figures_at_end(done, now_ms, code, odd, refetch))
        return Result(summary, code, error)

    @property
    def _is_again(self) -> bool:
        """Whether this run was to fetch ids of the data set again."""
        return isinstance(self._request, RefetchRequest) and self._request.what != "dead"

    def _note_new_ids(self) -> None:
        """When new ids last came; of an output that has had no run yet, since now."""
        self._last_new_ids_ms = work_lists.last_new_ids_ms(self._opened.db) or self._started_ms

    def _refuse_moved(self) -> None:
        """Raise StoreError if what was written lies where nobody will read it."""
        moved = self._in_place.trouble()
        if moved is None:
            return
        with suppress(StoreError):
            # Open calls and dead letters, for `rebuild`: this may be all that is left of them.
            write_snapshot(self._opened.db, self._dir / "state.parquet")
        raise moved

    async def _tell_status(self, engine: Engine) -> None:
        while True:
            try:
                await asyncio.to_thread(self._look_and_tell, engine.progress())
            except StoreError as exc:
                engine.stop.stop(exc)
                return
            await asyncio.sleep(_STATUS_EVERY_S)

    def _look_and_tell(self, progress: Progress) -> None:
        """Look whether all is in its place, and write status.json.  Raises StoreError."""
        moved = self._in_place.trouble()
        if moved is not None:
            raise moved
        if self._limit is not None:
            self._limit.refuse_moved()
        status = {"state": "running", "run_id": self._id, "progress": progress}
        _write_status(self._opened.output.status, status)

    async def _tell_metrics(self, engine: Engine) -> None:
        while self._metrics.is_wanted:
            await asyncio.to_thread(self._metrics.write, self._figures_of(engine.result()))
            await asyncio.sleep(EVERY_S)

    def _figures(self) -> RunFigures:
        """The run before it asks anything, as a metrics file tells it."""
        success_ms = self._last_success_ms
        return RunFigures(
            run_id=self._id,
            account=self._config.vendor.account,
            started_s=self._started_ms / 1000,
            last_success_s=None if success_ms is None else success_ms / 1000,
            last_new_ids_s=self._last_new_ids_ms / 1000,
        )

    def _figures_of(self, done: EngineResult) -> RunFigures:
        """The run while it fetches."""
        published = done.published
        return replace(
            self._figures(),
            progress=done.progress,
            cut_off=done.counters.cut_off,
            unrated=done.counters.unrated,
            throttled=done.figures.throttled,
            outages=done.figures.outages,
            workers=done.figures.workers,
            workers_lost=len(done.figures.lost),
            clock_skew_s=round(done.worst_skew_s, 1),
            journal_records=done.journal_records,
            published_records=sum(done.records for done in published),
            published_files=sum(done.files for done in published),
            published_bytes=sum(done.bytes for done in published),
            unparsed=named(sum((done.unparsed for done in published), Counter[str]())),
            unknown_fields=sum(done.extra.total() for done in published),
            without_cost=sum(done.without_cost for done in published),
            by_pages=_pages_figures(done),
        )

    def _figures_at_end(
        self,
        done: EngineResult,
        ended_ms: int,
        code: int,
        odd: Oddities,
        refetch: RefetchTotals | None,
    ) -> RunFigures:
        figures, ended_s = self._figures_of(done), ended_ms / 1000
        success_s = ended_s if code in GOOD_ENDS else figures.last_success_s
        found = id_counts.count_ids(self._opened.db, ended_ms)
        stand = {
            "delivered": found.in_data + found.in_journal,
            "open": found.open,
            "dead": found.dead,
            "pending": found.pending,
            "retrying": found.retrying,
        }
        unrated = {"open": found.open_unrated, "delivered": found.delivered_unrated}
        return replace(
            _with_months(figures, self._opened.db, ended_ms),
            ended_s=ended_s,
            exit_code=code,
            last_success_s=success_s,
            refetched=refetch.outcomes if refetch is not None and refetch.again else {},
            changed_fields=len(odd.changed_fields) + len(odd.new_fields),
            stand=stand,
            stand_unrated=unrated,
        )

    def _job(self, listing: Listing, secrets: Secrets, trace: Trace | None) -> Job:
        config = self._within_open_files()
        db, output, work_list = self._opened.db, self._opened.output, listing.work_list
        limit_s = self._request.max_duration_s
        proof = proof_of(self._config.vendor.base_url, secrets.api_key, self._opened.state_id)
        open_due = id_counts.count_ids(db, self._started_ms).open_due
        to_fetch = open_due + _pending(db, work_list, self._request)
        fetching = self._fetching(config, secrets, trace)
        ids = ListFile(output.lists / work_list.path) if work_list and work_list.rows else None
        return Job(
            run_id=self._id,
            pace=config.pace,
            retry=config.retry,
            open_calls=config.open_calls,
            output=config.output,
            work_list=work_list,
            ids=ids,
            to_fetch=to_fetch,
            only=_is_input_only(self._request),
            deadline=None if limit_s is None else self._monotonic + limit_s,
            requests_by_day=between_runs.requests_by_day(db),
            last_skew_s=between_runs.last_skew_s(db),
            listed=self._listed_now(listing.input),
            journal=publications.journal_size(db),
            proof=proof,
            is_proven=between_runs.is_proven(db, proof),
            newest=partial(newest_delivered, output=output),
            workers=_workers(config, fetching, to_fetch),
            ahead=self._ahead(fetching, work_list, ids),
            processes=1 + config.workers.count,
        )

    def _fetching(self, config: Config, secrets: Secrets, trace: Trace | None) -> Fetching:
        fetching = Fetching(
            vendor=config.vendor,
            pace=config.pace,
            retry=config.retry,
            secrets=secrets,
            connect=way_to(config.vendor),
            locked_at=self._opened.locked_at,
            limit=self._limit,
            trace=trace,
        )
        # The run before may have left workers that live for as long as their lease.
        count = config.workers.count
        had_workers = between_runs.had_workers(self._opened.db, count > 0)
        return (
            replace(fetching, quiet_s=QUIET_AFTER_WORKERS_S) if count or had_workers else fetching
        )

    def _ahead(
        self, fetching: Fetching, work_list: WorkList | None, ids: ListFile | None
    ) -> MakeAhead | None:
        """Who fetches by pages, if that is wished."""
        if self._pages is None or work_list is None or ids is None:
            return None
        from harvester.pipeline.by_pages.way import Order, by_pages  # as in `_believed`

        is_only = _is_input_only(self._request)
        rows = work_list.listed + work_list.retried if is_only else work_list.rows
        return by_pages(
            Order(
                fetching=fetching,
                pages=self._pages.pages,
                kind=self._opened.kind,
                work_list=work_list,
                ids=ids,
                rows=rows,
                filter=self._pages.filter,
                codes=self._pages.codes,
                now_s=self._pages.now_s,
            )
        )

    def _listed_now(self, input_: InputRecord | None) -> tuple[str, int] | None:
        """The input, if this run was the first to list it, and when, by our clock."""
        now_ms = time.time_ns() // 1_000_000
        if input_ is None or not self._started_ms <= input_.first_listed_ms <= now_ms:
            return None
        return input_.key, input_.first_listed_ms

    def _within_open_files(self) -> Config:
        """The configuration, with no more connections than there may be open files for."""
        wanted = self._config.pace.concurrency
        room = room_for(wanted)
        if room < wanted:
            self._events.message("warning", "concurrency_lowered", wanted=wanted, room=room)
        return replace(self._config, pace=replace(self._config.pace, concurrency=room))

    def _input_totals(
        self, record: InputRecord | None, work_list: WorkList | None
    ) -> InputTotals | None:
        """The input's books, with how many of its ids died since it was first listed."""
        if record is None:
            return None
        if work_list is None or work_list.ids_path is None:
            return input_totals(record, 0)
        died = unresolved.died_since(self._opened.db, record.first_listed_ms)
        ours = members(self._opened.output.lists / work_list.ids_path, died)
        return input_totals(record, len(ours))

    def _unbalanced(self, differences: list[Difference]) -> StoreError | None:
        if not differences:
            return None
        first = differences[0]
        return StoreError(
            f"the control totals do not balance ({first.control_totals}): {first.left}, but "
            f"{first.right}. Nothing was thrown away: keep {self._opened.output.root} as it is, "
            f"and report {self._dir / 'summary.json'}.",
            code="control_totals.differ",
        )


async def _drive(  # noqa: PLR0917 - the parts of one call
    job: Job,
    ledger: LedgerWriter,
    publisher: Publisher,
    events: Events,
    stop: StopSource,
    telling: Iterable[Callable[[Engine], Coroutine[None, None, None]]],
) -> EngineResult:
    engine = Engine(job, ledger, publisher)
    told: set[str] = set()
    with stop.watched() as asked_to_stop:
        _stop_if_asked(engine, events, told, asked_to_stop)
        tellers = [
            asyncio.create_task(_tell_progress(engine, events, told, asked_to_stop)),
            *(asyncio.create_task(tell(engine)) for tell in telling),
        ]
        try:
            await engine.run()
        finally:
            for teller in tellers:
                teller.cancel()
            await asyncio.gather(*tellers, return_exceptions=True)
            _stop_if_asked(engine, events, told, asked_to_stop)
            events.progress(engine.progress())
            tell_failures(engine.failures, events, told)
            tell_lost(engine.lost_workers, events, told)
            tell_pages(engine.ahead, engine.counters, events, told)
    return engine.result()


def _stop_if_asked(
    engine: Engine, events: Events, told: set[str], asked_to_stop: StopCheck
) -> None:
    """Have it stop once somebody asks for that; said once."""
    if _STOPPING in told or (reason := asked_to_stop()) is None:
        return
    told.add(_STOPPING)
    name = "SIGTERM" if isinstance(reason, Terminated) else "SIGINT"
    events.message("warning", "stopping", signal=name)
    engine.stop.stop(reason)


_STOPPING = "stopping"
"""Among what was said, where causes of failures stand as well: none is called so."""


async def _tell_progress(
    engine: Engine, events: Events, told: set[str], asked_to_stop: StopCheck
) -> None:
    """Say how it is going, and have it stop once somebody asks for that."""
    while True:
        events.progress(engine.progress())
        tell_failures(engine.failures, events, told)
        tell_lost(engine.lost_workers, events, told)
        tell_pages(engine.ahead, engine.counters, events, told)
        await asyncio.sleep(_PROGRESS_EVERY_S)
        _stop_if_asked(engine, events, told, asked_to_stop)


def _workers(config: Config, fetching: Fetching, to_fetch: int) -> MakeWorkers:
    """Who fetches: this process, and those beside it that the configuration wants."""
    if not config.workers.count:
        return local_workers(fetching)
    # Who has no workers need not wait for the import.
    from harvester.pipeline.workers.engines import with_workers

    return with_workers(fetching, config.workers, to_fetch)


def _believed(opened: Opened, request: Request) -> Believed | None:
    """What is known of the vendor's list, if the request is to go by its pages.

    Raises UsageError where it may not.
    """
    pages = request.by_pages
    if pages is None:
        return None
    # Who fetches no pages need not wait for the import.
    from harvester.pipeline.by_pages.believed import believed, days_between

    now_ms = time.time_ns() // 1_000_000
    if isinstance(request, RefetchRequest) and request.column == "submit_time":
        days = days_between(request.since_ms, request.until_ms, now_ms)
        if days is not None:
            pages = replace(pages, first=days[0], last=days[1])
    vendor = opened.config.vendor
    proof = proof_of(vendor.base_url, vendor.account, opened.state_id)
    return believed(opened.db, opened.kind, pages, proof, now_ms)


def _pages_figures(done: EngineResult) -> PagesFigures | None:
    if done.ahead is None:
        return None
    counters = done.counters
    return PagesFigures(
        ids=counters.by_pages,
        requests=counters.page_requests,
        sampled=counters.sampled,
        differs=done.ahead.difference is not None,
    )


def _of_taken(taken: int) -> ListIncomplete | None:
    """What is left to do where records came by pages that are not believed any more."""
    if not taken:
        return None
    return ListIncomplete(
        f"{taken} records came by pages before one of these turned out to differ from the answer "
        "about its id alone. They are fetched again, one by one, by `harvester run "
        "--carried-over-only`; what differs goes into changes/.",
        code="listing.taken",
    )


def _exit_code(error: HarvesterError | None, pending: int, dead: int) -> int:
    codes = [EXIT_DONE]
    if error is not None:
        codes.append(error.exit_code)
    if pending:
        codes.append(EXIT_PENDING)
    if dead:
        codes.append(EXIT_SOME_DEAD)
    return worst(codes)


def _is_input_only(request: Request) -> bool:
    return isinstance(request, RunRequest) and request.input_only


def _with_months(figures: RunFigures, db: sqlite3.Connection, now_ms: int) -> RunFigures:
    """With what `reconcile` counted last of this month and the one before."""
    months = id_counts.billing_months(
        id_counts.billing_days(db), between_runs.latest_ms(db, now_ms)
    )
    if not months:
        return figures
    counted = [one.counted_ms for one in months if one.counted_ms is not None]
    of_calls = [name for name in id_counts.COUNTS if name != "listed"]
    return replace(
        figures,
        billing_days={
            "over": sum(one.days for one in months),
            "listed": sum(one.days_listed for one in months),
            "complete": sum(one.days_complete for one in months),
        },
        billing_calls={
            name: sum(getattr(one, name) for one in months) for name in of_calls if counted
        },
        reconciled_s=min(counted) / 1000 if counted else None,
    )


def _pending(db: sqlite3.Connection, work_list: WorkList | None, request: Request) -> int:
    """Ids of the run's scope that are still pending."""
    if work_list is None:
        return 0
    if not _is_input_only(request):
        return work_list.pending
    # Ids left over from earlier inputs don't count with --input-only.
    return work_lists.pending_of_input(db, work_list)


def close_killed(opened: Opened, run: RunRecord) -> None:
    """The books of a run that never ended, from its last acknowledgement."""
    data, differences = check_control_totals(
        opened.db, opened.output, opened.config.vendor.account, run, record=None, work_list=None
    )
    summary = make_summary(
        run,
        account=opened.config.vendor.account,
        code=KILLED,
        message="the run was killed; the next one wrote its control totals",
        output=opened.output,
        input_=None,
        list_=None,
        data=data,
        differences=differences,
        refetch=refetch_totals(opened.db, run, None, None),
    )
    _write_summary(_make_run_dir(opened, run.id), summary)


def _find_files(output: Output, settings: Input, request: Request) -> list[IdFile] | None:
    """The files of the input; None where none is to be read."""
    if isinstance(request, RefetchRequest) or request.carried_over_only:
        return None
    sources = request.sources or settings.paths
    if not sources:
        return None
    spool = output.staging
    return find(sources, spool=spool, allow_empty=settings.allow_empty)


def _find_ids(output: Output, request: Request) -> list[IdFile] | None:
    """The files of the ids to be fetched again; None where they don't matter."""
    if not isinstance(request, RefetchRequest) or not request.ids:
        return None
    return find(request.ids, spool=output.staging)


def _make_run_dir(opened: Opened, run_id: str) -> Path:
    run_dir = opened.output.run(run_id)
    try:
        run_dir.mkdir(mode=PRIVATE, exist_ok=True)
    except OSError as exc:
        raise StoreError(
            f"{run_dir} can't be made: {exc.strerror}. Free some space.", code=disk_code(exc)
        ) from exc
    return run_dir


def _write_summary(run_dir: Path, summary: Summary) -> None:
    text = msgspec.json.format(msgspec.json.encode(summary), indent=2)
    write_atomically(run_dir / "summary.json", text + b"\n")


def _write_status(path: Path, status: dict[str, object]) -> None:
    """status.json: for whoever asks while the lock is held."""
    now = instant(time.time_ns() // 1_000_000)
    write_atomically(path, msgspec.json.encode({"pid": os.getpid(), "at": now, **status}))
