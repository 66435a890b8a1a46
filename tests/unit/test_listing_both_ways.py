"""Which calls are drawn, and what is made of what both ways gave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.client.record_group import Listed, Page, Query
from harvester.client.verdicts import RawRecord, Record
from harvester.dataset.group_record import GROUP_RECORD
from harvester.pipeline.listing.both_ways import (
    Asks,
    BothWays,
    Comparer,
    Drawn,
    draw,
    times_of,
)
from harvester.pipeline.listing.rows import SCHEMA, Row, table_of
from harvester.pipeline.listing.windows import Window

AT_MS = 1_795_000_000_000
DAY = Window(AT_MS // 1000, AT_MS // 1000 + 86_400)


def write(path: Path, ids: list[str], ms: int | None = AT_MS) -> Path:
    rows = [Row(one, ms, False, None, None, None, True, True, 5) for one in ids]
    pq.write_table(pa.table(table_of(rows), schema=SCHEMA), path)
    return path


def test_the_same_seed_draws_the_same_however_files_name_them(tmp_path: Path) -> None:
    ids = [f"{number:06}" for number in range(3_000)]
    whole = [(write(tmp_path / "a", ids), DAY)]
    parts = [
        (write(tmp_path / "b", ids[1_000:]), DAY),
        (write(tmp_path / "c", ids[:2_000][::-1]), DAY),
    ]
    drawn = draw(whole, 100, 7)
    assert drawn == draw(parts, 100, 7)
    assert len({one.voice_id for one in drawn}) == 110
    assert drawn[:50] == draw(whole, 50, 7)[:50]
    assert drawn != draw(whole, 100, 8)
    # By chance: neither end of the list is preferred.
    assert 25 < sum(one.voice_id < "001500" for one in drawn) < 85


def test_all_are_drawn_where_there_are_fewer_and_calls_of_other_days_never(tmp_path: Path) -> None:
    files = [
        (write(tmp_path / "a", ["1", "2"]), DAY),
        (write(tmp_path / "b", ["3"], None), DAY),
        (write(tmp_path / "c", ["4"], AT_MS - 1), DAY),
        (write(tmp_path / "d", ["5"], AT_MS + 86_400_000), DAY),
    ]
    drawn = {(one.voice_id, one.submit_ms) for one in draw(files, 9, 1)}
    assert drawn == {("1", AT_MS), ("2", AT_MS), ("3", None)}


class Vendor:
    """Has one call a second; `listed` and `single` are what each way says, look by look."""

    def __init__(self, calls: dict[str, tuple[list[object], list[object]]]) -> None:
        self._calls = calls
        self._order = list(calls)

    async def record(self, voice_id: str) -> Record | str:
        said = self._said(voice_id, 1)
        return said if isinstance(said, str) else Record(True, records=(said,))

    async def page(self, query: Query) -> Page | str:
        found = []
        for at, voice_id in enumerate(self._order):
            if query.start_s <= AT_MS // 1000 + at * 10 <= query.end_s:
                said = self._said(voice_id, 0)
                if isinstance(said, str):
                    return said
                found.append(Listed(said, None))
        return Page(len(found), tuple(found), len(found))

    def _said(self, voice_id: str, way: int) -> RawRecord | str:
        looks = self._calls[voice_id][way]
        said = looks.pop(0) if len(looks) > 1 else looks[0]
        return said if isinstance(said, str) else self._record(voice_id, said)

    def _record(self, voice_id: str, fields: object) -> RawRecord:
        assert isinstance(fields, dict)
        at = datetime.fromtimestamp(AT_MS // 1000 + self._order.index(voice_id) * 10, UTC)
        data = {"voiceId": voice_id, "submitTime": at.isoformat(), **fields}
        return RawRecord(voice_id, json.dumps({"status": "0", "data": data}).encode(), True)


def compared(
    calls: dict[str, tuple[list[object], list[object]]], wanted: int | None = None
) -> BothWays:
    vendor = Vendor(calls)
    drawn = [Drawn(voice_id, None) for voice_id in calls]
    comparer = Comparer(GROUP_RECORD, drawn, wanted or len(calls), 1, None)

    async def each(items: Iterator[Drawn], do: Callable[[Asks, Drawn], Awaitable[None]]) -> None:
        for item in items:
            await do(vendor, item)

    asyncio.run(comparer.compare(each))
    return comparer.found


CALL = {"terminationCode": "200", "cost": "1"}
DEAR = {"terminationCode": "200", "cost": "2"}
CODED = {"terminationCode": "0", "cost": "1"}


def test_equal_is_equal_and_what_differs_twice_is_named() -> None:
    found = compared({"1": ([CALL], [CALL]), "2": ([CALL], [DEAR]), "3": ([CODED], [CALL])})
    assert (found.drawn, found.equal, found.differing, found.codes) == (3, 2, 1, {"0": "200"})
    assert [(one.voice_id, one.columns) for one in found.differences] == [("2", ("cost",))]


@pytest.mark.parametrize(
    ("listed", "single"), [([CALL, DEAR], [DEAR]), ([DEAR], [CALL, DEAR]), ([CALL, DEAR], [CALL])]
)
def test_what_changes_between_two_looks_is_judged_by_the_second(
    listed: list[object], single: list[object]
) -> None:
    found = compared({"1": (list(listed), list(single))})
    assert found.differing == (listed[-1] != single[-1]) * (listed[0] != single[0])


def test_of_two_spellings_for_one_the_rarer_is_a_difference() -> None:
    found = compared(
        {
            "1": ([CODED], [CALL]),
            "2": ([CODED], [CODED]),
            "3": ([CODED], [CALL]),
            "4": ([CALL], [CALL]),
        }
    )
    assert found.codes == {"0": "200"}
    assert [(one.voice_id, one.columns) for one in found.differences] == [
        ("2", ("termination_code",))
    ]
    assert (found.equal, found.differing) == (3, 1)


def test_what_one_way_has_not_is_apart_and_another_one_takes_its_place() -> None:
    calls: dict[str, tuple[list[object], list[object]]] = {
        "1": ([CALL], ["no_record"]),
        "2": (["http_500"], [CALL]),
        "3": ([CALL], [CALL]),
        "4": ([CALL], [CALL]),
        "5": ([CALL], [CALL]),
    }
    found = compared(calls, 2)
    assert (found.drawn, found.equal, found.apart) == (4, 2, {"http_500": 1, "no_record": 1})
    assert not found.is_told


@pytest.mark.parametrize("other_s", [-500, 500])
def test_a_second_that_could_not_be_looked_at_is_told_before_one_that_has_no_such_call(
    other_s: int,
) -> None:
    """Its times lie apart: the list fails in the one's second, and has nothing in the other's."""
    at = datetime.fromtimestamp(AT_MS // 1000 + other_s, UTC).isoformat()
    found = compared({"1": (["http_500"], [{**CALL, "callTime": at}])})
    assert (found.drawn, found.apart) == (1, {"http_500": 1})


def test_whoever_stops_a_comparison_is_not_asked_to_go_on() -> None:
    calls: dict[str, tuple[list[object], list[object]]] = {
        str(number): ([CALL], [CALL]) for number in range(6)
    }
    vendor = Vendor(calls)
    comparer = Comparer(GROUP_RECORD, [Drawn(one, None) for one in calls], 3, 1, None)
    times: list[int] = []

    async def each(items: Iterator[Drawn], do: Callable[[Asks, Drawn], Awaitable[None]]) -> None:
        times.append(1)
        await do(vendor, next(items))

    asyncio.run(comparer.compare(each))
    assert (len(times), comparer.found.drawn, comparer.found.equal) == (1, 1, 1)


@pytest.mark.parametrize(
    ("equal", "differing", "apart", "is_proof"),
    [
        (100, 0, 0, True),
        (99, 0, 0, False),
        (100, 1, 0, False),
        (90, 0, 10, False),
        (108, 0, 12, True),
        (107, 0, 13, False),
    ],
)
def test_what_proves_that_the_list_tells_the_truth(
    equal: int, differing: int, apart: int, is_proof: bool
) -> None:
    found = BothWays(
        seed=1,
        wanted=equal,
        drawn=equal + differing + apart,
        equal=equal,
        differing=differing,
        differences=(),
        apart={"no_record": apart},
        codes={},
    )
    assert found.is_proof is is_proof


def test_times_that_cannot_be_read_are_left_out() -> None:
    raw = (
        b'{"status":"0","data":{"submitTime":"2026-11-20T00:00:00Z","callTime":{},"hangupTime":""}}'
    )
    assert times_of(raw) == {"submitTime": 1_795_132_800_000}
    assert times_of(b"[") == {}
