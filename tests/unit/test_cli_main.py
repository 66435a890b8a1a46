"""However a command ends, it ends with a number and a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harvester.cli.commands import init
from harvester.cli.main import run_command
from harvester.errors import StoreError


def raising(error: BaseException) -> Callable[[], dict[str, bytes]]:
    def files() -> dict[str, bytes]:
        raise error

    return files


@pytest.mark.parametrize(
    ("error", "exit_code", "code", "says"),
    [
        (
            PermissionError(13, "Permission denied", "/no/where"),
            6,
            "output.permission",
            "/no/where",
        ),
        (StoreError("no room", code="output.full"), 6, "output.full", "no room"),
        (KeyError("nobody foresaw it"), 1, "internal", "this is a bug: KeyError"),
        (OSError(5, "Input/output error"), 1, "internal", "this is a bug: OSError"),
    ],
)
def test_an_error_ends_a_command_with_its_code_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: Exception,
    exit_code: int,
    code: str,
    says: str,
) -> None:
    monkeypatch.setattr(init, "files_for_users", raising(error))
    assert run_command(["init", str(tmp_path), "--json"]) == exit_code
    told = capsys.readouterr()
    found = json.loads(told.err.splitlines()[-1])
    assert (found["type"], found["exit_code"], found["code"]) == ("error", exit_code, code)
    assert says in found["message"]
    assert told.out == ""
    assert run_command(["init", str(tmp_path)]) == exit_code
    assert "error: " in capsys.readouterr().err


def test_ctrl_c_ends_a_command_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(init, "files_for_users", raising(KeyboardInterrupt()))
    assert run_command(["init", str(tmp_path)]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["status"], ["report"], ["verify"], ["export", "dead"]])
def test_an_output_whose_name_is_not_utf_8_is_refused_before_anything_is_looked_for(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run_command([*words, "--out", "/srv/\udcff", "--json"]) == 2
    found = json.loads(capsys.readouterr().err)
    assert found["code"] == "output.name"
    assert "LC_ALL=C.UTF-8" in found["message"]


def test_a_mistyped_option_is_told_with_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["status", "--no-such", "--json"]) == 2
    found = json.loads(capsys.readouterr().err)
    assert found["exit_code"] == 2
    assert "See `harvester status --help`." in found["message"]
