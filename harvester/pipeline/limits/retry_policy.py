"""What one id does after a verdict: settle, try again, or be deferred.

This is the table of budgets of docs/internals/states.md, as plain values: each cause of failure has
its own budget, and what isn't the id's fault costs it none.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from harvester.client.transport import EXHAUSTED
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

MAX_TIME_REFUSALS = 3
MAX_UNKNOWN = 3  # the first answer and two retries
MAX_REFUSALS = 3
"""As many: an id that is refused while others are not is let in no sooner for being asked often,
and its worker could fetch others meanwhile."""


class Spent(msgspec.Struct):
    """What an id has used up in this ask."""

    attempts: int = 0
    busy: int = 0
    network: int = 0
    time_refused: int = 0
    unknown: int = 0
    refused: int = 0
    exhausted: int = 0


class Surroundings(msgspec.Struct, frozen=True):
    """What happened to the other ids meanwhile: is it us, or only this id?"""

    others_delivered: bool
    """Another id's record came during this attempt, or comes again right now."""
    succeeded_since_last: bool
    clock_verified: bool
    is_alone: bool
    """All ids that are left are pushed back, so no other can succeed any more."""
    in_outage: bool
    """This attempt probed an outage or failed in one: that tells nothing of the id."""


class Again(msgspec.Struct, frozen=True):
    """Try again: after the backoff of the `failures`-th failure; 0: at once, when the pace lets."""

    failures: int
    cause: str


class Settle(msgspec.Struct, frozen=True):
    """The verdict stands: a record, no record, or dead."""

    verdict: Record | NoRecord | Dead


class Defer(msgspec.Struct, frozen=True):
    """The budget is spent; the id stays pending."""

    cause: str


Step: TypeAlias = Again | Settle | Defer


def next_step(verdict: Verdict, spent: Spent, around: Surroundings, limits: Retry) -> Step:
    """What comes after `verdict`.  Counts it in `spent`."""
    match verdict:
        case Record() | NoRecord() | Dead():
            return Settle(verdict)
        case TimeRefused():
            return _after_time_refused(spent, around, limits)
        case Throttled():
            return _after_throttled(spent, around, limits)
        case Busy(cause):
            return _after_busy(cause, spent, around, limits)
        case Refusal(what):
            return _after_refusal(f"refused_{what}", spent, around, limits)
        case NetworkFailure(cause):
            return _after_network(cause, spent, around, limits)
        case UnknownStatus():
            return _after_unknown(verdict.name, spent, around)


def _after_busy(cause: str, spent: Spent, around: Surroundings, limits: Retry) -> Step:
    if around.in_outage:
        return Again(0, cause)
    spent.busy += 1
    return Defer(cause) if spent.busy >= limits.busy_attempts else Again(spent.busy, cause)


def _after_refusal(cause: str, spent: Spent, around: Surroundings, limits: Retry) -> Step:
    """Halting the run is the refusal watch's business; one id alone is only unlucky."""
    if around.in_outage:
        return Again(0, cause)
    spent.refused += 1
    is_enough = spent.refused >= min(MAX_REFUSALS, limits.busy_attempts)
    return Defer(cause) if is_enough else Again(spent.refused, cause)


def _after_network(cause: str, spent: Spent, around: Surroundings, limits: Retry) -> Step:
    if cause == EXHAUSTED:
        # Nothing was sent: it is neither the id's nor the vendor's.  The gate ends a run of these.
        spent.exhausted += 1
        return Again(spent.exhausted, cause)
    if around.in_outage:
        return Again(0, cause)
    spent.network += 1
    return Defer(cause) if spent.network >= limits.network_attempts else Again(spent.network, cause)


def _after_throttled(spent: Spent, around: Surroundings, limits: Retry) -> Step:
    if not around.succeeded_since_last and not around.is_alone:
        return Again(0, "throttled")
    return _after_busy("throttled", spent, around, limits)


def _after_time_refused(spent: Spent, around: Surroundings, limits: Retry) -> Step:
    spent.time_refused += 1
    if spent.time_refused <= MAX_TIME_REFUSALS:
        return Again(0, "time_refused")
    if around.clock_verified:
        return Defer("time_refused")
    return _after_busy("refused_-16", spent, around, limits)


def _after_unknown(status: str, spent: Spent, around: Surroundings) -> Step:
    spent.unknown += 1
    if spent.unknown < MAX_UNKNOWN:
        return Again(spent.unknown, f"status_{status}")
    if around.others_delivered:
        return Settle(Dead("unknown_status"))
    return Defer(f"status_{status}")
