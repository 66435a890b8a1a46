"""A state made anew from the data: nothing asked that is there, nothing twice, nothing deleted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from harvester.analysis.verify.verify import Order, verify
from harvester.cli.ui.status_screen import idle_screen
from harvester.config import load
from harvester.errors import AlreadyRunning, ConfigError, StoreError, UsageError
from harvester.operations.rebuild import Rebuilt, rebuild
from harvester.operations.status import read_output_status
from harvester.pipeline.run.remnants import requests_by_day
from harvester.pipeline.run.state_snapshot import write_snapshot
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.lock import OutputLock
from harvester.state.values import Batch, DeadLetter, Deferred, OpenCall
from harvester.storage.disk import RealDisk
from harvester.storage.output import Output
from harvester.storage.run_summary import SUMMARY, read_summary
from tests.support import forked
from tests.support.harvesting import Harvest
from tests.support.outputs import (
    SEED,
    Outputs,
    edit,
    fingerprint,
    look,
    make_outputs,
    parts,
    strip_identity,
)
from tests.support.simulated import ROOT, Simulator
from tests.support.summaries import summary_of


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return make_outputs(tmp_path_factory)


@pytest.fixture
def whole(outputs: Outputs, tmp_path: Path) -> Path:
    return Path(shutil.copytree(outputs.whole, tmp_path / "out"))


@pytest.fixture
def stopped(outputs: Outputs, tmp_path: Path) -> Path:
    return Path(shutil.copytree(outputs.stopped, tmp_path / "out"))


def rebuilt(out: Path, *, force: bool = False, **flags: object) -> Rebuilt:
    named = {name.replace("__", ".", 1): value for name, value in flags.items()}
    return rebuild(load(flags={"output.dir": str(out), **named}).config, force=force)


def lose_state(out: Path) -> None:
    shutil.rmtree(out / "state")


def in_data(out: Path) -> set[str]:
    return {v for path in parts(out) for v in pq.read_table(path)["voice_id"].to_pylist()}


def settled_elsewhere(out: Path) -> set[str]:
    return {v for (v,) in look(out, "SELECT id FROM open_call UNION SELECT id FROM dead_letter")}


def damage_of(out: Path) -> list[str]:
    audit = verify(Output(out), Order("UTC", "400MB", deep=True))
    return [f"{f.kind}: {f.what} {f.where}" for f in audit.findings if f.severity == "damage"]


def harvest_again(outputs: Outputs, out: Path) -> tuple[list[str], Harvest]:
    """Run the same input; the ids that the vendor was asked for."""
    with Simulator(seed=SEED, rate_limit=0) as vendor:
        harvest = Harvest(out, vendor.base_url)
        done = harvest.run(outputs.ids_file)
        assert done.code in (0, 3), done.err
        return sorted(vendor.asks()), harvest


@pytest.mark.parametrize("name", ["whole", "stopped", "killed"])
def test_after_a_lost_state_the_same_input_asks_only_for_what_is_missing(
    outputs: Outputs, tmp_path: Path, name: str
) -> None:
    out = Path(shutil.copytree(getattr(outputs, name), tmp_path / "out"))
    has_snapshot = any(out.glob("runs/*/state.parquet"))
    kept = in_data(out) | (settled_elsewhere(out) if has_snapshot else set())
    lose_state(out)
    done = rebuilt(out)
    assert (done.files, done.rows) == (len(parts(out)), len(in_data(out)))
    assert damage_of(out) == []
    asked, harvest = harvest_again(outputs, out)
    assert asked == sorted(set(outputs.ids) - kept)
    assert harvest.ids() == sorted(set(harvest.ids())), "an id is in the data twice"
    assert in_data(out) | settled_elsewhere(out) == set(outputs.ids)
    assert damage_of(out) == []


def test_open_calls_dead_letters_and_deferred_ids_come_back_as_they_were(
    outputs: Outputs, whole: Path
) -> None:
    with closing(open_database(whole / "state" / "state.db", "default")) as db:
        item = Deferred("424242", "busy", "after 8 attempts", 1, 2, "run", 3, ("2026-11-01",))
        acknowledge(
            db,
            "",
            Batch(deferred=[item]),
            work_list=None,
            counters={},
            requests_of_day=("2026-01-01", 0),
        )
        write_snapshot(db, max(whole.glob("runs/2*")) / "state.parquet")
    queries = [
        "SELECT id, due_ms, first_ms, asks, run, answer, answer_ms FROM open_call ORDER BY id",
        "SELECT * FROM dead_letter ORDER BY id",
        "SELECT id, cause, detail, first_ms, last_ms, run, runs, days FROM deferred ORDER BY id",
    ]
    before = [look(whole, query) for query in queries]
    assert all(before), "nothing to compare"
    lose_state(whole)
    done = rebuilt(whole)
    assert [look(whole, query) for query in queries] == before
    assert [done.open, done.dead, done.deferred] == [len(rows) for rows in before]
    assert done.left_out == 0


def make_unfinished(out: Path, voice_id: str) -> None:
    """As a call whose record was published before it was over."""
    for path in parts(out):
        file = pq.ParquetFile(path)
        rows, footers = file.read(), file.metadata.metadata
        at = rows["voice_id"].to_pylist()
        if voice_id in at:
            final = [
                final and one != voice_id
                for final, one in zip(rows["is_final"].to_pylist(), at, strict=True)
            ]
            column = rows.schema.get_field_index("is_final")
            rows = rows.set_column(column, rows.schema.field(column), pa.array(final))
            with pq.ParquetWriter(path, rows.schema) as writer:
                writer.write_table(rows)
                del footers[b"ARROW:schema"]
                writer.add_key_value_metadata(footers)


def test_what_the_data_settles_by_now_is_left_out_of_the_snapshot(whole: Path) -> None:
    """Delivered since, they would stand in two states; a published dead letter stays."""
    ids = sorted(in_data(whole))[:4]
    batch = Batch(
        open_calls=[OpenCall(ids[0], 2, 1, 1, "run")],
        deferred=[Deferred(ids[1], "busy", "", 1, 1, "run")],
        dead_letters=[
            DeadLetter(ids[2], "-22", "", 1, 1, 1, "run"),
            DeadLetter(ids[3], "no_record", "", 1, 1, 1, "run", published=True),
            DeadLetter("published-but-lost", "no_record", "", 1, 1, 1, "run", published=True),
        ],
    )
    with closing(open_database(whole / "state" / "state.db", "default")) as db:
        acknowledge(db, "", batch, work_list=None, counters={}, requests_of_day=("2026-01-01", 0))
        write_snapshot(db, max(whole.glob("runs/2*")) / "state.parquet")
    make_unfinished(whole, ids[3])
    lose_state(whole)
    assert rebuilt(whole).left_out == 4
    tables = ("open_call", "deferred", "dead_letter")
    for table in tables:
        wrong = look(whole, f"SELECT id FROM {table} WHERE id IN (?, ?, ?)", *ids[:3])
        assert wrong == []
    assert look(whole, "SELECT published FROM dead_letter WHERE id = ?", ids[3]) == [(1,)]
    assert look(whole, "SELECT 1 FROM dead_letter WHERE id = 'published-but-lost'") == []
    assert damage_of(whole) == []


def test_the_snapshot_of_the_newest_run_counts(outputs: Outputs, whole: Path) -> None:
    newest = max(path.parent.name for path in whole.glob("runs/*/state.parquet"))
    lose_state(whole)
    done = rebuilt(whole)
    assert done.snapshot is not None
    assert Path(done.snapshot).parent.name == newest


def test_a_run_that_left_no_snapshot_is_named_as_unknown(outputs: Outputs, stopped: Path) -> None:
    killed = stopped / "runs" / "20991231T235959Z-abcdef"
    killed.mkdir(mode=0o700)
    lose_state(stopped)
    assert any(killed.name in unknown for unknown in rebuilt(stopped).unknown)


def test_a_state_older_than_the_data_is_kept_aside_and_made_anew(
    outputs: Outputs, whole: Path
) -> None:
    lose_state(whole)
    shutil.copytree(outputs.stopped / "state", whole / "state")
    older = (whole / "state" / "state.db").read_bytes()
    with Simulator(seed=SEED, rate_limit=0) as vendor:
        refused = Harvest(whole, vendor.base_url).run(outputs.ids_file)
        assert refused.code == 6
        assert "harvester rebuild" in refused.err
        assert vendor.stats()["requests"] == 0
    done = rebuilt(whole)
    assert done.old_state is not None
    assert (Path(done.old_state) / "state.db").read_bytes() == older
    assert Path(done.old_state).stat().st_mode & 0o777 == 0o700
    asked, _ = harvest_again(outputs, whole)
    assert asked == []
    assert damage_of(whole) == []


def test_an_older_state_is_known_by_the_runs_too(outputs: Outputs, stopped: Path) -> None:
    """Nothing was published since, but a later run's summary is there."""
    path = stopped / "runs" / "20991231T235959Z-abcdef" / "summary.json"
    path.parent.mkdir(mode=0o700)
    summary = json.loads(next(stopped.glob("runs/*/summary.json")).read_text())
    path.write_text(json.dumps({**summary, "run_id": path.parent.name}))
    assert path.parent.name in rebuilt(stopped).reason


def test_a_damaged_state_is_kept_aside_and_made_anew(outputs: Outputs, whole: Path) -> None:
    path = whole / "state" / "state.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xa5" * 50_000)
    done = rebuilt(whole)
    assert done.old_state is not None
    assert (Path(done.old_state) / "state.db").stat().st_size == 50_016
    assert damage_of(whole) == []


def test_the_old_list_tells_which_ids_of_lost_inputs_are_missing(
    outputs: Outputs, stopped: Path
) -> None:
    """The input file is gone, but the old list is not."""
    missing = set(outputs.ids) - in_data(stopped) - settled_elsewhere(stopped)
    done = rebuilt(stopped, force=True)
    assert done.old_list is not None
    assert f"harvester run {done.old_list} --column voice_id" in done.next
    with Simulator(seed=SEED, rate_limit=0) as vendor:
        Harvest(stopped, vendor.base_url, input__column="voice_id").run(done.old_list)
        assert set(vendor.asks()) == missing


def test_of_several_old_lists_the_one_that_was_written_last_is_named(stopped: Path) -> None:
    lists = stopped / "state" / "lists"
    present = next(lists.glob("list-*.parquet"))
    for name, at in (("list-10.parquet", 2_000_000_000), ("list-9.parquet", 1_000_000_000)):
        shutil.copy(present, lists / name)
        os.utime(lists / name, (at, at))
    assert Path(rebuilt(stopped, force=True).old_list or "").name == "list-10.parquet"


def test_a_state_that_agrees_with_its_data_is_not_thrown_away_unasked(whole: Path) -> None:
    before = fingerprint(whole)
    with pytest.raises(UsageError, match="--force"):
        rebuilt(whole)
    assert fingerprint(whole) == before
    rebuilt(whole, force=True)
    assert damage_of(whole) == []


def test_a_missing_file_is_no_obstacle_and_its_ids_are_asked_again(
    outputs: Outputs, whole: Path
) -> None:
    path = parts(whole)[0]
    gone = set(pq.read_table(path)["voice_id"].to_pylist())
    path.unlink()
    rebuilt(whole)
    asked, _ = harvest_again(outputs, whole)
    assert set(asked) == gone
    assert damage_of(whole) == []


def test_names_of_parts_are_never_used_again(outputs: Outputs, stopped: Path) -> None:
    """Neither in the data nor by anything that the lost state had published."""
    before = {path.name for path in parts(stopped)}
    highest = max(int(name.split("-")[2]) for name in before)
    ((old_id,),) = look(stopped, "SELECT value FROM meta WHERE key = 'state_id'")
    lose_state(stopped)
    rebuilt(stopped)
    ((new_id,),) = look(stopped, "SELECT value FROM meta WHERE key = 'state_id'")
    assert new_id != old_id
    harvest_again(outputs, stopped)
    new = {path.name for path in parts(stopped)} - before
    assert new
    assert all(int(name.split("-")[2]) > highest for name in new)


def test_requests_of_the_day_are_not_forgotten(stopped: Path) -> None:
    """`pace.per_day` is a promise to the vendor, whatever happened to the state."""
    query = "SELECT value FROM meta WHERE key = 'requests_of_day'"
    before = look(stopped, query)
    lose_state(stopped)
    rebuilt(stopped)
    after = dict(json.loads(look(stopped, query)[0][0]))
    counted = dict(json.loads(before[0][0]))
    assert max(after) >= max(counted)
    # A run's requests count on the day on which it ended: over midnight they move, none is lost.
    assert sum(after.values()) >= sum(counted.values()) > 0


def test_requests_count_on_the_vendors_day_on_which_their_run_ended(tmp_path: Path) -> None:
    ends = ["2026-12-31T15:59:59Z", "2026-12-31T16:00:00Z", "2027-01-01T01:00:00+09:00"]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / SUMMARY).write_text(json.dumps(summary_of("r")))
    run = read_summary(folder / SUMMARY)
    runs = [
        replace(run, ended_at=datetime.fromisoformat(end), requests=10**n)
        for n, end in enumerate(ends)
    ]
    assert requests_by_day(runs) == {"2026-12-31": 1, "2027-01-01": 110}


def cut(out: Path) -> Path:
    path = parts(out)[0]
    path.write_bytes(path.read_bytes()[:3_000])
    return path


def flip(out: Path) -> Path:
    path = parts(out)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)
    return path


def leave_a_stranger(out: Path) -> Path:
    path = out / "cdr" / "_SUCCESS"
    path.touch()
    return path


def leave_anothers_table(out: Path) -> Path:
    path = parts(out)[0].with_name("part-abcdef12-9-9.parquet")
    pq.write_table(pa.table({"a": [1]}), path)
    return path


def copy(out: Path) -> Path:
    """As whole and as well placed as the original: nothing but its content tells."""
    path = parts(out)[0]
    number = path.stem.split("-")[2]
    return Path(shutil.copy(path, path.with_name(f"part-fffffff0-{number}-0.parquet")))


@pytest.mark.parametrize("damage", [cut, flip, leave_a_stranger, leave_anothers_table, copy])
def test_data_that_cannot_be_trusted_is_refused_with_its_name(
    whole: Path, damage: Callable[[Path], Path]
) -> None:
    if damage is flip:
        # Known from the ledger alone: what the flip hits may be decoded all the same.
        edit(whole, "DELETE FROM list")
        shutil.rmtree(whole / "state" / "lists")
        edit(whole, "DELETE FROM run")
    else:
        lose_state(whole)
    path = damage(whole)
    before = fingerprint(whole / "cdr")
    with pytest.raises(StoreError) as caught:
        rebuilt(whole)
    assert path.name in str(caught.value)
    assert "run `harvester rebuild` again" in str(caught.value)
    assert ("a copy of" in str(caught.value)) == (damage is copy)
    assert fingerprint(whole / "cdr") == before


@pytest.mark.parametrize(("count", "told"), [(5, ""), (6, " (and 1 more)"), (7, " (and 2 more)")])
def test_of_many_files_that_cannot_be_trusted_five_are_named(
    whole: Path, count: int, told: str
) -> None:
    lose_state(whole)
    folder = parts(whole)[0].parent
    names = [f"part-abcdef12-{number}-9.parquet" for number in range(1, count + 1)]
    for number, name in enumerate(names):
        pq.write_table(pa.table({"a": [number]}), folder / name)
    with pytest.raises(StoreError) as caught:
        rebuilt(whole)
    assert sum(name in str(caught.value) for name in names) == 5
    assert f"{told}. Nothing was changed." in str(caught.value)


def test_where_no_run_is_known_status_says_so(whole: Path) -> None:
    edit(whole, "DELETE FROM run")
    shown = [line.text for line in idle_screen(read_output_status(Output(whole)), 1_800_000_000.0)]
    assert "No run yet." in shown


def test_data_that_holds_a_row_twice_is_refused_with_the_id_and_both_files(whole: Path) -> None:
    lose_state(whole)
    path = parts(whole)[0]
    rows = pq.ParquetFile(path).read()
    twin = path.with_name("part-abcdef12-99-0.parquet")
    ids = rows["voice_id"].to_pylist()
    footer = {
        **{k: v for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"},
        b"cdr.rows": b"1",
        b"cdr.min_voice_id": ids[0].encode(),
        b"cdr.max_voice_id": ids[0].encode(),
        b"cdr.publication": b"99",
    }
    pq.write_table(rows.slice(0, 1).replace_schema_metadata(footer), twin)
    with pytest.raises(StoreError) as caught:
        rebuilt(whole)
    for name in (ids[0], path.name, twin.name):
        assert name in str(caught.value)


def test_another_account_is_refused(whole: Path) -> None:
    lose_state(whole)
    with pytest.raises(ConfigError, match="'default', not 'other'"):
        rebuilt(whole, vendor__account="other")


def test_a_state_of_a_newer_version_is_left_alone(whole: Path) -> None:
    edit(whole, "UPDATE meta SET value = '99' WHERE key = 'schema'")
    before = fingerprint(whole)
    with pytest.raises(StoreError, match="newer cdr-harvester"):
        rebuilt(whole, force=True)
    assert fingerprint(whole) == before


def test_nothing_to_rebuild_from_is_a_usage_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to rebuild from"):
        rebuilt(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_run_that_holds_the_output_is_not_disturbed(whole: Path) -> None:
    with OutputLock(whole / "state" / "lock"), pytest.raises(AlreadyRunning):
        rebuilt(whole)


def start(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return forked.run(
        [sys.executable, "-m", "tests.support.rebuild_once", str(out), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("step", range(7))
def test_a_rebuild_that_was_killed_is_finished_by_the_next_one(
    outputs: Outputs, whole: Path, step: int
) -> None:
    """Nothing begins on a half rebuilt state, and nothing of the old one is lost."""
    lose_state(whole)
    shutil.copytree(outputs.stopped / "state", whole / "state")
    older = (whole / "state" / "state.db").read_bytes()
    killed = start(whole, str(step))
    assert killed.returncode == -9, "there are fewer steps than this test thinks"
    if "done" not in killed.stdout:
        with Simulator(seed=SEED, rate_limit=0) as vendor:
            refused = Harvest(whole, vendor.base_url).run(outputs.ids_file)
            assert refused.code == 6
            assert "harvester rebuild" in refused.err
        again = start(whole)
        assert again.returncode == 0, again.stderr
    kept = [path.read_bytes() for path in whole.glob("state.old-*/state.db")]
    assert older in kept
    assert not (whole / "state" / "rebuilding").exists()
    assert harvest_again(outputs, whole)[0] == []
    assert damage_of(whole) == []


def test_a_rebuild_killed_without_data_does_not_let_a_run_begin_afresh(
    outputs: Outputs, tmp_path: Path
) -> None:
    """No part was published, but the snapshot has open calls: they must not be forgotten."""
    out = Path(shutil.copytree(outputs.stopped, tmp_path / "out"))
    shutil.rmtree(out / "cdr")
    (out / "cdr").mkdir(mode=0o750)
    steps = start(out).stdout.splitlines()
    moved = next(at for at, step in enumerate(steps) if step.startswith("moved state.db"))
    again = Path(shutil.copytree(outputs.stopped, tmp_path / "again"))
    shutil.rmtree(again / "cdr")
    (again / "cdr").mkdir(mode=0o750)
    assert start(again, str(moved)).returncode == -9
    with Simulator(seed=SEED, rate_limit=0) as vendor:
        refused = Harvest(again, vendor.base_url).run(outputs.ids_file)
    assert refused.code == 6
    assert "a rebuild" in refused.err
    assert start(again).returncode == 0
    assert look(again, "SELECT COUNT(*) FROM open_call")[0][0] > 0


def test_command_rebuilds_and_says_what_to_type_next(whole: Path) -> None:
    lose_state(whole)
    words = [sys.executable, "-m", "harvester", "rebuild", "--out", str(whole)]
    done = forked.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "What could not be known" in done.stdout
    assert "Run the same inputs again" in done.stdout
    words += ["--force", "--json"]
    told = forked.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(told.stdout)["type"] == "rebuild"
    assert told.stderr == ""


class Recorded(RealDisk):
    """The real disk; what it made durable is told among the steps."""

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps

    def sync_file(self, file: BinaryIO) -> None:
        super().sync_file(file)
        self._steps.append(f"sync {Path(file.name).parent.name}/{Path(file.name).name}")

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._steps.append(f"sync {path.name}/")


def test_a_rebuild_is_durable_before_the_old_state_goes_and_its_database_goes_first(
    outputs: Outputs, tmp_path: Path
) -> None:
    """A power cut leaves the old state or the new one; a kill no log beside another database."""
    out = Path(shutil.copytree(outputs.killed, tmp_path / "out"))
    assert (out / "state" / "state.db-wal").stat().st_size, "no log to be left behind"
    steps: list[str] = []
    config = load(flags={"output.dir": str(out)}).config
    rebuild(config, force=True, tell=steps.append, disk=Recorded(steps))
    (aside,) = out.glob("state.old-*")
    moved = [step for step in steps if step.startswith("moved ")]
    assert moved[0] == "moved state.db aside"
    assert "moved state.db-wal aside" in moved
    made_durable = ["sync rebuilding/state.db", "sync rebuilding/", "sync state/"]
    order = [*made_durable, moved[0], moved[-1], f"sync {aside.name}/", "sync out/"]
    places = [steps.index(step) for step in order]
    assert places == sorted(places)
    # Once before the new state is moved in, once after.
    assert [step for step in steps[places[-1] :] if step == "sync state/"] == ["sync state/"] * 2


def test_a_state_whose_work_list_is_gone_is_made_anew(outputs: Outputs, stopped: Path) -> None:
    for path in (stopped / "state" / "lists").iterdir():
        path.unlink()
    assert "work list" in rebuilt(stopped).reason
    assert damage_of(stopped) == []


def test_data_of_two_accounts_is_refused_with_both_names(whole: Path) -> None:
    """Of parts that an older version wrote, the rows alone tell."""
    strip_identity(whole)
    lose_state(whole)
    path = parts(whole)[-1]
    with pq.ParquetFile(path) as file:
        rows, footer = file.read(), file.metadata.metadata
    at = rows.schema.get_field_index("account")
    rows = rows.set_column(at, rows.schema.field(at), pa.array(["other"] * len(rows)))
    kept = {k: v for k, v in footer.items() if k.startswith(b"cdr.")}
    pq.write_table(rows.replace_schema_metadata(kept), path)
    with pytest.raises(StoreError, match=r"several accounts \(default, other\)") as caught:
        rebuilt(whole)
    assert "Nothing was changed" in str(caught.value)


def test_two_old_states_of_one_second_lie_beside_each_other(whole: Path) -> None:
    now = int(time.time())
    for second in range(now, now + 60):
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        (whole / f"state.old-{stamp}").mkdir()
        (whole / f"state.old-{stamp}-2").mkdir()
    aside = rebuilt(whole, force=True).old_state
    assert aside is not None
    assert aside.endswith("Z-3")
    assert (Path(aside) / "state.db").is_file()


class Failing(RealDisk):
    """The first `calls` times a file or folder is made durable it works, then no more."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def sync_file(self, file: BinaryIO) -> None:
        self._call(Path(file.name))

    def sync_folder(self, path: Path) -> None:
        self._call(path)

    def _call(self, path: Path) -> None:
        if self._left == 0:
            raise OSError(28, "No space left on device", str(path))
        self._left -= 1


@pytest.mark.parametrize("calls", range(7))
def test_a_disk_that_fails_at_any_step_is_told_and_the_next_rebuild_does_it_all(
    whole: Path, calls: int
) -> None:
    config = load(flags={"output.dir": str(whole)}).config
    with pytest.raises(StoreError, match="No space left on device"):
        rebuild(config, force=True, disk=Failing(calls))
    rebuilt(whole, force=True)
    assert damage_of(whole) == []


def test_what_nobody_can_tell_any_more_is_named(
    outputs: Outputs, whole: Path, tmp_path: Path
) -> None:
    stopped = Path(shutil.copytree(outputs.stopped, tmp_path / "stopped"))
    ((waiting,),) = look(stopped, "SELECT COALESCE(SUM(n), 0) FROM journal")
    assert waiting, "nothing to compare"
    assert any(f"{waiting} answers of" in told for told in rebuilt(stopped, force=True).unknown)
    told = rebuilt(whole, force=True).unknown
    assert len(told) == 1
    assert "the work list is gone" in told[0]
    lose_state(whole)
    assert any("acknowledged but not published" in told for told in rebuilt(whole).unknown)
    lose_state(whole)
    for path in whole.glob("runs/*/state.parquet"):
        path.unlink()
    assert any("no run left a snapshot" in told for told in rebuilt(whole).unknown)
