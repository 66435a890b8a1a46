"""voiceIds to rehearse with."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from harvester.errors import UsageError
from harvester.simulator.ids import (
    VENDOR_ZONE,
    last_whole_day,
    make_ids,
    time_in_id,
    write_ids,
)

END = date(2026, 9, 30)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_hundred_thousand_ids_are_distinct(shuffled: bool) -> None:
    ids = list(make_ids(100_000, 7, end=END, shuffled=shuffled))
    assert len(set(ids)) == 100_000


def test_many_ids_of_one_day_are_distinct() -> None:
    assert len(set(make_ids(300_000, 3, days=1, end=END))) == 300_000


def test_same_seed_and_end_give_the_same_ids_and_another_seed_gives_others() -> None:
    ids = list(make_ids(1000, 7, end=END))
    assert ids == list(make_ids(1000, 7, end=END))
    assert not set(ids) & set(make_ids(1000, 8, end=END))


def test_shuffled_ids_are_the_same_ids_in_another_order() -> None:
    in_order = list(make_ids(5000, 7, end=END))
    shuffled = list(make_ids(5000, 7, end=END, shuffled=True))
    assert shuffled != in_order
    assert sorted(shuffled) == sorted(in_order)


def test_ids_have_the_lengths_of_the_vendors_samples() -> None:
    ids = list(make_ids(2000, 1, end=END))
    assert {len(voice_id) for voice_id in ids} == {19, 20}
    assert all(voice_id.isdigit() for voice_id in ids)
    assert any(int(voice_id) > 2**64 - 1 for voice_id in ids)


def test_ids_are_spread_over_the_days_up_to_the_last() -> None:
    days = {
        told.date() for voice_id in make_ids(2000, 1, days=45, end=END) if (told := _time(voice_id))
    }
    assert days == {END - timedelta(days=back) for back in range(45)}


def test_an_id_tells_its_time_with_and_without_type_digit() -> None:
    moment = datetime(2022, 5, 18, 3, 41, 48, tzinfo=UTC)
    assert time_in_id("12205181141482000029") == moment
    assert time_in_id("2205181141482000029") == moment
    assert time_in_id("22051811414820000291") == moment


@pytest.mark.parametrize("text", ["", "abc", "220518", "9999999999999999999", "\uff12" * 19])
def test_an_id_without_a_time_tells_none(text: str) -> None:
    assert time_in_id(text) is None


@pytest.mark.parametrize(
    ("now", "day"),
    [
        (datetime(2028, 2, 29, 15, 59, 59, tzinfo=UTC), date(2028, 2, 28)),
        (datetime(2028, 2, 29, 16, 0, tzinfo=UTC), date(2028, 2, 29)),
        (datetime(2027, 1, 1, 0, 0, tzinfo=VENDOR_ZONE), date(2026, 12, 31)),
    ],
)
def test_the_last_whole_day_is_the_vendors(now: datetime, day: date) -> None:
    assert last_whole_day(now) == day


def test_no_ids_are_made_of_none() -> None:
    assert list(make_ids(0, end=END, shuffled=True)) == []
    assert len(list(make_ids(1, end=END, shuffled=True))) == 1


def test_ids_are_written_one_a_line(tmp_path: Path) -> None:
    plain, table = tmp_path / "ids.txt", tmp_path / "ids.csv"
    assert write_ids(plain, 10, 5, end=END) == 10
    write_ids(table, 10, 5, end=END)
    ids = list(make_ids(10, 5, end=END))
    assert plain.read_text().splitlines() == ids
    assert table.read_text().splitlines() == ["voiceId", *ids]


@pytest.mark.parametrize(
    ("count", "days", "end"),
    [(-1, 45, END), (1, 0, END), (1, 45, date(2020, 1, 1)), (1, 45, date(2100, 1, 1))],
)
def test_ids_that_make_no_sense_are_refused(count: int, days: int, end: date) -> None:
    with pytest.raises(UsageError, match="ids"):
        make_ids(count, days=days, end=end)


def _time(voice_id: str) -> datetime | None:
    told = time_in_id(voice_id)
    return told.astimezone(VENDOR_ZONE) if told else None
