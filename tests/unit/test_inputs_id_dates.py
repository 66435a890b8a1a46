"""The age of ids, by column: the same as `clean.dated` says of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.inputs.id_dates import OldIds, between, instant, stamps
from harvester.inputs.voice_id import dated

_CLOCK = timezone(timedelta(hours=8))
_TIMES = st.integers(1_388_534_400, 2_556_100_800).map(  # 2014 to 2051
    lambda at: datetime.fromtimestamp(at, _CLOCK).strftime("%y%m%d%H%M%S")
)
_IDS = st.one_of(
    st.builds(lambda kind, at, tail: kind + at + tail, st.sampled_from(["", "1", "2", "3"]), _TIMES,
              st.text("0123456789", min_size=6, max_size=8)),
    st.text("0123", min_size=18, max_size=21),
    st.text("019aZ_-", max_size=20),
)  # fmt: skip


@given(st.lists(_IDS, max_size=8))
def test_a_column_is_dated_as_each_of_its_ids_is(ids: list[str]) -> None:
    told = [
        None if at is None else instant(at) for at in stamps(pa.array(ids, pa.string())).to_pylist()
    ]
    assert told == [dated(voice_id) for voice_id in ids]


@pytest.mark.parametrize("day", ["240229", "230228", "230430", "491231"])
def test_the_last_days_of_months_are_dates(day: str) -> None:
    assert stamps(pa.array([f"{day}1200000000001"])).to_pylist() == [f"{day}120000"]


@pytest.mark.parametrize("day", ["230229", "230431", "231301", "230100", "140101", "500101"])
def test_days_that_are_none_are_no_dates(day: str) -> None:
    # A type digit that no date can begin with: only the second reading could be one.
    assert stamps(pa.array([f"9{day}1200000000001"])).to_pylist() == [None]


def test_the_oldest_come_first_however_they_are_portioned() -> None:
    before = datetime(2026, 9, 24, tzinfo=UTC)
    old = OldIds(before, shown=3)
    portions = [
        ["2609021200000000001", "2612010000000000001"],
        ["2607011200000000001", "x"],
        ["2608011200000000001", "2609011200000000001", "2607011200000000000"],
        [],
    ]
    for portion in portions:
        old.add(pa.array(portion, pa.string()))
    assert old.count == 5
    assert [voice_id for _, voice_id in old.oldest] == [
        "2607011200000000000",
        "2607011200000000001",
        "2608011200000000001",
    ]


def test_the_border_is_drawn_by_the_vendors_clock() -> None:
    old = OldIds(datetime(2026, 9, 24, 0, 0, tzinfo=UTC))
    old.add(pa.array(["2609240759590000001", "2609240800000000001"]))
    assert [voice_id for _, voice_id in old.oldest] == ["2609240759590000001"]
    assert instant(old.oldest[0][0]) == datetime(2026, 9, 24, 7, 59, 59, tzinfo=_CLOCK)


def test_an_id_is_between_two_stamps_by_the_earlier_of_its_readings() -> None:
    ids = {
        "2611220000001000001": True,
        "12611220000001000001": True,
        "2611210000001000001": False,  # not after the first
        "2611230000001000001": True,
        "2611230000011000001": False,  # after the second
        # 26-11-22 08:21:12 without a type digit, 16-11-22 11:22:11 with one
        "2611220821121000001": True,
        "21611220821121000001": False,
        "abc": False,
        "": False,
    }
    found = between(pa.array(ids, pa.string()), "261121000000", "261123000000")
    assert dict(zip(ids, found.to_pylist(), strict=True)) == ids
    assert between(pa.array([], pa.string()), "1", "2").to_pylist() == []


def test_an_id_that_can_be_read_as_two_dates_is_as_old_as_the_earlier_and_dated_by_the_later() -> (
    None
):
    # 2023-11-01 10:11:01 without a type digit, 2031-10-11 01:10:10 with one
    both = pa.array(["23110110110100000001"])
    assert between(both, "231101000000", "231102000000").to_pylist() == [True]
    assert between(both, "311011000000", "311012000000").to_pylist() == [False]
    assert stamps(both).to_pylist() == ["311011011010"]
    assert dated(both[0].as_py()) == datetime(2031, 10, 11, 1, 10, 10, tzinfo=_CLOCK)
