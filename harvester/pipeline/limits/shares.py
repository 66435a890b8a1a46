"""Who may use how much of the limit, where several parties send.

Theory of operation.  A party is a process that sends requests: this one, which owns the run, and
its workers.  Each keeps a `Pace` of its share, so the sum of what the parties may use is what the
vendor may see.  A worker may be slow, stopped or out of reach, so its share is a lease: an order
gives it until `lease_s` after the worker wrote the report that the order answers, by the worker's
own clock.  Whatever delays an order makes its lease shorter, never longer; no clock is shared.

What a party *holds* is the most that it may have used within the last second, or may use yet; the
sum of what all hold is never above the limit.  Three rules keep it so:

1. A share is raised only by what nobody holds.
2. A lowered share counts at its old value until the report that answers the lowering order has
   come, or its lease is over, and a second more.
3. What a dead worker held counts beside its successor's, until its lease is over, and a second
   more.

So in any sliding second no party has used more than it holds at that second's end, and the sum of
that is within the limit.

Nothing here has a clock: `now_ns` is the owner's monotonic one.
"""

from __future__ import annotations

from math import inf
from typing import TypeAlias

SECOND_NS = 1_000_000_000
LEASE_S = 2.0
"""How long a worker may use its share without hearing of the owner."""
WHOLE_BELOW = 40.0
"""Shares under this are whole numbers: see `pace.bucket_shape`."""
_LEAST_PART = 0.05
_NOTABLE = 0.05
_CALM_NS = SECOND_NS

_Hold: TypeAlias = tuple[float, float]
"""(a share, until when it counts, in ns)"""


class Party:
    """One that sends.  `wants`: what it can use, in requests a second; `inf` for all there is."""

    __slots__ = ("_holds", "is_leased", "is_there", "least", "share", "since_ns", "wants")

    def __init__(self, *, is_leased: bool, least: float = 0.0) -> None:
        """Holds nothing.  `least`: what it is given before anybody gets more."""
        self.is_leased = is_leased
        self.least = least
        self.wants = inf
        self.is_there = True
        self.share = 0.0
        """That of the latest order."""
        self.since_ns = -inf
        """When it became that."""
        self._holds: list[_Hold] = []

    def held(self, now_ns: float) -> float:
        """The most that it may have used within the last second, or may use yet."""
        self._holds = [hold for hold in self._holds if hold[1] > now_ns]
        return max((share for share, _ in self._holds), default=0.0)

    def hold(self, share: float, now_ns: float) -> None:
        """An order is sent that gives it `share`."""
        if not self.is_leased:
            # It lies in this process, and was lowered before this returned.
            self.obeyed(now_ns)
            self._holds.append((share, inf))
        else:
            self._holds.append((share, now_ns + (LEASE_S + 1.0) * SECOND_NS))
        if share != self.share:
            self.share, self.since_ns = share, now_ns

    def obeyed(self, now_ns: float, *, but_last: bool = False) -> None:
        """It does not use what it held any more; `but_last`: but for the latest order."""
        last = self._holds[-1:] if but_last else []
        earlier = self._holds[: len(self._holds) - len(last)]
        self._holds = [(share, min(until, now_ns + SECOND_NS)) for share, until in earlier] + last


class Shares:
    """The shares of one limit.  Not thread-safe."""

    def __init__(self, limit_per_s: float) -> None:
        """Nobody holds anything yet."""
        self._limit = limit_per_s
        self._parties: list[Party] = []
        self.local = Party(is_leased=False, least=_whole(max(1.0, _LEAST_PART * limit_per_s)))
        """The owner's own: it gets its least first."""
        self._parties.append(self.local)

    @property
    def most_workers(self) -> int:
        """How many workers the limit has a share for, beside the owner's."""
        return max(0, int(self._limit) - 1)

    def join(self) -> Party:
        """A new worker, or the successor of one that is dead."""
        party = Party(is_leased=True)
        self._parties.append(party)
        return party

    def leave(self, party: Party) -> None:
        """It is dead, or given up: what it held counts until its lease is over."""
        party.is_there = False

    def order(self, party: Party, now_ns: float) -> float:
        """The share to give to `party` in an order that is sent now."""
        self._forget(now_ns)
        free = max(0.0, self._limit - sum(p.held(now_ns) for p in self._parties if p is not party))
        share = party.share
        if share > free or self._is_due(party, now_ns):
            wished = self._targets()[party]
            if share > free or _is_notable(share, wished):
                # Rule 1; a little that can't be had is no reason for another change.
                wished = _whole(min(wished, free))
                share = wished if share > free or _is_notable(share, wished) else share
        party.hold(share, now_ns)
        return share

    def reported(self, party: Party, now_ns: float) -> None:
        """The report that answers the latest order to `party` has come."""
        party.obeyed(now_ns, but_last=True)

    def held(self, now_ns: float) -> float:
        """What all hold: never above the limit."""
        return sum(party.held(now_ns) for party in self._parties)

    def _forget(self, now_ns: float) -> None:
        self._parties = [p for p in self._parties if p.is_there or p.held(now_ns) > 0]

    @staticmethod
    def _is_due(party: Party, now_ns: float) -> bool:
        return now_ns - party.since_ns >= _CALM_NS

    def _targets(self) -> dict[Party, float]:
        """What each should have: its least, and of the rest equal parts as far as it wants them."""
        there = [party for party in self._parties if party.is_there]
        given = {party: min(party.least, self._limit) for party in there}
        rest = self._limit - sum(given.values())
        hungry = [party for party in there if party.wants > given[party]]
        at_rest = hungry
        while hungry and rest > 0:
            # All to the same height; who wants less leaves more to the others.
            level = (rest + sum(given[party] for party in hungry)) / len(hungry)
            done = [party for party in hungry if given[party] >= level]
            if not done:
                done = [party for party in hungry if party.wants <= level]
                for party in done or hungry:
                    more = min(party.wants, level) - given[party]
                    given[party] += more
                    rest -= more
            hungry = [party for party in hungry if party not in done] if done else []
        for party in at_rest:  # what nobody wants: so nothing changes as long as it does not matter
            given[party] += max(0.0, rest) / len(at_rest)
        return self._in_wholes(given)

    def _in_wholes(self, given: dict[Party, float]) -> dict[Party, float]:
        """A share under 40 is a whole number; what that leaves goes to the first of them."""
        shares = {party: _whole(share) for party, share in given.items()}
        rest = self._limit - sum(shares.values())
        for party, share in shares.items():
            if rest >= 1.0 and share < WHOLE_BELOW and party.wants >= share + 1.0:
                shares[party] = share + 1.0
                rest -= 1.0
        return shares


def _whole(share: float) -> float:
    return share if share >= WHOLE_BELOW else float(int(share))


def _is_notable(before: float, after: float) -> bool:
    """Whether it is worth a change: each costs its party a fiftieth of a second."""
    return abs(after - before) > max(_NOTABLE * before, 0.5)
