"""From a conclusion to what the ledger commits: the tables of docs/internals/states.md.

Plain functions: they get the time and the policy, and fill a batch.  Each id gets exactly one
outcome, and with it its progress bit, its journal entry and its place among open calls, dead
letters and deferred ids.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import assert_never

import msgspec
from msgspec.structs import replace

from harvester.answers.answer import SINGLE
from harvester.answers.rating import is_free
from harvester.config import OpenCalls, Retry
from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.state.values import Batch, DeadLetter, Deferred, Entry, OpenCall

DAY_MS = 86_400_000
FORGOTTEN_AFTER_MS = 3 * DAY_MS
"""An id that its own digits date further back than this will not become known any more."""

KEPT_MS = 60 * DAY_MS
"""The vendor keeps a record for about two months: a no to an older id is what is to be expected."""

DAYS_TO_GIVE_UP = 3


class Outcome(StrEnum):
    """What became of an id."""

    DELIVERED = "delivered"
    OPEN = "open"
    DEAD = "dead"
    DEFERRED = "deferred"
    REFETCHED = "refetched"
    """The data set has a record of it already, and another answer came."""
    FORGOTTEN = "forgotten"
    """The same, and the vendor has no record of it any more."""
    FAILED = "failed"
    """The same, and it failed in too many runs."""


class Policy(msgspec.Struct, frozen=True):
    """What settling needs to know of the run."""

    run_id: str
    open_calls: OpenCalls
    retry: Retry
    dated: Callable[[str], datetime | None]
    """The instant that an id's own digits tell, if they tell one."""
    are_ages_sure: Callable[[], bool] = lambda: True
    """Whether an id may end by its age; not in a run that sees a new skew of the clock."""


class Settled(msgspec.Struct, frozen=True):
    """The outcome of one id, and what of it goes into the data."""

    outcome: Outcome
    published: Entry | None = None
    """A dead open call's last answer, which goes into the data all the same."""
    is_rated: bool = True
    """False: delivered without a price."""


DELIVERED = Settled(Outcome.DELIVERED)
"""What becomes of most ids."""
_DELIVERED_UNRATED = Settled(Outcome.DELIVERED, is_rated=False)

# Every id passes here, and to look a member of an enum up costs more than to compare it.
_IS_DELIVERED, _IS_OPEN, _IS_DEAD = Outcome.DELIVERED, Outcome.OPEN, Outcome.DEAD
_IS_DEFERRED = Outcome.DEFERRED


def settle(
    batch: Batch, task: Task, conclusion: Conclusion, policy: Policy, earlier: Deferred | None
) -> Settled:
    """Add one id's outcome to `batch`.  `earlier`: how often the id was deferred before."""
    if task.again:
        settled = _settle_again(batch, task, conclusion, policy, earlier)
        batch.outcomes += 1
        if settled.outcome is not _IS_DEFERRED:
            assert task.chunk is not None
            assert task.row is not None
            batch.resolved_rows.setdefault(task.chunk, []).append(task.row)
            batch.list_refetched += 1
            batch.recovered.append(task.voice_id)
        return settled
    if type(conclusion) is Answered and conclusion.over and conclusion.is_rated:
        # As most are: a class pattern costs as much as what is done then.
        settled = _deliver(batch, task, conclusion, is_final=True)
    else:
        settled = _settle_other(batch, task, conclusion, policy, earlier)
    batch.outcomes += 1
    if settled.outcome is not _IS_DEFERRED:
        _mark_place(batch, task, settled.outcome)
        batch.recovered.append(task.voice_id)
    return settled


def _settle_other(
    batch: Batch, task: Task, conclusion: Conclusion, policy: Policy, earlier: Deferred | None
) -> Settled:
    """All but the record of a call that is over and rated."""
    match conclusion:
        case Answered() if conclusion.over:
            return _await_price(batch, task, conclusion, policy)
        case Answered():
            return _keep_open(batch, task, conclusion, policy)
        case Unknown() | Died():
            return _take_no(batch, task, conclusion, policy)
        case PutOff():
            return _put_off(batch, task, conclusion, policy, earlier)
        case never:
            assert_never(never)


def _settle_again(
    batch: Batch, task: Task, conclusion: Conclusion, policy: Policy, earlier: Deferred | None
) -> Settled:
    """An id whose record the data set has: whatever is answered, that stays, and it never dies."""
    match conclusion:
        case Answered():
            free = policy.open_calls.free_destinations
            is_rated = (
                conclusion.is_rated
                or not conclusion.over
                or bool(free and is_free(conclusion.answer, free))
            )
            entry = Entry(
                task.voice_id,
                conclusion.at_ms,
                conclusion.over,
                conclusion.answer,
                is_rated,
                conclusion.fetched_by,
            )
            batch.again.append(entry)
            batch.bytes += len(entry.body)
            if entry.fetched_by != SINGLE:
                batch.by_pages.append(task.voice_id)
            if entry.is_final:
                batch.corrected.append(task.voice_id)
            return Settled(Outcome.REFETCHED)
        case Unknown() | Died():
            return Settled(Outcome.FORGOTTEN)
        case PutOff():
            deferred, is_enough = _deferred(task, conclusion, policy, earlier)
            if is_enough:
                return Settled(Outcome.FAILED)
            batch.deferred.append(deferred)
            return Settled(Outcome.DEFERRED)
        case never:
            assert_never(never)


def _deliver(batch: Batch, task: Task, answered: Answered, *, is_final: bool) -> Settled:
    # By position: names cost a struct as much again.
    entry = Entry(
        task.voice_id, answered.at_ms, is_final, answered.answer, True, answered.fetched_by
    )
    _enter(batch, task, entry)
    return DELIVERED


def _deliver_unrated(batch: Batch, task: Task, entry: Entry) -> Settled:
    """The call is over, and nobody waits for its price any more."""
    _enter(batch, task, entry)
    return _DELIVERED_UNRATED


def _enter(batch: Batch, task: Task, entry: Entry) -> None:
    batch.entries.append(entry)
    batch.bytes += len(entry.body)
    if entry.fetched_by != SINGLE:
        batch.by_pages.append(task.voice_id)
    if task.open_call is not None:
        batch.closed_calls.append(task.voice_id)


def _await_price(batch: Batch, task: Task, answered: Answered, policy: Policy) -> Settled:
    """The call is over and unrated: keep the answer, and say when to ask for its price again."""
    rules = policy.open_calls
    if rules.free_destinations and is_free(answered.answer, rules.free_destinations):
        return _deliver(batch, task, answered, is_final=True)
    before, now_ms = task.open_call, answered.at_ms
    since_ms = before.unrated_ms if before and before.unrated_ms is not None else now_ms
    if policy.are_ages_sure():
        since_ms = min(since_ms, now_ms)  # later, it was noted by a clock that was ahead
    if _is_price_overdue(since_ms, now_ms, policy):
        entry = Entry(
            task.voice_id,
            now_ms,
            is_final=True,
            body=answered.answer,
            is_rated=False,
            fetched_by=answered.fetched_by,
        )
        return _deliver_unrated(batch, task, entry)
    _keep(batch, task, answered, policy, end_ms=since_ms + _wait_ms(policy), unrated_ms=since_ms)
    return Settled(Outcome.OPEN)


def _is_price_overdue(since_ms: int, now_ms: int, policy: Policy) -> bool:
    return policy.are_ages_sure() and now_ms - since_ms >= _wait_ms(policy)


def _wait_ms(policy: Policy) -> int:
    """How long an unrated call may wait for its price."""
    return int(policy.open_calls.unrated_max_age_s * 1000)


def _keep_open(batch: Batch, task: Task, answered: Answered, policy: Policy) -> Settled:
    """The call goes on: keep the answer, and say when to ask again."""
    first_ms = _first_ms(task.open_call, answered.at_ms, policy)
    max_age_ms = int(policy.open_calls.max_age_s * 1000)
    if answered.at_ms - first_ms >= max_age_ms and policy.are_ages_sure():
        return _deliver(batch, task, answered, is_final=False)
    _keep(batch, task, answered, policy, end_ms=first_ms + max_age_ms)
    return Settled(Outcome.OPEN)


def _first_ms(before: OpenCall | None, now_ms: int, policy: Policy) -> int:
    """When an open call first had an answer; while the vendor did not know it, it had no age."""
    first_ms = before.first_ms if before and before.answer is not None else now_ms
    if policy.are_ages_sure():
        first_ms = min(first_ms, now_ms)  # later, it was noted by a clock that was ahead
    return first_ms


def _keep(  # noqa: PLR0917 - what is known of the call
    batch: Batch,
    task: Task,
    answered: Answered,
    policy: Policy,
    end_ms: int,
    unrated_ms: int | None = None,
) -> None:
    """Open, with this answer; due after the next delay, and not later than `end_ms`."""
    before, now_ms = task.open_call, answered.at_ms
    fetches = before.fetches if before else 0
    batch.bytes += len(answered.answer)
    batch.open_calls.append(
        OpenCall(
            task.voice_id,
            min(now_ms + _delay_ms(policy.open_calls, fetches), end_ms),
            _first_ms(before, now_ms, policy),
            fetches + 1,
            policy.run_id,
            answered.answer,
            now_ms,
            unrated_ms=unrated_ms,
        )
    )


def is_permanent(task: Task, no: Unknown | Died, policy: Policy) -> bool:
    """Whether the vendor's `no` ends this id; if not, it stays open.

    A no that contradicts a record already seen ends nothing until it is said again a day later.  An
    id that the vendor does not know may be too young: that takes a day as well, unless the id's own
    digits date it far back.
    """
    before = task.open_call
    was_seen = before is not None and before.answer is not None
    if not was_seen and (isinstance(no, Died) or is_older(task, FORGOTTEN_AFTER_MS, no, policy)):
        return True
    since_ms = before.unrated_ms if before is not None else None
    if since_ms is not None and _is_price_overdue(since_ms, no.at_ms, policy):
        return True
    return policy.are_ages_sure() and no.at_ms - _no_since_ms(before, no) >= DAY_MS


def is_older(task: Task, age_ms: int, no: Unknown | Died, policy: Policy) -> bool:
    """Whether the id's own digits date it over `age_ms` before `no` was said."""
    dated = policy.dated(task.voice_id)
    if dated is None or not policy.are_ages_sure():
        return False
    return no.at_ms - dated.timestamp() * 1000 > age_ms


def _no_since_ms(before: OpenCall | None, no: Unknown | Died) -> int:
    """When the vendor first said no, with no record since."""
    if before is None:
        return no.at_ms
    if before.unknown_ms is not None:
        return before.unknown_ms
    # A rebuilt row that never had an answer knows only when it began.
    return no.at_ms if before.answer is not None else before.first_ms


def _take_no(batch: Batch, task: Task, no: Unknown | Died, policy: Policy) -> Settled:
    """The vendor said no: the end of this id, or it stays open with what was seen of it."""
    if is_permanent(task, no, policy):
        if isinstance(no, Unknown):
            no = Died("no_record", "the vendor knows no such record", no.attempts, no.at_ms)
        return _bury(batch, task, no, policy)
    before = task.open_call or OpenCall(task.voice_id, no.at_ms, no.at_ms, 0, policy.run_id)
    since_ms = _no_since_ms(task.open_call, no)
    due_ms = no.at_ms + _delay_ms(policy.open_calls, before.fetches)
    if before.unrated_ms is not None:
        due_ms = min(due_ms, before.unrated_ms + _wait_ms(policy))
    batch.open_calls.append(
        replace(
            before,
            due_ms=due_ms,
            fetches=before.fetches + 1,
            run_id=policy.run_id,
            # A time to come was noted by a clock that was ahead.
            unknown_ms=min(since_ms, no.at_ms) if policy.are_ages_sure() else since_ms,
        )
    )
    return Settled(Outcome.OPEN)


def _bury(batch: Batch, task: Task, died: Died, policy: Policy) -> Settled:
    """Dead; the last answer of an open call goes into the data, marked as not final.

    But for a call that is over: its record is whole without a price, so that it is delivered.
    """
    published = task.open_call.last_entry if task.open_call else None
    if published is not None and not published.is_rated:
        return _deliver_unrated(batch, task, published)
    if published is not None:
        batch.entries.append(published)
        batch.bytes += len(published.body)
    batch.bytes += len(died.body or b"")
    if task.open_call is not None:
        batch.closed_calls.append(task.voice_id)
    batch.dead_letters.append(
        DeadLetter(
            task.voice_id,
            died.reason,
            died.detail,
            died.attempts,
            task.open_call.first_ms if task.open_call else died.at_ms,
            died.at_ms,
            policy.run_id,
            published is not None,
            died.body,
        )
    )
    return Settled(Outcome.DEAD, published)


def _put_off(
    batch: Batch, task: Task, put_off: PutOff, policy: Policy, earlier: Deferred | None
) -> Settled:
    """Deferred; dead only after failing in enough runs on enough days in which others succeeded."""
    deferred, is_enough = _deferred(task, put_off, policy, earlier)
    if is_enough:
        detail = f"{put_off.cause} in {deferred.runs} runs"
        died = Died("gave_up", detail, put_off.attempts, put_off.at_ms)
        return _bury(batch, task, died, policy)
    batch.deferred.append(deferred)
    return Settled(Outcome.DEFERRED)


def _deferred(
    task: Task, put_off: PutOff, policy: Policy, earlier: Deferred | None
) -> tuple[Deferred, bool]:
    """How often the id has failed with this time, and whether that is enough to give it up."""
    runs, days = (earlier.runs, earlier.days) if earlier else (0, ())
    if task.is_last_try and put_off.counts and policy.are_ages_sure():
        runs += 1
        today = datetime.fromtimestamp(put_off.at_ms / 1000, UTC).date().isoformat()
        days = days if today in days else (*days, today)[-DAYS_TO_GIVE_UP:]
    is_enough = runs >= policy.retry.max_runs and len(days) >= DAYS_TO_GIVE_UP
    deferred = Deferred(
        task.voice_id,
        put_off.cause,
        f"after {put_off.attempts} attempts",
        earlier.first_ms if earlier else put_off.at_ms,
        put_off.at_ms,
        policy.run_id,
        runs,
        days,
        task.chunk,
        task.row,
        put_off.counts,
        task.again,
    )
    return deferred, is_enough and policy.are_ages_sure()


def _mark_place(batch: Batch, task: Task, outcome: Outcome) -> None:
    if task.chunk is None:
        return
    assert task.row is not None
    rows = batch.resolved_rows.get(task.chunk)
    if rows is None:
        rows = batch.resolved_rows[task.chunk] = []
    rows.append(task.row)
    if outcome is _IS_DEAD:
        batch.list_dead += 1
        return
    batch.revived.append(task.voice_id)
    if outcome is _IS_DELIVERED:
        batch.list_delivered += 1
    else:
        assert outcome is _IS_OPEN, "a deferred id keeps its place"
        batch.list_open += 1


def _delay_ms(open_calls: OpenCalls, fetches: int) -> int:
    """The wait after the `fetches + 1`-th ask; the last delay repeats."""
    delays = open_calls.delays_s
    return int(delays[min(fetches, len(delays) - 1)] * 1000)
