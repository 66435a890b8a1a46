"""A walk through the vendor's list, and a listing by it: what it asks for, keeps and ends with."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from harvester.client.clock import VendorClock
from harvester.client.record_group import Listed, Query
from harvester.client.transport import Reply, Request, Seal
from harvester.config import Config, Vendor
from harvester.errors import BudgetReached, HarvesterError, Interrupted
from harvester.pipeline.engine.local_workers import Fetching
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.listing.asker import Asker
from harvester.pipeline.listing.lister import Day, Lister, Span, TotalOfAll
from harvester.pipeline.listing.walk import Walk
from harvester.pipeline.listing.windows import Asked, Closed, Window, Windows
from harvester.state import between_runs, listings
from harvester.state.database import open_database
from tests.support.fakes import ACCOUNT, SECRETS, TIMEOUT, Answer, VirtualLedger, config_of, status
from tests.support.virtual_time import run_virtually, virtual_loop

FIRST_S = 1_795_000_000
DAY_S = 86_400
PAGE = 100
Calls = dict[str, int]
"""voiceId -> the second that it is listed by."""


class ListVendor:
    """Lists `calls`, a page at a time; a window holds neither of its ends."""

    def __init__(self, calls: Calls, takes_s: float = 0.05) -> None:
        self.calls = calls
        self.takes_s = takes_s
        self.answers: dict[int, Answer] = {}
        """What comes instead, by the number of the request."""
        self.totals: list[int] = []
        """What is said of pages of one record, in a row, instead of the truth."""
        self.cap = 10**9
        """It counts no further."""
        self.widest_s = 10**9
        """It fails to count more seconds."""
        self.date: float | None = None
        """The vendor's clock, less ours."""
        self.asked: list[tuple[int, int, int]] = []
        """Start, end and size of each page."""
        self.in_flight = self.most_in_flight = 0
        self.is_closed = False

    def connect(self, vendor: Vendor, connections: int, seal: Seal) -> ListTransport:
        """The way to this vendor."""
        return ListTransport(self, seal)

    def page(self, body: bytes) -> Reply:
        """One page."""
        asked = json.loads(body)
        start, end = (
            int(datetime.fromisoformat(asked["params"][name]).timestamp())
            for name in ("strTime", "endTime")
        )
        size, current = asked["size"], asked["current"]
        self.asked.append((start, end, size))
        if end - start > self.widest_s:
            return Reply(504, b"")
        inside = [voice_id for voice_id, at in self.calls.items() if start < at < end]
        total = self.totals.pop(0) if size == 1 and self.totals else len(inside)
        total = min(total, self.cap)
        records = [
            {"voiceId": one, "submitTime": datetime.fromtimestamp(self.calls[one], UTC).isoformat()}
            for one in inside[(current - 1) * size : current * size]
        ]
        told = {"status": "0", "data": {"total": total, "records": records}}
        date = None if self.date is None else formatdate(time.time() + self.date, usegmt=True)
        return Reply(200, json.dumps(told).encode(), date=date)


class ListTransport:
    """See `Transport`."""

    def __init__(self, vendor: ListVendor, seal: Seal) -> None:
        self._vendor = vendor
        self._seal = seal

    async def send(self, request: Request, *, fresh: bool = False) -> Answer:
        """See `Transport`."""
        vendor = self._vendor
        sealed = self._seal()
        if not isinstance(sealed, dict):
            await sealed
        assert request.body is not None
        instead = vendor.answers.get(len(vendor.asked))
        answer = vendor.page(request.body)
        vendor.in_flight += 1
        vendor.most_in_flight = max(vendor.most_in_flight, vendor.in_flight)
        try:
            await asyncio.sleep(vendor.takes_s)
        finally:
            vendor.in_flight -= 1
        return answer if instead is None else instead

    async def close(self) -> None:
        """See `Transport`."""
        self._vendor.is_closed = True


def every_second(seconds: int, each: int) -> Calls:
    """So many calls in each of so many seconds."""
    return {f"{at}{n:03}": FIRST_S + at for at in range(seconds) for n in range(each)}


def fetching(config: Config, vendor: ListVendor) -> Fetching:
    """How to reach the vendor."""
    return Fetching(
        vendor=config.vendor,
        pace=config.pace,
        retry=config.retry,
        secrets=SECRETS,
        connect=vendor.connect,
        locked_at=asyncio.get_running_loop().time(),
        quiet_s=0.0,
    )


class Collected:
    """A `Taker` that writes down what it gets; `on_take` may do more."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.closed: list[Closed] = []
        self.deals = 0
        self.on_take: Callable[[], None] = lambda: None

    def take(self, asked: Asked, calls: list[Listed], closed: Closed | None, at_ms: int) -> None:
        """See `Taker`."""
        self.ids += [call.record.voice_id for call in calls]
        self.closed += [] if closed is None else [closed]
        self.on_take()

    async def deal(self) -> None:
        """See `Taker`."""
        self.deals += 1


class Walking:
    """A walk, what it walks through, and who takes what it brings."""

    def __init__(
        self,
        tmp_path: Path,
        vendor: ListVendor,
        *,
        is_id: Callable[[str], bool] = lambda _: True,
        on_refused: Callable[[str], None] | None = None,
        **settings: object,
    ) -> None:
        config = config_of(
            tmp_path, **{"pace__rate_per_s": 1000.0, "pace__concurrency": 3, **settings}
        )
        loop = virtual_loop()
        self.stop = Stop()
        self.requests = 0
        self.taker = Collected()
        self.walk = Walk(
            fetching(config, vendor),
            clock=VendorClock(lambda: FIRST_S + loop.time(), loop.time),
            stop=self.stop,
            count_request=self._count,
            is_id=is_id,
            on_refused=on_refused,
        )

    def _count(self) -> None:
        self.requests += 1

    async def through(self, windows: Windows) -> None:
        """All of it."""
        try:
            await self.walk.through(windows, "submitTime", self.taker)
        finally:
            async with asyncio.timeout(60.0):
                await self.walk.close()


def windows_of(seconds: int, parts: int = 1) -> Windows:
    """The seconds from the first one on, in so many windows from the start."""
    cuts = [FIRST_S + seconds * part // parts for part in range(parts + 1)]
    return Windows([Window(at, until) for at, until in pairwise(cuts)])


def test_a_walk_asks_alone_until_it_is_heard_and_then_on_all_connections(tmp_path: Path) -> None:
    async def main() -> None:
        vendor = ListVendor(every_second(100, 10))
        heard: list[int] = []
        walking = Walking(tmp_path, vendor)
        walking.taker.on_take = lambda: heard.append(vendor.most_in_flight)
        await walking.through(windows_of(100))
        assert heard[0] == 1, "the vendor's time is not known before its first answer"
        assert vendor.most_in_flight == 3
        assert set(walking.taker.ids) == set(vendor.calls)
        assert sum(one.seconds for one in (c.window for c in walking.taker.closed)) == 100
        assert all(not one.cause for one in walking.taker.closed)
        assert walking.taker.deals == walking.requests == len(vendor.asked)
        assert vendor.is_closed

    run_virtually(main)


def test_what_can_be_no_id_is_none_and_its_window_is_not_settled(tmp_path: Path) -> None:
    async def main() -> None:
        vendor = ListVendor({"good": FIRST_S, "no id": FIRST_S})
        walking = Walking(tmp_path, vendor, is_id=lambda text: " " not in text)
        await walking.through(windows_of(1))
        assert set(walking.taker.ids) == {"good"}
        assert [one.cause for one in walking.taker.closed] == ["no_id"]

    run_virtually(main)


def test_a_window_that_can_not_be_had_is_over_and_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        vendor = ListVendor({"one": FIRST_S, "two": FIRST_S + 1})
        vendor.answers = {0: status(-25)}
        walking = Walking(tmp_path, vendor)
        async with asyncio.timeout(600.0):
            await walking.through(windows_of(2, parts=2))
        found = {one.window.start_s: (one.cause, one.distinct) for one in walking.taker.closed}
        assert found == {FIRST_S: ("out_of_time_range", 0), FIRST_S + 1: ("", 1)}
        assert set(walking.taker.ids) == {"two"}

    run_virtually(main)


def test_one_broken_worker_ends_the_others_and_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        vendor = ListVendor({}, takes_s=0.5)
        walking = Walking(tmp_path, vendor)

        def fail() -> None:
            raise ZeroDivisionError

        walking.taker.on_take = fail
        with pytest.raises(ZeroDivisionError):
            await walking.through(windows_of(1000 * DAY_S))
        assert walking.stop.reason is not None
        assert walking.stop.reason.exit_code == 1
        assert len(vendor.asked) <= 3, "nobody asks on beside it"

    run_virtually(main)


def test_a_window_whose_page_did_not_come_is_still_to_be_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        vendor = ListVendor({}, takes_s=1000.0)
        walking = Walking(tmp_path, vendor)
        windows = windows_of(3 * DAY_S)
        task = asyncio.create_task(walking.through(windows))
        await asyncio.sleep(1.0)
        # As at a second signal: nobody may finish.
        walking.stop.stop(Interrupted("enough"))
        await asyncio.sleep(60.0)
        await asyncio.gather(task, return_exceptions=True)
        left = [asked.window.start_s for asked in iter(windows.take, None)]
        assert left == [FIRST_S, FIRST_S + DAY_S, FIRST_S + 2 * DAY_S]

    run_virtually(main)


def test_who_is_cut_off_while_waiting_asks_no_more_but_what_is_on_the_wire_is_taken(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        # One turn a second: while one request is on the wire the two others wait for theirs.
        vendor = ListVendor({f"{n}": FIRST_S + n * DAY_S + 1 for n in range(9)}, takes_s=0.9)
        walking = Walking(tmp_path, vendor, pace__rate_per_s=1.0)
        task = asyncio.create_task(walking.through(windows_of(9 * DAY_S)))
        while vendor.in_flight + len(walking.taker.ids) < 3:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
        taken_before = len(walking.taker.ids)
        assert vendor.in_flight == 1
        walking.walk.cut_off()
        await task
        assert len(vendor.asked) == 3
        assert len(walking.taker.ids) == taken_before + 1 == 3
        assert not walking.stop.is_set, "the command goes on without the list"

    run_virtually(main)


def test_after_the_end_what_is_on_its_way_is_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        vendor = ListVendor({})
        walking = Walking(tmp_path, vendor)
        # Each empty day is asked for twice.
        walking.taker.on_take = walking.walk.end
        await walking.through(windows_of(300 * DAY_S))
        assert len(vendor.asked) == 1
        assert not walking.stop.is_set

    run_virtually(main)


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [
        (status(-1), "vendor.denied.sign", "-1"),
        (TIMEOUT, "vendor.unavailable", "unavailable"),
        (status(-15), "vendor.throttling", "throttling"),
    ],
)
def test_a_list_that_is_refused_or_out_for_too_long_ends_the_command_or_is_told_of(
    tmp_path: Path, answer: Answer, code: str, word: str
) -> None:
    async def main() -> None:
        settings: dict[str, Any] = {"retry__max_outage_s": 120.0, "retry__backoff_max_s": 1.0}
        vendor = ListVendor({})
        vendor.answers = dict.fromkeys(range(5_000), answer)
        alone = Walking(tmp_path, vendor, **settings)
        await alone.through(windows_of(200 * DAY_S))
        assert alone.stop.reason is not None
        assert alone.stop.reason.code == code
        assert len(vendor.asked) < 5_000

        told: list[str] = []
        vendor.asked.clear()

        def hear(why: str) -> None:
            told.append(why)
            beside.walk.cut_off()

        beside = Walking(tmp_path, vendor, on_refused=hear, **settings)
        await beside.through(windows_of(200 * DAY_S))
        assert set(told) == {word}
        assert not beside.stop.is_set
        assert len(vendor.asked) < 5_000

    run_virtually(main)


def test_each_of_some_items_is_done_once_and_something_between_them(tmp_path: Path) -> None:
    async def main() -> None:
        walking = Walking(tmp_path, ListVendor({}))
        done: list[int] = []
        between = 0

        async def do(asker: Asker, item: int) -> None:
            asker.heard.set()
            await asyncio.sleep(0.1)
            done.append(item)

        async def then() -> None:
            nonlocal between
            between += 1

        began = virtual_loop().time()
        await walking.walk.each(iter(range(30)), do, then)
        assert sorted(done) == list(range(30))
        assert between == 30
        # Three at a time.
        assert virtual_loop().time() - began == pytest.approx(1.0, abs=0.15)
        await walking.walk.close()

    run_virtually(main)


def test_what_is_stopped_before_the_first_answer_ends_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        walking = Walking(tmp_path, ListVendor({}))
        began = asyncio.get_running_loop().time()
        walking.stop.stop(Interrupted("enough"))
        await walking.through(windows_of(3 * DAY_S))
        assert asyncio.get_running_loop().time() - began < 1.0, (
            "of its own time, which is no real one"
        )
        assert walking.requests == 0

    run_virtually(main)


def test_items_end_where_the_command_stops(tmp_path: Path) -> None:
    async def main() -> None:
        walking = Walking(tmp_path, ListVendor({}))
        done: list[int] = []

        async def do(asker: Asker, item: int) -> None:
            asker.heard.set()
            done.append(item)
            if len(done) == 5:
                walking.stop.stop(BudgetReached("over", code="limit.duration"))

        async def then() -> None:
            await asyncio.sleep(0.01)

        await walking.walk.each(iter(range(30)), do, then)
        assert len(done) <= 7
        await walking.walk.close()

    run_virtually(main)


def test_what_is_done_between_two_items_is_not_broken_off_by_a_stop(tmp_path: Path) -> None:
    async def main() -> None:
        walking = Walking(tmp_path, ListVendor({}))
        steps: list[str] = []

        async def do(asker: Asker, item: int) -> None:
            asker.heard.set()

        async def then() -> None:
            steps.append("begun")
            await asyncio.sleep(1.0)
            steps.append("ended")

        task = asyncio.create_task(walking.walk.each(iter(range(3)), do, then))
        await asyncio.sleep(0.5)
        walking.stop.stop(BudgetReached("over", code="limit.duration"))
        await task
        assert steps.count("begun") == steps.count("ended") == 3
        await walking.walk.close()

    run_virtually(main)


def test_a_transport_that_never_answers_ends_no_walk(tmp_path: Path) -> None:
    async def main() -> None:
        vendor = ListVendor({"one": FIRST_S}, takes_s=10_000.0)
        walking = Walking(tmp_path, vendor, vendor__timeout_s=10.0)
        task = asyncio.create_task(walking.through(windows_of(1)))
        await asyncio.sleep(20.0)
        vendor.takes_s = 0.05
        async with asyncio.timeout(600.0):
            await task
        assert walking.taker.ids == ["one"]
        assert walking.walk.retries == {"timeout": 1}

    run_virtually(main)


class House:
    """A folder of listings with its state."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path
        self.folder = tmp_path / "state" / "listed"
        self.folder.mkdir(parents=True)
        self.db = open_database(tmp_path / "state.db", ACCOUNT)

    async def made(
        self,
        vendor: ListVendor,
        window: Window,
        *,
        day: Day | None = None,
        deadline: float | None = None,
        is_start_counted: bool = False,
        begun_until_s: int | None = None,
        is_stopped: bool = False,
        **settings: object,
    ) -> tuple[TotalOfAll, Lister, listings.ListingRecord]:
        """One listing; with `begun_until_s` it goes on, and had 10 calls before that."""
        config = config_of(
            self.root, **{"pace__rate_per_s": 1000.0, "pace__concurrency": 3, **settings}
        )
        ends = window.start_s, window.until_s
        asked = window.start_s, begun_until_s or window.until_s
        number = listings.begin(self.db, ends, 9, asked=asked).id
        ledger = VirtualLedger(self.db, self.root / "state.db")
        lister = Lister(
            fetching(config, vendor),
            day or Day({}, 0.0),
            ledger,
            self.folder,
            is_id=lambda _: True,
            deadline=deadline,
        )
        budget = asyncio.create_task(lister.keep_budget())
        this = Span(number, window, (), "submitTime", is_start_counted)
        if is_stopped:
            lister.stop.stop(Interrupted("enough"))
        try:
            if begun_until_s is not None:
                listings.keep_total(self.db, number, 10, 10)
                before = replace(this, window=Window(window.start_s, begun_until_s))
                await lister.widen(before, window.until_s)
            total = await lister.list_span(this)
        finally:
            budget.cancel()
            await asyncio.gather(budget, return_exceptions=True)
            async with asyncio.timeout(60.0):
                await lister.close()
            ledger.close()
        return total, lister, listings.listing(self.db, number)

    def ids(self) -> list[str]:
        """What the files hold, as often as they do."""
        tables = [pq.read_table(self.folder / one) for one in listings.files(self.db)]
        return [str(one) for table in tables for one in table["voice_id"].to_pylist()]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.db.close()


def test_the_page_of_a_window_that_is_cut_is_not_kept_as_its_parts_bring_its_calls(
    house: House,
) -> None:
    async def main() -> None:
        vendor = ListVendor(every_second(60, 20))
        total, lister, kept = await house.made(vendor, Window(FIRST_S, FIRST_S + 60))
        assert total.is_known
        assert sorted(house.ids()) == sorted(vendor.calls), "each once: no page is there beside"
        assert (kept.least, kept.most) == (1200, 1200)
        assert kept.requests == lister.requests == len(vendor.asked)

    run_virtually(main)


def test_what_a_listing_has_sent_and_seen_is_kept_for_the_day_and_for_the_next_one(
    house: House,
) -> None:
    async def main() -> None:
        vendor = ListVendor(every_second(2, 3))
        vendor.date = 3_000.0
        _, lister, _ = await house.made(vendor, Window(FIRST_S, FIRST_S + 2))
        assert between_runs.last_skew_s(house.db) == pytest.approx(3_000.0, abs=5.0)
        (counted,) = between_runs.requests_by_day(house.db).values()
        assert counted == len(vendor.asked) == lister.requests
        # The next one begins with both.
        vendor.asked.clear()
        day = Day(between_runs.requests_by_day(house.db), between_runs.last_skew_s(house.db))
        await house.made(vendor, Window(FIRST_S + 10, FIRST_S + 12), day=day)
        (both,) = between_runs.requests_by_day(house.db).values()
        assert both == counted + len(vendor.asked)

    run_virtually(main)


@pytest.mark.parametrize(
    ("told", "total"),
    [
        ([4, 4], 4),
        ([4, 5, 5], 5),
        # It goes back and forth: the most, for calls may come all the time.
        ([4, 5, 4, 5, 4], 5),
    ],
)
def test_the_total_of_all_windows_is_what_is_said_twice_running_or_the_most(
    house: House, told: Sequence[int], total: int
) -> None:
    async def main() -> None:
        vendor = ListVendor({})
        vendor.totals = [*told, total, total]
        found, _, kept = await house.made(vendor, Window(FIRST_S, FIRST_S + 1))
        assert found.is_known
        assert vendor.totals == [], "asked before the first page, and after the last"
        assert (kept.least, kept.most) == (total, total)

    run_virtually(main)


def test_of_a_span_of_over_31_days_the_parts_leave_a_second_that_is_asked_for_apart(
    house: House,
) -> None:
    async def main() -> None:
        window = Window(FIRST_S, FIRST_S + 40 * DAY_S)
        # Asked for from a second before: 31 days on, the two parts meet.
        meet_s = FIRST_S - 1 + 31 * DAY_S
        vendor = ListVendor({"first": FIRST_S, "meets": meet_s, "last": window.until_s - 1})
        total, _, kept = await house.made(vendor, window)
        assert total.is_known
        assert sorted(house.ids()) == ["first", "last", "meets"]
        assert (kept.least, kept.most) == (2, 3), "the one between may count in neither part"
        totals = [(start, end) for start, end, size in vendor.asked if size == 1]
        parts = [
            (FIRST_S - 1, meet_s),
            (meet_s - 1, meet_s + 2),
            (meet_s + 1, window.until_s),
        ]
        assert totals == parts * 4, "before and after, until it is said twice"

    run_virtually(main)


def test_a_span_is_asked_for_from_its_very_second_where_the_start_is_counted(house: House) -> None:
    async def main() -> None:
        vendor = ListVendor({})
        await house.made(vendor, Window(FIRST_S, FIRST_S + 60), is_start_counted=True)
        assert {start for start, _, _ in vendor.asked} == {FIRST_S}

    run_virtually(main)


def test_a_listing_that_goes_on_adds_what_came_since_to_its_total(house: House) -> None:
    """A call of the second where both meet, or of the next one, may count in neither."""

    async def main() -> None:
        at_s = FIRST_S + 100
        times = [at_s, at_s + 1, at_s + 2, at_s + 50, at_s + 99]
        calls = {f"later-{one}": one for one in times}
        calls |= {f"before-{n}": FIRST_S + n for n in range(10)}
        window = Window(FIRST_S, at_s + 100)
        total, _, kept = await house.made(ListVendor(calls), window, begun_until_s=at_s)
        assert (kept.least, kept.most) == (13, 15)
        assert kept.asked_until_s == window.until_s
        assert total == TotalOfAll(is_known=True, where_parts_meet=2)

    run_virtually(main)


@pytest.mark.parametrize("later_s", [1, 2])
def test_a_second_or_two_more_are_no_time_of_their_own(house: House, later_s: int) -> None:
    async def main() -> None:
        at_s = FIRST_S + 100
        window = Window(FIRST_S, at_s + later_s)
        vendor = ListVendor({f"before-{n}": FIRST_S + n for n in range(10)})
        _, _, kept = await house.made(vendor, window, begun_until_s=at_s)
        assert (kept.least, kept.most, kept.asked_until_s) == (10, 10, window.until_s)
        assert all(start <= end for start, end, _ in vendor.asked)

    run_virtually(main)


def test_what_was_said_before_is_no_help_where_the_time_since_can_not_be_counted(
    house: House,
) -> None:
    async def main() -> None:
        vendor = ListVendor({f"before-{n}": FIRST_S + n for n in range(7)})
        vendor.answers = {0: status(-25)}
        window = Window(FIRST_S, FIRST_S + 200)
        _, _, kept = await house.made(vendor, window, begun_until_s=FIRST_S + 100)
        assert (kept.least, kept.most) == (7, 7), "what it says now"

    run_virtually(main)


def test_a_listing_that_is_stopped_as_it_goes_on_keeps_what_it_had(house: House) -> None:
    async def main() -> None:
        window = Window(FIRST_S, FIRST_S + 200)
        _, _, kept = await house.made(
            ListVendor({}), window, begun_until_s=FIRST_S + 100, is_stopped=True
        )
        assert (kept.least, kept.most) == (10, 10)
        assert kept.asked_until_s == FIRST_S + 100, "the next command adds the rest"

    run_virtually(main)


@pytest.mark.parametrize(("cap", "widest_s"), [(1_200, 10**9), (10**9, 7_300), (1_200, 13_000)])
def test_a_total_is_counted_in_parts_where_it_is_capped_or_too_much_to_count(
    house: House, cap: int, widest_s: int
) -> None:
    async def main() -> None:
        # One each forty seconds of a day, never where parts of hours meet.
        vendor = ListVendor({f"c{n}": FIRST_S + 5 + 40 * n for n in range(2_160)})
        vendor.cap, vendor.widest_s = cap, widest_s
        total, _, kept = await house.made(
            vendor,
            Window(FIRST_S, FIRST_S + DAY_S),
            retry__busy_attempts=1,
            retry__backoff_initial_s=0.1,
        )
        assert total.is_known
        assert kept.least is not None
        assert kept.most is not None
        assert kept.least <= 2_160 <= kept.most <= 2_160 + 24

    run_virtually(main)


def test_a_total_that_is_right_is_not_counted_in_parts(house: House) -> None:
    async def main() -> None:
        vendor = ListVendor({f"c{n}": FIRST_S + 5 + 40 * n for n in range(2_000)})
        total, _, kept = await house.made(vendor, Window(FIRST_S, FIRST_S + DAY_S))
        assert (total.where_parts_meet, kept.least, kept.most) == (0, 2_000, 2_000)
        totals = [one for one in vendor.asked if one[2] == 1]
        assert len(totals) == 2 * (2 + 3), "twice, and once in halves, before and after"

    run_virtually(main)


def test_a_total_that_does_not_come_leaves_the_listing_without_and_is_told(house: House) -> None:
    async def main() -> None:
        vendor = ListVendor(every_second(1, 3))
        # The first page of all is that of the total: a no for good.
        vendor.answers = {0: status(-25)}
        total, _, kept = await house.made(vendor, Window(FIRST_S, FIRST_S + 1))
        assert total == TotalOfAll(is_known=False), "a no is no failure"
        assert sorted(house.ids()) == sorted(vendor.calls)
        assert kept.least == 3, "what was said after the last page is known"

    run_virtually(main)


@pytest.mark.parametrize("over", [0.0, 5.0])
def test_once_its_time_is_over_a_listing_stops_and_keeps_what_came(
    house: House, over: float
) -> None:
    async def main() -> None:
        vendor = ListVendor(every_second(600, 30), takes_s=0.5)
        deadline = time.monotonic() + over
        _, lister, kept = await house.made(
            vendor, Window(FIRST_S, FIRST_S + 600), deadline=deadline
        )
        reason = lister.stop.reason
        assert isinstance(reason, HarvesterError)
        assert (reason.code, reason.exit_code) == ("limit.duration", 8)
        assert 0 < lister.requests < 60 if over else lister.requests <= 1
        assert kept.ended_ms is None
        assert kept.requests == lister.requests

    run_virtually(main)


def test_a_listing_sends_no_request_beyond_the_days_budget(house: House) -> None:
    async def main() -> None:
        vendor = ListVendor(every_second(600, 30))
        _, lister, _ = await house.made(vendor, Window(FIRST_S, FIRST_S + 600), pace__per_day=40)
        assert lister.stop.reason is not None
        assert lister.stop.reason.code == "limit.per_day"
        assert len(vendor.asked) == lister.requests == 40
        (counted,) = between_runs.requests_by_day(house.db).values()
        assert counted == 40

    run_virtually(main)


def test_who_is_cancelled_while_it_asks_is_not_told_that_the_command_stops(house: House) -> None:
    async def main() -> None:
        vendor = ListVendor({}, takes_s=1_000.0)
        ledger = VirtualLedger(house.db, house.root / "state.db")
        lister = Lister(
            fetching(config_of(house.root), vendor),
            Day({}, 0.0),
            ledger,
            house.folder,
            is_id=lambda _: True,
        )
        asking = asyncio.create_task(lister.page(Query(FIRST_S, FIRST_S + 2)))
        await asyncio.sleep(1.0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        stopped = asyncio.create_task(lister.page(Query(FIRST_S, FIRST_S + 2)))
        await asyncio.sleep(1.0)
        lister.stop.stop(BudgetReached("over", code="limit.duration"))
        assert await stopped is None
        await lister.close()
        ledger.close()

    run_virtually(main)


@contextmanager
def counting_keeps(ledger: VirtualLedger) -> Iterator[list[int]]:
    """How many requests each keeping of the day has told."""
    told: list[int] = []
    plain = ledger.call

    async def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function is between_runs.keep_requests_of_day:
            told.append(args[0][1])
        return await plain(function, *args, **kwargs)

    ledger.call = call  # type: ignore[method-assign]
    yield told


def test_requests_for_single_items_are_kept_at_every_hundred_and_at_the_end(house: House) -> None:
    async def main() -> None:
        vendor = ListVendor({})
        config = config_of(house.root, pace__rate_per_s=1000.0, pace__concurrency=1)
        ledger = VirtualLedger(house.db, house.root / "state.db")
        lister = Lister(
            fetching(config, vendor), Day({}, 0.0), ledger, house.folder, is_id=lambda _: True
        )

        async def do(asker: Asker, item: int) -> None:
            await asker.page(Query(FIRST_S + item, FIRST_S + item + 2))

        with counting_keeps(ledger) as told:
            await lister.each(iter(range(250)), do)
        assert told == [100, 200, 250]
        await lister.close()
        ledger.close()

    run_virtually(main)
