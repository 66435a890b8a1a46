"""Whether the vendor has put a price on a call that is over: the rule, and the texts it looks at.

Theory of operation.  Vendors rate a call some time after it ended: minutes, mostly within a day.
Until then the record is complete but for the money, and whoever takes it as it is never learns what
the call cost.  So a call is unrated while somebody talked and

- its cost is absent, the filler -1 or a word for none (`null`, `N/A`), or
- its cost is 0 while its rate or its charged seconds, which would explain that, are absent or 0.

A cost above 0 is a price, whatever else is missing.  What else was sent and can't be typed is no
reason either: it will not get better, and the row keeps it in `unparsed`.  Nobody talked where
callDuration is 0; where that is absent, the times that count (`answers.times`) say how long it was.

This is decided once, when the answer is judged, and goes with the answer from there on (as `over`
does), so that verdict and row can't disagree.  `is_surely_rated` is the quick way: it may only say
yes where `is_unrated` says no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from harvester.answers.literals import decimal_of, says_nothing, seconds_of
from harvester.answers.opening import data_of, value_of
from harvester.answers.times import Call, talk_ms

ALL = "*"
"""Among the free destinations: every one is."""

NO_COST = Decimal(-1)
"""What stands where a price will stand, or never will as nobody talked."""
_NUMBERS = (int, float)
_ABSENT = (None, "")


def is_surely_rated(
    cost: object, other_cost: object, call_duration: object, answer_time: object
) -> bool:
    """Whether a look at four values of an answer is enough; False: ask `is_unrated`.

    They are as JSON was decoded, `other_cost` is costEur; None where absent.  A number's sign is
    all that is looked at, so that it may have been decoded to a float.
    """
    if cost is None:
        cost = other_cost
    if type(cost) is str:
        # What begins with another digit than 0 is above 0, or can't be typed; either is no reason.
        if "1" <= cost.strip("0.") < ":":
            return True
    elif type(cost) in _NUMBERS and cost > 0:  # type: ignore[operator]
        return True
    if call_duration == "0" or (type(call_duration) is int and call_duration == 0):
        return True
    return call_duration in _ABSENT and answer_time in _ABSENT


def is_unrated(fields: Mapping[str, str], fetched_ms: int) -> bool:
    """Whether the call behind an answer's members (name -> literal) waits for its price.

    `fetched_ms`: Unix time of the answer in milliseconds, by the vendor's clock.  Of a call that is
    over; one that goes on has no price to wait for.
    """
    return not _has_price(fields) and _was_talked(fields, fetched_ms)


def is_free(body: bytes, destinations: Sequence[str]) -> bool:
    """Whether calls to where this answer's call went cost nothing.

    `destinations`: beginnings of `code`, of whole words: "France" is "France(Paris)" too, and
    "Niger" isn't "Nigeria".  `ALL` is every destination, known or not.
    """
    if ALL in destinations:
        return True
    try:
        code = _text(data_of(body), "code")
    except (ValueError, RecursionError):
        return False
    return code is not None and any(_begins(code.strip(), one) for one in destinations)


def _begins(code: str, destination: str) -> bool:
    return code.startswith(destination) and not code[len(destination) :][:1].isalnum()


def _has_price(fields: Mapping[str, str]) -> bool:
    """Whether its cost is a price, or something that no later answer will make one."""
    try:
        cost = _typed(fields, "cost", decimal_of)
        if cost is None:
            cost = _typed(fields, "costEur", decimal_of)
    except ValueError:
        return not _says_nothing(fields)
    if cost is None or cost == NO_COST:
        return False
    return bool(cost) or (_explains(fields, "rate", decimal_of) and _explains_seconds(fields))


def _says_nothing(fields: Mapping[str, str]) -> bool:
    """Whether its cost, which can't be typed, is a word for none."""
    try:
        text = _text(fields, "cost") or _text(fields, "costEur")
    except ValueError:
        return False
    return text is not None and says_nothing(text)


def _explains_seconds(fields: Mapping[str, str]) -> bool:
    return _explains(fields, "chargedDuration", seconds_of)


def _explains(fields: Mapping[str, str], name: str, rule: Callable[[str], Decimal | int]) -> bool:
    """Whether a field is neither absent nor 0."""
    try:
        return bool(_typed(fields, name, rule))
    except ValueError:
        return True


def _was_talked(fields: Mapping[str, str], fetched_ms: int) -> bool:
    try:
        seconds = _typed(fields, "callDuration", seconds_of)
    except ValueError:
        seconds = None
    if seconds is not None:
        return seconds > 0
    times = (_readable(fields, name) for name in ("hangupTime", "answerTime", "submitTime"))
    return talk_ms(Call(*times), fetched_ms) > 0


def _typed(
    fields: Mapping[str, str], name: str, rule: Callable[[str], Decimal | int]
) -> Decimal | int | None:
    """A field by its rule; None for an absent one.  Raises ValueError for what can't be typed."""
    text = _text(fields, name)
    return None if text is None else rule(text)


def _text(fields: Mapping[str, str], name: str) -> str | None:
    return value_of(fields.get(name, "null")) or None


def _readable(fields: Mapping[str, str], name: str) -> str | None:
    try:
        return _text(fields, name)
    except ValueError:
        return None
