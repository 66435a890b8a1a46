"""In which places an id may stand at once: 'exactly one of', of docs/internals/states.md.

An id's standing is a whole number with seven bits for each place: how often it stands there.  So
the standings of a batch of ids are sums, and most are allowed and need no second look.
"""

from __future__ import annotations

from enum import IntEnum

_BITS = 7
MOST_PLACES = 4
"""No allowed standing has an id in more places than this."""


class Place(IntEnum):
    """Where an id can stand."""

    DATA = 0
    JOURNAL = 1
    OPEN = 2
    DEAD = 3
    DEAD_PUBLISHED = 4
    RETRYING = 5
    DEFERRED = 6
    LIST_SETTLED = 7
    LIST_PENDING = 8

    @property
    def weight(self) -> int:
        """What an id's standing grows by for standing here once."""
        return 1 << (_BITS * self)


_P = Place
_KEPT = (_P.DATA, _P.JOURNAL)
_SETTLED: tuple[tuple[Place, ...], ...] = (
    (_P.DATA,),
    (_P.JOURNAL,),
    (_P.OPEN,),
    (_P.DEAD,),
    # A dead letter marked published is in the data as well.
    *((kept, _P.DEAD_PUBLISHED) for kept in _KEPT),
    # An open call that failed in this run too is asked again like any other deferred id.
    (_P.OPEN, _P.DEFERRED),
)


def allowed(*, with_list: bool, rebuilt: bool) -> frozenset[int]:
    """The standings that hold no contradiction.

    `with_list`: the work list was counted as well; then a settled row stands for an outcome, and a
    pending one for none.  `rebuilt`: the state was made anew, so a pending id may be on no list.
    """
    pending: list[tuple[Place, ...]] = [(), (_P.DEFERRED,), (_P.RETRYING,)]
    pending.append((_P.RETRYING, _P.DEFERRED))
    found = [_sum(places) for places in _SETTLED]
    if not with_list:
        return frozenset([*found, *map(_sum, pending)])
    found += [_sum((*places, _P.LIST_SETTLED)) for places in _SETTLED]
    found += [_sum((*places, _P.LIST_PENDING)) for places in pending]
    if rebuilt:
        found.append(_sum((_P.DEFERRED,)))
    return frozenset(found)


def places_of(standing: int) -> dict[Place, int]:
    """How often an id stands where."""
    mask = (1 << _BITS) - 1
    counts = {place: standing >> (_BITS * place) & mask for place in Place}
    return {place: count for place, count in counts.items() if count}


def contradiction(standing: int) -> tuple[str, str]:
    """(kind, what is wrong), for a standing that isn't allowed."""
    places = places_of(standing)
    kept = places.get(_P.DATA, 0) + places.get(_P.JOURNAL, 0)
    settled = [place for place in (_P.OPEN, _P.DEAD) if place in places]
    told = " and ".join(_told(place, count) for place, count in places.items())
    if kept > 1:
        return "twice", f"held twice: {told}"
    if len(settled) + (kept > 0) > 1 or (kept and {_P.RETRYING, _P.DEFERRED} & places.keys()):
        return "two_states", f"in two states at once: {told}"
    if _P.DEAD_PUBLISHED in places and not kept:
        return "not_in_data", f"published, but neither in the data nor in the journal: {told}"
    if _P.LIST_SETTLED in places and not kept and not settled:
        return "settled_nowhere", f"settled, but with no outcome anywhere: {told}"
    if _P.LIST_PENDING in places and (kept or settled):
        return "asked_again", f"pending, though it has an outcome: {told}"
    if places.keys() <= {_P.DEFERRED, _P.RETRYING}:
        return "forgotten", f"to be asked again, but not on the list: {told}"
    return "two_states", f"a standing that can't be: {told}"


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
    _P.LIST_SETTLED: "settled on the list",
    _P.LIST_PENDING: "pending on the list",
}


def _sum(places: tuple[Place, ...]) -> int:
    return sum(place.weight for place in places)
