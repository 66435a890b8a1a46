"""Which records of a portion are compared with an answer about their id alone.

Nothing here sends or stores anything.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from harvester.pipeline.engine.workers import Left
from harvester.pipeline.listing.windows import Window

FIRST = 20
"""Records of the first portion that are compared: if one in five is another one, all but one in
eighty such lists are found out."""
_SHARE = 100
_REQUESTS = 2 * FIRST
"""What a sample costs, and some to spare."""
_SECONDS = 5.0
"""The same, besides the turns of the pace."""


def wanted(records: int, *, is_first: bool) -> int:
    """How many of so many records are compared: of later portions a hundredth, rounded up."""
    return min(records, FIRST if is_first else -(-records // _SHARE))


def is_room(left: Left, on_their_way: int, rate_per_s: float) -> bool:
    """Whether what is left of a budget holds more than so many requests and a sample."""
    requests = on_their_way + _REQUESTS
    return (left.requests is None or left.requests > requests) and (
        left.seconds is None or left.seconds > requests / rate_per_s + _SECONDS
    )


def in_turn(windows: Mapping[str, Window], chance: random.Random) -> list[str]:
    """The ids of `windows` in the order in which they are drawn: one of each window, then another.

    Within that by chance, whatever order they came in.
    """
    ids = sorted(windows)
    chance.shuffle(ids)
    drawn: Counter[Window] = Counter()
    turns: dict[str, int] = {}
    for voice_id in ids:
        window = windows[voice_id]
        turns[voice_id] = drawn[window]
        drawn[window] += 1
    return sorted(ids, key=turns.__getitem__)
