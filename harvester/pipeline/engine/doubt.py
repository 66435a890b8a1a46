"""What a run may believe of the vendor as a whole, and what it holds back until it may.

Theory of operation.  A permanent failure ends an id, and an ill vendor can say it of every id
within seconds.  So permanent failures are held back until the next record: neither counted nor
committed.  That shows that this is the vendor that knows our calls, and all of them count.  When
`FULL` are held, probes are fetched: an id whose record the run got, then ids from elsewhere in the
list.  A record among them, and the run goes on; none, and it halts, and every id stays pending.  So
it is at the end of a list, where the first of these is all there is.  A run that got no record
fetches one that an earlier run delivered; only an output that has none, or none that is young
enough, commits what is held at the end of a list before 200: so few show nothing.  A run that stops
sooner leaves them pending; so that one whose budget of the day is small gets somewhere, it fetches
probes at a quarter of that: each no may cost a second request, and the probes need some as well.

Records before or between them don't show that the vendor was well all the time.  So a series of
permanent failures goes on until as many records come on end as may be on their way at once, and
`PROBES` at least.  From `PROBES` failures on, what was held is fetched once more at the end of the
list before it counts, and there the vendor is looked at after every `PROBES` of them.

An id that its own digits date further back than the vendor keeps records is no sign either way, nor
is a dead letter that is fetched again on purpose, nor an id whose record the data set has: theirs
are committed at once.

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
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from harvester.client.clock import VendorClock
from harvester.client.verdicts import Busy, NetworkFailure, Record, Throttled, Verdict
from harvester.errors import StoreError, VendorRefused
from harvester.pipeline.engine.settle import KEPT_MS, Policy, is_older, is_permanent
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.pipeline.engine.task_source import TaskSource
from harvester.pipeline.engine.workers import Prober
from harvester.pipeline.limits.health import RefusalWatch
from harvester.state import between_runs, unresolved
from harvester.state.writer import LedgerWriter

FULL = 200
PROBES = 20
TRIES_OF_KNOWN = 3

_TELL_NOTHING = (Busy, NetworkFailure, Throttled)
"""Verdicts that show neither that the vendor knows a call nor that it does not."""
_FOR_A_REFUSAL = ("refused_", "status_", "time_refused")
"""What the cause of an id begins with that was deferred for what may have been meant for all."""


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
        concurrency: int,
        proof: str,
        is_proven: bool,
        newest: Callable[[sqlite3.Connection], str | None],
        settle: Callable[[Task, Conclusion], Awaitable[None]],
        count_begun: Callable[[Task], None],
        count_cut_off: Callable[[Task], None],
    ) -> None:
        """`proof` stands for this address with this key; see `between_runs.prove`.  `newest`: an
        id whose record lies in the data set, the youngest that is easily found.

        `settle` has a conclusion acknowledged; the other two count an id.
        """
        self._ledger = ledger
        self.policy = policy
        self._clock = clock
        self._stop = stop
        self._full = FULL if per_day is None else max(1, min(FULL, per_day // 4))
        self._calm_after = max(PROBES, concurrency)
        self._proof = proof
        self._has_proof = False
        self._newest = newest
        self._settle = settle
        self._count_begun = count_begun
        self._count_cut_off = count_cut_off
        self.refusals = RefusalWatch(is_proven=is_proven)
        self.is_calm = False
        """Whether this run got a record, and no permanent failure since."""
        self.is_probing = False
        self._on_end = 0
        """Permanent failures of the series in hand."""
        self._records_before = 0
        """Records of the run before the latest of them."""
        self._is_last_round = False
        """Whether what is said no to now can't be fetched again by this run."""
        self._outage_probes = 0
        self._probed = asyncio.Event()
        self._held: list[tuple[Task, Unknown | Died | PutOff]] = []

    async def left(self, at_most: int | None = None) -> set[str] | None:
        """The ids still to settle if none wait behind them, and no more than `at_most`; or None."""
        return await self.source.left(at_most)

    async def was_refused(self, voice_id: str) -> bool:
        """Whether the id is deferred for a refusal, also of its time, or an unknown status."""
        item = await self._ledger.call(unresolved.deferred, voice_id)
        return item is not None and item.cause.startswith(_FOR_A_REFUSAL)

    async def free(self) -> None:
        """Wait while somebody fetches probes, unless the run stops."""
        # Who waits when it stops is cancelled; whoever comes here after that must not wait.
        while self.is_probing and not self._stop.is_set:
            await self._probed.wait()

    async def settle(self, task: Task, conclusion: Conclusion) -> None:
        """Have a conclusion acknowledged, or hold it back."""
        if task.again and not isinstance(conclusion, Answered):
            await self._settle(task, conclusion)  # it ends no id: what the data set has stays
            return
        if isinstance(conclusion, Answered):
            if not self.is_calm:
                self.is_calm = True
                await self._trust()
        elif isinstance(conclusion, Unknown | Died) and await self._is_held(task, conclusion):
            self._held.append((task, conclusion))
            self._note_no()
            return
        await self._settle(task, conclusion)

    async def look(self) -> None:
        """Halt the run if many permanent failures and no record are what all ids get."""
        is_closer = self._is_last_round and self.fetcher.known is not None
        full = min(PROBES, self._full) if is_closer else self._full
        if self._stop.is_set or len(self._held) < full:
            return
        verdicts = await self._look(self.fetcher.known)
        if is_closer:
            await self._end_with(verdicts)
            return
        if verdicts is None or _has_record(verdicts):
            return
        # Without a rest the last ones are on their way already.
        if self._held and (verdicts or not self.source.held):
            self._stop.stop(self._ill())

    async def end_list(self) -> None:
        """All ids had their turn; what is deferred is fetched once more after this."""
        if self._is_long and not self._has_proof:
            witness = await self._witness()
            if witness is not None:
                await self._look(witness)
        elif self._is_long:
            await self._release()
        self._is_last_round = True

    async def end(self) -> None:
        """The run ends: what is held counts if the vendor still knows our calls, or stays pending.

        Where it never gave one, to no run, few count and many don't.
        """
        if self._held and self._stop.reason is None:
            witness = await self._witness()
            if witness is not None:
                await self._end_with(await self._look(witness))
            elif len(self._held) < self._full:
                await self._release()
            else:
                self._stop.stop(self._ill())
        for task, _ in self._held:
            self._count_cut_off(task)

    async def _witness(self) -> Task | None:
        """An id whose record this run got, or an earlier one, if the vendor must have it still."""
        if self.fetcher.known is not None:
            return self.fetcher.known
        try:
            voice_id = await self._ledger.call(self._newest)
        except StoreError:
            return None  # a file that can't be read is for `verify` to tell, and ends no run
        if voice_id is None or self.policy.dated(voice_id) is None:
            return None
        task = Task(voice_id)
        is_kept = not is_older(task, KEPT_MS, Unknown(self._clock.now_ms(), 1), self.policy)
        return task if is_kept and self.policy.are_ages_sure() else None

    async def _end_with(self, verdicts: Sequence[Verdict] | None) -> None:
        if not self._held or not verdicts or _has_record(verdicts):
            return
        if not isinstance(verdicts[-1], _TELL_NOTHING):
            self._stop.stop(self._ill())
            return
        # Neither well nor ill: these ids are fetched again by the next run.
        self._held = [(task, _unconfirmed(no)) for task, no in self._held]
        await self._release()

    async def _look(self, known: Task | None) -> Sequence[Verdict] | None:
        """Fetch probes, `known` first; what is held counts once there is a record among them."""
        # Whatever the vendor's state, it gives no record for an id older than it keeps them.
        before = datetime.fromtimestamp(self._clock.now() - KEPT_MS / 1000, UTC)
        try:
            verdicts = await self.probe(
                PROBES,
                lambda verdict: isinstance(verdict, Record),
                known=known,
                before=before,
            )
        except CutOff:
            return None
        if _has_record(verdicts or ()):
            await self._trust()
        return verdicts

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
                verdicts.append(await self._probe_known(known))
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
        self._count_begun(task)
        await self.settle(task, conclusion)
        self.source.give_back(task)
        return verdict

    async def _probe_known(self, known: Task) -> Verdict:
        """What it is answered now; more than one failure on the way to that is bad luck."""
        for _ in range(TRIES_OF_KNOWN):
            self._stop.idle()
            self._stop.check()
            verdict, _ = await self.fetcher.probe(known)
            if not isinstance(verdict, _TELL_NOTHING):
                break
        return verdict

    async def _is_held(self, task: Task, no: Unknown | Died) -> bool:
        return (
            is_permanent(task, no, self.policy)
            and not is_older(task, KEPT_MS, no, self.policy)
            and not await self._ledger.call(unresolved.is_retrying, task.voice_id)
        )

    def _note_no(self) -> None:
        records = self.fetcher.delivered
        if records - self._records_before >= self._calm_after:
            self._on_end = 0
        self._records_before = records
        self._on_end += 1
        self.is_calm = False

    async def _trust(self) -> None:
        """A record came: this vendor knows our calls, and its permanent failures count."""
        await self._release(self._prove)

    @property
    def _is_long(self) -> bool:
        return not self._is_last_round and self._on_end >= PROBES

    async def _was_put_off(self, task: Task) -> bool:
        """Whether the vendor said no before, in this run or in one that did not get so far."""
        if task.is_last_try:
            return True
        item = await self._ledger.call(unresolved.deferred, task.voice_id)
        return item is not None and item.cause == _UNCONFIRMED

    async def _prove(self) -> None:
        if not self._has_proof and not await self._ledger.call(between_runs.is_proven, self._proof):
            await self._ledger.call(between_runs.prove, self._proof)
        self._has_proof = True

    async def _release(self, first: Callable[[], Awaitable[None]] | None = None) -> None:
        # What is held from now on waits for the record after this one.
        held, self._held = self._held, []
        is_long = self._is_long
        try:
            if first is not None:
                await first()
            while held:
                task, no = held[-1]
                if is_long and not await self._was_put_off(task):
                    no = _unconfirmed(no)
                await self._settle(task, no)
                held.pop()
        finally:
            self._held = [*held, *self._held]

    def _ill(self) -> VendorRefused:
        body = self.fetcher.shown(self.fetcher.last_no)
        return VendorRefused(
            f"{len(self._held)} id(s) got permanent failures, and no record came for others that "
            f"were asked for to make sure: {body!r}. The vendor may have a fault, or these ids "
            "belong to another account. Nothing is lost: the ids stay pending. Check "
            "vendor.base_url, the key and the ids, or ask the vendor, then run the same command "
            "again.",
            code="vendor.all_failures",
        )


def _has_record(verdicts: Sequence[Verdict]) -> bool:
    return any(isinstance(verdict, Record) for verdict in verdicts)


_UNCONFIRMED = "unconfirmed"


def _unconfirmed(no: Unknown | Died | PutOff) -> PutOff:
    return PutOff(_UNCONFIRMED, no.attempts, no.at_ms, counts=False)
