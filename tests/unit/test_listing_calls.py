"""The calls that a listing brought: each once, as last seen, and of its days alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.pipeline.listing.calls import CallCounts, count_rows, write_calls
from harvester.pipeline.listing.days import of_days
from harvester.pipeline.listing.rows import SCHEMA
from harvester.storage.duckdb_engine import Room

DAYS = of_days(date(2026, 11, 3), date(2026, 11, 4))
MIDNIGHT = datetime(2026, 11, 2, 16, tzinfo=UTC)
"""The 3rd of November begins on the vendor's clock."""
SECOND = timedelta(seconds=1)


def call(
    voice_id: str, submit: datetime | None, cost: str = "0.25", asked_s: int = 0
) -> dict[str, Any]:
    """A listed call, as a page had it so many seconds after the 5th began."""
    return {
        "voice_id": voice_id,
        "submit_time": submit,
        "answered": True,
        "charged_duration_s": 60,
        "cost": Decimal(cost),
        "currency": "USD",
        "is_final": True,
        "is_rated": True,
        "asked_at": datetime(2026, 11, 5, tzinfo=UTC) + asked_s * SECOND,
    }


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room("100MB", tmp_path)


def files(folder: Path, *of: Sequence[dict[str, Any]]) -> list[Path]:
    """A file for each."""
    paths = [folder / f"listing-{n}.parquet" for n in range(len(of))]
    for path, rows in zip(paths, of, strict=True):
        pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), path)
    return paths


def test_a_call_that_came_more_than_once_counts_once_as_it_was_seen_last(
    tmp_path: Path, room: Room
) -> None:
    noon = MIDNIGHT + timedelta(hours=12)
    listed = files(
        tmp_path,
        [call("a", noon, "0.50", asked_s=9), call("b", noon + SECOND)],
        [call("a", noon, "0.25", asked_s=1), call("c", noon - SECOND)],
        # Its price came late, and is the newest word of all.
        [call("b", noon + SECOND, "0.75", asked_s=20)],
    )
    to = tmp_path / "calls.parquet"
    assert write_calls(listed, DAYS, to, room) == CallCounts(calls=3, undated=0, outside=0)
    rows = [(row["voice_id"], row["cost"]) for row in pq.read_table(to).to_pylist()]
    assert rows == [("c", Decimal("0.25")), ("a", Decimal("0.50")), ("b", Decimal("0.75"))]
    assert count_rows(listed, room) == 3


def test_calls_of_other_days_are_left_out_and_told_and_those_without_a_time_stay(
    tmp_path: Path, room: Room
) -> None:
    end = MIDNIGHT + timedelta(days=2)
    rows = [
        call("before", MIDNIGHT - SECOND),
        call("first", MIDNIGHT),
        call("last", end - timedelta(milliseconds=1)),
        call("after", end),
        call("undated", None),
    ]
    to = tmp_path / "calls.parquet"
    found = write_calls(files(tmp_path, rows), DAYS, to, room)
    assert found == CallCounts(calls=3, undated=1, outside=2)
    assert set(pq.read_table(to)["voice_id"].to_pylist()) == {"first", "last", "undated"}


def test_what_belongs_to_the_other_days_of_a_listing_is_not_outside(
    tmp_path: Path, room: Room
) -> None:
    rows = [
        call("long before", MIDNIGHT - timedelta(days=3)),
        call("of the 3rd", MIDNIGHT),
        call("of the 4th", MIDNIGHT + timedelta(days=1)),
    ]
    one_day = of_days(date(2026, 11, 4), date(2026, 11, 4))
    to = tmp_path / "calls.parquet"
    found = write_calls(files(tmp_path, rows), one_day, to, room, part_of=DAYS)
    assert found == CallCounts(calls=1, undated=0, outside=1)
    assert pq.read_table(to)["voice_id"].to_pylist() == ["of the 4th"]


def test_a_call_whose_time_has_changed_is_two_rows_of_the_list_and_one_call(
    tmp_path: Path, room: Room
) -> None:
    moved = MIDNIGHT + timedelta(days=2)
    listed = files(
        tmp_path,
        [call("a", MIDNIGHT, asked_s=1)],
        # It was redialled: its day is another one now.
        [call("a", moved, asked_s=2)],
    )
    to = tmp_path / "calls.parquet"
    assert write_calls(listed, DAYS, to, room) == CallCounts(calls=0, undated=0, outside=1)
    assert count_rows(listed, room) == 2


def test_a_listing_that_brought_nothing_is_an_empty_file_of_the_same_columns(
    tmp_path: Path, room: Room
) -> None:
    to = tmp_path / "calls.parquet"
    assert write_calls([], DAYS, to, room) == CallCounts(0, 0, 0)
    assert pq.read_table(to).schema.equals(SCHEMA)
    assert count_rows([], room) == 0
