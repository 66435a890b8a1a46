"""`harvester init`: files to begin with, that are never written over unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.run.test_cli_commands import harvester
from tests.support.outputs import fingerprint
from tests.support.simulated import ROOT

FILES = {
    "configs/nightly.toml",
    "configs/backfill.toml",
    "configs/schedule/Dockerfile",
    "configs/schedule/airflow_dag.py",
    "configs/schedule/crontab",
    "configs/schedule/harvester.service",
    "configs/schedule/harvester.timer",
    "configs/schedule/kuberay-rayjob.yaml",
    "configs/schedule/kubernetes-cronjob.yaml",
}


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", [[], ["there/below"]])
def test_it_writes_what_the_repository_has_and_says_what_comes_next(
    tmp_path: Path, words: list[str]
) -> None:
    done = harvester("init", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path.joinpath(*words)
    assert written(folder) == FILES
    for name in FILES:
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes(), name
        assert (folder / name).stat().st_mode & 0o777 == 0o644, name
    prefix = "".join(f"{word}/" for word in words)
    told = done.stdout
    assert f"harvester doctor -c {prefix}configs/nightly.toml" in told
    assert "HARVESTER_API_KEY_FILE" in told
    assert "HARVESTER_API_SECRET_FILE" in told
    check = harvester("config", "check", "-c", f"{prefix}configs/nightly.toml", cwd=tmp_path)
    assert "HARVESTER_API_KEY" in check.stderr, "only the secrets are missing"
    assert check.returncode == 2


def test_a_file_that_is_there_stays_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "nightly.toml").write_text("mine")
    # A link that leads nowhere is somebody's, too.
    (tmp_path / "configs" / "backfill.toml").symlink_to("elsewhere.toml")
    before = fingerprint(tmp_path)
    done = harvester("init", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there already: configs/nightly.toml, configs/backfill.toml." in done.stderr
    assert "Nothing was written" in done.stderr
    assert "--force" in done.stderr
    assert fingerprint(tmp_path) == before


def test_with_force_it_writes_over_its_own_files_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "nightly.toml").write_text("mine")
    (tmp_path / "configs" / "ours.toml").write_text("ours")
    assert harvester("init", "--force", cwd=tmp_path).returncode == 0
    assert written(tmp_path) == {*FILES, "configs/ours.toml"}
    nightly = (ROOT / "configs" / "nightly.toml").read_text()
    assert (tmp_path / "configs" / "nightly.toml").read_text() == nightly
    assert (tmp_path / "configs" / "ours.toml").read_text() == "ours"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "configs").write_text("a file")
    done = harvester("init", cwd=tmp_path)
    assert done.returncode == 2
    assert "configs/nightly.toml can't be written: " in done.stderr
    assert "Choose another folder" in done.stderr


def test_json_names_what_was_written(tmp_path: Path) -> None:
    done = harvester("init", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["type"] == "init"
    assert set(told["written"]) == FILES
