"""DuckDB is held to its limits, and finds the very files that it is told to."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from harvester.errors import StoreError, first_line
from harvester.storage.duckdb_engine import (
    Engine,
    Room,
    answers,
    connect,
    listed,
    parts,
    pattern,
    trouble,
)

PACKAGE = Path(__file__).resolve().parents[2] / "harvester"
ODD_NAMES = ["a[1].csv", "a*.csv", "a?.csv", "it's.csv", "[].csv"]


def test_a_connection_keeps_to_its_memory_and_its_folder_and_loads_nothing(tmp_path: Path) -> None:
    with connect("1GB", tmp_path, threads=3) as database:
        told = dict(
            database.execute("SELECT name, value FROM duckdb_settings()").fetchall()  # all of them
        )
    assert told["threads"] == "3"
    assert told["temp_directory"] == str(tmp_path / "duckdb")
    assert told["preserve_insertion_order"] == "false"
    assert told["enable_progress_bar"] == "false"
    assert told["autoinstall_known_extensions"] == told["autoload_known_extensions"] == "false"
    number, unit = re.fullmatch(r"([0-9.]+) (MiB)", told["memory_limit"]).groups()  # type: ignore[union-attr]
    assert 0 < float(number) * 2**20 < 10**9, unit


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_is_named_by_itself_and_nothing_like_it(tmp_path: Path, name: str) -> None:
    for other in (*ODD_NAMES, "a1.csv", "ab.csv"):
        (tmp_path / other).write_text(f"name\n{other}\n")
    with connect("1GB", tmp_path) as database:
        files = listed([pattern(tmp_path / name)])
        rows = database.execute(
            f"SELECT name FROM read_csv({files}, header = true, delim = ';', quote = '')"
        ).fetchall()
    assert rows == [(name,)]


def test_the_files_of_a_data_set_are_patterns_of_their_own_names(tmp_path: Path) -> None:
    folder = tmp_path / "out[1]" / "cdr" / "submit_date=2026-09-02"
    folder.mkdir(parents=True)
    for name in ("b.parquet", "a.parquet"):
        (folder / name).touch()
    found = parts(f"{tmp_path}/out[1]/cdr/*/*.parquet")
    assert found == [pattern(folder / "a.parquet"), pattern(folder / "b.parquet")]
    assert parts(None) == parts(f"{tmp_path}/none/*/*.parquet") == []


def test_an_error_is_told_by_its_first_line() -> None:
    assert first_line(ValueError("  so\nand so")) == "so"
    assert first_line(ValueError(" \n ")) == "ValueError"
    assert str(trouble(duckdb.IOException("no file\nLINE 1"))).startswith(
        "the data set can't be read through: no file. If"
    )


def test_no_other_module_starts_a_database() -> None:
    """But for the tables of `demo`, which are made of nothing and read at once."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "duckdb.connect(" in path.read_text()
    }
    assert found == {"storage/duckdb_engine.py", "cli/commands/demo_tables.py"}


def test_what_can_not_be_read_has_its_code_and_names_what_to_do() -> None:
    found = trouble(ValueError("no magic bytes in part-1.parquet"))
    assert found.code == "data.unreadable"
    assert "no magic bytes in part-1.parquet" in str(found)
    assert "verify --deep" in str(found)


def test_a_connection_has_two_threads_unless_another_number_is_asked_for(tmp_path: Path) -> None:
    with connect("1GB", tmp_path) as database:
        assert database.execute("SELECT current_setting('threads')").fetchone() == (2,)


def test_the_rows_of_a_query_come_in_batches_none_of_them_empty(tmp_path: Path) -> None:
    room = Room("400MB", tmp_path)
    query = "SELECT n FROM range($n) AS r(n) ORDER BY n"
    for size in (0, 3, 200_000):
        batches = list(answers(query, {"n": size}, room))
        assert all(batch.num_rows for batch in batches)
        assert [n for batch in batches for n in batch.column(0).to_pylist()] == list(range(size))


def test_a_query_that_fails_is_told_as_an_error_of_the_data_set(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the data set can't be read through: .*none"):
        list(answers("FROM none", {}, Room("400MB", tmp_path)))


def test_a_query_reads_the_tables_that_it_is_offered(tmp_path: Path) -> None:
    engine = Engine(memory_limit="400MB", threads=1, scratch=str(tmp_path))
    table = pa.table({"id": ["b", "a"]})
    engine.offer("given", table.to_reader())
    found = list(engine.stream("SELECT id FROM given WHERE id > $least", {"least": "a"}))
    assert pa.Table.from_batches(found).to_pylist() == [{"id": "b"}]
    engine.close()
    with pytest.raises(duckdb.ConnectionException):
        list(engine.stream("SELECT 1", {}))


def test_a_pattern_without_a_folder_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.parquet", "a.parquet"):
        (tmp_path / name).touch()
    assert parts("*.parquet") == ["a.parquet", "b.parquet"]
    assert parts("a.parquet") == ["a.parquet"]
    assert parts("[ab].parquet") == ["a.parquet", "b.parquet"]
