"""What publishing does to a file system: nothing is replaced, and what can't be done is told."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.storage.disk import RealDisk, store_error, why_no_exchange


class Failing(RealDisk):
    """A disk on which one step ends with an error."""

    def __init__(self, step: str, number: int, said: str | None = None) -> None:
        self._step = step
        self._error = OSError(number, os.strerror(number) if said is None else said)

    def link(self, source: Path, target: Path) -> None:
        if self._step == "link":
            raise self._error
        super().link(source, target)

    def exchange(self, one: Path, other: Path) -> None:
        if self._step == "exchange":
            raise self._error
        if self._step != "nothing":
            super().exchange(one, other)


class Unlinked(type(Path())):  # type: ignore[misc]
    """A name on a file system that makes no hard links, for the reason `number`."""

    number = errno.EPERM

    def hardlink_to(self, target: Path) -> None:
        raise OSError(self.number, os.strerror(self.number), str(target))


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("strict_umask")
def test_files_and_folders_have_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    disk = RealDisk()
    with disk.create(tmp_path / "file", 0o644) as file:
        file.write(b"x")
    assert mode(tmp_path / "file") == 0o644
    there = tmp_path / "there"
    there.mkdir(mode=0o700)
    disk.make_folder(there / "a/b", 0o755)
    assert [mode(there / name) for name in ("", "a", "a/b")] == [0o700, 0o755, 0o755]
    disk.make_folder(there / "a", 0o700)
    assert mode(there / "a") == 0o755, "one that exists stays as it is"


def test_a_file_is_moved_and_replaces_none(tmp_path: Path) -> None:
    disk, source, target = RealDisk(), tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    disk.move(source, target)
    assert (source.exists(), target.read_text()) == (False, "new")
    source.write_text("newer")
    with pytest.raises(FileExistsError):
        disk.move(source, target)
    assert (source.read_text(), target.read_text()) == ("newer", "new")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_it_is_moved_where_there_are_no_hard_links_too(tmp_path: Path, number: int) -> None:
    source, target = tmp_path / "source", Unlinked(tmp_path / "target")
    target.number = number
    source.write_text("new")
    RealDisk().move(source, target)
    assert (source.exists(), target.read_text()) == (False, "new")
    source.write_text("newer")
    with pytest.raises(FileExistsError):
        RealDisk().move(source, target)
    assert (source.read_text(), target.read_text()) == ("newer", "new")


def test_a_disk_that_is_full_is_not_taken_for_one_without_links(tmp_path: Path) -> None:
    source, target = tmp_path / "source", Unlinked(tmp_path / "target")
    target.number = errno.ENOSPC
    source.write_text("new")
    with pytest.raises(OSError, match="No space left"):
        RealDisk().move(source, target)
    assert (source.exists(), target.exists()) == (True, False)


def test_a_second_name_is_one_for_the_same_file_and_replaces_none(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("x")
    RealDisk().link(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one").samefile(tmp_path / "two")
    with pytest.raises(FileExistsError):
        RealDisk().link(tmp_path / "one", tmp_path / "two")


def test_what_is_gone_already_is_fine_to_remove(tmp_path: Path) -> None:
    disk, file, folder = RealDisk(), tmp_path / "file", tmp_path / "folder"
    file.touch()
    (folder / "inside").mkdir(parents=True)
    for _ in range(2):
        disk.remove(file)
        disk.remove_folder(folder)
        assert list(tmp_path.iterdir()) == []


def test_folders_swap_their_names(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.mkdir()
        (path / f"was {path.name}").touch()
    RealDisk().exchange(one, other)
    assert [path.name for path in one.iterdir()] == ["was other"]
    assert [path.name for path in other.iterdir()] == ["was one"]
    RealDisk().rename_folder(one, tmp_path / "another")
    assert (tmp_path / "another/was other").exists()
    with pytest.raises(FileNotFoundError) as told:
        RealDisk().exchange(one, other)
    assert (told.value.filename, told.value.filename2) == (str(one), str(other))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a group")
def test_a_folder_is_made_for_those_who_may_read_its_pattern(tmp_path: Path) -> None:
    pattern, mine = tmp_path / "pattern", tmp_path / "mine"
    for path, group in ((pattern, 1), (mine, os.getegid())):
        path.mkdir()
        os.chown(path, -1, group)
        path.chmod(0o2750)
        RealDisk().make_alike(tmp_path / "made", path)
        found = (tmp_path / "made").stat()
        assert (found.st_uid, found.st_gid) == (path.stat().st_uid, group)
        assert mode(tmp_path / "made") == 0o2750
        (tmp_path / "made").rmdir()


def test_folders_can_be_exchanged_here(tmp_path: Path) -> None:
    assert why_no_exchange(tmp_path) == ""
    assert list(tmp_path.iterdir()) == [], "nothing is left of the trial"


@pytest.mark.parametrize("step", ["link", "exchange"])
@pytest.mark.parametrize(
    "number",
    [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV],
)
def test_why_they_can_not_is_what_the_system_says(tmp_path: Path, step: str, number: int) -> None:
    assert why_no_exchange(tmp_path, Failing(step, number)) == os.strerror(number)


def test_why_they_can_not_is_never_told_by_nothing(tmp_path: Path) -> None:
    assert why_no_exchange(tmp_path, Failing("exchange", errno.EINVAL, said="")) == "[Errno 22] "
    assert why_no_exchange(tmp_path, Failing("nothing", 0)) == "the exchange did nothing"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_is_full_or_broken_is_not_unable(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)):
        why_no_exchange(tmp_path, Failing("exchange", number))


def test_the_trial_is_made_in_the_folder_itself(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        why_no_exchange(tmp_path / "none")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "may not write there"),
        (errno.EPERM, "may not write there"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "kernel log"),
        (errno.ENOENT, "Look at the disk"),
    ],
)
def test_an_error_of_the_disk_says_where_and_what_to_do(number: int, remedy: str) -> None:
    error = store_error("writing", Path("x"), OSError(number, "Said"))
    assert str(error).startswith("writing x: Said. ")
    assert remedy in str(error)
    assert (error.code == "output.full") == (number in {errno.ENOSPC, errno.EDQUOT})
    assert "writing x: odd." in str(store_error("writing", Path("x"), OSError("odd")))


def test_what_is_buffered_is_on_the_disk_once_it_is_synced(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.write(b"x")
        assert (tmp_path / "x").read_bytes() == b""
        RealDisk().sync_file(file)
        assert (tmp_path / "x").read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        RealDisk().sync_folder(tmp_path / "none")
