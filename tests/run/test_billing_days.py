"""What is kept of each billing day, and whether a month is complete."""

from __future__ import annotations

import json
import re
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.cli.main import run_command
from harvester.cli.ui.status_screen import idle_screen
from harvester.pipeline.listing.days import Done, of_days, to_list
from harvester.reconciling.listed import of_days as listings_of
from harvester.reconciling.listed import told
from harvester.state import listings
from harvester.state.database import open_database
from harvester.state.id_counts import (
    COUNTS,
    BillingDay,
    BillingMonth,
    billing_days,
    billing_months,
    keep_days,
    kept_days,
)
from harvester.vendor_clock import CLOCK
from tests.support.datasets import made
from tests.support.fakes import ACCOUNT
from tests.unit.test_cli_status_screen import standing

NOW = datetime(2026, 12, 14, 9, tzinfo=CLOCK)
NOW_MS = int(NOW.timestamp() * 1000)


def whole(day: str, calls: int = 10, **changes: int) -> BillingDay:
    rest = sum(changes.values())
    return BillingDay(
        day=day, counted_ms=7, listed_ms=6, listed=calls, delivered=calls - rest, **changes
    )


def november(**changes: int) -> list[BillingDay]:
    days = [whole(f"2026-11-{day:02}") for day in range(1, 31)]
    if changes:
        days[3] = whole("2026-11-04", 10, **changes)
    return days


def test_a_month_is_complete_when_every_call_of_every_day_has_its_record() -> None:
    (month,) = billing_months(november(), NOW_MS)
    assert (month.month, month.days, month.days_listed, month.days_complete) == (
        "2026-11",
        30,
        30,
        30,
    )
    assert month.is_complete
    assert month.is_over
    assert (month.listed, month.delivered, month.counted_ms) == (300, 300, 7)


@pytest.mark.parametrize("state", ["open", "dead", "pending", "missing"])
def test_one_call_without_a_record_is_enough(state: str) -> None:
    (month,) = billing_months(november(**{state: 1}), NOW_MS)
    assert not month.is_complete
    assert getattr(month, state) == 1


def test_a_day_that_was_never_listed_or_counted_is_not_complete() -> None:
    (month,) = billing_months(november()[1:], NOW_MS)
    assert (month.days_listed, month.is_complete) == (29, False)
    only_listed = BillingDay(day="2026-11-01", listed_ms=6)
    (month,) = billing_months([only_listed, *november()[1:]], NOW_MS)
    assert (month.days_listed, month.is_complete) == (30, False)
    newer = BillingDay(day="2026-11-01", counted_ms=7, listed_ms=8, listed=10, delivered=10)
    (month,) = billing_months([newer, *november()[1:]], NOW_MS)
    assert (month.days_complete, month.is_complete) == (29, False), "what it found is not counted"
    assert month.days_counted == 29
    dropped = [*november()[1:], whole("2026-11-01", dropped=10)]
    assert billing_months(dropped, NOW_MS)[0].is_complete, "let go on purpose"


def test_this_month_is_as_long_as_its_days_are_over() -> None:
    days = [whole(f"2026-12-{day:02}") for day in range(1, 15)]
    (month,) = billing_months(days, NOW_MS)
    assert (month.month, month.days, month.is_over, month.is_complete) == (
        "2026-12",
        13,
        False,
        True,
    )
    assert [one.month for one in billing_months([*november(), *days], NOW_MS)] == [
        "2026-11",
        "2026-12",
    ]
    assert billing_months([whole("2026-09-30")], NOW_MS) == []


def test_days_are_kept_and_later_counts_take_their_place(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "state.db", ACCOUNT)) as db:
        assert kept_days(db) == []
        keep_days(db, [whole("2026-11-02", missing=3), whole("2026-11-01")])
        keep_days(db, [whole("2026-11-02")])
        assert kept_days(db) == [whole("2026-11-01"), whole("2026-11-02")]
        first = datetime(2025, 1, 1, tzinfo=UTC)
        keep_days(db, [whole(f"{first + timedelta(days=n):%Y-%m-%d}") for n in range(400)])
        assert len(kept_days(db)) == 190
        assert kept_days(db)[-1].day == "2026-11-02"


def test_a_day_that_was_only_listed_is_known(tmp_path: Path) -> None:
    span = of_days(date(2026, 11, 1), date(2026, 11, 2))
    with closing(open_database(tmp_path / "state.db", ACCOUNT)) as db:
        one = listings.begin(db, (span.start_s, span.until_s), 5)
        assert billing_days(db) == []
        listings.end(db, one.id, 9, calls=1)
        keep_days(db, [whole("2026-11-02")])
        assert billing_days(db) == [
            BillingDay(day="2026-11-01", listed_ms=5),
            replace(whole("2026-11-02"), listed_ms=5),
        ]


def month(**changes: object) -> BillingMonth:
    zeros = dict.fromkeys(COUNTS, 0)
    plain = BillingMonth(
        month="2026-11",
        days=30,
        days_listed=30,
        days_complete=30,
        days_counted=30,
        is_over=True,
        counted_ms=7,
        **(zeros | {"listed": 1_300, "delivered": 1_300}),
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "2026-11  complete: 30 of 30 days listed, 1,300 calls; reconciled 1970-01-01"),
        ({"is_over": False}, "complete so far"),
        (
            {"days_complete": 29, "delivered": 1_290, "missing": 8, "open": 2},
            "30 of 30 days listed, 1,300 calls, 8 missing, 2 open; reconciled",
        ),
        (
            {"days_complete": 28, "days_counted": 28},
            "30 of 30 days listed, 28 of them reconciled since, 1,300 calls; reconciled",
        ),
        ({"days_complete": 0, "counted_ms": None}, "none reconciled: `harvester reconcile"),
    ],
)
def test_status_says_in_a_line_whether_a_month_is_complete(
    changes: dict[str, object], says: str
) -> None:
    lines = [line.text for line in idle_screen(standing(months=(month(**changes),)), 0.0)]
    assert any(says in line for line in lines)
    assert not any("vendor's list" in line.text for line in idle_screen(standing(), 0.0))


def test_a_report_has_the_days_of_its_period(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    made(out, [{}])
    with closing(open_database(out / "state" / "state.db", ACCOUNT)) as db:
        keep_days(db, [whole("2026-10-31"), *november(missing=3), whole("2026-12-01")])
    words = ["report", "--out", str(out), "--month", "2026-11"]
    assert run_command([*words, "--json"]) == 0
    days = json.loads(capsys.readouterr().out)["billing_days"]
    assert [one["day"] for one in days] == [f"2026-11-{day:02}" for day in range(1, 31)]
    assert days[3] == {
        "day": "2026-11-04",
        "counted_ms": 7,
        "listed_ms": 6,
        "listed": 10,
        "delivered": 7,
        "open": 0,
        "dead": 0,
        "pending": 0,
        "dropped": 0,
        "missing": 3,
    }
    html = tmp_path / "report.html"
    assert run_command([*words, "--html", str(html)]) == 0
    told = capsys.readouterr().out
    assert "29 of 30 days complete" in told
    assert re.search(r"2026-11-04 +1970-01-01 08:00 +10 +7 +0 +0 +0 +0 +3\n", told)
    assert "2026-11-05  " not in told, "on the screen those that are not complete"
    assert "29 of 30 days complete" in html.read_text()
    assert run_command(["report", "--out", str(out), "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)["billing_days"]
    assert (everything[0]["day"], len(everything)) == ("2026-10-31", 32)
    with closing(open_database(out / "state" / "state.db", ACCOUNT)) as db:
        keep_days(db, [replace(whole("2026-11-03"), counted_ms=7, listed_ms=8)])
    assert run_command([*words, "--html", str(html)]) == 0
    told = "28 of 30 days complete; not counted since last listed: 1 (`harvester reconcile"
    assert told in capsys.readouterr().out
    assert told.partition("(")[0] in html.read_text()


def test_no_day_that_is_not_complete_is_left_out_of_the_screen_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    made(out, [{}])
    days = [str(date(2026, 9, 15) + timedelta(days=at)) for at in range(60)]
    with closing(open_database(out / "state" / "state.db", ACCOUNT)) as db:
        keep_days(db, [replace(whole(one), listed=10, delivered=9, missing=1) for one in days])
    assert run_command(["report", "--out", str(out), "--month", "2026-10"]) == 0
    told = capsys.readouterr().out
    assert all(f"2026-10-{day:02}  " in told for day in range(1, 32))
    assert run_command(["report", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert [one for one in days if f"{one}  " in told] == days[-31:]
    assert "29 day(s) before these are not complete: see --html or --json" in told


# --- which days are asked for, and which listings count ----------------------------------------


def at(day: date, hour: int = 6) -> float:
    return datetime(day.year, day.month, day.day, hour, tzinfo=CLOCK).timestamp()


def done(first: date, last: date, listed_on: date) -> Done:
    return Done(of_days(first, last), at(listed_on))


NOV1, NOV30 = date(2026, 11, 1), date(2026, 11, 30)


@pytest.mark.parametrize(
    ("listed", "today", "wanted"),
    [
        ([], date(2026, 12, 14), [(NOV1, NOV30)]),
        ([done(NOV1, NOV30, date(2026, 12, 12))], date(2026, 12, 14), []),
        # Listed too early for the late calls of its last days.
        (
            [done(NOV1, NOV30, date(2026, 12, 1))],
            date(2026, 12, 14),
            [(date(2026, 11, 20), NOV30)],
        ),
        (
            [done(NOV1, NOV30, date(2026, 12, 1))],
            date(2026, 12, 2),
            [(date(2026, 11, 20), date(2026, 11, 20)), (date(2026, 11, 29), date(2026, 11, 29))],
        ),
        # The day that goes on is asked for each time; those to come are not.
        ([], date(2026, 11, 2), [(NOV1, date(2026, 11, 2))]),
        ([done(NOV1, NOV1, date(2026, 11, 2))], date(2026, 11, 2), [(date(2026, 11, 2),) * 2]),
        # Too old to be had again, but listed.
        ([done(NOV1, NOV30, date(2026, 12, 1))], date(2027, 3, 1), []),
        ([], date(2027, 3, 1), [(NOV1, NOV30)]),
    ],
)
def test_only_days_that_are_due_are_asked_for(
    listed: list[Done], today: date, wanted: list[tuple[date, date]]
) -> None:
    assert to_list(listed, NOV1, NOV30, at(today, 12)) == wanted


def listing(
    number: int, first: date, last: date, on: date, unsettled: int | None = 0
) -> listings.ListingRecord:
    span = of_days(first, last)
    return listings.ListingRecord(
        id=number,
        start_s=span.start_s,
        until_s=span.until_s,
        begun_ms=int(at(on) * 1000),
        ended_ms=None if unsettled is None else 1,
        requests=1,
        calls=1,
        unsettled=unsettled or 0,
    )


def test_of_a_day_the_newest_settled_listing_counts_and_what_later_ones_found() -> None:
    two, three = date(2026, 11, 2), date(2026, 11, 3)
    records = [
        listing(1, NOV1, three, date(2026, 11, 4)),
        listing(7, two, three, date(2026, 11, 5), unsettled=1),
        listing(8, two, two, date(2026, 11, 6)),
        listing(9, three, three, date(2026, 11, 6), unsettled=2),
        listing(10, date(2026, 11, 4), date(2026, 11, 4), date(2026, 11, 6), unsettled=None),
    ]
    days = listings_of(records, NOV1, date(2026, 11, 5))
    assert [one.ids for one in days] == [(1,), (8,), (1, 7, 9), (10,), ()]
    assert [one.age_days for one in days] == [3, 4, 1, None, None]
    found = told(days)
    assert (found.listed, found.least_age_days) == (3, 1)
    assert found.not_listed == ("2026-11-04", "2026-11-05")
    assert found.oldest_listing_ms == int(at(date(2026, 11, 4)) * 1000)
