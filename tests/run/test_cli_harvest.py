"""`harvester run` and what one does after it, as processes, against the simulator."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.state.lock import OutputLock
from tests.run.test_cli_commands import KEYS, harvester
from tests.support import forked
from tests.support.simulated import ROOT, Simulator

IDS = 300
Harvested = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, drift=False, fates="dead_param=0.05,open_then_final=0.02") as up:
        yield up


@pytest.fixture(scope="module")
def harvested(
    vendor: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with `out`, and how its run spoke with --json."""
    folder = tmp_path_factory.mktemp("harvested")
    harvester("simulate", "--now", "2023-01-11", "--ids", IDS, "ids.txt", cwd=folder)
    return folder, run(vendor, folder, "--json")


@pytest.fixture(scope="module")
def screen(vendor: Simulator, harvested: Harvested) -> str:
    """What the same command says to people, of another output."""
    return run(vendor, harvested[0], "--out", "shown").stderr


def run(vendor: Simulator, folder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return harvester(
        "run",
        "ids.txt",
        *("--out", "out", "--rate", 1000, "--base-url", vendor.base_url),
        *more,
        cwd=folder,
        env=KEYS,
    )


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_on_stdout_begins_with_start_and_ends_with_the_summary(harvested: Harvested) -> None:
    _, done = harvested
    told = objects(done.stdout)
    assert [told[0]["type"], told[-1]["type"]] == ["start", "summary"]
    assert {one["type"] for one in told} <= {"start", "progress", "summary"}
    assert told[-1]["exit_code"] == done.returncode == 3
    assert (told[-1]["type"], told[-1]["code"]) == ("summary", "found.dead")
    assert told[-1]["run_id"] == told[0]["run_id"]


def test_json_on_stderr_too(harvested: Harvested) -> None:
    _, done = harvested
    assert [one["event"] for one in objects(done.stderr)] == ["run_started", "input_listed"]


def test_off_a_terminal_there_is_no_bar_and_no_colour(screen: str) -> None:
    assert not {"\x1b", "\r", "━"} & set(screen)


def test_screen_shows_the_books_and_what_to_type_next(screen: str) -> None:
    assert "Control totals of run" in screen
    assert "✗" not in screen
    assert "Exit code 3" in screen
    assert "harvester export dead" in screen


def test_log_is_private_and_holds_neither_secrets_nor_phone_numbers(harvested: Harvested) -> None:
    folder, done = harvested
    log = folder / "out" / "runs" / objects(done.stdout)[0]["run_id"] / "log.jsonl"
    assert log.stat().st_mode & 0o777 == 0o600
    text = log.read_text()
    events = [event["event"] for event in objects(text)]
    assert events[0] == "run_started"
    assert events[-1] == "run_ended"
    numbers = {
        number
        for part in (folder / "out" / "cdr").rglob("*.parquet")
        for name in ("callee", "display_num")
        for number in pq.read_table(part, columns=[name])[name].to_pylist()
        if number
    }
    assert numbers
    for hidden in (*KEYS.values(), *numbers):
        assert hidden not in text
        assert hidden not in done.stderr


def test_same_command_again_is_quiet_and_sends_nothing(
    vendor: Simulator, harvested: Harvested
) -> None:
    folder, _ = harvested
    before = vendor.stats()["requests"]
    done = run(vendor, folder, "-q")
    # Its dead ids were reported by the run before, with exit code 3.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert vendor.stats()["requests"] == before


def test_a_quiet_run_that_is_not_all_well_says_what_became_of_the_ids(
    vendor: Simulator, harvested: Harvested
) -> None:
    folder, shown = harvested
    done = run(vendor, folder, "--out", "quiet", "-q")
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = re.findall(r"^✓ *run .*$", done.stderr, re.MULTILINE)
    # The others depend on what the vendor was asked before: an open call ends.
    names = ("attempted", "dead")
    told = {name: int(re.findall(rf"(\d+) {name}", line)[0]) for name in names}
    run_totals = objects(shown.stdout)[-1]["run"]
    assert told["dead"] > 0
    assert told == {name: run_totals[name] for name in names}


def test_run_never_imports_duckdb(vendor: Simulator, tmp_path: Path) -> None:
    harvester("simulate", "--now", "2023-01-11", "--ids", "20", "ids.txt", cwd=tmp_path)
    code = (
        "import sys\n"
        "from harvester.cli.main import run_command\n"
        f"code = run_command(['run', 'ids.txt', '--out', 'out', '--base-url', "
        f"'{vendor.base_url}', '--rate', '500'])\n"
        "assert code in (0, 3), code\n"
        "sys.exit('duckdb was imported' if 'duckdb' in sys.modules else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **KEYS, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_status_tells_where_every_id_stands(harvested: Harvested) -> None:
    folder, _ = harvested
    found = objects(harvester("status", "--out", "out", "--json", cwd=folder).stdout)[0]
    stands = found["in_data"] + found["in_journal"] + found["open"] + found["dead"]
    assert stands + found["pending"] == IDS
    assert found["running"] is False
    told = harvester("status", "--out", "out", cwd=folder).stdout
    assert "harvester refetch dead" in told


def test_plan_after_the_run_asks_nothing(harvested: Harvested) -> None:
    folder, _ = harvested
    found = objects(harvester("plan", "ids.txt", "--out", "out", "--json", cwd=folder).stdout)[0]
    assert found["to_fetch"] == 0
    assert found["input"]["resolved"] == IDS
    assert found["input"]["known"]


def test_plan_of_an_overlapping_input_asks_only_what_is_new(harvested: Harvested) -> None:
    folder, _ = harvested
    (folder / "more.txt").write_text((folder / "ids.txt").read_text() + "2609021234561234567\n")
    found = objects(harvester("plan", "more.txt", "--out", "out", "--json", cwd=folder).stdout)[0]
    assert (found["input"]["distinct"], found["to_fetch"]) == (IDS + 1, 1)


def test_while_a_run_holds_the_output_status_answers_and_others_exit_7(
    harvested: Harvested,
) -> None:
    folder, _ = harvested
    with OutputLock(folder / "out" / "state" / "lock"):
        for words in (["plan", "ids.txt"], ["export", "dead"], ["refetch", "dead", "--dry-run"]):
            assert harvester(*words, "--out", "out", cwd=folder, env=KEYS).returncode == 7
        found = harvester("status", "--out", "out", "--json", cwd=folder)
        assert found.returncode == 0
        assert objects(found.stdout)[0]["running"] is True
        assert objects(found.stdout)[0]["pid"] == os.getpid()


def test_exports_of_all_forms_agree(harvested: Harvested) -> None:
    folder, _ = harvested
    lines = harvester("export", "delivered", "--out", "out", cwd=folder).stdout
    rows = list(csv.DictReader(io.StringIO(lines)))
    told = harvester("export", "delivered", "--out", "out", "--json", cwd=folder).stdout
    assert [row["voice_id"] for row in rows] == [one["voice_id"] for one in objects(told)]
    assert [row["cost"] or None for row in rows] == [one["cost"] for one in objects(told)]
    done = harvester("export", "delivered", "--out", "out", "-o", "all.parquet", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(folder / "all.parquet").num_rows == len(rows)
    assert (folder / "all.parquet").stat().st_mode & 0o777 == 0o600


def test_export_of_dead_and_open_ids(harvested: Harvested) -> None:
    folder, done = harvested
    summary = objects(done.stdout)[-1]
    for what in ("dead", "open"):
        found = objects(harvester("export", what, "--out", "out", "--json", cwd=folder).stdout)
        assert len(found) == summary["list"][what]


def test_export_never_writes_among_the_data(harvested: Harvested) -> None:
    folder, _ = harvested
    done = harvester("export", "dead", "--out", "out", "-o", "out/cdr/x.csv", cwd=folder)
    assert done.returncode == 2


def test_export_into_a_closed_pipe_is_no_drama(harvested: Harvested) -> None:
    folder, _ = harvested
    command = [sys.executable, "-m", "harvester", "export", "delivered", "--out", "out"]
    with forked.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_refetch_dry_run_counts_the_dead_by_reason(harvested: Harvested) -> None:
    folder, done = harvested
    dead = objects(done.stdout)[-1]["list"]["dead"]
    words = ["refetch", "dead", "--dry-run", "--out", "out"]
    found = objects(harvester(*words, "--json", cwd=folder, env=KEYS).stdout)[0]
    assert sum(found["dead"].values()) == dead
    wrong = harvester(*words, "--reason", "boredom", cwd=folder, env=KEYS)
    assert wrong.returncode == 2
    assert next(iter(found["dead"])) in wrong.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 130)]
)
def test_signal_is_an_exit_number_and_the_same_command_goes_on(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    harvester("simulate", "--now", "2023-01-11", "--ids", "400", "ids.txt", cwd=tmp_path)
    with Simulator(rate_limit=0, drift=False, fates="dead_param=0") as vendor:
        command = [sys.executable, "-m", "harvester", "run", "ids.txt", "--out", "out", "--json"]
        command += ["--base-url", vendor.base_url, "--rate", "100"]
        with forked.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **KEYS, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while vendor.stats()["requests"] < 30:
                time.sleep(0.05)
            process.send_signal(number)
            told, _ = process.communicate(timeout=30)
        assert process.returncode == code
        summary = objects(told)[-1]
        assert summary["exit_code"] == code
        assert summary["list"]["pending"] > 0
        done = run(vendor, tmp_path, "--json")
        assert objects(done.stdout)[-1]["list"]["pending"] == 0
        assert set(vendor.asks().values()) <= {1, 2}


def test_refused_key_exits_4_and_says_what_to_check(vendor: Simulator, tmp_path: Path) -> None:
    harvester("simulate", "--now", "2023-01-11", "--ids", "20", "ids.txt", cwd=tmp_path)
    env = {"HARVESTER_API_KEY": "bDqJFiq9", "HARVESTER_API_SECRET": "wrong-secret"}
    done = harvester(
        *("run", "ids.txt", "--out", "out", "--base-url", vendor.base_url, "--rate", 100),
        cwd=tmp_path,
        env=env,
    )
    assert done.returncode == 4
    assert "HARVESTER_API_SECRET" in done.stderr
    assert "wrong-secret" not in done.stderr
    assert "Exit code 4" in done.stderr
