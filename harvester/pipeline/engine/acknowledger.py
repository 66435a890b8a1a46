"""Filling batches and committing them.

Theory of operation.  A batch closes at 500 outcomes, at 8 MiB of answers or after half a second.
While it commits the next one fills; when that is full too, settling waits, and with it the
workers.  So a crash costs at most two batches and what is on the wire, and memory is bounded by
the disk's pace.  The counters that are committed with a batch are those of the moment it closed:
outcome and count are never apart.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping

from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.usage import as_counters, usage_of
from harvester.errors import HarvesterError, StoreError
from harvester.pipeline.engine.settle import DELIVERED, Outcome, Policy, Settled, settle
from harvester.pipeline.engine.task import Conclusion, PutOff, Task
from harvester.state import unresolved
from harvester.state.acknowledge import acknowledge
from harvester.state.values import Batch, Counters, Deferred, WorkList
from harvester.state.writer import LedgerWriter

BATCH_OUTCOMES = 500
BATCH_BYTES = 8 << 20
BATCH_S = 0.5


class Acknowledger:
    """Collects outcomes and commits them in batches, one at a time."""

    def __init__(
        self,
        ledger: LedgerWriter,
        policy: Policy,
        work_list: WorkList | None,
        counters: Counters,
        *,
        requests_of_day: Callable[[], tuple[str, int]],
        on_committed: Callable[[int, int], None],
        on_failed: Callable[[HarvesterError], None],
    ) -> None:
        """`on_committed` gets (records, bytes) that the journal took in."""
        self._ledger = ledger
        self._policy = policy
        self._work_list = work_list
        self._counters = counters
        self._requests_of_day = requests_of_day
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._batch = Batch()
        self._is_full = False
        self._commit: asyncio.Task[None] | None = None

    async def add(self, task: Task, conclusion: Conclusion) -> None:
        """Settle one id.  Waits while both batches are full; raises StoreError once one failed."""
        earlier: Deferred | None = None
        if isinstance(conclusion, PutOff):
            earlier = await self._ledger.call(unresolved.deferred, task.voice_id)
        while self._is_full:
            await self._make_room()
        self._add(task, conclusion, earlier)

    def add_at_once(self, task: Task, conclusion: Conclusion) -> bool:
        """The same where nothing has to be waited for; False, and nothing done, where it has."""
        if self._is_full or isinstance(conclusion, PutOff):
            return False
        self._add(task, conclusion, None)
        return True

    async def keep_time(self) -> None:
        """Close batches that are half a second old; runs until it is cancelled."""
        while True:
            await asyncio.sleep(BATCH_S)
            if self._batch.outcomes and self._commit is None:
                self._close_batch()

    async def flush(self) -> None:
        """Commit everything that was added.  Raises StoreError."""
        while self._commit is not None or self._batch.outcomes:
            if self._commit is None:
                self._close_batch()
            await self._make_room()

    def _add(self, task: Task, conclusion: Conclusion, earlier: Deferred | None) -> None:
        batch, counters = self._batch, self._counters
        settled = settle(batch, task, conclusion, self._policy, earlier)
        if settled is DELIVERED and not task.is_last_try:
            counters.delivered += 1  # as most are
        else:
            _count(counters, task, settled)
        self._is_full = batch.outcomes >= BATCH_OUTCOMES or batch.bytes >= BATCH_BYTES
        if self._is_full and self._commit is None:
            self._close_batch()

    async def _make_room(self) -> None:
        if self._commit is None:
            self._close_batch()
        commit = self._commit
        if commit is not None:
            # Shielded: a worker that is cut off must not take the commit of others with it.
            await asyncio.shield(commit)

    def _close_batch(self) -> None:
        batch, self._batch = self._batch, Batch()
        self._is_full = False
        self._commit = asyncio.create_task(self._commit_batch(batch, self._counters.stored()))

    async def _commit_batch(self, batch: Batch, counters: dict[str, int]) -> None:
        try:
            size, usage = await self._ledger.call(
                keep,
                self._policy.run_id,
                batch,
                work_list=self._work_list,
                counters=counters,
                requests_of_day=self._requests_of_day(),
            )
        except StoreError as exc:
            # The task keeps the failure: whoever waits for room gets it, and nobody goes on.
            self._on_failed(exc)
            raise
        self._commit = None
        for name, count in usage.items():
            kept = self._counters.usage
            kept[name] = kept.get(name, 0) + count
        self._on_committed(len(batch.entries) + len(batch.again), size)


def _count(counters: Counters, task: Task, settled: Settled) -> None:
    outcome = settled.outcome
    if outcome is Outcome.DELIVERED:
        counters.delivered += 1
    elif task.again:
        _count_again(counters, outcome)
    elif outcome is Outcome.OPEN:
        counters.open += 1
    elif outcome is Outcome.DEAD:
        counters.dead += 1
    else:
        counters.deferred += 1
    if task.is_last_try and not task.again:
        counters.deferred -= 1  # it was counted when it was deferred
    if settled.published is not None:
        counters.opens_published += 1
    if not settled.is_rated:
        counters.unrated += 1


def _count_again(counters: Counters, outcome: Outcome) -> None:
    if outcome is Outcome.DEFERRED:
        return  # it stays on the list, and no total of the run has it
    counters.again += 1
    if outcome is Outcome.FORGOTTEN:
        counters.forgotten += 1
    elif outcome is Outcome.FAILED:
        counters.failed += 1


def keep(
    db: sqlite3.Connection,
    run_id: str,
    batch: Batch,
    *,
    work_list: WorkList | None,
    counters: Mapping[str, int],
    requests_of_day: tuple[str, int],
) -> tuple[int, Counter[str]]:
    """Commit `batch` with its usage added to `counters`; (bytes of the journal, that usage)."""
    usage = as_counters(usage_of([entry.body for entry in batch.entries], GROUP_RECORD))
    so_far = Counter(counters)
    so_far.update(usage)  # not `+`, which drops what is not above zero: a cost may be
    size = acknowledge(
        db,
        run_id,
        batch,
        work_list=work_list,
        counters=so_far,
        requests_of_day=requests_of_day,
    )
    return size, usage
