"""Who may read what a run leaves."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest

from harvester.simulator import make_ids
from tests.security.commands import harvester, run, run_words, start
from tests.security.leaks import KEY, SECRET
from tests.support.simulated import END, Simulator

IDS = list(make_ids(400, 4, end=END))
FATES = "open_then_final=0.1,dead_param=0.1"


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where a command is typed; its umask must not matter."""
    (tmp_path / "ids.txt").write_text("\n".join([*IDS, "no id"]))
    (tmp_path / "umask.py").write_text(
        f"import os, sys\nos.umask({request.param})\n"
        "from harvester.cli.main import main\nsys.exit(main())\n"
    )
    return tmp_path


def _open_to_others(folder: Path) -> dict[str, str]:
    """What under `folder` is not 0600, or 0700 for a folder."""
    # A staged part has the mode it will be moved with already; its folder keeps others out.
    inside = [path for path in folder.rglob("*") if path.parent.name != "staging"]
    right = {path: 0o700 if path.is_dir() else 0o600 for path in [folder, *inside]}
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in right if path.exists()}
    return {str(path): oct(mode) for path, mode in modes.items() if mode != right[path]}


def test_state_and_runs_are_for_their_owner_alone_while_a_run_works_and_after_it(
    folder: Path,
) -> None:
    seen = set()
    with Simulator(rate_limit=0, fates=FATES, key=KEY, secret=SECRET, latency_ms=5) as vendor:
        process = start(
            *run_words(vendor.base_url), "--rate", 300, cwd=folder, program=["umask.py"]
        )
        out = folder / "out"
        while process.poll() is None:
            for own in (out / "state", out / "runs"):
                if (out / "cdr").exists():
                    assert _open_to_others(own) == {}
                    seen |= {path.name for path in own.rglob("*")}
            time.sleep(0.02)
        _, err = process.communicate()
    assert process.returncode == 3, err
    assert {"state.db", "state.db-wal", "lock", "status.json", "lists", "log.jsonl"} <= seen
    for own in (out / "state", out / "runs"):
        assert _open_to_others(own) == {}
    left = {path.name for path in (out / "runs").rglob("*")}
    assert {"summary.json", "bad_ids.jsonl", "log.jsonl", "state.parquet"} <= left
    assert list((out / "state" / "lists").iterdir())


@pytest.mark.parametrize(
    ("mode", "file", "inside"),
    [(None, 0o640, 0o750), ("0600", 0o600, 0o700), ("0644", 0o644, 0o755)],
)
def test_the_data_set_has_the_mode_that_was_chosen(
    folder: Path, mode: str | None, file: int, inside: int
) -> None:
    env = {} if mode is None else {"HARVESTER_OUTPUT__MODE": mode}
    with Simulator(rate_limit=0, fates=FATES, key=KEY, secret=SECRET) as vendor:
        words = run_words(vendor.base_url)
        done = harvester(*words, cwd=folder, env=env, program=["umask.py"])
    assert done.returncode == 3, done.stderr
    cdr = folder / "out" / "cdr"
    parts = list(cdr.rglob("*.parquet"))
    assert {stat.S_IMODE(part.stat().st_mode) for part in parts} == {file}
    folders = {cdr, *(part.parent for part in parts)}
    assert {stat.S_IMODE(one.stat().st_mode) for one in folders} == {inside}


def test_a_folder_that_was_opened_to_others_is_closed_by_the_next_run(folder: Path) -> None:
    with Simulator(rate_limit=0, fates=FATES, key=KEY, secret=SECRET) as vendor:
        run(vendor.base_url, folder)
        for own in ("state", "runs"):
            (folder / "out" / own).chmod(0o777)
        run(vendor.base_url, folder)
    assert _open_to_others(folder / "out" / "state") == {}
    assert _open_to_others(folder / "out" / "runs") == {}
