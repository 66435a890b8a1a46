"""Which times of an answer count, and what they say of the call: whether it is over.

Theory of operation.  Programs write that there is no time in many ways: -1, 0, noughts, the first
instant that they know (1970, 1900, the year 1) or the last one (9999).  Taken for a hang-up, such
a filler would end a call for good that goes on, at a cost of 0.  So a time counts only where it
can be one of this call: not before 2000, nor over ten minutes before the call was submitted, nor
over a day after the answer came.  Any other is absent; the row keeps its text in `unparsed`.

Verdict and row decide by `counts`, from the same literals and the same instant of the fetch, so
that they can't disagree.  A text in a form that we can't read is no filler and no time: somebody
hung up, perhaps.  Then what the call cost, and how long it was, decide.

Source: docs/internals/vendor-rules.md (times as ISO 8601 here, as other texts and numbers
elsewhere).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from harvester.answers.literals import decimal_of, instant_of, says_nothing, seconds_of

EARLIEST_MS = 946_656_000_000
"""2000-01-01 on the vendor's clock."""
EARLY_MS = 600_000
"""How long before its submitTime another time of a call may lie: clocks differ."""
LATE_MS = 86_400_000
"""How long after the fetch a time may lie."""

# Values of a terminationCode that mean "established": SIP 200, and "0" in the platform's own
# numbering, which this endpoint used until 2023 at least (docs/internals/vendor-rules.md).
SUCCESS_CODES = ("0", "200", "0.0", "200.0")
"""Ways to write that a call was put through; all mean the same."""

_NOT_OVER = frozenset(
    [
        *("trying", "ringing", "progress", "in progress", "session progress", "in-progress"),
        *("queued", "calling", "dialing", "dialling", "early", "ok", "success", "successful"),
        *("established", "answered", "connected", "completed"),
    ]
)
_CODE = re.compile(r"(-?[0-9]{1,9})(?:\.0*)?(?![0-9.]).*", re.DOTALL)
_FIRST_SIP, _FINAL_SIP = 100, 300
"""Codes of SIP from the one on and below the other are of a call that goes on, or was put through.
"""

# A text without a digit but noughts ("0000-00-00 00:00:00+08:00", "null", "-") is no time.
_A_DIGIT = re.compile("[1-9]")
_OFFSET = r"[+-][0-9]{2}:?[0-9]{2}$"
_LOOKED_AT = 40

_NUMBER = r"-?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,3})?"
_YEAR = r"(?<![0-9])[0-9]{4}(?![0-9])"
_COMPACT = (8, 12, 14, 17)
"""Lengths of a date without hyphens, from yyyyMMdd to the milliseconds."""
_SECONDS_END = 100_000_000_000  # as seconds it is the year 5138; as milliseconds, 1973

_USUAL_MARKS = "-T::"
"""Every third character of such a time, from the second hyphen to its seconds."""
# At most 14:45 from UTC: with `_SAFE_HOURS` that is less than the day that `LATE_MS` allows.
_USUAL_OFFSETS = frozenset(
    ["Z", *(f"{sign}{h:02}:{m:02}" for sign in "+-" for h in range(15) for m in (0, 15, 30, 45))]
)
_FIRST = "2000-01-02"
_HOUR_S = 3600
_SAFE_HOURS = 9


class Call(msgspec.Struct, gc=False):
    """What an answer says of the end of its call, as text; other values as their JSON text."""

    hangup: str | None = None
    answer: str | None = None
    submit: str | None = None
    code: str | None = None
    call_s: str | None = None
    charged_s: str | None = None
    cost: str | None = None


class Ending(Enum):
    """What is known of the end of a call."""

    GOES_ON = "goes on"
    OVER = "over"
    ODD_GOES_ON = "goes on, with a hangupTime in an unknown form"
    ODD_OVER = "over, with a hangupTime in an unknown form"

    @property
    def over(self) -> bool:
        """Whether the record is final."""
        return self in (Ending.OVER, Ending.ODD_OVER)

    @property
    def odd(self) -> bool:
        """Whether a hangupTime was sent that nobody can read."""
        return self in (Ending.ODD_OVER, Ending.ODD_GOES_ON)


class _Kind(Enum):
    NONE = "absent"
    TIME = "a time of this call"
    ODD = "in an unknown form"


def counts(ms: int, fetched_ms: int, submitted_ms: int | None = None) -> bool:
    """Whether an instant can be one of a call whose answer came at `fetched_ms`.

    `submitted_ms`: the call's submitTime, where that counts; None for submitTime itself.
    """
    floor_ms = EARLIEST_MS
    if submitted_ms is not None:
        floor_ms = max(floor_ms, submitted_ms - EARLY_MS)
    return floor_ms <= ms <= fetched_ms + LATE_MS


def ending_of(call: Call, fetched_ms: int) -> Ending:
    """Whether a call has ended: it has a hang-up, or it never was answered and failed.

    A code that says "established" while nobody answered is a call that still rings; one that says
    nothing, or that it goes on, ends none either.
    """
    submitted_ms = _submitted(call, fetched_ms) if call.hangup or call.answer else None
    hangup = _kind_of(call.hangup, fetched_ms, submitted_ms)
    if hangup is _Kind.TIME:
        return Ending.OVER
    if hangup is _Kind.ODD:
        return Ending.ODD_OVER if _was_used(call) else Ending.ODD_GOES_ON
    # An answerTime that can't be read is no proof that nobody answered.
    unanswered = _kind_of(call.answer, fetched_ms, submitted_ms) is _Kind.NONE
    return Ending.OVER if unanswered and _has_failed(call.code) else Ending.GOES_ON


def _has_failed(code: str | None) -> bool:
    """Whether a terminationCode says so: a number that means it, or words for it ("busy").

    Numbers of one or two digits are another numbering, in which 0 alone is none of a failure.
    """
    if not code or says_nothing(code) or code.strip().casefold() in _NOT_OVER:
        return False
    number = _CODE.fullmatch(code.strip())
    if number is None:
        return True
    return 0 < int(number[1]) < _FIRST_SIP or int(number[1]) >= _FINAL_SIP


def talk_ms(call: Call, fetched_ms: int) -> int:
    """From answer to hang-up by the times that count; 0 where one of them does not."""
    submitted_ms = _submitted(call, fetched_ms)
    begun, ended = (_counted(text, fetched_ms, submitted_ms) for text in (call.answer, call.hangup))
    return 0 if begun is None or ended is None else max(0, ended - begun)


def is_usual_ending(hangup: Any, submit: Any, fetched_s: float) -> bool:  # noqa: ANN401
    """Whether these two, as most calls have them, are sure to end it: the quick way.

    As yyyy-MM-ddTHH:mm:ss with the same offset.  Then texts in order are instants in order, and no
    offset makes a local time of before `_SAFE_HOURS` from now one of over a day from now.
    """
    if not _usual.begins <= fetched_s < _usual.ends:
        _usual.move(fetched_s)
    try:
        offset = hangup[19:]
        if (
            offset != submit[19:]
            or offset not in _USUAL_OFFSETS
            or hangup[7:19:3] != _USUAL_MARKS
            or submit[10:11] != "T"
            or not _FIRST <= submit <= hangup < _usual.limit
        ):
            return False
        datetime.fromisoformat(hangup)  # so marked it takes nothing that `instant_of` does not
    except (TypeError, ValueError):  # numbers have no characters; nor is each text a time
        return False
    return True


class _Usual:
    """Up to which text a hang-up is no time to come, for answers of one hour.

    Kept from answer to answer: every call passes here, and a call of `lru_cache` costs a third.
    """

    __slots__ = ("begins", "ends", "limit")

    def __init__(self) -> None:
        self.begins = self.ends = 0.0
        self.limit = ""

    def move(self, fetched_s: float) -> None:
        """Go to the hour of that instant, in Unix seconds."""
        self.begins = fetched_s // _HOUR_S * _HOUR_S
        self.ends = self.begins + _HOUR_S
        latest = datetime.fromtimestamp(self.begins + _SAFE_HOURS * _HOUR_S, UTC)
        self.limit = latest.strftime("%Y-%m-%dT%H")


_usual = _Usual()


def _submitted(call: Call, fetched_ms: int) -> int | None:
    """The submitTime, where that counts."""
    return _counted(call.submit, fetched_ms)


def _counted(text: str | None, fetched_ms: int, submitted_ms: int | None = None) -> int | None:
    """The instant that a text means, where it can be one of this call."""
    ms = _instant(text)
    return ms if ms is not None and counts(ms, fetched_ms, submitted_ms) else None


def _kind_of(text: str | None, fetched_ms: int, submitted_ms: int | None) -> _Kind:
    if not text:
        return _Kind.NONE
    ms = _instant(text)
    if ms is not None:
        return _Kind.TIME if counts(ms, fetched_ms, submitted_ms) else _Kind.NONE
    return _Kind.NONE if _is_filler(text, fetched_ms) else _Kind.ODD


def _instant(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return instant_of(text)[0]
    except ValueError:
        return None


def _is_filler(text: str, fetched_ms: int) -> bool:
    """Whether a text that is no ISO 8601 time says that there is none, in whatever form."""
    text = text.strip()[:_LOOKED_AT]
    if _A_DIGIT.search(re.sub(_OFFSET, "", text)) is None:
        return True
    latest = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=fetched_ms + LATE_MS)
    years = range(2000, latest.year + 2)
    if re.fullmatch(_NUMBER, text):
        if len(text) in _COMPACT and int(text[:4]) in years:
            return False
        number = Decimal(text)
        return not counts(int(number * 1000 if number < _SECONDS_END else number), fetched_ms)
    found = re.findall(_YEAR, text)
    return bool(found) and all(int(year) not in years for year in found)


def _was_used(call: Call) -> bool:
    """Whether the call cost or lasted something, by what its row will say."""
    return (
        _is_above_zero(call.call_s, seconds_of)
        or _is_above_zero(call.charged_s, seconds_of)
        or _is_above_zero(call.cost, decimal_of)
    )


def _is_above_zero(text: str | None, rule: Callable[[str], Decimal | int]) -> bool:
    try:
        return bool(text) and text is not None and rule(text) > 0
    except ValueError:
        return False
