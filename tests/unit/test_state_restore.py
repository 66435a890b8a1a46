"""A ledger that was made anew: what it takes over, and what it knows of the time before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harvester.state import id_counts, publications, restore
from harvester.state.database import open_database, set_meta
from harvester.state.restore import take_over
from harvester.state.values import PartRecord

REBUILT_MS = 1_793_491_200_999
"""In the last millisecond of the first second of November 2026, UTC."""
OF_THAT_SECOND, OF_THE_NEXT = "20261101T000000Z-ffffff", "20261101T000001Z-000000"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as opened:
        yield opened


def part(path: str, publication: int, rewrite: int | None = None) -> PartRecord:
    return PartRecord(path, publication, 5, 99, "hash", rewrite)


def test_a_ledger_that_was_not_made_anew_knows_of_nothing_before(db: sqlite3.Connection) -> None:
    assert not restore.is_rebuilt(db)
    assert restore.unrated_before(db) == 0
    assert restore.lost_before(db) == (0, 0)
    assert not restore.runs_before(db)(OF_THAT_SECOND)


def test_what_is_not_said_of_the_time_before_is_nothing(db: sqlite3.Connection) -> None:
    take_over(db, [], REBUILT_MS)
    assert restore.is_rebuilt(db)
    assert restore.unrated_before(db) == 0
    assert restore.lost_before(db) == (0, 0)
    assert publications.newest_number(db) == 0
    assert not restore.runs_before(db)(OF_THAT_SECOND)


def test_what_is_said_of_the_time_before_is_kept(db: sqlite3.Connection) -> None:
    runs = ["run-2", "run-1"]
    take_over(db, [], REBUILT_MS, runs=iter(runs), newest=9, unrated=4, lost=(2, 3))
    assert restore.unrated_before(db) == 4
    assert id_counts.count_ids(db, 0).delivered_unrated == 4
    assert restore.lost_before(db) == (2, 3)
    found = [restore.runs_before(db)(run) for run in ("run-1", "run-2", "run-3")]
    assert found == [True, True, False]
    assert publications.prepare_rewrite(db) == 10, "no number is used twice"


def test_parts_are_live_and_have_the_publications_that_brought_them(
    db: sqlite3.Connection,
) -> None:
    parts = [
        part("submit_date=2026-11-01/a", 3),
        part("submit_date=2026-11-01/b", 3),
        part("submit_date=2026-11-02/c", 3, rewrite=5),
        part("change_date=2026-11-03/d", 4),
    ]
    take_over(db, parts, REBUILT_MS)
    known = publications.known_parts(db)
    assert {one.path: known[one.path].state for one in parts} == dict.fromkeys(known, "live")
    there = Path().joinpath
    assert publications.current_parts(db, there) == parts[:3]
    assert publications.current_parts(db, there, changes=True) == parts[3:]
    found = [
        (one.id, one.kind, one.state, one.records) for one in publications.all_publications(db)
    ]
    assert found == [(3, "append", "live", 0), (4, "change", "live", 0), (5, "rewrite", "live", 0)]
    assert publications.prepare_rewrite(db) == 6


def test_an_older_version_wrote_down_the_time_alone(db: sqlite3.Connection) -> None:
    """A run of the same second may have been before; one of the next was after."""
    set_meta(db, "rebuilt_ms", str(REBUILT_MS))
    is_before = restore.runs_before(db)
    assert is_before(OF_THAT_SECOND)
    assert not is_before(OF_THE_NEXT)
    assert not is_before(OF_THE_NEXT[:16]), "its time alone"
