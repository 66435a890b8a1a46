"""Batches: how they fill, when they close, who waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from harvester.config import OpenCalls, Retry
from harvester.errors import HarvesterError, StoreError
from harvester.pipeline.engine.acknowledger import BATCH_BYTES, BATCH_OUTCOMES, Acknowledger
from harvester.pipeline.engine.settle import Policy
from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.state.values import Batch, Counters, OpenCall
from tests.support.virtual_time import run_virtually


class SlowLedger:
    """Commits nothing before it is let go on."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.go_on = asyncio.Event()

    async def call(self, function: object, run_id: str, batch: Batch, **more: object) -> Any:
        """See `LedgerWriter`."""
        del function, run_id, more
        self.batches.append(batch)
        await self.go_on.wait()
        return 0, Counter(extra=1)


class QuickLedger:
    """Knows no deferred id, and commits at once."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def call(self, function: object, first: str, batch: Batch | None = None, **_: Any) -> Any:
        """See `LedgerWriter`."""
        del function, first
        if batch is None:
            return None
        self.batches.append(batch)
        return 77, Counter()


def acknowledger(
    ledger: SlowLedger | QuickLedger,
    counters: Counters,
    on_committed: Callable[[int, int], None] = lambda records, size: None,
) -> Acknowledger:
    return Acknowledger(
        ledger,  # type: ignore[arg-type]
        Policy("run", OpenCalls(), Retry(), lambda _: None),
        None,
        counters,
        requests_of_day=lambda: ("", 0),
        on_committed=on_committed,
        on_failed=lambda exc: None,
    )


@pytest.mark.parametrize(
    ("answer", "outcomes"), [(b"{}", BATCH_OUTCOMES), (bytes(BATCH_BYTES // 4), 4)]
)
async def test_a_full_batch_closes_the_next_one_fills_and_then_whoever_adds_waits(
    answer: bytes, outcomes: int
) -> None:
    ledger, counters = SlowLedger(), Counters()
    ours = acknowledger(ledger, counters)
    answered = Answered(answer, True, 0)
    for no in range(2 * outcomes):
        assert ours.add_at_once(Task(str(no)), answered), no
        if no % outcomes == 0:
            await asyncio.sleep(0)
    assert [batch.outcomes for batch in ledger.batches] == [outcomes]
    assert not ours.add_at_once(Task("late"), answered)
    assert counters.delivered == 2 * outcomes

    waiting = asyncio.create_task(ours.add(Task("late"), answered))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    ledger.go_on.set()
    await waiting
    await ours.flush()
    assert [batch.outcomes for batch in ledger.batches] == [outcomes, outcomes, 1]
    assert counters == Counters(delivered=2 * outcomes + 1, usage={"extra": 3})


async def test_a_worker_that_is_cut_off_while_it_waits_takes_no_commit_with_it() -> None:
    """The grace may be over while the disk is slow: what others settled is kept."""
    ledger, counters = SlowLedger(), Counters()
    ours = acknowledger(ledger, counters)
    answered = Answered(b"{}", True, 0)
    for no in range(2 * BATCH_OUTCOMES):
        assert ours.add_at_once(Task(str(no)), answered)
    late = asyncio.create_task(ours.add(Task("late"), answered))
    await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    ledger.go_on.set()
    await ours.flush()
    assert [batch.outcomes for batch in ledger.batches] == [BATCH_OUTCOMES, BATCH_OUTCOMES]
    assert counters.delivered == 2 * BATCH_OUTCOMES


def test_a_batch_that_does_not_fill_is_committed_within_a_second_of_its_first_outcome() -> None:
    async def main() -> None:
        ledger, told = QuickLedger(), list[tuple[int, int]]()
        ours = acknowledger(ledger, Counters(), lambda *what: told.append(what))
        keeping = asyncio.create_task(ours.keep_time())
        await asyncio.sleep(5)
        assert ledger.batches == [], "nothing is no batch"
        for no in range(3):
            assert ours.add_at_once(Task(str(no)), Answered(b"{}", True, 0))
        await asyncio.sleep(1)
        assert [batch.outcomes for batch in ledger.batches] == [3]
        assert told == [(3, 77)], "records, and the bytes that the journal took in"
        keeping.cancel()

    run_virtually(main)


_DAY_MS = 86_400_000
_OPEN = OpenCall("id", 0, 0, 1, "run-0", b"{}", 1, 1)
_DIED = Died("bad_query_id", "", 1, 3 * _DAY_MS)


@pytest.mark.parametrize(
    ("task", "conclusion", "counted"),
    [
        (Task("id"), Answered(b"{}", True, 0), Counters(delivered=1)),
        (Task("id"), Answered(b"{}", False, 0), Counters(open=1)),
        (Task("id"), _DIED, Counters(dead=1)),
        (Task("id", open_call=_OPEN), _DIED, Counters(dead=1, opens_published=1)),
        (Task("id"), PutOff("timeout", 5, 0, counts=False), Counters(deferred=1)),
        (
            Task("id", is_last_try=True),
            Answered(b"{}", True, 0),
            Counters(delivered=1, deferred=-1),
        ),
        (Task("id", is_last_try=True), PutOff("timeout", 1, 0, counts=False), Counters()),
        (Task("id", 0, 0, again=True), Answered(b"{}", True, 0), Counters(again=1)),
        (Task("id", 0, 0, again=True), Answered(b"{}", False, 0), Counters(again=1)),
        (Task("id", 0, 0, again=True), _DIED, Counters(again=1, forgotten=1)),
        (Task("id", 0, 0, again=True), Unknown(0, 1), Counters(again=1, forgotten=1)),
        (Task("id", 0, 0, again=True), PutOff("timeout", 5, 0, counts=False), Counters()),
        (
            # It was in no total when it was deferred, so it leaves none.
            Task("id", 0, 0, again=True, is_last_try=True),
            Answered(b"{}", True, 0),
            Counters(again=1),
        ),
    ],
)
async def test_each_outcome_is_counted_once_also_of_an_id_that_was_deferred_before(
    task: Task, conclusion: Conclusion, counted: Counters
) -> None:
    counters = Counters()
    ours = acknowledger(QuickLedger(), counters)
    assert ours.add_at_once(task, conclusion) == (not isinstance(conclusion, PutOff))
    if isinstance(conclusion, PutOff):
        await ours.add(task, conclusion)
    assert counters == counted
    await ours.flush()


def test_one_batch_is_committed_at_a_time_however_slow_the_disk_is() -> None:
    async def main() -> None:
        ledger, counters = SlowLedger(), Counters()
        ours = acknowledger(ledger, counters)
        keeping = asyncio.create_task(ours.keep_time())
        for name in "abc":
            assert ours.add_at_once(Task(name), Answered(b"{}", True, 0))
            await asyncio.sleep(2)
        assert [batch.outcomes for batch in ledger.batches] == [1]
        ledger.go_on.set()
        await asyncio.sleep(1)
        assert [batch.outcomes for batch in ledger.batches] == [1, 2]
        assert counters.usage == {"extra": 2}
        keeping.cancel()

    run_virtually(main)


class FullLedger:
    """Takes the first batches, and then nothing."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.stored: list[dict[str, int]] = []

    async def call(self, function: object, run_id: str, batch: Batch, **more: Any) -> Any:
        """See `LedgerWriter`."""
        del function, run_id, batch
        await asyncio.sleep(0)
        if len(self.stored) == self.takes:
            raise StoreError("full", code="output.full")
        self.stored.append(dict(more["counters"]))
        return 10, Counter()


async def test_what_cannot_be_kept_is_told_at_once_and_nobody_goes_on() -> None:
    told: list[HarvesterError] = []
    counters, kept = Counters(), list[tuple[int, int]]()
    ours = Acknowledger(
        FullLedger(1),  # type: ignore[arg-type]
        Policy("run", OpenCalls(), Retry(), lambda _: None),
        None,
        counters,
        requests_of_day=lambda: ("", 0),
        on_committed=lambda *what: kept.append(what),
        on_failed=told.append,
    )
    for name in ("kept", "lost"):
        assert ours.add_at_once(Task(name), Answered(b"{}", True, 0))
        if name == "kept":
            await ours.flush()
    with pytest.raises(StoreError):
        await ours.flush()
    assert [exc.code for exc in told] == ["output.full"]
    assert kept == [(1, 10)]
    with pytest.raises(StoreError):
        await ours.flush()


async def test_the_counters_that_are_committed_are_those_of_the_moment_a_batch_closed() -> None:
    ledger = FullLedger(9)
    counters = Counters()
    ours = acknowledger(ledger, counters)  # type: ignore[arg-type]
    for no in range(BATCH_OUTCOMES + 3):
        assert ours.add_at_once(Task(str(no)), Answered(b"{}", True, 0))
    await ours.flush()
    assert [one["delivered"] for one in ledger.stored] == [BATCH_OUTCOMES, BATCH_OUTCOMES + 3]


async def test_records_of_both_kinds_are_told_to_have_come_into_the_journal() -> None:
    told: list[tuple[int, int]] = []
    ours = acknowledger(QuickLedger(), Counters(), lambda *what: told.append(what))
    for task in (Task("new"), Task("again", 0, 0, again=True), Task("more", 0, 1, again=True)):
        assert ours.add_at_once(task, Answered(b"{}", True, 0))
    await ours.add(Task("late"), PutOff("timeout", 5, 0, counts=False))
    await ours.flush()
    assert told == [(3, 77)], "what is deferred is no record"
