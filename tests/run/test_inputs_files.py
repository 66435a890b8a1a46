"""Finding the files that a user's words name."""

from __future__ import annotations

import gzip
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from harvester.errors import SourceError
from harvester.inputs.discover import IdFile, find


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def touch(path: Path, text: bytes = b"1\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "form", "compression"),
    [
        ("a.txt", "txt", None),
        ("a.CSV", "csv", None),
        ("a.tsv", "tsv", None),
        ("a.jsonl", "jsonl", None),
        ("a.ndjson", "jsonl", None),
        ("a.parquet", "parquet", None),
        ("a.txt.gz", "txt", "gzip"),
        ("a.csv.zst", "csv", "zstd"),
        ("a.JSONL.GZ", "jsonl", "gzip"),
        ("a.gz", "txt", "gzip"),
        ("a", "txt", None),
        ("a.list", "txt", None),
        ("a.b.c", "txt", None),
    ],
)
def test_a_file_named_by_itself_has_the_form_of_its_suffix_or_is_text(
    tmp_path: Path, spool: Path, name: str, form: str, compression: str | None
) -> None:
    path = touch(tmp_path / name)
    (found,) = find([path], spool=spool)
    assert (found.path, found.form, found.compression) == (path, form, compression)


def test_a_folder_gives_its_id_files_at_any_depth_and_passes_over_others(
    tmp_path: Path, spool: Path
) -> None:
    ids = [
        touch(tmp_path / "in" / name)
        for name in ("a.txt", "b.csv.gz", "deep/er/c.jsonl", "z.parquet")
    ]
    for other in ("README.md", "x.gz", "y.parquet.gz", "ids", ".hidden.txt", "._a.txt"):
        touch(tmp_path / "in" / other)
    assert sorted(f.path for f in find([str(tmp_path / "in")], spool=spool)) == sorted(ids)


def test_a_glob_gives_its_matches_in_order(tmp_path: Path, spool: Path) -> None:
    paths = [touch(tmp_path / f"night-{n}.txt") for n in (2, 1, 3)]
    touch(tmp_path / "day.txt")
    found = find([str(tmp_path / "night-*.txt")], spool=spool)
    assert [f.path for f in found] == sorted(paths)


@pytest.mark.parametrize("source", ["in", "in/*.txt"])
def test_files_come_by_their_names_in_whichever_order_they_were_made(
    tmp_path: Path, spool: Path, source: str
) -> None:
    names = [f"{n * 7 % 20:02}.txt" for n in range(20)]
    paths = [touch(tmp_path / "in" / name) for name in names]
    assert paths != sorted(paths)
    assert [f.path for f in find([str(tmp_path / source)], spool=spool)] == sorted(paths)


def test_a_glob_may_cross_folders(tmp_path: Path, spool: Path) -> None:
    path = touch(tmp_path / "a" / "b" / "c.txt")
    assert [f.path for f in find([str(tmp_path / "**" / "*.txt")], spool=spool)] == [path]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path, spool: Path) -> None:
    path = touch(tmp_path / "ids[1]*.txt")
    touch(tmp_path / "ids1.txt")
    assert [f.path for f in find([path], spool=spool)] == [path]


def test_the_same_file_counts_once_under_whatever_names(tmp_path: Path, spool: Path) -> None:
    path = touch(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to(path)
    os.link(path, tmp_path / "c.txt")
    sources = [path, str(tmp_path), str(tmp_path / "*.txt"), str(tmp_path / "." / "a.txt")]
    assert find(sources, spool=spool) == [IdFile(path, "txt")]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("missing.txt", "there is no such file"),
        ("missing/a.txt", "there is no such file"),
        ("there.txt/a.txt", "there is no such file"),
        ("no-*.txt", "no file matches"),
        ("empty", "but no id files"),
        ("twice.parquet.gz", "Unpack it first"),
        ("nul\0.txt", "can't be read"),
    ],
)
def test_a_source_that_gives_nothing_is_refused_by_its_name(
    tmp_path: Path, spool: Path, source: str, says: str
) -> None:
    touch(tmp_path / "there.txt")
    touch(tmp_path / "twice.parquet.gz")
    touch(tmp_path / "empty" / "remarks.md")
    with pytest.raises(SourceError, match=says) as refused:
        find([str(tmp_path / source)], spool=spool)
    assert source in str(refused.value)


@pytest.mark.parametrize("name", ["missing.txt", "no-*.txt", "missing/no-*.txt"])
def test_a_name_that_matches_nothing_is_passed_over_only_where_an_input_may_be_empty(
    tmp_path: Path, spool: Path, name: str
) -> None:
    path, missing = touch(tmp_path / "a.txt"), str(tmp_path / name)
    assert find([missing, path], spool=spool, allow_empty=True) == [IdFile(path, "txt")]
    assert find([missing], spool=spool, allow_empty=True) == []
    for allowed, hint in ((False, True), (None, False)):
        with pytest.raises(SourceError) as refused:
            find([path, missing], spool=spool, allow_empty=allowed)
        assert ("set input.allow_empty = true" in str(refused.value)) is hint
        assert refused.value.code == "input.missing"


def test_a_folder_without_any_file_has_no_ids_and_is_no_mistake(
    tmp_path: Path, spool: Path
) -> None:
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    touch(tmp_path / "in" / ".hidden.txt")
    assert find([str(tmp_path / "in")], spool=spool) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, spool: Path) -> None:
    path = Path(touch(tmp_path / "a.txt"))
    path.chmod(0)
    with pytest.raises(SourceError, match="Permission denied"):
        find([str(path)], spool=spool)


class Stdin:
    """What `sys.stdin` has to be here."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize(
    ("content", "form", "compression"),
    [
        (b"1\n2\n", "txt", None),
        (b"", "txt", None),
        (gzip.compress(b"1\n", mtime=0), "txt", "gzip"),
        (b'{"voiceId": "1"}\n', "jsonl", None),
        (b' \n{"voiceId": "1"}\n', "jsonl", None),
        (b"\x28\xb5\x2f\xfd....", "txt", "zstd"),
        (b"PAR1....", "parquet", None),
    ],
)
def test_stdin_is_kept_in_the_spool_and_its_form_is_guessed(
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    form: str,
    compression: str | None,
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(content))
    (found,) = find(["-"], spool=spool)
    assert Path(found.path).parent == spool
    assert Path(found.path).name.startswith("stdin-")
    assert Path(found.path).read_bytes() == content
    assert Path(found.path).stat().st_mode & 0o777 == 0o600
    assert (found.form, found.compression) == (form, compression)
    assert found.name == "stdin", "the copy will be gone"


def test_a_named_pipe_is_kept_in_the_spool_for_it_can_be_read_only_once(
    tmp_path: Path, spool: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"1\n2\n"))
    writer.start()
    (found,) = find([str(pipe)], spool=spool)
    writer.join()
    assert Path(found.path).parent == spool
    assert Path(found.path).read_bytes() == b"1\n2\n"
    assert found.name == str(pipe)


def test_what_is_kept_of_several_pipes_lies_in_a_folder_for_this_user_alone(tmp_path: Path) -> None:
    spool = tmp_path / "new" / "spool"
    pipes = [tmp_path / "one", tmp_path / "two"]
    for pipe in pipes:
        os.mkfifo(pipe)
    writers = [
        threading.Thread(target=pipe.write_bytes, args=(pipe.name.encode(),)) for pipe in pipes
    ]
    for writer in writers:
        writer.start()
    before = os.umask(0o022)
    try:
        found = find(list(map(str, pipes)), spool=spool)
    finally:
        os.umask(before)
    for writer in writers:
        writer.join()
    assert [Path(file.path).read_bytes() for file in found] == [b"one", b"two"]
    assert spool.stat().st_mode & 0o777 == 0o700
