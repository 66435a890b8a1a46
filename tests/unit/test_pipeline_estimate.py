"""What budgets leave of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.config import Config, Output, Pace
from harvester.pipeline.run.estimate import Budget, Estimate, budget, estimate
from harvester.state import publications, run_records
from harvester.state.database import open_database
from harvester.state.values import PartRecord


def whole(to_fetch: int, share: float = 1.0) -> Estimate:
    return Estimate(
        to_fetch=to_fetch,
        requests=round(to_fetch * share),
        retry_share=share,
        seconds=to_fetch * share / 50,
        data_bytes=0,
        working_bytes=0,
    )


def allowed(
    plan: Estimate, per_day: int | None = None, limit_s: float | None = None, sent: int = 0
) -> Budget:
    return budget(plan, rate_per_s=50, per_day=per_day, sent_today=sent, max_duration_s=limit_s)


def test_without_a_budget_one_run_does_it() -> None:
    found = allowed(whole(1_000))
    assert (found.requests, found.left_after, found.runs, found.seconds) == (1_000, 0, 1, 20)


@pytest.mark.parametrize(
    ("per_day", "limit_s", "sent", "requests", "left", "runs"),
    [
        (400, None, 0, 400, 600, 3),
        (400, None, 300, 100, 900, 4),
        (400, None, 500, 0, 1_000, 4),
        (1_000, None, 0, 1_000, 0, 1),
        (None, 10, 0, 500, 500, 2),
        (None, 20, 0, 1_000, 0, 1),
        (400, 4, 0, 200, 800, 5),
    ],
)
def test_budgets(
    per_day: int | None, limit_s: float | None, sent: int, requests: int, left: int, runs: int
) -> None:
    found = allowed(whole(1_000), per_day, limit_s, sent)
    assert (found.requests, found.left_after, found.runs) == (requests, left, runs)


def test_retries_take_their_share_of_the_budget() -> None:
    assert allowed(whole(1_000, 1.25), per_day=500).left_after == 600


def test_the_last_run_ends_when_its_share_is_asked() -> None:
    assert allowed(whole(1_000), per_day=400).seconds == 2 * 86_400 + 200 / 50


@given(
    st.integers(0, 10**7),
    st.floats(1, 3),
    st.none() | st.integers(1, 10**6),
    st.none() | st.floats(1, 10**5),
    st.integers(0, 10**6),
)
def test_no_budget_leaves_over_more_than_there_is(
    to_fetch: int, share: float, per_day: int | None, limit_s: float | None, sent: int
) -> None:
    found = allowed(whole(to_fetch, share), per_day, limit_s, sent)
    assert 0 <= found.left_after <= to_fetch
    assert found.runs >= 1
    assert (found.left_after == 0) or found.runs > 1


def test_a_budget_under_one_request_is_one_request() -> None:
    assert allowed(whole(3), limit_s=0.001).requests == 1


CONFIG = Config(
    pace=Pace(rate_per_s=50),
    output=Output(publish_records=1_000, publish_bytes=100_000),
)


def test_of_a_new_output_nothing_is_known_but_the_ids() -> None:
    found = estimate(None, CONFIG.pace, CONFIG.output, 100, 300)
    assert (found.to_fetch, found.requests, found.retry_share, found.seconds) == (100, 100, 1, 2)
    assert found.data_bytes == 100 * 60 + 5 * 15_000
    # The journal and the parts that are staged from it hold all of them, and the list is twice
    # there while it is made.
    assert found.working_bytes == 100 * 140 + 100 * 60 + 2 * 300 * 30
    # A file has a record at least, and nothing takes nothing.
    assert estimate(None, CONFIG.pace, CONFIG.output, 2, 2).data_bytes == 2 * 60 + 2 * 15_000
    assert estimate(None, CONFIG.pace, CONFIG.output, 0, 0).data_bytes == 0


def test_the_journal_and_what_is_staged_are_never_more_than_two_publications() -> None:
    found = estimate(None, CONFIG.pace, CONFIG.output, 10**6, 10**6)
    assert found.working_bytes == 200_000 + 1_000 * 60 + 2 * 10**6 * 30


@pytest.mark.parametrize(
    ("runs", "share"),
    [
        ([], 1.0),
        ([{"delivered": 90, "requests": 150, "retry.-18": 30, "retry.timeout": 20}], 1.5),
        # One that delivered nothing met an outage: it is no usual night.
        ([{"delivered": 9, "requests": 20, "retry.-18": 10}, {"requests": 9, "retry.-1": 8}], 2.0),
        ([{"delivered": 9, "requests": 10}, {"delivered": 1, "requests": 30, "retry.x": 20}], 2.0),
        # Counters of a run that was killed may lack what it sent.
        ([{"delivered": 9}], 1.0),
        ([{"delivered": 9, "requests": 5, "retry.-18": 5}], 1.0),
    ],
)
def test_retries_are_expected_as_the_last_runs_had_them(
    tmp_path: Path, runs: list[Mapping[str, int]], share: float
) -> None:
    with closing(open_database(tmp_path / "state.db", "acme")) as db:
        # Older than the last ten: these do not count.
        for number, counters in enumerate([{"delivered": 1, "requests": 99, "retry.x": 98}, *runs]):
            run_records.begin_run(db, f"run-{number}", number)
            run_records.end_run(db, f"run-{number}", number, 0, counters)
            if not number:
                for more in range(10 - len(runs)):
                    run_records.begin_run(db, f"more-{more}", more)
                    run_records.end_run(db, f"more-{more}", more, 5, {})
        found = estimate(db, CONFIG.pace, CONFIG.output, 100, 0)
    assert (found.requests, found.retry_share) == (100 * share, share)
    assert found.seconds == 100 * share / 50


def test_records_are_expected_to_take_what_those_there_take(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "state.db", "acme")) as db:
        assert estimate(db, CONFIG.pace, CONFIG.output, 100, 0).data_bytes == 100 * 60 + 5 * 15_000
        db.execute("INSERT INTO publication (id, lo, hi, state) VALUES (1, 1, 1, 'prepared')")
        parts = [
            PartRecord("a", 1, 1_000, 15_000 + 40_000, "x"),
            PartRecord("b", 1, 3_000, 15_000 + 80_000, "y"),
            PartRecord("small", 1, 5, 15_300, "z"),
        ]
        publications.commit(db, 1, parts)
        db.execute("UPDATE file SET state = 'live'")
        assert estimate(db, CONFIG.pace, CONFIG.output, 100, 0).data_bytes == 100 * 30 + 5 * 15_000
        db.execute("DELETE FROM file WHERE path <> 'small'")
        assert (
            estimate(db, CONFIG.pace, CONFIG.output, 100, 0).data_bytes == 100 * 60 + 5 * 15_000
        ), "a file of a few records tells nothing of what more of them will take"


def test_what_is_counted_is_a_whole_number_and_a_share_has_three_places(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "state.db", "acme")) as db:
        run_records.begin_run(db, "run-1", 1)
        run_records.end_run(db, "run-1", 2, 0, {"delivered": 3, "requests": 4, "retry.reset": 1})
        db.execute("INSERT INTO publication (id, lo, hi, state) VALUES (1, 1, 1, 'prepared')")
        publications.commit(db, 1, [PartRecord("a", 1, 3, 31_000, "x")])
        db.execute("UPDATE file SET state = 'live'")
        found = estimate(db, CONFIG.pace, CONFIG.output, 100, 0)
    assert (repr(found.requests), found.retry_share) == ("133", 1.333)
    assert repr(found.data_bytes) == "608333", "3 records in 16,000 bytes, and five files"
    assert repr(allowed(whole(1_000), limit_s=1.25).requests) == "62", "of 62.5"
