"""The habits of the vendor's list of calls, as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harvester.errors import UsageError

HABITS: Mapping[str, str] = {
    "calls": "so many made-up calls are listed, those whose ids `--ids` writes (1000)",
    "days": "which are of so many days, up to the vendor's last whole day (1)",
    "extra": "and so many calls that stand in none of these files",
    "burst": "and so many in one second, at noon of the last day",
    "late": "this share of the rows shows only later, after up to so many requests for the list "
    "(50, or as in late=0.1:20)",
    "changed": "this share of the answered calls costs half as much again from the second time on "
    "that a page holds it",
    "by": "the time that a window is cut by: submit, call or hangup (submit)",
    "ends": "which ends of a window it counts: both, start, end or none (both)",
    "cap": "a page holds so many at most, though it says what was asked for",
    "overflow": "a page past the end is the first one again",
    "repeat": "every page is the first one",
    "text": "numbers of a page are text",
    "total": "total says so many more than there are",
    "noid": "this share of the records has no id",
    "lies": "one of so many records, drawn by id, costs a cent more in the list than in an answer "
    "about it alone",
    "zero": "a call that was put through is coded 0 in the list, whatever an answer about it says",
}
_FLAGS = ("overflow", "repeat", "text", "zero")
_CHOICES = {"by": ("submit", "call", "hangup"), "ends": ("both", "start", "end", "none")}
_LATE_REQUESTS = 50
LARGEST = 100
"""Records of a page, at most."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the list is; each as in `HABITS`."""

    calls: int = 1000
    days: int = 1
    extra: int = 0
    burst: int = 0
    late: float = 0.0
    late_requests: int = _LATE_REQUESTS
    changed: float = 0.0
    by: str = "submit"
    ends: str = "both"
    cap: int = LARGEST
    overflow: bool = False
    repeat: bool = False
    text: bool = False
    total: int = 0
    noid: float = 0.0
    lies: int = 0
    zero: bool = False


def parse_habits(text: str) -> Habits | None:
    """Read habits such as "calls=1000,days=2,late=0.1:20,overflow"; None for "none".

    Raises UsageError naming the part that makes no sense.
    """
    if text in ("", "none"):
        return None
    found: dict[str, object] = {}
    for part in (piece.strip() for piece in text.split(",")):
        name, equals, told = part.partition("=")
        if name not in HABITS:
            raise UsageError(
                f"list: {name!r} is none. Known are: none, {', '.join(HABITS)}; written as "
                "name=value, for example calls=1000,late=0.1:20,overflow."
            )
        found |= _habit(name, told, part, has_value=bool(equals))
    habits = Habits(**found)  # type: ignore[arg-type]
    if not 1 <= habits.cap <= LARGEST or habits.days < 1:
        raise UsageError(f"list: cap is a number from 1 to {LARGEST}, and days is 1 or more.")
    return habits


def _habit(name: str, told: str, part: str, *, has_value: bool) -> dict[str, object]:
    if name in _FLAGS:
        if has_value:
            raise UsageError(f"list: {part!r}: {name} takes no value.")
        return {name: True}
    if name in _CHOICES:
        if told not in _CHOICES[name]:
            raise UsageError(f"list: {part!r}: give one of {', '.join(_CHOICES[name])}.")
        return {name: told}
    if name == "late":
        share, _, requests = told.partition(":")
        most = int(_number(requests or str(_LATE_REQUESTS), part, 1e6))
        return {"late": _number(share, part, 1), "late_requests": most}
    if name in ("changed", "noid"):
        return {name: _number(told, part, 1)}
    return {name: int(_number(told, part, 1e7))}


def _number(text: str, part: str, most: float) -> float:
    number = float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else -1.0
    if not 0 <= number <= most:
        raise UsageError(f"list: {part!r} needs a number from 0 to {most:g}.")
    return number
