"""What a run fetches, in this order: open calls that are due, this input, what earlier ones left,
what the data set has already; of the list the ids that an earlier run deferred come last.

Ids come in pages and chunks, never all at once, so memory does not grow with the list.  Workers
take tasks from here, and retries stay with the worker that holds the id.  Only probes come out of
turn: a few ids spread over what is left, to see whether the vendor treats them as it did the last
ones (`probe`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Protocol

from harvester.client.clock import VendorClock
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.engine.probes import spread
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Task
from harvester.state import unresolved, work_lists
from harvester.state.values import CHUNK_ROWS, WorkList, chunks_of, rows_of_chunk
from harvester.state.writer import LedgerWriter


class Pages(Protocol):
    """The tasks of a run, a page at a time."""

    def __aiter__(self) -> AsyncIterator[list[Task]]:
        """The pages, in order."""
        ...

    def rest(self) -> Iterator[list[Task]]:
        """What no page has brought yet, in portions; blocks, so for a thread of its own."""
        ...


class TaskSource:
    """Hands out each task once, to whoever wants one next."""

    def __init__(self, pages: Pages, stop: Stop) -> None:
        self._rest = pages.rest
        self._pages = aiter(pages)
        self._stop = stop
        self._ready: deque[Task] = deque()
        self._one_reads = asyncio.Lock()
        self._is_exhausted = False
        self._drawn: set[str] = set()
        """Ids that were taken out of turn: their page is still to bring them."""
        self.held: set[str] = set()
        """Ids that were taken and aren't given back yet."""

    async def take(self) -> Task | None:
        """The next task; None when there are no more, or the run is stopping."""
        return self.take_ready() or (self.take_ready() if await self._has_more() else None)

    def take_ready(self) -> Task | None:
        """The same, where it can be had without waiting: a coroutine costs more than the taking."""
        if not self._ready or self._stop.is_set:
            return None
        task = self._ready.popleft()
        self.held.add(task.voice_id)
        return task

    def give_back(self, task: Task) -> None:
        """The task is concluded, or cut off."""
        self.held.discard(task.voice_id)

    async def left(self, at_most: int | None = None) -> set[str] | None:
        """The ids still to conclude if none wait behind them; None if some do.

        None as well if there are more than `at_most`.
        """
        if (at_most is not None and len(self.held) > at_most) or await self._has_more():
            return None
        return set(self.held)

    async def draw(self, count: int, before: datetime | None) -> list[Task]:
        """At most `count` tasks spread over the rest, the youngest first; see `spread`.

        They count as taken, and their pages pass over them; `put_back` undoes that.
        """
        async with self._one_reads:
            # An id that failed already shows nothing of the others.
            ready = [task for task in self._ready if not task.is_last_try]
            found = await asyncio.to_thread(lambda: spread(self._waiting(ready), count, before))
            drawn = {task.voice_id for task in found}
            self._ready = deque(task for task in self._ready if task.voice_id not in drawn)
            self._drawn |= drawn - {task.voice_id for task in ready}
            self.held |= drawn
        return found

    def put_back(self, task: Task) -> None:
        """The task was drawn, and is as it was before."""
        self.held.discard(task.voice_id)
        self._ready.append(task)

    def _waiting(self, ready: list[Task]) -> Iterator[list[Task]]:
        yield ready
        for tasks in self._rest():
            yield [task for task in tasks if task.voice_id not in self._drawn]

    async def _has_more(self) -> bool:
        while not self._ready and not self._is_exhausted:
            async with self._one_reads:
                if self._ready or self._is_exhausted:
                    break
                page = await anext(self._pages, None)
                if page is None:
                    self._is_exhausted = True
                elif self._drawn:
                    self._ready.extend(t for t in page if t.voice_id not in self._drawn)
                    self._drawn.difference_update(task.voice_id for task in page)
                else:
                    self._ready.extend(page)
        return bool(self._ready)


_PAGE_ROWS = 1_000

OPENING_ATTEMPTS = 3
"""At most so many attempts of a run go alone, until one has shown the vendor's time."""

LEFT_MATTERS = 3
"""Only the few last ids are looked at to see whether all that are left agree."""


class RunPages:
    """The first tasks of a run: open calls that are due, then the list's pending ids, by chunks.

    Ids that an earlier run deferred come behind all others: they may fail always, and a run with a
    small budget must not spend it on them each time.
    """

    def __init__(
        self,
        ledger: LedgerWriter,
        clock: VendorClock,
        work_list: WorkList | None,
        ids: ListFile | None,
        run_id: str,
        *,
        only: bool,
    ) -> None:
        """`only`: no ids that earlier inputs left over."""
        self._run_id = run_id
        self._ledger = ledger
        self._clock = clock
        self._list = None if ids is None or work_list is None else (work_list, ids)
        self._only = only
        self._bits: dict[int, bytes | None] = {}
        self._brought = (0, -1)
        """Chunk and row of the last task that a page has brought."""

    async def __aiter__(self) -> AsyncIterator[list[Task]]:
        """See `Pages`."""
        if self._list is not None:
            self._bits = await self._ledger.call(work_lists.resolved_rows, self._list[0])
        async for page in due_open_calls(self._ledger, self._clock):
            yield page
        if not await self._ledger.call(unresolved.deferred_before, self._run_id):
            async for page in self._pages():
                yield page
            return
        for is_deferred in (False, True):
            async for page in self._pages():
                ids = [task.voice_id for task in page]
                late = await self._ledger.call(unresolved.deferred_before, self._run_id, ids)
                yield [task for task in page if (task.voice_id in late) is is_deferred]

    async def _pages(self) -> AsyncIterator[list[Task]]:
        for no in range(self._chunks()):
            tasks = await asyncio.to_thread(self._tasks, no)
            # Not the whole chunk at once: that would hold up the loop for 30 ms.
            for start in range(0, len(tasks), _PAGE_ROWS):
                page = tasks[start : start + _PAGE_ROWS]
                last = page[-1].row
                assert last is not None
                self._brought = max(self._brought, (no, last))
                yield page

    def rest(self) -> Iterator[list[Task]]:
        """See `Pages`."""
        for no in range(self._brought[0], self._chunks()):
            tasks = self._tasks(no)
            yield [task for task in tasks if (task.chunk, task.row) > self._brought]

    def _chunks(self) -> int:
        return chunks_of(self._rows())

    def _rows(self) -> int:
        if self._list is None:
            return 0
        work_list = self._list[0]
        return work_list.listed + work_list.retried if self._only else work_list.rows

    def _tasks(self, no: int) -> list[Task]:
        """The pending ids of a chunk, as far as this run goes.  Reads the list's file."""
        assert self._list is not None
        work_list, ids = self._list
        pending = work_lists.pending_rows(work_list, self._bits, no)
        if not pending:
            return []
        in_reach = rows_of_chunk(no, self._rows())
        chunk, _ = ids.chunk(no, CHUNK_ROWS)
        new = rows_of_chunk(no, work_list.new)
        return [Task(chunk[row], no, row, again=row >= new) for row in pending if row < in_reach]


async def due_open_calls(ledger: LedgerWriter, clock: VendorClock) -> AsyncIterator[list[Task]]:
    """The open calls that were due when the run began, by id, on the vendor's clock.

    Until that is learnt they come one by one, each by what is known then: with a clock that is
    ahead all of them look due.
    """
    after, pages, is_learnt, now_ms = "", 0, False, 0
    while True:
        if not is_learnt:
            is_learnt, now_ms = clock.is_learnt, clock.now_ms()
        limit = _PAGE_ROWS if is_learnt or pages >= OPENING_ATTEMPTS else 1
        # Keyed by id, not by due time: a fetch moves the due time, and an id must come up only
        # once.
        calls = await ledger.call(unresolved.due_open_calls, now_ms, after, limit)
        if not calls:
            return
        after, pages = calls[-1].voice_id, pages + 1
        yield [Task(call.voice_id, open_call=call) for call in calls]


class DeferredPages:
    """The ids that a run deferred, for one more try."""

    def __init__(self, ledger: LedgerWriter, run_id: str) -> None:
        self._ledger = ledger
        self._run_id = run_id

    async def __aiter__(self) -> AsyncIterator[list[Task]]:
        """See `Pages`."""
        after = ""
        while page := await self._ledger.call(unresolved.deferred_of, self._run_id, after):
            after = page[-1].voice_id
            yield [
                Task(
                    item.voice_id,
                    item.chunk,
                    item.row,
                    # An open call has no place on the list; its row is needed to settle it.
                    None
                    if item.chunk is not None
                    else await self._ledger.call(unresolved.open_call, item.voice_id),
                    is_last_try=True,
                    counts=item.counts,
                    again=item.again,
                )
                for item in page
            ]

    def rest(self) -> Iterator[list[Task]]:
        """None, as for those that wait already."""
        return iter(())
