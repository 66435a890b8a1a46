"""summary.json: what a run did, and whether its control totals balance."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from harvester.dataset.files import totals, totals_of
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.usage import UsageTotals, from_counters
from harvester.errors import EXIT_DONE, EXIT_PENDING, EXIT_SOME_DEAD
from harvester.money import of_units
from harvester.pipeline.engine.progress import retries
from harvester.pipeline.engine.workers import AheadFigures, Differing
from harvester.pipeline.publish.oddities import Oddities, named
from harvester.pipeline.publish.publisher import Published
from harvester.pipeline.run.control_totals import (
    Difference,
    check_again,
    check_data,
    check_input,
    check_list,
    check_run,
)
from harvester.pipeline.run.estimate import Estimate
from harvester.pipeline.run.refetch import RefetchTotals, compared_by
from harvester.state import journal, publications, work_lists
from harvester.state.values import InputRecord, RunRecord, WorkList
from harvester.storage.output import Output
from harvester.version import __version__

VERSION = 2
"""Of summary.json.  Version 1 had other names for some fields: docs/schema.md."""


class InputTotals(msgspec.Struct, frozen=True, kw_only=True):
    """lines = bad + duplicate + distinct; distinct = resolved_before + listed + too_young."""

    lines: int
    bad: int
    duplicate: int
    distinct: int
    resolved_before: int
    listed: int
    first_listed_at: str
    dead_since_first_listed: int
    too_young: int = 0
    """Dated within `input.min_age_s`: a later run with the same input lists them."""


class ListTotals(msgspec.Struct, frozen=True, kw_only=True):
    """listed + retried + carried_over + again = delivered + open + dead + refetched + pending."""

    listed: int
    retried: int
    carried_over: int
    delivered: int
    open: int
    dead: int
    pending: int
    again: int = 0
    """Ids whose record is in the data set already (`refetch`)."""
    refetched: int = 0
    """Of those, the ones that have an outcome."""


class RunTotals(msgspec.Struct, frozen=True, kw_only=True):
    """attempted = delivered + open + dead + deferred + cut_off."""

    attempted: int
    delivered: int
    open: int
    dead: int
    deferred: int
    cut_off: int
    opens_published: int
    unrated: int = 0
    """Of the delivered ones: calls that the vendor had not put a price on."""


class DataTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What this run's answers said; the rows read back say the same."""

    rows: int
    rows_in_journal: int
    call_duration_s: int
    charged_duration_s: int
    cost: dict[str, str]
    """Decimal text by currency."""


class PlanTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What the run set out to do, by the last runs' figures, and what became of it."""

    to_fetch: int
    fetched: int
    requests_planned: int
    requests_sent: int
    seconds_planned: float
    """At the full pace and without a budget."""
    seconds_taken: float
    """From the command to its end, the making of the list included."""
    bytes_planned: int
    """Of Parquet."""
    bytes_written: int


class PagesTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What came by pages of the vendor's list; its ids are among all other totals."""

    records: int
    requests: int
    """For pages, and for what was compared with them."""
    sampled: int
    seed: int
    """Of the samples."""
    windows: int
    """That were settled."""
    unsettled: int
    difference: Differing | None = None
    """What ended this way: a record that differs from the answer about its id alone."""
    fetched_again: int = 0
    """Then: records that came by pages before, in this run and in killed ones, which are on the
    work list again."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run.  Fields are only ever added; see `storage.run_summary` for how it is read back."""

    version: int = VERSION
    harvester: str = __version__
    run_id: str
    account: str
    started_at: str
    ended_at: str
    exit_code: int | None
    """None: the run was killed; the next one wrote its control totals."""
    code: str
    """Which trouble ended it, or what it found (`found.dead`); empty where there is none."""
    message: str
    input: InputTotals | None
    work_list: ListTotals | None = msgspec.field(name="list")
    run: RunTotals
    data: DataTotals
    differences: list[Difference]
    requests: int
    retries: dict[str, int]
    throttled: int
    outages: int
    clock_skew_s: float
    ages_held: bool = False
    """A skew of over ten minutes that the run before did not have: no id ended by its age."""
    published_files: int
    published_bytes: int
    unparsed: dict[str, int]
    extra: dict[str, int]
    odd: Oddities
    first_publication: int
    """No publication of an earlier run has this number or a higher one: it says which is newer."""
    output: str
    presumed_currency: int = 0
    """Records that it published of which the vendor named no currency: the dollar was taken."""
    open_unrated: int = 0
    """Open calls of the whole output that were over and waited for their price, at its end."""
    newly_dead: int = 0
    """Dead ids that no run before had reported: above 0 makes exit code 3."""
    plan: PlanTotals | None = None
    """None where the run was killed."""
    refetch: RefetchTotals | None = None
    """None where no id was fetched again, nor is one waiting for that."""
    by_pages: PagesTotals | None = None
    """None where nothing was to be fetched by pages."""


_NONE: Mapping[str, int] = {}
END_CODES = {EXIT_DONE: "", EXIT_SOME_DEAD: "found.dead", EXIT_PENDING: "vendor.deferred"}
"""The `code` of a run that no error ended, by its exit code."""
KILLED = "stopped.killed"
"""The `code` of a run that was killed: whatever ended it, it could not say so."""


def input_totals(record: InputRecord, dead: int) -> InputTotals:
    """The control totals of an input, as of its last listing."""
    return InputTotals(
        lines=record.lines,
        bad=record.bad,
        duplicate=record.duplicate,
        distinct=record.distinct,
        resolved_before=record.resolved_before,
        listed=record.listed,
        first_listed_at=instant(record.first_listed_ms),
        dead_since_first_listed=dead,
        too_young=record.too_young,
    )


def list_totals(work_list: WorkList) -> ListTotals:
    """The control totals of the list in force."""
    return ListTotals(
        listed=work_list.listed,
        retried=work_list.retried,
        carried_over=work_list.carried_over,
        delivered=work_list.delivered,
        open=work_list.open,
        dead=work_list.dead,
        pending=work_list.pending,
        again=work_list.again,
        refetched=work_list.refetched,
    )


def run_totals(run: RunRecord) -> RunTotals:
    """The control totals of a run, from its counters."""
    return RunTotals(
        attempted=run.attempted,
        delivered=run.delivered,
        open=run.open,
        dead=run.dead,
        deferred=run.deferred,
        cut_off=run.cut_off,
        opens_published=run.opens_published,
        unrated=run.unrated,
    )


def pages_totals(run: RunRecord, found: AheadFigures, taken: int) -> PagesTotals:
    """What came by pages; `taken`: of what is not believed any more."""
    return PagesTotals(
        records=run.counters.get("by_pages", 0),
        requests=run.counters.get("page_requests", 0),
        sampled=run.counters.get("sampled", 0),
        seed=found.seed,
        windows=found.windows,
        unsettled=found.unsettled,
        difference=found.difference,
        fetched_again=taken,
    )


def check_control_totals(
    db: sqlite3.Connection,
    output: Output,
    account: str,
    run: RunRecord,
    *,
    record: InputRecord | None,
    work_list: WorkList | None,
) -> tuple[DataTotals, list[Difference]]:
    """Read this run's rows back and compare all control totals.  `run` has the final counters."""
    books = run_totals(run)
    answered = from_counters(run.counters, run.rows)
    journaled = _journaled(db, account, run.id)
    parts = publications.current_parts(db, output.place_of, run.first_publication)
    files = [output.cdr / part.path for part in parts]
    data = totals(files, run.id, GROUP_RECORD) + journaled
    found: list[Difference] = []
    if record is not None:
        found += check_input(
            lines=record.lines,
            bad=record.bad,
            duplicate=record.duplicate,
            distinct=record.distinct,
            resolved_before=record.resolved_before,
            listed=record.listed,
            too_young=record.too_young,
        )
    if work_list is not None:
        found += check_list(
            rows=work_list.rows,
            delivered=work_list.delivered,
            open_=work_list.open,
            dead=work_list.dead,
            refetched=work_list.refetched,
            resolved_bits=work_lists.resolved_count(
                work_list, work_lists.resolved_rows(db, work_list)
            ),
        )
    if run.exit_code is not None:
        found += check_run(
            begun=books.attempted,
            delivered=books.delivered,
            open_=books.open,
            dead=books.dead,
            deferred=books.deferred,
            cut_off=books.cut_off,
        )
    if run.again:
        compared = compared_by(db, run)
        found += check_again(
            again=run.again,
            compared=compared.same + compared.changed + compared.extra_only + compared.missing,
            forgotten=run.forgotten,
            failed=run.failed,
            in_journal=sum(one.records for one in publications.journal_blobs(db, run.id, "again")),
        )
    found += check_data(answered, data)
    return _data_totals(answered, journaled.rows), found


def make_summary(
    run: RunRecord,
    *,
    account: str,
    code: str,
    message: str,
    output: Output,
    input_: InputTotals | None,
    list_: ListTotals | None,
    data: DataTotals,
    differences: list[Difference],
    open_unrated: int = 0,
    newly_dead: int = 0,
    published: Iterable[Published] = (),
    throttled: int = 0,
    outages: int = 0,
    clock_skew_s: float = 0.0,
    ages_held: bool = False,
    planned: Estimate | None = None,
    odd: Oddities | None = None,
    unparsed: Mapping[str, int] = _NONE,
    extra: Mapping[str, int] = _NONE,
    presumed_currency: int = 0,
    refetch: RefetchTotals | None = None,
    by_pages: PagesTotals | None = None,
) -> Summary:
    """Put a summary together."""
    assert run.ended_ms is not None
    published = list(published)
    published_bytes = sum(p.bytes for p in published)
    return Summary(
        run_id=run.id,
        account=account,
        started_at=instant(run.started_ms),
        ended_at=instant(run.ended_ms),
        exit_code=run.exit_code,
        code=code,
        message=message,
        input=input_,
        work_list=list_,
        run=run_totals(run),
        data=data,
        differences=differences,
        requests=run.requests,
        retries=retries(run.counters),
        throttled=throttled,
        outages=outages,
        clock_skew_s=round(clock_skew_s, 1),
        ages_held=ages_held,
        published_files=sum(p.files for p in published),
        published_bytes=published_bytes,
        unparsed=named(unparsed),
        extra=named(extra),
        odd=odd or Oddities(),
        presumed_currency=presumed_currency,
        first_publication=run.first_publication,
        output=str(output.root),
        open_unrated=open_unrated,
        newly_dead=newly_dead,
        refetch=refetch,
        by_pages=by_pages,
        plan=_plan_totals(planned, run, run.ended_ms - run.started_ms, published_bytes)
        if planned
        else None,
    )


def instant(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 text, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _plan_totals(
    planned: Estimate, run: RunRecord, took_ms: int, published_bytes: int
) -> PlanTotals:
    return PlanTotals(
        to_fetch=planned.to_fetch,
        fetched=run.attempted + run.again,
        requests_planned=planned.requests,
        requests_sent=run.requests,
        seconds_planned=round(planned.seconds, 1),
        seconds_taken=round(took_ms / 1000, 1),
        bytes_planned=planned.data_bytes,
        bytes_written=published_bytes,
    )


def _journaled(db: sqlite3.Connection, account: str, run_id: str) -> UsageTotals:
    """The totals of this run's answers that aren't published yet."""
    total = UsageTotals()
    for row in publications.journal_blobs(db, run_id, "new"):
        total += totals_of(
            normalize(journal.answers_of(row), account, GROUP_RECORD).table, run_id, GROUP_RECORD
        )
    return total


def _data_totals(answered: UsageTotals, in_journal: int) -> DataTotals:
    return DataTotals(
        rows=answered.rows,
        rows_in_journal=in_journal,
        call_duration_s=answered.call_duration_s,
        charged_duration_s=answered.charged_duration_s,
        cost={
            currency: f"{of_units(amount):f}" for currency, amount in sorted(answered.cost.items())
        },
    )
