"""Which states an id may have at once: 'exactly one of', of docs/internals/states.md.

An id's states are one whole number with seven bits for each place: how often it is there.  So
the numbers of a batch of ids are sums, and most are allowed and need no second look.
"""

from __future__ import annotations

from enum import IntEnum

_BITS = 7
MOST_PLACES = 4
"""No allowed number has an id in more places than this."""


class Place(IntEnum):
    """Where an id can be."""

    DATA = 0
    JOURNAL = 1
    OPEN = 2
    DEAD = 3
    DEAD_PUBLISHED = 4
    RETRYING = 5
    DEFERRED = 6
    LIST_RESOLVED = 7
    LIST_PENDING = 8

    @property
    def weight(self) -> int:
        """What an id's number grows by for being here once."""
        return 1 << (_BITS * self)


_P = Place
_KEPT = (_P.DATA, _P.JOURNAL)
_RESOLVED: tuple[tuple[Place, ...], ...] = (
    (_P.DATA,),
    (_P.JOURNAL,),
    (_P.OPEN,),
    (_P.DEAD,),
    # A dead letter marked published is in the data as well.
    *((kept, _P.DEAD_PUBLISHED) for kept in _KEPT),
    # An open call that failed in this run too is fetched again like any other deferred id.
    (_P.OPEN, _P.DEFERRED),
)


def allowed(*, with_list: bool, rebuilt: bool) -> frozenset[int]:
    """The numbers that hold no contradiction.

    `with_list`: the work list was counted as well; then a resolved row stands for an outcome, and a
    pending one for none.  `rebuilt`: the state was rebuilt, so a pending id may be on no list.
    """
    pending: list[tuple[Place, ...]] = [(), (_P.DEFERRED,), (_P.RETRYING,)]
    pending.append((_P.RETRYING, _P.DEFERRED))
    found = [_sum(places) for places in _RESOLVED]
    if not with_list:
        return frozenset([*found, *map(_sum, pending)])
    found += [_sum((*places, _P.LIST_RESOLVED)) for places in _RESOLVED]
    found += [_sum((*places, _P.LIST_PENDING)) for places in pending]
    if rebuilt:
        found.append(_sum((_P.DEFERRED,)))
    return frozenset(found)


def places_of(states: int) -> dict[Place, int]:
    """How often an id is where."""
    mask = (1 << _BITS) - 1
    counts = {place: states >> (_BITS * place) & mask for place in Place}
    return {place: count for place, count in counts.items() if count}


def contradiction(states: int) -> tuple[str, str]:
    """(kind, what is wrong), for a number that isn't allowed."""
    places = places_of(states)
    kept = places.get(_P.DATA, 0) + places.get(_P.JOURNAL, 0)
    resolved = [place for place in (_P.OPEN, _P.DEAD) if place in places]
    told = " and ".join(_told(place, count) for place, count in places.items())
    if kept > 1:
        return "twice", f"held twice: {told}"
    if len(resolved) + (kept > 0) > 1 or (kept and {_P.RETRYING, _P.DEFERRED} & places.keys()):
        return "two_states", f"in two states at once: {told}"
    if _P.DEAD_PUBLISHED in places and not kept:
        return "not_in_data", f"published, but neither in the data nor in the journal: {told}"
    if _P.LIST_RESOLVED in places and not kept and not resolved:
        return "resolved_nowhere", f"resolved, but with no outcome anywhere: {told}"
    if _P.LIST_PENDING in places and (kept or resolved):
        return "fetched_again", f"pending, though it has an outcome: {told}"
    if places.keys() <= {_P.DEFERRED, _P.RETRYING}:
        return "forgotten", f"to be fetched again, but not on the list: {told}"
    return "two_states", f"states that exclude each other: {told}"


def _told(place: Place, count: int) -> str:
    times = f" {count} times" if count > 1 else ""
    return f"{_WORDS[place]}{times}"


_WORDS = {
    _P.DATA: "in the data",
    _P.JOURNAL: "in the journal",
    _P.OPEN: "an open call",
    _P.DEAD: "a dead letter",
    _P.DEAD_PUBLISHED: "a dead letter marked published",
    _P.RETRYING: "a dead letter to be retried",
    _P.DEFERRED: "deferred",
    _P.LIST_RESOLVED: "resolved on the list",
    _P.LIST_PENDING: "pending on the list",
}


def _sum(places: tuple[Place, ...]) -> int:
    return sum(place.weight for place in places)
