"""Which ids of the data set are to be fetched again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.inputs.worklist.again import choose, in_order
from harvester.inputs.worklist.spec import Chosen, Selection
from harvester.storage.duckdb_engine import Engine

DAY = datetime(2026, 11, 1, tzinfo=UTC)
DAY_MS = int(DAY.timestamp() * 1000)
HOUR_MS = 3_600_000
TIME = pa.timestamp("ms", tz="UTC")
ROW = pa.schema(
    [
        ("voice_id", pa.string()),
        ("submit_time", TIME),
        ("hangup_time", TIME),
        ("is_final", pa.bool_()),
        ("is_rated", pa.bool_()),
    ]
)


def row(voice_id: str, hour: int | None = 0, **more: Any) -> dict[str, Any]:
    """A call that was made `hour` hours after midnight and ended an hour later."""
    at = None if hour is None else DAY + timedelta(hours=hour)
    ended = None if at is None else at + timedelta(hours=1)
    times = {"submit_time": at, "hangup_time": ended}
    return {"voice_id": voice_id, **times, "is_final": True, "is_rated": True, **more}


class Place:
    """Files of a data set, and what is chosen of them."""

    def __init__(self, root: Path, engine: Engine) -> None:
        self.root = root
        self.engine = engine
        self._files: dict[str, tuple[str, ...]] = {"parts": (), "changes": (), "erased": ()}

    def _add(self, what: str, table: pa.Table) -> None:
        path = self.root / f"{what}-{len(self._files[what])}.parquet"
        pq.write_table(table, path)
        self._files[what] += (str(path),)

    def part(self, *rows: dict[str, Any], schema: pa.Schema = ROW) -> None:
        self._add("parts", pa.Table.from_pylist(list(rows), schema))

    def change(self, *changes: tuple[int, dict[str, Any]]) -> None:
        """(publication, the row as it is) of each."""
        self._add(
            "changes",
            pa.table(
                {
                    "voice_id": pa.array([new["voice_id"] for _, new in changes], pa.string()),
                    "publication": pa.array([number for number, _ in changes], pa.int64()),
                    "new": pa.array([new for _, new in changes], pa.struct(list(ROW))),
                }
            ),
        )

    def erase(self, *ids: str) -> None:
        self._add("erased", pa.table({"voice_id": pa.array(ids, pa.string())}))

    def chosen(
        self, what: str = "delivered", wanted: Sequence[str] | None = None, **more: Any
    ) -> tuple[list[str], Chosen]:
        told: dict[str, Any] = {**self._files, **more}
        selection = Selection(what=what, **told)
        batches = None
        if wanted is not None:
            schema = pa.schema([("voice_id", pa.string())])
            batches = iter([pa.RecordBatch.from_pydict({"voice_id": list(wanted)}, schema)])
        path, counts = choose(selection, self.engine, batches, self.root)
        return sorted(pq.read_table(path)["voice_id"].to_pylist()), counts

    def ids(self, what: str = "delivered", **more: Any) -> str:
        return "".join(self.chosen(what, **more)[0])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with closing(Engine(memory_limit="200MB", threads=1, scratch=str(tmp_path))) as engine:
        yield Place(tmp_path, engine)


def test_of_no_data_nothing_is_chosen(place: Place) -> None:
    assert place.chosen() == ([], Chosen())
    assert place.chosen(wanted=["a"]) == ([], Chosen())


def test_calls_are_chosen_by_what_they_are(place: Place) -> None:
    place.part(row("a"), row("b", is_rated=False))
    place.part(row("c", is_final=False))
    assert place.chosen() == (["a", "b", "c"], Chosen(population=3))
    assert place.chosen("unrated") == (["b"], Chosen(population=1))
    assert place.chosen("not-final") == (["c"], Chosen(population=1))


def test_rows_of_the_oldest_version_are_all_rated(place: Place) -> None:
    place.part(row("a"), row("b", is_final=False), schema=ROW.remove(4))
    assert place.ids(has_rated=False) == "ab"
    assert place.ids("unrated", has_rated=False) == ""
    place.change((1, row("a", is_final=False)))
    assert place.ids("not-final", has_rated=False) == "ab"
    assert place.ids("unrated", has_rated=False) == ""


def test_bounds_hold_the_first_instant_and_not_the_last(place: Place) -> None:
    place.part(row("a", 0), row("b", 1), row("c", 2), row("d", None))
    first, last = DAY_MS + HOUR_MS, DAY_MS + 2 * HOUR_MS
    # One without a day is of an unbounded period only.
    assert place.ids() == "abcd"
    assert place.chosen(since_ms=first) == (["b", "c"], Chosen(population=2, left_out=2))
    assert place.chosen(until_ms=last) == (["a", "b"], Chosen(population=2, left_out=2))
    assert place.ids(since_ms=first, until_ms=last) == "b"
    assert place.ids(since_ms=first, until_ms=first) == ""
    assert place.ids(since_ms=last, column="hangup_time") == "bc"
    assert place.ids(until_ms=last, column="hangup_time") == "a"


def test_a_call_is_what_its_newest_change_says(place: Place) -> None:
    place.part(row("a"), row("b", is_rated=False), row("c"))
    place.change((2, row("a", 5, is_rated=False)), (3, row("b", is_rated=True)))
    place.change((1, row("a", is_final=False)), (9, row("x", is_rated=False)))
    assert place.ids() == "abc"
    assert place.ids("unrated") == "a"
    assert place.ids("not-final") == ""
    # Its day as well.
    assert place.ids(since_ms=DAY_MS + HOUR_MS) == "a"
    assert place.ids(until_ms=DAY_MS + HOUR_MS) == "bc"


def test_calls_whose_numbers_were_erased_are_left_out(place: Place) -> None:
    place.part(row("a"), row("b"), row("c", 3))
    place.erase("b", "x")
    assert place.chosen() == (["a", "c"], Chosen(population=2, left_out=1))
    found = place.chosen(since_ms=DAY_MS + HOUR_MS)
    assert found == (["c"], Chosen(population=1, left_out=2))


def test_only_wanted_ids_are_chosen_and_some_of_the_others_are_named(place: Place) -> None:
    place.part(row("a"), row("b"), row("c", is_rated=False))
    assert place.chosen(wanted=["b", "a", "b"]) == (["a", "b"], Chosen(population=2))
    one = Chosen(population=1, outside=1, outside_ids=("x",))
    assert place.chosen(wanted=["a", "x"]) == (["a"], one)
    strange = [f"x{number:02}" for number in range(12)]
    found, counts = place.chosen(wanted=["c", *reversed(strange), strange[0]])
    assert (found, counts.population, counts.left_out) == (["c"], 1, 0)
    assert (counts.outside, counts.outside_ids) == (12, tuple(strange[:10]))
    # One that the data set has is not outside, also where it is none such as is wanted.
    assert place.chosen("unrated", wanted=["a", "c"]) == (["c"], Chosen(population=1))
    assert place.chosen(wanted=[]) == ([], Chosen())
    place.change((1, row("a", is_final=False)))
    assert place.chosen("not-final", wanted=["a", "b"])[0] == ["a"]


def test_a_sample_is_drawn_by_id_and_salt(place: Place) -> None:
    ids = [f"{number:03}" for number in range(400)]
    place.part(*(row(one) for one in ids))
    half, counts = place.chosen(share=0.5, salt="one")
    assert counts == Chosen(population=400)
    # Of 400 by chance 200, and hardly ever 40 (four standard deviations) more or less.
    assert 160 < len(half) < 240
    assert place.chosen(share=0.5, salt="one")[0] == half
    other = place.chosen(share=0.5, salt="other")[0]
    assert 60 < len({*half} & {*other}) < 140
    assert place.chosen(share=1.0)[0] == ids
    # A smaller sample is part of a greater one, and never of none.
    few = place.chosen(share=0.05, salt="one")[0]
    assert {*few} < {*half}
    (least,) = place.chosen(share=1e-12, salt="one")[0]
    assert least in few
    assert place.chosen(share=0.5, since_ms=DAY_MS + HOUR_MS)[0] == []


def test_ids_are_listed_once_in_order_and_not_if_they_are_new(place: Place) -> None:
    names = {"one": ["c", "a", "b"], "two": ["b", "d"], "new": ["a", "x"], "none": []}
    paths = {name: place.root / f"{name}.parquet" for name in names}
    for name, ids in names.items():
        pq.write_table(pa.table({"voice_id": pa.array(ids, pa.string())}), paths[name])

    def listed(new: str) -> list[str]:
        files = [paths["one"], paths["two"]]
        batches = in_order(place.engine, files, [paths[new]])
        return [one for batch in batches for one in batch.column("voice_id").to_pylist()]

    assert listed("new") == ["b", "c", "d"]
    assert listed("none") == ["a", "b", "c", "d"]
