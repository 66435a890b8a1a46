"""`harvester erase` and `explain --numbers`: numbers leave every place, calls and money stay."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from harvester.errors import Interrupted, StoreError, UsageError
from harvester.operations.compact import Order as CompactOrder
from harvester.operations.compact import compact
from harvester.operations.erase import Erased, Order, erase, stopped
from harvester.operations.listed_numbers import read_numbers
from harvester.operations.number_places import where
from harvester.operations.rebuild import rebuild
from harvester.pipeline.engine.acknowledger import keep
from harvester.pipeline.run.requests import StopCheck
from harvester.pipeline.run.state_snapshot import write_snapshot
from harvester.state import unresolved
from harvester.state.database import transaction
from harvester.state.values import Batch, DeadLetter, Deferred, Entry, OpenCall
from harvester.storage import dropped
from harvester.storage.disk import RealDisk
from tests.run.test_cli_commands import harvester
from tests.support.changes import change, current, rows_of
from tests.support.cut_disk import CutDisk, Gone
from tests.support.events import SignallingEvents
from tests.support.fakes import House
from tests.support.nights import DAYS, damage, nights, run_of
from tests.support.outputs import fingerprint

NUMBER = "491511234567"
OTHER = "491511234568"
SHOWN = "4930901820"
ONE, TWO, THREE = (
    f"{DAYS[day].replace('-', '')[2:]}120000000000{row}" for day, row in ((0, 0), (0, 1), (2, 2))
)
REFETCH = "20261001T000000Z-00000a"
ORDER = Order(numbers=read_numbers(["+49 151 1234567", f"00{SHOWN}"]), because="T-17")
OPEN_ID, DEAD_ID, FAILED_ID = "open-1", "dead-1", "failed-1"
ANSWER = f'{{"data":{{"callee":"+{NUMBER}","voiceId":"{OPEN_ID}","cost":"1.50"}}}}'.encode()


def more(voice_id: str) -> str:
    """Fields of the answer about an id."""
    callee = NUMBER if voice_id in {ONE, TWO} else OTHER
    told = {ONE: f"was 0049 151 1234567, now {OTHER}"}.get(voice_id, "")
    own = {THREE: f'"phone":{SHOWN},"note":"+{SHOWN}!",'}.get(voice_id, "")
    return f'"callee":"{callee}","calledInfo":"{told}",{own}'


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Numbers in every place that there is."""
    with closing(nights(tmp_path / "out", count=4, more=more)) as made:
        change(made, {TWO: "1.5", THREE: "3"}, REFETCH)
        with transaction(made.db):
            unresolved.put_open_calls(
                made.db, [OpenCall(OPEN_ID, 1, 1, 1, run_of(3), ANSWER, answer_ms=1)]
            )
            letter = DeadLetter(
                DEAD_ID, "unknown", f"no call to {NUMBER}", 1, 1, 1, run_of(3), body=ANSWER
            )
            unresolved.put_dead_letters(made.db, [letter])
            unresolved.put_deferred(
                made.db, [Deferred(FAILED_ID, "timeout", f"({NUMBER})", 1, 1, run_of(3))]
            )
        run = made.output.run(run_of(3))
        run.mkdir(0o700)
        write_snapshot(made.db, run / "state.parquet")
        bad = {"file": "ids.csv", "line": 3, "reason": "forbidden_character"}
        bad_lines = run / "bad_ids.jsonl"
        bad_lines.touch(0o600)
        bad_lines.write_text(
            "".join(json.dumps(bad | {"excerpt": one}) + "\n" for one in (f"+{NUMBER}", "a b"))
        )
        before = made.output.state / "state.db.before-2.15"
        before.touch(0o600)
        with closing(sqlite3.connect(before)) as copy:
            made.db.backup(copy)
        made.close()
        yield made


def texts(house: House) -> Iterator[tuple[Path, str]]:
    """Every file of the output as text: Parquet and its answers decoded, the rest as it is."""
    for path in sorted(house.output.root.rglob("*")):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                told = io.StringIO()
                for row in file.read().to_pylist():
                    print(row, file=told)
                print(file.metadata.metadata, file=told)
            yield path, told.getvalue() + path.read_bytes().decode("latin-1")
        elif path.is_file():
            yield path, path.read_bytes().decode("latin-1")


def left_in(house: House, *numbers: str) -> list[str]:
    """The files that hold one of the numbers, however it is written."""
    found = []
    for path, text in texts(house):
        bare = "".join(char for char in text if char not in " -+()")
        if any(number in bare for number in numbers):
            found.append(str(path.relative_to(house.output.root)))
    return found


def money(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    hidden = ("callee", "called_info", "extra", "folder")
    return {
        voice_id: {name: value for name, value in row.items() if name not in hidden}
        for voice_id, row in rows.items()
    }


def erased(house: House, disk: RealDisk | None = None) -> Erased:
    return erase(house.config, ORDER, SignallingEvents(), disk=disk)


def test_numbers_leave_every_place_and_totals_stay(house: House) -> None:
    first, now = rows_of(house), current(house)
    assert len(left_in(house, NUMBER)) >= 6
    done = erased(house)
    assert left_in(house, NUMBER, SHOWN) == []
    assert [one.place for one in done.places] == [
        "data",
        "changes",
        "open calls",
        "dead letters",
        "failed ids",
        "snapshots",
        "bad lines",
        "copies of the state",
    ]
    assert done.places[0].ids == (ONE, TWO, THREE)
    assert money(rows_of(house)) == money(first)
    assert money(current(house)) == money(now)
    assert damage(house) == []
    after = rows_of(house)
    assert after[ONE]["callee"] == "49**********"
    assert after[ONE]["called_info"] == f"was 0049 *** *******, now {OTHER}"
    assert json.loads(after[THREE]["extra"]) == {"phone": "49********", "note": "+49********!"}
    others = {name: row for name, row in first.items() if name not in {ONE, TWO, THREE}}
    assert {name: after[name] for name in others} == others
    for change_ in house.output.changes.glob("*/*.parquet"):
        for row in pq.read_table(change_, partitioning=None).to_pylist():
            assert {row["old"]["callee"], row["new"]["callee"]} <= {"49**********", OTHER}
    # Only the folders that held one have new files.
    assert not any(DAYS[1] in path for path in done.written)
    assert sum(path.startswith("cdr/") for path in done.written) == 8
    assert list(house.output.retired.iterdir()) == []
    assert list(house.output.state.glob("*.before-*")) == []
    again = where(house.config, ORDER.numbers, "explain")
    assert again == ()


def test_the_receipt_names_no_number_and_what_is_not_reached(house: House) -> None:
    done = erased(house)
    path = house.output.root / done.receipt
    receipt = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert (receipt["because"], receipt["numbers"]) == ("T-17", 2)
    assert receipt["places"]["data"]["rows"] == 3
    assert receipt["places"]["data"]["calls"] == 3
    assert any("that are open" in one for one in receipt["not_reached"])
    assert any("backups" in one for one in receipt["not_reached"])
    assert receipt["written"] == list(done.written)


def test_ids_of_erased_rows_are_left_behind_for_refetch(house: House) -> None:
    erased(house)
    (file,) = dropped.erased_files(house.output.dropped)
    assert pq.read_table(file)["voice_id"].to_pylist() == [ONE, TWO, THREE]
    assert file.stat().st_mode & 0o777 == 0o600
    assert dropped.files(house.output.dropped) == []
    assert damage(house) == []
    file.rename(file.with_suffix(".away"))
    assert any("left by `erase`, and is gone" in one for one in damage(house))


def test_a_journal_that_is_not_empty_is_published_first(house: House) -> None:
    with closing(House(house.output.root)) as made:
        entry = Entry("x-1", 1, True, ANSWER)
        batch = Batch(entries=[entry])
        keep(made.db, run_of(3), batch, work_list=None, counters={}, requests_of_day=("", 0))
    was = fingerprint(house.output.root)
    with pytest.raises(UsageError, match="harvester publish") as raised:
        erased(house)
    assert raised.value.code == "usage.conflict"
    assert fingerprint(house.output.root).keys() == was.keys()
    found = {one.place: one.ids for one in where(house.config, ORDER.numbers, "explain")}
    assert found["journal"] == ("x-1",)


def test_a_dry_run_and_a_run_without_yes_change_nothing(tmp_path: Path, house: House) -> None:
    (tmp_path / "numbers.txt").write_text(f"+49 (151) 1234567\n\n00{SHOWN}\n")
    was = fingerprint(house.output.root)
    words = ("erase", "--numbers", "numbers.txt", "--because", "T-17", "--out", "out")
    dry = harvester(*words, "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "data:" in dry.stdout
    assert "3 rows in 3 files" in dry.stdout
    bare = harvester(*words, cwd=tmp_path)
    assert bare.returncode == 2
    assert "add --yes" in bare.stderr
    assert fingerprint(house.output.root) == was
    done = harvester(*words, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Receipt:  runs/erase-" in done.stdout
    for one in (dry, bare, done):
        for number in (NUMBER, NUMBER[2:], SHOWN):
            assert number not in one.stdout + one.stderr
    assert left_in(house, NUMBER, SHOWN) == []


def test_explain_names_every_place_and_the_ids(tmp_path: Path, house: House) -> None:
    was = fingerprint(house.output.root)
    told = harvester(
        "explain", "--numbers", "-", "--out", "out", "--json", cwd=tmp_path, stdin=f"{NUMBER}\n"
    )
    assert told.returncode == 0, told.stderr
    found = {one["place"]: one for one in json.loads(told.stdout)["places"]}
    assert found["data"]["ids"] == [ONE, TWO]
    assert found["changes"]["ids"] == [TWO]
    assert found["open calls"]["ids"] == [OPEN_ID]
    assert fingerprint(house.output.root) == was
    both = harvester("explain", ONE, "--numbers", "-", "--out", "out", cwd=tmp_path)
    assert (both.returncode, harvester("explain", "--out", "out", cwd=tmp_path).returncode) == (
        2,
        2,
    )


@pytest.mark.parametrize(
    "line",
    [
        "123456",
        "49151x1234567",
        "name,491511234567",
        "+",
        "voice",
        "491511234567 491511234568",
        "4" * 16,
    ],
)
def test_a_line_that_is_no_number_is_named_by_its_place_alone(line: str) -> None:
    with pytest.raises(UsageError, match=r"^line 2 of the numbers") as raised:
        read_numbers(["+4930123456", line])
    assert raised.value.code == "usage.numbers"
    assert line == "+" or line not in str(raised.value)


def test_an_erasure_that_was_cut_is_finished_by_the_next(tmp_path: Path, house: House) -> None:
    for after in range(1, 7):
        root = tmp_path / f"cut-{after}"
        shutil.copytree(house.output.root, root)
        with closing(House(root)) as made:
            first = rows_of(made)
        with pytest.raises(Gone):
            erased(made, CutDisk(after))
        erased(made)
        assert left_in(made, NUMBER, SHOWN) == [], after
        assert money(rows_of(made)) == money(first)
        assert damage(made) == []


class NoExchange(CutDisk):
    """Folders can't be exchanged here; the power goes behind a rename of this number."""

    def exchange(self, one: Path, other: Path) -> None:
        raise OSError(22, "Invalid argument")

    def remove_folder(self, path: Path) -> None:
        RealDisk.remove_folder(self, path)

    def remove(self, path: Path) -> None:
        RealDisk.remove(self, path)


def test_where_folders_cannot_be_exchanged_readers_have_to_be_stopped(
    tmp_path: Path, house: House
) -> None:
    with pytest.raises(UsageError, match="--readers-stopped") as raised:
        erased(house, NoExchange(0))
    assert raised.value.code == "output.no_exchange"
    while_stopped = msgspec.structs.replace(ORDER, readers_stopped=True)
    first = rows_of(house)
    for after in range(8):
        root = tmp_path / f"cut-{after}"
        shutil.copytree(house.output.root, root)
        made = House(root)
        made.close()
        if after:
            with pytest.raises(Gone):
                erase(made.config, while_stopped, SignallingEvents(), disk=NoExchange(after))
        erase(made.config, while_stopped, SignallingEvents(), disk=NoExchange(0))
        assert left_in(made, NUMBER, SHOWN) == [], after
        assert money(rows_of(made)) == money(first)
        assert damage(made) == []


def test_what_was_erased_stays_so_when_changes_are_folded_and_the_state_is_rebuilt(
    tmp_path: Path, house: House
) -> None:
    now = current(house)
    erased(house)
    compact(house.config, CompactOrder(min_files=2, older_than_s=0), SignallingEvents())
    assert money(rows_of(house)) == money(now)
    assert damage(house) == []
    shutil.rmtree(house.output.state)
    rebuild(house.config)
    assert left_in(house, NUMBER, SHOWN) == []
    assert damage(house) == []
    # No later publication takes the number of the file of ids.
    compact(house.config, CompactOrder(min_files=1, older_than_s=0), SignallingEvents())
    assert len(dropped.erased_files(house.output.dropped)) == 1
    words = ("refetch", "delivered", "--from", DAYS[0], "--to", DAYS[2], "--dry-run", "--json")
    told = harvester(*words, "--out", "out", cwd=tmp_path)
    assert json.loads(told.stdout)["left_out"] == 3, told.stderr


def test_files_that_compact_took_out_go_at_once_if_they_hold_one(house: House) -> None:
    compact(house.config, CompactOrder(min_files=2, older_than_s=0), SignallingEvents())
    assert list(house.output.retired.iterdir()) != []
    assert "retired" in [one.place for one in where(house.config, ORDER.numbers, "explain")]
    erased(house)
    assert list(house.output.retired.iterdir()) == []
    assert left_in(house, NUMBER, SHOWN) == []
    assert damage(house) == []


def test_an_output_of_version_1_is_erased_in_its_own_columns(tmp_path: Path) -> None:
    made = nights(tmp_path / "out", count=2, more=more, version=1)
    made.close()
    first = rows_of(made)
    erased(made)
    assert left_in(made, NUMBER, SHOWN) == []
    assert money(rows_of(made)) == money(first)
    assert damage(made) == []


class CutBeforeCommit(RealDisk):
    """The power goes when the file of ids is durable, before the commit point."""

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        if path.name == "dropped":
            raise Gone


class NoRoom(RealDisk):
    """No room for a folder of the new files."""

    def make_alike(self, path: Path, pattern: Path) -> None:
        raise OSError(28, "No space left on device")


def test_before_its_commit_point_nothing_is_erased(house: House) -> None:
    first = rows_of(house)
    with pytest.raises(StoreError):
        erased(house, NoRoom())
    with pytest.raises(Gone):
        erased(house, CutBeforeCommit())
    assert rows_of(house) == first
    assert len(dropped.erased_files(house.output.dropped)) == 1
    nothing = Order(numbers=("4999999999",), because="T-18")
    assert erase(house.config, nothing, SignallingEvents()).places[0].place == "copies of the state"
    assert dropped.erased_files(house.output.dropped) == []
    assert rows_of(house) == first
    assert damage(house) == []


class Stopped:
    """A signal has come."""

    @contextmanager
    def watched(self) -> Iterator[StopCheck]:
        yield lambda: stopped(signal.SIGINT)


class Watched(RealDisk):
    """Writes down what becomes of folders and files; `then` happens at the first of it."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.steps: list[tuple[str, Path]] = []
        self._then = then

    def remove(self, path: Path) -> None:
        """See `Disk`."""
        self._note("remove", path)
        super().remove(path)

    def sync_folder(self, path: Path) -> None:
        """See `Disk`."""
        self._note("sync", path)
        super().sync_folder(path)

    def _note(self, what: str, path: Path) -> None:
        if not self.steps:
            self._then()
        self.steps.append((what, path))


def test_what_held_a_number_only_after_it_was_looked_for_leaves_no_receipt(house: House) -> None:
    """Such as a file that somebody has put back meanwhile."""
    bad_lines = house.output.run(run_of(2)) / "bad_ids.jsonl"

    def put_back() -> None:
        bad_lines.parent.mkdir(0o700)
        shutil.copy(house.output.run(run_of(3)) / "bad_ids.jsonl", bad_lines)

    with pytest.raises(StoreError, match="still holds one of the numbers") as refused:
        erase(house.config, ORDER, SignallingEvents(), disk=Watched(put_back))
    assert refused.value.code == "data.not_erased"
    assert str(bad_lines) in str(refused.value)
    assert NUMBER not in str(refused.value)
    assert list(house.output.runs.glob("erase-*")) == []
    erase(house.config, ORDER, SignallingEvents())
    assert left_in(house, NUMBER) == []


def test_a_copy_of_the_state_is_gone_from_the_disk_too_before_the_receipt_is_there(
    house: House,
) -> None:
    disk = Watched()
    erase(house.config, ORDER, SignallingEvents(), disk=disk)
    gone = disk.steps.index(("remove", house.output.state / "state.db.before-2.15"))
    assert ("sync", house.output.state) in disk.steps[gone:]


def test_a_signal_before_the_commit_point_stops_it(house: House) -> None:
    first = rows_of(house)
    with pytest.raises(Interrupted, match="nothing was erased"):
        erase(house.config, ORDER, SignallingEvents(), Stopped())
    assert rows_of(house) == first
    assert damage(house) == []


def test_a_state_that_was_set_aside_is_named(house: House) -> None:
    aside = house.output.root / "state.old-20261101T000000Z"
    aside.mkdir(0o700)
    done = erased(house)
    assert any(one.startswith(f"{aside.name}: ") for one in done.not_reached)
    assert aside.is_dir()


def test_a_ticket_that_holds_the_number_is_refused(tmp_path: Path, house: House) -> None:
    words = ("erase", "--numbers", "-", "--yes", "--out", "out", "--because")
    told = harvester(*words, f"wipe +{NUMBER}", cwd=tmp_path, stdin=NUMBER)
    assert told.returncode == 2
    assert NUMBER not in told.stderr
    assert len(left_in(house, NUMBER)) >= 6


def test_what_rows_of_the_state_database_held_before_is_gone_as_well(tmp_path: Path) -> None:
    number = "4917099887766"
    made = nights(tmp_path / "out", count=1)
    body = f'{{"a":"{"x" * 20_000}","callee":"{number}"}}'.encode()
    with transaction(made.db):
        unresolved.put_open_calls(made.db, [OpenCall("o", 1, 1, 1, run_of(0), body, answer_ms=1)])
    made.close()
    again = House(made.output.root)
    again.db.execute("PRAGMA secure_delete = OFF")
    with transaction(again.db):
        unresolved.remove_open_calls(again.db, ["o"])
    again.close()
    assert number.encode() in made.output.database.read_bytes()
    order = Order(numbers=(number,), because="T-1")
    assert erase(made.config, order, SignallingEvents()).places == ()
    assert number.encode() not in made.output.database.read_bytes()
    assert [path.name for path in made.output.state.glob("state.db*")] == ["state.db"]
    assert damage(made) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [((), 2), (("--json",), 2), (("--quiet",), 2), (("--dry-run",), 0), (("--dry-run", "-q"), 0)],
)
def test_without_being_told_so_nothing_is_erased_and_the_exit_code_says_it(
    house: House, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    house.close()
    before = fingerprint(house.output.cdr)
    (tmp_path / "numbers.txt").write_text("8613800138000\n")
    own = ("erase", "--numbers", "numbers.txt", "--because", "T-1", "--out", "out")
    done = harvester(*own, *words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert ("add --yes" in done.stderr) == (code == 2)
    assert fingerprint(house.output.cdr) == before
