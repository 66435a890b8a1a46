"""Who may ask the state database while a run is at work: one after another, and all of them."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from harvester.errors import StoreError
from harvester.state.database import get_meta, open_database, set_meta
from harvester.state.writer import InlineLedger, LedgerWriter

Ledger: TypeAlias = InlineLedger | LedgerWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(path, "acme")) as opened:
        yield opened


def failing(db: sqlite3.Connection) -> None:
    db.execute("SELECT * FROM none")


def test_the_second_begins_when_the_first_has_ended(db: sqlite3.Connection, path: Path) -> None:
    ledger = LedgerWriter(db, path)
    others: list[Future[None]] = []
    told: list[str] = []

    def first(_: sqlite3.Connection) -> None:
        # Another thread, if there were one, would not wait for this one.  No wait with a limit
        # here: under libfaketime it never ends.
        others.append(ledger.submit(lambda _: told.append("second")))
        time.sleep(0.05)
        told.append("first")

    ledger.submit(first).result()
    others[0].result()
    assert told == ["first", "second"]
    ledger.close()


def test_all_of_a_run_is_asked_on_one_thread_that_is_not_the_callers(
    db: sqlite3.Connection, path: Path
) -> None:
    ledger = LedgerWriter(db, path)
    asked = [ledger.submit(lambda _: threading.get_ident()) for _ in range(20)]
    ledger.close()
    assert len({one.result(0) for one in asked}) == 1
    assert asked[0].result(0) != threading.get_ident()


def test_what_is_queued_is_kept_before_the_database_may_be_closed(
    db: sqlite3.Connection, path: Path
) -> None:
    """Whoever closes the writer closes the database next."""
    ledger = LedgerWriter(db, path)
    asked = [ledger.submit(set_meta, "mark", str(number)) for number in range(30)]
    ledger.close()
    assert all(one.done() for one in asked)
    assert get_meta(db, "mark") == "29"


async def test_who_asks_on_the_event_loop_gets_the_answer_and_keywords_go_along(
    db: sqlite3.Connection, path: Path
) -> None:
    ledger = LedgerWriter(db, path)
    await ledger.call(set_meta, key="mark", value="kept")
    assert await ledger.call(get_meta, "mark") == "kept"
    with pytest.raises(StoreError, match="no such table"):
        await ledger.call(failing)
    ledger.close()


@pytest.mark.parametrize("kind", [InlineLedger, LedgerWriter])
def test_an_error_of_sqlite_is_told_with_the_file_and_what_to_do(
    db: sqlite3.Connection, path: Path, kind: Callable[[sqlite3.Connection, Path], Ledger]
) -> None:
    ledger = kind(db, path)
    with pytest.raises(StoreError, match=r"state\.db failed: no such table") as told:
        ledger.submit(failing).result(10)
    assert told.value.code == "state.failed"
    assert ledger.submit(get_meta, "account").result(10) == "acme"


def test_before_a_run_begins_the_answer_is_there_at_once(
    db: sqlite3.Connection, path: Path
) -> None:
    ledger = InlineLedger(db, path)
    done = ledger.submit(lambda _: threading.get_ident())
    assert done.done()
    assert done.result() == threading.get_ident()
