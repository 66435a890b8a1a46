"""runs/latest.json, and the recipes of docs/reading.md that go by it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from harvester.operations.compact import Order, compact
from harvester.operations.drop import Order as DropOrder
from harvester.operations.drop import drop
from harvester.operations.publish import publish_journal as publish
from harvester.state.database import open_database
from tests.support.changes import change, current, rows_of
from tests.support.events import SignallingEvents
from tests.support.fakes import ACCOUNT, House
from tests.support.nights import DAYS, nights
from tests.support.simulated import ROOT

REFETCH = "20261001T000000Z-00000a"
ALL = Order(min_files=2, older_than_s=0)
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/reading.md").read_text(), re.DOTALL)


def recipe(name: str) -> Callable[[Path, Path], None]:
    """A function of the page."""
    (code,) = (one for one in BLOCKS if f"def {name}(" in one)
    found: dict[str, Any] = {}
    exec(code, found)
    return found[name]  # type: ignore[no-any-return]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(nights(tmp_path / "out", count=3)) as made:
        made.close()
        publish(made.config, SignallingEvents())
        yield made


def latest(house: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((house.output.runs / "latest.json").read_text())
    return found


def changed(house: House, costs: dict[str, str]) -> None:
    house.db = open_database(house.output.database, ACCOUNT)
    change(house, costs, REFETCH)
    house.close()
    publish(house.config, SignallingEvents())


def test_it_tells_what_came_and_what_went(house: House) -> None:
    first = latest(house)
    assert (first["since"], first["through"], len(first["new"])) == (0, 3, 9)
    assert first["superseded"] == []
    there = {
        path.relative_to(house.output.root).as_posix() for path in house.output.cdr.glob("*/*")
    }
    assert {file["path"] for file in first["new"]} == there
    for file in first["new"]:
        assert pq.read_metadata(house.output.root / file["path"]).num_rows == file["rows"]
    compact(house.config, ALL, SignallingEvents())
    second = latest(house)
    assert (second["since"], second["through"]) == (3, 4)
    assert set(second["superseded"]) == there
    assert {file["date"] for file in second["new"]} == set(DAYS)
    drop(
        house.config,
        DropOrder(before=date.fromisoformat(DAYS[1]), is_meant=True),
        SignallingEvents(),
    )
    third = latest(house)
    assert third["new"] == []
    assert [path.split("/")[1] for path in third["superseded"]] == [f"submit_date={DAYS[0]}"]


def test_a_field_whose_name_is_a_number_leaves_none_in_the_state(tmp_path: Path) -> None:
    house = nights(tmp_path / "out", count=1, more=lambda _: '"491701112223":"v",')
    (note,) = house.db.execute("SELECT note FROM publication").fetchone()
    house.close()
    assert "491701112223" not in note
    assert json.loads(note)["extra"] == {"odd": 12}


def test_where_nothing_was_published_it_stays(house: House) -> None:
    before = latest(house)
    publish(house.config, SignallingEvents())
    assert latest(house) == before


@pytest.mark.parametrize("missed", [False, True])
def test_the_recipe_for_a_copy(tmp_path: Path, house: House, missed: bool) -> None:
    copy, target = recipe("copy"), tmp_path / "copy"
    target.mkdir()
    copy(house.output.root, target)
    changed(house, {min(rows_of(house)): "7"})
    if not missed:
        copy(house.output.root, target)
    compact(house.config, ALL, SignallingEvents())
    copy(house.output.root, target)
    copy(house.output.root, target)
    for area in ("cdr", "changes"):
        there = {path.name: path.read_bytes() for path in (target / area).glob("*/*")}
        ours = {path.name: path.read_bytes() for path in (house.output.root / area).glob("*/*")}
        assert there == ours


def test_the_recipe_for_a_table(tmp_path: Path, house: House) -> None:
    load, table = recipe("load"), tmp_path / "calls.duckdb"
    load(house.output.root, table)
    one, other = sorted(rows_of(house))[:2]
    changed(house, {one: "7", other: "8"})
    load(house.output.root, table)
    changed(house, {one: "9"})
    load(house.output.root, table)
    load(house.output.root, table)
    compact(house.config, ALL, SignallingEvents())
    load(house.output.root, table)
    with duckdb.connect(str(table)) as db:
        found = dict(db.execute("SELECT voice_id, cost FROM call").fetchall())
    assert found == {name: row["cost"] for name, row in current(house).items()}
