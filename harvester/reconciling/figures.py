"""The seven regions of three lists, and what each of them means.

V: what the vendor lists.  B: what is in our books.  D: what the customer's dialer placed.  An id is
in exactly one region, which is named by the lists that have it: "VB" is in V and in B and not in D.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from harvester.analysis.report.formatting import exact
from harvester.errors import HarvesterError
from harvester.state.id_counts import BillingDay
from harvester.vendor_clock import CLOCK

REGIONS = ("V", "B", "D", "VB", "VD", "BD", "VBD")
STATES = ("delivered", "open", "unrated", "dead", "pending", "dropped")
"""Where an id of B stands; one that is nowhere has none."""

_MINUTE = Decimal("0.0001")


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """The calls that these lists have and the others have not."""

    calls: int = 0
    charged_duration_s: int = 0
    cost: Mapping[str, Decimal] = {}
    """By currency: the vendor's list's where it has the call and its price, else ours."""
    without_cost: int = 0
    """Of the calls of V or B, those without a cost."""
    states: Mapping[str, int] = {}
    """Of the calls of B: how many stand where."""
    oldest_ms: int | None = None
    newest_ms: int | None = None
    """When calls were submitted, in Unix ms; of a call without that, what its id says."""
    meaning: str = ""
    next: str = ""

    @property
    def minutes(self) -> Decimal:
        """Charged minutes, to four digits."""
        return (Decimal(self.charged_duration_s) / 60).quantize(_MINUTE)


class Group(msgspec.Struct, frozen=True):
    """Calls that have region, state, currency and day in common."""

    region: str
    state: str
    currency: str
    day: str
    """Of the vendor's clock."""
    calls: int
    charged_duration_s: int
    cost: Decimal | None
    with_cost: int
    oldest_ms: int | None
    newest_ms: int | None


class Days(msgspec.Struct, frozen=True, kw_only=True):
    """How far the vendor's list of the days that were asked for can be relied on."""

    first: str
    last: str
    listed: int
    """Days that are listed for sure."""
    oldest_listing_ms: int | None
    """When the listing of longest ago, of those that count, began."""
    least_age_days: int | None
    """Days after a day on which it was listed: the least of all days."""
    not_listed: tuple[str, ...]


class Dialer(msgspec.Struct, frozen=True, kw_only=True):
    """The dialer's file.  lines = bad + double + outside + calls."""

    file: str
    lines: int
    bad: int
    double: int
    calls: int
    """Distinct ids that count."""
    outside: int = 0
    """Distinct ids left out: sent on other days, by the times of the file, and not among the
    vendor's calls of these days; or listed by the vendor on the day before or after.
    """
    elsewhere: int = 0
    """Of `calls`, those that the vendor has on these days and the file on others."""
    undated: int = 0
    """Rows whose time can't be read: they count."""
    by_time: bool = False
    """Whether the file says when; else all rows count."""


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.  together = the sum of all regions: each id of any of the lists, once."""

    output: str
    days: Days
    regions: Mapping[str, Region]
    """All seven, in the order of REGIONS."""
    vendor: int
    """Calls in V, as the list has them."""
    ours: int
    dialer: Dialer | None
    together: int
    differing: int
    """Ids that one of the lists lacks, but for those that are dead here and nowhere else."""
    allow: int
    alive: Mapping[str, int] = {}
    """Calls of V that are known here without a final record, by state."""
    requests: int
    """To the vendor's list."""
    by_day: tuple[BillingDay, ...]
    files: str | None = None
    """The folder that holds a file of each region."""
    exit_code: int
    code: str
    message: str
    error: HarvesterError | None = None


def fold(
    groups: Iterable[Group], names: Mapping[str, str], next_: Mapping[str, str]
) -> dict[str, Region]:
    """The regions that groups add up to; `names`, `next_`: what each means, and what to do."""
    found: dict[str, _Sum] = {name: _Sum() for name in REGIONS}
    for one in groups:
        found[one.region].add(one)
    return {
        name: Region(
            calls=total.calls,
            charged_duration_s=total.charged_s,
            cost=dict(sorted(total.cost.items())),
            without_cost=total.without_cost,
            states={state: total.states[state] for state in STATES if state in total.states},
            oldest_ms=total.oldest_ms,
            newest_ms=total.newest_ms,
            meaning=names.get(name, ""),
            next=next_.get(name, "") if total.calls else "",
        )
        for name, total in found.items()
    }


class _Sum(msgspec.Struct):
    calls: int = 0
    charged_s: int = 0
    without_cost: int = 0
    cost: dict[str, Decimal] = {}
    states: dict[str, int] = {}
    oldest_ms: int | None = None
    newest_ms: int | None = None

    def add(self, one: Group) -> None:
        self.calls += one.calls
        self.charged_s += one.charged_duration_s
        if one.region != "D":
            self.without_cost += one.calls - one.with_cost
        if one.cost is not None:
            self.cost[one.currency] = self.cost.get(one.currency, Decimal(0)) + one.cost
        if one.state:
            self.states[one.state] = self.states.get(one.state, 0) + one.calls
        if one.oldest_ms is not None:
            self.oldest_ms = min(self.oldest_ms or one.oldest_ms, one.oldest_ms)
        if one.newest_ms is not None:
            self.newest_ms = max(self.newest_ms or one.newest_ms, one.newest_ms)


def by_day(
    groups: Iterable[Group], listed_ms: Mapping[str, int | None], counted_ms: int
) -> list[BillingDay]:
    """The calls of V by day: those of `listed_ms`, and no others."""
    counts: dict[str, Counter[str]] = {day: Counter() for day in listed_ms}
    for one in groups:
        if "V" in one.region and one.day in counts:
            kind = {"": "missing", "unrated": "open"}.get(one.state, one.state)
            counts[one.day].update({kind: one.calls, "listed": one.calls})
    return [
        BillingDay(
            day=day,
            # What comes of windows that are not settled yet is not counted by this.
            counted_ms=None if listed_ms[day] is None else counted_ms,
            listed_ms=listed_ms[day],
            **found,
        )
        for day, found in counts.items()
    ]


def as_json(done: Reconciled) -> dict[str, object]:
    """What came of it for machines: money and minutes as decimal text, all seven regions."""
    found: dict[str, object] = msgspec.to_builtins(
        msgspec.structs.replace(done, error=None, regions={}), builtin_types=(Decimal,)
    )
    found.pop("error")
    found["regions"] = {name: _region_as_json(done.regions[name]) for name in REGIONS}
    return {"type": "reconcile", **found}


def _region_as_json(one: Region) -> dict[str, object]:
    return {
        "calls": one.calls,
        "minutes": exact(one.minutes),
        "charged_duration_s": one.charged_duration_s,
        "cost": {currency: exact(amount) for currency, amount in one.cost.items()},
        "without_cost": one.without_cost,
        "states": dict(one.states),
        "oldest": instant(one.oldest_ms),
        "newest": instant(one.newest_ms),
        "meaning": one.meaning,
        "next": one.next,
    }


def instant(ms: int | None) -> str | None:
    """An instant on the vendor's clock, as ISO 8601."""
    if ms is None:
        return None
    at = datetime.fromtimestamp(ms / 1000, UTC).astimezone(CLOCK)
    return at.isoformat(timespec="seconds")


def order_of(*, has_dialer: bool) -> Sequence[str]:
    """The regions in the order in which they are shown: the most urgent first."""
    return ("V", "VB", "VD", "D", "BD", "B", "VBD") if has_dialer else ("V", "B", "VB")


def equal_region(*, has_dialer: bool) -> str:
    """The region in which all lists agree."""
    return "VBD" if has_dialer else "VB"


def agreeing(regions: Mapping[str, Region], *, has_dialer: bool) -> int:
    """Ids on which the lists agree: all of them have it; or it is dead here, and nobody has it."""
    dead = regions["B"].states.get("dead", 0)
    return regions[equal_region(has_dialer=has_dialer)].calls + dead


def meanings(*, has_dialer: bool) -> dict[str, str]:
    """What it means that an id is in this region."""
    if not has_dialer:
        return {
            "V": "listed by the vendor, unknown here",
            "B": "known here, not listed by the vendor",
            "VB": "listed and known here",
        }
    return {
        "V": "billed, never placed by us; unknown here",
        "VB": "billed, never placed by us; known here",
        "VD": "missed: placed and billed, unknown here",
        "D": "placed, unknown to the vendor and here",
        "BD": "placed and known here, not listed by the vendor",
        "B": "known here alone",
        "VBD": "placed, billed and known here",
    }


def commands(
    first: str, last: str, *, has_dialer: bool, files: str | None, is_old: bool
) -> dict[str, str]:
    """What to do about the calls of a region.  `is_old`: nothing late is to come any more."""
    span = f"--from {first} --to {last}"
    take = (
        f"`harvester discover {span} --take` puts them on the work list, and "
        "`harvester run --carried-over-only` fetches them"
    )
    ids = f"{files}/{{}}.parquet has the ids" if files else "-o DIR writes their ids"
    again = "the same command again when the list is 12 days old"
    then = "" if is_old else f"{again}, then "
    look = f"{ids.format('B')}; `harvester explain ID` shows all that is known of one"
    if not has_dialer:
        return {"V": f"{take}.", "B": f"{look}." if is_old else f"{again}; {look}."}
    return {
        "V": f"find out who else has the key, and have it changed; {take}.",
        "VB": f"find out who else has the key, and have it changed; {ids.format('VB')}.",
        "VD": f"{take}.",
        "D": f"{then}ask whoever runs the dialer; {ids.format('D')}.",
        "BD": f"{then}ask the vendor why they are not listed; {ids.format('BD')}.",
        "B": f"{look}.",
    }


def alive(regions: Mapping[str, Region]) -> dict[str, int]:
    """Of the calls that the vendor lists, those known here without a record, by state."""
    found: Counter[str] = Counter()
    for name, region in regions.items():
        if "V" in name:
            found.update(region.states)
    return {state: found[state] for state in ("dead", "pending", "open", "unrated") if found[state]}
