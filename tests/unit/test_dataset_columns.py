"""Columns of times: a batch at a time, and each by itself, by the same borders."""

from __future__ import annotations

import pyarrow as pa
import pytest

from harvester.answers.times import EARLIEST_MS, EARLY_MS, LATE_MS, counts
from harvester.dataset.columns import beyond, beyond_by_value
from harvester.dataset.kind import TIME

FETCHED_MS = 1_800_000_000_000
SUBMITTED_MS = FETCHED_MS - 3_600_000
OF_2000 = EARLIEST_MS + EARLY_MS // 2


@pytest.mark.parametrize(
    ("submitted_ms", "first_ms"),
    [(None, EARLIEST_MS), (SUBMITTED_MS, SUBMITTED_MS - EARLY_MS), (OF_2000, EARLIEST_MS)],
)
def test_a_time_counts_from_its_floor_to_a_day_after_the_fetch_both_included(
    submitted_ms: int | None, first_ms: int
) -> None:
    """A call ends by a time or it does not: verdict and row must not disagree on it."""
    last_ms = FETCHED_MS + LATE_MS
    times = [first_ms - 1, first_ms, first_ms + 1, last_ms - 1, last_ms, last_ms + 1, None]
    fetched = pa.array([FETCHED_MS] * len(times), pa.int64())
    submit = None if submitted_ms is None else pa.array([submitted_ms] * len(times), TIME)
    column = pa.array(times, TIME)
    assert beyond(column, fetched, submit) == [0, 5]
    assert beyond_by_value(column, fetched, submit) == [0, 5]
    found = [one is None or counts(one, FETCHED_MS, submitted_ms) for one in times]
    assert found == [False, True, True, True, True, False, True]


def test_where_no_submit_time_counts_only_the_year_2000_is_a_floor() -> None:
    times = pa.array([EARLIEST_MS - 1, EARLIEST_MS], TIME)
    fetched, none = pa.array([FETCHED_MS] * 2, pa.int64()), pa.nulls(2, TIME)
    assert beyond(times, fetched, none) == beyond_by_value(times, fetched, none) == [0]
