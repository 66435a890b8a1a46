"""Rows as CSV, JSON lines, text and Parquet."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.cli.ui.row_output import opened, write_parts
from harvester.errors import UsageError

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("cost", pa.decimal128(20, 8)),
        ("seconds", pa.int32()),
        ("at", pa.timestamp("ms", tz="UTC")),
        ("is_final", pa.bool_()),
    ]
)
AT = datetime(2026, 11, 2, 10, 0, 5, 250_000, tzinfo=UTC)
ROWS: list[dict[str, object]] = [
    {"name": "a", "cost": Decimal("0.00000001"), "seconds": -5, "at": AT, "is_final": True},
    {"name": None, "cost": None, "seconds": None, "at": None, "is_final": None},
    {"name": 'x,"y"', "cost": Decimal("-12.5"), "seconds": 0, "at": AT, "is_final": False},
]


def written(form: str, file: Path, table: pa.Table) -> Path:
    with opened(form, file, table.schema) as sink:
        for batch in table.to_batches(max_chunksize=2):
            sink(batch)
    return file


def texts(*values: str | None) -> pa.Table:
    return pa.table({"text": pa.array(values, pa.string())})


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_take_for_a_formula_gets_an_apostrophe(
    tmp_path: Path, first: str
) -> None:
    file = written("csv", tmp_path / "a.csv", texts(f"{first}1+1", f"a{first}"))
    with file.open(newline="") as stream:
        assert [row[0] for row in csv.reader(stream)] == ["text", f"'{first}1+1", f"a{first}"]


def test_csv_has_a_header_all_digits_of_money_and_instants_in_utc(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS, SCHEMA)
    with written("csv", tmp_path / "a.csv", table).open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            SCHEMA.names,
            ["a", "0.00000001", "-5", "2026-11-02T10:00:05.250Z", "true"],
            ["", "", "", "", ""],
            ['x,"y"', "-12.50000000", "0", "2026-11-02T10:00:05.250Z", "false"],
        ], "our own numbers are no formulas"


def test_json_lines_have_money_as_text_and_no_apostrophe(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{**ROWS[0], "name": "=1"}, ROWS[1]], SCHEMA)
    lines = written("jsonl", tmp_path / "a.jsonl", table).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "name": "=1",
            "cost": "0.00000001",
            "seconds": -5,
            "at": "2026-11-02T10:00:05.250Z",
            "is_final": True,
        },
        dict.fromkeys(SCHEMA.names),
    ]


def test_whole_decimals_are_whole_numbers_in_json(tmp_path: Path) -> None:
    table = pa.table({"n": pa.array([Decimal(10**25), None], pa.decimal128(38, 0))})
    lines = written("jsonl", tmp_path / "a.jsonl", table).read_text().splitlines()
    assert lines == [f'{{"n":{10**25}}}', '{"n":null}']


def test_text_is_the_first_column_a_value_a_line(tmp_path: Path) -> None:
    table = pa.table({"voice_id": ["1", "2", "3"], "cost": [1, 2, 3]})
    assert written("txt", tmp_path / "a.txt", table).read_text() == "1\n2\n3\n"


def test_parquet_keeps_types_and_parts_are_written_one_after_the_other(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS, SCHEMA)
    parts = [written("parquet", tmp_path / f"{n}.parquet", table) for n in range(2)]
    assert pq.read_table(parts[0]).equals(table)
    write_parts("parquet", tmp_path / "all.parquet", SCHEMA, parts)
    assert pq.read_table(tmp_path / "all.parquet").to_pylist() == ROWS * 2


def test_a_file_is_there_when_it_is_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("older")

    def broken_off() -> None:
        with opened("csv", file, SCHEMA) as sink:
            sink(pa.RecordBatch.from_pylist(ROWS, SCHEMA))
            raise KeyError

    with pytest.raises(KeyError):
        broken_off()
    assert file.read_text() == "older"
    assert [one.name for one in tmp_path.iterdir()] == ["a.csv"]
    written("csv", file, texts("x"))
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError) as refused, opened("csv", tmp_path / "no" / "a", SCHEMA):
        pass
    assert refused.value.code == "usage.unwritable"
