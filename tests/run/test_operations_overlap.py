"""Ids that files have in common: what `rebuild` asks before it trusts a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.errors import StoreError
from harvester.inputs.worklist.reader import write_ids
from harvester.operations.overlap import held_of, held_twice
from harvester.storage.duckdb_engine import BATCH_ROWS, Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Room("400MB", scratch)


def written(path: Path, *ids: str) -> Path:
    write_ids(path, [list(ids)])
    return path


def test_an_id_of_two_files_is_told_with_both(tmp_path: Path, room: Room) -> None:
    a = written(tmp_path / "a[1].parquet", "1", "2", "3")
    b = written(tmp_path / "b*.parquet", "4", "3", "5")
    assert held_twice([a], room) == []
    (found,) = held_twice([a, b], room)
    assert found.startswith("3 in ")
    assert {str(a), str(b)} == set(found.removeprefix("3 in ").split(" and in "))


def test_an_id_twice_in_one_file_is_held_twice(tmp_path: Path, room: Room) -> None:
    a = written(tmp_path / "a.parquet", "1", "2", "1")
    assert held_twice([a], room) == [f"1 in {a} and in {a}"]


def test_examples_are_the_first_three(tmp_path: Path, room: Room) -> None:
    a = written(tmp_path / "a.parquet", *"123456789")
    b = written(tmp_path / "b.parquet", *"98765432")
    assert [one.split(" ")[0] for one in held_twice([a, b], room)] == ["2", "3", "4"]


@pytest.mark.parametrize("at", [0, BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1])
def test_a_pair_may_fall_between_two_batches(tmp_path: Path, room: Room, at: int) -> None:
    ids = [f"{number:07}" for number in range(BATCH_ROWS + 2)]
    a = written(tmp_path / "a.parquet", *ids)
    b = written(tmp_path / "b.parquet", ids[at])
    assert [one.split(" ")[0] for one in held_twice([a, b], room)] == [ids[at]]


def test_ids_that_the_data_has_as_well_are_found(tmp_path: Path, room: Room) -> None:
    a = written(tmp_path / "a.parquet", "1", "2")
    b = written(tmp_path / "b.parquet", "3", "4")
    others = written(tmp_path / "others?.parquet", "0", "2", "3", "9")
    written(tmp_path / "othersX.parquet", "4")
    assert held_of(others, [a, b], room) == {"2", "3"}
    assert held_of(written(tmp_path / "none.parquet"), [a, b], room) == set()


def test_data_that_cant_be_read_is_told_with_what_to_do(tmp_path: Path, room: Room) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_text("no Parquet")
    with pytest.raises(StoreError, match=r"can't be read through: .*plan\.memory_limit"):
        held_twice([broken], room)
