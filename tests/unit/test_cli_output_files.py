"""Files that a command is told to write: in which form, where they may not be, whole or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.cli.main import run_command
from harvester.cli.ui.output_files import (
    Format,
    chosen_format,
    private_file,
    refuse_ours,
    write_private,
)
from harvester.errors import UsageError
from harvester.storage.output import Output
from tests.support.nights import nights


@pytest.mark.parametrize(
    ("form", "file", "json", "chosen"),
    [
        (None, None, False, None),
        (None, None, True, Format.jsonl),
        (None, "a.csv", True, Format.jsonl),
        (None, "a.csv", False, Format.csv),
        (None, "a.JSONL", False, Format.jsonl),
        (None, "a.ndjson", False, Format.jsonl),
        (None, "a.parquet", False, Format.parquet),
        (None, "a.txt", False, Format.csv),
        (None, "a", False, Format.csv),
        (Format.csv, "a.parquet", False, Format.csv),
        (Format.csv, None, True, Format.csv),
        (Format.parquet, "a.csv", False, Format.parquet),
    ],
)
def test_the_form_is_the_one_named_else_that_of_the_files_name(
    form: Format | None, file: str | None, json: bool, chosen: Format | None
) -> None:
    assert chosen_format(form, None if file is None else Path(file), json=json) is chosen


def test_parquet_is_no_text_for_a_terminal() -> None:
    with pytest.raises(UsageError, match="write it to a file with -o"):
        chosen_format(Format.parquet, None, json=False)


@pytest.mark.parametrize(
    "where",
    [
        *("cdr/a", "cdr/x/../a", "cdr", "changes/change_date=2026-11-02/a", "dropped/ids.parquet"),
        *("state/state.db", "runs/r/a"),
    ],
)
def test_nothing_is_written_among_what_is_ours(tmp_path: Path, where: str) -> None:
    output = Output(tmp_path / "out")
    with pytest.raises(UsageError, match="inside the output folder"):
        refuse_ours(output.root / where, output)
    link = tmp_path / "link"
    link.symlink_to(output.root)
    with pytest.raises(UsageError, match="inside the output folder"):
        refuse_ours(link / where, output)


@pytest.mark.parametrize(
    "words",
    [
        ("export", "delivered", "-o"),
        ("export", "dead", "-o"),
        ("export", "changes", "-o"),
        ("sql", "FROM cdr", "-o"),
        ("report", "--html"),
        ("audit", "--html"),
        ("reconcile", "--month", "2026-11", "-o"),
        ("discover", "--from", "2026-11-01", "--to", "2026-11-01", "-o"),
    ],
)
def test_no_command_writes_a_file_among_what_is_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    nights(out, count=1).close()
    before = sorted(out.rglob("*"))
    target = out / "cdr" / "mine.csv"
    assert run_command([*words, str(target), "--out", str(out)]) == 2
    assert "is inside the output folder" in capsys.readouterr().err
    assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize("where", ["a.csv", "out/a.csv", "out/cdr.csv", "out/cdr/../a.csv"])
def test_elsewhere_a_file_may_be_written(tmp_path: Path, where: str) -> None:
    refuse_ours(tmp_path / where, Output(tmp_path / "out"))


def test_a_file_appears_when_it_is_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("old")
    with private_file(file) as stream:
        stream.write(b"new")
        stream.flush()
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_not_whole_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("old")

    def broken() -> None:
        with private_file(file) as stream:
            stream.write(b"new")
            raise KeyError("x")

    with pytest.raises(KeyError):
        broken()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none/a can't be written: No such file"):
        write_private(tmp_path / "none" / "a", "text")
