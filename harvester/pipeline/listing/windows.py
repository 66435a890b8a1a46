"""Which page of the vendor's list is asked for next, and when a window is settled.

Theory of operation.  Paging through a list loses rows: rows of one second come in no order, so a
row may stand on two pages and another on none, and the count looks right (53 of 5,000 were missed
in a simulation).  So a span of time is cut until a window is one page: a page is one look at the
table.  A window is settled when the distinct ids that it brought are as many as the vendor says.

- More than a page holds: the window is cut into parts, as many as its total needs.
- A second with more can't be cut.  It is paged, in rounds, until the distinct ids of all rounds are
  as many as its total, the same one, after two rounds running; each round has pages of another
  size, so that rows that one order keeps hidden show in the next.
- A page that brings fewer than promised is followed by the next one.  If that brings others, the
  vendor caps its pages without saying so, and from then on a page holds as many as that one had.
- A page that is full to the brim is one of more, for all that is known: its window is cut like any
  other.  Nothing at all has to be said twice.
- A window that can't be had though smaller ones can (a table too big, a body too long) is cut as
  well, as long as that helps.
- What is not settled after `MOST_TRIES`, or `MOST_IDLE_ROUNDS`, is closed as unsettled; a round
  that brought an id that no round before had is not idle, as the next one may bring the rest.
- Totals that do not go down where windows are cut are no totals, and such parts are closed as well:
  a vendor that lies must not cost a request for each second of a month.  All that was cut equally
  often lies side by side, so its totals add up to that of the whole, but for overlaps.
- Whether windows have brought pages of one another, nobody can tell here: `lister.py` does.

Whether the vendor counts either end of a window is not known at first: so a window of the seconds
from a to b (not included) is asked for from a - 1 to b, which holds all of them however it counts.
Windows overlap by that; ids are a set.

Nothing here sends or stores anything; `lister.py` does.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from harvester.client.record_group import LARGEST_SIZE

MOST_TRIES = 5
"""Looks at a window of one page, or rounds through it that brought nothing new."""
MOST_IDLE_ROUNDS = 12
"""The same for a second of more than a page.  A round brings a call that is missing still with
seven in ten where each of three pages is drawn by chance: so many it takes to be sure.
"""
_MOST_ROUNDS = 40
DAY_S = 86_400
_MOST_PARTS = 16
_AIM = 0.7
"""Of a page that a part is meant to fill: parts are not alike."""
_NARROWER = (0.0, 0.03, 0.11, 0.17, 0.21)
"""By how much the pages of each round are narrower than they may be."""
_BRIM = 20
"""A page of fewer records is full too often to make anything of it."""
_RESCUED_PARTS = 8
_RESCUES = 2
"""Windows that failed and are cut before any part of such a one was answered."""
NOES = frozenset({"out_of_time_range", "parameter_exception", "bad_query_id"})
"""Causes that are the vendor's no."""
FINAL = NOES | {"not_a_page", "not_an_envelope", "other_window"}
"""Causes that a smaller window would have as well: a no, and answers that are none."""
_MOST_OFTEN = 3
"""Into so many windows a second may fall: those that end and begin beside it overlap there."""
_GONE_DOWN = 0.9
"""Of the total of a window: a part that says no more shows that it may have been capped."""


class Window(msgspec.Struct, frozen=True, order=True):
    """Whole seconds, Unix time: from `start_s` on and before `until_s`."""

    start_s: int
    until_s: int

    @property
    def seconds(self) -> int:
        """How long it is."""
        return self.until_s - self.start_s


class Asked(msgspec.Struct, frozen=True):
    """A page of a window that is to be asked for."""

    window: Window
    start_s: int
    end_s: int
    """What to send, whichever of the ends the vendor counts."""
    current: int
    size: int


class Seen(msgspec.Struct, frozen=True):
    """What came of it."""

    total: int
    """The vendor's word."""
    ids: frozenset[str]
    records: int
    """How many came, those without an id among them."""
    nameless: int = 0
    """Those without an id that can be."""


class Closed(msgspec.Struct, frozen=True):
    """A window that is over.  `cause`: why it is not settled; empty where it is."""

    window: Window
    total: int
    distinct: int
    cause: str = ""


@dataclass(slots=True)
class _Whole:
    """A window that was not cut from another one."""

    total: int
    claims: Counter[int] = field(default_factory=Counter)
    """What its parts say of themselves, in all, by how often they were cut."""
    largest: int = 0
    """What the largest of its first parts says."""
    is_capped: bool = False
    """Its first parts say that there is far more than it says itself."""


@dataclass(slots=True)
class _Work:
    """A window, and what it has been through."""

    window: Window
    of: _Whole | None = None
    """What it is a part of."""
    cuts: int = 0
    is_rescued: bool = False
    """A part of one that failed."""
    tries: int = 0
    rounds: int = 0
    is_paged: bool = False
    current: int = 1
    size: int = 0
    holds: int = 0
    """What the first page of the round brought."""
    ids: set[str] = field(default_factory=set)
    """Of all rounds."""
    of_round: set[str] = field(default_factory=set)
    totals: set[int] = field(default_factory=set)
    """What the pages of the round said."""
    equal: int = 0
    """Rounds running after which the ids are as many as the total, the same each time."""
    total: int = -1
    """That of the round before."""


class Windows:
    """The windows of a listing.  Any number of pages may be under way, one a window."""

    def __init__(
        self,
        spans: Iterable[Window],
        *,
        closed: Iterable[Window] = (),
        is_start_counted: bool = False,
    ) -> None:
        """`closed`: parts that need not be asked for.  `is_start_counted`: the vendor counts a
        call of the very second that a window begins with, for sure.
        """
        self._before_s = 0 if is_start_counted else 1
        self._capacity = LARGEST_SIZE
        self._out: dict[Window, _Work] = {}
        days = [day for gap in gaps(spans, closed) for day in _days(gap)]
        self._ready = deque(_Work(day) for day in days)
        self._rescues = _RESCUES

    @property
    def is_done(self) -> bool:
        """Whether every window is closed."""
        return not self._ready and not self._out

    @property
    def capacity(self) -> int:
        """Records that a page holds, as far as is known."""
        return self._capacity

    def take(self) -> Asked | None:
        """The next page; None while all that is left is under way."""
        if not self._ready:
            return None
        work = self._ready.popleft()
        self._out[work.window] = work
        if not work.is_paged:
            work.size = self._capacity
        window = work.window
        start_s = window.start_s - self._before_s
        return Asked(window, start_s, window.until_s, work.current, work.size)

    def put_back(self, asked: Asked) -> None:
        """It was not asked for after all."""
        self._ready.appendleft(self._out.pop(asked.window))

    def goes_on(self, window: Window) -> bool:
        """Whether more pages of a window are to come, just after one was answered."""
        return bool(self._ready) and self._ready[0].window == window

    def failed(self, asked: Asked, cause: str) -> Closed | None:
        """No answer could be had; the window, if it is closed by that."""
        work = self._out.pop(asked.window)
        if cause in FINAL or not self._rescues or work.window.seconds == 1:
            return Closed(work.window, 0, len(work.ids), cause)
        self._rescues -= 1
        parts = _even(work.window, min(_RESCUED_PARTS, work.window.seconds))
        rescued = [_Work(part, work.of, work.cuts + 1, is_rescued=True) for part in parts]
        # In front: whether it helps is to be known before others are cut.
        self._ready.extendleft(reversed(rescued))
        return None

    def answered(self, asked: Asked, seen: Seen) -> Closed | None:
        """Note a page; the window, if it is closed by it."""
        work = self._out.pop(asked.window)
        self._rescues += work.is_rescued
        work.is_rescued = False
        return self._paged(work, seen) if work.is_paged else self._whole(work, seen)

    def _whole(self, work: _Work, seen: Seen) -> Closed | None:
        """A look at a window that may be one page."""
        distinct, total = len(seen.ids), seen.total
        if work.of is not None and not work.tries:
            work.of.claims[work.cuts] += total
            if work.cuts == 1:
                work.of.largest = max(work.of.largest, total)
        is_one = work.window.seconds == 1
        is_full = total > self._capacity or total == self._capacity >= _BRIM
        is_told = total > 0 or work.tries > 0
        if distinct == total == seen.records and is_told and (is_one or not is_full):
            return Closed(work.window, total, distinct)
        work.tries += 1
        if _is_no_total(work, self._capacity):
            return Closed(work.window, total, distinct, "totals_differ")
        is_short = seen.records < min(work.size, total)
        if is_full and not is_one and not is_short:
            self._cut(work, total)
            return None
        if seen.records < total:
            work.is_paged, work.tries = True, 0
            return self._paged(work, seen)
        if work.tries >= MOST_TRIES:
            return Closed(work.window, total, distinct, _why(seen))
        self._ready.appendleft(work)
        return None

    def _cut(self, work: _Work, total: int) -> None:
        wanted = math.ceil(total / max(1.0, _AIM * self._capacity))
        parts = max(2, min(wanted, _MOST_PARTS, work.window.seconds))
        of = work.of or _Whole(total)
        self._ready += [_Work(part, of, work.cuts + 1) for part in _even(work.window, parts)]

    def _paged(self, work: _Work, seen: Seen) -> Closed | None:
        """A page of a round."""
        if work.current == 1:
            work.holds = seen.records
        new = seen.ids - work.of_round
        if self._is_capped(work, seen, new):
            self._capacity = work.holds
            if work.window.seconds > 1:
                self._ready.appendleft(_Work(work.window, work.of, work.cuts, tries=1))
                return None
        work.of_round |= seen.ids
        work.totals.add(seen.total)
        holds = min(work.size, work.holds)
        # A total may be a lie: nobody goes on to the end of it while nothing new comes.
        if new and work.current * holds < seen.total:
            work.current += 1
            self._ready.appendleft(work)
            return None
        return self._end_round(work, seen)

    def _is_capped(self, work: _Work, seen: Seen, new: frozenset[str]) -> bool:
        """Whether a second page shows that the first was short because the vendor's pages are."""
        is_short = 0 < work.holds < min(work.size, seen.total)
        return work.current == 2 and is_short and bool(new) and work.holds <= self._capacity

    def _end_round(self, work: _Work, seen: Seen) -> Closed | None:
        total = seen.total
        is_new = not work.of_round <= work.ids
        work.ids |= work.of_round
        if len(work.ids) > total:  # some have left the window since, or the total is behind
            work.ids = set(work.of_round)
        is_whole = work.totals == {total} and len(work.ids) == total
        is_same, work.total = total == work.total, total
        work.equal = (work.equal * is_same + 1) if is_whole else 0
        work.rounds += 1
        work.tries += not is_new
        if work.equal == 2:
            return Closed(work.window, total, total)
        most = MOST_IDLE_ROUNDS if total > self._capacity else MOST_TRIES
        if work.tries >= most or work.rounds >= _MOST_ROUNDS:
            return Closed(work.window, total, len(work.ids), _why(seen))
        narrower = _NARROWER[work.rounds % len(_NARROWER)]
        work.size = max(1, round(self._capacity * (1 - narrower)))
        work.current, work.of_round, work.totals = 1, set(), set()
        self._ready.appendleft(work)
        return None


def gaps(spans: Iterable[Window], closed: Iterable[Window]) -> list[Window]:
    """What of `spans` no window of `closed` covers, in order of time."""
    left: list[Window] = []
    done = sorted(closed)
    for span in sorted(spans):
        at_s = span.start_s
        for one in done:
            if one.until_s <= at_s or one.start_s >= span.until_s:
                continue
            if one.start_s > at_s:
                left.append(Window(at_s, one.start_s))
            at_s = max(at_s, one.until_s)
        if at_s < span.until_s:
            left.append(Window(at_s, span.until_s))
    return left


def _days(window: Window) -> Iterator[Window]:
    """A window in parts of a day at most: the vendor takes no span of over 31 days."""
    for start_s in range(window.start_s, window.until_s, DAY_S):
        yield Window(start_s, min(start_s + DAY_S, window.until_s))


def _even(window: Window, parts: int) -> list[Window]:
    """`window` in so many parts that are alike, to the second."""
    cuts = [window.start_s + window.seconds * part // parts for part in range(parts + 1)]
    return [Window(*pair) for pair in pairwise(cuts)]


def _is_no_total(work: _Work, capacity: int) -> bool:
    """Whether parts claim more than there can be, but for a page of late rows.

    Some vendors count no further than to 10,000, say.  So the first parts of a window may claim
    more than it, where each is well below; from then on what they claimed is what there is.
    """
    of = work.of
    if of is None:
        return False
    known = of.claims[work.cuts - 1] if of.is_capped and work.cuts > 1 else of.total
    if of.claims[work.cuts] <= _MOST_OFTEN * known + capacity:
        return False
    if work.cuts == 1:
        of.is_capped = of.largest <= _GONE_DOWN * of.total
        return not of.is_capped
    return True


def _why(seen: Seen) -> str:
    return "no_id" if seen.nameless else "totals_differ"
