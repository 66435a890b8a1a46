"""Which rows an export of days has: those of the period, to the last millisecond."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from harvester.analysis.clock import Clock
from harvester.analysis.period import Period
from harvester.analysis.query.export_rows import Chosen
from harvester.analysis.scope import Scope

BEGINS = datetime(2026, 10, 31, 16, tzinfo=UTC)
"""November in Shanghai."""
ENDS = datetime(2026, 11, 30, 16, tzinfo=UTC)
A_MS = timedelta(milliseconds=1)
TIMES = {
    "the last of October": BEGINS - A_MS,
    "the first of November": BEGINS,
    "without a time": None,
    "the last of November": ENDS - A_MS,
    "the first of December": ENDS,
    "long after": ENDS + timedelta(days=90),
}


def batch(column: str, names: list[str]) -> pa.RecordBatch:
    """A row of each, in a batch."""
    times = pa.array([TIMES[name] for name in names], pa.timestamp("ms", tz="UTC"))
    return pa.RecordBatch.from_arrays([pa.array(names), times], names=["voice_id", column])


def chosen(
    period: Period, *, prefix: str = "", date_by: str = "submit"
) -> tuple[list[str], Chosen]:
    """The names of the rows of a period, of two batches; and what was counted."""
    clock = Clock("Asia/Shanghai", "answer" if date_by == "answer" else "submit")
    some = Chosen(Scope(clock, period), prefix)
    names = list(TIMES)
    column = f"{prefix}{date_by}_time"
    batches = [batch(column, names[:3]), batch(column, names[3:])]
    found = [name for one in some.of(batches) for name in one["voice_id"].to_pylist()]
    return found, some


@pytest.mark.parametrize(
    ("first", "last", "names"),
    [
        (date(2026, 11, 1), date(2026, 11, 30), ["the first of November", "the last of November"]),
        (date(2026, 12, 1), None, ["the first of December", "long after"]),
        (None, date(2026, 10, 31), ["the last of October"]),
        (date(2026, 11, 2), date(2026, 11, 2), []),
    ],
)
def test_the_rows_of_days_are_those_of_the_clock_of_the_bill_and_the_others_are_told(
    first: date | None, last: date | None, names: list[str]
) -> None:
    found, some = chosen(Period(first, last))
    assert found == names
    assert (some.rows, some.undated) == (len(names), 1)


def test_without_days_all_rows_count_those_without_a_time_among_them() -> None:
    found, some = chosen(Period())
    assert found == list(TIMES)
    assert (some.rows, some.undated) == (len(TIMES), 0)


def test_days_go_by_the_time_and_the_column_that_are_named() -> None:
    november = Period(date(2026, 11, 1), date(2026, 11, 30))
    for prefix, date_by in (("new_", "submit"), ("", "answer")):
        found, some = chosen(november, prefix=prefix, date_by=date_by)
        assert found == ["the first of November", "the last of November"]
        assert (some.rows, some.undated) == (2, 1)
