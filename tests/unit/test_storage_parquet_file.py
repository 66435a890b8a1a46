"""Files of ids: every row is there in its order, in groups of one size, or the file is not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.storage.parquet_file import GROUP_ROWS, IDS, LIST, ParquetOut


@pytest.mark.parametrize(
    ("portions", "groups"),
    [
        ([], []),
        ([0, 1, 0, 2], [3]),
        ([GROUP_ROWS], [GROUP_ROWS]),
        ([GROUP_ROWS - 1, 1, 1], [GROUP_ROWS, 1]),
        ([100_000, 100_000, 60_000], [GROUP_ROWS, GROUP_ROWS, 260_000 - 2 * GROUP_ROWS]),
        ([2 * GROUP_ROWS + 5], [GROUP_ROWS, GROUP_ROWS, 5]),
    ],
)
def test_rows_are_written_in_order_whatever_portions_they_come_in(
    tmp_path: Path, portions: list[int], groups: list[int]
) -> None:
    path, begin = tmp_path / "x.parquet", 0
    with ParquetOut(path, IDS) as out:
        for size in portions:
            out.write(pa.array(range(begin, begin + size)).cast(pa.string()))
            begin += size
            assert out.rows == begin
        assert not path.exists()
        out.commit()
    with pq.ParquetFile(path) as file:
        about = file.metadata
        assert [about.row_group(n).num_rows for n in range(about.num_row_groups)] == groups
        found = file.read()
    assert found.schema.equals(IDS)
    assert found["voice_id"].cast(pa.int64()).to_pylist() == list(range(begin))
    assert [one.name for one in tmp_path.iterdir()] == ["x.parquet"]


def test_columns_are_given_in_the_order_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with ParquetOut(path, LIST) as out:
        out.write(pa.array([1, 0], pa.int8()), pa.array(["a", "b"]))
        out.commit()
    found = pq.read_table(path)
    assert found.schema.equals(LIST)
    assert found.to_pylist() == [{"rank": 1, "voice_id": "a"}, {"rank": 0, "voice_id": "b"}]
    column = pq.read_metadata(path).row_group(0).column(1)
    assert column.compression == "ZSTD"


def test_without_a_commit_nothing_is_left(tmp_path: Path) -> None:
    with ParquetOut(tmp_path / "x.parquet", IDS) as out:
        out.write(pa.array(["a"]))
    assert list(tmp_path.iterdir()) == []
