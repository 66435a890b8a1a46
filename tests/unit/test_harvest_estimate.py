"""What budgets leave of a plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.harvest.estimate import Budget, Estimate, budget


def whole(to_ask: int, share: float = 1.0) -> Estimate:
    return Estimate(
        to_ask=to_ask,
        requests=round(to_ask * share),
        retry_share=share,
        seconds=to_ask * share / 50,
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
    to_ask: int, share: float, per_day: int | None, limit_s: float | None, sent: int
) -> None:
    found = allowed(whole(to_ask, share), per_day, limit_s, sent)
    assert 0 <= found.left_after <= to_ask
    assert found.runs >= 1
    assert (found.left_after == 0) or found.runs > 1
