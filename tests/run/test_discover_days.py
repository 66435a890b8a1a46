"""`discover` in one process, over a socket: what becomes of the days that were asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.config import Secrets, load
from harvester.errors import Interrupted, UsageError
from harvester.operations.discover import Discovered, Order, discover
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.requests import NEVER, StopCheck, StopSource
from harvester.simulator import make_ids
from harvester.state import between_runs, listings, work_lists
from harvester.state.database import open_database
from harvester.vendor_clock import CLOCK
from tests.run.test_cli_commands import KEYS
from tests.support.discovering import day
from tests.support.harvesting import FAST
from tests.support.simulated import ALL_RECORDS, Simulator

CALLS = 130
"""More than a page holds: its day has to be cut."""
PROVEN = 120
"""Calls compared: more than are needed to believe the list."""


class Heard:
    """What it says on its way."""

    def __init__(self) -> None:
        self.told: dict[str, dict[str, object]] = {}

    def message(self, level: str, event: str, **fields: object) -> None:
        self.told[event] = {"level": level, **fields}

    def progress(self, progress: Progress) -> None:
        raise AssertionError("nothing is fetched")


class Place:
    """An output, and a vendor that lists one day."""

    def __init__(self, root: Path, vendor: Simulator) -> None:
        self.root = root
        self.vendor = vendor
        self.events = Heard()

    def discover(
        self,
        first: date | None = None,
        last: date | None = None,
        *,
        stop: StopSource = NEVER,
        flags: dict[str, object] | None = None,
        **order: Any,
    ) -> Discovered:
        """One; of the day that is listed, unless told otherwise."""
        settings = {
            **FAST,
            "vendor.base_url": self.vendor.base_url,
            "output.dir": str(self.root),
            **(flags or {}),
        }
        if not order.keys() & {"due", "stretches"}:
            order |= {"first": first or day(), "last": last or first or day()}
        config = load(None, flags=settings).config
        return discover(config, Secrets(*KEYS.values()), Order(**order), self.events, stop)

    @contextmanager
    def state(self) -> Iterator[Any]:
        """Its database."""
        with closing(open_database(self.root / "state" / "state.db", "default")) as db:
            yield db

    def settled(self) -> list[bool]:
        """Of all listings, whether each is listed for sure."""
        with self.state() as db:
            return [one.is_settled for one in listings.all_listings(db)]

    def pending(self) -> set[str]:
        """What is on the work list."""
        with self.state() as db:
            current = work_lists.current_list(db)
        assert current is not None
        rows = pq.read_table(self.root / "state" / "lists" / current.path)["voice_id"]
        return {str(one) for one in rows.to_pylist()}


Places = Callable[..., Place]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Callable[[str], Simulator]]:
    """A vendor for each list of habits, made once."""
    made: dict[str, Simulator] = {}

    def vendor(habits: str) -> Simulator:
        if habits not in made:
            listed = f"calls={CALLS}{habits}"
            simulator = Simulator(
                rate_limit=0, drift=False, listed=listed, fates=f"answered=1,{ALL_RECORDS}"
            )
            made[habits] = simulator.__enter__()
        return made[habits]

    yield vendor
    for simulator in made.values():
        simulator.stop()


@pytest.fixture
def places(tmp_path: Path, vendors: Callable[[str], Simulator]) -> Places:
    return lambda habits="": Place(tmp_path / "out", vendors(habits))


def test_a_day_is_listed_once_and_what_is_unknown_is_taken_when_that_is_wished(
    places: Places,
) -> None:
    place = places()
    there = set(place.vendor.listed()["ids"])
    first = place.discover()
    assert (first.listed, first.known, first.unknown, first.taken) == (CALLS, 0, CALLS, 0)
    assert (first.exit_code, first.is_whole, first.not_over) == (0, True, False)
    assert first.days == ((str(day()), str(day())),)
    assert first.unsettled_windows == 0
    assert first.comparison is None
    assert place.settled() == [True]
    with place.state() as db:
        assert work_lists.current_list(db) is None, "nothing was to be taken"
        (counted,) = between_runs.requests_by_day(db).values()
    assert counted == first.requests > 0
    assert place.events.told["listing_ended"]["level"] == "info"

    taken = place.discover(take=True)
    assert (taken.unknown, taken.taken, taken.known) == (CALLS, CALLS, 0)
    assert place.pending() == there
    again = place.discover(take=True)
    assert (again.unknown, again.taken, again.known) == (0, 0, CALLS)
    with place.state() as db:
        (counted,) = between_runs.requests_by_day(db).values()
    assert counted == first.requests + taken.requests + again.requests


def test_of_several_stretches_each_is_a_listing_of_its_own(places: Places) -> None:
    place = places()
    earlier = day(9), day(8)
    done = place.discover(stretches=(earlier, (day(), day())))
    assert done.days == ((str(day(9)), str(day(8))), (str(day()), str(day())))
    assert done.listed == CALLS
    assert place.settled() == [True, True]
    with place.state() as db:
        assert [one.calls for one in listings.all_listings(db)] == [0, CALLS]


def test_days_that_are_due_are_all_that_is_listed(places: Places) -> None:
    place = places()
    done = place.discover(due=True)
    # One, three and twelve days after a day: the days of the last twelve were never listed.
    assert done.days == ((str(day(11)), str(day())),)
    assert done.listed == CALLS
    none = place.discover(due=True)
    assert (none.days, none.requests, none.listed, none.exit_code) == ((), 0, 0, 0)


def test_a_day_that_goes_on_is_apart_and_is_not_all_there(places: Places) -> None:
    place = places()
    today = day() + timedelta(days=1)
    done = place.discover(day(), today)
    assert done.not_over
    assert (done.exit_code, done.code) == (5, "listing.not_over")
    assert done.is_whole
    assert done.listed == CALLS
    assert place.settled() == [True, False], "what is over is a listing of its own"
    assert place.events.told["listing_ended"]["level"] == "error"


def test_a_day_is_not_over_before_it_is_on_the_vendors_clock(tmp_path: Path) -> None:
    """By ours it is, which is ahead by more than the day has gone on."""
    now = datetime.now(CLOCK)
    ahead_s = (now - now.replace(hour=0, minute=0, second=0)).total_seconds() + 3_600
    with Simulator(rate_limit=0, drift=False, listed="calls=9", clock_skew_s=-ahead_s) as vendor:
        place = Place(tmp_path / "out", vendor)
        done = place.discover()
        assert (done.exit_code, done.code, done.not_over) == (5, "listing.not_over", True)
        assert place.settled() == [False], "it is asked for again tomorrow"


@pytest.mark.parametrize(("before", "why"), [(59, "is too old"), (-2, "has not begun")])
def test_days_that_the_vendor_does_not_have_are_refused_and_nothing_is_sent(
    places: Places, before: int, why: str
) -> None:
    place = places()
    asked = place.vendor.stats()["requests"]
    with pytest.raises(UsageError, match=why) as refused:
        place.discover(day(before))
    assert refused.value.code == "usage.date"
    assert place.vendor.stats()["requests"] == asked


def test_a_list_that_brings_less_than_it_says_is_not_settled(places: Places) -> None:
    place = places(",total=2")
    done = place.discover()
    assert (done.exit_code, done.code) == (5, "listing.unsettled")
    assert done.unsettled_windows > 0
    assert {one.cause for one in done.unsettled} == {"totals_differ"}
    assert place.settled() == [False]
    told = place.events.told["windows_unsettled"]
    assert told["count"] == done.unsettled_windows
    assert "totals_differ" in done.message


def test_a_listing_that_lost_its_file_is_none_and_strange_files_go(places: Places) -> None:
    place = places()
    place.discover(due=True)
    folder = place.root / "state" / "listed"
    for one in folder.iterdir():
        one.unlink()
    (folder / "of-a-killed-one.parquet").write_bytes(b"half")
    again = place.discover(due=True)
    assert again.days == ((str(day(11)), str(day())),)
    assert again.listed == CALLS
    assert not (folder / "of-a-killed-one.parquet").exists()


def test_the_days_budget_cuts_it_short_and_the_next_one_goes_on_with_what_is_left(
    places: Places,
) -> None:
    place = places()
    short = place.discover(flags={"pace.per_day": 12})
    assert (short.exit_code, short.code) == (8, "limit.per_day")
    assert not short.is_whole
    assert short.requests == 12
    assert place.settled() == [False]
    rest = place.discover()
    assert (rest.exit_code, rest.listed) == (0, CALLS)
    assert place.settled() == [True], "one listing: it was gone on with"


class Later:
    """Somebody wants it to stop once it has sent some requests."""

    def __init__(self, vendor: Simulator, requests: int) -> None:
        self._vendor = vendor
        self._most = vendor.stats()["requests"] + requests

    def watched(self) -> AbstractContextManager[StopCheck]:
        """See `StopSource`."""

        def asked() -> Interrupted | None:
            is_time = self._vendor.stats()["requests"] >= self._most
            return Interrupted("stopped on request") if is_time else None

        @contextmanager
        def watching() -> Iterator[StopCheck]:
            yield asked

        return watching()


def test_whoever_is_asked_to_stop_ends_with_the_code_of_that_and_goes_on_later(
    places: Places,
) -> None:
    place = places()
    slow: dict[str, object] = {"pace.rate_per_s": 20}
    done = place.discover(stop=Later(place.vendor, 3), flags=slow)
    assert (done.exit_code, done.is_whole) == (130, False)
    assert 3 <= done.requests < 20
    assert place.discover().listed == CALLS
    assert place.settled() == [True]


def test_a_call_that_is_named_shows_how_the_list_is_cut_and_that_is_kept(places: Places) -> None:
    place = places()
    unnamed = place.discover()
    assert unnamed.filter is None or not unnamed.filter.is_named
    probe, named = probed(place)
    assert named.filter is not None
    assert (named.filter.by, named.filter.voice_id) == ("submitTime", probe)
    assert named.filter.is_start_counted
    assert named.outside == 0
    assert place.discover().filter == named.filter


def probed(place: Place) -> tuple[str, Discovered]:
    """With the first call of the day whose times lie apart: which these are differs by the day."""
    for one in make_ids(CALLS, 1, end=day(), days=1):
        with suppress(UsageError):
            return one, place.discover(probe=one)
    raise AssertionError("no call of the day has times that lie apart")


def test_a_list_that_tells_the_truth_is_believed_from_then_on(places: Places) -> None:
    place = places()
    done = place.discover(compare=PROVEN, seed=7)
    assert done.comparison is not None
    assert (done.comparison.equal, done.comparison.differing) == (PROVEN, 0)
    assert (done.is_believed, done.exit_code) == (True, 0)
    # The day is listed: it is compared, and not listed once more.
    few = place.discover(compare=10, seed=7)
    assert few.comparison is not None
    assert few.comparison.equal == 10
    assert (few.is_believed, few.exit_code, few.listed) == (True, 0, CALLS)
    assert place.settled() == [True]
    assert few.windows == 0


def test_few_calls_prove_nothing_where_nobody_wanted_a_proof(places: Places) -> None:
    place = places()
    few = place.discover(compare=10, seed=7)
    assert (few.is_believed, few.exit_code) == (False, 0)


def test_a_list_that_lies_is_not_believed_and_the_calls_are_named(places: Places) -> None:
    place = places(",lies=2")
    done = place.discover(compare=PROVEN, seed=7)
    assert done.comparison is not None
    assert done.comparison.differing > 0
    assert (done.is_believed, done.code) == (False, "listing.differs")
    assert done.exit_code == 3
    assert done.comparison.differences[0].columns == ("cost",)
    assert place.events.told["calls_compared"]["level"] == "warning"
    assert json.dumps(place.events.told["calls_compared"]["seed"]) == "7"
