"""Calls, minutes and money, and the measures that the field takes of them.

Theory of operation.  Everything is summed as whole numbers (calls, seconds, milliseconds) and
decimals (money), and divided at the very end, so that the figures of the parts add up to those of
the whole.  Ratios of ratios are never taken.

The measures, of which a call is a seizure:

- ASR, answer-seizure ratio: answered calls / calls (ITU-T E.425, 03/2002).
- NER, network effectiveness ratio (the same): calls that reached the other end / calls.  Reached
  have those answered, busy, not answered though they rang, or rejected by the terminal.  The
  recommendation speaks of ISUP causes; of the SIP codes we count `REACHED_CODES` (RFC 3398 §8.2.6.1
  maps causes to codes).  A call whose code is no SIP code, and that wasn't answered, can't be
  judged: it is left out of both sides, and counted.
- ACD, average call duration: seconds of answered calls / answered calls whose duration is known.
- PDD, post-dial delay: ringing_time - call_time, of calls that have both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

REACHED_CODES = {
    200: "answered",
    480: "no answer, or the terminal is unavailable",
    486: "busy",
    487: "ended by the caller's side while it rang",
    600: "busy everywhere",
    603: "declined",
}
"""SIP codes that say that the network did its part."""

_PERCENT = Decimal("0.01")
_TENTH = Decimal("0.1")
_THOUSANDTH = Decimal("0.001")


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
    """Calls that never ended while they were asked for (is_final = false)."""
    pdd_calls: int = 0
    pdd_ms: int = 0
    judged: int = 0
    """Calls that NER can be told of."""
    reached: int = 0
    cost: dict[str, Decimal] = field(default_factory=dict)

    def add(self, other: Figures) -> None:
        """Take other calls in."""
        self.calls += other.calls
        self.answered += other.answered
        self.timed += other.timed
        self.call_s += other.call_s
        self.charged_s += other.charged_s
        self.unfinished += other.unfinished
        self.pdd_calls += other.pdd_calls
        self.pdd_ms += other.pdd_ms
        self.judged += other.judged
        self.reached += other.reached
        for currency, cost in other.cost.items():
            self.cost[currency] = self.cost.get(currency, Decimal(0)) + cost

    @property
    def minutes(self) -> Decimal:
        """Minutes of calls."""
        return minutes(self.call_s)

    @property
    def charged_minutes(self) -> Decimal:
        """Minutes that were charged."""
        return minutes(self.charged_s)

    @property
    def asr(self) -> Decimal | None:
        """Answer-seizure ratio, per cent."""
        return quotient(100 * self.answered, self.calls, _PERCENT)

    @property
    def ner(self) -> Decimal | None:
        """Network effectiveness ratio, per cent."""
        return quotient(100 * self.reached, self.judged, _PERCENT)

    @property
    def acd_s(self) -> Decimal | None:
        """Average call duration, seconds."""
        return quotient(self.call_s, self.timed, _TENTH)

    @property
    def pdd_s(self) -> Decimal | None:
        """Mean post-dial delay, seconds."""
        return quotient(self.pdd_ms, 1000 * self.pdd_calls, _THOUSANDTH)


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


def quotient(part: int, whole: int, step: Decimal) -> Decimal | None:
    """part / whole, rounded to `step`; None where there is nothing to divide by."""
    return (Decimal(part) / Decimal(whole)).quantize(step) if whole else None


def minutes(seconds: int) -> Decimal:
    """Seconds as minutes, to a tenth."""
    return (Decimal(seconds) / 60).quantize(_TENTH)


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
