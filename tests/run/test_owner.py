"""An output that another user made: by root yesterday, read and run by cron's user today."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS, harvester
from tests.security.commands import QUICK
from tests.simulated import END, ROOT, Simulator

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


def as_nobody(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`harvester …` as another user; this interpreter and package need not be readable for him."""
    program = (
        "import os, sys\n"
        "import duckdb, pyarrow.dataset, pyarrow.compute, pyarrow.csv, rich.text, msgspec\n"
        "import harvester.cli.main as main, pkgutil, importlib, harvester\n"
        "for one in pkgutil.walk_packages(harvester.__path__, 'harvester.'):\n"
        "    if not one.name.endswith('__main__') and 'child' not in one.name:\n"
        "        importlib.import_module(one.name)\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "main.main()\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HARVESTER_")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, words)],
        cwd=cwd,
        env={**clean, **KEYS, **QUICK, "PYTHONPATH": str(ROOT), "HOME": "/tmp"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        "run ids.txt",
        "retry",
        "plan ids.txt",
        "doctor ids.txt",
        "status",
        "publish",
        "export dead",
        "export delivered",
        "sql FROM~dead_letter",
        "verify",
        "explain " + IDS[0],
        "rebuild",
    ],
)
def test_another_users_output_is_refused_with_both_names_and_the_remedy(
    folder: Path, words: str
) -> None:
    arguments = [word.replace("~", " ") for word in words.split()]
    done = as_nobody(*arguments, "--out", "out", cwd=folder)
    told = done.stderr + done.stdout
    assert done.returncode == 6, told
    assert "belongs to root" in told
    assert f"sudo chown -R nobody {folder}/out" in " ".join(told.split())
    assert "bug" not in told
    assert "Traceback" not in told


def test_what_can_be_read_is_read(folder: Path) -> None:
    for path in (folder / "out" / "cdr", *(folder / "out" / "cdr").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for words in (["sql", "SELECT count(*) AS n FROM cdr"], ["audit"], ["report"]):
        done = as_nobody(*words, "--out", "out", cwd=folder)
        assert done.returncode == 0, done.stderr
    assert "belongs to root" in " ".join(done.stdout.split())  # the report says what it lacks
    for path in (folder / "out", *(folder / "out").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for words in (["status"], ["export", "dead"], ["explain", IDS[0]], ["plan", "ids.txt"]):
        done = as_nobody(*words, "--out", "out", cwd=folder)
        assert done.returncode == 0, done.stderr


def test_parts_that_are_closed_are_not_taken_for_no_data(folder: Path) -> None:
    for path in (folder / "out" / "cdr", *(folder / "out" / "cdr").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    part = min((folder / "out" / "cdr").rglob("*.parquet"))
    for closed in (part, part.parent):
        closed.chmod(0o600)
        for words in (["sql", "SELECT count(*) FROM cdr"], ["audit"], ["report"]):
            done = as_nobody(*words, "--out", "out", cwd=folder)
            assert done.returncode == 6, done.stdout
            assert f"{closed.name} belongs to root" in " ".join(done.stderr.split())


def test_one_night_as_root_in_anothers_output_is_said_before_anything_is_fetched(
    folder: Path, vendor: Simulator
) -> None:
    out = folder / "out"
    for path in (out, *out.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    for own in (next((out / "state" / "lists").iterdir()), next((out / "cdr").iterdir())):
        os.chown(own, 0, 0)
        before = vendor.stats()["requests"]
        done = as_nobody("run", "ids.txt", "--out", "out", cwd=folder)
        assert done.returncode == 6, done.stderr
        assert f"{own.name} belongs to root" in done.stderr
        assert vendor.stats()["requests"] == before
        os.chown(own, NOBODY, NOBODY)
