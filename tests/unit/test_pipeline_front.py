"""The ids that this process fetches itself where it has workers beside it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from harvester.client.transport import NoReply, Reply
from harvester.errors import Interrupted
from harvester.pipeline.engine.fetcher import Fetcher
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Answered, Conclusion, Task
from harvester.pipeline.engine.workers import Owner
from harvester.pipeline.workers.front import Front, Passed

ANSWERED = Answered(b"{}", True, 0)
BUSY = Reply(200, b'{"status":-18}')


class Run:
    """An `Owner` of a few ids, as far as the front asks it for anything."""

    def __init__(self, ids: str) -> None:
        self.waiting = deque(Task(one) for one in ids)
        self.concluded: list[str] = []
        self.off: list[str] = []
        self.back: list[str] = []
        self.is_slow = False

    def take_at_once(self) -> Task | None:
        return self.waiting.popleft() if self.waiting and not self.is_slow else None

    async def take(self) -> Task | None:
        await asyncio.sleep(0)
        return self.waiting.popleft() if self.waiting else None

    def conclude_at_once(self, task: Task, conclusion: Conclusion) -> bool:
        if self.is_slow:
            return False
        self.concluded.append(task.voice_id)
        return True

    async def conclude(self, task: Task, conclusion: Conclusion) -> None:
        self.concluded.append(task.voice_id)

    def cut_off(self, task: Task) -> None:
        self.off.append(task.voice_id)

    def put_back(self, task: Task) -> None:
        self.back.append(task.voice_id)
        self.waiting.append(task)


class Fetches:
    """A fetcher that says how it was asked."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []

    async def fetch(self, task: Task) -> Conclusion:
        self.log.append(("first", task.voice_id))
        return ANSWERED

    async def fetch_on(
        self, task: Task, answer: Reply | NoReply, *, is_outage: bool | None
    ) -> Conclusion:
        self.log.append(("on", task.voice_id, answer, is_outage))
        return ANSWERED


class Before:
    """A front, its owner, and ids that were taken for the workers."""

    def __init__(self, ids: str = "", most_new: int = 1, rest: str = "") -> None:
        self.stop = Stop()
        self.run = Run(ids)
        self.rest = deque(Task(one) for one in rest)
        self.front = Front(
            cast("Owner", self.run),
            self.stop,
            lambda: self.rest.popleft() if self.rest else None,
        )
        self.front.most_new = most_new
        self.fetches = Fetches()
        self.front.fetcher = cast("Fetcher", self.fetches)

    async def ends(self, work: Coroutine[Any, Any, Task | None]) -> str | None:
        async with asyncio.timeout(5):
            task = await work
        return None if task is None else task.voice_id

    async def waiting(self) -> asyncio.Task[Task | None]:
        """Somebody who waits for an id."""
        one = asyncio.create_task(self.front.take())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not one.done()
        return one


async def test_what_workers_passed_on_comes_before_new_ids_and_goes_on_where_it_was() -> None:
    one = Before("ab", most_new=9)
    one.front.pass_on(Passed(Task("x"), BUSY, None))
    one.front.pass_on(Passed(Task("y"), None, False))
    taken = [await one.ends(one.front.take()) for _ in range(4)]
    assert taken == ["x", "y", "a", "b"]
    for voice_id in taken:
        assert voice_id is not None
        await one.front.fetch(Task(voice_id))
    assert one.fetches.log == [
        ("on", "x", BUSY, None),
        ("first", "y"),
        ("first", "a"),
        ("first", "b"),
    ]
    await one.front.fetch(Task("x"))
    assert one.fetches.log[-1] == ("first", "x"), "a second time it is as any other"


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("end", ["concluded", "cut off"])
async def test_of_new_ids_no_more_are_in_hand_than_may_be_and_who_waits_is_woken(
    is_slow: bool, end: str
) -> None:
    one = Before("abc", most_new=2)
    one.run.is_slow = is_slow
    first, _ = await one.front.take(), await one.front.take()
    assert first is not None
    assert one.front.new == 2
    assert one.front.take_at_once() is None
    waits = await one.waiting()
    if end == "cut off":
        one.front.cut_off(first)
    elif not one.front.conclude_at_once(first, ANSWERED):
        await one.front.conclude(first, ANSWERED)
    assert await one.ends(asyncio.wait_for(waits, 5)) == "c"
    assert one.front.new == 2
    assert (one.run.concluded, one.run.off) == (([], ["a"]) if end == "cut off" else (["a"], []))


async def test_what_was_passed_on_takes_no_new_ids_place() -> None:
    one = Before("ab", most_new=1)
    assert await one.front.take() == Task("a")
    one.front.pass_on(Passed(Task("x"), BUSY, False))
    assert one.front.take_at_once() == Task("x")
    assert one.front.new == 1
    assert one.front.conclude_at_once(Task("x"), ANSWERED)
    assert one.front.new == 1
    assert one.front.take_at_once() is None


async def test_an_id_that_is_passed_on_or_handed_back_wakes_who_waits() -> None:
    for how in ("passed on", "handed back"):
        one = Before("", most_new=1)
        one.front.is_others_turn = lambda: True
        waits = await one.waiting()
        if how == "passed on":
            one.front.pass_on(Passed(Task("x"), BUSY, False))
        else:
            one.front.put_back(Task("x"))
        assert await one.ends(asyncio.wait_for(waits, 5)) == "x"


async def test_nobody_leaves_while_others_have_ids_that_may_come_here() -> None:
    one = Before("", most_new=2)
    others_have_some = True
    one.front.is_others_turn = lambda: others_have_some
    waits = [await one.waiting() for _ in range(3)]
    others_have_some = False
    one.front.wake(1)
    for waiting in waits:  # the first that sees it tells the others
        assert await one.ends(asyncio.wait_for(waiting, 5)) is None


async def test_what_was_taken_for_workers_and_is_not_wanted_is_fetched_here() -> None:
    one = Before("a", most_new=9, rest="r")
    assert [await one.ends(one.front.take()) for _ in range(3)] == ["a", "r", None]
    assert one.front.new == 2


async def test_one_that_waits_and_was_cancelled_takes_nobody_elses_waking() -> None:
    one = Before("", most_new=1)
    one.front.is_others_turn = lambda: True
    gone, waits = await one.waiting(), await one.waiting()
    gone.cancel()
    await asyncio.sleep(0)
    one.front.pass_on(Passed(Task("x"), BUSY, False))
    assert await one.ends(asyncio.wait_for(waits, 5)) == "x"


async def test_once_stopped_no_new_id_is_taken_and_what_was_passed_on_is_cut_off() -> None:
    one = Before("a", most_new=9)
    one.front.pass_on(Passed(Task("x"), BUSY, False))
    one.front.pass_on(Passed(Task("y"), None, False))
    one.stop.stop(Interrupted("enough"))
    assert await one.ends(one.front.take()) is None
    one.front.cut_off_passed()
    assert one.run.off == ["x", "y"]
    assert not one.front.passed
    assert one.front.take_at_once() is None
