"""docs/reading.md, tried with the readers that are here anyway; `make readers` tries the others."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from harvester.dataset.group_record import GROUP_RECORD
from tests.support.pages import blocks
from tests.support.readers import PAGE, SUMS, make_data, sums


@pytest.mark.parametrize("reader", ["DuckDB", "pyarrow", "Polars"])
def test_the_pages_block_gives_the_sums(tmp_path: Path, reader: str) -> None:
    make_data(tmp_path)
    assert sums(reader, tmp_path, sys.executable) == SUMS


def test_the_table_of_postgresql_has_the_columns_in_their_order() -> None:
    (load,) = blocks(PAGE, "## PostgreSQL", "sql")
    table = re.search(r"(?s)EXISTS cdr \((.*?)\n\);", load)
    assert table
    columns = [part.split()[0] for part in re.sub(r"\(.*?\)", "", table[1]).split(",")]
    assert columns == list(GROUP_RECORD.schema.names)
    types = dict(part.split()[:2] for part in re.sub(r"\(.*?\)", "", table[1]).split(","))
    money = {name for name, kind in types.items() if kind == "numeric"}
    assert money == {
        field.name for field in GROUP_RECORD.schema if str(field.type).startswith("decimal")
    }
