"""What is odd in the records of a publication, and whether somebody has to be told.

Two things are said every time: a value without which nobody can bill (money, its currency, the
time of the call, a whole record) that could not be typed, and an answered call without a cost.
The rest is said when it changes: a field whose values could always be typed until now, or that
fails far more often than when it was said last; and a field that neither the vendor's page nor an
earlier run knows.  What was said is remembered by its name, so that a harmless addition does not
warn every night, and a single odd value does not hide that all are odd later.

A name that is none could be anybody's phone number; it is told as "odd".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from harvester.dataset.group_record import GROUP_RECORD
from harvester.redact import field_or_odd

NEEDED = frozenset({*GROUP_RECORD.needed_fields, "data"})
"""Fields without which a call can't be billed; "data" is a record of which nothing could be read.
"""

_NAMES_TOLD = 100
_NAMES_KEPT = 1_000
_MORE = 0.1


class Seen(msgspec.Struct, frozen=True):
    """Names that earlier publications of this output have told of."""

    unparsed: dict[str, float] = {}
    """With the share of records, 0 to 1, that had such a value then."""
    extra: tuple[str, ...] = ()


class Oddities(msgspec.Struct, frozen=True, kw_only=True):
    """What a warning is about; each by field, with how many records hold it."""

    unreadable: dict[str, int] = {}
    """Values of `NEEDED` fields that could not be typed."""
    answered_without_cost: int = 0
    """Answered calls whose cost is absent, and was not unreadable."""
    odd_hangups: int = 0
    """Answers, of open calls too, whose hangupTime is in an unknown form."""
    changed_fields: dict[str, int] = {}
    """Other fields whose values could not be typed, as never before in this output."""
    new_fields: dict[str, int] = {}
    """Unknown fields that came for the first time in this output."""


def oddities(
    records: int,
    unparsed: Mapping[str, int],
    extra: Mapping[str, int],
    without_cost: int,
    seen: Seen,
) -> tuple[Oddities, Seen]:
    """What to tell of these counts among `records` after what was `seen`, and what is seen then."""
    unparsed, extra = named(unparsed), named(extra)
    shares = {name: n / max(1, records) for name, n in unparsed.items() if name not in NEEDED}
    changed = [name for name, share in shares.items() if _is_news(share, seen.unparsed.get(name))]
    new = [name for name in extra if name not in seen.extra]
    found = Oddities(
        unreadable={name: n for name, n in unparsed.items() if name in NEEDED},
        answered_without_cost=without_cost,
        changed_fields={name: unparsed[name] for name in changed},
        new_fields={name: extra[name] for name in new},
    )
    told = {**seen.unparsed, **{name: shares[name] for name in changed}}
    return found, Seen(dict(list(told.items())[:_NAMES_KEPT]), (*seen.extra, *new)[:_NAMES_KEPT])


def _is_news(share: float, told: float | None) -> bool:
    """Whether a field that fails in this share of records does so as never before."""
    return told is None or share > max(2 * told, told + _MORE)


def named(fields: Mapping[str, int]) -> dict[str, int]:
    """Counts by name, the most frequent first; what is no name could be anybody's number."""
    told = Counter[str]()
    for name, count in fields.items():
        told[field_or_odd(name)] += count
    return dict(sorted(told.items(), key=lambda item: (-item[1], item[0]))[:_NAMES_TOLD])
