"""What is said of a part that can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.dataset.files import newest_id
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.inspection import inspect
from harvester.errors import StoreError


def test_a_part_that_is_gone_may_have_been_compacted_and_one_that_is_damaged_was_not(
    tmp_path: Path,
) -> None:
    part = tmp_path / "part.parquet"
    with pytest.raises(StoreError, match=r"it is gone\. Run the command again") as gone:
        newest_id([part])
    part.write_bytes(b"no Parquet")
    with pytest.raises(StoreError, match="restore the file from a backup") as damaged:
        newest_id([part])
    assert gone.value.code == damaged.value.code == "data.unreadable"
    assert "compact" not in str(damaged.value)


def test_an_inspection_tells_it_as_a_fault(tmp_path: Path) -> None:
    name = "submit_date=2026-09-01/part-0-1-0.parquet"
    (fault,) = inspect(tmp_path / name, name, "UTC", GROUP_RECORD).faults
    assert fault.kind == "unreadable"
