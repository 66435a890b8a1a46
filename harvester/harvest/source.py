"""What a run asks, in this order: open calls that are due, this input, what earlier ones left.

Ids come in pages and chunks, never all at once, so memory does not grow with the list.  Workers
take tasks from here; nothing is ever put back, for retries stay with the worker that holds the id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from harvester.harvest.stop import Stop
from harvester.harvest.task import Task
from harvester.ids.reader import ListFile
from harvester.ledger import records, worklists
from harvester.ledger.values import CHUNK_ROWS, WorkList
from harvester.ledger.writer import LedgerWriter
from harvester.vendor.clock import VendorClock


class TaskSource:
    """Hands out each task once, to whoever asks next."""

    def __init__(self, pages: AsyncIterator[list[Task]], stop: Stop) -> None:
        self._pages = pages
        self._stop = stop
        self._ready: deque[Task] = deque()
        self._one_reads = asyncio.Lock()
        self._is_exhausted = False
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

    async def left(self) -> set[str] | None:
        """The ids still to conclude if none wait behind them; None if some do."""
        if len(self.held) > LEFT_MATTERS or await self._has_more():
            return None
        return set(self.held)

    async def _has_more(self) -> bool:
        while not self._ready and not self._is_exhausted:
            async with self._one_reads:
                if self._ready or self._is_exhausted:
                    break
                page = await anext(self._pages, None)
                if page is None:
                    self._is_exhausted = True
                else:
                    self._ready.extend(page)
        return bool(self._ready)


_PAGE_ROWS = 1_000

OPENING_ATTEMPTS = 3
"""At most so many attempts of a run go alone, until one has shown the vendor's time."""

LEFT_MATTERS = 3
"""`left` is asked only to see whether the few last ids agree on a refusal."""


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
        calls = await ledger.call(records.due_open_calls, now_ms, after, limit)
        if not calls:
            return
        after, pages = calls[-1].voice_id, pages + 1
        yield [Task(call.voice_id, open_call=call) for call in calls]


async def pending_on_list(
    ledger: LedgerWriter, work_list: WorkList, ids: ListFile, *, only: bool
) -> AsyncIterator[list[Task]]:
    """The list's pending ids, chunk by chunk; with `only`, those of this input."""
    bits = await ledger.call(worklists.settled_rows, work_list)
    rows = work_list.listed + work_list.retried if only else work_list.rows
    for no in range((rows + CHUNK_ROWS - 1) // CHUNK_ROWS):
        pending = worklists.pending_rows(work_list, bits, no)
        if not pending:
            continue
        chunk, _ = await asyncio.to_thread(ids.chunk, no)
        in_reach = min(CHUNK_ROWS, rows - no * CHUNK_ROWS)
        # Not the whole chunk at once: that would hold up the loop for 30 ms.
        for start in range(0, len(pending), _PAGE_ROWS):
            page = pending[start : start + _PAGE_ROWS]
            yield [Task(chunk[row], no, row) for row in page if row < in_reach]


async def deferred_in(ledger: LedgerWriter, run_id: str) -> AsyncIterator[list[Task]]:
    """The ids that this run deferred, for one more try."""
    after = ""
    while page := await ledger.call(records.deferred_of, run_id, after):
        after = page[-1].voice_id
        yield [
            Task(
                item.voice_id,
                item.chunk,
                item.row,
                # An open call has no place on the list; its row is needed to settle it.
                None
                if item.chunk is not None
                else await ledger.call(records.open_call, item.voice_id),
                is_last_try=True,
            )
            for item in page
        ]
