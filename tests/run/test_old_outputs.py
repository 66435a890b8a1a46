"""Outputs that older versions left (tests/old_outputs): each opens, runs, verifies and rebuilds."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from harvester import open_output
from harvester.simulator import make_ids
from tests.run.test_cli_commands import harvester
from tests.support.datasets import filled, write
from tests.support.harvesting import Harvest
from tests.support.outputs import fingerprint, look
from tests.support.simulated import END, ROOT, Simulator

ARCHIVES = sorted((ROOT / "tests" / "old_outputs").glob("*.tar.gz"))
# Those of make.sh: the vendor still says of each id what it said then.
FATES = "dead_param=0.02,open_then_final=0.02,open_forever=0.02,no_record=0.02"
NEW_COLUMNS = {"is_rated", "currency_presumed", "fetched_by"}
"""Those of version 2 of the columns; an output that was begun before it goes on without them."""
BEFORE = "state.db.before-2.15"
"""The copy of a ledger of version 1 that lacks `ctime_ns`, the first column that came later."""


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the old output `out` and its `all.txt`."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="tar")  # "data" drops the folders' modes
    return tmp_path


def of_json(home: Path, *words: object) -> dict[str, Any]:
    done = harvester(*words, "--out", "out", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(found)


def ids(out: Path, query: str) -> set[str]:
    return {str(row[0]) for row in look(out, query)}


def is_migrated(ledger: Path) -> bool:
    with closing(sqlite3.connect(ledger)) as db:
        return "ctime_ns" in {row[1] for row in db.execute("PRAGMA table_info(input_file)")}


def parts_of(out: Path) -> dict[str, tuple[int, str]]:
    return {name: how for name, how in fingerprint(out).items() if name.endswith(".parquet")}


def versions_of(out: Path) -> set[str]:
    """What the footers of the data set say; each file has the columns of its version."""
    found = set()
    for path in out.glob("cdr/*/*.parquet"):
        schema = pq.read_schema(path)
        said = (schema.metadata or {}).get(b"cdr.schema_version")
        if said is None:
            said = (pq.read_metadata(path).metadata or {})[b"cdr.schema_version"]
        assert not NEW_COLUMNS & set(schema.names) or said == b"2"
        found.add(said.decode())
    return found


def test_there_is_one() -> None:
    assert "645ca2a.tar.gz" in {path.name for path in ARCHIVES}


def test_it_holds_what_an_update_may_meet(home: Path) -> None:
    counts = (
        "SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {}), (SELECT count(*) FROM {})"
    )
    with_journal = look(home / "out", counts.format("journal", "open_call", "dead_letter"))
    assert all(number > 0 for number in with_journal[0])
    assert len(list(home.glob("out/runs/*/summary.json"))) == 3
    assert look(home / "out", "SELECT count(*) FROM run WHERE ended_ms IS NULL") == [(1,)]


def test_what_only_reads_reads_it(home: Path) -> None:
    shutil.copytree(home / "out", home / "untouched")
    assert harvester("verify", "--deep", "--out", "untouched", cwd=home).returncode == 0
    assert fingerprint(home / "untouched") == fingerprint(home / "out"), "verify changes nothing"
    assert of_json(home, "status")["in_journal"] > 0
    for words in (
        ["report"],
        ["audit"],
        ["export", "dead"],
        ["export", "open"],
        ["plan", "all.txt"],
    ):
        done = harvester(*words, "--out", "out", cwd=home)
        assert done.returncode == 0, (words, done.stderr)
    a_dead_one = min(ids(home / "out", "SELECT id FROM dead_letter"))
    assert harvester("explain", a_dead_one, "--out", "out", cwd=home).returncode == 0


def test_its_ledger_is_copied_before_it_is_migrated_and_only_then(home: Path) -> None:
    out = home / "out"
    of_json(home, "status")
    copy = out / "state" / BEFORE
    assert is_migrated(out / "state" / "state.db")
    assert not is_migrated(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as db:
        # What a kill left in SQLite's log is in the copy as well.
        assert db.execute("SELECT count(*) > 0 FROM journal").fetchone() == (1,)
    before = copy.stat().st_mtime_ns
    of_json(home, "status")
    assert copy.stat().st_mtime_ns == before


def test_it_runs_to_its_end_verifies_and_rebuilds(home: Path) -> None:
    out = home / "out"
    old_parts = {k: v for k, v in parts_of(out).items() if k.startswith("cdr/")}
    was_delivered = set(Harvest(out, "").ids())
    with Simulator(seed=7, rate_limit=0, drift=False, fates=FATES) as vendor:
        harvest = Harvest(out, vendor.base_url, vendor__account="default")
        done = harvest.run(home / "all.txt")
        assert done.code == 3, done.err
        assert done.summary["differences"] == []
        asked = set(vendor.asks())
    assert not asked & was_delivered, "what is delivered is not fetched again"
    found = harvest.ids()
    delivered = set(found)
    assert len(found) == len(delivered), "no record is there twice"
    assert delivered > was_delivered
    assert parts_of(out).items() >= old_parts.items(), "old files are left as they are"
    dead = ids(out, "SELECT id FROM dead_letter WHERE NOT published")
    still_open = ids(out, "SELECT id FROM open_call")
    assert delivered | dead | still_open == set((home / "all.txt").read_text().split())
    assert len(delivered) + len(dead) + len(still_open) == 1_000, "each in one state"
    deep = harvester("verify", "--deep", "--out", "out", cwd=home)
    assert deep.returncode == 0, deep.stdout
    it_goes_on_in_its_own_version(home, min(delivered - was_delivered))

    rebuilt = of_json(home, "rebuild", "--force")
    assert rebuilt["rows"] == len(found)
    it_goes_on_in_its_own_version(home, min(delivered - was_delivered))
    assert (out / str(Path(rebuilt["old_state"]).name) / BEFORE).is_file(), "moved with the rest"
    deep = harvester("verify", "--deep", "--out", "out", cwd=home)
    assert deep.returncode == 0, deep.stdout


def test_what_has_changed_since_has_the_columns_of_the_data_set(home: Path) -> None:
    out = home / "out"
    with Simulator(
        seed=7, rate_limit=0, drift=False, fates=FATES, billing="rerated=0.2:0x"
    ) as vendor:
        harvest = Harvest(out, vendor.base_url, vendor__account="default")
        done = harvest.run(refetch={"what": "delivered", "since_ms": 0})
        assert done.code in (0, 3), done.err
        found = done.summary["refetch"]
        assert found["again"] == found["same"] + found["changed"]
        assert found["changed"] > 20
        for part in out.glob("changes/*/*.parquet"):
            row = pq.read_table(part).to_pylist()[0]
            assert not NEW_COLUMNS & {*row["old"], *row["new"]}
            assert row["changed"], "whatever it is"
        again = harvest.run(refetch={"what": "unrated", "since_ms": 0})
        assert again.summary["refetch"]["again"] == 0, "its rows do not say it"
    deep = harvester("verify", "--deep", "--out", "out", cwd=home)
    assert deep.returncode == 0, deep.stdout
    of_json(home, "rebuild", "--force")
    deep = harvester("verify", "--deep", "--out", "out", cwd=home)
    assert deep.returncode == 0, deep.stdout


def it_goes_on_in_its_own_version(home: Path, new_id: str) -> None:
    """All files have the same columns, so that every reader takes all of them at once."""
    out = home / "out"
    assert versions_of(out) == {"1"}
    meta = look(out, "SELECT value FROM meta WHERE key = 'data_schema'")
    assert meta == [("1",)]
    rows = len(Harvest(out, "").ids())
    by_day = pl.scan_parquet(out / "cdr/*/*.parquet", hive_partitioning=True)
    assert by_day.group_by("submit_date").len().collect()["len"].sum() == rows
    (row,) = of_json(home, "explain", new_id)["data"]
    assert not NEW_COLUMNS & row["row"].keys()
    for words in (["sql", "FROM cdr"], ["export", "delivered"]):
        told = harvester(*words, "--out", "out", "--json", cwd=home).stdout.splitlines()
        assert len(told) == rows
        assert not NEW_COLUMNS & json.loads(told[0]).keys()
    assert of_json(home, "report")["total"]["unrated"] == 0
    audited = harvester("audit", "--out", "out", "-o", "differ.parquet", cwd=home)
    assert audited.returncode == 0, audited.stderr
    assert not NEW_COLUMNS & set(pq.read_schema(home / "differ.parquet").names)
    opened = open_output(out).dataset()
    assert opened.count_rows() == rows
    assert not NEW_COLUMNS & set(opened.schema.names)


def test_a_new_output_has_the_newest_version(tmp_path: Path) -> None:
    ids = "\n".join(make_ids(50, 7, end=END))
    (tmp_path / "ids.txt").write_text(ids)
    with Simulator(seed=7, rate_limit=0) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        harvest.run(tmp_path / "ids.txt")
    assert versions_of(tmp_path / "out") == {"2"}
    assert look(tmp_path / "out", "SELECT value FROM meta WHERE key = 'data_schema'") == [("2",)]
    assert open_output(tmp_path / "out").dataset().schema.names[-3:] == [
        *("fetched_at", "fetched_by", "run_id")
    ]


def test_files_of_two_versions_are_never_taken_for_one_output(home: Path) -> None:
    out = home / "out"
    assert harvester("publish", "--out", "out", cwd=home).returncode == 0
    write(out, [filled([{}])], publication=999)
    deep = harvester("verify", "--out", "out", cwd=home)
    assert deep.returncode == 6
    rebuilt = harvester("rebuild", "--force", "--out", "out", cwd=home)
    assert rebuilt.returncode == 6
    assert "another version" in rebuilt.stderr


def test_its_journal_is_published_without_the_vendor(home: Path) -> None:
    waiting = of_json(home, "status")["in_journal"]
    told = of_json(home, "publish")
    assert (told["records"], told["in_journal"]) == (waiting, 0)


def test_it_can_be_rebuilt_at_once(home: Path) -> None:
    out = home / "out"
    known = ids(out, "SELECT id FROM dead_letter") | ids(out, "SELECT id FROM open_call")
    shutil.rmtree(out / "state")
    rebuilt = of_json(home, "rebuild")
    assert rebuilt["rows"] == len(Harvest(out, "").ids())
    # The killed run left no snapshot: what came since the one before it is fetched again.
    restored = ids(out, "SELECT id FROM dead_letter") | ids(out, "SELECT id FROM open_call")
    assert restored
    assert restored <= known
