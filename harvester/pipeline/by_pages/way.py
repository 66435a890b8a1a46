"""Fetching by pages of the vendor's list: up to a hundred records a request.

Theory of operation.  Before the workers are handed any id, the time that the list's ids are of is
walked through (`listing.walk`).  The records of a window count only once it is settled
(`listing.windows`), and of these only those whose id is pending on the work list, and whose call is
over and rated: whatever else there is, the single way has the last word on.  Nobody asked for the
others.

That list and single answers say the same was found out once (`discover --compare`), and is found
out again all along: records are held in portions of at most `_PORTION` and what one look-up brings,
and before a portion counts, some of it are fetched singly and compared.  A record may have changed
honestly between the two looks, so one that differs is looked at twice in both ways.  If it still
differs this way ends, for good: neither this portion nor anything after it is taken from pages, the
comparison of before is forgotten, and what was taken so far is fetched again (`run.taken`).  For
that, taken ids are kept in the transaction of their outcome until this way has come to its end.

What was taken is concluded as if it had been fetched singly, by the same rules; the workers find it
resolved.  Whatever ends this way, also a vendor that has no list any more or refuses it, an id that
it did not conclude is fetched by them.  It ends as well once it has sent as many requests as there
are ids: so where the list has few of ours among many others, it costs at most as much again.  And
it ends while the run's budget still holds a sample: so a night that is too short for a whole
portion brings what it has, and one that is too short for a sample begins no page.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextvars import Context
from functools import partial

import msgspec

from harvester.answers.answer import PAGES
from harvester.client.clock import VendorClock
from harvester.client.record_group import Listed, Query
from harvester.client.verdicts import RawRecord
from harvester.dataset.kind import RecordKind
from harvester.inputs.voice_id import clean
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.by_pages import sampling
from harvester.pipeline.by_pages.pages import Pages
from harvester.pipeline.by_pages.places import Place, Places
from harvester.pipeline.by_pages.spans import of_bounds, of_days
from harvester.pipeline.engine.local_workers import QUIET_AFTER_LOCK_S, Fetching
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.engine.task import Answered, Task
from harvester.pipeline.engine.workers import (
    AheadFigures,
    Differing,
    Figures,
    MakeAhead,
    OwnerAhead,
)
from harvester.pipeline.listing.comparing import differences, in_single_form
from harvester.pipeline.listing.days import KEEP_REQUESTS
from harvester.pipeline.listing.probing import Filter
from harvester.pipeline.listing.walk import Walk
from harvester.pipeline.listing.windows import Asked, Closed, Window, Windows
from harvester.state import listings, work_lists
from harvester.state.values import Counters, WorkList
from harvester.state.writer import LedgerWriter

_LOOK_UP = 1_000
"""Records, of whomever, that are looked up at once."""
_PORTION = 1_000
"""Of ours, that are compared and concluded at once."""
_TRIES = 3
"""Records that are drawn for each one that is to be compared: some can't be had either way."""
_MOST_PAGES = 10
_QUIET_S = QUIET_AFTER_LOCK_S + 0.05
_SUBMIT = "submitTime"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to fetch by pages, and how."""

    fetching: Fetching
    pages: Pages
    kind: RecordKind
    work_list: WorkList
    ids: ListFile
    rows: int
    """Of the list, those that the run works on."""
    filter: Filter | None
    """How the vendor cuts windows, if that is known."""
    codes: Mapping[str, str]
    """As of `Comparison`."""
    now_s: float
    """The latest that it may be on the vendor's clock."""


class _Seen(msgspec.Struct, frozen=True, gc=False):
    """A record of a page."""

    record: RawRecord
    at_ms: int
    asked: Asked


class _Ours(msgspec.Struct, frozen=True, gc=False):
    """One whose id is pending."""

    place: Place
    seen: _Seen


_UNKNOWN = "unknown"
"""Neither equal nor different: one of the two ways can't give the record."""


def by_pages(order: Order) -> MakeAhead:
    """Who fetches by pages, to be made inside the loop."""
    return partial(ByPages, order)


class ByPages:
    """See `workers.Ahead`."""

    def __init__(  # noqa: PLR0917 - the parts of a run
        self,
        order: Order,
        owner: OwnerAhead,
        clock: VendorClock,
        stop: Stop,
        counters: Counters,
        ledger: LedgerWriter,
    ) -> None:
        """Must be made inside the running loop."""
        self._order = order
        self._owner = owner
        self._clock = clock
        self._stop = stop
        self._counters = counters
        self._ledger = ledger
        seed = order.pages.seed
        self._seed = _a_seed() if seed is None else seed
        self._chance = random.Random(self._seed)  # noqa: S311 - a draw, no secret
        self._walk = Walk(
            order.fetching,
            clock=clock,
            stop=stop,
            count_request=self._count_request,
            is_id=lambda text: clean(text) == text,
            retries=counters.retries,
            on_refused=self._end_refused,
        )
        self._by = order.filter.by if order.filter is not None else None
        self._difference: Differing | None = None
        self._refused = ""
        self._is_whole = False
        self._is_closed = False
        self._settled = self._unsettled = 0
        self._sent_at = 0.0
        self._unkept_requests = 0
        self._one_deals = asyncio.Lock()
        self._held: dict[Window, dict[str, _Seen]] = {}
        """Of windows that are not closed yet."""
        self._waiting: dict[str, _Seen] = {}
        """Of settled windows, ours among others."""
        self._portion: dict[str, _Ours] = {}

    async def work(self) -> None:
        """See `workers.Ahead`."""
        order = self._order
        bits = await self._ledger.call(work_lists.resolved_rows, order.work_list)
        self._places = Places(order.work_list, order.ids, bits, order.rows)
        resolved = work_lists.resolved_count(order.work_list, bits, order.rows)
        self._most_requests = order.rows - resolved
        is_start_counted = order.filter is not None and order.filter.is_start_counted
        spans = await self._spans()
        self._windows = Windows(spans, is_start_counted=is_start_counted)
        if self._has_budget:
            await self._walk.through(self._windows, self._by, self)
        if not self._is_over:
            await self._deal_with(is_last=True)
        if self._sent_at:
            await self._owner.learnt_time()
        self._is_whole = not self._is_over and self._counters.sampled > 0
        await self._rest()

    async def end(self) -> None:
        """See `workers.Ahead`."""
        if self._is_whole:
            await self._ledger.call(listings.forget_taken)
        await self.close()

    def figures(self) -> AheadFigures:
        """See `workers.Ahead`."""
        pace, gate = self._walk.pace, self._walk.gate
        return AheadFigures(
            workers=Figures(
                pace_per_s=pace.rate_per_s,
                paused_s=pace.closed_for_s,
                is_outage=gate.is_shut,
                outages=gate.outages,
                throttled=pace.throttled,
                received_bytes=0,
                failures={},
            ),
            windows=self._settled,
            unsettled=self._unsettled,
            seed=self._seed,
            difference=self._difference,
            refused=self._refused,
            is_over=self._is_closed,
        )

    @property
    def outage_since(self) -> float | None:
        """See `workers.Ahead`."""
        return self._walk.gate.since

    async def close(self) -> None:
        """See `workers.Ahead`."""
        if not self._is_closed:
            self._is_closed = True
            await self._walk.close()

    def take(self, asked: Asked, calls: list[Listed], closed: Closed | None, at_ms: int) -> None:
        """See `walk.Taker`."""
        held = self._held.setdefault(asked.window, {})
        for call in calls:
            if _is_whole(call):
                held[call.record.voice_id] = _Seen(call.record, at_ms, asked)
            else:
                held.pop(call.record.voice_id, None)
        if closed is None:
            if not self._windows.goes_on(asked.window):
                del self._held[asked.window]  # its parts are asked for
            return
        del self._held[asked.window]
        if closed.cause:
            self._unsettled += 1
        else:
            self._settled += 1
            self._waiting |= held

    async def deal(self) -> None:
        """See `walk.Taker`: conclude what is settled, once there is enough of it."""
        if self._unkept_requests >= KEEP_REQUESTS:
            self._unkept_requests = 0
            await self._owner.learnt_time()
        if self._counters.page_requests >= self._most_requests or not self._has_budget:
            self._walk.end()
        if len(self._waiting) < _LOOK_UP:
            return
        async with self._one_deals:
            if len(self._waiting) >= _LOOK_UP and not self._is_over:
                await self._deal_with()

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be taken from pages."""
        return self._stop.is_set or self._difference is not None or bool(self._refused)

    @property
    def _has_budget(self) -> bool:
        """Whether the run's budget holds more than a sample, and the pages on their way."""
        on_their_way = self._order.fetching.pace.concurrency
        return sampling.is_room(self._owner.left(), on_their_way, self._walk.pace.rate_per_s)

    async def _spans(self) -> list[Window]:
        pages, now_s = self._order.pages, self._order.now_s
        is_by_submit = self._by == _SUBMIT
        if pages.first is not None and pages.last is not None:
            return of_bounds(pages.first, pages.last, now_s, is_by_submit=is_by_submit)
        days = await asyncio.to_thread(self._places.days)
        return of_days(days, now_s, is_by_submit=is_by_submit)

    async def _deal_with(self, *, is_last: bool = False) -> None:
        """Look up which of the settled records are ours; with enough of these, conclude them."""
        waiting, self._waiting = self._waiting, {}
        found = await asyncio.to_thread(self._places.pending, sorted(waiting))
        for voice_id, place in found.items():
            self._portion[voice_id] = _Ours(place, waiting[voice_id])
        if len(self._portion) >= _PORTION or (is_last and self._portion):
            portion, self._portion = self._portion, {}
            if await self._is_true(portion):
                await self._conclude(portion)

    async def _conclude(self, portion: Mapping[str, _Ours]) -> None:
        self._places.resolve(one.place for one in portion.values())
        for voice_id, one in portion.items():
            raw = in_single_form(one.seen.record.raw, self._order.codes)
            answered = Answered(raw, over=True, at_ms=one.seen.at_ms, fetched_by=PAGES)
            chunk, row, again = one.place
            await self._owner.take_in(Task(voice_id, chunk, row, again=again), answered)

    async def _is_true(self, portion: dict[str, _Ours]) -> bool:
        """Whether a sample of a portion is what single answers are; a record that has changed
        since is replaced by the newer one.  If it is not, this way ends.
        """
        size = sampling.wanted(len(portion), is_first=not self._counters.by_pages)
        windows = {voice_id: one.seen.asked.window for voice_id, one in portion.items()}
        drawn = sampling.in_turn(windows, self._chance)[: size * _TRIES]
        missing = size
        while drawn and missing:
            some, drawn = drawn[:missing], drawn[missing:]
            # Each in a context of its own: a worker's attempts are found by it.
            looks = [
                asyncio.create_task(self._look(portion[voice_id].seen), context=Context())
                for voice_id in some
            ]
            for voice_id, found in zip(some, await asyncio.gather(*looks), strict=True):
                if found is None or self._is_over:
                    return False
                if isinstance(found, _Seen):
                    portion[voice_id] = _Ours(portion[voice_id].place, found)
                    self._counters.sampled += 1
                    missing -= 1
                elif isinstance(found, tuple):
                    self._counters.sampled += 1
                    await self._end_with(Differing(voice_id, found))
                    return False
                else:
                    del portion[voice_id]
        return not missing

    def _end_refused(self, what: str) -> None:
        """It may be the list alone that is refused, or out: the workers see whether all is."""
        self._refused = what
        self._walk.cut_off()

    async def _end_with(self, difference: Differing) -> None:
        if self._difference is None:
            self._difference = difference
            self._walk.end()
            await self._ledger.call(listings.doubt_taken)

    async def _look(self, seen: _Seen) -> _Seen | tuple[str, ...] | str | None:
        """The record as the list has it, if an answer about it alone says the same; else the
        columns that differ; `_UNKNOWN`; or None where the run stops.
        """
        voice_id = seen.record.voice_id
        with self._walk.enlisted():
            try:
                for is_second in (False, True):
                    single = await self._walk.record(voice_id)
                    if isinstance(single, str):
                        return _UNKNOWN
                    order = self._order
                    names = differences(order.kind, seen.record, single.records[0], order.codes)
                    if not names:
                        return seen
                    if is_second:
                        return names
                    again = await self._seen_again(seen)
                    if again is None:
                        return _UNKNOWN
                    seen = again
            except (CutOff, asyncio.CancelledError):
                if self._is_over:
                    return None
                raise
        raise AssertionError("it is looked at twice at most")

    async def _seen_again(self, seen: _Seen) -> _Seen | None:
        """The record as the list has it now; None if it has none that would be taken."""
        asked = seen.asked
        for current in range(1, _MOST_PAGES + 1):
            query = Query(asked.start_s, asked.end_s, current, asked.size, self._by)
            page = await self._walk.page(query)
            if isinstance(page, str) or not page.calls:
                return None
            for call in page.calls:
                if call.record.voice_id == seen.record.voice_id:
                    now_ms = self._clock.now_ms()
                    return _Seen(call.record, now_ms, asked) if _is_whole(call) else None
            if current * asked.size >= page.total:
                return None
        return None

    async def _rest(self) -> None:
        """Wait until what was sent is a second ago: others have the whole pace then."""
        left = self._sent_at + _QUIET_S - asyncio.get_running_loop().time()
        if left > 0 and not self._stop.is_set:
            await asyncio.sleep(left)

    def _count_request(self) -> None:
        if self._refused:
            raise CutOff
        self._owner.count_request()
        self._counters.page_requests += 1
        self._unkept_requests += 1
        self._sent_at = asyncio.get_running_loop().time()


def _a_seed() -> int:
    """Of few digits: the log hides what could be somebody's number."""
    return random.SystemRandom().randrange(10**6)


def _is_whole(call: Listed) -> bool:
    """Whether its record is all that there will be: over and rated, for sure."""
    return call.record.over and call.record.is_rated and not call.odd_hangup
