"""`discover` against a list that does what no simulator's habit does: nothing is lost unsaid."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harvester.state.database import open_database
from tests.support.discovering import Discovery, day
from tests.support.hostile_list import (
    MIDNIGHT_S,
    Call,
    HostileList,
    Question,
    Said,
    calls_of,
    envelope,
)

Page = dict[str, Any]
Spoil = Callable[[HostileList, Question, Page], Said | None]
"""Changes the right page, or gives another answer in its place."""

GOOD, DENIED, UNSETTLED = 0, 4, 5
QUICK: dict[str, object] = {
    "retry__busy_attempts": 4,
    "retry__backoff_max_s": 1.0,
    "vendor__timeout_s": 2.0,
    "pace__concurrency": 4,
}
LONGEST = 1_000
"""Requests that no list may cost, however it lies."""


def total(made: Callable[[int], object]) -> Spoil:
    def spoil(vendor: HostileList, asked: Question, page: Page) -> None:
        page["total"] = made(page["total"])

    return spoil


def records(made: Callable[[list[Page]], object]) -> Spoil:
    def spoil(vendor: HostileList, asked: Question, page: Page) -> None:
        page["records"] = made(page["records"])

    return spoil


def each(made: Callable[[Page], object]) -> Spoil:
    def spoil(vendor: HostileList, asked: Question, page: Page) -> None:
        for one in page["records"]:
            made(one)

    return spoil


def body(made: Callable[[bytes], bytes], **headers: str) -> Spoil:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda vendor, asked, page: Said(made(envelope(page)), headers=named)


def sometimes(said: Said) -> Spoil:
    return lambda vendor, asked, page: said if asked.number % 4 == 2 else None


def at_first(said: Said) -> Spoil:
    """To the first question for each window."""
    asked_for: set[tuple[float, float]] = set()

    def spoil(vendor: HostileList, asked: Question, page: Page) -> Said | None:
        window = asked.start_s, asked.end_s
        is_new = window not in asked_for
        asked_for.add(window)
        return said if is_new else None

    return spoil


def wide(said: Said) -> Spoil:
    return lambda vendor, asked, page: said if asked.end_s - asked.start_s > 40_000 else None


def refused(status: str) -> Said:
    return Said(envelope(None, status))


def chinese(text: bytes) -> bytes:
    marked = text.replace(b'"rate"', '"calledInfo": "中文信息测试电话", "rate"'.encode())
    return marked.decode().encode("gbk")


def shuffled(vendor: HostileList, asked: Question, page: Page) -> None:
    found = vendor.found(asked)
    random.Random(asked.number).shuffle(found)
    first = (asked.current - 1) * asked.size
    page["records"] = [call.record() for call in found[first : first + asked.size]]


def of_window(widened: Callable[[Question], Question]) -> Spoil:
    return lambda vendor, asked, page: page.update(vendor.page(widened(asked)))


def zoned(minutes: int) -> Spoil:
    zone = timezone(timedelta(minutes=minutes))

    def moved(one: Page) -> None:
        for name in [name for name in one if name.endswith("Time")]:
            one[name] = datetime.fromisoformat(one[name]).astimezone(zone).isoformat()

    return each(moved)


def burst(count: int) -> list[Call]:
    return [Call(f"burst-{number:06}", MIDNIGHT_S + 36_000) for number in range(count)]


def named(made: Callable[[int], str]) -> list[Call]:
    return [Call(made(number), MIDNIGHT_S + 600 + number * 40) for number in range(200)]


def _submitted_at(sent: object, one: Page) -> None:
    one["submitTime"] = sent


def spoils() -> dict[str, tuple[Spoil, int]]:
    """What is done to 300 calls of a quiet day, and how it ends."""
    kept: dict[object, Page] = {}
    found: dict[str, tuple[Spoil, int]] = {
        "total as text": (total(str), GOOD),
        "total as a float": (total(float), GOOD),
        "total with blanks": (total(lambda told: f" {told} "), GOOD),
        "total below zero": (total(lambda told: -told - 1), UNSETTLED),
        "total without end": (total(lambda told: 10**30), UNSETTLED),
        "total of 80 nines": (total(lambda told: "9" * 80), UNSETTLED),
        "total in a list": (total(lambda told: [told]), UNSETTLED),
        "total of 0": (total(lambda told: 0), UNSETTLED),
        "total of a page": (
            lambda vendor, asked, page: page.update(total=len(page["records"])),
            UNSETTLED,
        ),
        "total of 100 at most": (total(lambda told: min(100, told)), UNSETTLED),
        "records null": (records(lambda found: None), UNSETTLED),
        "records null where there are none": (records(lambda found: found or None), GOOD),
        "records no list": (records(lambda found: {"a": 1}), UNSETTLED),
        "records of null": (records(lambda found: [None for _ in found]), UNSETTLED),
        "data in data": (
            lambda vendor, asked, page: Said(envelope({"data": page})),
            UNSETTLED,
        ),
        "nested without end": (
            body(lambda text: text[:-2] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}}"),
            UNSETTLED,
        ),
        "99 distinct of 100": (records(lambda found: [*found[:-1], *found[:1]]), UNSETTLED),
        "GBK": (body(chinese, Content_Type="application/json;charset=GBK"), GOOD),
        "GBK unsaid": (body(chinese), GOOD),
        "bytes that are no text": (
            body(lambda text: text.replace(b'"rate"', b'"x\xff": "\x80", "rate"')),
            GOOD,
        ),
        "gzip": (body(gzip.compress, Content_Encoding="gzip"), GOOD),
        "-16": (at_first(refused("-16")), GOOD),
        "-24 at first": (at_first(refused("-24")), GOOD),
        "no data at all": (lambda vendor, asked, page: refused("-24"), GOOD),
        "wide windows too long": (each(lambda one: one.update(x="y" * 15_000)), GOOD),
        "wide windows -18": (wide(refused("-18")), GOOD),
        "wide windows 413": (wide(Said(b"", 413)), GOOD),
        "redirects": (
            lambda vendor, asked, page: Said(b"", 302, {"Location": vendor.base_url}),
            DENIED,
        ),
        "a slow drip": (
            lambda vendor, asked, page: (
                Said(envelope(page), drips=True) if asked.number == 3 else None
            ),
            GOOD,
        ),
        "a reset in the middle": (sometimes(Said(b"x" * 99, cut=50)), GOOD),
        "a reset at once": (sometimes(Said(b"x" * 99, cut=0)), GOOD),
        "the end is not heeded": (
            of_window(lambda q: Question(q.start_s, 1e10, q.current, q.size, q.number)),
            UNSETTLED,
        ),
        "the window is not heeded": (
            of_window(lambda q: Question(0, 1e10, q.current, q.size, q.number)),
            UNSETTLED,
        ),
        "an answer is kept for all": (
            lambda vendor, asked, page: page.update(
                kept.setdefault(asked.current, page) if page["records"] or kept else page
            ),
            UNSETTLED,
        ),
    }
    for code in (413, 429, 503):
        found[f"HTTP {code}"] = (sometimes(Said(b"busy", code)), GOOD)
    for minutes in (0, -210, 845):
        found[f"an offset of {minutes} minutes"] = (zoned(minutes), GOOD)
    times: tuple[object, ...] = (
        None,
        "",
        "yesterday",
        0,
        {},
        "0000-00-00 00:00:00",
        "9999-12-31T00:00:00Z",
    )
    for sent in times:
        found[f"submitTime {sent!r}"] = (each(partial(_submitted_at, sent)), GOOD)
    return found


@pytest.mark.parametrize("name", spoils())
def test_nothing_is_lost_unsaid(tmp_path: Path, name: str) -> None:
    spoil, code = spoils()[name]

    def answer(vendor: HostileList, asked: Question) -> Said:
        page = vendor.page(asked)
        return spoil(vendor, asked, page) or Said(envelope(page))

    with HostileList(calls_of(300), answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run(max_duration_s=150)
        assert vendor.requests <= LONGEST
        assert done.code == code, done.err
        if code == GOOD and name != "no data at all":
            assert not listed.missing()
        if code == UNSETTLED:
            assert "listing.unsettled" in done.err
            assert done.summary["unsettled_windows"]


@pytest.mark.parametrize("often", [2, 3, 5])
def test_pages_of_other_windows_of_the_day_lose_nothing_unsaid(tmp_path: Path, often: int) -> None:
    """A cache that mistakes one question for another; no total is wrong."""
    before: list[Page] = []

    def answer(vendor: HostileList, asked: Question) -> Said:
        page = vendor.page(asked)
        if page["records"] and asked.end_s - asked.start_s < 40_000:
            kept = {**page}
            if before and asked.number % often == 0:
                page = random.Random(asked.number).choice(before)
            before.append(kept)
        return Said(envelope(page))

    with HostileList(calls_of(400), answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run(max_duration_s=150)
        assert vendor.requests <= LONGEST
        assert done.code == UNSETTLED or (done.code == GOOD and not listed.missing()), done.err


@pytest.mark.parametrize("is_probed", [False, True])
@pytest.mark.parametrize("days", [(3, 110, 110, 3), (150, 95, 150, 150, 95, 150)])
@pytest.mark.parametrize("seed", range(3))
def test_pages_of_the_day_before_lose_nothing_unsaid(
    tmp_path: Path, seed: int, days: tuple[int, ...], is_probed: bool
) -> None:
    """The same cache; the total fits the page, and that of all is right.  Calls of days that are
    not asked for may stand for those that are missing.
    """
    asked_days = day(1), day()
    calls = [
        Call(f"{at}-{one.voice_id}", one.submit_s + (at - len(days) // 2) * 86_400)
        for at, count in enumerate(days)
        for one in calls_of(count, apart_s=86_000 / max(1, count), first_s=100.0)
    ]
    is_ill = False

    def answer(vendor: HostileList, asked: Question) -> Said:
        dice = random.Random(f"{seed} {asked.number}")
        is_wrong = is_ill and asked.size > 1 and dice.random() < 0.4
        aside_s = dice.choice([-86_400, 86_400]) if is_wrong else 0
        times = asked.start_s + aside_s, asked.end_s + aside_s
        return Said(
            envelope(vendor.page(Question(*times, asked.current, asked.size, asked.number)))
        )

    def missing(listed: Discovery) -> set[str]:
        first_s = MIDNIGHT_S - 86_400
        wanted = {one.voice_id for one in calls if first_s <= one.submit_s < first_s + 2 * 86_400}
        return wanted - set(listed.ids())

    with HostileList(calls, answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        if is_probed:
            listed.run(probe=calls[len(calls) // 2].voice_id)
        is_ill = True
        wanted = {"first": asked_days[0], "last": asked_days[1], "max_duration_s": 150}
        done = listed.run(**wanted)
        assert vendor.requests <= LONGEST
        assert done.code == UNSETTLED or (done.code == GOOD and not missing(listed)), done.err
        is_ill = False
        done = listed.run(**wanted)
        assert done.code == GOOD, done.err
        assert not missing(listed)


def test_an_id_with_two_rows_on_two_days_is_not_settled(tmp_path: Path) -> None:
    """Its rows have one submitTime, so they are one by all that is kept of them."""
    calls = calls_of(110, apart_s=600.0)
    again = {"callTime": calls[7].record()["callTime"].replace(day().isoformat(), str(day(-1)))}
    twice = Call(calls[7].voice_id, calls[7].submit_s, again)
    with HostileList([*calls, twice], by="callTime") as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert (done.code, done.summary["unsettled"][0]["cause"]) == (UNSETTLED, "total_of_all")
        assert not listed.missing()


@pytest.mark.parametrize("by", ["submitTime", "callTime"])
@pytest.mark.parametrize("is_probed", [False, True])
def test_an_empty_page_given_twice_for_a_full_one_loses_nothing_unsaid(
    tmp_path: Path, is_probed: bool, by: str
) -> None:
    """A quiet day looks just like that; the total of all shows it."""

    def answer(vendor: HostileList, asked: Question) -> Said:
        middle_s = MIDNIGHT_S + 43_200
        is_wrong = asked.size > 1 and 200 < asked.end_s - asked.start_s < 10_000
        if is_ill and is_wrong and asked.start_s <= middle_s < asked.end_s:
            return Said(envelope({"total": 0, "records": []}))
        return Said(envelope(vendor.page(asked)))

    is_ill = False
    with HostileList(calls_of(1_000, apart_s=80.0), answer, by=by) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        if is_probed:
            listed.run(probe=vendor.calls[100].voice_id)
        is_ill = True
        done = listed.run()
        assert (done.code, done.summary["unsettled"][0]["cause"]) == (UNSETTLED, "total_of_all")
        assert listed.missing()
        is_ill = False
        done = listed.run()
        assert done.code == GOOD, done.err
        assert not listed.missing()


@pytest.mark.parametrize("by", ["submitTime", "hangupTime"])
def test_single_calls_of_other_days_in_place_of_the_right_ones_are_seen(
    tmp_path: Path, by: str
) -> None:
    """Just as many come as are missing; a few calls of the list have shown by which time it goes,
    though nobody named one.
    """
    before = [Call(f"before-{n:06}", one.submit_s - 86_400) for n, one in enumerate(calls_of(400))]
    calls = calls_of(400)

    def answer(vendor: HostileList, asked: Question) -> Said:
        page = vendor.page(asked)
        if asked.size > 1 and asked.end_s - asked.start_s > 200 and asked.number % 2:
            page["records"] = [
                random.Random(asked.number).choice(before).record() if at == 7 else record
                for at, record in enumerate(page["records"])
            ]
        return Said(envelope(page))

    with HostileList([*before, *calls], answer, by=by) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert vendor.requests <= LONGEST
        missing = {one.voice_id for one in calls} - set(listed.ids())
        assert done.code == UNSETTLED or (done.code == GOOD and not missing), done.err
        assert done.summary["filter"]["by"] == by


def test_once_pages_do_not_fit_what_calls_showed_it_does_without(tmp_path: Path) -> None:
    """A vendor that lists by another time from now on."""
    with HostileList(calls_of(300, apart_s=200.0)) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert (done.code, done.summary["filter"]["by"]) == (GOOD, "submitTime")
        vendor.by = "hangupTime"
        done = listed.run(first=day(1), last=day())
        assert (done.code, done.summary["unsettled"][0]["cause"]) == (UNSETTLED, "other_window")
        done = listed.run(first=day(1), last=day())
        assert (done.code, done.summary["filter"]) == (GOOD, None), done.err
        assert not listed.missing()


@pytest.mark.parametrize("is_probed", [True, False])
def test_a_listing_that_is_cut_short_goes_on_while_calls_come(
    tmp_path: Path, is_probed: bool
) -> None:
    """What the time between has is added to the total that it began with."""
    now_s = time.time()
    calls = calls_of(2_000, apart_s=40.0) + calls_of(400, apart_s=10.0, first_s=86_400.0)
    calls = [call for call in calls if call.submit_s < now_s - 5]
    with HostileList(calls, by="hangupTime") as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        if is_probed:
            listed.run(probe=calls[300].voice_id)
        before = vendor.requests
        done = Discovery(tmp_path / "out", vendor, **QUICK, pace__per_day=before + 60).run()
        assert done.code == 8, done.err
        vendor.calls += [
            Call(f"later-{number}", time.time() - 70.0 + number / 50) for number in range(40)
        ]
        done = listed.run()
        assert done.code == GOOD, done.err
        assert {one for one in listed.missing() if not one.startswith("later-")} == set()


def test_a_vendor_whose_rows_lag_behind_alarms_one_night_only(tmp_path: Path) -> None:
    """It lists by a time that no record shows, which is submitTime but for some rows."""
    lag = random.Random(7)
    lags = {one.voice_id: lag.expovariate(1 / 0.8) for one in calls_of(1_500, apart_s=57.0)}

    def answer(vendor: HostileList, asked: Question) -> Said:
        found = [
            one
            for one in vendor.calls
            if asked.start_s <= one.submit_s + lags[one.voice_id] <= asked.end_s
        ]
        first = (asked.current - 1) * asked.size
        shown = [one.record() for one in found[first : first + asked.size]]
        return Said(envelope({"total": len(found), "records": shown}))

    with HostileList(calls_of(1_500, apart_s=57.0), answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        first = listed.run()
        assert first.code in (GOOD, UNSETTLED), first.err
        with closing(open_database(tmp_path / "out" / "state" / "state.db", "default")) as db, db:
            # A night later.
            db.execute("UPDATE listing SET ended_ms = ended_ms - ?", (24 * 3_600_000,))
            db.execute(
                "UPDATE meta SET value = value - ? WHERE key IN ('list_looked', 'list_unfit')",
                (24 * 3_600_000,),
            )
        done = listed.run()
        assert done.code == GOOD, done.err
        assert not listed.missing()


def test_a_call_with_an_odd_time_of_its_own_is_listed_the_second_time(tmp_path: Path) -> None:
    calls = calls_of(300, apart_s=200.0)
    odd = calls[150].record()
    moved = {
        name: odd[name].replace("+08:00", "+05:00")
        for name in ("submitTime", "callTime", "answerTime", "hangupTime")
    }

    def answer(vendor: HostileList, asked: Question) -> Said:
        page = vendor.page(asked)
        for one in page["records"]:
            if one["voiceId"] == calls[150].voice_id:
                one.update(moved)
        return Said(envelope(page))

    with HostileList(calls, answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert (done.code, done.summary["unsettled"][0]["cause"]) == (UNSETTLED, "other_window")
        done = listed.run()
        assert done.code == GOOD, done.err
        assert not listed.missing()


@pytest.mark.parametrize("by", ["callTime", "hangupTime"])
def test_a_call_that_was_redialled_for_days_is_listed_with_its_day(tmp_path: Path, by: str) -> None:
    """Submitted on the day, and listed by a time six days later."""
    first = day(8)
    calls = [Call(one.voice_id, one.submit_s - 8 * 86_400) for one in calls_of(60)]
    late = calls[30].submit_s + 6 * 86_400
    told = {
        name: datetime.fromtimestamp(late + more, UTC).isoformat()
        for name, more in (("callTime", 4), ("answerTime", 9), ("hangupTime", 69))
    }
    calls[30] = Call(calls[30].voice_id, calls[30].submit_s, told)
    with HostileList(calls, by=by) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run(first=first, last=first)
        assert (done.code, done.summary["filter"]["by"]) == (GOOD, by), done.err
        assert not listed.missing()


@pytest.mark.parametrize("wrong", ["before", "after"])
def test_a_total_of_all_that_is_too_low_once_hides_nothing(tmp_path: Path, wrong: str) -> None:
    """In one command, and in one after it that asks for some of the windows again."""
    is_ill = True

    def answer(vendor: HostileList, asked: Question) -> Said:
        page = vendor.page(asked)
        span_s = asked.end_s - asked.start_s
        if is_ill and asked.size == 1:
            is_first = not any(one.size > 1 and one.end_s - one.start_s > 40_000 for one in seen)
            if is_first is (wrong == "before"):
                page["total"] = 0
        elif is_ill and 200 < span_s < 10_000:
            if asked.start_s <= MIDNIGHT_S + 43_200 < asked.end_s:
                page = {"total": 0, "records": []}
            elif asked.start_s <= MIDNIGHT_S + 20_000 < asked.end_s:
                return Said(b"", 500)
        seen.append(asked)
        return Said(envelope(page))

    seen: list[Question] = []
    with HostileList(calls_of(1_000, apart_s=80.0), answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert done.code == UNSETTLED
        is_ill = False
        for _ in range(3):
            done = listed.run()
            assert done.code == UNSETTLED or not listed.missing(), done.err
            if done.code == GOOD:
                break
        assert done.code == GOOD, done.err


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (Said(b"", 500), "http_500"),
        (refused("-18"), "-18"),
        (Said(envelope({"total": None})), "not_a_page"),
        (Said(b"<html>"), "not_an_envelope"),
    ],
)
def test_a_total_of_all_that_fails_leaves_the_list_unsettled(
    tmp_path: Path, said: Said, cause: str
) -> None:
    """Else an empty page in place of a full one goes by unseen, as long as the total fails too."""

    def answer(vendor: HostileList, asked: Question) -> Said:
        is_in_quarter = 0 < asked.start_s - MIDNIGHT_S < asked.end_s - MIDNIGHT_S < 20_000
        if is_ill and asked.size == 1:
            return said
        if is_ill and is_in_quarter and asked.end_s - asked.start_s > 200:
            return Said(envelope({"total": 0, "records": []}))
        return Said(envelope(vendor.page(asked)))

    is_ill = False
    with HostileList(calls_of(600, apart_s=100.0), answer, by="hangupTime") as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        listed.run(probe=vendor.calls[300].voice_id)
        is_ill = True
        done = listed.run()
        assert vendor.requests <= LONGEST
        (window,) = done.summary["unsettled"]
        assert (done.code, window["cause"]) == (UNSETTLED, cause), done.err
        is_ill = False
        done = listed.run()
        assert done.code == GOOD, done.err
        assert not listed.missing()


def test_a_no_to_the_total_of_all_is_no_failure(tmp_path: Path) -> None:
    """There are versions of the vendor that have no page of one record, and none so wide."""

    def answer(vendor: HostileList, asked: Question) -> Said:
        return refused("-22") if asked.size == 1 else Said(envelope(vendor.page(asked)))

    with HostileList(calls_of(300), answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert done.code == GOOD, done.err
        assert not listed.missing()


@pytest.mark.parametrize("is_probed", [True, False])
def test_a_total_that_is_capped_is_counted_in_parts(tmp_path: Path, is_probed: bool) -> None:
    """Search engines count no further than to 10,000, unless they are asked to."""

    def answer(vendor: HostileList, asked: Question) -> Said:
        page = vendor.page(asked)
        return Said(envelope(page | {"total": min(1_000, page["total"])}))

    calls = calls_of(3 * 1_500, apart_s=57.0, first_s=-2 * 86_400.0)
    with HostileList(calls, answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        if is_probed:
            listed.run(probe=calls[700].voice_id)
        done = listed.run(first=day(3), last=day())
        assert done.code == GOOD, done.err
        assert not listed.missing()
        assert vendor.requests <= LONGEST


def test_a_vendor_that_fails_to_count_many_days_is_asked_for_fewer(tmp_path: Path) -> None:
    def answer(vendor: HostileList, asked: Question) -> Said:
        span_s = asked.end_s - asked.start_s
        return Said(b"", 504) if span_s > 5 * 86_400 else Said(envelope(vendor.page(asked)))

    calls = calls_of(20 * 50, apart_s=1_728.0, first_s=-19 * 86_400.0)
    with HostileList(calls, answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run(first=day(20), last=day())
        assert done.code == GOOD, done.err
        assert vendor.requests <= LONGEST
        assert not listed.missing()


@pytest.mark.parametrize("ends", [(True, True), (True, False), (False, True)])
def test_the_total_of_a_long_span_is_asked_for_in_parts_that_lose_no_call(
    tmp_path: Path, ends: tuple[bool, bool]
) -> None:
    """A call each hour of 40 days, so also in one of the seconds where the parts meet."""
    totals: list[Question] = []

    def answer(vendor: HostileList, asked: Question) -> Said:
        if asked.size == 1:
            totals.append(asked)
        page = vendor.page(asked)
        if asked.end_s - asked.start_s > 31 * 86_400:
            return refused("-22")
        return Said(envelope(page))

    for late_s in (0.0, 1.0):
        calls = calls_of(40 * 24, apart_s=3_600.0, first_s=3_599.0 + late_s - 39 * 86_400)
        totals.clear()
        with HostileList(calls, answer, ends=ends) as vendor:
            out = tmp_path / f"out-{late_s}"
            done = Discovery(out, vendor, **QUICK).run(first=day(36), last=day())
            assert done.code == GOOD, done.err
            assert len(totals) == 12, "two parts and where they meet, twice, before and after"
            before, after = totals[:3], totals[6:9]
            assert [one.start_s for one in before] == [one.start_s for one in after]
            assert before[0].end_s < before[2].start_s, "no call counts twice"
            assert before[1].start_s < before[0].end_s < before[2].start_s < before[1].end_s
            assert before[0].start_s == MIDNIGHT_S - 37 * 86_400 - 1


def test_of_calls_that_come_or_leave_meanwhile_none_is_missing(tmp_path: Path) -> None:
    def answer(vendor: HostileList, asked: Question) -> Said:
        if asked.number == 9:
            del vendor.calls[200:260:9]
        if asked.number == 19:
            vendor.calls += [
                Call(f"late-{one.voice_id}", one.submit_s + 1) for one in vendor.calls[:5]
            ]
        return Said(envelope(vendor.page(asked)))

    with HostileList(calls_of(2_000), answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert done.code == GOOD, done.err


@pytest.mark.parametrize("by", ["submitTime", "callTime", "hangupTime"])
@pytest.mark.parametrize("ends", [(True, True), (False, False)])
def test_however_windows_are_cut_a_busy_second_is_found(
    tmp_path: Path, by: str, ends: tuple[bool, bool]
) -> None:
    def answer(vendor: HostileList, asked: Question) -> Said:
        page = vendor.page(asked)
        shuffled(vendor, asked, page)
        return Said(envelope(page))

    with HostileList([*calls_of(60), *burst(250)], answer, by=by, ends=ends) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert done.code == GOOD, done.err
        assert not listed.missing()


@pytest.mark.parametrize(
    ("calls", "code", "found"),
    [
        (named(lambda at: f"{at:064}"), GOOD, 200),
        (named(lambda at: f"{at:070}"), UNSETTLED, 0),
        (named(lambda at: f"2611 {at:06}"), UNSETTLED, 0),
        (named(lambda at: f"../{at:06}/x"), UNSETTLED, 0),
        (named(lambda at: f"{at:06}\n01"), UNSETTLED, 0),
        (named(lambda at: "" if at % 9 == 0 else f"{at:020}"), UNSETTLED, 177),
    ],
)
def test_ids_that_can_not_be_are_never_taken(
    tmp_path: Path, calls: list[Call], code: int, found: int
) -> None:
    with HostileList(calls) as vendor:
        done = Discovery(tmp_path / "out", vendor, **QUICK).run()
        assert (done.code, done.summary["listed"]) == (code, found), done.err
        causes = {one["cause"] for one in done.summary["unsettled"]}
        assert causes == ({"no_id"} if code else set())


def test_one_id_in_two_days_counts_once(tmp_path: Path) -> None:
    calls = named(lambda at: f"{at:020}")
    before = [Call(one.voice_id, one.submit_s - 86_400) for one in calls]
    with HostileList([*calls, *before]) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        assert done.code == GOOD, done.err
        assert done.summary["listed"] + done.summary["outside"] == 200


def test_calls_of_the_day_before_are_outside(tmp_path: Path) -> None:
    calls = named(lambda at: f"{at:020}")
    before = [Call(f"b{one.voice_id}", one.submit_s - 43_200) for one in calls]
    with HostileList([*calls, *before]) as vendor:
        done = Discovery(tmp_path / "out", vendor, **QUICK).run()
        assert done.code == GOOD, done.err
        today = sum(one.submit_s >= MIDNIGHT_S for one in [*calls, *before])
        assert done.summary["listed"] == today
        assert done.summary["outside"] == len(calls) + len(before) - today > 0


def test_what_comes_while_it_is_listed_is_there_the_next_time(tmp_path: Path) -> None:
    def answer(vendor: HostileList, asked: Question) -> Said:
        if asked.number < 60 and asked.number % 2:
            vendor.calls.append(Call(f"late-{asked.number:06}", MIDNIGHT_S + 36_000 + asked.number))
        return Said(envelope(vendor.page(asked)))

    with HostileList(calls_of(400), answer) as vendor:
        listed = Discovery(tmp_path / "out", vendor, **QUICK)
        done = listed.run()
        while vendor.requests < 60 or done.code == UNSETTLED:
            done = listed.run()
        done = listed.run()
        assert done.code == GOOD, done.err
        assert not listed.missing()


def _lies_of_the_code(call: Call) -> Page:
    return call.record() | {"terminationCode": random.choice(["0", "200"])}


def _other_submit_time(call: Call) -> Page:
    return Call(call.voice_id, call.submit_s + 3).record()


def _one_field_more(call: Call) -> Page:
    return call.record() | {"carrier": "X"}


def _number(call: Call) -> Page:
    return call.record() | {"callee": "8613900139000"}


@pytest.mark.parametrize(
    ("single", "columns"),
    [
        (_other_submit_time, {"submit_time", "call_time", "answer_time", "hangup_time"}),
        (_one_field_more, {"extra.carrier"}),
        (_number, {"callee"}),
        (_lies_of_the_code, {"termination_code"}),
    ],
)
def test_a_comparison_names_what_differs_and_no_value(
    tmp_path: Path, single: Callable[[Call], Page], columns: set[str]
) -> None:
    with HostileList(calls_of(150), single=single) as vendor:
        done = Discovery(tmp_path / "out", vendor, **QUICK).run(compare=120)
        assert done.code == 3, done.err
        told = done.summary["comparison"]
        assert {name for one in told["differences"] for name in one["columns"]} == columns
        shown = json.dumps(done.summary) + done.err
        assert "86138001" not in shown
        assert "86139001" not in shown


def test_a_field_that_is_left_out_may_differ(tmp_path: Path) -> None:
    with HostileList(calls_of(150), single=_one_field_more) as vendor:
        flags = {**QUICK, "output__omit_fields": ["carrier"]}
        done = Discovery(tmp_path / "out", vendor, **flags).run(compare=120)
        assert done.code == GOOD, done.err
        assert done.summary["is_believed"]
