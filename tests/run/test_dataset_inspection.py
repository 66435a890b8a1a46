"""What is wrong with a part, and what it holds: each fault by itself, in a file written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.dataset.footer import (
    FOOTER_MAX_VOICE_ID,
    FOOTER_MIN_VOICE_ID,
    FOOTER_PUBLICATION,
    FOOTER_ROWS,
    FOOTER_THROUGH,
)
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.inspection import Inspection, inspect
from tests.support.changed_rows import CHANGES, change, changes, row
from tests.support.datasets import filled

NAME = "submit_date=2026-11-02/part-made0000-7-0.parquet"
GOOD = Inspection(4, frozenset({"default"}), (), {"run-1": 7})


def part(
    path: Path, ids: Sequence[str], rows: Sequence[dict[str, Any]] = (), **footer: str
) -> Path:
    """A part of `ids` in row groups of two, with a right footer but for what is named."""
    more = [*rows, *[{}] * (len(ids) - len(rows))]
    table = filled(
        [{"voice_id": one, "run_id": "run-1", **row} for one, row in zip(ids, more, strict=True)]
    )
    right = {
        FOOTER_ROWS: str(len(ids)),
        FOOTER_MIN_VOICE_ID: ids[0] if ids else "",
        FOOTER_MAX_VOICE_ID: ids[-1] if ids else "",
        FOOTER_PUBLICATION: "7",
    }
    with pq.ParquetWriter(path, GROUP_RECORD.schema) as writer:
        for start in range(0, len(ids), 2):
            writer.write_table(table.slice(start, 2))
        writer.add_key_value_metadata({**right, **footer})
    return path


def faults(path: Path, name: str = NAME, zone: str = "UTC") -> dict[str, str]:
    return {fault.kind: fault.what for fault in inspect(path, name, zone, GROUP_RECORD).faults}


def test_a_part_as_we_write_it_has_no_fault(tmp_path: Path) -> None:
    assert inspect(part(tmp_path / "x", ["1", "2", "3", "4"]), NAME, "UTC", GROUP_RECORD) == GOOD
    # An id twice is another check's to find: it is sorted all the same.
    assert inspect(part(tmp_path / "x", ["1", "2", "2", "2"]), NAME, "UTC", GROUP_RECORD) == GOOD
    none = Inspection(0, frozenset(), ())
    assert inspect(part(tmp_path / "x", []), NAME, "UTC", GROUP_RECORD) == none


def test_accounts_and_runs_are_those_of_all_row_groups(tmp_path: Path) -> None:
    rows = [{"account": "b"}, {"run_id": "run-3"}, {"run_id": "run-2", "account": "a"}]
    found = inspect(part(tmp_path / "x", ["1", "2", "3", "4"], rows), NAME, "UTC", GROUP_RECORD)
    assert found == replace(
        GOOD,
        accounts=frozenset({"a", "b", "default"}),
        runs={"run-1": 7, "run-2": 7, "run-3": 7},
    )


@pytest.mark.parametrize(
    "ids", [["2", "1", "3", "4"], ["1", "2", "4", "3"], ["1", "3", "2", "4"], ["3", "4", "1", "2"]]
)
def test_a_part_that_is_not_sorted_is_told_within_a_row_group_and_from_one_to_the_next(
    tmp_path: Path, ids: list[str]
) -> None:
    found = faults(part(tmp_path / "x", ids))
    assert found["unsorted"] == "its rows are not sorted by voice_id"
    assert found.keys() <= {"unsorted", "footer"}


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        (FOOTER_ROWS, "3", "4"),
        (FOOTER_MIN_VOICE_ID, "2", "1"),
        (FOOTER_MAX_VOICE_ID, "3", "4"),
        (FOOTER_PUBLICATION, "8", "7"),
    ],
)
def test_a_footer_that_says_other_than_the_rows_and_the_name_is_told(
    tmp_path: Path, key: str, value: str, right: str
) -> None:
    change: Any = {key: value}
    path = part(tmp_path / "x", ["1", "2", "3", "4"], **change)
    assert faults(path) == {"footer": f"its footer says {key} = {value}, its rows say {right}"}


def test_rows_of_another_day_are_counted_over_all_row_groups(tmp_path: Path) -> None:
    at: list[dict[str, Any]] = [
        {"submit_time": datetime(2026, 11, 2, 0, 0, tzinfo=UTC)},
        {"submit_time": datetime(2026, 11, 1, 23, 59, 59, 999_000, tzinfo=UTC)},
        {"submit_time": datetime(2026, 11, 3, 0, 0, tzinfo=UTC)},
        {"submit_time": None},
    ]
    path = part(tmp_path / "x", ["1", "2", "3", "4"], at)
    found = faults(path)
    assert found == {
        "wrong_date": "3 row(s) belong to another date, such as 2026-11-03, by their submit_time "
        "in UTC"
    }
    # One hour on, and 2 November begins where the second row is.
    assert "2 row(s)" in faults(path, zone="Europe/Berlin")["wrong_date"]


def test_a_name_that_is_none_of_ours_fits_no_row_and_no_footer(tmp_path: Path) -> None:
    found = faults(part(tmp_path / "x", ["1", "2"]), "x.parquet")
    assert found.keys() == {"footer", "wrong_date"}


@pytest.mark.parametrize("at", [4, 40, -40, -4])
def test_a_part_that_cannot_be_read_is_a_fault_and_no_error(tmp_path: Path, at: int) -> None:
    path = part(tmp_path / "x", ["1", "2", "3", "4"])
    whole = path.read_bytes()
    path.write_bytes(whole[:at])
    (fault,) = inspect(path, NAME, "UTC", GROUP_RECORD).faults
    assert (fault.kind, "\n" in fault.what) == ("unreadable", False)
    assert fault.what
    assert faults(tmp_path / "none").keys() == {"unreadable"}


def test_what_was_read_before_the_damage_is_still_counted(tmp_path: Path) -> None:
    path = part(tmp_path / "x", ["1", "2", "3", "4"], [{"account": "a"}] * 4)
    with pq.ParquetFile(path) as file:
        at = file.metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(bytes(content))
    found = inspect(path, NAME, "UTC", GROUP_RECORD)
    assert (found.rows, found.accounts) == (2, frozenset({"a"}))
    assert [fault.kind for fault in found.faults] == ["unreadable"]


@pytest.mark.parametrize(
    ("through", "end", "is_fault"),
    [
        ("9", "-r9", False),
        # A later rewrite of its folder gave it a new name, not a new footer.
        ("9", "-r12", False),
        ("9", "-r10", False),
        ("9", "-r8", True),
        ("10", "-r9", True),
        ("9", "", True),
        (None, "-r9", False),
    ],
)
def test_a_footer_of_a_rewrite_is_no_newer_than_the_name(
    tmp_path: Path, through: str | None, end: str, is_fault: bool
) -> None:
    footer = {} if through is None else {FOOTER_THROUGH: through}
    path = part(tmp_path / "x", ["1", "2"], (), **footer)
    assert ("footer" in faults(path, NAME.replace(".parquet", f"{end}.parquet"))) is is_fault


def test_the_runs_of_a_change_are_those_of_the_rows_in_it_too(tmp_path: Path) -> None:
    """Of a run whose own part is lost they may be all that tells of it."""
    found = [change(row("a", "1", "first"), row("a", "2", "third"), 7)]
    found[0]["run_id"] = "second"
    path = tmp_path / "part.parquet"
    pq.write_table(changes(*found), path)
    name = "change_date=1970-01-01/part-made0000-7-0.parquet"
    seen = inspect(path, name, "UTC", CHANGES)
    assert seen.runs == {"first": 7, "second": 7, "third": 7}
    assert seen.accounts == {"acme"}
