"""What the pages say is typed, in their order, in one shell: it works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.run.test_cli_commands import KEYS, harvester
from tests.run.test_init import FILES, written
from tests.support.pages import blocks, type_in
from tests.support.ports import free_port
from tests.support.simulated import Simulator

QUICKSTART = "docs/quickstart.md"
INSTALL = "docs/install.md"


def test_the_quick_start_works_in_one_shell_of_an_empty_folder(tmp_path: Path) -> None:
    by_hand, stop = blocks(QUICKSTART, "## By hand, against the simulator", "bash")
    (with_key,) = blocks(QUICKSTART, "## With your key", "bash")
    (read,) = blocks(QUICKSTART, "## Read the data", "python")
    # A reader has a real key and the real vendor; here both are the stand-in's.
    (tmp_path / "key").write_text(f"{KEYS['HARVESTER_API_KEY']}\n")
    (tmp_path / "secret").write_text(f"{KEYS['HARVESTER_API_SECRET']}\n")
    ours = with_key.replace("/etc/harvester/", f"{tmp_path}/").replace(
        "unset HARVESTER_VENDOR__BASE_URL ", "unset "
    )
    assert ours.count(str(tmp_path)) == 2
    assert "unset HARVESTER_VENDOR__BASE_URL " in with_key
    last = re.sub(r"(?m)^(harvester run .*)$", r"\1 || test $? -eq 3", ours)
    script = "\n".join(
        [
            by_hand,
            "harvester init > /dev/null; mkdir ids; cp ids.txt ids/monday.txt",
            last,
            stop,
            f"python - <<'E'\n{read}E",
        ]
    ).replace("8080", str(free_port()))
    done = type_in(script, tmp_path)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "All is well" in done.stdout
    assert "All checks passed" in done.stdout
    assert len(list(tmp_path.glob("rehearsal/cdr/*/*.parquet"))) > 1
    assert len(list(tmp_path.glob("data/cdr/*/*.parquet"))) > 1, "the nightly run's output"


def test_the_readmes_commands_for_the_real_vendor_work(tmp_path: Path) -> None:
    (_, script, *_) = blocks("README.md", "## Two commands", "")
    for name, value in KEYS.items():
        script = re.sub(rf"{name}=…", f"{name}={value}", script)
    script = re.sub(r"(?m)^(.*harvester run .*)$", r"\1 || test $? -eq 3", script)
    harvester("init", cwd=tmp_path)
    (tmp_path / "ids").mkdir()
    harvester("simulate", "--ids", 100, "ids/calls.txt", cwd=tmp_path)
    with Simulator(rate_limit=0) as vendor:
        env = {"HARVESTER_VENDOR__BASE_URL": vendor.base_url}
        done = type_in(script, tmp_path, env)
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_installing_ends_with_a_demo_and_files_to_begin_with(tmp_path: Path) -> None:
    (script,) = blocks(INSTALL, "## Install", "bash")
    done = type_in(script, tmp_path)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert {name for name in written(tmp_path) if name.startswith("configs/")} == FILES
    assert "A first look" in done.stdout
    assert (
        "$ harvester run demo-out/ids/calls.txt -c demo-out/demo.toml --out demo-out" in done.stdout
    )
    assert "# again: fetches nothing twice" in done.stdout
    assert "harvester init    # to begin with" in done.stdout


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with `ids.txt` and the output `data` of their first half, as at a backup."""
    harvester("simulate", "--ids", 200, "ids.txt", cwd=tmp_path)
    ids = (tmp_path / "ids.txt").read_text().splitlines(keepends=True)
    (tmp_path / "half.txt").write_text("".join(ids[:100]))
    return tmp_path


def test_the_drill_of_backup_and_restore_works(data: Path) -> None:
    back_up, drill, in_earnest = blocks(INSTALL, "## Back up and restore", "bash")
    (after,) = blocks(INSTALL, "## Upgrade", "bash")
    with Simulator(rate_limit=0, drift=False) as vendor:
        env = {**KEYS, "HARVESTER_VENDOR__BASE_URL": vendor.base_url}
        first = harvester("run", "half.txt", "--out", "data", cwd=data, env=env)
        assert first.returncode in (0, 3), first.stderr
        done = type_in(after + back_up + drill, data, env)
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert not (data / "drill").exists()
        asked = set(vendor.asks())
        # After the backup the other half comes, and all of it is lost again.
        whole = type_in("harvester run ids.txt --out data || test $? -eq 3", data, env)
        assert whole.returncode == 0, whole.stderr
        done = type_in(in_earnest, data, env)
        assert done.returncode == 0, (done.stdout, done.stderr)
        asks = vendor.asks()
    later = set(asks) - asked
    assert len(later) == 100
    assert {asks[one] for one in later} >= {2}, "fetched again, as the backup does not know them"
    assert (data / "data.broken").is_dir()


def test_no_backup_is_made_while_a_run_works(data: Path) -> None:
    back_up, *_ = blocks(INSTALL, "## Back up and restore", "bash")
    flock = next(line for line in back_up.splitlines() if line.startswith("flock"))
    (data / "data" / "state").mkdir(parents=True)
    script = f"exec 9> data/state/lock; flock 9; {flock}"
    assert type_in(script, data).returncode == 1
    assert not (data / "data-backup.tar").exists()
