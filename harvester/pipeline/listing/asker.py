"""Asking for a page of the list until it comes: the turn, the signature, what failures cost.

A page is a request like any other: it takes its turn of the pace, of the limit file and of the
day's budget (`sealer`), waits while an outage lasts (`outage_gate`), and is tried again by the
table of budgets that ids have (`retry_policy`).  But all pages are alike: where one is refused, all
are, so there is nobody to ask whether it is meant for this one alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from harvester.client.clock import VendorClock
from harvester.client.judge import judge, retry_after_s
from harvester.client.record_group import (
    OTHER_WINDOW,
    Page,
    Query,
    judge_page,
    page_request,
    record_request,
)
from harvester.client.refusal_text import refusal_code, refusal_message
from harvester.client.transport import EXHAUSTED, NoReply, Reply, Request, Transport
from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    NoRecord,
    Record,
    Throttled,
    Verdict,
)
from harvester.config import Retry
from harvester.errors import VendorRefused
from harvester.pipeline.engine.heads import SPEAKS, Heads
from harvester.pipeline.engine.sealer import Sealer
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.limits.backoff import backoff_s
from harvester.pipeline.limits.outage_gate import OutageGate
from harvester.pipeline.limits.pace import HeldUp, Pace
from harvester.pipeline.limits.retry_policy import (
    Again,
    Defer,
    Settle,
    Spent,
    Step,
    Surroundings,
    next_step,
)
from harvester.pipeline.limits.retrying import repeated

_STUCK = NoReply("timeout", "the transport gave no answer in three times vendor.timeout_s")
_FAILED = (Busy, NetworkFailure)
_ANSWERS = (Page, Record, NoRecord, Dead)
_REFUSED = "refused_"
_A_PAGE = Record(over=True)
"""What a page is to the table of budgets: an answer."""

_NOTHING_YET = NoRecord()


@dataclass(slots=True)
class _Tries:
    """A question, and what it has been through."""

    request: Request
    means: Callable[[Reply, float], Page | Verdict]
    spent: Spent = field(default_factory=Spent)
    answers_before: int = 0
    answer: Page | Verdict = _NOTHING_YET


class Asker:
    """Asks for pages.  One a listing; all its workers share it."""

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
        dice: Callable[[], float],
    ) -> None:
        """Must be made inside the running loop."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._sealer = sealer
        self._pace = pace
        self._clock = clock
        self._gate = gate
        self._stop = stop
        self._limits = limits
        self._dice = dice
        self._heads = Heads(clock)
        self._answers = 0
        self.retries: dict[str, int] = {}
        """By cause."""
        self.is_cut_off = False
        """Whether nothing more is to be asked for."""
        self.on_refused: Callable[[str], None] = self._end_refused
        """Gets what is refused; nothing more is to be asked for then."""
        self.heard = asyncio.Event()
        """Set once an answer has come, or none can be had: others may begin."""

    @property
    def is_out(self) -> bool:
        """Whether an outage lasts."""
        return self._gate.is_shut

    async def page(self, query: Query) -> Page | str:
        """A page, or why none can be had.  Raises CutOff when the listing stops before that."""
        tries = _Tries(page_request(query), lambda reply, now: judge_page(query, reply, now))
        answer = await self._asked(tries)
        return answer if isinstance(answer, Page | str) else "not_a_page"

    async def record(self, voice_id: str) -> Record | str:
        """The record of a call, or why it can't be had.  Raises CutOff."""
        tries = _Tries(record_request(voice_id), lambda reply, now: judge(voice_id, reply, now))
        answer = await self._asked(tries)
        return answer if isinstance(answer, Record | str) else "no_record"

    async def _asked(self, tries: _Tries) -> Page | Verdict | str:
        step = await repeated(lambda: self._next_step(tries), self._pause_s)
        self.heard.set()
        match step:
            case Settle(Dead(reason)):
                return reason
            case Settle():
                return tries.answer
            case Defer(cause):
                if cause.startswith(_REFUSED):
                    self.on_refused(cause.removeprefix(_REFUSED))
                    raise CutOff
                return cause
            case _:
                raise AssertionError(f"another try is due, and none was made: {step}")

    def _end_refused(self, what: str) -> None:
        self._stop.stop(VendorRefused(refusal_message(what), code=refusal_code(what)))

    def _check(self) -> None:
        self._stop.check()
        if self.is_cut_off:
            raise CutOff

    async def _next_step(self, tries: _Tries) -> Step:
        self._check()
        tries.answer, in_outage = await self._attempt(tries)
        tries.spent.attempts += 1
        verdict = _A_PAGE if isinstance(tries.answer, Page) else tries.answer
        around = Surroundings(
            others_delivered=False,
            succeeded_since_last=self._answers > tries.answers_before,
            clock_verified=self._clock.is_verified,
            is_alone=False,
            in_outage=in_outage,
        )
        tries.answers_before = self._answers
        step = next_step(verdict, tries.spent, around, self._limits)
        if isinstance(step, Again):
            self.retries[step.cause] = self.retries.get(step.cause, 0) + 1
            self._stop.idle()
            self._check()
        return step

    async def _attempt(self, tries: _Tries) -> tuple[Page | Verdict, bool]:
        """One request, and what it means; True if it was made, or failed, during an outage."""
        answer: Reply | NoReply | None = None
        while answer is None:
            was_probe = self._gate.is_shut and await self._gate.enter()
            attempt = self._sealer.enter_at_once() or await self._sealer.enter()
            try:
                answer = await self._transport.send(tries.request)
            except HeldUp:
                continue
            except asyncio.CancelledError:
                if not attempt.was_cut():
                    raise
                answer = _STUCK
            finally:
                generation, attempt.generation = attempt.generation, None
                if attempt.place is not None:
                    self._sealer.leave(attempt)
        if isinstance(answer, Reply):
            means = tries.means(answer, self._clock.now())
            self._learn_head(means, generation, answer)
        else:
            means = NetworkFailure(answer.cause)
        self._learn(means, answer)
        return means, was_probe or self._gate.is_shut

    def _learn_head(self, means: Page | Verdict, generation: int | None, reply: Reply) -> None:
        verdict = _A_PAGE if isinstance(means, Page) else means
        self._heads.learn(self._loop.time(), verdict, generation, reply)
        if reply.retry_after and isinstance(verdict, SPEAKS):
            self._pace.slow_down(retry_after_s(reply.retry_after, self._clock.now()))

    def _learn(self, means: Page | Verdict, answer: Reply | NoReply) -> None:
        """What one answer says about the vendor as a whole."""
        now = self._loop.time()
        if isinstance(means, NetworkFailure) and means.cause == EXHAUSTED:
            assert isinstance(answer, NoReply)
            self._gate.note_exhausted(now, answer.detail)
            return
        self._pace.note(now, busy=isinstance(means, Busy))
        if isinstance(means, Throttled):
            self._gate.note_throttled(now)
            self._pace.slow_down(means.after_s)
            return
        # Whoever gives a page of other calls is wrong, and not out of reach.
        is_failure = isinstance(means, _FAILED) and means != OTHER_WINDOW
        if is_failure:
            told = answer.detail if isinstance(answer, NoReply) else ""
            self._gate.latest = told or means.cause.replace("_", " ")  # type: ignore[union-attr]
        elif isinstance(means, _ANSWERS):
            self._answers += 1
            self.heard.set()
        self._gate.note(now, failed=is_failure)

    def _pause_s(self, step: Step) -> float | None:
        if not isinstance(step, Again):
            return None
        first_s, most_s = self._limits.backoff_initial_s, self._limits.backoff_max_s
        return backoff_s(step.failures, first_s, most_s, self._dice()) if step.failures else 0.0
