"""Handing out tasks: each once and in order, also where some are drawn out of turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from harvester.errors import Interrupted
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Task
from harvester.pipeline.engine.task_source import TaskSource


class Given:
    """Pages of tasks by their ids; what no page has brought yet is the rest."""

    def __init__(self, *pages: Sequence[str]) -> None:
        self._left = [[Task(one) for one in page] for page in pages]

    async def __aiter__(self) -> AsyncIterator[list[Task]]:
        """See `Pages`."""
        while self._left:
            yield self._left.pop(0)

    def rest(self) -> Iterator[list[Task]]:
        """See `Pages`."""
        yield from self._left


def source_of(*pages: Sequence[str]) -> TaskSource:
    return TaskSource(Given(*pages), Stop())


async def taken(source: TaskSource) -> list[str]:
    found = []
    while (task := await source.take()) is not None:
        found.append(task.voice_id)
    return found


async def test_every_task_is_taken_once_in_order_and_held_until_it_is_given_back() -> None:
    source = source_of("ab", "", "c")
    first = await source.take()
    assert first is not None
    assert source.held == {"a"}
    assert await taken(source) == ["b", "c"]
    assert await source.take() is None
    source.give_back(first)
    source.give_back(first)  # cut off after it was concluded
    assert source.held == {"b", "c"}


async def test_nothing_is_taken_once_the_run_is_stopping() -> None:
    stop = Stop()
    source = TaskSource(Given("ab"), stop)
    assert await source.take() is not None
    stop.stop(Interrupted("enough"))
    assert await source.take() is None
    assert source.take_ready() is None


@pytest.mark.parametrize(
    ("pages", "at_most", "left"),
    [
        (["ab"], None, {"a", "b"}),
        (["ab"], 2, {"a", "b"}),
        (["ab"], 1, None),
        (["ab", "c"], None, None),
        (["ab", ""], 2, {"a", "b"}),
    ],
)
async def test_ids_are_the_last_ones_if_none_wait_behind_them(
    pages: list[str], at_most: int | None, left: set[str] | None
) -> None:
    source = source_of(*pages)
    assert [await source.take(), await source.take()] == [Task("a"), Task("b")]
    found = await source.left(at_most)
    assert found == left
    source.give_back(Task("a"))
    assert found == left, "it is what was left then"


async def test_what_is_drawn_from_pages_to_come_is_passed_over_there_and_only_there() -> None:
    source = source_of("ab", "cd", "ef")
    assert await source.take() == Task("a")
    drawn = {task.voice_id for task in await source.draw(5, None)}
    assert drawn == {"b", "c", "d", "e", "f"}
    assert source.held == {"a", *drawn}
    assert await taken(source) == []
    # The next run's pages bring them again; nothing of this one is remembered.


async def test_what_is_not_drawn_is_taken_in_order_from_pages_that_others_were_drawn_from() -> None:
    source = source_of("ab", "cd", "ef")
    assert await source.draw(1, None) == [Task("f")]
    assert await taken(source) == ["a", "b", "c", "d", "e"]


async def test_what_is_drawn_is_not_drawn_again_and_can_be_put_back() -> None:
    source = source_of("ab", "cd", "ef")
    assert await source.take() == Task("a")
    first = await source.draw(2, None)
    second = await source.draw(2, None)
    assert not {task.voice_id for task in first} & {task.voice_id for task in second}
    for task in (*first, *second):
        source.put_back(task)
        assert task.voice_id not in source.held
    assert sorted(await taken(source)) == ["b", "c", "d", "e", "f"]


async def test_an_id_that_failed_already_is_no_probe() -> None:
    source = source_of("a")
    assert await source.left() is None
    source.put_back(Task("late", is_last_try=True))
    assert await source.draw(5, None) == [Task("a")]
    assert await taken(source) == ["late"]
