"""The simulator's list: what it says of a window, and its habits."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from harvester.errors import UsageError
from harvester.simulator import SimulatorOptions
from harvester.simulator.habits import Habits, parse_habits
from harvester.simulator.ids import VENDOR_ZONE, make_ids, time_in_id
from harvester.simulator.listing import RecordList
from harvester.simulator.records import Records

END = date(2023, 1, 10)
NOW = datetime(2023, 1, 11, tzinfo=VENDOR_ZONE).timestamp()
MIDNIGHT = datetime(2023, 1, 10, tzinfo=VENDOR_ZONE)


def of(habits: str, **options: Any) -> RecordList:
    return RecordList(SimulatorOptions(listed=habits, **options), END)


def ask(
    vendor: RecordList,
    hours: tuple[float, float] = (0, 24),
    current: object = 1,
    size: object = 100,
) -> Any:
    start, end = (MIDNIGHT + timedelta(hours=hour) for hour in hours)
    params = {"strTime": start.isoformat(), "endTime": end.isoformat()}
    body = json.dumps({"current": current, "size": size, "params": params}).encode()
    return json.loads(vendor.answer(body, NOW).body)


def ids(answer: Any) -> list[str]:
    return [one["voiceId"] for one in answer["data"]["records"]]


def truth(vendor: RecordList) -> list[str]:
    found = vendor.truth()["ids"]
    assert isinstance(found, list)
    return found


def test_it_lists_the_calls_whose_ids_are_written_and_others() -> None:
    vendor = of("calls=300,extra=20,burst=5", drift=False)
    ours = set(make_ids(300, 1, end=END, days=1))
    listed = truth(vendor)
    assert len(set(listed) - ours) == pytest.approx(25, abs=2)
    assert len(ours - set(listed)) < 10, "those whose record the vendor does not have"


def test_pages_of_a_window_without_ties_are_all_of_it() -> None:
    vendor = of("calls=230", drift=False)
    first = ask(vendor)["data"]
    assert (first["total"], first["size"], first["pages"]) == (len(truth(vendor)), 100, 3)
    pages = [ids(ask(vendor, current=page)) for page in (1, 2, 3)]
    assert sorted(one for page in pages for one in page) == truth(vendor)
    assert ids(ask(vendor, current=4)) == []
    assert ids(ask(vendor, (6, 7)))
    times = [time_in_id(one) for one in ids(ask(vendor, (6, 7)))]
    window = [(MIDNIGHT + timedelta(hours=hour)).astimezone(UTC) for hour in (6, 7)]
    assert all(window[0] <= at <= window[1] for at in times if at)


def test_within_a_second_rows_come_in_another_order_on_each_page() -> None:
    vendor = of("calls=0,burst=250", drift=False)
    pages = [ids(ask(vendor, current=page)) for page in (1, 2, 3)]
    assert sum(map(len, pages)) == len(truth(vendor))
    assert len({one for page in pages for one in page}) < len(truth(vendor))
    assert pages[0] == ids(ask(vendor))


@pytest.mark.parametrize(
    ("ends", "found"), [("both", (1, 1)), ("start", (1, 0)), ("end", (0, 1)), ("none", (0, 0))]
)
def test_it_counts_the_ends_that_it_is_told_to(ends: str, found: tuple[int, int]) -> None:
    vendor = of(f"calls=0,burst=1,ends={ends}", drift=False)
    counted = tuple(ask(vendor, hours)["data"]["total"] for hours in ((12, 13), (11, 12)))
    assert counted == found


def test_late_rows_come_and_are_told() -> None:
    vendor = of("calls=80,late=0.5:10", drift=False)
    before = vendor.truth()["late_left"]
    assert isinstance(before, int)
    assert before > 10
    totals = [ask(vendor)["data"]["total"] for _ in range(11)]
    assert totals[0] < totals[-1] == len(truth(vendor))
    assert vendor.truth()["late_left"] == 0


def test_habits_of_pages() -> None:
    capped = ask(of("calls=90,cap=30", drift=False))["data"]
    assert (len(capped["records"]), capped["size"], capped["total"] > 80) == (30, 100, True)
    overflow = of("calls=90,overflow", drift=False)
    assert ids(ask(overflow, current=7)) == ids(ask(overflow))
    repeat = of("calls=190,repeat", drift=False)
    assert ids(ask(repeat, current=2)) == ids(ask(repeat))
    assert ask(of("calls=9,text", drift=False))["data"]["total"] == str(len(truth(of("calls=9"))))
    assert ask(of("calls=9,total=5"))["data"]["total"] == len(truth(of("calls=9"))) + 5
    nameless = ask(of("calls=90,noid=1", drift=False))["data"]["records"]
    assert nameless
    assert not any("voiceId" in one for one in nameless)


def test_records_change() -> None:
    vendor = of("calls=90,changed=1", drift=False)
    first, second = (
        {one["voiceId"]: one["cost"] for one in ask(vendor)["data"]["records"]} for _ in range(2)
    )
    assert first.keys() == second.keys()
    assert first != second


def test_a_list_that_lies_does_so_of_the_same_calls_each_time() -> None:
    honest, liar = of("calls=90", drift=False), of("calls=90,lies=9", drift=False)
    told = [[one["cost"] for one in ask(vendor)["data"]["records"]] for vendor in (honest, liar)]
    assert 3 < sum(one != other for one, other in zip(*told, strict=True)) < 25
    assert [one["cost"] for one in ask(liar)["data"]["records"]] == told[1]


def test_a_list_may_code_success_otherwise() -> None:
    codes = [
        {one["terminationCode"] for one in ask(of(habits, drift=False))["data"]["records"]}
        for habits in ("calls=90", "calls=90,zero")
    ]
    assert ("200" in codes[0], "0" in codes[0]) == (True, False)
    assert codes[1] == codes[0] - {"200"} | {"0"}


def test_a_record_is_what_an_answer_about_it_alone_would_be() -> None:
    options = SimulatorOptions(listed="calls=90", billing="rerated=1", open_asks=1)
    records = Records(options)
    vendor = RecordList(options, END, records)
    changed = 0
    for one in ask(vendor)["data"]["records"]:
        for _ in range(2):
            answer = json.loads(records.answer(one["voiceId"], 0.0, now_s=NOW).body)["data"]
        changed += answer != one
    assert changed > 30
    for one in ask(vendor)["data"]["records"]:
        assert json.loads(records.answer(one["voiceId"], 0.0, now_s=NOW).body)["data"] == one


@pytest.mark.parametrize(
    "question",
    [{"size": 0}, {"size": 101}, {"current": 0}, {"current": "1"}, {"hours": (3, 2)}],
)
def test_a_question_that_makes_no_sense_is_refused(question: Any) -> None:
    assert ask(of("calls=9"), **question)["status"] in ("-22", -22)


def test_what_is_too_old_or_too_long_is_out_of_range() -> None:
    assert ask(of("calls=9"), (0, 24 * 32))["status"] == "-25"
    assert ask(of("calls=9", keep_days=1.5), (-24, 0))["status"] == "-25"


def test_habits_are_read_and_what_is_none_is_refused() -> None:
    assert parse_habits("none") is None
    assert parse_habits("calls=5,late=0.1:7,by=hangup,overflow") == Habits(
        calls=5, late=0.1, late_requests=7, by="hangup", overflow=True
    )
    for wrong in ("many=1", "calls=x", "late=2", "by=night", "overflow=1", "cap=0", "cap=101"):
        with pytest.raises(UsageError, match="list: "):
            parse_habits(wrong)
