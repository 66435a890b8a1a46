"""A run's summary: all that the run counted and saw stands in it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from harvester.pipeline.engine.workers import AheadFigures, Differing
from harvester.pipeline.publish.oddities import Oddities
from harvester.pipeline.publish.publisher import Published
from harvester.pipeline.run.control_totals import Difference
from harvester.pipeline.run.estimate import Estimate
from harvester.pipeline.run.summary import (
    DataTotals,
    InputTotals,
    ListTotals,
    PagesTotals,
    PlanTotals,
    RunTotals,
    Summary,
    check_control_totals,
    input_totals,
    instant,
    list_totals,
    make_summary,
    pages_totals,
    run_totals,
)
from harvester.state.database import open_database
from harvester.state.values import Compared, InputRecord, Note, RunRecord, WorkList
from harvester.storage.output import Output

RUN = RunRecord(
    "20261101T000000Z-00000a",
    1_793_491_200_000,
    1_793_491_201_540,
    3,
    7,
    {"begun": 21, "delivered": 21, "requests": 99, "retry.reset": 4, "retry.timeout": 3},
)
DATA = DataTotals(
    rows=21, rows_in_journal=0, call_duration_s=0, charged_duration_s=0, cost={"USD": "1.5"}
)
PUBLISHED = [
    Published(20, 2, 1_000, 9_000, Counter(cost=1), Counter(novelty=2), 1, 5),
    Published(1, 1, 30, 90, Counter(cost=1, callDuration=1), Counter(), 0, 1),
]


def summary_of(run: RunRecord = RUN, **more: Any) -> Summary:
    return make_summary(
        run,
        account="acme",
        code="found.dead",
        message="",
        output=Output(Path("/out")),
        input_=None,
        list_=None,
        data=DATA,
        differences=[],
        **more,
    )


def test_what_a_run_published_is_summed_up() -> None:
    odd: Any = {"unparsed": Counter(callDuration=1, cost=2), "extra": {"novelty": 2}}
    found = summary_of(published=iter(PUBLISHED), presumed_currency=6, **odd)
    assert (found.published_files, found.published_bytes) == (3, 1_030)
    assert list(found.unparsed.items()) == [("cost", 2), ("callDuration", 1)]
    assert found.extra == {"novelty": 2}
    assert found.presumed_currency == 6


def test_what_a_run_saw_of_the_vendor_stands_in_its_summary() -> None:
    odd = Oddities(odd_hangups=3)
    found = summary_of(
        newly_dead=2, throttled=5, outages=4, clock_skew_s=-61.26, ages_held=True, odd=odd
    )
    assert (found.newly_dead, found.throttled, found.outages) == (2, 5, 4)
    assert (found.clock_skew_s, found.ages_held, found.odd) == (-61.3, True, odd)
    assert (found.requests, found.retries) == (99, {"reset": 4, "timeout": 3})
    assert (found.exit_code, found.code, found.first_publication) == (3, "found.dead", 7)
    assert found.started_at == "2026-11-01T00:00:00.000+00:00"
    assert found.ended_at == instant(RUN.started_ms + 1_540) == "2026-11-01T00:00:01.540+00:00"


def test_a_summary_holds_the_books_as_they_were_drawn_up() -> None:
    record = InputRecord("key", 1, 2, 3, 4, 5, 6, RUN.started_ms, 8)
    books = input_totals(record, 7)
    listed = list_totals(WorkList(1, "key", "list", "ids", 100, 20, 3, 4, 5, 6, 70, 8))
    difference = Difference("data", "rows = 1", "rows = 2")
    found = make_summary(
        RUN,
        account="acme",
        code="control_totals.differ",
        message="they differ",
        output=Output(Path("/out")),
        input_=books,
        list_=listed,
        data=DATA,
        differences=[difference],
        open_unrated=9,
    )
    assert (found.input, found.work_list, found.data) == (books, listed, DATA)
    assert (found.differences, found.open_unrated) == ([difference], 9)
    assert (found.code, found.message) == ("control_totals.differ", "they differ")
    assert (found.run_id, found.account, found.output) == (RUN.id, "acme", "/out")
    assert found.run == run_totals(RUN)
    assert (found.refetch, found.by_pages, found.ages_held) == (None, None, False)


def test_a_run_that_saw_nothing_of_the_kind_says_so() -> None:
    found = summary_of()
    assert not any(
        [found.newly_dead, found.throttled, found.outages, found.clock_skew_s, found.ages_held]
    )
    assert not any([found.published_files, found.published_bytes, found.unparsed, found.extra])
    assert found.odd == Oddities()
    assert found.plan is None


def test_the_plan_stands_beside_what_became_of_it() -> None:
    planned = Estimate(
        to_fetch=25,
        requests=30,
        retry_share=1.2,
        seconds=0.6666,
        data_bytes=2_000,
        working_bytes=3_000,
    )
    assert summary_of(planned=planned, published=PUBLISHED).plan == PlanTotals(
        to_fetch=25,
        fetched=21,
        requests_planned=30,
        requests_sent=99,
        seconds_planned=0.7,
        seconds_taken=1.5,
        bytes_planned=2_000,
        bytes_written=1_030,
    )


def test_a_plan_counts_ids_that_were_fetched_again_as_fetched() -> None:
    planned = Estimate(
        to_fetch=25, requests=30, retry_share=1.2, seconds=1, data_bytes=0, working_bytes=0
    )
    run = replace(RUN, counters={"begun": 3, "again": 4})
    found = summary_of(run=run, planned=planned)
    assert found.plan is not None
    assert found.plan.fetched == 7


def test_the_totals_of_an_input_and_of_a_list_are_told_as_they_are_kept() -> None:
    record = InputRecord("key", 1, 2, 3, 4, 5, 6, RUN.started_ms, 8)
    assert input_totals(record, 7) == InputTotals(
        lines=1,
        bad=2,
        duplicate=3,
        distinct=4,
        resolved_before=5,
        listed=6,
        first_listed_at="2026-11-01T00:00:00.000+00:00",
        dead_since_first_listed=7,
        too_young=8,
    )
    work_list = WorkList(1, "key", "list", "ids", 100, 20, 3, 4, 5, 6, 70, 8)
    found = list_totals(work_list)
    assert found == ListTotals(
        listed=100,
        retried=20,
        carried_over=3,
        delivered=4,
        open=5,
        dead=6,
        pending=170,
        again=70,
        refetched=8,
    )
    settled = found.delivered + found.open + found.dead + found.refetched
    assert found.listed + found.retried + found.carried_over + found.again == settled + 170


def test_the_totals_of_a_run_are_its_counters() -> None:
    names = ("begun", "delivered", "open", "dead", "deferred", "cut_off", "opens_published")
    counters = {name: at for at, name in enumerate((*names, "unrated"), 1)}
    assert run_totals(replace(RUN, counters=counters)) == RunTotals(
        attempted=1,
        delivered=2,
        open=3,
        dead=4,
        deferred=5,
        cut_off=6,
        opens_published=7,
        unrated=8,
    )


def test_what_came_by_pages_is_counted_by_the_run_and_by_those_who_read_them() -> None:
    figures = AheadFigures(
        workers=cast("Any", None),
        windows=4,
        unsettled=5,
        seed=6,
        difference=Differing("id", ("cost",)),
        refused="",
        is_over=True,
    )
    counters = {"by_pages": 1, "page_requests": 2, "sampled": 3}
    assert pages_totals(replace(RUN, counters=counters), figures, 7) == PagesTotals(
        records=1,
        requests=2,
        sampled=3,
        seed=6,
        windows=4,
        unsettled=5,
        difference=Differing("id", ("cost",)),
        fetched_again=7,
    )
    nothing = pages_totals(replace(RUN, counters={}), figures, 0)
    assert (nothing.records, nothing.requests, nothing.sampled) == (0, 0, 0)


# --- the control totals, against a state and a data set of nothing --------------------------------


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as made:
        yield made


BALANCED = {"begun": 15, "open": 2, "dead": 3, "deferred": 4, "cut_off": 6}


def differing(
    db: sqlite3.Connection,
    run: RunRecord,
    record: InputRecord | None = None,
    work_list: WorkList | None = None,
) -> list[str]:
    """The control totals of a run that do not balance."""
    output = Output(Path("/nowhere"))
    _, found = check_control_totals(db, output, "acme", run, record=record, work_list=work_list)
    return [one.control_totals for one in found]


def test_the_totals_of_a_run_must_balance_once_it_has_ended(db: sqlite3.Connection) -> None:
    run = replace(RUN, counters=BALANCED)
    assert differing(db, run) == []
    for name, count in BALANCED.items():
        odd = replace(RUN, counters=BALANCED | {name: count + 1})
        assert differing(db, odd) == ["run"]
        # One that was killed could not say what became of all that it had begun.
        assert differing(db, replace(odd, exit_code=None)) == []


def test_rows_that_a_run_has_counted_must_be_there(db: sqlite3.Connection) -> None:
    assert differing(db, replace(RUN, counters={"begun": 1, "delivered": 1})) == ["data"]
    assert differing(db, replace(RUN, counters={"opens_published": 1})) == ["data"]


@pytest.mark.parametrize("at", range(1, 8))
def test_the_totals_of_an_input_must_balance(db: sqlite3.Connection, at: int) -> None:
    run = replace(RUN, counters=BALANCED)
    books = ["key", 10, 1, 2, 7, 2, 4, 0, 1]
    assert differing(db, run, InputRecord(*books)) == []  # type: ignore[arg-type]
    books[at if at < 7 else 8] = 100
    assert "input" in differing(db, run, InputRecord(*books))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["delivered", "open", "dead", "refetched"])
def test_an_id_of_a_list_with_an_outcome_must_have_its_bit(
    db: sqlite3.Connection, name: str
) -> None:
    run = replace(RUN, counters=BALANCED)
    work_list = WorkList(1, None, "list", None, 5, 0, 0, again=2)
    assert differing(db, run, work_list=work_list) == []
    assert differing(db, run, work_list=replace(work_list, **{name: 1})) == ["list"]


def test_ids_that_were_fetched_again_must_have_an_outcome_each(db: sqlite3.Connection) -> None:
    compared = Compared(same=1, changed=2, extra_only=4, missing=8)
    note = msgspec.json.encode(Note(compared={RUN.id: compared})).decode()
    db.execute(
        "INSERT INTO publication (id, lo, hi, state, kind, note) "
        "VALUES (7, 1, 0, 'live', 'change', ?)",
        (note,),
    )
    db.execute(
        "INSERT INTO journal (run, n, bytes, body, kind) VALUES (?, 16, 1, x'00', 'again')",
        (RUN.id,),
    )
    counters = {"again": 127, "forgotten": 32, "failed": 64}
    assert differing(db, replace(RUN, counters=counters)) == []
    for name, count in counters.items():
        odd = replace(RUN, counters=counters | {name: count + 1})
        assert differing(db, odd) == ["again"]


def test_costs_are_told_as_decimals_by_currency(db: sqlite3.Connection) -> None:
    counters = {"usage.call_duration_s": 5, "usage.charged_duration_s": 6}
    counters |= {"usage.cost.USD": 150_000_000, "usage.cost.EUR": 1}
    data, found = check_control_totals(
        db,
        Output(Path("/nowhere")),
        "acme",
        replace(RUN, counters=counters),
        record=None,
        work_list=None,
    )
    assert (data.rows, data.rows_in_journal) == (0, 0)
    assert (data.call_duration_s, data.charged_duration_s) == (5, 6)
    assert list(data.cost.items()) == [("EUR", "0.00000001"), ("USD", "1.50000000")]
    assert {one.control_totals for one in found} == {"data"}
