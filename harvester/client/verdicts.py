"""What an answer means: the vocabulary between the vendor's room and the run.

A verdict says nothing of what the run does about it; budgets, pauses and dead letters are decided
in `harvest`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class RawRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of an answer, as it is kept."""

    voice_id: str
    raw: bytes
    """A whole answer that holds this record and no other, {"status", "data": {…}}: JSON in UTF-8,
    literals untouched."""
    over: bool
    """Whether its call is over."""
    is_rated: bool = True
    """False: it is over, but the vendor has not put a price on it (`answers.rating`)."""


class Record(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Status 0 with what was asked for.  `over` is False while a call of it still goes on.

    Two are equal if they mean the same, whatever records they brought.
    """

    over: bool
    odd_hangup: bool = False
    """A hangupTime is in a form that nobody knows."""
    records: tuple[RawRecord, ...] = ()
    """What the answer brought; no other verdict brings any.  One, where one id was asked for."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (self.over, self.odd_hangup) == (other.over, other.odd_hangup)

    def __hash__(self) -> int:
        return hash((self.over, self.odd_hangup))


class NoRecord(msgspec.Struct, frozen=True):
    """The vendor knows no such record: not yet, or not any more."""


class TimeRefused(msgspec.Struct, frozen=True):
    """Status -16: the timestamp lies outside the vendor's window."""


class Refusal(msgspec.Struct, frozen=True):
    """The vendor refuses the account, the address or the URL, not this id.

    `what` is a short stable name of the cause ("-1", "http_403"); two refusals agree if they
    have the same one.
    """

    what: str


class Throttled(msgspec.Struct, frozen=True):
    """The vendor asks for fewer requests, for `after_s` seconds if it says so."""

    after_s: float | None


class Busy(msgspec.Struct, frozen=True):
    """The vendor's program failed on this request; another try may do.  `cause` is stable."""

    cause: str


class Dead(msgspec.Struct, frozen=True):
    """The vendor said no to this id for good."""

    reason: str
    is_named: bool = False
    """The answer names the id that it was given for; most don't."""


class NetworkFailure(msgspec.Struct, frozen=True):
    """No answer, or one that can't be the vendor's: a timeout, a reset, a torn body, a lie."""

    cause: str


class UnknownStatus(msgspec.Struct, frozen=True):
    """A status that no page of the vendor explains."""

    status: str

    @property
    def name(self) -> str:
        """The status where it is a short number, else "odd": it is counted and told."""
        digits = self.status.removeprefix("-")
        return self.status if digits.isascii() and digits.isdigit() and len(digits) < 7 else "odd"


Verdict: TypeAlias = (
    Record
    | NoRecord
    | TimeRefused
    | Refusal
    | Throttled
    | Busy
    | Dead
    | NetworkFailure
    | UnknownStatus
)
