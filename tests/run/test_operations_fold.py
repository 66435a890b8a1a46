"""`harvester compact` folds changes into the rows, and lifts rows to newer columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.errors import StoreError
from harvester.operations.compact import Compacted, Order, compact
from harvester.pipeline.publish.edits import unfolded
from harvester.state.belongs import data_version
from harvester.state.database import open_database
from harvester.storage.disk import RealDisk
from tests.support.changes import change, current, rows_of
from tests.support.events import SignallingEvents
from tests.support.fakes import ACCOUNT, House
from tests.support.nights import DAYS, damage, nights, run_of

ALL = Order(min_files=2, older_than_s=0)
REFETCH = "20261001T000000Z-00000a"
ONE = f"{DAYS[0].replace('-', '')[2:]}1200000000000"
OTHER = f"{DAYS[0].replace('-', '')[2:]}1200000000001"
THIRD = f"{DAYS[2].replace('-', '')[2:]}1200000000007"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(nights(tmp_path / "out")) as made:
        yield made


def folded(house: House, order: Order = ALL) -> Compacted:
    house.close()
    done = compact(house.config, order, SignallingEvents())
    house.db = open_database(house.output.database, ACCOUNT)
    return done


def typed(rows: dict[str, dict[str, Any]]) -> dict[str, tuple[str, Decimal, str]]:
    return {name: (row["folder"], row["cost"], row["run_id"]) for name, row in rows.items()}


def test_the_newest_change_becomes_the_row_and_no_row_moves(house: House) -> None:
    change(house, {ONE: "1", THIRD: "3"}, REFETCH)
    change(house, {ONE: "2.5", OTHER: "0.00000001"}, REFETCH.replace("a", "b"))
    before, now = rows_of(house), current(house)
    assert before[ONE]["cost"] == 0
    done = folded(house, Order(min_files=100, older_than_s=0))
    assert (done.dates, done.folded, done.rows, done.few_files) == (2, 4, 80, 1)
    assert typed(rows_of(house)) == typed(now)
    assert typed(now)[ONE] == (f"submit_date={DAYS[0]}", Decimal("2.5"), REFETCH.replace("a", "b"))
    assert unfolded(house.db, house.output, GROUP_RECORD) == {}
    house.close()
    assert damage(house) == []
    again = compact(house.config, Order(min_files=100, older_than_s=0), SignallingEvents())
    assert (again.dates, again.folded) == (0, 0)


def test_what_came_after_a_fold_is_folded_by_the_next(house: House) -> None:
    change(house, {ONE: "1"}, REFETCH)
    folded(house)
    change(house, {ONE: "2", OTHER: "7"}, REFETCH.replace("a", "b"))
    waiting = unfolded(house.db, house.output, GROUP_RECORD)
    assert {name: one.changes for name, one in waiting.items()} == {f"submit_date={DAYS[0]}": 2}
    now = current(house)
    assert folded(house).folded == 2
    assert typed(rows_of(house)) == typed(now)
    house.close()
    assert damage(house) == []


def test_a_state_that_forgot_what_was_folded_folds_again_and_nothing_differs(house: House) -> None:
    change(house, {ONE: "1", THIRD: "4"}, REFETCH)
    folded(house)
    now = rows_of(house)
    house.db.execute("UPDATE publication SET note = NULL")
    assert folded(house).folded == 2
    assert typed(rows_of(house)) == typed(now)


def test_a_row_that_somebody_changed_is_not_overwritten(house: House) -> None:
    change(house, {ONE: "1"}, REFETCH)
    change(house, {ONE: "2"}, REFETCH.replace("a", "b"))
    number = house.db.execute("SELECT max(id) FROM publication").fetchone()[0]
    # The first change is lost: the row is none that the second one tells of.
    lost = house.db.execute("SELECT path FROM file WHERE publication = ?", (number - 1,)).fetchone()
    house.db.execute("DELETE FROM file WHERE path = ?", lost)
    house.output.place_of(lost[0]).unlink()
    before = typed(rows_of(house))
    with pytest.raises(StoreError, match=f"the row of call {ONE} in .* is none") as raised:
        folded(house)
    assert raised.value.code == "data.not_proved"
    assert typed(rows_of(house)) == before


def test_a_change_of_a_call_without_a_row_stops_it(house: House) -> None:
    change(house, {ONE: "1"}, REFETCH)
    house.db.execute("UPDATE file SET state = 'retired' WHERE path LIKE ?", (f"%{DAYS[0]}%",))
    for path in house.output.cdr.glob(f"*{DAYS[0]}/*.parquet"):
        if ONE in rows_in(path):
            path.unlink()
        else:
            house.db.execute("UPDATE file SET state = 'live' WHERE path LIKE ?", (f"%{path.name}",))
    with pytest.raises(StoreError, match=f"call {ONE} has a change, but no row"):
        folded(house)


def rows_in(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    found: list[str] = pq.read_table(path, partitioning=None)["voice_id"].to_pylist()
    return found


class Gone(BaseException):
    pass


class Cut(RealDisk):
    """Its power is cut after the first exchange, and what was staged is lost."""

    def exchange(self, one: Path, other: Path) -> None:
        super().exchange(one, other)
        if "=" in other.name:  # not the try whether folders can be exchanged
            raise Gone


def test_a_fold_that_a_power_cut_left_half_done_is_made_again_the_same(house: House) -> None:
    change(house, {ONE: "1", THIRD: "3"}, REFETCH)
    now = current(house)
    house.close()
    with pytest.raises(Gone):
        compact(house.config, ALL, SignallingEvents(), disk=Cut())
    for path in house.output.staging.glob(f"*/*{DAYS[2]}/*.parquet"):
        path.unlink()
    done = compact(house.config, ALL, SignallingEvents())
    assert (done.finished_publications, done.folded) == (1, 0)
    assert typed(rows_of(house)) == typed(now)
    assert damage(house) == []


# --- newer columns --------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Iterator[House]:
    with closing(nights(tmp_path / "out", version=GROUP_RECORD_1.version)) as made:
        yield made


def test_rows_and_changes_get_the_newest_columns_at_once(old: House) -> None:
    change(old, {ONE: "0.05"}, REFETCH)
    before = rows_of(old)
    assert "is_rated" not in before[ONE]
    done = folded(old, Order(min_files=100, older_than_s=0, schema=True))
    assert (done.lifted_from, done.folded) == (1, 1)
    after = rows_of(old)
    assert data_version(old.db, 0) == GROUP_RECORD.version
    for voice_id, row in before.items():
        new = {"is_rated": voice_id == ONE or row["cost"] > 0, "fetched_by": "single"}
        new["currency_presumed"] = False
        if voice_id != ONE:
            assert after[voice_id] == row | new
    assert after[ONE]["cost"] == Decimal("0.05")
    assert after[ONE]["currency_presumed"] is None, "no footer of changes/ says it of their rows"
    assert {after[one]["is_rated"] for one in after} == {True, False}
    old.close()
    assert damage(old) == []
    again = compact(old.config, Order(older_than_s=0, schema=True), SignallingEvents())
    assert again.lifted_from is None
    with closing(open_database(old.output.database, ACCOUNT)) as db:
        assert db.execute("SELECT count(*) FROM journal").fetchone() == (0,)


def test_a_destination_that_is_free_is_rated(tmp_path: Path) -> None:
    old = nights(tmp_path / "out", version=1)
    old.close()
    import msgspec

    free = msgspec.structs.replace(old.config.open_calls, free_destinations=("*",))
    config = msgspec.structs.replace(old.config, open_calls=free)
    compact(config, Order(older_than_s=0, schema=True), SignallingEvents())
    assert {row["is_rated"] for row in rows_of(old).values()} == {True}


def test_a_lift_that_was_cut_is_finished_with_the_newest_columns_everywhere(old: House) -> None:
    change(old, {ONE: "0.05"}, REFETCH)
    old.close()
    with pytest.raises(Gone):
        compact(old.config, Order(older_than_s=0, schema=True), SignallingEvents(), disk=Cut())
    for path in old.output.staging.glob("*/*/*.parquet"):
        path.unlink()
    done = compact(old.config, Order(older_than_s=0), SignallingEvents())
    assert done.finished_publications == 1
    assert {len(row) for row in rows_of(old).values()} == {len(GROUP_RECORD.columns) + 1}
    assert damage(old) == []


def test_the_run_after_it_writes_the_newest_columns(old: House) -> None:
    folded(old, Order(older_than_s=0, schema=True))
    assert old.kind is GROUP_RECORD
    assert {run_of(night) for night in range(10)} == {
        row["run_id"] for row in rows_of(old).values()
    }


def test_a_field_that_is_left_out_now_does_not_come_back_by_a_fold(tmp_path: Path) -> None:
    made = nights(tmp_path / "out", count=2)
    change(made, {ONE: "1"}, REFETCH, called_info="somebody", callee="49")
    made.close()
    import msgspec

    output = msgspec.structs.replace(made.config.output, omit_fields=("called_info",))
    config = msgspec.structs.replace(made.config, output=output)
    assert compact(config, ALL, SignallingEvents()).folded == 1
    row = rows_of(made)[ONE]
    assert (row["called_info"], row["callee"], row["cost"]) == (None, "49", Decimal(1))
    assert damage(made) == []
