"""An input is known by what it holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.errors import SourceError
from harvester.ids.files import IdFile
from harvester.ids.fingerprint import fingerprint


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
