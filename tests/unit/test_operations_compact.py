"""Which dates are compacted, and which of their files become one."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from harvester.operations.compact import MOST_ROWS, Order, choose
from harvester.state.values import PartRecord

NOW = datetime(2026, 11, 4, 12, 0, tzinfo=UTC)


def parts(day: str, *rows: int) -> list[PartRecord]:
    return [
        PartRecord(f"submit_date={day}/part-a-{n}-0.parquet", n, count, 99, f"{day} {n}")
        for n, count in enumerate(rows, 1)
    ]


def chosen(found: list[PartRecord], zone: str = "UTC", **order: object) -> dict[str, list[int]]:
    """Folder -> how many files each of its new ones is made of."""
    folders = choose(found, Order(**order), zone, NOW).folders  # type: ignore[arg-type]
    return {
        one.go[0].folder.partition("=")[2]: [len(group) for group in one.groups] for one in folders
    }


def test_dates_with_enough_files_are_merged_the_others_are_counted() -> None:
    found = [*parts("2026-11-01", *[5] * 8), *parts("2026-10-01", *[5] * 7)]
    assert chosen(found) == {"2026-11-01": [8]}
    assert chosen(found, min_files=7) == {"2026-10-01": [7], "2026-11-01": [8]}
    assert choose(found, Order(), "UTC", NOW).few_files == 1


@pytest.mark.parametrize(
    ("zone", "older_than_h", "expected"),
    [
        ("UTC", 36, {"2026-11-02", "2026-11-03"}),
        ("UTC", 36.01, {"2026-11-02"}),
        ("Asia/Shanghai", 44, {"2026-11-02", "2026-11-03"}),
        ("Asia/Shanghai", 44.01, {"2026-11-02"}),
        ("UTC", 0, {"2026-11-02", "2026-11-03", "2026-11-04", "2030-01-01"}),
    ],
)
def test_the_age_of_a_date_is_counted_from_its_begin_in_the_zone_of_the_folders(
    zone: str, older_than_h: float, expected: set[str]
) -> None:
    days = ("2026-11-02", "2026-11-03", "2026-11-04", "2030-01-01")
    found = [part for day in days for part in parts(day, *[5] * 8)]
    order = Order(older_than_s=older_than_h * 3600)
    assert set(chosen(found, zone, older_than_s=order.older_than_s)) == expected
    assert choose(found, order, zone, NOW).too_young == len(days) - len(expected)


def test_rows_without_a_date_are_always_old_enough() -> None:
    assert chosen(parts("__HIVE_DEFAULT_PARTITION__", *[5] * 8)) == {
        "__HIVE_DEFAULT_PARTITION__": [8]
    }


def test_one_date_alone() -> None:
    found = [*parts("2026-11-01", *[5] * 8), *parts("2026-10-01", *[5] * 8)]
    assert chosen(found, date=date(2026, 10, 1)) == {"2026-10-01": [8]}


def test_a_new_file_has_at_most_so_many_rows_and_large_ones_stay() -> None:
    found = parts("2026-11-01", 300_000, 300_000, 300_000, 450_000, 100_000)
    (folder,) = choose(found, Order(min_files=2), "UTC", NOW).folders
    rows = [[part.rows for part in group] for group in folder.groups]
    assert rows == [[300_000, 300_000], [300_000, 100_000], [450_000]]
    assert all(sum(group) <= MOST_ROWS for group in rows)
    assert sorted(folder.go, key=lambda part: part.path) == found


def test_where_nothing_would_become_less_nothing_is_done() -> None:
    assert not chosen(parts("2026-11-01", *[MOST_ROWS] * 9))
    assert not chosen(parts("2026-11-01", *[MOST_ROWS // 2 + 1] * 9))
