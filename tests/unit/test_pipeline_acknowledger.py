"""Batches: how they fill, when they close, who waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from harvester.config import OpenCalls, Retry
from harvester.pipeline.engine.acknowledger import BATCH_BYTES, BATCH_OUTCOMES, Acknowledger
from harvester.pipeline.engine.settle import Policy
from harvester.pipeline.engine.task import Answered, Task
from harvester.state.values import Batch, Counters


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


def acknowledger(ledger: SlowLedger, counters: Counters) -> Acknowledger:
    return Acknowledger(
        ledger,  # type: ignore[arg-type]
        Policy("run", OpenCalls(), Retry(), lambda _: None),
        None,
        counters,
        requests_of_day=lambda: ("", 0),
        on_committed=lambda records, size: None,
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
