"""Outputs in the states in which an audit may find them, harvested from the simulator."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.simulator import write_ids
from tests.support.harvesting import Harvest
from tests.support.shared import made_once
from tests.support.simulated import END, Simulator

SEED = 20261123
COUNT = 3_000
PUBLISH_RECORDS = 800
PUBLISHED_FIRST = 900
REQUESTS_OF_STOPPED = 2_000
RATE_OF_STOPPED = 500.0
LATER: dict[str, object] = {"open_calls__delays_s": [86_400.0]}
"""No open call is due before the last test, however long they all take."""


@dataclass(frozen=True)
class Outputs:
    """One harvest of COUNT ids, at three moments, and one that was killed."""

    ids_file: Path
    stopped: Path
    """One run was whole, the next was stopped by a signal: it has parts, a journal, open calls,
    dead letters, and ids that are pending on a list."""
    whole: Path
    """The run after that worked the list down and published everything."""
    killed: Path
    """A run was killed: SQLite's log was not taken in, and the run has no end."""

    @property
    def ids(self) -> list[str]:
        """What was harvested."""
        return self.ids_file.read_text().split()


def make_outputs(factory: pytest.TempPathFactory) -> Outputs:
    """Harvests under faults; nobody may change them."""
    folder = made_once(factory, "outputs", lambda place: _harvest(_in(place)))
    return _in(folder)


def _in(folder: Path) -> Outputs:
    return Outputs(folder / "ids.txt", folder / "stopped", folder / "whole", folder / "killed")


def _harvest(outputs: Outputs) -> None:
    write_ids(outputs.ids_file, COUNT, SEED, end=END, shuffled=True)
    some = outputs.ids_file.with_name("some.txt")
    some.write_text("\n".join(outputs.ids[:PUBLISHED_FIRST]))
    with Simulator(seed=SEED, rate_limit=0, faults="all", drip_s=1, slow_s=0.5) as vendor:
        first = Harvest(outputs.stopped, vendor.base_url, **LATER).run(some)
        assert first.code in (0, 3), first.err
        second = Harvest(
            outputs.stopped, vendor.base_url, pace__rate_per_s=RATE_OF_STOPPED, **LATER
        )
        process = second.start(outputs.ids_file)
        wait_for_requests(vendor, REQUESTS_OF_STOPPED)
        process.terminate()
        stopped = second.ended(process)
        assert stopped.code == 143, stopped.err
        shutil.copytree(outputs.stopped, outputs.whole)
        third = Harvest(
            outputs.whole, vendor.base_url, output__publish_records=PUBLISH_RECORDS, **LATER
        )
        done = third.run(outputs.ids_file)
        assert done.code in (0, 3), done.err
    with Simulator(seed=SEED, rate_limit=0, latency_ms=20) as vendor:
        process = Harvest(
            outputs.killed, vendor.base_url, output__publish_records=PUBLISH_RECORDS, **LATER
        ).start(outputs.ids_file)
        wait_for_requests(vendor, 1_500)
        process.kill()
        process.communicate()


def wait_for_requests(vendor: Simulator, count: int) -> None:
    """Return once the vendor was asked so often."""
    for _ in range(7_000):  # a busy machine takes its time to start a process
        if vendor.stats()["requests"] >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"the harvest never sent {count} requests")


def parts(out: Path) -> list[Path]:
    """The data set's files; first those of the list's runs, the most rows foremost.

    Damage is done to the first one: its ids stand on the list, and it has room for damage.  Which
    publication it is of depends on the order in which answers came, and nothing else may.
    """

    def rank(path: Path) -> tuple[bool, int, str]:
        is_of_the_first_run = path.stem.split("-")[2] == "1"
        return is_of_the_first_run, -pq.read_metadata(path).num_rows, path.name

    return sorted(out.glob("cdr/*/*.parquet"), key=rank)


def edit(out: Path, statement: str, *values: object) -> None:
    """Change the ledger by hand."""
    with closing(sqlite3.connect(out / "state" / "state.db")) as db:
        db.execute(statement, values)
        db.commit()


def look(out: Path, query: str, *values: object) -> list[Any]:
    """Read the ledger by hand."""
    with closing(sqlite3.connect(out / "state" / "state.db")) as db:
        return db.execute(query, values).fetchall()


def make_version_1(database: Path) -> None:
    """Give a state database without a rewrite the tables of version 1."""
    with closing(sqlite3.connect(database)) as db:
        db.executescript(_VERSION_1)


_VERSION_1 = """
BEGIN;
ALTER TABLE publication RENAME TO new_publication;
ALTER TABLE file RENAME TO new_file;
CREATE TABLE publication (
    id INTEGER PRIMARY KEY AUTOINCREMENT, lo INTEGER NOT NULL, hi INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'committed', 'live')));
CREATE TABLE file (
    path TEXT PRIMARY KEY, publication INTEGER NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, sha256 TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('committed', 'live'))) WITHOUT ROWID;
INSERT INTO publication SELECT id, lo, hi, state FROM new_publication;
INSERT INTO file SELECT path, publication, rows, bytes, sha256, state FROM new_file;
DELETE FROM sqlite_sequence WHERE name = 'publication';
UPDATE sqlite_sequence SET name = 'publication' WHERE name = 'new_publication';
DROP TABLE new_publication;
DROP TABLE new_file;
UPDATE meta SET value = '1' WHERE key = 'schema';
COMMIT;
"""


def fingerprint(out: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of everything in an output but the text of its lock."""
    return {
        path.relative_to(out).as_posix(): (path.lstat().st_mode, _content(path))
        for path in sorted(out.rglob("*"))
        if path != out / "state" / "lock"
    }


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def strip_identity(out: Path) -> None:
    """Make an output what versions were leaving that wrote down the account alone."""
    for path in parts(out):
        kept = {k: v for k, v in pq.read_metadata(path).metadata.items() if k not in _NEW_KEYS}
        _rewrite(path, kept)
        name = path.relative_to(out / "cdr").as_posix()
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        edit(out, "UPDATE file SET bytes = ?, sha256 = ? WHERE path = ?", size, sha256, name)
    edit(out, "DELETE FROM meta WHERE key IN ('partition_timezone', 'base_urls')")
    for path in out.glob("runs/*/state.parquet"):
        _rewrite(path, {})
    for path in out.glob("runs/*/summary.json"):
        summary = json.loads(path.read_text())
        del summary["first_publication"]
        path.write_text(json.dumps(summary))


_NEW_KEYS = {b"ARROW:schema", b"cdr.account", b"cdr.partition_timezone", b"cdr.base_urls"}


def _rewrite(path: Path, footer: dict[bytes, bytes]) -> None:
    with pq.ParquetFile(path) as file:
        rows = file.read().replace_schema_metadata(None)
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({k.decode(): v.decode() for k, v in footer.items()})
