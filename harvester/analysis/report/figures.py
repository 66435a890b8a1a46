"""Calls, minutes and money, and the measures that the field takes of them.

Theory of operation.  Everything is summed as whole numbers (calls, seconds, milliseconds) and
decimals (money), and divided at the very end, so that the figures of the parts add up to those of
the whole.  Ratios of ratios are never taken, and nothing is rounded here (`rounding` has that).

The measures.  A call that has a call_time, or was answered, was sent on: it is a seizure.

- ASR, answer-seizure ratio: answered calls / seizures (ITU-T E.425, 03/2002).
- ABR, answer-bid ratio (the same): answered calls / all calls.
- NER, network effectiveness ratio (the same): seizures that reached the other end / seizures.
  Reached have those answered, busy, not answered though they rang, or rejected by the terminal.
  The recommendation speaks of ISUP causes; of the SIP codes we count `REACHED_CODES`, and 487 (the
  caller's side gave up) where it rang (RFC 3398 section 8.2.6.1 maps causes to codes).
- SEER, session establishment effectiveness ratio (RFC 6076 section 4.7): seizures that ended in one
  of 200, 480, 486, 600 and 603 / seizures without those that ended in a 3xx, 401, 402 or 407.
  These say how to go on (another address, a login, a payment), which the caller's side does without
  anybody's help; section 4.6 leaves the same ones out of SER.
- A seizure that was not answered and has no SIP code can't be judged, unless the vendor's own code
  says success: its other codes say failure, and not where.  NER and SEER then are ranges, from none
  to all of these.
- ACD, average call duration: seconds of answered calls / answered calls whose duration is known.
- PDD, post-dial delay: ringing_time - call_time, of calls that have both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal

REACHED_CODES = {
    200: "answered",
    480: "no answer, or the terminal is unavailable",
    486: "busy",
    600: "busy everywhere",
    603: "declined",
}
"""SIP codes that say that the network did its part, whether it rang or not."""
RANG_CODE = 487
"""The caller's side ended the call: that reached the other end only if it rang."""
RECOVERABLE_CODES = (401, 402, 407)
"""SIP codes that SEER leaves out, beside every 3xx."""
SUCCESS_CODE = "0"
"""The vendor's own code for it."""


@dataclass(slots=True)
class Figures:
    """What some calls add up to."""

    calls: int = 0
    answered: int = 0
    timed: int = 0
    """Answered calls whose duration is known."""
    call_s: int = 0
    charged_s: int = 0
    unfinished: int = 0
    """Calls that never ended while they were fetched (is_final = false)."""
    pdd_calls: int = 0
    pdd_ms: int = 0
    seized: int = 0
    """Calls that were sent on; `judged` to `recoverable` are of these."""
    judged: int = 0
    """Those that NER and SEER can be told of."""
    reached: int = 0
    effective: int = 0
    """Those that SEER counts: reached, and not ended by the caller's side."""
    recoverable: int = 0
    """Those that SEER leaves out: a 3xx, or one of RECOVERABLE_CODES."""
    settled: int = 0
    """Calls with a settle_pay."""
    settle_pay: Decimal = Decimal(0)
    """In the currency that the account is settled in, which no record names."""
    cost: dict[str, Decimal] = field(default_factory=dict)
    unrated: int = 0
    """Calls that were delivered without a price (is_rated = false)."""

    def add(self, other: Figures) -> None:
        """Take other calls in."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for currency, cost in other.cost.items():
            self.cost[currency] = self.cost.get(currency, Decimal(0)) + cost

    @property
    def unjudged(self) -> int:
        """Seizures of which nobody can say whether they reached the other end."""
        return self.seized - self.judged

    @property
    def minutes(self) -> Decimal:
        """Minutes of calls."""
        return Decimal(self.call_s) / 60

    @property
    def charged_minutes(self) -> Decimal:
        """Minutes that were charged."""
        return Decimal(self.charged_s) / 60

    @property
    def asr(self) -> Decimal | None:
        """Answer-seizure ratio, per cent."""
        return quotient(100 * self.answered, self.seized)

    @property
    def abr(self) -> Decimal | None:
        """Answer-bid ratio, per cent."""
        return quotient(100 * self.answered, self.calls)

    @property
    def ner(self) -> Between | None:
        """Network effectiveness ratio, per cent."""
        return between(self.reached, self.unjudged, self.seized)

    @property
    def seer(self) -> Between | None:
        """Session establishment effectiveness ratio, per cent."""
        return between(self.effective, self.unjudged, self.seized - self.recoverable)

    @property
    def acd_s(self) -> Decimal | None:
        """Average call duration, seconds."""
        return quotient(self.call_s, self.timed)

    @property
    def pdd_s(self) -> Decimal | None:
        """Mean post-dial delay, seconds."""
        return quotient(self.pdd_ms, 1000 * self.pdd_calls)


_SUMMED = tuple(one.name for one in fields(Figures) if one.name != "cost")


@dataclass(frozen=True, slots=True)
class Between:
    """A ratio in per cent, of which only the bounds are known; they are equal where it is known."""

    low: Decimal
    high: Decimal

    @property
    def is_exact(self) -> bool:
        """Whether nothing was left unjudged."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one day, destination or code; `name` "" where the record says none."""

    name: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, and what the rows beyond a table's length add up to."""

    rows: tuple[Row, ...]
    others: Row | None = None
    """Its name is the number of those others."""


def quotient(part: int, whole: int) -> Decimal | None:
    """part / whole, not rounded; None where there is nothing to divide by."""
    return Decimal(part) / Decimal(whole) if whole else None


def between(part: int, unknown: int, whole: int) -> Between | None:
    """From part to part + unknown, in per cent of `whole`; None where that is nothing."""
    low, high = quotient(100 * part, whole), quotient(100 * (part + unknown), whole)
    return None if low is None or high is None else Between(low, high)


def percentile(counts: Mapping[int, int], percent: int) -> int | None:
    """The smallest value that at least `percent` per cent don't exceed (nearest rank).

    `counts`: how often each value occurs.
    """
    whole = sum(counts.values())
    left = -(-whole * percent // 100)
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return None
