"""What a run may believe of the vendor as a whole, and what it holds back until it may.

Theory of operation.  A permanent failure ends an id, and an ill vendor can say it of every id
within seconds.  So until a run's first record its permanent failures are held back: neither counted
nor committed.  The first record shows that this is the vendor that knows our calls, and all of them
count.  When `FULL` are held, ids from elsewhere in the list are fetched as probes: a record among
them, and the run goes on; none, and it halts, with every id pending as before.  A list that ends
sooner commits what is held: so few show nothing.  A run that stops sooner leaves them pending; so
that one whose budget of the day is small gets somewhere, it fetches probes at a quarter of that:
each no may cost a second request, and the probes need some as well.

An id that its own digits date further back than the vendor keeps records is no sign either way, nor
is a dead letter that is fetched again on purpose: theirs are committed at once.

A refusal is doubted the same way (`RefusalWatch`): what three ids agree on, probes must confirm.
These may be of any age, for that says nothing of whether the key is right.  An id whose record the
run got is the best probe, and the only one at the end of a list.

So is an outage as long as the run has no record: the ids that failed may be such that always do.

Probes are fetched by whoever has the suspicion, one after another, so that no connection is needed
beyond its own; the other workers finish what they hold and wait.  A probe is one request on a
connection of its own.  What it concludes counts like any other conclusion; what it does not
conclude goes back to the list.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from harvester.errors import VendorRefused
from harvester.harvest.health import RefusalWatch
from harvester.harvest.settle import KEPT_MS, Policy, is_older, is_permanent
from harvester.harvest.source import TaskSource
from harvester.harvest.stop import CutOff, Stop
from harvester.harvest.task import Answered, Conclusion, Died, Task, Unknown
from harvester.ledger import records
from harvester.ledger.writer import LedgerWriter
from harvester.vendor.clock import VendorClock
from harvester.vendor.verdicts import Record, Verdict

FULL = 200
PROBES = 20

_FOR_A_REFUSAL = ("refused_", "status_")
"""What the cause of an id begins with that was deferred for what may have been meant for all."""


class Prober(Protocol):
    """Who fetches probes."""

    last_no: bytes
    """The body of the latest permanent failure."""

    async def probe(
        self, task: Task, *, of_outage: bool = False
    ) -> tuple[Verdict, Conclusion | None]:
        """One request on a connection of its own, and what it concludes, if it does.

        `of_outage`: it does not wait for the outage to end.
        """
        ...

    def shown(self, body: bytes) -> bytes:
        """The start of an answer, fit to be shown."""
        ...


class Doubt:
    """One per run.  `source` and `fetcher` are set before anything is fetched."""

    source: TaskSource
    """What the run fetches now."""
    fetcher: Prober

    def __init__(
        self,
        ledger: LedgerWriter,
        policy: Policy,
        clock: VendorClock,
        stop: Stop,
        *,
        per_day: int | None,
        proof: str,
        is_proven: bool,
        settle: Callable[[Task, Conclusion], Awaitable[None]],
        count: Callable[[str, Task], None],
    ) -> None:
        """`proof` stands for this address with this key; see `records.prove`.

        `settle` has a conclusion acknowledged; `count` counts an id as "begun" or as "cut_off".
        """
        self._ledger = ledger
        self.policy = policy
        self._clock = clock
        self._stop = stop
        self._full = FULL if per_day is None else max(1, min(FULL, per_day // 4))
        self._proof = proof
        self._settle = settle
        self._count = count
        self.refusals = RefusalWatch(is_proven=is_proven)
        self.is_over = False
        """Whether this run got a record: nothing is held back any more."""
        self.is_probing = False
        self._outage_probes = 0
        self._probed = asyncio.Event()
        self._held: list[tuple[Task, Unknown | Died]] = []

    async def left(self, at_most: int | None = None) -> set[str] | None:
        """The ids still to settle if none wait behind them, and no more than `at_most`; or None."""
        return await self.source.left(at_most)

    async def was_refused(self, voice_id: str) -> bool:
        """Whether the id is deferred for a refusal or an unknown status."""
        item = await self._ledger.call(records.deferred, voice_id)
        return item is not None and item.cause.startswith(_FOR_A_REFUSAL)

    async def free(self) -> None:
        """Wait while somebody fetches probes, unless the run stops."""
        # Who waits when it stops is cancelled; whoever comes here after that must not wait.
        while self.is_probing and not self._stop.is_set:
            await self._probed.wait()

    async def settle(self, task: Task, conclusion: Conclusion) -> None:
        """Have a conclusion acknowledged, or hold it back."""
        if not self.is_over:
            if isinstance(conclusion, Answered):
                await self._trust()
            elif isinstance(conclusion, Unknown | Died) and await self._is_held(task, conclusion):
                self._held.append((task, conclusion))
                return
        await self._settle(task, conclusion)

    async def look(self) -> None:
        """Halt the run if many permanent failures and no record are what all ids get."""
        if len(self._held) < self._full or self._stop.is_set:
            return
        try:
            # Whatever the vendor's state, it gives no record for an id older than it keeps them.
            before = datetime.fromtimestamp(self._clock.now() - KEPT_MS / 1000, UTC)
            verdicts = await self.probe(
                PROBES, lambda verdict: isinstance(verdict, Record), before=before
            )
        except CutOff:
            return
        if verdicts is None or self.is_over:
            return
        # Without a rest the last ones are on their way already.
        if verdicts or not self.source.held:
            self._stop.stop(self._ill())

    async def end(self) -> None:
        """The run ends: the few that are held count if it came to its end, or stay pending."""
        if self._stop.reason is None and len(self._held) < self._full:
            await self._release()
        elif self._stop.reason is None:
            self._stop.stop(self._ill())
        for task, _ in self._held:
            self._count("cut_off", task)

    async def probe(
        self,
        count: int,
        is_enough: Callable[[Verdict], bool],
        *,
        known: Task | None = None,
        before: datetime | None = None,
        of_outage: bool = False,
    ) -> Sequence[Verdict] | None:
        """What the vendor answers to at most `count` ids of the rest, none dated before `before`.

        `known`, an id whose record the run got, is asked first.  Ends with the first answer that
        `is_enough`.  Empty if there is nobody to ask; None if somebody else fetches probes already.
        Raises CutOff if the run stops.  `of_outage`: they don't wait for it to end, and begin with
        another of the `count` each time.
        """
        if self.is_probing:
            return None
        self.is_probing = True
        self._probed.clear()
        verdicts: list[Verdict] = []
        tasks: deque[Task] = deque()
        try:
            if known is not None:
                verdicts.append((await self.fetcher.probe(known))[0])
            if not any(map(is_enough, verdicts)):
                tasks.extend(await self.source.draw(count, before))
            if of_outage:
                tasks.rotate(-self._outage_probes)
                self._outage_probes += 1
            while tasks and not any(map(is_enough, verdicts[-1:])):
                self._stop.idle()
                self._stop.check()
                verdicts.append(await self._probe(tasks[0], of_outage=of_outage))
                tasks.popleft()
        finally:
            for task in tasks:
                self.source.put_back(task)
            self.is_probing = False
            self._probed.set()
        return verdicts

    async def _probe(self, task: Task, *, of_outage: bool) -> Verdict:
        verdict, conclusion = await self.fetcher.probe(task, of_outage=of_outage)
        if conclusion is None:
            self.source.put_back(task)
            return verdict
        self._stop.busy()
        self._count("begun", task)
        await self.settle(task, conclusion)
        self.source.give_back(task)
        return verdict

    async def _is_held(self, task: Task, no: Unknown | Died) -> bool:
        return (
            is_permanent(task, no, self.policy)
            and not is_older(task, KEPT_MS, no, self.policy)
            and not await self._ledger.call(records.is_retrying, task.voice_id)
        )

    async def _trust(self) -> None:
        """A record came: this vendor knows our calls, and its permanent failures count."""
        self.is_over = True
        if not await self._ledger.call(records.is_proven, self._proof):
            await self._ledger.call(records.prove, self._proof)
        await self._release()

    async def _release(self) -> None:
        while self._held:
            held = self._held.pop()
            try:
                await self._settle(*held)
            except BaseException:
                self._held.append(held)
                raise

    def _ill(self) -> VendorRefused:
        body = self.fetcher.shown(self.fetcher.last_no)
        return VendorRefused(
            f"the vendor answered the first {len(self._held)} ids with permanent failures and gave "
            f"no record for ids from elsewhere in the list either: {body!r}. It may be ill, or "
            "these ids belong to another account. Nothing is lost: the ids stay pending. Check "
            "vendor.base_url, the key and the ids, or ask the vendor, then run the same command "
            "again."
        )
