"""A listing: windows are asked for, what they bring is kept, and whatever ends it loses nothing.

Theory of operation.  `walk.Walk` asks for the pages.  Every few seconds, or requests, what came is
kept: first the rows, in a file that is whole and on the disk, then, in one transaction
of the state database, the file's name with the windows that are closed by it and the day's count of
requests.  All rows of a closed window came before it was closed, so they are in this file or in one
before it; a file without its transaction is nobody's, and goes at the next start.

What a kill loses is asked for again: ids are a set, so nothing is there twice.

That a window is empty can't be told from a page that got lost, nor, where it is not known by which
time windows are cut, a page of another window from the right one: a cache may give either, and each
window is settled all the same.  So the vendor is asked for the total of all windows as one, before
the first page and after the last, until it says the same twice running: they must have brought as
many calls.  One that was given twice is missing somewhere, and one of other days is one too many;
so the page of a window that is cut is not kept either, as its parts bring its calls.  A total that
can't be had for now leaves the listing unsettled; one that the vendor says no to is done without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from harvester.client.clock import VendorClock
from harvester.client.record_group import Listed, Page, Query
from harvester.client.verdicts import Record
from harvester.errors import BudgetReached, StoreError, disk_code
from harvester.pipeline.engine.local_workers import Fetching
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.limits.daily_quota import DayQuota
from harvester.pipeline.listing.asker import Asker
from harvester.pipeline.listing.days import KEEP_REQUESTS
from harvester.pipeline.listing.rows import SCHEMA, Row, row_of, table_of
from harvester.pipeline.listing.walk import Walk
from harvester.pipeline.listing.windows import (
    DAY_S,
    FINAL,
    MOST_TRIES,
    NOES,
    Asked,
    Closed,
    Window,
    Windows,
)
from harvester.state import between_runs, listings
from harvester.state.listings import ListedFile, WindowRecord
from harvester.state.writer import LedgerWriter
from harvester.storage.atomic_files import sync_folder
from harvester.storage.output import PRIVATE
from harvester.storage.parquet_file import ParquetOut

T = TypeVar("T")

_KEEP_ROWS = 50_000
_KEEP_EVERY_S = 5.0
_WIDEST_S = 31 * DAY_S
"""No window may be wider (the vendor's page on recordGroupQuery)."""
_LEAST_CAP = 1_000
"""Nobody stops counting before that."""
_NARROWEST_S = 3_600
MOST_LATE = 500
"""One call of so many may come into the list while it is read, or counted."""


class Day(msgspec.Struct, frozen=True):
    """What is known of the vendor's clock and its day's requests before the first request."""

    requests_by_day: dict[str, int]
    last_skew_s: float


class Span(msgspec.Struct, frozen=True):
    """A listing that is to be carried out, or gone on with."""

    number: int
    window: Window
    closed: tuple[Window, ...]
    by: str | None
    """The time that windows are known to be cut by."""
    is_start_counted: bool


class TotalOfAll(msgspec.Struct, frozen=True):
    """What is known of how many calls a listing has as a whole."""

    is_known: bool
    cause: str = ""
    """Why not, where it failed; "": the vendor does not give it, or the command stops."""
    where_parts_meet: int = 0
    """Calls of the seconds between parts that were counted, which may count or not."""


class Lister:
    """Sends requests for the list, at the pace.  One a command; lives on one event loop."""

    def __init__(
        self,
        fetching: Fetching,
        day: Day,
        ledger: LedgerWriter,
        folder: Path,
        *,
        is_id: Callable[[str], bool],
        deadline: float | None = None,
    ) -> None:
        """Must be made inside the running loop.  `folder`: for the files.  `is_id`: whether a text
        can be a voiceId at all.  `deadline`: monotonic.
        """
        pace = fetching.pace
        self.stop = Stop()
        self.requests = 0
        self.windows = 0
        """That are closed."""
        self._ledger = ledger
        self._folder = folder
        self._deadline = deadline
        self.clock = VendorClock(time.time, time.monotonic, day.last_skew_s)
        self._quota = DayQuota(pace.per_day, day.requests_by_day, self.stop.stop, self.clock)
        self._walk = Walk(
            fetching,
            clock=self.clock,
            stop=self.stop,
            count_request=self._count_request,
            is_id=is_id,
        )
        self._keeping = asyncio.Lock()
        self._rows: list[Row] = []
        self._closed: list[WindowRecord] = []
        self._unkept_requests = 0
        self._told_requests = 0
        self._kept_at = time.monotonic()
        self._between: dict[int, int] = {}
        """By listing that was widened: calls where its times meet, which may count or not."""
        self._widest_s = _WIDEST_S
        """No wider span is asked for its total."""

    async def list_span(self, span: Span) -> TotalOfAll:
        """List a span; what stops it is `stop.reason`.  Raises StoreError.

        Where the total is known, before and after, the listing has it.
        """
        self._span = span
        self._windows = Windows(
            [span.window], closed=span.closed, is_start_counted=span.is_start_counted
        )
        try:
            before = await self._learn_total(span)
            await self._walk.through(self._windows, span.by, self)
            after = await self._learn_total(span)
        finally:
            await self._keep()
            await self._keep_clock()
        return before if not before.is_known else after

    async def each(self, items: Iterator[T], do: Callable[[Asker, T], Awaitable[None]]) -> None:
        """Do it with each of the items, as many at a time as there are connections.

        What stops it is `stop.reason`.  Its requests are kept as those of a listing are.
        """

        try:
            await self._walk.each(items, do, self._keep_day_if_due)
        finally:
            await self._keep_day()
            await self._keep_clock()

    async def page(self, query: Query) -> Page | str | None:
        """One page, for a probe; None where the command stops."""
        return await self._alone(self._walk.page(query))

    async def record(self, voice_id: str) -> Record | str | None:
        """One call by its id, for a probe; None where the command stops."""
        return await self._alone(self._walk.record(voice_id))

    async def close(self) -> None:
        """Close every connection."""
        await self._walk.close()

    @property
    def is_out(self) -> bool:
        """Whether an outage lasts."""
        return self._walk.is_out

    @property
    def retries(self) -> dict[str, int]:
        """Requests that were sent again, by cause."""
        return self._walk.retries

    @property
    def requests_of_day(self) -> tuple[str, int]:
        """(day of +08:00, requests sent in it)."""
        return self._quota.stored()

    async def keep_budget(self) -> None:
        """Stop once `--max-duration` is over."""
        if self._deadline is None:
            return
        await asyncio.sleep(max(0.0, self._deadline - time.monotonic()))
        self.stop.stop(
            BudgetReached(
                "--max-duration is over. What is not listed yet is listed when the same command "
                "is run again.",
                code="limit.duration",
            )
        )

    async def widen(self, span: Span, until_s: int) -> None:
        """A listing that goes on asks for time up to `until_s` now: keep what that adds to its
        total.

        What the vendor said of the time before holds: windows that are settled have calls of then.
        """
        at_s = span.window.until_s
        more: tuple[int, int] | str | None = 0, 0
        if until_s > at_s + 1:
            beyond = Window(at_s + 1, until_s)
            more = await self._total_once(
                msgspec.structs.replace(span, window=beyond, is_start_counted=True)
            )
        between = await self._total_of(at_s - 1, at_s + 2)
        if self.stop.is_set:
            return  # the next command does it
        found = None
        if isinstance(more, tuple) and isinstance(between, int):
            found = more[0], more[1] + between
            self._between[span.number] = found[1] - found[0]
        await self._ledger.call(listings.widen, span.number, until_s, found)

    async def _learn_total(self, span: Span) -> TotalOfAll:
        """Keep what the vendor says of all windows as one."""
        if not span.window.seconds:
            return TotalOfAll(is_known=False)
        found = await self._total(span)
        if isinstance(found, str | None):
            return TotalOfAll(is_known=False, cause=found or "")
        await self._ledger.call(listings.keep_total, span.number, *found)
        between = found[1] - found[0] + self._between.get(span.number, 0)
        return TotalOfAll(is_known=True, where_parts_meet=between)

    async def _total(self, span: Span) -> tuple[int, int] | str | None:
        """What is said twice running; else the most, as calls may come all the time."""
        told: list[tuple[int, int]] = []
        while len(told) < MOST_TRIES:
            found = await self._total_once(span)
            can_be_narrower = min(self._widest_s, span.window.seconds) > _NARROWEST_S
            if isinstance(found, str) and found not in FINAL and can_be_narrower:
                self._halve(span)
                told = []
                continue
            if isinstance(found, str | None):
                return found
            if found in told[-1:]:
                return await self._uncapped(span, found)
            told.append(found)
        return max(told)

    async def _uncapped(self, span: Span, found: tuple[int, int]) -> tuple[int, int] | str | None:
        """The total of all, where the vendor may count no further than to 10,000, say: of parts
        that are so narrow that narrower ones have no more.
        """
        while found[0] >= _LEAST_CAP and self._widest_s > _NARROWEST_S:
            before_s = self._widest_s
            self._halve(span)
            narrower = await self._total_once(span)
            if isinstance(narrower, str):
                return narrower
            if narrower is None or narrower[0] - found[1] <= found[1] // MOST_LATE:
                self._widest_s = before_s
                break
            found = narrower
        return found

    def _halve(self, span: Span) -> None:
        self._widest_s = max(_NARROWEST_S, min(self._widest_s, span.window.seconds) // 2)

    async def _total_once(self, span: Span) -> tuple[int, int] | str | None:
        """At least, and at most, of the windows as they are asked for; or why there is none.

        The parts of a long span leave a second between them, so that no call counts twice; so one
        of the seconds where they meet may count in neither.
        """
        least = where_they_meet = 0
        at_s = span.window.start_s - (not span.is_start_counted)
        while True:
            end_s = min(at_s + self._widest_s, span.window.until_s)
            found = await self._total_of(at_s, end_s)
            if not isinstance(found, int):
                return found
            least += found
            if end_s == span.window.until_s:
                return least, least + where_they_meet
            found = await self._total_of(end_s - 1, end_s + 2)
            if not isinstance(found, int):
                return found
            where_they_meet += found
            at_s = end_s + 1

    async def _total_of(self, start_s: int, end_s: int) -> int | str | None:
        """A total, or how it failed; None where the vendor says no, or the command stops."""
        if self.stop.is_set:
            return None
        page = await self.page(Query(start_s, end_s, size=1))
        if isinstance(page, Page):
            return page.total
        return None if page in NOES else page

    async def _alone(self, asking: Coroutine[None, None, T]) -> T | None:
        async def enlisted() -> T:
            with self.stop.enlisted():
                return await asking

        # In a task of its own: what stops the command cancels that one, and what is asked for
        # later has nothing of it.
        try:
            return await asyncio.create_task(enlisted())
        except (CutOff, asyncio.CancelledError):
            if self.stop.is_set:
                return None
            raise

    def take(self, asked: Asked, calls: list[Listed], closed: Closed | None, at_ms: int) -> None:
        """See `walk.Taker`."""
        is_cut = closed is None and not self._windows.goes_on(asked.window)
        if not is_cut:
            self._rows += [row_of(call, at_ms) for call in calls]
        if closed is not None:
            self._closed.append(_record_of(closed, at_ms))
            self.windows += 1

    async def deal(self) -> None:
        """See `walk.Taker`: keep what came, once it is time to."""
        if self._is_due:
            await self._keep()

    @property
    def _is_due(self) -> bool:
        return (
            self._unkept_requests >= KEEP_REQUESTS
            or len(self._rows) >= _KEEP_ROWS
            or time.monotonic() - self._kept_at >= _KEEP_EVERY_S
        )

    async def _keep(self) -> None:
        """Keep what came, durably."""
        async with self._keeping:
            rows, self._rows = self._rows, []
            closed, self._closed = self._closed, []
            requests, self._unkept_requests = self._unkept_requests, 0
            self._kept_at = time.monotonic()
            try:
                await self._keep_these(rows, closed, requests)
            except BaseException:
                # A window that is closed later must not lose the rows that it brought before.
                self._rows, self._closed = rows + self._rows, closed + self._closed
                self._unkept_requests += requests
                raise

    async def _keep_these(self, rows: list[Row], closed: list[WindowRecord], requests: int) -> None:
        if not (rows or closed or requests):
            return
        number, file = self._span.number, None
        if rows:
            path = self._folder / f"listing-{number}-{time.time_ns()}.parquet"
            await asyncio.to_thread(_write, path, rows)
            file = ListedFile(path.name, len(rows))
        await self._ledger.call(
            listings.keep,
            number,
            closed,
            file,
            requests=requests,
            requests_of_day=self._quota.stored(),
        )

    async def _keep_day_if_due(self) -> None:
        if self.requests - self._told_requests >= KEEP_REQUESTS:
            await self._keep_day()

    async def _keep_day(self) -> None:
        self._told_requests = self.requests
        await self._ledger.call(between_runs.keep_requests_of_day, self._quota.stored())

    async def _keep_clock(self) -> None:
        skew_s = self.clock.seen_skew_s
        if skew_s is not None:
            no_run = ""
            await self._ledger.call(
                between_runs.keep_clock, no_run, skew_s, 0, self._quota.stored()
            )

    def _count_request(self) -> None:
        if not self._quota.take():
            raise CutOff
        self.requests += 1
        self._unkept_requests += 1


def _record_of(closed: Closed, asked_ms: int) -> WindowRecord:
    window = closed.window
    return WindowRecord(
        window.start_s, window.until_s, asked_ms, closed.total, closed.distinct, closed.cause
    )


def _write(path: Path, rows: list[Row]) -> None:
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=PRIVATE)
            sync_folder(path.parent.parent)
        with ParquetOut(path, SCHEMA) as out:
            out.write(*table_of(rows))
            out.commit()
    except OSError as exc:
        raise StoreError(
            f"{path} can't be written: {exc.strerror}. Free some space, or make the folder "
            "writable, and run the same command again.",
            code=disk_code(exc),
        ) from exc
