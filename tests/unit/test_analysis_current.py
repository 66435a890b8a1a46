"""What a call is now: the newest of its changes, and its row where it has none."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.analysis.current import current_sql, priced_sql
from harvester.dataset.packing import NO_DATE

DAY = date(2026, 11, 2)
ROW = pa.schema(
    [("voice_id", pa.string()), ("cost", pa.decimal128(20, 2)), ("is_rated", pa.bool_())]
)
CHANGE = pa.schema(
    [
        ("voice_id", pa.string()),
        ("publication", pa.int64()),
        ("submit_date", pa.date32()),
        ("new", pa.struct(list(ROW))),
    ]
)


def row(voice_id: str, cost: int, *, is_rated: bool = True) -> dict[str, Any]:
    return {"voice_id": voice_id, "cost": Decimal(cost), "is_rated": is_rated}


def part(folder: Path, day: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"submit_date={day}" / "part.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, ROW), path)
    return path


def changes(folder: Path, *told: tuple[int, date | None, dict[str, Any]]) -> list[Path]:
    """Each in a file of its own: (publication, day of its folder in cdr/, the row as it is now)."""
    paths: list[Path] = []
    for publication, day, new in told:
        one = {"voice_id": new["voice_id"], "publication": publication, "submit_date": day}
        paths.append(folder / f"change-{publication}-{len(paths)}.parquet")
        pq.write_table(pa.Table.from_pylist([{**one, "new": new}], CHANGE), paths[-1])
    return paths


def asked(query: str) -> dict[str, Decimal | None]:
    with closing(duckdb.connect()) as database:
        found = database.execute(f"SELECT voice_id, cost FROM {query}").fetchall()
    assert len(dict(found)) == len(found), "each call once"
    return dict(found)


def test_the_newest_change_counts_whichever_file_it_is_in(tmp_path: Path) -> None:
    files = [part(tmp_path, str(DAY), [row("a", 1), row("b", 2)])]
    three = [(9, DAY, row("a", 9)), (10, DAY, row("a", 10)), (2, DAY, row("a", 2))]
    assert asked(current_sql(files, changes(tmp_path, *three))) == {"a": 10, "b": 2}
    assert asked(current_sql(files, [])) == {"a": 1, "b": 2}


@pytest.mark.parametrize("day", [DAY, None])
def test_of_one_folder_its_own_changes_count_also_of_that_without_a_day(
    tmp_path: Path, day: date | None
) -> None:
    name = NO_DATE if day is None else str(day)
    other = date(2026, 11, 3)
    files = [part(tmp_path, name, [row("a", 1), row("b", 2)])]
    found = changes(tmp_path, (5, day, row("a", 5)), (6, other, row("stranger", 6)))
    assert asked(current_sql(files, found, folder=f"submit_date={name}")) == {"a": 5, "b": 2}


def test_what_is_not_rated_has_no_price_whatever_stands_there(tmp_path: Path) -> None:
    rows = [row("a", 1), row("b", -1, is_rated=False), row("c", 0, is_rated=False), row("d", -1)]
    files = [part(tmp_path, str(DAY), [*rows, row("e", -2), row("f", 0)])]
    with closing(duckdb.connect()) as database:
        read = priced_sql(database, current_sql(files, []))
        assert database.execute(f"SELECT cost FROM {read} ORDER BY voice_id").fetchall() == [
            (Decimal(1),),
            *[(None,)] * 3,
            (Decimal(-2),),
            (Decimal(0),),
        ]
        old = priced_sql(database, "(SELECT unnest([7, -1, 0]) AS cost)")
        assert database.execute(f"SELECT cost, is_rated FROM {old}").fetchall() == [
            *[(7, None), (None, None), (0, None)]
        ]
