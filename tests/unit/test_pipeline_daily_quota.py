"""Requests per day of the vendor's clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from harvester.errors import BudgetReached, HarvesterError
from harvester.pipeline.limits.daily_quota import DayQuota, day_of
from harvester.pipeline.run.recovery import most_unrecorded


class Day:
    """A clock that is moved by hand, in vendor's time."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.now = datetime.fromisoformat(f"{text}+08:00").timestamp()

    is_learnt = True
    is_doubtful = False

    def stated(self) -> float:
        return self.now


def quota(
    per_day: int | None, stored: tuple[str, int], clock: Day
) -> tuple[DayQuota, list[HarvesterError]]:
    told: list[HarvesterError] = []
    return DayQuota(per_day, dict([stored]), told.append, clock), told


def test_the_days_budget_is_handed_out_to_the_last_request_and_no_further() -> None:
    budget, told = quota(3, ("", 0), Day("2026-09-02T12:00"))
    assert [budget.take() for _ in range(5)] == [True] * 3 + [False] * 2
    assert isinstance(told[0], BudgetReached)
    assert (told[0].exit_code, told[0].code) == (8, "limit.per_day")
    assert "per_day = 3 requests are sent or counted for 2026-09-02" in str(told[0])
    assert budget.stored() == ("2026-09-02", 3)


def test_runs_of_one_day_share_its_budget() -> None:
    budget, told = quota(10, ("2026-09-02", 9), Day("2026-09-02T23:59:59"))
    assert [budget.take(), budget.take()] == [True, False]
    assert told


def test_the_page_of_the_days_budget_says_what_a_killed_run_is_counted_for() -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| `per_day`"))
    assert f"{most_unrecorded(0):,} requests and one for each connection" in row
    assert most_unrecorded(64) == most_unrecorded(0) + 64


def test_yesterdays_requests_do_not_count_today() -> None:
    budget, _ = quota(10, ("2026-09-01", 9), Day("2026-09-02T00:00"))
    assert all(budget.take() for _ in range(10))


def test_a_new_day_begins_at_the_vendors_midnight_even_in_the_middle_of_a_run() -> None:
    clock = Day("2026-09-02T23:59:59")
    budget, _ = quota(2, ("", 0), clock)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    clock.set("2026-09-03T00:00:00")
    assert budget.take()
    assert budget.stored() == ("2026-09-03", 1)


def test_without_a_budget_requests_are_counted_all_the_same() -> None:
    budget, told = quota(None, ("2026-09-02", 5), Day("2026-09-02T01:00"))
    assert budget.take()
    assert budget.stored() == ("2026-09-02", 6)
    assert told == []


def test_the_vendors_day_begins_8_hours_before_utc() -> None:
    assert day_of(datetime.fromisoformat("2026-09-01T16:00:00+00:00").timestamp()) == "2026-09-02"
    assert day_of(datetime.fromisoformat("2026-09-01T15:59:59+00:00").timestamp()) == "2026-09-01"


def test_a_clock_that_steps_back_into_a_day_finds_what_was_sent_in_it() -> None:
    clock = Day("2026-09-02T12:00")
    budget, _ = quota(3, ("2026-09-02", 1), clock)
    assert [budget.take(), budget.take(), budget.take()] == [True, True, False]
    for text in ("2026-10-02T12:00", "2026-09-01T12:00"):
        clock.set(text)
        assert [budget.take() for _ in range(4)] == [True, True, True, False]
        clock.set("2026-09-02T13:00")
        assert not budget.take(), "the day is used up, however often it is left"
    clock.set("2026-10-02T12:00")
    assert not budget.take()


def test_the_request_that_learns_the_day_counts_for_it() -> None:
    clock, told = Day("2026-10-02T12:00"), list[HarvesterError]()
    clock.is_learnt = False
    budget = DayQuota(3, {"2026-09-02": 1}, told.append, clock)
    assert budget.take()
    clock.set("2026-09-02T12:00")
    clock.is_learnt = True
    assert budget.stored() == ("2026-09-02", 2)
    assert [budget.take(), budget.take()] == [True, False]


def test_a_day_that_was_guessed_right_counts_once() -> None:
    clock = Day("2026-09-02T12:00")
    clock.is_learnt = False
    budget = DayQuota(9, {}, lambda _: None, clock)
    assert budget.take()
    clock.is_learnt = True
    assert budget.take()
    assert budget.stored() == ("2026-09-02", 2)


def test_what_was_counted_by_a_guess_counts_for_no_day_after_the_one_that_was_learnt() -> None:
    clock = Day("2026-09-02T12:00")
    clock.is_learnt = False
    budget = DayQuota(9, {}, lambda _: None, clock)
    assert budget.take()
    clock.is_learnt = True
    assert [budget.take(), budget.take(), budget.take()] == [True] * 3
    clock.set("2026-09-03T00:00")
    assert budget.take()
    assert budget.stored() == ("2026-09-03", 1)


def test_a_day_that_is_learnt_before_any_request_has_none() -> None:
    clock = Day("2026-09-02T12:00")
    clock.is_learnt = False
    budget = DayQuota(9, {}, lambda _: None, clock)
    clock.set("2026-10-02T12:00")
    clock.is_learnt = True
    assert budget.stored() == ("2026-10-02", 0)


def test_a_day_that_is_used_up_by_a_single_answers_word_is_used_up() -> None:
    clock, told = Day("2026-10-02T12:00"), list[HarvesterError]()
    clock.is_learnt = False
    budget = DayQuota(3, {"2026-09-02": 2}, told.append, clock)
    assert budget.take()
    clock.set("2026-09-02T12:00")
    clock.is_doubtful = True
    assert not budget.take()
    assert budget.stored() == ("2026-09-02", 3)


def test_midnight_passes_in_a_run_without_any_date() -> None:
    clock = Day("2026-09-02T23:00")
    clock.is_learnt = False
    budget = DayQuota(3, {}, lambda _: None, clock)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    clock.set("2026-09-03T00:00")
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_without_a_budget_others_may_send_any_number() -> None:
    budget, told = quota(None, ("", 0), Day("2026-09-02T12:00"))
    assert (budget.left(), budget.grant(10**9), budget.grant(1)) == (None, None, None)
    budget.report(7, unused=3)
    assert budget.take()
    assert (budget.stored()[1], told) == (8, [])


def test_what_others_were_granted_counts_as_sent_until_they_report() -> None:
    budget, told = quota(10, ("", 0), Day("2026-09-02T12:00"))
    assert budget.grant(4) == 4
    assert (budget.left(), budget.stored()) == (6, ("2026-09-02", 4))
    assert [budget.take(), budget.take()] == [True, True]
    budget.report(1)
    assert (budget.left(), budget.stored()[1]) == (4, 6), "three of them may be sent yet"
    budget.report(0, unused=2)
    assert (budget.left(), budget.stored()[1]) == (6, 4), "and now only one of them"
    assert [budget.take() for _ in range(7)] == [True] * 6 + [False]
    assert (budget.left(), len(told)) == (0, 1)


def test_others_are_granted_no_more_than_the_day_has_left() -> None:
    budget, _ = quota(10, ("2026-09-02", 3), Day("2026-09-02T12:00"))
    assert [budget.grant(9), budget.grant(1), budget.left()] == [7, 0, 0]
    assert not budget.take()


def test_the_last_of_the_day_are_granted_to_nobody_and_can_all_be_sent_here() -> None:
    budget = DayQuota(10, {}, lambda _: None, Day("2026-09-02T12:00"), alone=3)
    assert [budget.grant(20), budget.grant(1), budget.left()] == [7, 0, 3]
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_nobody_is_granted_any_before_the_vendors_day_is_known() -> None:
    clock = Day("2026-09-02T12:00")
    clock.is_learnt = False
    budget = DayQuota(10, {}, lambda _: None, clock)
    assert (budget.grant(5), budget.left()) == (0, 10)
    clock.is_learnt = True
    assert (budget.grant(5), budget.left()) == (5, 5)


@pytest.mark.parametrize("ask", [DayQuota.left, lambda budget: budget.grant(9)])
def test_what_is_left_and_what_is_granted_are_of_the_day_that_it_is_now(
    ask: Callable[[DayQuota], int | None],
) -> None:
    clock = Day("2026-09-02T23:59:59")
    budget, _ = quota(3, ("2026-09-02", 3), clock)
    assert ask(budget) == 0
    clock.set("2026-09-03T00:00")
    assert ask(budget) == 3


def test_a_report_after_midnight_counts_for_the_new_day_and_the_grant_for_the_old_one() -> None:
    clock = Day("2026-09-02T23:59:59")
    budget, _ = quota(10, ("", 0), clock)
    assert budget.take()
    assert budget.grant(4) == 4
    clock.set("2026-09-03T00:00")
    budget.report(4)
    assert budget.stored() == ("2026-09-03", 4)
    clock.set("2026-09-02T23:59:59")
    assert budget.left() == 5, "nobody can tell in which of the two days they were sent"


def test_what_others_report_before_the_day_is_learnt_counts_for_it() -> None:
    clock = Day("2026-10-02T12:00")
    clock.is_learnt = False
    budget = DayQuota(None, {"2026-09-02": 1}, lambda _: None, clock)
    budget.report(7)
    clock.set("2026-09-02T12:00")
    clock.is_learnt = True
    assert budget.stored() == ("2026-09-02", 8)


def test_what_was_sent_before_midnight_is_stored_for_its_day() -> None:
    clock = Day("2026-09-02T23:59:59")
    budget, _ = quota(10, ("", 0), clock)
    assert budget.take()
    clock.set("2026-09-03T00:00")
    assert budget.stored() == ("2026-09-02", 1)
