"""The state database against itself: bits of the list, ranges of the journal, inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.analysis.verify.check_state import check_inputs, check_list, check_publications
from harvester.analysis.verify.findings import Finding
from harvester.state import work_lists
from harvester.state.database import open_database
from harvester.state.values import CHUNK_ROWS, WorkList
from harvester.storage.output import Output, make_folders

ROWS = CHUNK_ROWS + 12


@pytest.fixture
def output(tmp_path: Path) -> Output:
    found = Output(tmp_path)
    make_folders(found, 0o750)
    return found


@pytest.fixture
def db(output: Output) -> Iterator[Connection]:
    with closing(open_database(output.database, "default")) as found:
        yield found


def listed(db: Connection, output: Output, bits: dict[int, bytes | None], resolved: int) -> None:
    """A list of two chunks, the last of twelve rows, of which so many have an outcome."""
    table = pa.table({"voice_id": [f"{n:019}" for n in range(ROWS)]})
    pq.write_table(table, output.lists / "list-1.parquet")
    work_lists.replace_list(db, WorkList(1, None, "list-1.parquet", None, ROWS, 0, 0))
    if resolved >= 3:
        db.execute("UPDATE list SET delivered = ?, open = 1, dead = 2", (resolved - 3,))
    ((number,),) = db.execute("SELECT id FROM list")
    db.executemany(
        "INSERT INTO chunk VALUES (?, ?, ?)", [(number, no, b) for no, b in bits.items()]
    )


def told(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(one.kind, one.what) for one in findings]


def test_bits_that_are_as_many_as_the_outcomes_are_no_finding(
    db: Connection, output: Output
) -> None:
    # All rows of the first chunk, and three of the twelve of the last, its last row among them.
    listed(db, output, {0: None, 1: bytes([0b0000_0101, 0b0000_1000])}, CHUNK_ROWS + 3)
    assert told(check_list(db, output)) == []


@pytest.mark.parametrize("off", [-1, 1])
def test_outcomes_that_are_not_as_many_as_the_bits_are_damage(
    db: Connection, output: Output, off: int
) -> None:
    listed(db, output, {0: None}, CHUNK_ROWS + off)
    what = f"{CHUNK_ROWS} rows are marked resolved, its counters say {CHUNK_ROWS + off}"
    assert told(check_list(db, output)) == [("bits", what)]


@pytest.mark.parametrize(
    "bits",
    [
        bytes([0b0000_0111]),
        bytes([0b0000_0111, 0, 0]),
        # The thirteenth row, of twelve.
        bytes([0b0000_0011, 0b0001_0000]),
    ],
    ids=["too short", "too long", "a bit behind the end"],
)
def test_a_bitmap_has_the_size_of_its_chunk_and_no_bit_behind_its_end(
    db: Connection, output: Output, bits: bytes
) -> None:
    listed(db, output, {1: bits}, 3)
    what = "the bitmap of chunk 1 has not the size that the list needs"
    assert ("bits", what) in told(check_list(db, output))


def test_a_chunk_beyond_the_list_or_of_another_one_is_damage(
    db: Connection, output: Output
) -> None:
    listed(db, output, {2: bytes(2)}, 0)
    what = "the bitmap of chunk 2 has not the size that the list needs"
    assert told(check_list(db, output)) == [("bits", what)]
    db.execute("UPDATE chunk SET list = 99")
    assert told(check_list(db, output)) == [
        ("bits", "1 chunk(s) belong to a list that is gone"),
    ]


def published(db: Connection, *ranges: tuple[int, int]) -> list[tuple[str, str]]:
    for number, (lo, hi) in enumerate(ranges, 1):
        db.execute("INSERT INTO publication (lo, hi, state) VALUES (?, ?, 'live')", (lo, hi))
        if lo <= hi:
            path = f"submit_date=2026-11-01/part-{number}.parquet"
            db.execute(
                "INSERT INTO file (path, publication, rows, bytes, sha256, state) "
                "VALUES (?, ?, 1, 1, '', 'live')",
                (path, number),
            )
    return told(check_publications(db))


def test_ranges_of_the_journal_may_be_side_by_side_and_empty_ones_anywhere(
    db: Connection,
) -> None:
    assert published(db, (1, 3), (4, 4), (9, 12)) == []


@pytest.mark.parametrize("lo", [3, 2, 1])
def test_no_row_of_the_journal_is_published_twice(db: Connection, lo: int) -> None:
    what = f"publication 2 begins at {lo}, but 3 was published before"
    assert ("publication", what) in published(db, (1, 3), (lo, 5))


@pytest.mark.parametrize(
    ("column", "is_well"),
    [
        ("lines", False),
        ("bad", False),
        ("duplicate", False),
        ("distinct_ids", False),
        ("settled_before", False),
        ("listed", False),
        ("too_young", False),
        ("first_listed_ms", True),
    ],
)
def test_every_line_and_every_id_of_an_input_is_counted_once(
    db: Connection, column: str, *, is_well: bool
) -> None:
    # 100 lines: 10 bad, 20 again, 70 ids; of these 30 were known, 35 are listed, 5 are too young.
    db.execute(
        "INSERT INTO input (key, lines, bad, duplicate, distinct_ids, settled_before, listed, "
        "first_listed_ms, too_young) VALUES ('key', 100, 10, 20, 70, 30, 35, 1, 5)"
    )
    assert told(check_inputs(db)) == []
    db.execute(f"UPDATE input SET {column} = {column} + 1")
    assert [kind for kind, _ in told(check_inputs(db))] == ["control_totals"] * (not is_well)
