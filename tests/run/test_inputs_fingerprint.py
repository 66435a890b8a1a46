"""An input is known by what it holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.errors import SourceError
from harvester.inputs.discover import IdFile
from harvester.inputs.fingerprint import fingerprint


def written(path: Path, text: str) -> IdFile:
    path.write_text(text)
    return IdFile(str(path), "txt")


def test_renamed_and_reordered_files_are_the_same_input(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.txt", "1\n"), written(tmp_path / "b.txt", "2\n")
    c, d = written(tmp_path / "c.txt", "2\n"), written(tmp_path / "d.txt", "1\n")
    assert fingerprint([a, b], "voiceId").key == fingerprint([c, d], "voiceId").key


def test_other_contents_column_or_form_are_another_input(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.txt", "1\n"), written(tmp_path / "b.txt", "2\n")
    keys = [
        fingerprint([a], "voiceId").key,
        fingerprint([b], "voiceId").key,
        fingerprint([a, b], "voiceId").key,
        fingerprint([a, a], "voiceId").key,
        fingerprint([a], "id").key,
        fingerprint([IdFile(a.path, "csv")], "voiceId").key,
        fingerprint([IdFile(a.path, "txt", "gzip")], "voiceId").key,
        fingerprint([], "voiceId").key,
    ]
    assert len(set(keys)) == len(keys)


def test_a_file_that_looks_as_recorded_is_not_read_again(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt", "1\n")
    (stamp,) = fingerprint([file], "voiceId").stamps
    # A hash that no reading could give shows which one was used.
    known = {stamp.path: replace(stamp, xxh128="recorded")}
    assert fingerprint([file], "voiceId", known).stamps[0].xxh128 == "recorded"


@pytest.mark.parametrize("field", ["path", "inode", "size", "mtime_ns", "ctime_ns"])
def test_a_stamp_that_differs_in_anything_is_not_trusted(tmp_path: Path, field: str) -> None:
    file = written(tmp_path / "a.txt", "1\n")
    (stamp,) = fingerprint([file], "voiceId").stamps
    other = "elsewhere" if field == "path" else getattr(stamp, field) + 1
    known = {stamp.path: replace(stamp, xxh128="recorded", **{field: other})}
    assert fingerprint([file], "voiceId", known).stamps == (stamp,)


def test_other_ids_in_a_file_of_the_same_inode_size_and_mtime_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    file = written(path, "1\n")
    before = fingerprint([file], "voiceId")
    (stamp,) = before.stamps
    path.write_text("2\n")
    # As `cp -p`, `rsync --inplace` and `touch -r` do.
    os.utime(path, ns=(stamp.mtime_ns, stamp.mtime_ns))
    after = fingerprint([file], "voiceId", {stamp.path: stamp})
    assert (after.stamps[0].inode, after.stamps[0].size) == (stamp.inode, stamp.size)
    assert after.stamps[0].mtime_ns == stamp.mtime_ns
    assert after.key != before.key


@pytest.mark.parametrize(
    ("age_ns", "trusted"),
    [(0, False), (1_999_999_999, False), (-5_000_000_000, False), (2_000_000_000, True)],
)
def test_a_stamp_is_trusted_only_of_a_file_that_had_rested_for_two_seconds(
    tmp_path: Path, age_ns: int, trusted: bool
) -> None:
    file = written(tmp_path / "a.txt", "1\n")
    (stamp,) = fingerprint([file], "voiceId").stamps
    now_ns = max(stamp.mtime_ns, stamp.ctime_ns) + age_ns
    found = fingerprint([file], "voiceId", now_ns=lambda: now_ns)
    assert found.trusted == ((stamp,) if trusted else ())
    assert found.stamps == (stamp,)


def test_a_file_whose_mtime_was_set_back_has_not_rested(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt", "1\n")
    os.utime(file.path, (1_000_000_000, 1_000_000_000))
    (stamp,) = fingerprint([file], "voiceId").stamps
    assert stamp.mtime_ns < stamp.ctime_ns
    assert fingerprint([file], "voiceId", now_ns=lambda: stamp.ctime_ns + 10**9).trusted == ()
    assert fingerprint([file], "voiceId", now_ns=lambda: stamp.ctime_ns + 10**10).trusted


@pytest.mark.parametrize("change", ["grown", "touched", "replaced"])
def test_a_file_that_looks_otherwise_is_read_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.txt"
    file = written(path, "1\n")
    (stamp,) = fingerprint([file], "voiceId").stamps
    known = {stamp.path: replace(stamp, xxh128="recorded")}
    if change == "grown":
        path.write_text("1\n2\n")
        os.utime(path, ns=(stamp.mtime_ns, stamp.mtime_ns))
    elif change == "touched":
        os.utime(path, ns=(stamp.mtime_ns + 1, stamp.mtime_ns + 1))
    else:
        other = tmp_path / "other"
        other.write_text("2\n")
        os.utime(other, ns=(stamp.mtime_ns, stamp.mtime_ns))
        other.rename(path)
    assert fingerprint([file], "voiceId", known).stamps[0].xxh128 != "recorded"


def test_a_stamp_carries_the_resolved_path(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt", "1\n")
    (tmp_path / "link.txt").symlink_to(file.path)
    (stamp,) = fingerprint([IdFile(str(tmp_path / "link.txt"), "txt")], "voiceId").stamps
    assert stamp.path == str(Path(file.path).resolve())


def test_a_file_that_is_gone_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.txt"):
        fingerprint([IdFile(str(tmp_path / "gone.txt"), "txt")], "voiceId")
