"""Listings in the state database: what is durable together, and what a later one makes useless."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from harvester.state import between_runs, listings
from harvester.state.database import get_meta, open_database, transaction
from harvester.state.listings import Comparison, ListedFile, WindowRecord

SPAN = (1_000, 2_000)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "default")) as opened:
        yield opened


def window(start: int, until: int, cause: str = "") -> WindowRecord:
    return WindowRecord(start, until, 5, 1, 1, cause)


def keep(db: sqlite3.Connection, number: int, *closed: WindowRecord, file: str = "") -> None:
    kept = ListedFile(file, 3) if file else None
    listings.keep(db, number, closed, kept, requests=2, requests_of_day=("2026-11-28", 7))


def test_what_is_kept_together_is_there_together(db: sqlite3.Connection) -> None:
    begun = listings.begin(db, SPAN, 9)
    assert get_meta(db, "clean") == "0"
    keep(db, begun.id, window(1_000, 1_500), file="a")
    keep(db, begun.id, window(1_500, 2_000), file="b")
    assert [one.start_s for one in listings.windows(db, begun.id)] == [1_000, 1_500]
    assert listings.files(db, begun.id) == ["a", "b"]
    assert listings.listing(db, begun.id).requests == 4
    assert between_runs.requests_by_day(db) == {"2026-11-28": 7}


def test_nothing_is_kept_of_what_fails(db: sqlite3.Connection) -> None:
    begun = listings.begin(db, SPAN, 9)
    keep(db, begun.id, window(1_000, 1_500), file="a")
    with pytest.raises(sqlite3.IntegrityError):
        keep(db, begun.id, window(1_500, 2_000), file="a")
    assert len(listings.windows(db, begun.id)) == 1
    assert listings.listing(db, begun.id).requests == 2


def test_one_that_has_not_ended_goes_on_without_what_was_not_settled(
    db: sqlite3.Connection,
) -> None:
    begun = listings.begin(db, SPAN, 9)
    keep(db, begun.id, window(1_000, 1_500), window(1_500, 2_000, "-18"), file="a")
    listings.rest(db, begun.id)
    again = listings.begin(db, SPAN, 99)
    assert again.id > begun.id, "the newest from now on"
    assert (again.begun_ms, again.requests) == (5, 2), "as old as its oldest window"
    assert listings.windows(db, again.id) == [window(1_000, 1_500)]
    assert listings.windows(db, begun.id) == []
    assert listings.files(db, again.id) == ["a"]
    assert [one.id for one in listings.all_listings(db)] == [again.id]
    assert listings.windows(db, listings.begin(db, (1_000, 3_000), 99).id) == []


def test_that_it_was_looked_for_counts_as_long_as_a_listing_goes_on(
    db: sqlite3.Connection,
) -> None:
    hour_ms = 3_600_000
    assert not listings.has_looked(db, 30 * hour_ms)
    listings.keep_look(db, 30 * hour_ms)
    for hour, is_told in ((30, True), (49.9, True), (50, False), (10, False), (10.1, True)):
        assert listings.has_looked(db, int(hour * hour_ms)) is is_told, "a clock may go back"


def totals(db: sqlite3.Connection, number: int) -> tuple[int | None, int | None]:
    found = listings.listing(db, number)
    return found.least, found.most


def test_a_total_counts_as_long_as_a_window_of_its_time_is_kept(db: sqlite3.Connection) -> None:
    """Calls come late, also into windows that are settled."""
    begun = listings.begin(db, SPAN, 9)
    assert totals(db, begun.id) == (None, None)
    for least, most in ((40, 41), (38, 40), (39, 44)):
        listings.keep_total(db, begun.id, least, most)
    assert totals(db, begun.id) == (38, 44)
    keep(db, begun.id, window(1_000, 1_500), file="a")
    listings.rest(db, begun.id)
    again = listings.begin(db, SPAN, 99)
    assert totals(db, again.id) == (38, 44)
    listings.keep_unsettled(db, again.id, window(1_000, 2_000, "total_of_all"))
    listings.rest(db, again.id)
    assert totals(db, listings.begin(db, SPAN, 999).id) == (None, None), "from scratch"


@pytest.mark.parametrize("later", [(1_400, 1_600), (0, 9_000)])
def test_a_window_of_which_a_newer_listing_has_heard_is_asked_for_again(
    db: sqlite3.Connection, later: tuple[int, int]
) -> None:
    begun = listings.begin(db, SPAN, 9)
    keep(db, begun.id, window(1_000, 1_400), window(1_400, 1_600), window(1_600, 2_000), file="a")
    listings.rest(db, begun.id)
    listings.end(db, listings.begin(db, later, 20).id, 21, calls=0)
    kept = listings.windows(db, listings.begin(db, SPAN, 99).id)
    left = [window(1_000, 1_400), window(1_600, 2_000)]
    assert kept == (left if later[0] else [])


def test_of_windows_that_are_to_be_asked_again_none_is_kept(db: sqlite3.Connection) -> None:
    begun = listings.begin(db, SPAN, 9)
    keep(db, begun.id, window(1_000, 1_500), file="a")
    listings.rest(db, begun.id)
    again = listings.begin(db, SPAN, 99, lambda _: False)
    assert (again.id > begun.id, again.begun_ms) == (True, 99)
    assert listings.windows(db, again.id) == []
    keep(db, again.id, window(*SPAN), file="b")
    listings.end(db, again.id, 100, calls=1)
    assert listings.files(db) == ["b"], "the old one is covered"


def test_an_ended_one_is_listed_from_scratch_the_next_time(db: sqlite3.Connection) -> None:
    begun = listings.begin(db, SPAN, 9)
    keep(db, begun.id, window(*SPAN), file="a")
    listings.end(db, begun.id, 12, calls=3)
    assert listings.listing(db, begun.id).calls == 3
    assert listings.windows(db, begun.id) == []
    assert listings.begin(db, SPAN, 99).id != begun.id


def test_what_can_not_be_settled_goes_on_for_a_while_and_then_from_scratch(
    db: sqlite3.Connection,
) -> None:
    begun = listings.begin(db, SPAN, 9)
    keep(db, begun.id, window(1_000, 1_500), window(1_500, 2_000, "no_id"), file="a")
    listings.end(db, begun.id, 12, calls=3, unsettled=1)
    assert not listings.listing(db, begun.id).is_settled
    again = listings.begin(db, SPAN, 13)
    assert listings.windows(db, again.id) == [window(1_000, 1_500)]
    listings.end(db, again.id, 14, calls=3, unsettled=1)
    later = listings.begin(db, SPAN, 14 + listings.GOES_ON_MS)
    assert listings.windows(db, later.id) == []
    keep(db, later.id, window(*SPAN), file="b")
    listings.end(db, later.id, 99, calls=3)
    assert listings.listing(db, later.id).is_settled
    assert [one.id for one in listings.all_listings(db)] == [later.id]
    assert listings.files(db) == ["b"]


def test_files_go_that_a_later_one_covers_and_no_others(db: sqlite3.Connection) -> None:
    spans = {"inside": (1_000, 1_500), "beside": (1_900, 2_100), "killed": (1_200, 1_300)}
    for name, span in spans.items():
        old = listings.begin(db, span, 9)
        keep(db, old.id, window(*span), file=name)
        if name != "killed":
            listings.end(db, old.id, 10, calls=1)
    new = listings.begin(db, SPAN, 20)
    keep(db, new.id, window(*SPAN), file="new")
    listings.end(db, new.id, 21, calls=1)
    assert listings.files(db) == ["beside", "new"]
    told = [(one.start_s, one.until_s) for one in listings.all_listings(db)]
    assert told == [(1_000, 1_500), (1_900, 2_100), SPAN], "when a day was listed stays"


def test_one_whose_file_is_gone_is_forgotten_and_no_other(db: sqlite3.Connection) -> None:
    numbers = []
    for span in (SPAN, (2_000, 3_000)):
        begun = listings.begin(db, span, 9)
        keep(db, begun.id, window(*span), file=f"{begun.id}-a")
        keep(db, begun.id, file=f"{begun.id}-b")
        numbers.append(begun.id)
    first, second = numbers
    listings.forget(db, [f"{first}-a"])
    assert [one.id for one in listings.all_listings(db)] == [second]
    assert listings.windows(db, first) == []
    assert len(listings.windows(db, second)) == 1
    assert f"{first}-a" not in listings.files(db)
    assert listings.files(db, second) == [f"{second}-a", f"{second}-b"]


def test_a_killed_one_is_known_until_it_is_closed(db: sqlite3.Connection) -> None:
    assert not listings.are_any_running(db)
    listings.begin(db, SPAN, 9)
    assert listings.are_any_running(db)
    assert listings.close_killed(db) == 1
    assert not listings.are_any_running(db)
    listings.rest(db, listings.begin(db, SPAN, 9).id)
    assert not listings.are_any_running(db)


def test_a_comparison_is_kept_until_it_is_dropped_or_another_one_comes(
    db: sqlite3.Connection,
) -> None:
    assert listings.comparison(db) is None
    for found in (Comparison(1000, 5, {"0": "200"}, "a"), Comparison(100, 6, {}, "b")):
        listings.keep_comparison(db, found)
        assert listings.comparison(db) == found
    with pytest.raises(sqlite3.OperationalError), transaction(db):
        _drop_and_fail(db)
    assert listings.comparison(db) == found
    listings.drop_comparison(db)
    assert listings.comparison(db) is None


def _drop_and_fail(db: sqlite3.Connection) -> None:
    listings.drop_comparison(db)
    db.execute("INSERT INTO no_such_table VALUES (1)")


def test_what_can_not_be_settled_goes_on_for_20_hours(db: sqlite3.Connection) -> None:
    for now_ms, is_kept in ((20 * 3_600_000 - 1, True), (20 * 3_600_000, False)):
        begun = listings.begin(db, SPAN, 0)
        keep(db, begun.id, window(1_000, 1_500), window(1_500, 2_000, "no_id"))
        listings.end(db, begun.id, 0, calls=3, unsettled=1)
        again = listings.begin(db, SPAN, now_ms)
        assert bool(listings.windows(db, again.id)) == is_kept
        listings.end(db, again.id, 0, calls=3)


@pytest.mark.parametrize("other", [(1_000, 2_001), (999, 2_000)])
def test_one_goes_on_for_its_own_span_alone(db: sqlite3.Connection, other: tuple[int, int]) -> None:
    begun = listings.begin(db, SPAN, 9)
    keep(db, begun.id, window(1_000, 1_500), file="a")
    assert listings.windows(db, listings.begin(db, other, 99).id) == []
    assert listings.windows(db, begun.id) == [window(1_000, 1_500)]


def test_what_an_older_or_an_unsettled_one_has_heard_is_no_reason_to_ask_again(
    db: sqlite3.Connection,
) -> None:
    listings.end(db, listings.begin(db, (0, 9_000), 1).id, 2, calls=0)
    begun = listings.begin(db, SPAN, 9)
    keep(db, begun.id, window(1_000, 1_500), window(1_500, 2_000))
    listings.begin(db, (1_000, 1_500), 20)
    listings.end(db, listings.begin(db, (1_500, 2_000), 21).id, 22, calls=0, unsettled=1)
    kept = listings.windows(db, listings.begin(db, SPAN, 99).id)
    assert kept == [window(1_000, 1_500), window(1_500, 2_000)]


def test_only_windows_that_share_seconds_with_what_is_not_settled_are_asked_again(
    db: sqlite3.Connection,
) -> None:
    begun = listings.begin(db, (0, 50), 9)
    starts = [window(at, at + 10) for at in (0, 10, 20, 30)]
    keep(db, begun.id, *starts, WindowRecord(9, 21, 5, 1, 1, "no_id"))
    # The last of them is unsettled as a whole: of its parts the first ends in it, and so on.
    kept = listings.windows(db, listings.begin(db, (0, 50), 99).id)
    assert kept == [window(30, 40)]


def test_it_is_running_from_when_it_goes_on_until_it_rests_or_ends(
    db: sqlite3.Connection,
) -> None:
    def state() -> tuple[bool, str | None]:
        return listings.are_any_running(db), get_meta(db, "clean")

    begun = listings.begin(db, SPAN, 9)
    assert state() == (True, "0")
    listings.rest(db, begun.id)
    assert state() == (False, "1")
    listings.go_on(db, begun.id)
    assert state() == (True, "0")
    listings.end(db, begun.id, 10, calls=0)
    assert state() == (False, "1")


def test_windows_that_are_not_settled_as_one_are_kept_as_one(db: sqlite3.Connection) -> None:
    begun, other = listings.begin(db, SPAN, 9), listings.begin(db, (5_000, 6_000), 9)
    keep(db, begun.id, window(1_500, 2_000), window(1_000, 1_500))
    keep(db, other.id, window(5_000, 6_000))
    assert [one.start_s for one in listings.windows(db, begun.id)] == [1_000, 1_500]
    whole = window(1_000, 2_000, "no_id")
    listings.keep_unsettled(db, begun.id, whole)
    assert listings.windows(db, begun.id) == [whole]
    assert listings.windows(db, other.id) == [window(5_000, 6_000)]


def test_a_day_was_listed_when_that_began_last(db: sqlite3.Connection) -> None:
    """On the vendor's clock, 8 hours ahead: the 3rd and the 4th of January 1970."""
    begin, day = 2 * 86_400 - 8 * 3_600, 86_400
    for begun_ms, span in ((10, (begin, begin + 2 * day)), (20, (begin + day, begin + 2 * day))):
        listings.end(db, listings.begin(db, span, begun_ms).id, 99, calls=0)
    never = (begin, begin + 9 * day)
    listings.end(db, listings.begin(db, never, 30).id, 99, calls=0, unsettled=1)
    listings.begin(db, (begin, begin + 5 * day), 40)
    assert listings.listed_days(db) == {"1970-01-03": 10, "1970-01-04": 20}


def test_how_the_vendor_cuts_windows_is_kept(db: sqlite3.Connection) -> None:
    found = Comparison(1, 2, {"0": "200"}, "a")  # any value will do
    assert listings.list_filter(db, Comparison) is None
    listings.keep_filter(db, found)
    assert listings.list_filter(db, Comparison) == found


def test_what_was_taken_from_pages_is_fetched_again_once_it_is_doubted(
    db: sqlite3.Connection,
) -> None:
    assert list(listings.taken_ids(db)) == []
    assert (listings.count_taken(db), listings.count_doubted(db)) == (0, 0)
    listings.keep_comparison(db, Comparison(1, 2, {}, "a"))
    listings.keep_taken(db, "run-1", ["a", "b"])
    listings.keep_taken(db, "run-2", ["c"])
    assert list(listings.taken_ids(db)) == [["a", "b"], ["c"]]
    assert (listings.count_taken(db), listings.count_doubted(db)) == (3, 0)
    listings.doubt_taken(db)
    assert listings.is_taken_doubted(db)
    assert listings.count_doubted(db) == 3
    assert listings.comparison(db) is None
    listings.forget_taken(db)
    assert not listings.is_taken_doubted(db)
    assert (listings.count_taken(db), listings.count_doubted(db)) == (0, 0)
    assert not db.in_transaction


def test_a_bit_that_turned_in_what_was_taken_is_found(db: sqlite3.Connection) -> None:
    """It must not become another call's id."""
    listings.keep_taken(db, "run-1", ["1234567890" * 9])
    (packed,) = db.execute("SELECT ids FROM taken").fetchone()
    for at in range(8 * 6, 8 * len(packed)):  # behind the mark of the format and its flags
        turned = bytearray(packed)
        turned[at // 8] ^= 1 << at % 8
        db.execute("UPDATE taken SET ids = ?", (bytes(turned),))
        with pytest.raises(zstandard.ZstdError):
            list(listings.taken_ids(db))


def test_what_calls_have_shown_and_did_not_hold_is_not_looked_for_the_next_night(
    db: sqlite3.Connection,
) -> None:
    """A vendor whose rows lag behind shows the same again each time."""
    day_ms = 24 * 3_600_000
    listings.keep_filter(db, Comparison(1, 2, {}, "any value will do"))
    listings.drop_filter(db, 100 * day_ms)
    assert listings.list_filter(db, Comparison) is None
    assert listings.has_looked(db, 101 * day_ms)
    assert listings.has_looked(db, 130 * day_ms)
    assert not listings.has_looked(db, 131 * day_ms)


def begun_with_a_window(db: sqlite3.Connection) -> list[WindowRecord]:
    begun = listings.begin(db, SPAN, 9, asked=(SPAN[0] - 5, SPAN[1] + 50))
    kept = [WindowRecord(SPAN[0], SPAN[0] + 10, 9, 3, 3, "")]
    listings.keep(db, begun.id, kept, None, requests=1, requests_of_day=("", 1))
    listings.keep_total(db, begun.id, 40, 41)
    return kept


@pytest.mark.parametrize("later_s", [0, 40])
def test_a_listing_goes_on_with_its_windows_and_its_total_of_the_time_before(
    db: sqlite3.Connection, later_s: int
) -> None:
    kept = begun_with_a_window(db)
    again = listings.begin(db, SPAN, 99, asked=(SPAN[0] - 5, SPAN[1] + 50 + later_s))
    assert (again.asked_from_s, again.asked_until_s) == (SPAN[0] - 5, SPAN[1] + 50)
    assert listings.windows(db, again.id) == kept
    assert totals(db, again.id) == (40, 41)


@pytest.mark.parametrize("asked", [(SPAN[0] - 6, SPAN[1] + 90), (SPAN[0] - 5, SPAN[1] + 49)])
def test_a_listing_that_asked_for_other_time_begins_anew(
    db: sqlite3.Connection, asked: tuple[int, int]
) -> None:
    begun_with_a_window(db)
    again = listings.begin(db, SPAN, 99, asked=asked)
    assert (again.asked_from_s, again.asked_until_s) == asked
    assert listings.windows(db, again.id) == []
    assert totals(db, again.id) == (None, None)


@pytest.mark.parametrize(
    ("more", "then"), [((0, 0), (40, 41)), ((5, 7), (45, 48)), (None, (None, None))]
)
def test_what_later_time_has_is_added_to_the_total(
    db: sqlite3.Connection, more: tuple[int, int] | None, then: tuple[int | None, int | None]
) -> None:
    begun_with_a_window(db)
    asked = SPAN[0] - 5, SPAN[1] + 90
    again = listings.begin(db, SPAN, 99, asked=asked)
    listings.widen(db, again.id, asked[1], more)
    assert listings.listing(db, again.id).asked_until_s == asked[1]
    assert totals(db, again.id) == then
