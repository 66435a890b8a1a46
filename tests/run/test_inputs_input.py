"""From input files to the work list in force: what a second look at the same files finds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.inputs.discover import IdFile
from harvester.pipeline.run.prepare_list import Listing, list_input
from harvester.state import work_lists
from tests.support.fakes import House

A, B, C = "2203031113381000002", "12205181141482000029", "22121121451211349002"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "out")
    yield made
    made.db.close()


def listed(house: House, *files: Path) -> Listing:
    run_dir = house.output.runs / "run"
    run_dir.mkdir(exist_ok=True)
    found = [IdFile(str(path), "txt") for path in files]
    return list_input(house.db, house.output, house.config.input, house.config.plan, found, run_dir)


def test_an_input_that_holds_other_ids_makes_another_list_though_size_and_mtime_are_the_same(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"{A}\n")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    first = listed(house, path).work_list
    assert listed(house, path).work_list == first
    for one in (C, A, C):
        # In place and within the same moment, mtime kept: only ctime moves, if that does.
        path.write_text(f"{one[:19]}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        again = listed(house, path)
        assert again.result is not None
        assert again.work_list != first
        first = again.work_list


@pytest.mark.skipif("FAKETIME" in os.environ, reason="libfaketime moves no times of files")
def test_a_file_that_has_rested_is_not_read_again_and_one_of_an_older_ledger_is(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"{A}\n")
    listed(house, path)
    assert work_lists.known_stamps(house.db) == {}, "it is younger than two seconds"
    house.db.execute("ALTER TABLE input_file DROP COLUMN ctime_ns")
    status = path.stat()
    row = (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, "no hash")
    house.db.execute("INSERT INTO input_file VALUES (?, ?, ?, ?, ?)", row)
    house.db.execute("ALTER TABLE input_file ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT 0")
    assert listed(house, path).result is None, "the same input, by what it holds"
