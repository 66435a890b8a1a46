"""The folders of an output: what lies where, who may look into it, and what is put back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.errors import StoreError
from harvester.storage.output import (
    Output,
    empty_folder,
    is_change,
    is_systems_own,
    make_folders,
    put_back,
)

DAY, CHANGES = "submit_date=2026-11-01", "change_date=2026-11-01"


@pytest.fixture(params=[0o000, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "new/out")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was synced, as the kernel is asked for it."""
    found: list[str] = []

    def note(descriptor: int) -> None:
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", note)
    return found


def aside(output: Output, folder: str) -> Path:
    """A partition that was moved out, so that another can take its place."""
    path = output.staging / "7" / f"{folder}.aside"
    path.mkdir(parents=True)
    (path / "part").write_text("old")
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_parts_lie_in_cdr_or_changes_by_the_name_of_their_partition() -> None:
    out = Output(Path("out"))
    assert out.place_of(f"{DAY}/a.parquet") == Path("out/cdr", DAY, "a.parquet")
    assert out.place_of(CHANGES) == Path("out/changes", CHANGES)
    assert is_change(f"{CHANGES}/a.parquet")
    assert not is_change("change_dates=2026-11-01/a.parquet")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (".DS_Store", True),
        ("Thumbs.db", True),
        ("desktop.ini", True),
        (".nfs000000000001", True),
        ("part.parquet", False),
        ("DS_Store", False),
        (".hidden", False),
    ],
)
def test_what_file_managers_leave_is_known(name: str, is_one: bool) -> None:
    assert is_systems_own(Path("folder", name)) == is_one


@pytest.mark.usefixtures("umask")
def test_only_the_data_is_for_others_whatever_the_umask(output: Output) -> None:
    for asked in (0o750, 0o700):
        make_folders(output, asked)
        private = (output.state, output.lists, output.staging, output.runs)
        assert [mode(path) for path in private] == [0o700] * 4
        assert mode(output.cdr) == 0o750, "as it was made"


def test_folders_that_stand_open_are_closed(output: Output) -> None:
    output.state.mkdir(parents=True)
    output.state.chmod(0o777)
    make_folders(output, 0o750)
    assert mode(output.state) == 0o700


def test_the_names_of_a_new_output_are_durable(output: Output, synced: list[str]) -> None:
    make_folders(output, 0o750)
    assert synced == ["state", "out", "new"]
    output.database.touch()
    make_folders(output, 0o750)
    assert len(synced) == 3, "they are once and for all"


def test_an_output_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/out can't be written: Not a directory.*--out"):
        make_folders(Output(tmp_path / "file/out"), 0o750)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no other file system")
def test_a_data_set_on_another_file_system_is_refused(output: Output, tmp_path: Path) -> None:
    output.root.mkdir(parents=True)
    output.cdr.symlink_to("/dev/shm")
    with pytest.raises(StoreError, match="lie on different file systems") as told:
        make_folders(output, 0o750)
    assert told.value.code == "output.two_file_systems"


def test_a_partition_that_nothing_replaced_is_put_back_durably(
    output: Output, synced: list[str]
) -> None:
    make_folders(output, 0o750)
    output.database.touch()
    synced.clear()
    aside(output, DAY)
    put_back(output)
    assert (output.cdr / DAY / "part").read_text() == "old"
    assert list((output.staging / "7").iterdir()) == []
    assert synced == ["cdr", "7"], "its new name before the old one is gone"
    put_back(output)
    assert len(synced) == 2


def test_a_partition_that_was_replaced_stays_aside(output: Output) -> None:
    make_folders(output, 0o750)
    (output.cdr / DAY).mkdir()
    left = aside(output, DAY)
    put_back(output)
    assert left.exists()
    assert list((output.cdr / DAY).iterdir()) == []


def test_a_partition_that_can_not_be_put_back_is_told(output: Output) -> None:
    aside(output, DAY)
    with pytest.raises(StoreError, match=rf"{DAY}\.aside can't be put back.*No such file"):
        put_back(output)


def test_a_folder_is_emptied_and_no_link_is_followed(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    (folder / "full/of").mkdir(parents=True)
    (folder / "full/file").touch()
    (folder / "file").touch()
    other.mkdir()
    (other / "precious").touch()
    (folder / "link").symlink_to(other)
    (folder / "to nothing").symlink_to(tmp_path / "none")
    empty_folder(folder)
    assert list(folder.iterdir()) == []
    assert (other / "precious").exists()
    with pytest.raises(StoreError, match="none can't be emptied: No such file"):
        empty_folder(tmp_path / "none")
