"""Requests per day of the vendor's clock."""

from __future__ import annotations

from datetime import datetime

from harvester.errors import BudgetReached, HarvesterError
from harvester.harvest.quota import DayQuota, day_of


class Day:
    """A clock that is moved by hand, in vendor's time."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.now = datetime.fromisoformat(f"{text}+08:00").timestamp()

    def __call__(self) -> float:
        return self.now


def quota(
    per_day: int | None, stored: tuple[str, int], clock: Day
) -> tuple[DayQuota, list[HarvesterError]]:
    told: list[HarvesterError] = []
    return DayQuota(per_day, stored, told.append, clock), told


def test_the_days_budget_is_handed_out_to_the_last_request_and_no_further() -> None:
    budget, told = quota(3, ("", 0), Day("2026-09-02T12:00"))
    assert [budget.take() for _ in range(5)] == [True] * 3 + [False] * 2
    assert isinstance(told[0], BudgetReached)
    assert told[0].exit_code == 8
    assert "per_day = 3" in str(told[0])
    assert budget.stored() == ("2026-09-02", 3)


def test_runs_of_one_day_share_its_budget() -> None:
    budget, told = quota(10, ("2026-09-02", 9), Day("2026-09-02T23:59:59"))
    assert [budget.take(), budget.take()] == [True, False]
    assert told


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
