"""Reading a finished list, and asking who belongs to an input."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.errors import StoreError
from harvester.inputs.worklist.reader import ListFile, members, write_ids
from harvester.state.values import CHUNK_ROWS, chunks_of
from harvester.storage.parquet_file import GROUP_ROWS, LIST, ParquetOut


def written(path: Path, listed: int, left_over: int) -> list[str]:
    """A list of so many rows of each rank; its ids."""
    ids = [f"{number:020}" for number in range(listed + left_over)]
    ranks = [0] * listed + [1] * left_over
    with ParquetOut(path, LIST) as out:
        out.write(pa.array(ranks, pa.int8()), pa.array(ids, pa.string()))
        out.commit()
    return ids


def test_chunks_in_turn_give_the_whole_list(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    ids = written(path, 150_000, 105_000)
    with ListFile(path) as the_list:
        assert (the_list.rows, the_list.listed) == (255_000, 150_000)
        chunks = [the_list.chunk(no, CHUNK_ROWS) for no in range(chunks_of(the_list.rows))]
    assert [len(chunk) for chunk, _ in chunks] == [10_000] * 25 + [5000]
    assert [one for chunk, _ in chunks for one in chunk] == ids
    assert [r for _, ranks in chunks for r in ranks] == [0] * 150_000 + [1] * 105_000


def test_a_chunk_over_the_border_of_groups_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    ids = written(path, 250_000, 0)
    assert 12 * 10_000 < GROUP_ROWS < 13 * 10_000
    with ListFile(path) as the_list:
        assert the_list.chunk(12, 10_000)[0] == ids[120_000:130_000]
        assert the_list.chunk(0, size=250_000)[0] == ids
        assert the_list.chunk(249_999, size=1)[0] == ids[-1:]


@pytest.mark.parametrize(
    ("listed", "left_over"),
    [
        (0, 0),
        (0, 5),
        (5, 0),
        (GROUP_ROWS, 5),
        (GROUP_ROWS, 0),
        (GROUP_ROWS + 1, GROUP_ROWS),
        (1, 3 * GROUP_ROWS),
        (0, 3 * GROUP_ROWS),
        (3 * GROUP_ROWS, 1),
    ],
)
def test_the_rows_of_rank_0_are_counted(tmp_path: Path, listed: int, left_over: int) -> None:
    path = tmp_path / "list.parquet"
    written(path, listed, left_over)
    with ListFile(path) as the_list:
        assert (the_list.rows, the_list.listed) == (listed + left_over, listed)


@pytest.mark.parametrize("no", [-1, 2, 100])
def test_there_is_no_chunk_beyond_the_list(tmp_path: Path, no: int) -> None:
    path = tmp_path / "list.parquet"
    written(path, 15_000, 0)
    with ListFile(path) as the_list, pytest.raises(IndexError, match=f"chunk {no} of 2"):
        the_list.chunk(no, 10_000)


def test_members_are_those_of_the_input(tmp_path: Path) -> None:
    path = tmp_path / "input.parquet"
    ids = [f"{number * 2:020}" for number in range(300_000)]
    assert write_ids(path, [ids[:7], [], ids[7:200_000], ids[200_000:]]) == 300_000
    assert pq.read_metadata(path).num_rows == 300_000
    edges = [ids[0], ids[GROUP_ROWS - 1], ids[GROUP_ROWS], ids[-1], ids[12_345]]
    others = [f"{number * 2 + 1:020}" for number in range(0, 300_000, 1000)] + ["", "x", "~"]
    assert members(path, edges + others + edges) == set(edges)
    assert members(path, []) == set()
    assert members(path, others) == set()


def test_members_are_found_in_a_file_without_statistics_too(tmp_path: Path) -> None:
    path = tmp_path / "input.parquet"
    table = pa.table({"voice_id": pa.array(["a", "c"], pa.string())})
    pq.write_table(table, path, write_statistics=False)
    assert members(path, ["z", "c", "b"]) == {"c"}


@settings(deadline=None)
@given(
    held=st.sets(st.text("0123456789Az_-", min_size=1, max_size=3)),
    asked=st.lists(st.text("0123456789Az_-", min_size=1, max_size=3)),
)
def test_members_are_an_intersection(
    tmp_path_factory: pytest.TempPathFactory, held: set[str], asked: list[str]
) -> None:
    path = tmp_path_factory.mktemp("members") / "input.parquet"
    write_ids(path, [sorted(held)])
    assert members(path, asked) == held & set(asked)


def test_ids_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"

    def torn() -> object:
        yield ["1"] * GROUP_ROWS
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_ids(path, torn())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_of_ids_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    assert write_ids(path, []) == 0
    assert pq.read_metadata(path).num_rows == 0
    assert members(path, ["1"]) == set()


def test_a_list_that_is_gone_or_broken_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    for content in (None, b"no Parquet"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StoreError, match=r"list\.parquet.*harvester verify"):
            ListFile(path)


def test_a_place_that_cant_be_written_is_named() -> None:
    with pytest.raises(StoreError, match=r"/nowhere/ids\.parquet"):
        write_ids("/nowhere/ids.parquet", [["1"]])
