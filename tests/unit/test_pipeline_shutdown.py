"""A stop: who ends at once, who may finish and for how long, and which reason is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from harvester.errors import (
    BudgetReached,
    HarvesterError,
    Interrupted,
    StoreError,
    Terminated,
    VendorRefused,
    VendorUnavailable,
)
from harvester.pipeline.engine.shutdown import GRACE_S, CutOff, Stop, as_reason, current_worker
from tests.support.virtual_time import run_virtually

INTERRUPTED = Interrupted("Ctrl-C")


class Crew:
    """Workers of a stop that do nothing but take their time."""

    def __init__(self) -> None:
        self.stop = Stop()
        self.ends: dict[str, float] = {}

    async def work(self, name: str, begin: Callable[[], None], seconds: float = 100.0) -> None:
        with self.stop.enlisted():
            begin()
            try:
                await asyncio.sleep(seconds)
            finally:
                self.ends[name] = asyncio.get_running_loop().time()


def test_who_waits_ends_at_once_and_who_is_busy_may_finish_in_the_grace() -> None:
    async def main() -> None:
        crew = Crew()
        stop = crew.stop

        def busy_then_idle() -> None:
            stop.busy()
            stop.idle()

        tasks = [
            asyncio.create_task(crew.work("new", lambda: None)),
            asyncio.create_task(crew.work("idle", busy_then_idle)),
            asyncio.create_task(crew.work("soon done", stop.busy, 10.0)),
            asyncio.create_task(crew.work("too slow", stop.busy)),
        ]
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        stop.stop(INTERRUPTED)
        await asyncio.sleep(2)
        stop.stop(INTERRUPTED)
        await asyncio.wait(tasks)
        took_s = {name: at - began for name, at in crew.ends.items()}
        assert took_s == pytest.approx(
            {"new": 1.0, "idle": 1.0, "soon done": 10.0, "too slow": 1.0 + GRACE_S}, abs=0.01
        )

    run_virtually(main)


def test_a_second_reason_cuts_off_nobody_who_ends_already() -> None:
    async def main() -> float:
        crew, began = Crew(), asyncio.get_running_loop().time()

        async def slow_to_leave() -> None:
            try:
                await crew.work("waits", lambda: None)
            finally:
                with crew.stop.enlisted():
                    await asyncio.sleep(5.0)

        leaving = asyncio.create_task(slow_to_leave())
        await asyncio.sleep(1)
        crew.stop.stop(INTERRUPTED)
        await asyncio.sleep(1)
        crew.stop.stop(INTERRUPTED)
        await asyncio.wait([leaving])
        return asyncio.get_running_loop().time() - began

    assert run_virtually(main) == pytest.approx(6.0, abs=0.01)


def test_nothing_new_begins_once_it_stops() -> None:
    async def main() -> None:
        stop = Stop()
        stop.check()
        stop.stop(INTERRUPTED)
        with pytest.raises(CutOff):
            stop.check()
        assert stop.is_set

    run_virtually(main)


def test_who_left_is_a_worker_no_more() -> None:
    async def main() -> None:
        stop = Stop()
        stop.busy()
        stop.idle()
        with stop.enlisted() as worker:
            assert current_worker() is worker
        assert current_worker() is None
        stop.stop(INTERRUPTED)
        await asyncio.sleep(2 * GRACE_S)  # and is cut off by nobody

    run_virtually(main)


BUDGET, AWAY, DENIED = BudgetReached("over"), VendorUnavailable("away"), VendorRefused("no")
FULL, BROKEN = StoreError("full"), StoreError("broken")
BUG = HarvesterError("a bug")


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (BUDGET, AWAY, BUDGET),
        (BUDGET, INTERRUPTED, INTERRUPTED),
        (AWAY, INTERRUPTED, INTERRUPTED),
        (AWAY, Terminated("TERM"), "second"),
        (DENIED, INTERRUPTED, DENIED),
        (INTERRUPTED, BUDGET, INTERRUPTED),
        (INTERRUPTED, FULL, FULL),
        (DENIED, FULL, FULL),
        (FULL, BROKEN, FULL),
        (FULL, INTERRUPTED, FULL),
    ],
)
def test_the_first_reason_is_told_unless_a_later_one_matters_more(
    first: HarvesterError, second: HarvesterError, told: HarvesterError | str
) -> None:
    async def main() -> Stop:
        stop = Stop()
        stop.stop(first)
        stop.stop(second)
        return stop

    assert run_virtually(main).reason is (second if told == "second" else told)


@pytest.mark.parametrize(
    ("reasons", "hurried"),
    [
        ([BUDGET], False),
        ([AWAY], False),
        ([DENIED], False),
        ([INTERRUPTED], True),
        ([FULL], True),
        ([BUG], True),
        ([BUDGET, INTERRUPTED], True),
        ([INTERRUPTED, BUDGET], True),
    ],
)
def test_a_signal_a_full_disk_and_a_bug_hurry_and_a_budget_does_not(
    reasons: list[HarvesterError], hurried: bool
) -> None:
    async def main() -> Stop:
        stop = Stop()
        for reason in reasons:
            stop.stop(reason)
        return stop

    assert run_virtually(main).is_hurried is hurried


def test_what_nobody_foresaw_is_named_as_a_bug_and_keeps_its_cause() -> None:
    unforeseen = KeyError("8613812345678")
    reason = as_reason(unforeseen)
    assert "KeyError" in str(reason)
    assert "8613812345678" not in str(reason)
    assert reason.__cause__ is unforeseen
    assert as_reason(FULL) is FULL
