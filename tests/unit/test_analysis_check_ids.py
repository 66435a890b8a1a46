"""Equal neighbours in sorted batches become one id; a list's bits become flags."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.analysis.verify.check_ids import IdCheck, _grouped, check_ids, settled_flags
from harvester.analysis.verify.dataset_scan import STANDINGS, Content
from harvester.analysis.verify.id_states import Place
from harvester.state.database import open_database
from harvester.state.values import CHUNK_ROWS, WorkList
from harvester.storage import bitmap


def batches_of(ids: list[str], cuts: list[int]) -> list[pa.RecordBatch]:
    weights = pa.array([1] * len(ids), pa.int64())
    whole = pa.RecordBatch.from_arrays([pa.array(ids, pa.string()), weights], schema=STANDINGS)
    edges = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    return [whole.slice(a, b - a) for a, b in itertools.pairwise(edges)]


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.integers(0, 100), max_size=8))
def test_ids_are_counted_the_same_wherever_the_batches_are_cut(
    ids: list[str], cuts: list[int]
) -> None:
    found: Counter[str] = Counter()
    for table in _grouped(iter(batches_of(sorted(ids), cuts))):
        for row in table.to_pylist():
            assert row["voice_id"] not in found, "an id came out of two groups"
            assert row["weight_sum"] == row["weight_count"]
            found[row["voice_id"]] = row["weight_sum"]
    assert found == Counter(ids)


@given(st.sets(st.integers(0, 25_000)), st.integers(0, 25_000), st.integers(1, 15_000))
def test_flags_are_the_bits_of_the_chunks_that_they_span(
    settled: set[int], start: int, rows: int
) -> None:
    total = 25_001
    work_list = WorkList(1, None, "", None, total, 0, 0)
    bits: dict[int, bytes | None] = {}
    for no in {row // CHUNK_ROWS for row in settled}:
        size = min(CHUNK_ROWS, total - no * CHUNK_ROWS)
        here = [row - no * CHUNK_ROWS for row in settled if row // CHUNK_ROWS == no]
        bits[no] = bitmap.with_rows(bitmap.empty(size), here)
    end = min(total, start + rows)
    flags = settled_flags(work_list, bits, start, end - start).to_pylist()
    assert flags == [row in settled for row in range(start, end)]


def test_a_chunk_without_bits_is_settled_whole_and_one_without_a_row_is_not_begun() -> None:
    work_list = WorkList(1, None, "", None, 15_000, 0, 0)
    flags = settled_flags(work_list, {0: None}, 9_999, 2).to_pylist()
    assert flags == [True, False]


class Data:
    """A data set that holds each id so many times."""

    def __init__(self, times: dict[str, int]) -> None:
        self._ids = [one for one, count in sorted(times.items()) for _ in range(count)]

    def sorted_ids(self, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        assert list(others) == []
        weights = [Place.DATA.weight] * len(self._ids)
        yield pa.RecordBatch.from_pydict({"voice_id": self._ids, "weight": weights}, STANDINGS)


def audited(tmp_path: Path, times: dict[str, int], *, complete: bool = True) -> IdCheck:
    db = open_database(tmp_path / "state.db", "default")
    try:
        content = cast("Content", Data(times))
        return check_ids(db, content, work_list=None, complete=complete, rebuilt=False)
    finally:
        db.close()


# 128 times in the data weigh as much as once in the journal, 16,384 times as one open call.
@pytest.mark.parametrize("times", [2, 3, 127, 128, 129, 16_384])
def test_an_id_that_the_data_holds_more_than_once_is_told_however_often_it_is(
    tmp_path: Path, times: int
) -> None:
    found = audited(tmp_path, {"1": 1, "2": times, "3": 1})
    (one,) = found.findings
    assert (found.ids, one.where) == (3, "ids such as 2")
    assert one.what.startswith("1 id(s) ")


def test_three_ids_of_many_are_named(tmp_path: Path) -> None:
    found = audited(tmp_path, dict.fromkeys("abcde", 2), complete=False)
    (one,) = found.findings
    assert (one.what, one.where) == (
        "5 id(s) held twice: in the data 2 times",
        "ids such as a, b, c",
    )
    assert audited(tmp_path, dict.fromkeys("abcde", 1)).findings == []
