"""Fetching by pages within a run: what is taken from the list, and what ends this way.

Engine and ledger are real, time is virtual, and the vendor is in the same process.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from harvester.answers.answer import PAGES
from harvester.client.transport import Reply, Request, Seal
from harvester.config import Vendor
from harvester.errors import Interrupted
from harvester.pipeline.by_pages.pages import Pages
from harvester.pipeline.by_pages.way import Order, by_pages
from harvester.pipeline.engine.engine import Engine
from harvester.pipeline.engine.local_workers import Fetching
from harvester.pipeline.engine.workers import AheadFigures
from harvester.pipeline.listing.probing import Filter
from harvester.state import between_runs, listings
from harvester.state.database import transaction
from harvester.state.listings import Comparison
from harvester.vendor_clock import CLOCK
from tests.support.fakes import SECRETS, FakeVendor, House, VirtualLedger
from tests.support.virtual_time import run_virtually, virtual_loop

DAY = date(2026, 9, 2)
NOON_S = int(datetime(2026, 9, 2, 12, tzinfo=CLOCK).timestamp())
NOW_S = float(NOON_S + 3 * 86_400)
BY_SUBMIT = Filter(by="submitTime", is_start_counted=True, voice_id="1", found_ms=1)


def ids_of(count: int, day: int = 2) -> list[str]:
    """Ids whose digits tell noon of a day of September."""
    return [f"2609{day:02}120000{number:07}" for number in range(count)]


def record(voice_id: str, **more: object) -> dict[str, Any]:
    """A call that is over and has its price; each was submitted at a second of its own."""
    begins = datetime.fromtimestamp(NOON_S + int(voice_id[-7:]), UTC).astimezone(CLOCK)
    fields: dict[str, object] = {
        "voiceId": voice_id,
        "submitTime": begins.isoformat(),
        "answerTime": (begins + timedelta(seconds=5)).isoformat(),
        "hangupTime": (begins + timedelta(seconds=65)).isoformat(),
        "callDuration": 60,
        "chargedDuration": 60,
        "terminationCode": "200",
        "cost": "0.02",
        "rate": "0.02",
    }
    return fields | more


Says = Callable[[str, int], dict[str, Any] | None]
"""(voiceId, how often it was shown before) -> its record; None: there is none."""


@dataclass
class ListVendor:
    """Lists calls, and answers for one alone; `log` has what was asked, and when."""

    calls: list[str]
    lists: Says = lambda voice_id, before: record(voice_id)
    answers: Says = lambda voice_id, before: record(voice_id)
    refuses_list: Callable[[int], bool] = lambda page: False
    """Whether the list is refused from this request for a page on."""
    at_page: Callable[[int], object] = lambda page: None
    missing: int = 0
    """By how much it says that there are more than it shows."""
    second: Callable[[str], int] = lambda voice_id: int(voice_id[-7:])
    """When a call was submitted, from noon on."""
    log: list[tuple[float, str]] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    shown: dict[tuple[str, str], int] = field(default_factory=dict)

    def connect(self, vendor: Vendor, connections: int, seal: Seal) -> ListTransport:
        return ListTransport(self, seal)

    def singles(self, voice_id: str | None = None) -> int:
        """Requests for an id alone: for this one, or any."""
        return sum(what != "page" and voice_id in (None, what) for _, what in self.log)

    @property
    def pages(self) -> int:
        return sum(what == "page" for _, what in self.log)

    def says(self, how: str, voice_id: str) -> dict[str, Any] | None:
        before = self.shown.get((how, voice_id), 0)
        self.shown[how, voice_id] = before + 1
        return (self.lists if how == "list" else self.answers)(voice_id, before)


class ListTransport:
    """A `Transport` to it."""

    def __init__(self, vendor: ListVendor, seal: Seal) -> None:
        self._vendor = vendor
        self._seal = seal

    async def send(self, request: Request, *, fresh: bool = False) -> Reply:
        vendor = self._vendor
        sealed = self._seal()
        if not isinstance(sealed, dict):
            await sealed
        voice_id = request.path.rpartition("/")[2]
        what = "page" if request.method == "POST" else voice_id
        vendor.log.append((asyncio.get_running_loop().time(), what))
        await asyncio.sleep(0.05)
        if request.body is None:
            found = vendor.says("single", voice_id)
            return said(found) if found is not None else said(None, "-24")
        if vendor.refuses_list(vendor.pages):
            return Reply(404, b"<html>no such page</html>")
        vendor.at_page(vendor.pages)
        return said(self._page(json.loads(request.body)))

    def _page(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        vendor = self._vendor
        start, end = (
            datetime.fromisoformat(asked["params"][name]).timestamp()
            for name in ("strTime", "endTime")
        )
        vendor.spans.append((start, end))
        within = [one for one in vendor.calls if start <= NOON_S + vendor.second(one) <= end]
        first = (asked["current"] - 1) * asked["size"]
        some = within[first : first + asked["size"]]
        records = [found for one in some if (found := vendor.says("list", one)) is not None]
        return {"total": len(within) + vendor.missing * bool(within), "records": records}

    async def close(self) -> None:
        pass


def said(data: object, status: str = "0") -> Reply:
    body = json.dumps({"status": status, "reason": "", "data": data}).encode()
    return Reply(200, body, date=format_datetime(datetime.fromtimestamp(NOW_S, UTC), usegmt=True))


@dataclass
class Done:
    """A run that is over."""

    house: House
    engine: Engine
    ahead: AheadFigures

    def rows(self, *columns: str) -> dict[str, tuple[Any, ...]]:
        """The rows that it published, by their ids."""
        found: dict[str, tuple[Any, ...]] = {}
        for path in self.house.output.cdr.glob("*/*.parquet"):
            table = pq.ParquetFile(path).read()
            names = ("voice_id", *columns)
            for voice_id, *values in zip(*(table[name].to_pylist() for name in names), strict=True):
                assert voice_id not in found, "each id once"
                found[voice_id] = tuple(values)
        return found

    def taken(self) -> set[str]:
        """The ids whose record came by a page."""
        return {one for one, (way,) in self.rows("fetched_by").items() if way == PAGES}


Goes = Callable[..., Done]


@pytest.fixture
def goes(tmp_path: Path) -> Iterator[Goes]:
    """A run that goes by pages first, over an output that knows that the list tells the truth."""
    houses: list[House] = []

    def run(
        ids: list[str],
        vendor: ListVendor,
        pages: Pages | None = None,
        meanwhile: Callable[[Engine], None] = lambda engine: None,
        codes: Mapping[str, str] | None = None,
        on_house: Callable[[House], None] = lambda house: None,
        **settings: object,
    ) -> Done:
        quick: dict[str, object] = {"pace__rate_per_s": 500.0, "pace__concurrency": 4}
        house = House(tmp_path / f"out-{len(houses)}", sorted(ids), **quick | settings)
        houses.append(house)
        on_house(house)
        listings.keep_comparison(house.db, Comparison(100, 1, {}, "proof"))
        ways = pages or Pages(seed=7)
        return run_virtually(lambda: _run(house, vendor, ways, meanwhile, codes or {}))

    yield run
    for house in houses:
        house.close()


async def _run(
    house: House,
    vendor: ListVendor,
    pages: Pages,
    meanwhile: Callable[[Engine], None],
    codes: Mapping[str, str],
) -> Done:
    job = house.job(FakeVendor())
    ids = job.ids
    assert ids is not None
    config = house.config
    fetching = Fetching(
        vendor=config.vendor,
        pace=config.pace,
        retry=config.retry,
        secrets=SECRETS,
        connect=vendor.connect,
        locked_at=virtual_loop().time(),
    )
    order = Order(
        fetching=fetching,
        pages=pages,
        kind=house.kind,
        work_list=house.work_list,
        ids=ids,
        rows=house.work_list.rows,
        filter=BY_SUBMIT,
        codes=codes,
        now_s=NOW_S,
    )
    job = msgspec.structs.replace(
        job,
        workers=house.who_fetches(fetching),
        ahead=by_pages(order),
        now=lambda: NOW_S,
        to_fetch=len(house.ids),
    )
    ledger = VirtualLedger(house.db, house.output.database)
    engine = Engine(job, ledger, house.publisher(ledger))
    meanwhile(engine)
    try:
        await engine.run()
    finally:
        ledger.close()
        ids.close()
    assert engine.ahead is not None
    return Done(house, engine, engine.ahead)


def test_what_is_over_and_rated_and_pending_is_taken_and_all_else_comes_singly(goes: Goes) -> None:
    ids = ids_of(60)
    odd: dict[str, dict[str, object]] = {
        ids[3]: {"hangupTime": None},
        ids[4]: {"cost": "-1"},
        ids[5]: {"hangupTime": "half past noon"},
    }
    others = [f"2609021300000{number:06}" for number in range(100, 140)]

    def lists(voice_id: str, before: int) -> dict[str, Any]:
        return record(voice_id, **odd.get(voice_id, {}))

    vendor = ListVendor([*ids[:50], *others], lists=lists)
    done = goes(ids, vendor)
    assert done.taken() == {*ids[:50]} - odd.keys()
    assert set(done.rows()) == set(ids), "nobody asked for the others"
    assert vendor.singles() == 20 + len(odd) + 10, "a sample of 20, what is odd, what is not listed"
    counters = done.engine.counters
    assert (counters.by_pages, counters.sampled, counters.delivered) == (47, 20, 60)
    assert counters.page_requests == vendor.pages + 20
    assert (done.ahead.difference, done.ahead.refused, done.ahead.is_over) == (None, "", True)
    assert listings.count_taken(done.house.db) == 0, "it came to its end: nothing is to be doubted"


def test_what_is_taken_is_concluded_at_the_pages_word_and_in_the_single_ways_spelling(
    goes: Goes,
) -> None:
    ids = ids_of(30)
    vendor = ListVendor(ids, lists=lambda one, before: record(one, terminationCode="0"))
    done = goes(ids, vendor, codes={"0": "200"})
    assert done.ahead.difference is None
    assert done.taken() == set(ids)
    assert set(done.rows("termination_code").values()) == {("200",)}


def test_a_list_that_lies_ends_this_way_for_good_and_nothing_of_it_is_kept(goes: Goes) -> None:
    ids = ids_of(40)
    vendor = ListVendor(ids, lists=lambda one, before: record(one, cost="0.01"))
    done = goes(ids, vendor)
    assert done.taken() == set()
    assert {cost for (cost,) in done.rows("cost").values()} == {Decimal("0.02")}
    difference = done.ahead.difference
    assert difference is not None
    assert difference.columns == ("cost",)
    assert vendor.shown["list", difference.voice_id] >= 2
    assert vendor.shown["single", difference.voice_id] == 3, "twice to be sure, once by a worker"
    db = done.house.db
    assert listings.comparison(db) is None, "the comparison of before is forgotten"
    assert listings.is_taken_doubted(db), "what came by pages before is fetched again"
    assert done.engine.counters.by_pages == 0


def test_what_was_taken_before_a_lie_was_found_stays_doubted(goes: Goes) -> None:
    ids = ids_of(2600)
    true = set(ids[:1100])

    def lists(voice_id: str, before: int) -> dict[str, Any]:
        return record(voice_id, **({} if voice_id in true else {"cost": "0.01"}))

    done = goes(ids, ListVendor(ids, lists=lists), pace__concurrency=1)
    assert done.ahead.difference is not None
    taken = done.engine.counters.by_pages
    assert 1000 <= taken <= 1100
    assert len(done.taken()) == taken == listings.count_taken(done.house.db)
    assert listings.count_doubted(done.house.db) == taken
    assert set(done.rows()) == set(ids)


def test_a_record_that_changed_between_the_two_looks_is_no_lie_and_the_newer_one_is_taken(
    goes: Goes,
) -> None:
    ids = ids_of(20)

    def lists(voice_id: str, before: int) -> dict[str, Any]:
        return record(voice_id, cost="0.01" if before == 0 else "0.02")

    done = goes(ids, ListVendor(ids, lists=lists))
    assert done.ahead.difference is None
    assert done.taken() == set(ids)
    assert {cost for (cost,) in done.rows("cost").values()} == {Decimal("0.02")}


def test_a_record_that_is_no_more_whole_when_it_is_looked_at_again_is_left_to_the_single_way(
    goes: Goes,
) -> None:
    ids = ids_of(23)

    def lists(voice_id: str, before: int) -> dict[str, Any]:
        if voice_id != ids[2]:
            return record(voice_id)
        return record(voice_id, cost="0.01", **({} if before == 0 else {"hangupTime": None}))

    vendor = ListVendor(ids, lists=lists)
    # Some seed draws it.
    for seed in range(20):
        vendor.log.clear()
        vendor.shown.clear()
        done = goes(ids, vendor, Pages(seed=seed))
        assert done.ahead.difference is None
        if vendor.shown.get(("list", ids[2]), 0) > 1:
            assert done.taken() == {*ids} - {ids[2]}
            assert done.engine.counters.sampled == 20, "another is drawn in its place"
            return
    raise AssertionError("it was never drawn")


def test_of_a_call_that_is_on_several_pages_the_last_one_counts(goes: Goes) -> None:
    """More calls of one second than a page holds: it is paged more than once."""
    ids = ids_of(150)
    at = datetime.fromtimestamp(NOON_S, UTC).isoformat()
    shown: Counter[str] = Counter()

    def lists(voice_id: str, before: int) -> dict[str, Any]:
        start, end = vendor.spans[-1]
        shown[voice_id] += end - start <= 1
        goes_on = voice_id in ids[:5] and shown[voice_id] > 1
        return record(voice_id, submitTime=at, **({"hangupTime": None} if goes_on else {}))

    def answers(voice_id: str, before: int) -> dict[str, Any]:
        return record(voice_id, submitTime=at)

    vendor = ListVendor(ids, lists=lists, answers=answers, second=lambda one: 0)
    done = goes(ids, vendor)
    assert min(shown[one] for one in ids[:5]) > 1
    assert done.ahead.difference is None
    assert done.taken() == {*ids[5:]}
    assert set(done.rows()) == set(ids)


def test_what_a_window_that_is_not_settled_brought_is_left_to_the_single_way(goes: Goes) -> None:
    ids = ids_of(60)
    done = goes(ids, ListVendor(ids, missing=1, second=lambda one: 0))
    assert done.ahead.unsettled > 0
    assert done.taken() == set()
    assert set(done.rows()) == set(ids)
    whole = goes(ids, ListVendor(ids, second=lambda one: 0))
    assert (whole.ahead.unsettled, whole.taken()) == (0, set(ids))


def test_without_a_sample_that_could_be_compared_nothing_is_taken(goes: Goes) -> None:
    ids = ids_of(100)  # more than are drawn in place of others

    def answers(voice_id: str, before: int) -> dict[str, Any] | None:
        return None if before == 0 else record(voice_id)

    done = goes(ids, ListVendor(ids, answers=answers))
    assert done.ahead.difference is None
    assert done.taken() == set()
    assert done.engine.counters.sampled == 0


def test_a_list_that_is_refused_ends_this_way_and_the_workers_fetch_the_ids(goes: Goes) -> None:
    ids = ids_of(30)
    vendor = ListVendor(ids, refuses_list=lambda page: True)
    done = goes(ids, vendor)
    assert done.ahead.refused == "http_404"
    assert done.taken() == set()
    assert set(done.rows()) == set(ids)
    assert done.engine.stop.reason is None, "the run itself goes on"
    assert listings.comparison(done.house.db) is not None


def test_what_was_taken_before_the_list_was_refused_may_still_turn_out_to_be_doubted(
    goes: Goes,
) -> None:
    ids = ids_of(2600)
    vendor = ListVendor(ids)
    vendor.refuses_list = lambda page: vendor.singles() >= 20  # the first portion is through
    done = goes(ids, vendor, pace__concurrency=1)
    assert done.ahead.refused == "http_404"
    taken = done.engine.counters.by_pages
    assert taken == len(done.taken()) >= 1000
    assert listings.count_taken(done.house.db) == taken, (
        "no sample after it showed that all is well"
    )
    assert set(done.rows()) == set(ids)


@pytest.mark.parametrize(("listed", "left"), [(0, 3), (30, 0)])
def test_what_an_earlier_run_took_is_safe_once_this_one_has_compared_some(
    goes: Goes, listed: int, left: int
) -> None:
    """A list that had none of ours has shown nothing."""
    ids = ids_of(30)
    before = ids_of(3, day=1)

    def on_house(house: House) -> None:
        with transaction(house.db):
            listings.keep_taken(house.db, "of-a-run-that-was-killed", before)

    others = ids_of(100)[40:]
    done = goes(ids, ListVendor([*ids[:listed], *others]), on_house=on_house)
    assert set(done.rows()) == set(ids)
    assert done.ahead.difference is None
    assert listings.count_taken(done.house.db) == left


def test_a_run_that_is_stopped_takes_nothing_more_and_keeps_what_may_be_doubted(
    goes: Goes,
) -> None:
    ids = ids_of(2600)
    vendor, engines = ListVendor(ids), list[Engine]()

    def at_page(page: int) -> None:
        if vendor.singles() >= 20:
            engines[0].stop.stop(Interrupted("stopped"))

    vendor.at_page = at_page
    done = goes(ids, vendor, meanwhile=engines.append, pace__concurrency=1)
    taken = done.engine.counters.by_pages
    assert 1000 <= taken < 2000, "one portion"
    assert listings.count_taken(done.house.db) == taken
    assert vendor.singles() == 20, "no sample of what came last, and nobody else fetches"


def test_few_of_ours_among_many_calls_cost_no_more_requests_than_as_much_again(
    goes: Goes,
) -> None:
    calls = ids_of(3000)
    ids = calls[::250]
    vendor = ListVendor(calls)
    done = goes(ids, vendor, pace__concurrency=1)
    sampled = done.engine.counters.sampled
    assert vendor.pages <= len(ids)
    assert done.engine.counters.page_requests <= len(ids) + sampled
    assert set(done.rows()) == set(ids)


def test_what_was_sent_in_the_day_is_kept_on_the_way(goes: Goes) -> None:
    """A kill must not make the day's requests those that pages had cost before it."""
    calls = ids_of(9_200)  # none of ours is listed, so no outcome is kept meanwhile
    houses: list[House] = []
    kept: list[int] = []

    def at_page(page: int) -> None:
        if page == 125:
            kept.append(sum(between_runs.requests_by_day(houses[0].db).values()))

    goes(calls[9_000:], ListVendor(calls[:9_000], at_page=at_page), on_house=houses.append)
    assert kept
    assert kept[0] >= 100


def test_what_few_pages_cost_is_kept_before_the_workers_send_anything(goes: Goes) -> None:
    """A kill must not give the day back what they were, however few they were."""
    calls = ids_of(430)  # none of ours is listed, so no outcome is kept meanwhile
    houses: list[House] = []
    kept: list[tuple[int, int]] = []

    def answers(voice_id: str, before: int) -> dict[str, Any]:
        if not kept:
            day = sum(between_runs.requests_by_day(houses[0].db).values())
            kept.append((day, vendor.pages))
        return record(voice_id)

    vendor = ListVendor(calls[:400], answers=answers)
    goes(calls[400:], vendor, on_house=houses.append)
    ((of_day, pages),) = kept
    assert 4 <= pages < 100, "a page holds a hundred calls"
    assert of_day >= pages


def test_no_page_is_asked_for_where_the_budget_holds_no_sample(goes: Goes) -> None:
    ids = ids_of(30)
    # Four on their way, and 40 for a sample.
    vendor = ListVendor(ids)
    done = goes(ids, vendor, pace__per_day=44)
    assert (vendor.pages, done.taken()) == (0, set())
    more = ListVendor(ids)
    assert goes(ids, more, pace__per_day=60).taken() == set(ids)


def test_the_workers_begin_a_second_after_its_last_request(goes: Goes) -> None:
    ids = ids_of(40)
    vendor = ListVendor(ids[:30])
    goes(ids, vendor)
    first_of_workers = min(at for at, what in vendor.log if what in ids[30:])
    last_of_pages = max(at for at, what in vendor.log if what not in ids[30:])
    assert first_of_workers - last_of_pages >= 1.0


def test_the_days_that_the_ids_tell_are_listed_with_one_on_either_side(goes: Goes) -> None:
    ids = ids_of(30)
    vendor = ListVendor(ids)
    goes(ids, vendor)
    midnight = datetime(2026, 9, 2, tzinfo=CLOCK).timestamp()
    assert min(start for start, _ in vendor.spans) == midnight - 86_400
    assert max(end for _, end in vendor.spans) == midnight + 2 * 86_400


def test_days_that_are_named_are_listed_and_no_others(goes: Goes) -> None:
    ids = ids_of(30)
    vendor = ListVendor(ids)
    done = goes(ids, vendor, Pages(first=DAY, last=DAY, seed=7))
    midnight = datetime(2026, 9, 2, tzinfo=CLOCK).timestamp()
    assert min(start for start, _ in vendor.spans) == midnight
    assert max(end for _, end in vendor.spans) == midnight + 86_400
    assert done.taken() == set(ids)
    other = DAY - timedelta(days=3)
    elsewhere = goes(ids, ListVendor(ids), Pages(first=other, last=other, seed=7))
    assert elsewhere.taken() == set()
    assert set(elsewhere.rows()) == set(ids)


def test_a_seed_draws_the_same_sample_again(goes: Goes) -> None:
    ids = ids_of(60)

    def drawn(seed: int) -> set[str]:
        vendor = ListVendor(ids)
        done = goes(ids, vendor, Pages(seed=seed))
        assert done.ahead.seed == seed
        return {what for _, what in vendor.log if what != "page"}

    assert drawn(5) == drawn(5) != drawn(6)
