"""What an output belongs to, as its ledger says: what is written down, and what holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.identity import Identity
from harvester.state.belongs import (
    binding,
    data_version,
    keep_data_version,
    keep_identity,
    read_identity,
)
from harvester.state.database import open_database

OWN = Identity(account="acme", timezone="UTC", addresses=("https://vendor.example/v",))
NEWEST = 7
ROWS = {
    "file": "('p', 1, 1, 1, 'h', 'live', NULL, NULL, NULL)",
    "journal": "(1, 'run-1', 1, 1, x'00', 'new')",
    "open_call": "('a', 1, 1, 1, 'run-1', NULL, NULL, NULL, NULL)",
    "dead_letter": "('a', 'gone', '', 1, 1, 1, 'run-1', 0, 0, NULL)",
    "listed_file": "('p', 1, 1)",
    "deferred": "('a', 'timeout', '', 1, 1, 'run-1', 1, '', NULL, NULL, 0, 0)",
    "run": "('run-1', 1, NULL, NULL, 1, '{}')",
    "taken": "(1, 'run-1', 1, x'00')",
}
"""A row of each table."""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as opened:
        yield opened


def enter(db: sqlite3.Connection, table: str) -> None:
    db.execute(f"INSERT INTO {table} VALUES {ROWS[table]}")


def test_an_identity_is_written_down_and_read_again(db: sqlite3.Connection) -> None:
    assert read_identity(db) == Identity(account="acme"), "as it was opened for"
    for own in (OWN, OWN, replace(OWN, addresses=("https://new.example/v",))):
        keep_identity(db, own)
        assert read_identity(db) == own
        assert not db.in_transaction


def test_what_is_written_down_already_is_not_written_again(db: sqlite3.Connection) -> None:
    keep_identity(db, OWN)
    keep_data_version(db, 3)
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    keep_identity(db, OWN)
    keep_data_version(db, 3)
    assert [text for text in statements if not text.startswith("SELECT")] == []


@pytest.mark.parametrize(
    ("table", "holds"),
    [
        (None, Identity(account="acme")),
        ("file", OWN),
        ("journal", replace(OWN, timezone=None)),
        ("open_call", replace(OWN, timezone=None)),
        ("dead_letter", replace(OWN, timezone=None)),
        ("listed_file", replace(OWN, timezone=None)),
        ("deferred", Identity(account="acme")),
        ("run", Identity(account="acme")),
    ],
)
def test_without_an_answer_no_address_holds_and_without_a_part_no_time_zone(
    db: sqlite3.Connection, table: str | None, holds: Identity
) -> None:
    keep_identity(db, OWN)
    if table is not None:
        enter(db, table)
    assert binding(db) == holds


@pytest.mark.parametrize(
    "table", ["file", "journal", "open_call", "dead_letter", "deferred", "run"]
)
def test_an_output_that_was_begun_before_versions_is_of_the_first(
    db: sqlite3.Connection, table: str
) -> None:
    assert data_version(db, NEWEST) == NEWEST, "a new one"
    enter(db, table)
    assert data_version(db, NEWEST) == 1


def test_the_version_that_was_written_down_is_that_of_the_output(db: sqlite3.Connection) -> None:
    enter(db, "file")
    for version in (3, 4):
        keep_data_version(db, version)
        assert data_version(db, NEWEST) == version
