"""Where every id stands, and how a billing day and a month are judged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harvester.state import id_counts, listings, publications, run_records, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.id_counts import BillingDay, BillingMonth, IdCounts
from harvester.state.values import (
    Batch,
    DeadLetter,
    Deferred,
    Entry,
    OpenCall,
    PartRecord,
    WorkList,
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as opened:
        yield opened


def letter(voice_id: str, reason: str) -> DeadLetter:
    return DeadLetter(voice_id, reason, "", 1, 1, 1, "run-1")


def test_nothing_is_counted_where_nothing_is(db: sqlite3.Connection) -> None:
    assert id_counts.count_ids(db, 1_000) == IdCounts(0, 0, 0, 0, 0, 0, 0, {}, 0, 0, 0, 0, 0)


def test_each_id_is_counted_where_it_stands(db: sqlite3.Connection) -> None:
    work_list = WorkList(1, None, "l", None, 20, 2, 3, again=7)
    run_records.begin_run(db, "run-1", 1)
    work_lists.replace_list(db, work_list)
    batch = Batch(
        entries=[Entry(one, 1, True, b"{}") for one in "abc"],
        again=[Entry("again", 1, True, b"{}")],
        open_calls=[
            OpenCall("open", 10, 1, 1, "run-1"),
            OpenCall("unknown", 99, 1, 1, "run-1", unknown_ms=1),
            OpenCall("unrated", 99, 1, 1, "run-1", unrated_ms=1),
        ],
        dead_letters=[letter("d", "gone"), letter("e", "gone"), letter("f", "other")],
        deferred=[Deferred("g", "timeout", "", 1, 1, "run-1")],
        by_pages=["a", "b"],
        resolved_rows={0: list(range(11))},
        list_delivered=3,
        list_open=3,
        list_dead=4,
        list_refetched=1,
    )
    counters = {"unrated": 2}
    acknowledge(db, "run-1", batch, work_list=work_list, counters=counters, requests_of_day=("", 0))
    db.execute("UPDATE dead_letter SET retrying = 1 WHERE id = 'f'")
    old = publications.prepare_rewrite(db)
    publications.commit_rewrite(
        db, old, [PartRecord("p", old, 50, 1, "h", old)], [], publications.NOTED
    )
    publications.retire(db, old, 5)
    found = id_counts.count_ids(db, 10)
    assert found == IdCounts(
        in_data=50,
        in_journal=3,
        open=3,
        open_due=1,
        open_unknown=1,
        open_unrated=1,
        dead=2,
        dead_by_reason={"gone": 2},
        pending=15,  # of 25
        retrying=1,
        deferred=1,
        delivered_unrated=2,
        pending_again=6,  # of 7
    )
    listings.doubt_taken(db)
    assert id_counts.count_ids(db, 10).pending_again == 8, "what pages brought is fetched again"


@pytest.mark.parametrize(
    ("unknown", "unrated", "reasons"),
    [
        (0, 0, {"not_over": 9}),
        (2, 3, {"not_over": 4, "unrated": 3, "no_record": 2}),
        (4, 5, {"unrated": 5, "no_record": 4}),
    ],
)
def test_reasons_why_calls_are_open_add_up(
    unknown: int, unrated: int, reasons: dict[str, int]
) -> None:
    counts = IdCounts(0, 0, 9, 0, unknown, unrated, 0, {}, 0, 0, 0)
    assert counts.open_by_reason == reasons


@pytest.mark.parametrize(
    ("listed_ms", "counted_ms", "is_counted"),
    [(None, None, False), (None, 5, False), (5, None, False), (5, 4, False), (5, 5, True)],
)
def test_a_day_is_counted_if_that_was_not_before_it_was_listed(
    listed_ms: int | None, counted_ms: int | None, is_counted: bool
) -> None:
    day = BillingDay(day="2026-11-01", listed_ms=listed_ms, counted_ms=counted_ms)
    assert day.is_counted == is_counted
    assert day.is_complete == is_counted, "no call of it is missing"


@pytest.mark.parametrize(
    ("delivered", "dropped", "is_complete"),
    [(9, 0, True), (7, 2, True), (9, 1, False), (0, 9, True), (8, 0, False)],
)
def test_a_day_is_complete_if_each_call_was_delivered_or_dropped(
    delivered: int, dropped: int, is_complete: bool
) -> None:
    day = BillingDay(
        day="2026-11-01",
        listed_ms=5,
        counted_ms=6,
        listed=9,
        delivered=delivered,
        dropped=dropped,
    )
    assert day.is_complete == is_complete


def test_of_a_day_that_is_only_listed_nothing_is_counted(db: sqlite3.Connection) -> None:
    """The first of November and the second by the vendor's clock, which is 8 hours ahead."""
    begin = int(datetime(2026, 10, 31, 16, tzinfo=UTC).timestamp())
    begun = listings.begin(db, (begin, begin + 2 * 86_400), 77)
    listings.end(db, begun.id, 99, calls=1)
    counted = BillingDay(day="2026-11-02", counted_ms=80, listed=4, delivered=4)
    id_counts.keep_days(db, [counted])
    assert id_counts.kept_days(db) == [counted]
    first, second = id_counts.billing_days(db)
    assert first == BillingDay(day="2026-11-01", listed_ms=77)
    names = ("listed", "delivered", "open", "dead", "pending", "dropped", "missing")
    assert [getattr(first, name) for name in names] == [0] * 7
    assert (second.day, second.listed_ms, second.is_complete) == ("2026-11-02", 77, True)


def test_what_was_counted_of_a_day_last_is_kept_in_order(db: sqlite3.Connection) -> None:
    assert id_counts.kept_days(db) == id_counts.billing_days(db) == []
    id_counts.keep_days(db, [BillingDay(day="2026-11-02", open=1)])
    id_counts.keep_days(db, [BillingDay(day=f"2026-11-0{n}", open=n) for n in (3, 1, 2)])
    found = [(one.day, one.open) for one in id_counts.kept_days(db)]
    assert found == [("2026-11-01", 1), ("2026-11-02", 2), ("2026-11-03", 3)]
    assert [one.day for one in id_counts.billing_days(db)] == [day for day, _ in found]


def months_at(now: datetime, *days: str) -> list[tuple[str, int, bool]]:
    """(month, its days that are over, whether it is) at `now` of those of which a day is known."""
    known = [BillingDay(day=day, listed=1) for day in days]
    now_ms = int(now.timestamp() * 1_000)
    return [(one.month, one.days, one.is_over) for one in id_counts.billing_months(known, now_ms)]


MIDNIGHT = datetime(2026, 11, 30, 16, tzinfo=UTC)
"""When December begins on the vendor's clock."""
OCTOBER, NOVEMBER, DECEMBER = "2026-10-31", "2026-11-30", "2026-12-01"


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (MIDNIGHT - timedelta(seconds=1), [("2026-10", 31, True)]),  # the 30th is not over
        (MIDNIGHT, [("2026-11", 30, True)]),
        (MIDNIGHT + timedelta(days=1), [("2026-11", 30, True), ("2026-12", 1, False)]),
        (MIDNIGHT + timedelta(days=30), [("2026-11", 30, True), ("2026-12", 30, False)]),
        (MIDNIGHT + timedelta(days=31), [("2026-12", 31, True)]),
    ],
)
def test_months_are_the_last_one_and_this_one_of_days_that_are_over(
    now: datetime, found: list[tuple[str, int, bool]]
) -> None:
    assert months_at(now, OCTOBER, NOVEMBER, DECEMBER) == found


def test_february_has_its_own_number_of_days() -> None:
    assert months_at(datetime(2027, 3, 31, 15, tzinfo=UTC), "2027-02-03", "2027-03-01") == [
        ("2027-02", 28, True),
        ("2027-03", 30, False),
    ]


def test_a_month_adds_up_its_days() -> None:
    counts = {"delivered": 1, "open": 2, "dead": 3, "pending": 4, "dropped": 5, "missing": 6}
    days = [
        BillingDay(day="2026-11-01", listed_ms=5, counted_ms=9, listed=21, **counts),
        BillingDay(day="2026-11-02", listed_ms=5, counted_ms=7, listed=6, delivered=1, dropped=5),
        BillingDay(day="2026-11-03", listed_ms=5),
        BillingDay(day="2026-11-04", counted_ms=8, listed=2, missing=2),
    ]
    now_ms = int(datetime(2026, 11, 5, tzinfo=UTC).timestamp() * 1_000)
    assert id_counts.billing_months(days, now_ms) == [
        BillingMonth(
            month="2026-11",
            days=4,
            days_listed=3,
            days_complete=1,
            days_counted=2,
            is_over=False,
            counted_ms=7,
            listed=29,
            delivered=2,
            open=2,
            dead=3,
            pending=4,
            dropped=10,
            missing=8,
        )
    ]


def test_a_month_of_days_that_were_never_counted_is_not_complete() -> None:
    now_ms = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp() * 1_000)
    (month,) = id_counts.billing_months([BillingDay(day="2026-11-01", listed_ms=5)], now_ms)
    assert (month.counted_ms, month.days, month.is_complete) == (None, 1, False)
    counted = BillingDay(day="2026-11-01", listed_ms=5, counted_ms=5)
    (month,) = id_counts.billing_months([counted], now_ms)
    assert month.is_complete
