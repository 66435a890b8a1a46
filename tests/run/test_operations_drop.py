"""`harvester drop`: whole dates leave, their calls stay resolved, and every total holds."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow.parquet as pq
import pytest
import xxhash

from harvester.analysis.verify.verify import Order as VerifyOrder
from harvester.analysis.verify.verify import verify
from harvester.config import Config
from harvester.errors import StoreError, UsageError
from harvester.operations.compact import Order as CompactOrder
from harvester.operations.compact import compact
from harvester.operations.drop import Order, drop
from harvester.operations.erase import Order as EraseOrder
from harvester.operations.erase import erase
from harvester.operations.rebuild import rebuild
from harvester.state import listings, run_records, work_lists
from harvester.state.values import WorkList
from harvester.storage import dropped
from harvester.storage.disk import RealDisk
from harvester.storage.output import Output
from tests.run.test_cli_commands import harvester
from tests.support.changes import change, current, rows_of
from tests.support.events import SignallingEvents
from tests.support.fakes import House
from tests.support.nights import DAYS, damage, nights
from tests.support.outputs import fingerprint

REFETCH = "20261001T000000Z-00000a"
ONE, OTHER, THIRD = (
    f"{DAYS[day].replace('-', '')[2:]}120000000000{row}" for day, row in ((0, 0), (1, 1), (2, 2))
)
FIRST_TWO = Order(before=date.fromisoformat(DAYS[2]), is_meant=True)


class Gone(BaseException):
    """The power is."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(nights(tmp_path / "out", count=4)) as made:
        change(made, {ONE: "1.5", OTHER: "2", THIRD: "3"}, REFETCH)
        made.close()
        yield made


def dates(house: House) -> set[str]:
    return {row["folder"].partition("=")[2] for row in rows_of(house).values()}


def test_dates_leave_with_their_changes_and_every_total_holds(house: House) -> None:
    before = rows_of(house)
    # September goes by Shanghai's days: none of these calls is of another month.
    done = drop(house.config, FIRST_TWO, SignallingEvents())
    assert (done.dates, done.rows, done.is_done) == (DAYS[:2], 32, True)
    assert dates(house) == {DAYS[2]}
    changes = pl.read_parquet(house.output.changes.glob("*/*.parquet").__next__())
    assert changes["voice_id"].to_list() == [THIRD]
    assert damage(house) == []
    (left,) = dropped.read(house.output.dropped)
    assert (left.rows, left.dates, left.before) == (32, DAYS[:2], DAYS[2])
    gone = {name: row for name, row in before.items() if not row["folder"].endswith(DAYS[2])}
    (file,) = dropped.files(house.output.dropped)
    assert pq.read_table(file)["voice_id"].to_pylist() == sorted(gone)
    cost = sum((row["cost"] for row in gone.values()), Decimal(0))
    units = [amount for run in left.runs.values() for amount in run.cost.values()]
    assert sum(units) == cost * 10**8
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_hash_of_a_month_is_that_of_its_calls(house: House) -> None:
    first, now = rows_of(house), current(house)
    (month,) = drop(house.config, FIRST_TWO, SignallingEvents()).months.items()
    name, left = month
    assert (name, left.rows) == ("2026-09", 32)

    def hashed(rows: dict[str, dict[str, object]]) -> str:
        total = 0
        for voice_id, row in rows.items():
            if not str(row["folder"]).endswith(DAYS[2]):
                told = f"{voice_id}|{row['charged_duration_s']}|{row['cost']:.8f}|{row['currency']}"
                total += xxhash.xxh3_128_intdigest(told.encode())
        return f"{total % 2**128:032x}"

    assert (left.first, left.current) == (hashed(first), hashed(now))
    assert left.first != left.current


def test_without_yes_nothing_leaves(tmp_path: Path, house: House) -> None:
    told = harvester("drop", "--before", DAYS[1], "--out", "out", cwd=tmp_path)
    assert told.returncode == 2
    assert "Would drop 1 dates: 16 calls" in told.stdout
    assert "add --yes" in told.stderr
    assert dates(house) == set(DAYS)
    done = harvester("drop", "--before", DAYS[1], "--out", "out", "--yes", cwd=tmp_path)
    assert (done.returncode, dates(house)) == (0, set(DAYS[1:]))
    again = harvester("drop", "--before", DAYS[1], "--out", "out", "--yes", cwd=tmp_path)
    assert again.returncode == 0
    assert "Nothing to drop before" in again.stdout


def test_a_date_of_a_later_billing_month_stays_and_is_named(tmp_path: Path) -> None:
    # 16:00 UTC of the 31st is the 1st in Shanghai.
    made = nights(tmp_path / "out", count=1, days=("2026-08-30", "2026-08-31"))
    late = made.config.output.partition_timezone
    assert late == "UTC"
    made.close()
    words = ("--before", "2026-09-01", "--out", "out", "--json", "--yes")
    zone = {"HARVESTER_BILLING__ZONE": "Pacific/Kiritimati"}  # UTC+14: noon there is the next day
    done = harvester("drop", *words, cwd=tmp_path, env=zone)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["dates"] == ["2026-08-30"]
    assert found["kept"] == {"2026-08-31": "it holds calls of the billing month 2026-09"}
    assert dates(made) == {"2026-08-31"}


def test_an_archive_gets_every_file_and_its_changes_first(tmp_path: Path, house: House) -> None:
    was = rows_of(house)
    to = tmp_path / "archive"
    order = Order(before=FIRST_TWO.before, to=to, is_meant=True)
    done = drop(house.config, order, SignallingEvents())
    assert done.archive == str(to)
    frame = pl.concat(map(pl.read_parquet, to.glob("submit_date=*/*.parquet")))
    assert sorted(frame["voice_id"]) == sorted(
        name for name, row in was.items() if not row["folder"].endswith(DAYS[2])
    )
    changes = pl.concat(map(pl.read_parquet, to.glob("changes/*/*.parquet")))
    assert sorted(changes["voice_id"]) == [ONE, OTHER]


class Steps(RealDisk):
    """Writes down what becomes of an archive."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Path]] = []

    def move(self, source: Path, target: Path) -> None:
        """See `Disk`."""
        super().move(source, target)
        self.steps.append(("move", target))

    def sync_folder(self, path: Path) -> None:
        """See `Disk`."""
        super().sync_folder(path)
        self.steps.append(("sync", path))


def test_each_file_of_an_archive_has_a_durable_name_in_a_durable_folder(
    tmp_path: Path, house: House
) -> None:
    """Also where the folder that was named, and the one around it, were not there yet."""
    to, disk = tmp_path / "new" / "archive", Steps()
    order = Order(before=FIRST_TWO.before, to=to, is_meant=True)
    drop(house.config, order, SignallingEvents(), disk=disk)
    archived = sorted(to.rglob("*.parquet"))
    assert archived
    first = disk.steps[: disk.steps.index(("move", archived[0])) + 9]
    assert {("sync", folder) for folder in (to, to.parent, tmp_path)} <= set(first)
    for file in archived:
        after = disk.steps[disk.steps.index(("move", file)) :]
        assert {("sync", file.parent), ("sync", file.parent.parent)} <= set(after)


def test_an_archive_never_replaces_another_file(tmp_path: Path, house: House) -> None:
    to = tmp_path / "archive"
    part = min(house.output.cdr.glob("*/*.parquet"))
    (to / part.parent.name).mkdir(parents=True)
    (to / part.parent.name / part.name).write_text("mine")
    order = Order(before=FIRST_TWO.before, to=to, is_meant=True)
    with pytest.raises(StoreError, match="never replaced") as raised:
        drop(house.config, order, SignallingEvents())
    assert raised.value.code == "data.part_exists"
    assert dates(house) == set(DAYS)
    assert damage(house) == []


class FullArchive(RealDisk):
    """An archive that takes half a file, and then no more; or the power goes there."""

    def __init__(self, archive: Path, error: type[BaseException]) -> None:
        self._archive = archive
        self._error = error

    def sync_file(self, file: BinaryIO) -> None:
        if Path(file.name).is_relative_to(self._archive):
            file.truncate(10)
            raise self._error(errno.ENOSPC, "No space left on device")
        super().sync_file(file)


@pytest.mark.parametrize("error", [OSError, Gone])
def test_after_an_archive_was_full_or_the_power_went_the_same_command_goes_on(
    tmp_path: Path, house: House, error: type[BaseException]
) -> None:
    to = tmp_path / "archive"
    order = Order(before=FIRST_TWO.before, to=to, is_meant=True)
    with pytest.raises((StoreError, Gone)):
        drop(house.config, order, SignallingEvents(), disk=FullArchive(to, error))
    assert list(to.glob("submit_date=*/*.parquet")) == [], "nothing looks like a copy"
    assert bool(list(to.rglob(".*"))) is (error is Gone), "room is given back"
    assert drop(house.config, order, SignallingEvents()).is_done
    frame = pl.concat(map(pl.read_parquet, to.glob("submit_date=*/*.parquet")))
    assert len(frame) == 32
    assert list(to.rglob(".*")) == []
    assert damage(house) == []


def test_what_was_dropped_is_not_fetched_again(tmp_path: Path, house: House) -> None:
    drop(house.config, FIRST_TWO, SignallingEvents())
    ids = tmp_path / "ids.txt"
    ids.write_text(f"{ONE}\n{OTHER}\n{THIRD}\n")
    plan = harvester("plan", str(ids), "--out", "out", "--account", "acme", "--json", cwd=tmp_path)
    assert json.loads(plan.stdout.splitlines()[-1])["to_fetch"] == 0, plan.stdout
    shutil.rmtree(house.output.state)
    assert rebuild(house.config).rows == 16
    plan = harvester("plan", str(ids), "--out", "out", "--account", "acme", "--json", cwd=tmp_path)
    assert json.loads(plan.stdout.splitlines()[-1])["to_fetch"] == 0
    assert damage(house) == []
    told = json.loads(harvester("explain", ONE, "--out", "out", "--json", cwd=tmp_path).stdout)
    assert told["state"] == "dropped"
    assert told["dropped"]["before"] == DAYS[2]
    # And no later publication takes its number.
    compact(house.config, CompactOrder(min_files=2, older_than_s=0), SignallingEvents())
    assert damage(house) == []


@pytest.mark.parametrize(
    "place", ["out", "out/cdr", "out/cdr/x", "out/state/staging", "out/changes", ".", "link"]
)
def test_an_archive_within_the_output_or_around_it_is_refused(
    tmp_path: Path, house: House, place: str
) -> None:
    (tmp_path / "link").symlink_to(house.output.cdr)
    before = fingerprint(house.output.root)
    order = Order(before=FIRST_TWO.before, to=tmp_path / place, is_meant=True)
    with pytest.raises(UsageError, match="lie within each other") as raised:
        drop(house.config, order, SignallingEvents())
    assert raised.value.code == "usage.target"
    assert fingerprint(house.output.root) == before


class Cut(RealDisk):
    """Its power is cut after so many folders have left."""

    def __init__(self, after: int) -> None:
        self._left = after

    def rename_folder(self, source: Path, target: Path) -> None:
        super().rename_folder(source, target)
        self._left -= 1
        if not self._left:
            raise Gone


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_drop_that_was_cut_is_finished(house: House, after: int) -> None:
    with pytest.raises(Gone):
        drop(house.config, FIRST_TWO, SignallingEvents(), disk=Cut(after))
    done = drop(house.config, FIRST_TWO, SignallingEvents())
    assert done.finished_publications == 1
    assert not done.dates
    assert dates(house) == {DAYS[2]}
    assert damage(house) == []


@pytest.mark.parametrize("words", [(), ("--json",), ("--quiet",)])
def test_without_being_told_so_nothing_leaves_and_the_exit_code_says_it(
    house: House, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = harvester("drop", "--before", DAYS[2], "--out", "out", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "add --yes" in done.stderr
    assert dates(house) == set(DAYS)


def test_the_ids_of_an_output_that_has_no_row_any_more_are_counted_still(house: House) -> None:
    everything = Order(before=date(2027, 1, 1), is_meant=True)
    drop(house.config, everything, SignallingEvents())
    assert dates(house) == set()
    found = verify(house.output, VerifyOrder("UTC", "400MB", deep=True))
    assert (found.files, found.rows, found.ids) == (0, 0, 48)
    assert found.is_clean


class Full(RealDisk):
    """No room for a folder of the new files."""

    def make_alike(self, path: Path, pattern: Path) -> None:
        raise OSError(28, "No space left on device")


class CutBeforeCommit(RealDisk):
    """The power goes when the file of ids is durable, before the commit point."""

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        if path.name == "dropped":
            raise Gone


def test_before_its_commit_point_nothing_has_left(house: House) -> None:
    with pytest.raises(StoreError):
        drop(house.config, FIRST_TWO, SignallingEvents(), disk=Full())
    assert dates(house) == set(DAYS)
    with pytest.raises(Gone):
        drop(house.config, FIRST_TWO, SignallingEvents(), disk=CutBeforeCommit())
    assert dropped.files(house.output.dropped) != []
    nothing = Order(before=date(2000, 1, 1), is_meant=True)
    drop(house.config, nothing, SignallingEvents())
    assert dropped.files(house.output.dropped) == []
    assert dates(house) == set(DAYS)
    assert damage(house) == []


class Flawed(RealDisk):
    """The archive keeps another byte than it was given, and says nothing."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def sync_file(self, file: BinaryIO) -> None:
        super().sync_file(file)
        if Path(file.name).is_relative_to(self._archive):
            with Path(file.name).open("r+b") as again:
                again.write(b"X")


def test_nothing_leaves_whose_copy_is_not_what_was_copied(tmp_path: Path, house: House) -> None:
    to = tmp_path / "archive"
    order = Order(before=FIRST_TWO.before, to=to, is_meant=True)
    with pytest.raises(StoreError, match="Nothing was dropped") as raised:
        drop(house.config, order, SignallingEvents(), disk=Flawed(to))
    assert raised.value.code == "data.changed"
    assert dates(house) == set(DAYS)
    assert dropped.files(house.output.dropped) == []


def put_on_the_list(db: sqlite3.Connection, output: Output) -> None:
    """Two ids, to be fetched again."""
    (output.lists / "list-9.parquet").touch()
    work_lists.replace_list(db, WorkList(9, None, "list-9.parquet", None, 0, 0, 0, again=2))


def doubt(db: sqlite3.Connection, output: Output) -> None:
    """Two records that came by pages: the next run puts them on the list."""
    assert output.lists.is_dir()
    listings.keep_taken(db, "run", [ONE, OTHER])
    listings.doubt_taken(db)


def drop_some(config: Config) -> object:
    return drop(config, FIRST_TWO, SignallingEvents())


def erase_one(config: Config) -> object:
    order = EraseOrder(numbers=("4915112345678",), because="a request")
    return erase(config, order, SignallingEvents())


@pytest.mark.parametrize("pending", [put_on_the_list, doubt])
@pytest.mark.parametrize(("act", "command"), [(drop_some, "drop"), (erase_one, "erase")])
def test_calls_that_are_to_be_fetched_again_neither_leave_nor_lose_their_numbers(
    house: House,
    act: Callable[[Config], object],
    command: str,
    pending: Callable[[sqlite3.Connection, Output], None],
) -> None:
    """The vendor would bring back what the law had deleted."""
    with closing(House(house.output.root)) as opened:
        pending(opened.db, opened.output)
    before = rows_of(house)
    with pytest.raises(UsageError, match="2 ids of a refetch are pending") as raised:
        act(house.config)
    assert raised.value.code == "usage.conflict"
    assert f"`harvester run --carried-over-only`, then {command}" in str(raised.value)
    assert rows_of(house) == before
    assert not house.output.dropped.exists()


def test_calls_without_a_price_that_left_wait_for_none_any_more(tmp_path: Path) -> None:
    with closing(nights(tmp_path / "out", count=4)) as made:
        change(made, {ONE: "0", THIRD: "0"}, REFETCH, is_rated=False)
        before = run_records.count_unrated(made.db)
        made.close()
        drop(made.config, FIRST_TWO, SignallingEvents())
        with closing(House(made.output.root)) as after:
            assert run_records.count_unrated(after.db) == before - 1


def test_what_was_dropped_does_not_come_back_out_of_changes_that_are_there_still(
    tmp_path: Path, house: House
) -> None:
    """As a power cut in the midst of a drop may leave them, and then the state is lost."""
    shutil.copytree(house.output.changes, tmp_path / "kept")
    drop(house.config, FIRST_TWO, SignallingEvents())
    shutil.rmtree(house.output.changes)
    shutil.copytree(tmp_path / "kept", house.output.changes)
    shutil.rmtree(house.output.state)
    assert rebuild(house.config).put_back == 0
    assert dates(house) == {DAYS[2]}


def test_a_file_of_ids_that_is_lost_is_found(house: House) -> None:
    drop(house.config, FIRST_TWO, SignallingEvents())
    (file,) = dropped.files(house.output.dropped)
    file.rename(file.with_suffix(".away"))
    assert any("was left by `drop`, and is gone" in one for one in damage(house))
    file.write_text("no parquet")
    assert any("can't be read" in one for one in damage(house))
    found = verify(house.output, VerifyOrder("UTC", "400MB")).findings
    (one,) = (one for one in found if one.where == str(file))
    assert (one.severity, one.kind) == ("damage", "unreadable")
    assert "ids that were dropped are fetched again" in one.remedy
