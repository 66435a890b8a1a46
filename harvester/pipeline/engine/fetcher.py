"""Fetching: one id at a time per worker, from its first attempt to its conclusion.

An attempt is: enter the gate (shut during an outage, but for probes), wait while the pace is
closed, and let the transport take a connection, a turn and a signature.  What the answer means is
judged in `client.judge`; what the id does next is decided in `limits.retry_policy`; here both are
carried out.

The loop of tries begins only after a first failure: around every request it would cost as much
again as the request itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from harvester.client.clock import VendorClock
from harvester.client.judge import judge, retry_after_s
from harvester.client.record_group import record_request
from harvester.client.refusal_text import refusal_code, refusal_message
from harvester.client.transport import EXHAUSTED, NoReply, Reply, Transport
from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    NoRecord,
    Record,
    Refusal,
    Throttled,
    TimeRefused,
    UnknownStatus,
    Verdict,
)
from harvester.config import Retry
from harvester.errors import VendorRefused
from harvester.pipeline.engine.heads import FINAL, SPEAKS, Heads
from harvester.pipeline.engine.sealer import Sealer
from harvester.pipeline.engine.settle import KEPT_MS, is_older, is_permanent
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.pipeline.engine.task_source import LEFT_MATTERS, OPENING_ATTEMPTS
from harvester.pipeline.engine.workers import Others
from harvester.pipeline.limits.backoff import backoff_s
from harvester.pipeline.limits.health import UNKNOWNS_THAT_HALT
from harvester.pipeline.limits.outage_gate import OutageGate
from harvester.pipeline.limits.pace import HeldUp, Pace
from harvester.pipeline.limits.retry_policy import (
    MAX_UNKNOWN,
    Again,
    Defer,
    Settle,
    Spent,
    Step,
    Surroundings,
    next_step,
)
from harvester.pipeline.limits.retrying import repeated
from harvester.redact import answer_without_numbers
from harvester.state.values import Counters

PROBES = 5
"""Ids from elsewhere in the list, before a suspicion of the vendor as a whole is believed."""
# Tuples: `isinstance(x, A | B)` makes the union anew each time.
_FINAL, _SPEAKS = FINAL, SPEAKS
_FAILED = (Busy, NetworkFailure)
_REFUSALS_ALIKE = (Refusal, TimeRefused)
_WAITED_OUT = (*_FINAL, *_REFUSALS_ALIKE)
_LAST_TRY = Retry(busy_attempts=1, network_attempts=1)
STUCK = NoReply("timeout", "the transport gave no answer in three times vendor.timeout_s")
_SHOWN = 300
_THROTTLED = 3
"""On end, whoever gets them: then another id is fetched."""
_CONFIRMATIONS = 20
"""So many permanent failures confirmed, and those of ids that are old anyway need no confirming."""


@dataclass(slots=True)
class _Attempts:
    """An id whose first attempt did not conclude it, and what it has been through since."""

    task: Task
    spent: Spent
    delivered_before: int
    """Records of the run before its first attempt."""
    succeeded_before: int
    """Conclusive answers of the run before its latest attempt."""
    delivered_lately: int
    """Records of the run before its latest attempt."""
    verdict: Verdict
    reply: Reply | None
    in_outage: bool
    is_doubtful: bool = False
    """Whether its latest no is to be confirmed on another connection."""


class Fetcher:
    """Asks for ids.  One per run; all its workers share it."""

    def __init__(
        self,
        *,
        transport: Transport,
        sealer: Sealer,
        pace: Pace,
        clock: VendorClock,
        gate: OutageGate,
        stop: Stop,
        limits: Retry,
        counters: Counters,
        dice: Callable[[], float],
        others: Others,
        is_counted: bool = False,
    ) -> None:
        """Must be made inside the running loop.  `is_counted`: `pace.per_day` is set."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._sealer = sealer
        self._pace = pace
        self._clock = clock
        self._gate = gate
        self._stop = stop
        self._limits = limits
        self._counters = counters
        self._dice = dice
        self._others = others
        self._policy = others.policy
        self.received_bytes = 0
        """Of answers, decoded, whatever they said."""
        self.failures: dict[str, str] = {}
        """What the latest failure of each cause said."""
        self.last_no = b""
        """The body of the latest permanent failure."""
        self._refusals = others.refusals
        self._confirmed = 0
        self.delivered = 0
        """Records that the run got."""
        self.known: Task | None = None
        """An id whose record this run got."""
        self._succeeded = 0
        self._heads = Heads(clock)
        self._is_heard = False
        self.heard = asyncio.Event()
        """Set once the first answer has shown the vendor's time, or can't: others may begin."""
        self.let_in = asyncio.Event()
        """Set once an answer has shown that the vendor lets us in."""
        self._alone = 0
        self._is_counted = is_counted
        self._pushed_back: set[str] = set()
        self._turned_away = 0
        """Push-backs since the latest answer that was none."""

    async def fetch(self, task: Task) -> Conclusion:
        """Ask until the id is concluded.  Raises CutOff when the run stops before that."""
        delivered, succeeded = self.delivered, self._succeeded
        first = await self._attempt(task)
        verdict = first[0]
        if isinstance(verdict, Record):
            return self._answered(verdict)
        return await self._go_on(task, (delivered, succeeded), first)

    async def fetch_on(
        self, task: Task, answer: Reply | NoReply, *, is_outage: bool | None
    ) -> Conclusion:
        """As `fetch`, after a first attempt that another process made and that brought `answer`.

        `is_outage`: whether that process alone gets no answers; None: all of them get none.
        """
        before = (self.delivered, self._succeeded)
        verdict, reply = self._judged(task.voice_id, answer)
        self._learn_elsewhere(task, verdict, is_outage=is_outage)
        if not isinstance(verdict, Record):
            await self._learn_suspicion(task, verdict, reply)
        first = verdict, reply, bool(is_outage) or self._gate.is_shut
        return await self._go_on(task, before, first)

    def note_record(self, task: Task, now: float) -> None:
        """A record came, here or to another process: the vendor is well, and knows our calls.

        `now`: loop time.
        """
        self._gate.note(now, failed=False)
        self.delivered += 1
        self._succeeded += 1
        self._turned_away = 0
        if self.known is None:
            self.known = Task(task.voice_id)
            self.let_in.set()
        if not self._refusals.is_calm:
            self._refusals.delivered()

    def begin(self) -> None:
        """Let the others begin."""
        self._is_heard = True
        self.heard.set()

    async def probe(
        self, task: Task, *, of_outage: bool = False
    ) -> tuple[Verdict, Conclusion | None]:
        """One request on a connection of its own, and what it concludes, if it does.

        `of_outage`: the gate let it in.
        """
        verdict, reply, _ = await self._attempt(task, fresh=True, is_probe=of_outage)
        if not isinstance(verdict, _FINAL):
            return verdict, None
        return verdict, self._conclude(verdict, reply, attempts=1)

    def shown(self, body: bytes) -> bytes:
        """The start of an answer, fit to be shown and kept."""
        # Cut last: half a key would not be known for one.
        return answer_without_numbers(self._sealer.hide(body))[:_SHOWN]

    async def _go_on(
        self,
        task: Task,
        before: tuple[int, int],
        first: tuple[Verdict, Reply | None, bool],
    ) -> Conclusion:
        """The slow way: conclude after the first attempt, or budgets, backoff, another try."""
        verdict, reply, in_outage = first
        if isinstance(verdict, _FINAL) and not self._is_doubtful(task, verdict, reply):
            return self._conclude(verdict, reply, attempts=1)
        so_far = _Attempts(task, Spent(), *before, before[0], verdict, reply, in_outage)
        try:
            last = await repeated(lambda: self._next_step(so_far), self._pause_s)
        finally:
            self._pushed_back.discard(task.voice_id)
        match last:
            case Settle(verdict):
                attempts = so_far.spent.attempts
                return self._conclude(verdict, so_far.reply, attempts, unknown=so_far.verdict)
            case Defer(cause):
                return await self._put_off(so_far, cause)
            case Again():
                raise AssertionError("another try is due, and none was made")
            case never:
                assert_never(never)

    async def _next_step(self, so_far: _Attempts) -> Step:
        """Another attempt, unless the first has just failed, and what comes after it."""
        task, spent = so_far.task, so_far.spent
        if spent.attempts:
            await self._others.free()
            self._stop.check()
            so_far.delivered_lately = self.delivered
            so_far.verdict, so_far.reply, so_far.in_outage = await self._attempt(
                task, fresh=so_far.is_doubtful
            )
        spent.attempts += 1
        if isinstance(so_far.verdict, Throttled) and self._turned_away >= _THROTTLED:
            await self._see_others()
        around = await self._surroundings(so_far)
        so_far.succeeded_before = self._succeeded
        limits = _LAST_TRY if task.is_last_try else self._limits
        step = next_step(so_far.verdict, spent, around, limits)
        was_doubtful, so_far.is_doubtful = so_far.is_doubtful, False
        if isinstance(step, Settle) and self._is_doubtful(task, step.verdict, so_far.reply):
            step, so_far.is_doubtful = Again(0, "unconfirmed"), True
        elif was_doubtful and isinstance(step, Settle):
            self._confirmed += not isinstance(step.verdict, Record)
        await self._before_next(task, step)
        return step

    async def _surroundings(self, so_far: _Attempts) -> Surroundings:
        verdict = so_far.verdict
        return Surroundings(
            others_delivered=isinstance(verdict, UnknownStatus)
            and so_far.spent.unknown >= MAX_UNKNOWN - 1
            and await self._are_others_delivered(so_far.delivered_lately),
            succeeded_since_last=self._succeeded > so_far.succeeded_before,
            clock_verified=self._clock.is_verified,
            is_alone=await self._is_alone(so_far.task.voice_id, verdict),
            in_outage=so_far.in_outage,
        )

    async def _put_off(self, so_far: _Attempts, cause: str) -> PutOff:
        task, before = so_far.task, so_far.delivered_before
        counts = task.counts or self.delivered > before
        if task.is_last_try and not counts:
            # The last ids of a list have none beside them: one that came may come again.
            counts = await self._are_others_delivered(before)
        return PutOff(cause, so_far.spent.attempts, self._clock.now_ms(), counts)

    async def _are_others_delivered(self, before: int) -> bool:
        """Whether more than `before` records came, or one comes again that the run got.

        An id that is about to die of its answers: is it the id, or does nobody get another one now?
        """
        if self.delivered > before:
            return True
        if self.known is None:
            return False
        verdict, _, _ = await self._attempt(self.known, fresh=True, is_probe=True)
        return isinstance(verdict, Record)

    async def _see_others(self) -> None:
        """Is everybody pushed back, or only the ids that the workers have in hand?"""
        self._turned_away = 0
        if self.known is not None:
            await self._attempt(self.known)
        else:
            await self._others.probe(PROBES, lambda _: True, of_outage=True)

    async def _enter(self) -> bool:
        """Wait while an outage lasts; whether the attempt that follows is a probe of it.

        An id that failed may do so always, and the last or the first ids of every list may be such.
        The vendor is well if it still gives a record that it gave before, so that one is the probe;
        as long as there is none, ids from elsewhere in the list are.
        """
        while await self._gate.enter():
            if self.known is not None:
                await self._attempt(self.known, is_probe=True)
            elif not await self._others.probe(PROBES, lambda _: True, of_outage=True):
                return True
        return False

    async def _attempt(
        self, task: Task, *, fresh: bool = False, is_probe: bool = False
    ) -> tuple[Verdict, Reply | None, bool]:
        """One request, and what it means; True if it was made, or failed, during an outage."""
        voice_id = task.voice_id
        answer: Reply | NoReply | None = None
        while answer is None:
            was_probe = is_probe or (self._gate.is_shut and await self._enter())
            attempt = self._sealer.enter_at_once() or await self._sealer.enter()
            try:
                answer = await self._transport.send(record_request(voice_id), fresh=fresh)
            except HeldUp:
                continue
            except asyncio.CancelledError:
                if not attempt.was_cut():
                    raise
                answer = STUCK
            finally:
                generation, attempt.generation = attempt.generation, None
                if attempt.place is not None:
                    self._sealer.leave(attempt)
        verdict, reply = self._judged(voice_id, answer)
        self._learn(task, verdict, generation, reply)
        if not self._is_heard:
            self._open(verdict)
        if not isinstance(verdict, Record):
            await self._learn_suspicion(task, verdict, reply)
        return verdict, reply, was_probe or self._gate.is_shut

    def _judged(self, voice_id: str, answer: Reply | NoReply) -> tuple[Verdict, Reply | None]:
        if isinstance(answer, Reply):
            self.received_bytes += len(answer.body)
            return judge(voice_id, answer, self._clock.now()), answer
        self.failures[answer.cause] = answer.detail
        return NetworkFailure(answer.cause), None

    def _is_doubtful(
        self, task: Task, verdict: Record | NoRecord | Dead, reply: Reply | None
    ) -> bool:
        """Whether a no that would end the id may be the answer to another.

        A connection that brought an answer before may bring what that one left behind, and a no
        names no id.
        """
        assert reply is not None, "nothing is concluded without an answer"
        if not reply.is_reused or isinstance(verdict, Record):
            return False
        if isinstance(verdict, Dead) and verdict.is_named:
            return False
        no = self._conclude(verdict, reply, attempts=1)
        assert isinstance(no, Unknown | Died)
        if not is_permanent(task, no, self._policy):
            return False
        is_expected = self._confirmed >= _CONFIRMATIONS
        return not (is_expected and is_older(task, KEPT_MS, no, self._policy))

    def _learn(
        self, task: Task, verdict: Verdict, generation: int | None, reply: Reply | None
    ) -> None:
        """What one answer says about the vendor as a whole."""
        now = self._loop.time()
        if reply is not None and (
            now >= self._heads.next_date_at or reply.retry_after or not isinstance(verdict, Record)
        ):
            self._learn_head(now, verdict, generation, reply)
        if isinstance(verdict, Record):
            self._pace.note(now, busy=False)
            self.note_record(task, now)
            if verdict.odd_hangup:
                self._counters.odd_hangups += 1
            return
        if isinstance(verdict, NetworkFailure) and verdict.cause == EXHAUSTED:
            self._gate.note_exhausted(now, self.failures[EXHAUSTED])
            return
        self._pace.note(now, busy=isinstance(verdict, Busy))
        if isinstance(verdict, Throttled):
            self._turned_away += 1
            self._gate.note_throttled(now)
            self._pace.slow_down(verdict.after_s)
            return
        failed = isinstance(verdict, _FAILED)
        if isinstance(verdict, _FAILED):
            self._gate.latest = self.failures.get(verdict.cause) or verdict.cause.replace("_", " ")
        self._gate.note(now, failed=failed)
        self._turned_away = 0
        if isinstance(verdict, _FINAL):
            self._note_let_in()

    def _note_let_in(self) -> None:
        """The vendor said something of an id, be it no."""
        self._succeeded += 1
        self._refusals.succeeded()
        self.let_in.set()

    def _learn_elsewhere(self, task: Task, verdict: Verdict, *, is_outage: bool | None) -> None:
        """What an answer to another process says; its own pace and clock have learnt from it."""
        now = self._loop.time()
        if isinstance(verdict, Record):
            self.note_record(task, now)
        elif isinstance(verdict, Throttled):
            self._turned_away += 1
            self._pace.throttled += 1
            self._gate.note_throttled(now)
        elif not isinstance(verdict, _FAILED):
            self._gate.note(now, failed=False)
            self._turned_away = 0
            if isinstance(verdict, _FINAL):
                self._note_let_in()
        elif is_outage is None and verdict.cause != EXHAUSTED:
            # That of one process alone is no outage of the vendor's.
            self._gate.latest = self.failures.get(verdict.cause) or verdict.cause.replace("_", " ")
            self._gate.note(now, failed=True)

    def _learn_head(
        self, now: float, verdict: Verdict, generation: int | None, reply: Reply
    ) -> None:
        """What the head of an answer says of the vendor's clock, and of a pause."""
        self._heads.learn(now, verdict, generation, reply)
        if reply.retry_after and isinstance(verdict, _SPEAKS):
            # Any answer may ask for a pause, also one that settles its id.
            self._pace.slow_down(retry_after_s(reply.retry_after, self._clock.now()))

    def _open(self, verdict: Verdict) -> None:
        """An attempt of those that go alone is over: may the others begin?

        Where requests are counted by the day, a failure tells no day, and is waited out as well.
        Nobody follows a refusal: a key that is tried again and again may be locked.
        """
        self._alone += 1
        is_told = isinstance(verdict, _FINAL) and not self._clock.is_doubtful
        is_failure = not isinstance(verdict, _WAITED_OUT) and not self._is_counted
        if is_told or is_failure or self._alone >= OPENING_ATTEMPTS:
            self.begin()

    async def _learn_suspicion(self, task: Task, verdict: Verdict, reply: Reply | None) -> None:
        """See whether what is no record is meant for us as a whole."""
        if isinstance(verdict, Refusal):
            await self._learn_refusal(task, verdict.what)
        elif isinstance(verdict, UnknownStatus):
            await self._learn_unknown(task, verdict.name, reply)

    async def _learn_refusal(self, task: Task, what: str) -> None:
        """See whether a refusal is meant for us, not for this id alone."""
        if await self._is_known_for_it(task):
            return
        watch = self._refusals
        # Of the first answer of all this is the likeliest, and more of them do harm.
        is_suspected = watch.refused(task.voice_id, what) or not self._is_heard
        # Those that are left may be such that always are: an id that was not can tell.
        is_meant = self.known is None and watch.all_refused(await self._others.left(), what)
        if not is_meant and is_suspected:
            verdicts = await self._others.probe(
                PROBES, lambda verdict: isinstance(verdict, _FINAL), known=self.known
            )
            is_meant = _all_are(_REFUSALS_ALIKE, verdicts)
        if is_meant:
            self._stop.stop(VendorRefused(refusal_message(what), code=refusal_code(what)))

    async def _learn_unknown(self, task: Task, status: str, reply: Reply | None) -> None:
        """The same for a status that nobody explains."""
        if await self._is_known_for_it(task) or not self._refusals.unknown(task.voice_id, status):
            return
        is_meant = self.known is None and self._refusals.all_unknown(await self._others.left())
        if not is_meant:
            verdicts = await self._others.probe(
                PROBES, lambda verdict: isinstance(verdict, Record), known=self.known
            )
            is_meant = _all_are((UnknownStatus,), verdicts)
        if is_meant:
            body = self.shown(reply.body) if reply else b""
            self._stop.stop(
                VendorRefused(
                    f"the vendor answers with a status that is unknown here ({status!r}), to "
                    f"{UNKNOWNS_THAT_HALT} ids in a row and to ids from elsewhere in the list: "
                    f"{body!r}. Nothing is lost: the ids stay pending. Ask the vendor what it "
                    "means, then run the same command again.",
                    code="vendor.unknown_status",
                )
            )

    async def _is_known_for_it(self, task: Task) -> bool:
        """Whether the id was put off for such an answer before, though the vendor lets us in.

        It shows nothing then: whoever is refused each night must not halt every night.
        """
        if not (self._refusals.is_proven and await self._others.was_refused(task.voice_id)):
            return False
        self._refusals.pass_over(task.voice_id)
        return True

    async def _is_alone(self, voice_id: str, verdict: Verdict) -> bool:
        """Whether the last few ids wait for each other: pushed back, all of them."""
        if not isinstance(verdict, Throttled):
            self._pushed_back.discard(voice_id)
            return False
        self._pushed_back.add(voice_id)
        left = await self._others.left(LEFT_MATTERS)
        return left is not None and left <= self._pushed_back

    def _answered(self, verdict: Record) -> Answered:
        (record,) = verdict.records  # one id was asked for
        return Answered(record.raw, record.over, self._clock.now_ms(), record.is_rated)

    def _conclude(
        self,
        verdict: Record | NoRecord | Dead,
        reply: Reply | None,
        attempts: int,
        unknown: Verdict | None = None,
    ) -> Conclusion:
        if isinstance(verdict, Record):
            return self._answered(verdict)
        assert reply is not None, "nothing is concluded without an answer"
        now_ms, body = self._clock.now_ms(), reply.body
        match verdict:
            case NoRecord():
                self.last_no = body
                return Unknown(now_ms, attempts)
            case Dead(reason):
                self.last_no = body
                detail = f"status {unknown.name}" if isinstance(unknown, UnknownStatus) else ""
                return Died(reason, detail, attempts, now_ms, self._sealer.hide(body))
            case never:
                assert_never(never)

    async def _before_next(self, task: Task, step: Step) -> None:
        if not isinstance(step, Again | Defer):
            return
        if step.cause == "refused_-16":
            # Signing afresh did not help, and no id succeeds with this clock: it is all of us.
            await self._learn_refusal(task, "-16")
        if isinstance(step, Again):
            retries = self._counters.retries
            retries[step.cause] = retries.get(step.cause, 0) + 1
            self._stop.idle()
            self._stop.check()

    def _pause_s(self, step: Step) -> float | None:
        """Seconds until the next try; None where there is none."""
        if not isinstance(step, Again):
            return None
        first_s, most_s = self._limits.backoff_initial_s, self._limits.backoff_max_s
        return backoff_s(step.failures, first_s, most_s, self._dice()) if step.failures else 0.0


def _all_are(kinds: tuple[type[Verdict], ...], verdicts: Sequence[Verdict] | None) -> bool:
    """Whether there are verdicts, and all of these kinds."""
    return bool(verdicts) and all(isinstance(verdict, kinds) for verdict in verdicts or ())
