"""The files of ids that left on purpose: written durably, found again, and none but these."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.errors import StoreError
from harvester.storage import dropped
from harvester.storage.disk import RealDisk
from harvester.storage.dropped import Dropped, LeftOfMonth, LeftOfRun

DROP = Dropped(
    number=7,
    at_ms=5,
    before="2026-11-01",
    dates=("2026-10-30", "2026-10-31"),
    rows=3,
    runs={"run-1": LeftOfRun(3, 60, 120, {"USD": 5})},
    months={"2026-10": LeftOfMonth(3, "aa", "bb", {"USD": 6})},
    changes={"run-2": 1},
    archive="/archive",
)
IDS = [pa.array(["a", "c"]), pa.array(["b"])]


class Steps(RealDisk):
    """The real disk, and what was synced and removed on it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def sync_file(self, file: BinaryIO) -> None:
        self.seen.append("file")
        super().sync_file(file)

    def sync_folder(self, path: Path) -> None:
        self.seen.append(path.name)
        super().sync_folder(path)

    def remove(self, path: Path) -> None:
        self.seen.append(f"remove {path.name}")
        super().remove(path)


class Full(RealDisk):
    """A disk with no room for names."""

    def sync_folder(self, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out/dropped"


def written(folder: Path, number: int = 7) -> Path:
    drop = Dropped(number=number, at_ms=5, before="x", dates=(), rows=3, runs={}, months={})
    dropped.write(folder, drop, IDS, RealDisk())
    return dropped.file_of(folder, number)


def rewritten(path: Path, ids: list[str], *, leave_out: bytes = b"") -> None:
    """The file with these ids, and all of its footer but one part."""
    footers = pq.read_metadata(path).metadata
    kept = {key: value for key, value in footers.items() if key.startswith(b"cdr.")}
    kept.pop(leave_out, None)
    table = pa.table({"voice_id": pa.array(ids)}).replace_schema_metadata(kept)
    pq.write_table(table, path)


def test_a_drop_is_written_durably_and_read_as_it_was(folder: Path) -> None:
    disk = Steps()
    dropped.write(folder, DROP, IDS, disk)
    assert disk.seen == ["file", "dropped", "out"], "and never a name before what it names"
    path = folder / "drop-7.parquet"
    assert dropped.files(folder) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert dropped.read(folder) == [DROP]
    table = pq.read_table(path)
    assert table["voice_id"].to_pylist() == ["a", "c", "b"]
    assert not table.schema.field("voice_id").nullable


def test_the_hash_of_a_file_is_of_its_ids_and_its_footer(folder: Path) -> None:
    dropped.write(folder, DROP, IDS, RealDisk())
    dropped.write_erased(folder, 8, {"z", "y"}, RealDisk())
    footers = pq.read_metadata(folder / "drop-7.parquet").metadata
    check = hashlib.sha256(b"a\nc\nb\n" + footers[b"cdr.dropped"]).hexdigest()
    assert footers[b"cdr.sha256"] == check.encode()
    footers = pq.read_metadata(folder / "erase-8.parquet").metadata
    assert footers[b"cdr.sha256"] == hashlib.sha256(b"y\nz\n").hexdigest().encode()
    assert b"cdr.dropped" not in footers


def test_an_erasure_is_written_with_its_ids_in_order(folder: Path) -> None:
    disk = Steps()
    dropped.write_erased(folder, 8, {"c", "a", "b"}, disk)
    assert disk.seen == ["file", "dropped", "out"]
    (path,) = dropped.erased_files(folder)
    assert path == dropped.left_file_of(folder, 8, "erase")
    assert pq.read_table(path)["voice_id"].to_pylist() == ["a", "b", "c"]
    assert dropped.damage_of(path) == ""
    assert dropped.files(folder) == []
    assert dropped.read(folder) == []


def test_files_come_in_the_order_of_their_numbers(folder: Path) -> None:
    for number in (10, 9, 2):
        written(folder, number)
        dropped.write_erased(folder, number + 1, ["a"], RealDisk())
    assert [path.name for path in dropped.files(folder)] == [
        "drop-2.parquet",
        "drop-9.parquet",
        "drop-10.parquet",
    ]
    assert [path.name for path in dropped.erased_files(folder)] == [
        "erase-3.parquet",
        "erase-10.parquet",
        "erase-11.parquet",
    ]
    assert dropped.numbers(folder) == [2, 9, 10, 3, 10, 11]
    assert dropped.left_file_of(folder, 2, "drop") == dropped.files(folder)[0]
    assert dropped.checked_files(folder) == [
        *dropped.files(folder),
        *dropped.erased_files(folder),
    ]


def test_what_no_drop_has_given_is_a_stranger(folder: Path) -> None:
    assert dropped.strangers(folder) == []
    written(folder)
    dropped.write_erased(folder, 8, ["a"], RealDisk())
    names = ["notes.txt", "drop-x.parquet", "drop-.parquet", "drop-7.parquet.old", ".nfs01"]
    for name in names:
        (folder / name).touch()
    assert dropped.strangers(folder) == sorted(names[:-1])


@pytest.mark.parametrize("ids", [[], ["a"], ["a", "c", "d"], ["a", "b", "c"], ["a", "c", "b", "d"]])
def test_a_file_with_other_ids_is_damaged(folder: Path, ids: list[str]) -> None:
    path = written(folder)
    rewritten(path, ["a", "c", "b"])
    assert dropped.damage_of(path) == ""
    rewritten(path, ids)
    assert dropped.damage_of(path) == "was changed since it was written (sha256 differs)"
    with pytest.raises(StoreError, match=r"drop-7\.parquet was changed since.*Nothing was") as told:
        dropped.checked_files(folder)
    assert told.value.code == "data.dropped"


def test_a_file_of_no_ids_is_whole(folder: Path) -> None:
    dropped.write(folder, DROP, [pa.array([], pa.string())], RealDisk())
    dropped.write_erased(folder, 8, [], RealDisk())
    assert len(dropped.checked_files(folder)) == 2


def test_a_file_whose_footer_is_another_is_damaged(folder: Path) -> None:
    path = written(folder)
    rewritten(path, ["a", "c", "b"], leave_out=b"cdr.dropped")
    assert dropped.damage_of(path) == "was changed since it was written (sha256 differs)"
    with pytest.raises(StoreError, match="can't be read"):
        dropped.read(folder)


def test_a_file_of_an_earlier_version_bears_no_hash(folder: Path) -> None:
    path = written(folder)
    rewritten(path, ["whatever"], leave_out=b"cdr.sha256")
    assert dropped.damage_of(path) == ""


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no such file at all" * 9])
def test_a_file_that_is_none_is_damaged(folder: Path, content: bytes) -> None:
    path = written(folder)
    path.write_bytes(content)
    assert dropped.damage_of(path).startswith("can't be read (")
    for read in (dropped.read, dropped.checked_files, lambda at: dropped.drop_of(at, "a")):
        with pytest.raises(StoreError, match="can't be read"):
            read(folder)


def test_a_file_without_ids_at_all_is_damaged(folder: Path) -> None:
    path = written(folder)
    pq.write_table(pa.table({"other": ["a"]}), path)
    assert dropped.damage_of(path) == "has no column voice_id"
    with pytest.raises(StoreError, match="voice_id"):
        dropped.checked_files(folder)


def test_a_call_is_known_by_the_drop_by_which_it_left(folder: Path) -> None:
    assert dropped.drop_of(folder, "a") is None
    dropped.write(folder, DROP, IDS, RealDisk())
    other = Dropped(number=9, at_ms=5, before="x", dates=(), rows=1, runs={}, months={})
    dropped.write(folder, other, [pa.array(["d"])], RealDisk())
    dropped.write_erased(folder, 10, ["e"], RealDisk())
    found = {one: dropped.drop_of(folder, one) for one in "abcde"}
    assert found == {"a": DROP, "b": DROP, "c": DROP, "d": other, "e": None}


def test_what_was_not_committed_is_forgotten_durably_and_nothing_else(folder: Path) -> None:
    written(folder, 7)
    written(folder, 8)
    dropped.write_erased(folder, 9, ["a"], RealDisk())
    disk = Steps()
    for number in (7, 9, 10):
        dropped.forget(folder, number, disk)
    assert [path.name for path in folder.iterdir()] == ["drop-8.parquet"]
    assert disk.seen == ["remove drop-7.parquet", "dropped", "remove erase-9.parquet", "dropped"]


def test_a_disk_that_fails_is_told_with_the_file(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"writing .*drop-7\.parquet: No space left"):
        dropped.write(folder, DROP, IDS, Full())
    with pytest.raises(StoreError, match=r"removing .*drop-7\.parquet: No space left"):
        dropped.forget(folder, 7, Full())
