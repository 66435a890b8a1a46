"""What a crash leaves, built by hand, and what the next start makes of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from harvester.answers.answer import Answer
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.packing import pieces_of
from harvester.dataset.parts import stage
from harvester.errors import AlreadyRunning, ConfigError, StoreError
from harvester.operations.publish import publish_journal
from harvester.pipeline.limits.daily_quota import day_of
from harvester.pipeline.publish.publisher import Publisher
from harvester.pipeline.run.recovery import open_output
from harvester.pipeline.run.summary import run_totals
from harvester.state import between_runs, publications, run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.lock import OutputLock
from harvester.state.values import Batch, Entry, PartRecord, Publication
from harvester.state.writer import InlineLedger
from harvester.storage.disk import RealDisk
from harvester.storage.output import Output
from tests.support.fakes import ACCOUNT, House
from tests.support.outputs import look
from tests.unit.test_pipeline_prometheus import Told

DAYS = ("2026-09-01", "2026-09-02", "2026-09-03")
IDS = [f"{n:03}" for n in range(30)]
FETCHED_MS = 1_790_000_000_000  # 2026-09-21


def answer(voice_id: str) -> bytes:
    day = DAYS[int(voice_id) % len(DAYS)]
    return (
        f'{{"status":0,"data":{{"voiceId":"{voice_id}","submitTime":"{day}T12:00:00+00:00",'
        f'"hangupTime":"{day}T12:01:00+00:00","cost":"0.01"}}}}'
    ).encode()


class Traced(RealDisk):
    """The real disk, and a list of what was done to it."""

    def __init__(self, trace: list[str]) -> None:
        self._trace = trace

    def create(self, path: Path, mode: int) -> BinaryIO:
        self._trace.append(f"create {path.name}")
        return super().create(path, mode)

    def sync_file(self, file: BinaryIO) -> None:
        super().sync_file(file)
        self._trace.append(f"sync {Path(file.name).name}")

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._trace.append(f"sync {path.name}/")

    def move(self, source: Path, target: Path) -> None:
        self._trace.append(f"move {target.name}")
        super().move(source, target)


class TracedLedger(InlineLedger):
    """The real ledger, and a list of what it was called for."""

    trace: list[str]

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        self.trace.append(function.__name__)
        return super().submit(function, *args, **kwargs)


class PowerCut(BaseException):
    """The machine is gone at this point."""


class CutLedger(InlineLedger):
    """A ledger under which the power goes away before or after a step."""

    cut_before: str | None = None
    cut_after: str | None = None

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        if function.__name__ == self.cut_before:
            raise PowerCut
        done = super().submit(function, *args, **kwargs)
        if function.__name__ == self.cut_after:
            raise PowerCut
        return done


class CutDisk(RealDisk):
    """A disk under which the power goes away at the n-th move."""

    def __init__(self, moves: int) -> None:
        self._left = moves

    def move(self, source: Path, target: Path) -> None:
        if self._left == 0:
            raise PowerCut
        self._left -= 1
        super().move(source, target)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An output with 30 answers of three days in its journal."""
    made = House(tmp_path / "out", IDS)
    run_records.begin_run(made.db, "run-1", 1_000)
    for start in range(0, 30, 10):
        acknowledge(
            made.db,
            "run-1",
            Batch(
                entries=[Entry(i, FETCHED_MS, True, answer(i)) for i in IDS[start : start + 10]],
                resolved_rows={0: list(range(start, start + 10))},
                list_delivered=10,
            ),
            work_list=made.work_list,
            counters={"delivered": start + 10},
            requests_of_day=(day_of(1.0), 40),
        )
    yield made
    made.close()


def publisher(
    house: House, ledger: InlineLedger | None = None, disk: RealDisk | None = None
) -> Publisher:
    return Publisher(
        ledger or InlineLedger(house.db, house.output.database),
        house.output,
        house.config.output,
        ACCOUNT,
        house.state_id,
        disk=disk,
    )


def cut(
    house: House, *, before: str | None = None, after: str | None = None, moves: int = 99
) -> None:
    """Publish until the power goes away."""
    ledger = CutLedger(house.db, house.output.database)
    ledger.cut_before, ledger.cut_after = before, after
    with pytest.raises(PowerCut):
        publisher(house, ledger, CutDisk(moves)).publish()


def tree(root: Path) -> dict[str, str]:
    """Every file and folder, with a hash of its content and its mode; SQLite's files left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name.startswith(("state.db", "lock")):
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(root))] = f"{path.stat().st_mode:o} {content}"
    return found


def reopen(house: House) -> int:
    """The next start: how many publications it finished."""
    house.db.close()
    with open_output(house.config) as opened:
        finished = opened.finished_publications
        assert list(opened.output.staging.iterdir()) == []
        assert publications.unfinished(opened.db) == []
        states = opened.db.execute("SELECT DISTINCT state FROM publication")
        assert {state for (state,) in states} <= {"live"}, "what was only prepared is forgotten"
    house.db = House(house.output.root).db
    return finished


def assert_published_once(house: House) -> None:
    assert sorted(house.published()) == IDS
    assert house.journaled() == []
    assert len(publications.current_parts(house.db, house.output.place_of)) == len(DAYS)
    assert {p.path for p in publications.current_parts(house.db, house.output.place_of)} == {
        p.relative_to(house.output.cdr).as_posix() for p in house.output.cdr.glob("*/*")
    }


def test_a_publication_takes_its_steps_in_their_order(house: House) -> None:
    trace: list[str] = []
    ledger = TracedLedger(house.db, house.output.database)
    ledger.trace = trace
    publisher(house, ledger, Traced(trace)).publish()
    parts = [f"part-{house.state_id[:8]}-1-{k}.parquet" for k in range(3)]
    step = trace.index
    for part in parts:
        assert step("prepare") < step(f"create {part}")
        assert step(f"create {part}") < step(f"sync {part}") < step("sync staging/")
        assert step("commit") < step(f"move {part}")
    assert step("sync staging/") < step("commit")
    last_move = max(at for at, what in enumerate(trace) if what.startswith("move"))
    for folder in [*(f"submit_date={day}/" for day in DAYS), "cdr/", "out/"]:
        assert last_move < step(f"sync {folder}") < step("make_live")
    assert trace[-1] == "make_live"
    assert_published_once(house)


def test_a_publication_puts_every_answer_into_the_data_and_takes_it_from_the_journal(
    house: House,
) -> None:
    done = publisher(house).publish()
    assert done is not None
    assert (done.records, done.files) == (30, 3)
    assert_published_once(house)
    assert publisher(house).publish() is None


CUTS: list[tuple[dict[str, Any], int]] = [
    ({"after": "prepare"}, 0),
    ({"after": "next_blob"}, 0),
    ({"before": "commit"}, 0),
    ({"after": "commit"}, 1),
    ({"moves": 0}, 1),
    ({"moves": 1}, 1),
    ({"moves": 2}, 1),
    ({"before": "make_live"}, 1),
]


@pytest.mark.parametrize(("steps", "finished"), CUTS, ids=str)
def test_after_a_power_cut_at_any_step_each_answer_is_in_one_place_and_then_published(
    house: House, steps: dict[str, Any], finished: int
) -> None:
    cut(house, **steps)
    assert reopen(house) == finished
    assert house.delivered() == IDS
    assert (house.published() == []) == (finished == 0)
    if not finished:
        publisher(house).publish()
    assert_published_once(house)


@pytest.mark.parametrize(("steps", "finished"), CUTS, ids=str)
def test_after_a_power_cut_at_any_step_harvester_publish_does_the_rest(
    house: House, steps: dict[str, Any], finished: int
) -> None:
    cut(house, **steps)
    house.db.close()
    done = publish_journal(house.config, Told())
    assert (done.finished_publications, done.records) == (finished, 0 if finished else 30)
    assert done.in_journal == 0
    house.db = House(house.output.root).db
    assert_published_once(house)
    assert run_records.unended_runs(house.db) == [], "the control totals of the run are closed"


def test_a_number_whose_publication_was_dropped_is_not_used_again(house: House) -> None:
    cut(house, before="commit")
    reopen(house)
    publisher(house).publish()
    there = publications.current_parts(house.db, house.output.place_of)
    assert all("-2-" in part.path for part in there)


def damage(how: str, path: Path) -> None:
    match how:
        case "gone":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "torn":
            path.write_bytes(path.read_bytes()[:-100])
        case "rotten":
            content = bytearray(path.read_bytes())
            content[50] ^= 0xFF
            path.write_bytes(content)


@pytest.mark.parametrize("how", ["gone", "empty", "torn", "rotten"])
@pytest.mark.parametrize("moves", [0, 1])
def test_a_committed_part_that_was_lost_is_made_again_from_the_journal(
    house: House, how: str, moves: int
) -> None:
    cut(house, moves=moves)
    damage(how, max(house.output.staging.iterdir()))
    assert reopen(house) == 1
    assert_published_once(house)
    for part in publications.current_parts(house.db, house.output.place_of):
        content = (house.output.cdr / part.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (part.bytes, part.sha256)


def written_by_another_release(house: House) -> None:
    """Replace the staged parts by ones with the same rows in other bytes, and book them so."""
    config = house.config.output
    answers = [Answer(i, answer(i), FETCHED_MS, "run-1", True) for i in IDS]
    parts = stage(
        pieces_of(
            [normalize(answers, ACCOUNT, GROUP_RECORD).table],
            config.partition_timezone,
            GROUP_RECORD,
        ),
        GROUP_RECORD,
        staging=house.output.staging,
        state_id=house.state_id,
        publication=1,
        mode=int(config.mode, 8),
        tool="another release",
    )
    for part in parts:
        publications.amend(house.db, PartRecord(part.path, 1, part.rows, part.bytes, part.sha256))


def test_parts_made_again_in_other_bytes_are_all_booked_with_what_lies_there(
    house: House,
) -> None:
    cut(house, moves=0)
    written_by_another_release(house)
    min(house.output.staging.iterdir()).unlink()
    assert reopen(house) == 1
    assert_published_once(house)
    for part in publications.current_parts(house.db, house.output.place_of):
        content = (house.output.cdr / part.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (part.bytes, part.sha256)


def test_a_lost_part_that_would_come_out_otherwise_stops_the_start(house: House) -> None:
    cut(house, moves=0)
    min(house.output.staging.iterdir()).unlink()
    house.db.execute("UPDATE file SET rows = rows + 1 WHERE path LIKE '%-0.parquet'")
    before = tree(house.output.cdr)
    house.db.close()
    with (
        pytest.raises(StoreError, match=r"gives other parts.*partition_timezone"),
        open_output(house.config),
    ):
        pass
    assert tree(house.output.cdr) == before


def test_a_part_never_replaces_a_file_that_took_its_place(house: House) -> None:
    cut(house, moves=0)
    part = publications.parts_of(house.db, 1)[0]
    final = house.output.cdr / part.path
    final.parent.mkdir(exist_ok=True)
    final.write_bytes(b"somebody else's")
    house.db.close()
    with pytest.raises(StoreError, match="exists already"), open_output(house.config):
        pass
    assert final.read_bytes() == b"somebody else's"


def test_a_stop_before_the_commit_point_abandons_the_publication(house: House) -> None:
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked >= 2

    assert publisher(house).publish(should_stop) is None
    assert house.published() == []
    assert house.journaled() == IDS
    assert list(house.output.staging.iterdir()) == []
    assert not house.db.execute("SELECT * FROM publication").fetchall()


def test_a_stop_after_the_commit_point_finishes_it(house: House) -> None:
    stopping: list[bool] = []

    class Signalled(InlineLedger):
        def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
            if function is publications.commit:
                stopping.append(True)
            return super().submit(function, *args, **kwargs)

    done = publisher(house, Signalled(house.db, house.output.database)).publish(
        lambda: bool(stopping)
    )
    assert stopping
    assert done is not None
    assert_published_once(house)


def test_half_files_and_old_lists_are_swept_away(house: House) -> None:
    (house.output.staging / "half").write_text("x")
    (house.output.staging / "scratch").mkdir()
    (house.output.staging / "scratch" / "more").write_text("x")
    (house.output.lists / "list-99.parquet").write_text("x")
    reopen(house)
    assert sorted(p.name for p in house.output.lists.iterdir()) == [house.work_list.path]


def test_a_killed_runs_books_are_closed_and_its_requests_rounded_up(house: House) -> None:
    house.db.close()
    with open_output(house.config) as opened:
        (killed,) = opened.killed_runs
        assert killed.id == "run-1"
        assert killed.counters == {"delivered": 30}
        assert run_records.unended_runs(opened.db) == []
        connections = house.config.pace.concurrency
        assert between_runs.requests_of_day(opened.db) == (day_of(1.0), 40 + 1000 + connections)
    with open_output(house.config) as opened:
        assert opened.killed_runs == ()


def test_what_a_killed_run_had_begun_and_not_finished_is_cut_off_in_its_books(house: House) -> None:
    house.db.execute(
        "UPDATE run SET counters = ?",
        (json.dumps({"begun": 50, "delivered": 30, "open": 4, "dead": 3, "deferred": 2}),),
    )
    house.db.close()
    with open_output(house.config) as opened:
        (killed,) = opened.killed_runs
        assert run_totals(killed).cut_off == 50 - 30 - 4 - 3 - 2
        kept = run_records.run_record(opened.db, killed.id)
        assert kept.counters == killed.counters


def test_requests_of_a_run_that_was_killed_before_it_learnt_the_day_count_for_both(
    house: House,
) -> None:
    """Its day was by our clock alone; the one that was counted in before may be the true one."""
    run_records.end_run(house.db, "run-1", 2_000, 0, {})
    started_ms = 1_788_000_000_000
    run_records.begin_run(house.db, "run-2", started_ms)
    house.db.close()
    most = 1000 + house.config.pace.concurrency
    with open_output(house.config) as opened:
        counts = between_runs.requests_by_day(opened.db)
    assert counts == {day_of(1.0): 40 + most, day_of(started_ms / 1000): most}


def test_a_killed_run_whose_clock_was_ahead_does_not_end_before_it_started(house: House) -> None:
    started_ms = 10**13
    run_records.begin_run(house.db, "run-2", started_ms)
    house.db.close()
    with open_output(house.config) as opened:
        run = run_records.run_record(opened.db, "run-2")
    assert run.ended_ms == started_ms


def test_requests_of_a_run_that_was_killed_before_it_acknowledged_count_on_its_day(
    house: House,
) -> None:
    run_records.end_run(house.db, "run-1", 2_000, 0, {})
    started_ms = 1_788_000_000_000
    run_records.begin_run(house.db, "run-2", started_ms)
    house.db.close()
    with open_output(house.config) as opened:
        day, requests = between_runs.requests_of_day(opened.db)
    assert day == day_of(started_ms / 1000)
    assert requests == 1000 + house.config.pace.concurrency


def live(house: House) -> Path:
    return house.output.cdr / publications.current_parts(house.db, house.output.place_of)[0].path


def spoil_strange(house: House) -> None:
    (house.output.cdr / "submit_date=2026-09-02" / "copy.parquet").write_bytes(b"x")


def spoil_newer(house: House) -> None:
    name = f"part-{house.state_id[:8]}-7-0.parquet"
    shutil.copy(live(house), house.output.cdr / "submit_date=2026-09-02" / name)


def spoil_hidden(house: House) -> None:
    (house.output.cdr / ".tmp").write_bytes(b"")


def spoil_missing(house: House) -> None:
    live(house).unlink()


def spoil_short(house: House) -> None:
    live(house).write_bytes(live(house).read_bytes()[:-1])


def spoil_state(house: House) -> None:
    shutil.rmtree(house.output.state)


def spoil_database(house: House) -> None:
    house.output.database.unlink()


def spoil_list(house: House) -> None:
    (house.output.lists / house.work_list.path).unlink()


SPOILED: dict[str, tuple[Callable[[House], None], str]] = {
    "a file put there by hand": (
        spoil_strange,
        r"is not in the state database .*put there by hand",
    ),
    "a state older than the data": (
        spoil_newer,
        r"is not in the state database .*older than the data",
    ),
    "a hidden file": (spoil_hidden, r"\.tmp is not in the state database"),
    "a part is missing": (spoil_missing, r"is missing, though the state database has it"),
    "a part is too short": (spoil_short, r"has another size"),
    "data without any state": (spoil_state, r"does not exist, so it is unknown what was fetched"),
    "data without a ledger": (spoil_database, r"does not exist, so it is unknown what was fetched"),
    "the list is missing": (spoil_list, r"the work list .* is missing"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_state_and_data_that_disagree_stop_the_start_with_exit_6_and_nothing_is_changed(
    house: House, spoil: tuple[Callable[[House], None], str]
) -> None:
    publisher(house).publish()
    (house.output.staging / "left-over").write_text("x")
    (house.output.lists / "old-list").write_text("x")
    house.db.execute("INSERT INTO publication (lo, hi, state) VALUES (90, 99, 'prepared')")
    ruin, message = spoil
    ruin(house)
    house.db.close()
    before = tree(house.output.root)
    with pytest.raises(StoreError, match=message) as told, open_output(house.config):
        pass
    assert told.value.exit_code == 6
    assert tree(house.output.root) == before
    if house.output.database.exists():
        found = look(house.output.root, "SELECT lo FROM publication WHERE state = 'prepared'")
        assert found == [(90,)], "recovery had begun"


def test_an_output_that_is_held_is_not_touched(house: House) -> None:
    cut(house, moves=1)
    before = tree(house.output.root)
    with (
        OutputLock(house.output.lock),
        pytest.raises(AlreadyRunning, match=str(os.getpid())),
        open_output(house.config),
    ):
        pass
    assert tree(house.output.root) == before


def test_another_accounts_output_is_not_touched(house: House) -> None:
    cut(house, moves=1)
    house.db.execute("UPDATE meta SET value = 'somebody' WHERE key = 'account'")
    house.db.close()
    before = tree(house.output.root)
    with pytest.raises(ConfigError, match="belongs to account 'somebody'"):
        open_output(house.config).__enter__()
    assert tree(house.output.root) == before


def test_a_damaged_table_is_told_as_a_store_error(house: House) -> None:
    house.db.execute("DROP TABLE file")
    house.db.close()
    with pytest.raises(StoreError, match="no such table: file"), open_output(house.config):
        pass


def test_a_new_output_has_private_folders_for_what_is_private(tmp_path: Path) -> None:
    made = House(tmp_path / "new")
    made.close()
    out = Output(tmp_path / "new")
    for folder in (out.state, out.lists, out.staging, out.runs):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert out.cdr.stat().st_mode & 0o777 == 0o750
    with open_output(made.config) as opened:
        assert opened.killed_runs == ()
        assert opened.finished_publications == 0


def test_a_commit_of_parts_that_the_journal_does_not_give_stops_the_start(house: House) -> None:
    publication = publications.prepare(house.db, 1)
    assert isinstance(publication, Publication)
    part = PartRecord("submit_date=2026-09-01/part-01234567-1-0.parquet", 1, 1, 1, "no such hash")
    publications.commit(house.db, publication.id, [part])
    house.db.close()
    with pytest.raises(StoreError, match="is lost, and the journal gives other parts"):
        open_output(house.config).__enter__()


class TakenFromARebuild(OutputLock):
    """The lock, from a process that has moved the state away in the last moment that it had it."""

    def __init__(self, path: Path) -> None:
        for file in path.parent.glob("state.db*"):
            file.unlink()
        super().__init__(path)


def test_what_the_last_holder_of_the_lock_has_changed_is_looked_at_again(house: House) -> None:
    """Or the start would begin from scratch over data."""
    publisher(house).publish()
    house.db.close()
    before = tree(house.output.root)
    with (
        pytest.raises(StoreError, match="holds data"),
        open_output(house.config, lock=TakenFromARebuild),
    ):
        pass
    assert tree(house.output.root) == before
    assert not house.output.database.exists()
    house.db = House(house.output.root).db
