"""What is odd in the records of a publication, and whether somebody has to be told.

Two things are said every time: a value without which nobody can bill (money, its currency, the
time of the call, a whole record) that could not be typed, and an answered call without a cost.
The rest is said when it changes: a field whose values could always be typed until now, and a
field that neither the vendor's page nor an earlier run knows.  What was said once is remembered by
its name, so that a harmless addition does not warn every night.

A name that is none could be anybody's phone number; it is told as "odd".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

import msgspec

from harvester.lake.schema import COST_EUR, MONEY_COLUMNS

NEEDED = frozenset({*MONEY_COLUMNS, COST_EUR, "currency", "submitTime", "data"})
"""Fields without which a call can't be billed; "data" is a record of which nothing could be read.
"""

_NAME = re.compile(r"(?!.*[0-9]{7})[A-Za-z_][0-9A-Za-z_.-]{0,39}")
_NAMES_TOLD = 100
_NAMES_KEPT = 1_000


class Seen(msgspec.Struct, frozen=True):
    """Names that earlier publications of this output have told of."""

    unparsed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


class Oddities(msgspec.Struct, frozen=True, kw_only=True):
    """What a warning is about; each by field, with how many records hold it."""

    unreadable: dict[str, int] = {}
    """Values of `NEEDED` fields that could not be typed."""
    answered_without_cost: int = 0
    """Answered calls whose cost is absent, and was not unreadable."""
    changed_fields: dict[str, int] = {}
    """Other fields whose values could not be typed, for the first time in this output."""
    new_fields: dict[str, int] = {}
    """Unknown fields that came for the first time in this output."""


def oddities(
    unparsed: Mapping[str, int], extra: Mapping[str, int], without_cost: int, seen: Seen
) -> tuple[Oddities, Seen]:
    """What to tell of these counts after what was `seen`, and what has been seen then."""
    unparsed, extra = named(unparsed), named(extra)
    found = Oddities(
        unreadable={name: n for name, n in unparsed.items() if name in NEEDED},
        answered_without_cost=without_cost,
        changed_fields=_unseen(unparsed, {*seen.unparsed, *NEEDED}),
        new_fields=_unseen(extra, seen.extra),
    )
    return found, Seen(
        (*seen.unparsed, *found.changed_fields)[:_NAMES_KEPT],
        (*seen.extra, *found.new_fields)[:_NAMES_KEPT],
    )


def named(fields: Mapping[str, int]) -> dict[str, int]:
    """Counts by name, the most frequent first; what is no name could be anybody's number."""
    told = Counter[str]()
    for name, count in fields.items():
        told[name if _NAME.fullmatch(name) else "odd"] += count
    return dict(sorted(told.items(), key=lambda item: (-item[1], item[0]))[:_NAMES_TOLD])


def _unseen(fields: Mapping[str, int], seen: Collection[str]) -> dict[str, int]:
    return {name: count for name, count in fields.items() if name not in seen}
