"""Handing out tasks: each once and in order, also where some are drawn out of turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.client.clock import VendorClock
from harvester.errors import Interrupted
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Task
from harvester.pipeline.engine.task_source import (
    DeferredPages,
    Pages,
    RunPages,
    TaskSource,
    due_open_calls,
)
from harvester.state import run_records, unresolved, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.values import Batch, Deferred, OpenCall, WorkList
from harvester.state.writer import LedgerWriter
from tests.support.fakes import House, houses


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


# Of a real ledger and a real list


RUN = "run-1"
NOW_S = 1_000.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with houses(tmp_path, ()) as make:
        yield make()


@pytest.fixture
def ledger(house: House) -> Iterator[LedgerWriter]:
    with closing(LedgerWriter(house.db, house.output.database)) as one:
        yield one


def clock_of() -> VendorClock:
    return VendorClock(lambda: NOW_S, lambda: 0.0)


def listed(house: House, ids: Sequence[str], **counts: int) -> tuple[WorkList, ListFile]:
    """Put a list in force; `counts`: how many of its rows are what, in this order."""
    kinds = {"listed": 0, "retried": 0, "carried_over": 0, "again": 0} | counts
    path = house.output.lists / "list-1.parquet"
    ranks = [rank for rank, rows in enumerate(kinds.values()) for _ in range(rows)]
    columns = {"rank": pa.array(ranks, pa.int8()), "voice_id": pa.array(list(ids), pa.string())}
    pq.write_table(pa.table(columns), path)
    work_list = WorkList(1, "key", path.name, None, **kinds)
    work_lists.replace_list(house.db, work_list)
    return work_list, ListFile(path)


async def brought(pages: Pages) -> list[Task]:
    return [task async for page in pages for task in page]


def put_off(voice_id: str, run_id: str, **more: object) -> Deferred:
    fields = {"counts": False, "again": False, "chunk": None, "row": None} | more
    return Deferred(voice_id, "busy", "", 0, 0, run_id, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("only", "ids"),
    [(False, ["x", "a", "c", "d", "f", "g", "e"]), (True, ["x", "a", "c", "d"])],
)
async def test_open_calls_come_first_and_what_an_earlier_run_deferred_comes_last(
    house: House, ledger: LedgerWriter, only: bool, ids: list[str]
) -> None:
    """`only`: neither what earlier inputs left over, nor what the data set has already."""
    work_list, file = listed(house, "abcdefgh", listed=3, retried=1, carried_over=2, again=2)
    run_records.begin_run(house.db, RUN, 1)
    acknowledge(
        house.db,
        RUN,
        Batch(resolved_rows={0: [1, 7]}, list_delivered=1, list_refetched=1),
        work_list=work_list,
        counters={},
        requests_of_day=("2026-09-02", 1),
    )
    call = OpenCall("x", 0, 0, 1, RUN)
    unresolved.put_open_calls(house.db, [call])
    unresolved.put_deferred(house.db, [put_off("e", "run-0"), put_off("c", RUN)])
    with closing(file):
        pages = RunPages(ledger, clock_of(), work_list, file, RUN, only=only)
        found = await brought(pages)
    assert [task.voice_id for task in found] == ids
    assert found[0] == Task("x", open_call=call)
    assert found[1:4] == [Task("a", 0, 0), Task("c", 0, 2), Task("d", 0, 3)]
    assert [task.voice_id for task in found if task.again] == ([] if only else ["g"])


async def test_without_a_list_only_the_open_calls_that_are_due_are_fetched(
    house: House, ledger: LedgerWriter
) -> None:
    unresolved.put_open_calls(house.db, [OpenCall("x", 0, 0, 1, RUN)])
    pages = RunPages(ledger, clock_of(), None, None, RUN, only=False)
    assert [task.voice_id for task in await brought(pages)] == ["x"]
    assert [task for tasks in pages.rest() for task in tasks] == []


async def test_the_rest_is_exactly_what_no_page_has_brought(
    house: House, ledger: LedgerWriter
) -> None:
    ids = [f"{n:05}" for n in range(12_500)]
    work_list, file = listed(house, ids, listed=len(ids))
    with closing(file):
        pages = RunPages(ledger, clock_of(), work_list, file, RUN, only=False)
        seen = 0
        assert [task.voice_id for tasks in pages.rest() for task in tasks] == ids
        async for page in pages:
            seen += len(page)
            assert [task.voice_id for tasks in pages.rest() for task in tasks] == ids[seen:]
        assert seen == len(ids)


@pytest.mark.parametrize(
    ("meanwhile", "pages"),
    [
        (lambda clock, no: None, ["a", "b", "d", "ef"]),
        (lambda clock, no: clock.observe(NOW_S, 0.0), ["a", "bdef"]),
        # It is earlier there: what looked due by our own clock is not.
        (lambda clock, no: clock.observe(NOW_S - 300, 0.0), ["a", "def"]),
        # And later: more is due than by our own.
        (lambda clock, no: clock.observe(NOW_S + 300, 0.0), ["a", "bcdef"]),
    ],
)
async def test_open_calls_come_one_by_one_until_the_vendors_time_is_learnt_or_three_came(
    house: House,
    ledger: LedgerWriter,
    meanwhile: Callable[[VendorClock, int], None],
    pages: list[str],
) -> None:
    due_s = {"a": NOW_S, "b": NOW_S, "c": NOW_S + 1, "d": 1, "e": 1, "f": 700, "g": NOW_S + 302}
    unresolved.put_open_calls(
        house.db, [OpenCall(one, int(at * 1000), 0, 1, RUN) for one, at in due_s.items()]
    )
    clock, found = clock_of(), []
    async for page in due_open_calls(ledger, clock):
        found.append("".join(task.voice_id for task in page))
        meanwhile(clock, len(found))
    assert found == pages


async def test_a_clock_that_is_known_already_lets_all_due_open_calls_come_at_once(
    house: House, ledger: LedgerWriter
) -> None:
    unresolved.put_open_calls(house.db, [OpenCall(one, 0, 0, 1, RUN) for one in "abc"])
    clock = clock_of()
    clock.observe(NOW_S, 0.0)
    found = [[task.voice_id for task in page] async for page in due_open_calls(ledger, clock)]
    assert found == [["a", "b", "c"]]


async def test_what_the_run_deferred_is_tried_last_with_all_that_is_known_of_it(
    house: House, ledger: LedgerWriter
) -> None:
    call = OpenCall("open", 0, 0, 3, "run-0", b"{}", 5)
    unresolved.put_open_calls(house.db, [call])
    unresolved.put_deferred(
        house.db,
        [
            put_off("again", RUN, chunk=0, row=7, again=True),
            put_off("counts", RUN, chunk=1, row=2, counts=True),
            put_off("open", RUN),
            put_off("other", "run-0", chunk=0, row=1),
        ],
    )
    pages = DeferredPages(ledger, RUN)
    assert await brought(pages) == [
        Task("again", 0, 7, is_last_try=True, again=True),
        Task("counts", 1, 2, is_last_try=True, counts=True),
        Task("open", open_call=call, is_last_try=True),
    ]
    assert list(pages.rest()) == []
