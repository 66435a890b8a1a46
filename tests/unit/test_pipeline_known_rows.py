"""What is known of calls: found in any file that may hold them, as their newest changes say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import StoreError
from harvester.pipeline.publish.known_rows import KnownRows
from harvester.state.values import PartRecord
from tests.support.changed_rows import change, changes, row, rows

FIRST, SECOND = "2026-11-01", "2026-11-02"
ROWS = {name: row(name, cost) for name, cost in zip("bdfh", "1234", strict=True)}


class Kept:
    """Files of cdr/ and changes/, in row groups of one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.parts: list[PartRecord] = []
        self.changes: list[PartRecord] = []

    def part(
        self, day: str, ids: str, *, told: bool = True, has_statistics: bool = True
    ) -> PartRecord:
        """`told`: whether the footer says which ids it has."""
        number = len(self.parts)
        path = f"submit_date={day}/part-s-{number}-0.parquet"
        ends = {"cdr.min_voice_id": ids[0], "cdr.max_voice_id": ids[-1]} if told else {}
        table = rows(*(ROWS[one] for one in ids))
        self._write(path, table, ends, has_statistics=has_statistics)
        self.parts.append(PartRecord(path, number, len(ids), 1, ""))
        return self.parts[-1]

    def change(self, *found: dict[str, Any]) -> None:
        number = len(self.changes)
        path = f"change_date={FIRST}/part-s-{number}-0.parquet"
        self._write(path, changes(*found), {})
        self.changes.append(PartRecord(path, number, len(found), 1, ""))

    def _write(
        self, path: str, table: pa.Table, footer: dict[str, str], *, has_statistics: bool = True
    ) -> None:
        place = self._root / path
        place.parent.mkdir(exist_ok=True)
        with pq.ParquetWriter(place, table.schema, write_statistics=has_statistics) as writer:
            writer.write_table(table, row_group_size=1)
            writer.add_key_value_metadata(footer)

    def known(self, ids: Iterable[str], day: str | None = None) -> list[tuple[str, str, str]]:
        """Id, cost and folder of what is known."""
        known = KnownRows(self.parts, self.changes, self._root.joinpath, GROUP_RECORD)
        found = known.of(pa.array(list(ids), pa.string()), day)
        assert found.rows.schema == GROUP_RECORD.schema
        costs = [f"{cost:.0f}" for cost in found.rows["cost"].to_pylist()]
        names = found.rows["voice_id"].to_pylist()
        return list(zip(names, costs, found.folders.to_pylist(), strict=True))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_rows_come_in_the_order_of_their_ids_each_with_its_folder(kept: Kept) -> None:
    kept.part(SECOND, "dh")
    kept.part(FIRST, "bf")
    found = [("b", "1", FIRST), ("d", "2", SECOND), ("f", "3", FIRST), ("h", "4", SECOND)]
    assert kept.known("hfdb") == found
    assert kept.known("abcdefghi") == found
    assert kept.known("hfdb", SECOND) == [found[1], found[3]]
    assert kept.known("hfdb", "2026-11-03") == []
    assert kept.known("") == []


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("has_statistics", [True, False])
@pytest.mark.parametrize(
    ("asked", "found"),
    [("b", "b"), ("f", "f"), ("d", "d"), ("a", ""), ("c", ""), ("g", ""), ("ag", ""), ("cd", "d")],
)
def test_a_call_is_found_at_either_end_of_a_file_and_in_between(
    kept: Kept, told: bool, has_statistics: bool, asked: str, found: str
) -> None:
    kept.part(FIRST, "bdf", told=told, has_statistics=has_statistics)
    assert "".join(name for name, _, _ in kept.known(asked)) == found


def test_what_has_changed_is_known_as_its_newest_change_has_it(kept: Kept) -> None:
    kept.part(FIRST, "bdf")
    once, twice = row("b", "7"), row("b", "8")
    kept.change(change(once, twice, 2), change(ROWS["f"], row("f", "9"), 1))
    kept.change(change(ROWS["b"], once, 1), change(ROWS["h"], row("h", "6"), 3))
    assert kept.known("bdf") == [("b", "8", FIRST), ("d", "2", FIRST), ("f", "9", FIRST)]
    assert kept.known("d") == [("d", "2", FIRST)]
    # A change without a row makes none.
    assert kept.known("bh") == [("b", "8", FIRST)]


def test_a_file_that_cant_be_read_is_named(kept: Kept, tmp_path: Path) -> None:
    gone = kept.part(FIRST, "bd")
    (tmp_path / gone.path).unlink()
    with pytest.raises(StoreError) as raised:
        kept.known("b")
    assert gone.path in str(raised.value)
    (tmp_path / gone.path).write_bytes(b"no parquet")
    with pytest.raises(StoreError):
        kept.known("b")
    # Of other days it does not matter.
    assert kept.known("b", SECOND) == []
