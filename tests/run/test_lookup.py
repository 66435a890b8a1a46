"""One id on a list of more than one chunk."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from harvester.analysis.query.lookup import find_on_list
from harvester.state.values import CHUNK_ROWS
from harvester.storage import bitmap
from tests.support.fakes import House


@pytest.mark.parametrize(
    ("row", "is_settled"),
    [(0, True), (CHUNK_ROWS - 1, True), (CHUNK_ROWS + 3, True), (CHUNK_ROWS + 4, False)],
)
def test_an_id_is_found_with_its_row_and_whether_it_is_settled(
    tmp_path: Path, row: int, *, is_settled: bool
) -> None:
    ids = [f"{n:019}" for n in range(CHUNK_ROWS + 10)]
    house = House(tmp_path, ids)
    with closing(house.db) as db:
        work_list = house.work_list
        bits = bitmap.with_rows(bitmap.empty(10), [3])
        db.executemany(
            "INSERT INTO chunk VALUES (?, ?, ?)", [(work_list.id, 0, None), (work_list.id, 1, bits)]
        )
        path = house.output.lists / work_list.path
        assert find_on_list(db, work_list, path, ids[row]) == (row, 0, is_settled)
        assert find_on_list(db, work_list, path, "no-such-id") is None
