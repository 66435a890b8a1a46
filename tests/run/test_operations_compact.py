"""`harvester compact`: a date's small files become few, and everything else knows it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import harvester as library
from harvester.cli.signals import Signals
from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import HarvesterError, Interrupted, Terminated, UsageError
from harvester.operations.compact import Order, compact, stopped
from harvester.operations.rebuild import rebuild
from harvester.pipeline.run.recovery import open_output
from harvester.pipeline.run.requests import StopCheck
from harvester.state import publications
from harvester.state.database import open_database
from harvester.state.lock import OutputLock, reads
from harvester.state.values import Note
from harvester.storage.disk import RealDisk
from tests.run.test_cli_commands import harvester
from tests.support.events import SignallingEvents
from tests.support.fakes import ACCOUNT, House
from tests.support.nights import DAYS, damage, nights, run_of
from tests.support.outputs import edit, fingerprint, look

ALL = Order(min_files=2, older_than_s=0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(nights(tmp_path / "out")) as made:
        made.db.close()
        yield made


def told(folder: Path, *words: str) -> dict[str, Any]:
    done = harvester("compact", "--out", "out", "--json", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(found)


def files(house: House) -> int:
    return len(list(house.output.cdr.glob("*/*.parquet")))


def test_all_dates_at_once_then_nothing_is_left_to_do(tmp_path: Path, house: House) -> None:
    found = told(tmp_path)
    assert (found["type"], found["dates"], found["rows"]) == ("compact", 3, 120)
    assert (found["files_before"], found["files_after"]) == (30, 3) == (30, files(house))
    assert found["bytes_after"] * 4 < found["bytes_before"]
    again = told(tmp_path)
    assert (again["dates"], again["few_files"], again["too_young"]) == (0, 3, 0)
    screen = harvester("compact", "--out", "out", cwd=tmp_path)
    assert screen.returncode == 0
    assert "Nothing to compact" in screen.stdout
    assert damage(house) == []


def test_one_date_and_a_screen(tmp_path: Path, house: House) -> None:
    done = harvester("compact", "--out", "out", "--date", DAYS[1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Compacted 1 dates: 10 files became 1" in done.stdout
    assert "1 h (compact.grace_s)" in done.stdout
    assert files(house) == 21


@pytest.mark.parametrize(
    "words",
    [
        ["--date", "yesterday"],
        ["--older-than", "soon"],
        ["--min-files", "1"],
        ["--out", "elsewhere"],
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, house: House, words: list[str]) -> None:
    before = fingerprint(house.output.root)
    done = harvester("compact", "--out", "out", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert fingerprint(house.output.root) == before


def test_while_somebody_holds_the_output_it_exits_7(tmp_path: Path, house: House) -> None:
    with OutputLock(house.output.lock):
        done = harvester("compact", "--out", "out", cwd=tmp_path)
    assert done.returncode == 7
    assert files(house) == 30
    assert not reads("compact"), "nobody waits for it to be done soon"


def test_damage_exits_6_and_changes_nothing(tmp_path: Path, house: House) -> None:
    path = min(house.output.cdr.glob("*/*.parquet"))
    path.unlink()
    done = harvester("compact", "--out", "out", cwd=tmp_path)
    assert done.returncode == 6
    assert files(house) == 29


class Unable(RealDisk):
    """One whose folders can't be exchanged."""

    def exchange(self, one: Path, other: Path) -> None:
        raise OSError(22, "Invalid argument")


def test_where_folders_cannot_be_exchanged_it_is_refused(house: House) -> None:
    with pytest.raises(UsageError, match="can't exchange two folders") as raised:
        compact(house.config, ALL, SignallingEvents(), disk=Unable())
    assert (raised.value.exit_code, raised.value.code) == (2, "output.no_exchange")
    assert files(house) == 30
    assert damage(house) == []


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)]
)
def test_a_signal_ends_it_before_the_next_commit_point(
    house: House, number: int, kind: type[HarvesterError]
) -> None:
    killed = "UPDATE run SET ended_ms = NULL, exit_code = NULL WHERE id = ?"
    edit(house.output.root, killed, run_of(9))
    signals = Signals(stopped)
    with signals.handled(), pytest.raises(kind, match="run `harvester compact` again"):
        compact(house.config, ALL, SignallingEvents(number), signals)
    assert files(house) == 30
    assert compact(house.config, ALL, SignallingEvents()).dates == 3


class OnceDone:
    """Somebody wants it to stop, but only when the last file is in its place."""

    def __init__(self, house: House) -> None:
        self._house = house

    @contextmanager
    def watched(self) -> Iterator[StopCheck]:
        """See `StopSource`."""
        yield lambda: Interrupted("too late") if files(self._house) == 3 else None


def test_a_signal_that_comes_when_all_is_done_changes_nothing(house: House) -> None:
    done = compact(house.config, ALL, SignallingEvents(), OnceDone(house))
    assert (done.dates, done.files_before, done.files_after) == (3, 30, 3)


def test_dates_are_rewritten_some_at_a_time(house: House) -> None:
    order = Order(min_files=2, older_than_s=0, rows_at_once=80)
    assert compact(house.config, order, SignallingEvents()).dates == 3
    kinds = look(house.output.root, "SELECT kind, count(*) FROM publication GROUP BY 1 ORDER BY 1")
    assert kinds == [("append", 10), ("rewrite", 2)]
    assert damage(house) == []


def test_its_reason_is_written_down(house: House) -> None:
    compact(house.config, ALL, SignallingEvents())
    ((note,),) = look(house.output.root, "SELECT note FROM publication WHERE kind = 'rewrite'")
    told = json.loads(note)
    assert told["command"] == "compact"
    assert len(told["made_of"]) == 3
    assert {len(old) for old in told["made_of"].values()} == {10}


def test_readers_find_the_same(house: House) -> None:
    pattern = house.output.data_glob
    sums = "SELECT submit_date, currency, count(*), sum(cost) FROM read_parquet(?) GROUP BY ALL"

    def read() -> tuple[object, object]:
        with duckdb.connect() as db:
            by_sql = sorted(db.execute(sums.replace("?", f"'{pattern}'")).fetchall())
        return by_sql, pl.scan_parquet(pattern).select(pl.len()).collect().item()

    before = read()
    compact(house.config, ALL, SignallingEvents())
    assert read() == before


def test_what_shows_an_output_shows_the_same(tmp_path: Path, house: House) -> None:
    def shown() -> list[Any]:
        status = json.loads(harvester("status", "--out", "out", "--json", cwd=tmp_path).stdout)
        export = harvester("export", "delivered", "--out", "out", cwd=tmp_path).stdout
        report = harvester("report", "--out", "out", "--json", cwd=tmp_path).stdout
        return [status["in_data"], sorted(export.splitlines()), len(report.splitlines())]

    before = shown()
    compact(house.config, ALL, SignallingEvents())
    assert shown() == before
    one = look(house.output.root, "SELECT path FROM file WHERE state = 'live' ORDER BY path")[0][0]
    voice_id = "2609011200000000000"
    found = json.loads(
        harvester("explain", voice_id, "--out", "out", "--json", cwd=tmp_path).stdout
    )
    assert found["state"] == "delivered"
    assert found["data"][0]["file"].endswith(one)
    assert found["data"][0]["publication"] == 11
    assert library.open_output(house.output.root).dataset().count_rows() == 120


def cut_after_commit(house: House) -> None:
    """A compaction that is past its commit point, with one folder of three exchanged."""

    class Gone(BaseException):
        pass

    class Cut(RealDisk):
        def exchange(self, one: Path, other: Path) -> None:
            super().exchange(one, other)
            if other.name.endswith(DAYS[0]):
                raise Gone

    from tests.run.test_pipeline_rewrite import folders, rewriter

    house.db = open_database(house.output.database, ACCOUNT)
    with pytest.raises(Gone):
        rewriter(house, Cut()).rewrite(folders(house), Note("compact"))
    house.db.close()


def test_in_the_middle_of_it_what_only_reads_counts_right(tmp_path: Path, house: House) -> None:
    cut_after_commit(house)
    assert files(house) == 21
    before = fingerprint(house.output.root)
    audit = harvester("verify", "--deep", "--out", "out", cwd=tmp_path)
    assert audit.returncode == 0, audit.stdout
    assert "The next run finishes it" in audit.stdout
    assert fingerprint(house.output.root) == before
    status = json.loads(harvester("status", "--out", "out", "--json", cwd=tmp_path).stdout)
    assert status["in_data"] == 120
    lines = harvester("export", "delivered", "--out", "out", cwd=tmp_path).stdout.splitlines()
    assert len(set(lines)) == 121, "and its head"
    for day in DAYS:
        voice_id = f"{day.replace('-', '')[2:]}1200000000000"
        told = harvester("explain", voice_id, "--out", "out", "--json", cwd=tmp_path).stdout
        assert json.loads(told)["state"] == "delivered"


@pytest.mark.parametrize("moment", ["whole", "in the middle"])
def test_a_state_that_is_lost_is_made_again(house: House, moment: str) -> None:
    if moment == "whole":
        compact(house.config, ALL, SignallingEvents())
    else:
        cut_after_commit(house)
    ids, there = sorted(house.published()), files(house)
    shutil.rmtree(house.output.state)
    assert rebuild(house.config).rows == 120
    assert (sorted(house.published()), files(house)) == (ids, there)
    assert damage(house) == []
    with open_output(house.config) as opened:
        parts = publications.current_parts(opened.db, opened.output.place_of)
        kinds = {one.id: one.kind for one in publications.all_publications(opened.db)}
    assert {kinds[part.brought_by] for part in parts if part.rewrite} == {"rewrite"}
    compact(house.config, ALL, SignallingEvents())
    assert sorted(house.published()) == ids
    assert damage(house) == []


def test_a_rebuild_knows_the_order_of_the_runs_by_the_merged_files_alone(house: House) -> None:
    compact(house.config, ALL, SignallingEvents())
    compact(house.config, ALL, SignallingEvents())
    from harvester.pipeline.run.remnants import read_parts

    runs = read_parts(house.output.cdr, "UTC", {}, GROUP_RECORD).runs
    assert runs == {run_of(night): night + 1 for night in range(10)}


def test_damage_that_only_a_rewrite_can_have_is_found(house: House) -> None:
    compact(house.config, ALL, SignallingEvents())
    root = house.output.root
    edit(root, "UPDATE file SET rows = rows + 1 WHERE state = 'retired'")
    assert any("took files out of the data set" in one for one in damage(house))
    edit(root, "UPDATE file SET rows = rows - 1 WHERE state = 'retired'")
    assert damage(house) == []
    edit(root, "UPDATE file SET state = 'live' WHERE state = 'retired'")
    assert any("files that it took out are live" in one for one in damage(house))
    edit(root, "UPDATE file SET state = 'retired' WHERE superseded_by IS NOT NULL")
    edit(root, "UPDATE publication SET note = NULL")
    found = damage(house)
    assert any("is live, but its files are retired" in one for one in found)


def test_a_merged_file_that_is_lost_is_missed(tmp_path: Path, house: House) -> None:
    compact(house.config, ALL, SignallingEvents())
    min(house.output.cdr.glob("*/*.parquet")).unlink()
    assert any(one.startswith("missing_file") for one in damage(house))
    done = harvester("publish", "--out", "out", "--account", "acme", cwd=tmp_path)
    assert done.returncode == 6


def test_a_retired_file_that_is_put_back_is_found(tmp_path: Path, house: House) -> None:
    compact(house.config, ALL, SignallingEvents())
    old = min(house.output.retired.glob("*/*/*.parquet"))
    shutil.copy(old, house.output.cdr / old.parent.name / old.name)
    assert any(one.startswith(("unknown_part", "copied")) for one in damage(house))
    done = harvester("publish", "--out", "out", "--account", "acme", cwd=tmp_path)
    assert done.returncode == 6
