"""By which time a list is cut, as one call shows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product

import pytest

from harvester.client.record_group import Listed, Page, Query
from harvester.client.verdicts import RawRecord, Record
from harvester.errors import UsageError
from harvester.pipeline.listing.probing import find_filter, find_unnamed
from harvester.pipeline.listing.windows import Window

ID = "26110108100000000001"
SUBMIT = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
TIMES = {"submitTime": SUBMIT, "callTime": SUBMIT + 4, "hangupTime": SUBMIT + 60}


@dataclass
class Vendor:
    """Lists one call, by one of its times."""

    by: str | None = "submitTime"
    ends: tuple[bool, bool] = (True, True)
    times: dict[str, object] = field(default_factory=lambda: dict(TIMES))
    total: int = 1
    fails: str = ""
    pages_fail: str = ""
    heeds_nothing: bool = False
    others: int = 0
    """Records of other calls on each page."""
    stops_after: int = 99
    is_stopped: bool = False

    def raw(self) -> RawRecord:
        told = {
            name: datetime.fromtimestamp(at, UTC).isoformat() if isinstance(at, int | float) else at
            for name, at in self.times.items()
        }
        body = json.dumps({"status": "0", "data": {"voiceId": ID, **told}}).encode()
        return RawRecord(ID, body, True)

    async def record(self, voice_id: str) -> Record | str | None:
        assert voice_id == ID
        if self.is_stopped:
            return None
        return self.fails or Record(True, records=(self.raw(),))

    async def page(self, query: Query) -> Page | str | None:
        self.stops_after -= 1
        if self.stops_after < 0:
            return None
        if self.pages_fail:
            return self.pages_fail
        at = self.times[self.by] if self.by else -1
        assert isinstance(at, int | float)
        starts, ends = self.ends
        is_in = (query.start_s <= at if starts else query.start_s < at) and (
            at <= query.end_s if ends else at < query.end_s
        )
        if is_in or self.heeds_nothing:
            return Page(1, (Listed(self.raw(), None),), 1)
        return Page(0 if self.total == 1 else self.total, (), self.others)


@pytest.mark.parametrize(("by", "ends"), list(product(TIMES, product((True, False), repeat=2))))
async def test_it_finds_the_time_and_whether_the_start_counts(
    by: str, ends: tuple[bool, bool]
) -> None:
    found = await find_filter(Vendor(by, ends), ID, 7)
    assert found is not None
    assert (found.by, found.is_start_counted) == (by, ends[0])
    assert (found.voice_id, found.found_ms) == (ID, 7)


async def test_a_fraction_of_a_second_is_no_proof_that_the_start_counts() -> None:
    times: dict[str, object] = {**TIMES, "submitTime": SUBMIT + 0.5}
    found = await find_filter(Vendor(ends=(False, True), times=times), ID, 7)
    assert found is not None
    assert not found.is_start_counted


@pytest.mark.parametrize(
    ("vendor", "why"),
    [
        (Vendor(fails="no_record"), "no_record"),
        (Vendor(times={**TIMES, "hangupTime": ""}), "not over"),
        (Vendor(times={**TIMES, "callTime": SUBMIT + 1}), "apart"),
        (Vendor(by=None), "around none of its times"),
        (Vendor(heeds_nothing=True), "around several of its times"),
        (Vendor(pages_fail="-25"), r"does not answer \(-25\)"),
        (Vendor(by=None, total=300), "more calls than a page holds"),
        (Vendor(by=None, total=101, others=100), "more calls than a page holds"),
        (Vendor(by=None, total=100, others=100), "around none of its times"),
    ],
)
async def test_a_call_that_can_not_show_it_is_refused(vendor: Vendor, why: str) -> None:
    with pytest.raises(UsageError, match=why) as told:
        await find_filter(vendor, ID, 7)
    assert told.value.code == "listing.probe"


@pytest.mark.parametrize(
    "times",
    [
        {**TIMES, "callTime": SUBMIT + 3},
        {"submitTime": SUBMIT + 9, "callTime": SUBMIT, "hangupTime": SUBMIT + 60},
    ],
)
async def test_three_seconds_between_times_in_whatever_order_are_enough(
    times: dict[str, object],
) -> None:
    found = await find_filter(Vendor(times=times), ID, 7)
    assert found is not None
    assert found.by == "submitTime"


async def test_where_the_command_stops_before_the_record_nothing_is_found() -> None:
    assert await find_filter(Vendor(is_stopped=True), ID, 7) is None


@pytest.mark.parametrize("pages", range(4))
async def test_where_the_command_stops_nothing_is_found(pages: int) -> None:
    assert await find_filter(Vendor(stops_after=pages), ID, 7) is None


DAYS = Window(SUBMIT - 86_400, SUBMIT + 2 * 86_400)


@dataclass
class Many:
    """Lists calls, by one of their times; counts what it is asked for."""

    calls: dict[str, dict[str, float]]
    by: str = "submitTime"
    others_by: dict[str, str] = field(default_factory=dict)
    """Calls that are listed by another time."""
    unknown: frozenset[str] = frozenset()
    """Calls that only the list has."""
    fails: str = ""
    stops_after: int = 999
    asked: list[Query] = field(default_factory=list)
    named: list[str] = field(default_factory=list)

    def raw(self, voice_id: str) -> RawRecord:
        told = {
            name: datetime.fromtimestamp(at, UTC).isoformat()
            for name, at in self.calls[voice_id].items()
        }
        body = json.dumps({"status": "0", "data": {"voiceId": voice_id, **told}}).encode()
        return RawRecord(voice_id, body, True)

    async def record(self, voice_id: str) -> Record | str | None:
        self.named.append(voice_id)
        if voice_id in self.unknown:
            return "no_record"
        return Record(True, records=(self.raw(voice_id),))

    async def page(self, query: Query) -> Page | str | None:
        self.asked.append(query)
        if len(self.asked) > self.stops_after:
            return None
        if self.fails:
            return self.fails
        found = [
            Listed(self.raw(voice_id), None)
            for voice_id, times in self.calls.items()
            if query.start_s <= times[self.others_by.get(voice_id, self.by)] <= query.end_s
        ]
        return Page(len(found), tuple(found[:100]), min(100, len(found)))


def some(count: int, *, apart_s: int = 5) -> dict[str, dict[str, float]]:
    """Calls all over the days, every few minutes."""
    times = {
        f"call-{at}": DAYS.start_s + 300.0 + at * (DAYS.seconds - 600) // count
        for at in range(count)
    }
    return {
        voice_id: {"submitTime": at, "callTime": at + apart_s, "hangupTime": at + 60}
        for voice_id, at in times.items()
    }


def is_id(text: str) -> bool:
    return text.startswith("call-")


@pytest.mark.parametrize("by", TIMES)
async def test_three_calls_of_the_list_that_agree_are_enough(by: str) -> None:
    vendor = Many(some(90), by)
    found = await find_unnamed(vendor, DAYS, 7, is_id)
    assert found is not None
    assert (found.by, found.found_ms, found.is_named) == (by, 7, False)
    assert not found.is_start_counted, "that is not taken on the word of such calls"
    assert len(set(vendor.named)) == 3
    at = sorted(vendor.calls[one]["submitTime"] for one in vendor.named)
    assert at[1] - at[0] > 3_600, "of three places"
    assert at[2] - at[1] > 3_600
    assert len(vendor.asked) + len(vendor.named) <= 20


async def test_days_are_looked_at_in_windows_that_the_list_takes() -> None:
    vendor = Many({})
    assert await find_unnamed(vendor, Window(0, 59 * 86_400), 7, is_id) is None
    assert vendor.asked
    assert all(one.end_s - one.start_s <= 86_400 for one in vendor.asked)
    vendor = Many({})
    assert await find_unnamed(vendor, Window(5, 5), 7, is_id) is None
    assert not vendor.asked


async def test_the_clearest_call_of_a_page_is_asked_for_first() -> None:
    calls = some(90)
    for voice_id in ("call-7", "call-40", "call-80"):
        calls[voice_id]["callTime"] += 15
    # Of another order than the page's and than that of its name.
    calls["call-5"]["submitTime"], calls["call-5"]["callTime"] = (
        calls["call-5"]["callTime"] + 18,
        calls["call-5"]["submitTime"],
    )
    vendor = Many(calls)
    assert await find_unnamed(vendor, DAYS, 7, is_id) is not None
    assert vendor.named[0] == "call-5"
    assert "call-40" in vendor.named


async def test_a_call_that_is_not_over_is_not_asked_for() -> None:
    calls = some(12)
    for voice_id in list(calls)[::2]:
        del calls[voice_id]["hangupTime"]
    vendor = Many(calls)
    assert await find_unnamed(vendor, DAYS, 7, is_id) is not None
    assert all("hangupTime" in calls[one] for one in vendor.named)


async def test_a_call_that_shows_nothing_is_passed_over() -> None:
    calls = some(6)
    for voice_id in ("call-0", "call-3"):
        calls[voice_id]["callTime"] = calls[voice_id]["submitTime"] + 1
    vendor = Many(calls, unknown=frozenset({"call-5"}))
    found = await find_unnamed(vendor, DAYS, 7, is_id)
    assert found is not None
    assert not {"call-0", "call-3"} & set(vendor.named), "their times are known from the page"


@pytest.mark.parametrize(
    "vendor",
    [
        Many(some(2)),
        Many(some(90, apart_s=2)),
        Many(some(90), "hangupTime", {f"call-{at}": "submitTime" for at in range(0, 90, 2)}),
        Many(some(90), unknown=frozenset(some(90))),
        Many(some(90), fails="-25"),
        Many({f"../{name}": times for name, times in some(90).items()}),
    ],
    ids=["two", "close", "not agreeing", "no records", "no list", "no ids"],
)
async def test_where_it_is_not_certain_it_is_not_known(vendor: Many) -> None:
    assert await find_unnamed(vendor, DAYS, 7, is_id) is None
    assert len(vendor.asked) + len(vendor.named) <= 60
    assert all(is_id(one) for one in vendor.named), "such an id must not get into an address"
    if vendor.fails:
        assert len(vendor.asked) == 1, "the listing will tell why"


@pytest.mark.parametrize("pages", range(15))
async def test_where_the_command_stops_nothing_is_found_by_the_list(pages: int) -> None:
    assert await find_unnamed(Many(some(90), stops_after=pages), DAYS, 7, is_id) is None
    assert await find_unnamed(Many(some(90), stops_after=15), DAYS, 7, is_id) is not None
