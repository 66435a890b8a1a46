"""The table of budgets of docs/internals/states.md, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    NoRecord,
    Record,
    Refusal,
    Throttled,
    TimeRefused,
    UnknownStatus,
    Verdict,
)
from harvester.config import Retry
from harvester.pipeline.limits.backoff import backoff_s
from harvester.pipeline.limits.retry_policy import (
    Again,
    Defer,
    Settle,
    Spent,
    Step,
    Surroundings,
    next_step,
)

LIMITS = Retry(busy_attempts=4, network_attempts=3)
LAST_TRY = Retry(busy_attempts=1, network_attempts=1)


def around(
    *,
    delivered: bool = True,
    succeeded: bool = True,
    verified: bool = False,
    alone: bool = False,
    in_outage: bool = False,
) -> Surroundings:
    return Surroundings(delivered, succeeded, verified, alone, in_outage)


def steps(
    verdicts: list[Verdict], surroundings: Surroundings, limits: Retry = LIMITS
) -> list[Step]:
    """What an id does after each of these answers in turn."""
    spent = Spent()
    return [next_step(verdict, spent, surroundings, limits) for verdict in verdicts]


@pytest.mark.parametrize("verdict", [Record(True), Record(False), NoRecord(), Dead("bad_query_id")])
def test_a_final_verdict_settles_at_once(verdict: Record | NoRecord | Dead) -> None:
    assert steps([verdict], around()) == [Settle(verdict)]


def test_busy_answers_back_off_further_each_time_until_the_budget_is_spent() -> None:
    assert steps([Busy("-18")] * 4, around()) == [
        Again(1, "-18"),
        Again(2, "-18"),
        Again(3, "-18"),
        Defer("-18"),
    ]


def test_network_failures_have_a_budget_of_their_own() -> None:
    timeout, busy = NetworkFailure("timeout"), Busy("http_502")
    assert steps([busy, timeout, busy, timeout, busy, timeout], around()) == [
        Again(1, "http_502"),
        Again(1, "timeout"),
        Again(2, "http_502"),
        Again(2, "timeout"),
        Again(3, "http_502"),
        Defer("timeout"),
    ]


def test_a_want_of_descriptors_costs_nothing_however_often_but_waits_longer_each_time() -> None:
    exhausted = NetworkFailure("exhausted")
    assert steps([exhausted] * 9, around(), LAST_TRY) == [
        Again(failures, "exhausted") for failures in range(1, 10)
    ]
    assert steps([exhausted], around(in_outage=True)) == [Again(1, "exhausted")]


@pytest.mark.parametrize(
    "verdict", [Busy("-18"), NetworkFailure("timeout"), Throttled(1.0), Refusal("-1")]
)
def test_an_outage_costs_the_ids_nothing(verdict: Verdict) -> None:
    last = steps([verdict] * 50, around(in_outage=True))[-1]
    assert isinstance(last, Again)
    assert last.failures == 0


def test_a_push_back_that_everybody_gets_is_free() -> None:
    assert steps([Throttled(None)] * 100, around(succeeded=False))[-1] == Again(0, "throttled")


def test_a_push_back_while_others_succeed_costs_a_busy_attempt() -> None:
    got = steps([Throttled(None)] * 4, around(succeeded=True))
    assert got == [Again(n, "throttled") for n in (1, 2, 3)] + [Defer("throttled")]


def test_a_push_back_costs_a_busy_attempt_when_no_other_id_is_left_that_could_succeed() -> None:
    got = steps([Throttled(None)] * 4, around(succeeded=False, alone=True))
    assert got[-1] == Defer("throttled")


def test_a_refused_timestamp_is_free_three_times() -> None:
    got = steps([TimeRefused()] * 4, around(verified=True))
    assert got == [Again(0, "time_refused")] * 3 + [Defer("time_refused")]


def test_a_fourth_refused_timestamp_is_a_refusal_while_no_id_succeeds_with_this_clock() -> None:
    got = steps([TimeRefused()] * 7, around(verified=False))
    assert got[:3] == [Again(0, "time_refused")] * 3
    assert got[3:] == [Again(n, "refused_-16") for n in (1, 2, 3)] + [Defer("refused_-16")]


def test_a_lone_refusal_is_retried_twice_and_then_put_off() -> None:
    got = steps([Refusal("-1")] * 3, around())
    assert got == [Again(1, "refused_-1"), Again(2, "refused_-1"), Defer("refused_-1")]


def test_a_refusal_is_retried_no_more_than_a_busy_answer_and_counts_by_itself() -> None:
    limits = Retry(busy_attempts=2)
    assert steps([Refusal("-1")] * 2, around(), limits)[-1] == Defer("refused_-1")
    mixed: list[Verdict] = [Busy("-18"), Busy("-18"), Refusal("http_403"), Refusal("http_403")]
    assert steps(mixed, around())[-1] == Again(2, "refused_http_403")


def test_an_unknown_status_is_retried_twice_and_then_dead_if_others_are_delivered() -> None:
    got = steps([UnknownStatus("7")] * 3, around(delivered=True))
    assert got == [
        Again(1, "status_7"),
        Again(2, "status_7"),
        Settle(Dead("unknown_status")),
    ]


def test_an_unknown_status_is_deferred_if_nothing_else_was_delivered() -> None:
    assert steps([UnknownStatus("7")] * 3, around(delivered=False))[-1] == Defer("status_7")


@pytest.mark.parametrize("verdict", [Busy("-18"), NetworkFailure("reset"), Refusal("-1")])
def test_the_last_try_is_one_attempt(verdict: Verdict) -> None:
    assert isinstance(steps([verdict], around(), LAST_TRY)[0], Defer)


@given(
    failures=st.integers(1, 10_000),
    initial=st.floats(0.001, 60),
    cap=st.floats(0.001, 600),
    dice=st.floats(0, 1, exclude_max=True),
)
def test_backoff_is_full_jitter_under_the_cap(
    failures: int, initial: float, cap: float, dice: float
) -> None:
    wait = backoff_s(failures, initial, cap, dice)
    assert 0 <= wait <= cap
    assert wait <= initial * 2.0 ** min(failures - 1, 64)
    assert backoff_s(failures, initial, cap, 0.0) == 0.0


def test_ids_that_reached_the_cap_together_do_not_come_back_together() -> None:
    waits = {backoff_s(20, 0.5, 30, dice / 100) for dice in range(100)}
    assert len(waits) == 100
    assert max(waits) > 29
