"""An output that another user made: by root yesterday, read and run by cron's user today."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS, harvester
from tests.security.commands import QUICK
from tests.support.simulated import END, ROOT, Simulator

IDS = list(make_ids(60, 4, end=END))
NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates="dead_param=0.2", key="bDqJFiq9", secret="7bz1lzh9") as up:
        yield up


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, vendor: Simulator) -> Path:
    """A folder that everybody may enter, with an output of root's."""
    folder = tmp_path_factory.mktemp("owner")
    (folder / "ids.txt").write_text("\n".join(IDS))
    words = ("run", "ids.txt", "--out", "out", "--base-url", vendor.base_url, "-q")
    done = harvester(*words, cwd=folder, env={**KEYS, **QUICK})
    assert done.returncode == 3, done.stderr
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, within reach of another user."""
    place = Path("/tmp") / f"harvester-owner-{os.getpid()}"
    shutil.copytree(made, place)
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


PROGRAM = f"""
import importlib, json, os, pkgutil, sys, tempfile
import duckdb, pyarrow.dataset, pyarrow.compute, pyarrow.csv, rich.cells, rich.console, rich.text
import harvester, typer
for package in (harvester, typer):
    for one in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
        if not one.name.endswith(('__main__', 'child', '_winconsole')):
            importlib.import_module(one.name)
from harvester.cli import main

rich.cells.chop_cells('中文', 2)  # its tables come when they are needed
told = []
for words in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.setgroups([])
            os.setgid({NOBODY})
            os.setuid({NOBODY})
            sys.argv = ['harvester', *words, '--out', 'out']
            code = 99
            try:
                main.main()
            except SystemExit as exc:
                code = exc.code
            finally:
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        told.append([code, *texts])
print(json.dumps(told))
"""


class Ended(NamedTuple):
    """How a command ended; its texts without the line ends of a narrow screen."""

    returncode: int
    stdout: str
    stderr: str


def as_nobody(*commands: list[str], cwd: Path) -> list[Ended]:
    """`harvester …` as another user, who need not be able to read this interpreter's files."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HARVESTER_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(commands)],
        cwd=cwd,
        env={**clean, **KEYS, **QUICK, "PYTHONPATH": str(ROOT), "HOME": "/tmp"},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return [
        Ended(code, " ".join(out.split()), " ".join(err.split()))
        for code, out, err in json.loads(done.stdout)
    ]


REFUSED = [
    ["run", "ids.txt"],
    ["refetch", "dead"],
    ["plan", "ids.txt"],
    ["doctor", "ids.txt"],
    ["status"],
    ["publish"],
    ["export", "dead"],
    ["export", "delivered"],
    ["sql", "FROM dead_letter"],
    ["verify"],
    ["explain", IDS[0]],
    ["rebuild"],
    ["audit"],
]


def test_another_users_output_is_refused_with_both_names_and_the_remedy(folder: Path) -> None:
    for words, done in zip(REFUSED, as_nobody(*REFUSED, cwd=folder), strict=True):
        told = done.stderr + done.stdout
        assert done.returncode == 6, (words, told)
        assert "belongs to root" in told
        assert f"sudo chown -R nobody {folder}/out" in told
        assert "bug" not in told
        assert "Traceback" not in told


def test_what_can_be_read_is_read(folder: Path) -> None:
    open_to_all(folder / "out" / "cdr")
    of_data = [["sql", "SELECT count(*) AS n FROM cdr"], ["audit"], ["report"]]
    told = as_nobody(*of_data, cwd=folder)
    assert [done.returncode for done in told] == [0, 0, 0], told
    assert "belongs to root" in told[2].stdout  # the report says what it lacks
    open_to_all(folder / "out")
    of_state = [["status"], ["export", "dead"], ["explain", IDS[0]], ["plan", "ids.txt"]]
    told = as_nobody(*of_state, cwd=folder)
    assert [done.returncode for done in told] == [0, 0, 0, 0], told


def test_parts_that_are_closed_are_not_taken_for_no_data(folder: Path) -> None:
    open_to_all(folder / "out" / "cdr")
    part = min((folder / "out" / "cdr").rglob("*.parquet"))
    for closed in (part, part.parent):
        closed.chmod(0o600)
        of_data = [["sql", "SELECT count(*) FROM cdr"], ["audit"], ["report"]]
        for done in as_nobody(*of_data, cwd=folder):
            assert done.returncode == 6, done.stdout
            assert f"{closed.name} belongs to root" in done.stderr


def test_one_night_as_root_in_anothers_output_is_said_before_anything_is_fetched(
    folder: Path, vendor: Simulator
) -> None:
    out = folder / "out"
    for path in (out, *out.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    before = vendor.stats()["requests"]
    for own in (next((out / "state" / "lists").iterdir()), next((out / "cdr").iterdir())):
        os.chown(own, 0, 0)
        own.chmod(0o700 if own.is_dir() else 0o600)
        (done,) = as_nobody(["run", "ids.txt"], cwd=folder)
        assert done.returncode == 6, done.stderr
        assert f"{own.name} belongs to root" in done.stderr
        os.chown(own, NOBODY, NOBODY)
    assert vendor.stats()["requests"] == before


def open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
