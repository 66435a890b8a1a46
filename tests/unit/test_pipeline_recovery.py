"""What a start puts in order, and what it leaves as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from harvester.errors import StoreError
from harvester.pipeline.run.recovery import (
    REBUILDING,
    Opened,
    compare_with_data,
    new_run_id,
    open_output,
)
from harvester.pipeline.run.recovery import refuse_data_without_state as refuse
from harvester.run_name import is_run_id
from harvester.state import publications, run_records, work_lists
from harvester.state.belongs import read_identity
from harvester.state.values import Note
from harvester.storage import dropped
from harvester.storage.output import Output, make_folders
from tests.support.fakes import ACCOUNT, House, config_of

OLD, RUN, NEWEST = "20260101T000000Z-00000a", "20261101T000000Z-00000b", "20261102T000000Z-00000c"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "out")
    yield made
    made.close()


def opened(house: House, **settings: object) -> Opened:
    """What the next start of this output finds and leaves."""
    house.db.close()
    with open_output(config_of(house.output.root, **settings)) as found:
        pass
    house.db = House(house.output.root).db
    return found


def folder_of(house: House, run_id: str, *names: str) -> Path:
    folder = house.output.run(run_id)
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_the_list_in_force_and_the_ids_of_its_input_stay_and_others_go(house: House) -> None:
    house.put_in_force(["1", "2"])
    (house.output.lists / "input-1.parquet").write_text("ids")
    work_lists.replace_list(house.db, replace(house.work_list, ids_path="input-1.parquet"))
    (house.output.lists / "list-0.parquet").write_text("old")
    opened(house)
    names = {path.name for path in house.output.lists.iterdir()}
    assert names == {house.work_list.path, "input-1.parquet"}


@pytest.mark.parametrize(
    ("exit_code", "names", "is_owed"),
    [
        (None, [], True),
        # It was closed before, and its books were written.
        (None, ["summary.json"], False),
        # It has ended by itself, whatever became of its files.
        (0, [], False),
    ],
)
def test_a_run_whose_start_after_it_was_killed_too_still_gets_its_summary(
    house: House, exit_code: int | None, names: list[str], is_owed: bool
) -> None:
    folder_of(house, RUN, *names)
    run_records.begin_run(house.db, RUN, 1_000)
    run_records.end_run(house.db, RUN, 2_000, exit_code, {})
    assert [run.id for run in opened(house).killed_runs] == [RUN] * is_owed


def test_of_a_run_without_a_folder_no_summary_is_owed(house: House) -> None:
    run_records.begin_run(house.db, RUN, 1_000)
    run_records.end_run(house.db, RUN, 2_000, None, {})
    assert opened(house).killed_runs == ()


@pytest.mark.parametrize(("days", "is_kept"), [(90, False), (400, True), (0, True)])
def test_logs_and_snapshots_of_runs_that_are_long_over_go(
    house: House, days: int, is_kept: bool
) -> None:
    for run in (OLD, NEWEST):
        folder_of(house, run, "log.jsonl", "state.parquet", "summary.json")
        run_records.begin_run(house.db, run, 1_000)
        run_records.end_run(house.db, run, 2_000, 0, {})
    opened(house, output__keep_runs_days=float(days))
    found = {path.name for path in house.output.run(OLD).iterdir()}
    assert ("log.jsonl" in found) is ("state.parquet" in found) is is_kept
    assert "summary.json" in found
    assert len(list(house.output.run(NEWEST).iterdir())) == 3


def test_an_output_notes_what_it_belongs_to_from_its_first_start_on(house: House) -> None:
    found = opened(house, output__partition_timezone="UTC")
    for identity in (found.identity, read_identity(house.db)):
        assert (identity.account, identity.timezone) == (ACCOUNT, "UTC")


def test_a_new_runs_name_is_when_it_began_and_no_other_has_it() -> None:
    names = {new_run_id(1_793_491_200.9) for _ in range(20)}
    assert len(names) == 20
    assert all(is_run_id(name) for name in names)
    assert {name.partition("-")[0] for name in names} == {"20261101T000000Z"}


ROW, CHANGE = (
    f"{folder}=2026-11-01/part-0123abcd-1-0.parquet" for folder in ("submit_date", "change_date")
)


def publish(house: House, path: str, state: str = "live", size: int = 7) -> Path:
    """A file, of which the state database says that it is `state` and has seven bytes."""
    house.db.execute(
        "INSERT INTO file (path, publication, rows, bytes, sha256, state) "
        "VALUES (?, 1, 1, 7, 'hash', ?)",
        (path, state),
    )
    return put(house, path, size)


def put(house: House, path: str, size: int = 7) -> Path:
    place = house.output.place_of(path)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"1" * size)
    return place


@pytest.mark.parametrize("path", [ROW, CHANGE])
@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("whole", None),
        ("committed", None),
        ("missing", "data.missing"),
        ("of another size", "data.missing"),
        ("unknown", "data.unknown_file"),
        ("retired", "data.unknown_file"),
    ],
)
def test_files_and_state_that_no_crash_of_ours_left_so_stop_a_start(
    house: House, path: str, what: str, code: str | None
) -> None:
    """In cdr/ and in changes/ alike."""
    match what:
        case "whole":
            publish(house, path)
        case "committed" | "retired":
            publish(house, path, what)
        case "missing":
            publish(house, path).unlink()
        case "of another size":
            publish(house, path, size=8)
        case _:
            put(house, path)
    if code is None:
        compare_with_data(house.db, house.output)
        return
    with pytest.raises(StoreError, match=path) as told:
        compare_with_data(house.db, house.output)
    assert told.value.code == code


@pytest.mark.parametrize("command", ["drop", "erase"])
def test_a_start_is_refused_where_nobody_knows_which_calls_were_dropped_or_erased_in(
    house: House, command: str
) -> None:
    number = publications.prepare_rewrite(house.db)
    publications.commit_rewrite(house.db, number, [], [], Note(command))
    with pytest.raises(StoreError, match=f"{command}-{number}.parquet is missing") as told:
        compare_with_data(house.db, house.output)
    assert told.value.code == "data.dropped"
    house.output.dropped.mkdir()
    dropped.left_file_of(house.output.dropped, number, command).touch()
    compare_with_data(house.db, house.output)


def test_a_start_is_refused_where_the_list_in_force_is_gone(house: House) -> None:
    house.put_in_force(["1", "2"])
    compare_with_data(house.db, house.output)
    (house.output.lists / house.work_list.path).unlink()
    with pytest.raises(StoreError, match="progress has no meaning") as told:
        compare_with_data(house.db, house.output)
    assert told.value.code == "state.missing"


@pytest.fixture
def lost(tmp_path: Path) -> Output:
    """An output whose state database is gone."""
    output = Output(tmp_path / "lost")
    make_folders(output, 0o750)
    return output


def test_an_output_of_nothing_may_begin(lost: Output, tmp_path: Path) -> None:
    refuse(lost)
    refuse(Output(tmp_path / "new"))
    # A run that left nothing open forgets nothing.
    folder = lost.run(RUN)
    folder.mkdir()
    refuse(lost)
    snapshot(folder, 0)
    refuse(lost)


def snapshot(folder: Path, rows: int) -> None:
    pq.write_table(pa.table({"voice_id": pa.array(["1"] * rows, pa.string())}), folder / SNAPSHOT)


SNAPSHOT = "state.parquet"


@pytest.mark.parametrize("what", ["part", "foreign", "snapshot", "torn snapshot", "rebuild"])
def test_what_would_be_forgotten_is_not_begun_anew(lost: Output, what: str) -> None:
    code = "state.missing"
    folder = lost.run(RUN)
    folder.mkdir()
    match what:
        case "part":
            day = lost.cdr / "submit_date=2026-11-01"
            day.mkdir()
            (day / "part-0123abcd-1-0.parquet").touch()
        case "foreign":
            (lost.cdr / "notes.txt").touch()
        case "snapshot":
            snapshot(folder, 1)
        case "torn snapshot":
            (folder / SNAPSHOT).write_text("torn")
        case _:
            (lost.state / REBUILDING).mkdir()
            code = "state.rebuild_interrupted"
    with pytest.raises(StoreError) as raised:
        refuse(lost)
    assert raised.value.code == code
    lost.database.touch()
    refuse(lost)
