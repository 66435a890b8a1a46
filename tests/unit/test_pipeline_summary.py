"""A run's summary: all that the run counted and saw stands in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from harvester.pipeline.publish.oddities import Oddities
from harvester.pipeline.publish.publisher import Published
from harvester.pipeline.run.estimate import Estimate
from harvester.pipeline.run.summary import DataTotals, PlanTotals, Summary, instant, make_summary
from harvester.state.values import RunRecord
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


def summary_of(**more: object) -> Summary:
    return make_summary(
        RUN,
        account="acme",
        code="found.dead",
        message="",
        output=Output(Path("/out")),
        input_=None,
        list_=None,
        data=DATA,
        differences=[],
        **more,  # type: ignore[arg-type]
    )


def test_what_a_run_published_is_summed_up() -> None:
    odd = {"unparsed": Counter(callDuration=1, cost=2), "extra": {"novelty": 2}}
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
