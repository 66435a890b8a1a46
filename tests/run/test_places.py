"""Finding ids of pages on the work list."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa

from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.by_pages.places import Place, Places
from harvester.state.values import CHUNK_ROWS, WorkList
from harvester.storage import bitmap
from harvester.storage.parquet_file import GROUP_ROWS, LIST, ParquetOut

NEW, CARRIED, AGAIN = GROUP_ROWS + 7, 20, 30


def listed(path: Path) -> tuple[WorkList, list[str]]:
    """A list of all three ranks, over more than one group; ids of a rank are sorted."""
    ids = [f"{number:020}" for number in range(NEW)]
    ids += [f"{number:020}" for number in range(500_000, 500_000 + CARRIED)]
    ids += [f"{number:020}" for number in range(300_000, 300_000 + AGAIN)]
    ranks = [0] * NEW + [1] * CARRIED + [2] * AGAIN
    with ParquetOut(path, LIST) as out:
        out.write(pa.array(ranks, pa.int8()), pa.array(ids, pa.string()))
        out.commit()
    return WorkList(1, None, path.name, None, NEW, 0, CARRIED, again=AGAIN), ids


def test_pending_ids_are_found_wherever_they_stand(tmp_path: Path) -> None:
    work_list, ids = listed(tmp_path / "list.parquet")
    at = [0, 9_999, 10_000, GROUP_ROWS - 1, GROUP_ROWS, NEW - 1, NEW, NEW + CARRIED, len(ids) - 1]
    with ListFile(tmp_path / "list.parquet") as file:
        places = Places(work_list, file, {}, work_list.rows)
        found = places.pending(sorted([*(ids[row] for row in at), "no-such-id", "9" * 30]))
        assert {found[ids[row]] for row in at} == {
            Place(*divmod(row, CHUNK_ROWS), again=row >= NEW + CARRIED) for row in at
        }
        assert len(found) == len(at)
        places.resolve(found.values())
        assert places.pending(sorted(ids[row] for row in at)) == {}
        assert places.pending([ids[1]]) == {ids[1]: Place(0, 1, again=False)}
        assert places.pending([]) == {}


def test_what_is_resolved_or_out_of_reach_is_not_pending(tmp_path: Path) -> None:
    work_list, ids = listed(tmp_path / "list.parquet")
    bits = {0: None, 1: bitmap.with_rows(bitmap.empty(CHUNK_ROWS), [3])}
    with ListFile(tmp_path / "list.parquet") as file:
        places = Places(work_list, file, bits, work_list.listed)
        wanted = sorted([ids[5], ids[10_003], ids[10_004], ids[NEW], ids[-1]])
        assert set(places.pending(wanted)) == {ids[10_004]}


def test_days_are_those_of_pending_ids_that_tell_one(tmp_path: Path) -> None:
    ids = sorted(["2611020101010000001", "2611052301010000002", "no-date", "2611090000000000003"])
    path = tmp_path / "list.parquet"
    with ParquetOut(path, LIST) as out:
        out.write(pa.array([0] * 4, pa.int8()), pa.array(ids, pa.string()))
        out.commit()
    work_list = WorkList(1, None, path.name, None, 4, 0, 0)
    with ListFile(path) as file:
        bits = {0: bitmap.with_rows(bitmap.empty(4), [0])}
        days = Places(work_list, file, bits, 4).days()
        of_some = Places(work_list, file, bits, 2).days()
    assert days == {date(2026, 11, 5), date(2026, 11, 9)}
    assert of_some == {date(2026, 11, 5)}, "the run works on the first two rows alone"
