"""Files in the making: nobody can guess their names, and what lies there is never written to."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from harvester.cli.ui.output_files import write_private
from harvester.errors import StoreError, UsageError
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.metrics_file import MetricsFile
from harvester.pipeline.run.prometheus import RunFigures
from harvester.pipeline.run.state_snapshot import write_snapshot
from harvester.state.database import open_database
from harvester.storage.atomic_files import (
    NewFile,
    NewTextFile,
    fresh_file,
    is_special,
    sync_folder,
    write_atomically,
)
from harvester.storage.parquet_file import IDS, ParquetOut


class Events:
    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, level: str, event: str, **fields: object) -> None:
        self.said.append(f"{level} {event} {fields}")

    def progress(self, progress: Progress) -> None:
        pass


def metrics(path: Path) -> None:
    events = Events()
    MetricsFile(str(path), events).write(RunFigures(account="a", started_s=1.0))
    assert events.said == []


def export(path: Path) -> None:
    write_private(path, "a record")


def status(path: Path) -> None:
    write_atomically(path, b"{}")


def bad_lines(path: Path) -> None:
    with NewTextFile(path) as new:
        new.text.write("{}\n")
        new.commit()


def work_list(path: Path) -> None:
    with ParquetOut(path, IDS) as out:
        out.write(pa.array(["1"]))
        out.commit()


def snapshot(path: Path) -> None:
    with closing(open_database(path.with_name("state.db"), "acme")) as db:
        write_snapshot(db, path)
    path.with_name("state.db").unlink()


WRITERS = [metrics, export, status, bad_lines, work_list, snapshot]


@pytest.fixture
def umask_of_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_of_all")
@pytest.mark.parametrize("write", WRITERS)
def test_a_link_that_waits_under_any_name_that_can_be_guessed_is_not_followed(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "for-all"
    folder.mkdir()
    guesses = [".x.prom.tmp", "x.prom.tmp", ".x.prom", f".x.prom.{os.getpid()}"]
    for guess in guesses:
        (folder / guess).symlink_to(victim)
    write(folder / "x.prom")
    assert victim.read_text() == "precious"
    assert all((folder / guess).is_symlink() for guess in guesses)
    assert {path.name for path in folder.iterdir()} == {"x.prom", *guesses}
    mode = stat.S_IMODE((folder / "x.prom").stat().st_mode)
    assert mode == (0o644 if write is metrics else 0o600)


@pytest.mark.parametrize("write", WRITERS)
def test_a_link_under_the_name_itself_is_replaced_not_followed(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "x.prom").symlink_to(victim)
    write(tmp_path / "x.prom")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "x.prom").is_symlink()


def test_a_fresh_file_is_new_private_hidden_and_each_time_another(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        name, descriptor = fresh_file(tmp_path / "x.prom")
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
        assert name.parent == tmp_path
        assert re.fullmatch(r"\.x\.prom\.[0-9a-f]{16}", name.name)
        names.add(name)
    assert len(names) == 3


def test_a_name_as_long_as_a_name_may_be_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ж" * 127)
    write_private(path, "x")
    assert path.read_text() == "x"


def test_nothing_is_left_beside_a_name_that_cannot_be_taken(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises(StoreError):
        write_atomically(taken, b"x")
    with pytest.raises(UsageError):
        write_private(taken, "x")
    events = Events()
    MetricsFile(str(taken), events).write(RunFigures(account="a", started_s=1.0))
    assert len(events.said) == 1
    with sqlite3.connect(":memory:") as db, pytest.raises(sqlite3.Error):
        write_snapshot(db, tmp_path / "snapshot")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("write", WRITERS)
def test_who_has_the_old_file_open_goes_on_reading_the_whole_of_it(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "x.prom"
    path.write_text("old")
    path.chmod(0o666)
    with path.open() as reader:
        write(path)
        assert reader.read() == "old"
    assert stat.S_IMODE(path.stat().st_mode) == (0o644 if write is metrics else 0o600)


@pytest.mark.parametrize("write", [metrics, export])
def test_a_pipe_is_written_into_and_stays_a_pipe(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(pipe)
        assert os.read(reader, 100)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(
    ("path", "special"),
    [
        ("/dev/null", True),
        ("/dev/stdout", True),
        ("/dev/fd/1", True),
        ("/dev/no_such_device", True),
        ("/proc/self/fd/1", True),
        ("/tmp/../dev/null", True),
        ("/dev/shm/figures.prom", False),
        ("device.csv", False),
        ("/tmp", False),
    ],
)
def test_what_devices_and_processes_hold_is_no_name_of_a_file(path: str, special: bool) -> None:
    assert is_special(Path(path)) == special


def test_a_file_that_cannot_be_made_is_told_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x.json"
    with pytest.raises(OSError, match="No such file") as told:
        fresh_file(path)
    assert told.value.filename == str(path)


class Effects:
    """What was synced and named, in order, as the kernel is asked for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str]] = []
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        size = path.stat().st_size if path.is_file() else 0
        self.seen.append(("sync", f"file of {size}" if size else path.name))
        self._fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self.seen.append(("name", Path(target).name))
        self._replace(source, target)


DURABLE = [status, bad_lines, work_list, snapshot]


@pytest.mark.parametrize("write", DURABLE)
def test_what_must_last_is_synced_then_named_then_its_folder_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    effects = Effects(monkeypatch)
    write(tmp_path / "x.prom")
    size = (tmp_path / "x.prom").stat().st_size
    assert effects.seen == [
        ("sync", f"file of {size}"),
        ("name", "x.prom"),
        ("sync", tmp_path.name),
    ]


@pytest.mark.parametrize("write", [metrics, export])
def test_what_can_be_made_again_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    effects = Effects(monkeypatch)
    write(tmp_path / "x.prom")
    assert effects.seen == [("name", "x.prom")]


def test_text_that_can_be_made_again_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects = Effects(monkeypatch)
    with NewTextFile(tmp_path / "x.prom") as new:
        new.text.write("{}")
        new.commit(durable=False)
    assert effects.seen == [("name", "x.prom")]
    assert (tmp_path / "x.prom").read_text() == "{}"


def lose(new: NewFile) -> None:
    """What is being written is gone, and so the writing ends."""
    with new:
        new.half.unlink()
        raise ZeroDivisionError


def test_what_ended_the_writing_is_told_also_if_the_half_file_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        lose(NewFile(tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_synced_is_not_kept_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    sync_folder(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_only_one_module_syncs_and_makes_files_that_replace_others() -> None:
    """Everything else goes through it; `Disk` too, which publications are written with."""
    root = Path(__file__).resolve().parents[2] / "harvester"
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"os\.fsync|O_NOFOLLOW|O_DIRECTORY|mkstemp", path.read_text())
    }
    # A copy of stdin, which is read once and never takes a name.
    assert found == {"storage/atomic_files.py", "inputs/discover.py"}
