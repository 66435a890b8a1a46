"""The commands as processes of their own, without a vendor: messages, exit codes, clean stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from harvester.simulator import make_ids
from harvester.simulator.ids import time_in_id
from tests.support import forked
from tests.support.simulated import ROOT

KEYS = {"HARVESTER_API_KEY": "bDqJFiq9", "HARVESTER_API_SECRET": "7bz1lzh9"}


def harvester(
    *arguments: object, cwd: Path, env: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """`harvester …` in `cwd`, with nothing in its environment that a user may have set."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HARVESTER_")
    }
    return forked.run(
        [sys.executable, "-m", "harvester", *map(str, arguments)],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT), **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    file = tmp_path / "ids.txt"
    file.write_text("260902123456123456\n2609021234561234567\nnot an id\n2609021234561234567\n")
    return file


def test_version_and_help(tmp_path: Path) -> None:
    assert harvester("--version", cwd=tmp_path).stdout.startswith("harvester 0.")
    told = harvester("--help", cwd=tmp_path)
    assert told.returncode == 0
    assert "Exit codes" in told.stdout


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "plan",
        "doctor",
        "status",
        "refetch",
        "publish",
        "export",
        "sql",
        "simulate",
        "config show",
        "config check",
    ],
)
def test_every_command_has_an_example_and_takes_the_common_options(
    command: str, tmp_path: Path
) -> None:
    told = harvester(*command.split(), "--help", cwd=tmp_path).stdout
    assert f"harvester {command} " in told.split("Example:")[1]
    assert all(option in told for option in ("--config", "--out", "--json"))


def test_an_interrupt_while_it_is_imported_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "harvester", "status"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from harvester.cli.main import run_command\n"
        "for words in ([], ['run'], ['doctor'], ['export'], ['sql'], ['simulate']):\n"
        "    run_command([*words, '--help'])\n"
        "heavy = {'pyarrow', 'duckdb', 'aiohttp', 'rich', 'structlog'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr


BAD_USAGE = [
    (["run", "ids.txt"], {}, "HARVESTER_API_KEY"),
    (["run", "ids.txt"], {"HARVESTER_API_KEY": "k"}, "HARVESTER_API_SECRET"),
    (["run", "ids.txt", "--rate", "0"], KEYS, "pace.rate_per_s"),
    (["run", "ids.txt", "--rate", "-5"], KEYS, "pace.rate_per_s"),
    (["run", "ids.txt", "--rate", "quick"], KEYS, "--rate"),
    (["run", "ids.txt", "--concurrency", "0"], KEYS, "pace.concurrency"),
    (["run", "ids.txt", "--max-duration", "soon"], KEYS, "45m, 5h"),
    (["run", "ids.txt", "-q", "-v"], KEYS, "--quiet and --verbose"),
    (["run", "ids.txt", "--base-url", "ftp://x"], KEYS, "vendor.base_url"),
    (["run", "ids.txt", "--base-url", "http://example.com/v"], KEYS, "unencrypted"),
    (["run", "ids.txt", "--no-such"], KEYS, "--no-such"),
    (["run", "ids.txt", "-c", "missing.toml"], KEYS, "missing.toml"),
    (["plan", "missing.txt"], {}, "missing.txt"),
    (["plan", "ids.txt"], {"HARVESTER_PACE__RAET": "5"}, "HARVESTER_PACE__RAET"),
    (["status"], {}, "harvester run IDS"),
    (["refetch", "dead"], KEYS, "no data yet"),
    (["publish"], {}, "no data yet"),
    (["export", "dead"], {}, "no data yet"),
    (["export", "delivered", "--format", "parquet"], {}, "-o"),
    (["export", "alive"], {}, "alive"),
    (["config", "check"], {}, "HARVESTER_API_KEY"),
    (["simulate", "--faults", "nonsense=1"], {}, "nonsense"),
    (["simulate", "--port", "70000"], {}, "70000"),
    (["frobnicate"], {}, "frobnicate"),
]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    ("words", "env", "names"), BAD_USAGE, ids=[" ".join(case[0]) for case in BAD_USAGE]
)
def test_bad_usage_exits_2_and_names_what_is_wrong(
    words: list[str], env: dict[str, str], names: str, *, as_json: bool, tmp_path: Path, ids: Path
) -> None:
    assert ids.exists()
    done = harvester(*words, *(["--json"] if as_json else []), cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert done.stdout == ""
    message = json.loads(done.stderr)["message"] if as_json else done.stderr
    assert names in message
    assert "Traceback" not in done.stderr
    if as_json:
        assert json.loads(done.stderr)["exit_code"] == 2
    else:
        assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status"], "output.no_data"),
        (["refetch", "dead"], "output.no_data"),
        (["verify"], "output.no_data"),
        (["explain", "12345678"], "state.missing"),
        (["explain", "no id"], "usage.voice_id"),
        (["run", "ids.txt", "-q", "-v"], "usage.conflict"),
        (["run", "ids.txt", "--max-duration", "soon"], "usage.duration"),
        (["report", "--month", "2026-13"], "usage.date"),
        (["audit", "--fail-above", "much"], "usage.amount"),
        (["export", "delivered", "--format", "parquet"], "usage.target"),
        (["frobnicate"], "usage.invalid"),
    ],
)
def test_each_trouble_of_a_command_line_has_its_code(
    words: list[str], code: str, tmp_path: Path, ids: Path
) -> None:
    assert ids.exists()
    done = harvester(*words, "--json", cwd=tmp_path, env=KEYS)
    error = json.loads(done.stderr)
    assert (error["type"], error["code"], error["exit_code"]) == ("error", code, 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.txt", None),
        ("torn.csv.gz", b"\x1f\x8b\x08\x00"),
        ("ids.csv", b"a,b\n1,2\n"),
        ("ids.parquet", b"no parquet"),
        ("ids.txt", b"PAR1"),
    ],
)
def test_input_that_cannot_be_read_exits_2_and_names_the_file(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = harvester("run", name, "--json", "--out", "out", cwd=tmp_path, env=KEYS)
    assert done.returncode == 2
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert name in told[-1]["message"]
    # What isn't even there is told before there is a run; what can't be read ends one.
    begun = ["start"] if content is not None else []
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == begun
    assert len(list((tmp_path / "out" / "runs").glob("2*"))) == len(begun)


def test_unknown_key_is_refused_with_its_path(tmp_path: Path, ids: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[pace]\nraet_per_s = 5\n")
    done = harvester("run", ids, "-c", config, cwd=tmp_path, env=KEYS)
    assert done.returncode == 2
    assert "raet_per_s" in done.stderr
    assert "$.pace" in done.stderr


def test_secrets_are_shown_as_set_or_not_and_never_as_they_are(tmp_path: Path) -> None:
    done = harvester("config", "show", cwd=tmp_path, env={"HARVESTER_API_KEY": "s3cret-key"})
    assert "s3cret" not in done.stdout
    assert [line.split()[1:] for line in done.stdout.splitlines() if "API_" in line] == [
        ["set", "(environment)"],
        ["not", "set"],
    ]


def test_config_show_tells_where_each_value_came_from(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[pace]\nrate_per_s = 5\n")
    env = {"HARVESTER_PACE__CONCURRENCY": "3"}
    done = harvester("config", "show", "-c", config, "--out", "o", "--json", cwd=tmp_path, env=env)
    rows = {
        row["key"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)["settings"]
    }
    assert rows["pace.rate_per_s"] == (5.0, str(config))
    assert rows["pace.concurrency"] == (3, "HARVESTER_PACE__CONCURRENCY")
    assert rows["output.dir"] == ("o", "flag")
    assert rows["retry.max_runs"] == (7, "default")
    shown = harvester("config", "show", "-c", config, "--out", "o", cwd=tmp_path).stdout
    assert [line.split()[1:] for line in shown.splitlines() if line.startswith("vendor.proxy")] == [
        ["none", "default"]
    ]


def test_plan_counts_sends_nothing_and_makes_nothing(tmp_path: Path, ids: Path) -> None:
    done = harvester("plan", ids, "--out", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["input"]["lines"], plan["input"]["bad"]) == (4, 1)
    assert (plan["input"]["duplicate"], plan["input"]["distinct"]) == (1, 2)
    assert plan["to_fetch"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.txt"]


def test_plan_shows_bad_lines_without_repainting_the_screen(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\x1b[2Jevil\n2609021234561234567\n")
    done = harvester("plan", "ids.txt", cwd=tmp_path)
    assert "\x1b" not in done.stdout
    assert "ids.txt:1: forbidden character" in done.stdout


def test_dry_run_is_plan(tmp_path: Path, ids: Path) -> None:
    plan = harvester("plan", ids, cwd=tmp_path).stdout.splitlines()
    dry = harvester("run", ids, "--dry-run", cwd=tmp_path).stdout.splitlines()
    assert [line for line in dry if not line.startswith("ends ")] == [
        line for line in plan if not line.startswith("ends ")
    ]


def test_plan_reads_stdin(tmp_path: Path) -> None:
    done = harvester("plan", "-", "--json", cwd=tmp_path, stdin="2609021234561234567\n")
    assert json.loads(done.stdout)["to_fetch"] == 1


def test_ids_of_a_pipe_that_are_refused_are_called_what_they_are(tmp_path: Path) -> None:
    """The copy of them is gone with the command: no message names it, no command reads it."""
    ids = "2609021234561234567\n2609021234561234568\n"
    os.mkfifo(tmp_path / "ids.fifo")
    writer = threading.Thread(
        target=lambda: (tmp_path / "ids.fifo").write_text(ids.replace("26", "'26"))
    )
    writer.start()
    for source, name in (("-", "stdin"), ("ids.fifo", "ids.fifo")):
        done = harvester("plan", source, cwd=tmp_path, stdin=ids.replace("26", "'26"))
        assert done.returncode == 2
        assert f"error: {name}: not one voiceId in 2 line(s)" in done.stderr
        assert '… | tr -d "\'" > ids.new.txt' in done.stderr
        assert "stdin-" not in done.stderr
    writer.join()
    shown = harvester("plan", "-", cwd=tmp_path, stdin=f"{ids}no id\n").stdout
    assert "stdin:3: forbidden character: no id" in shown


def test_simulate_writes_ids_and_exits(tmp_path: Path) -> None:
    """The same ones for the same instant, whenever it is; never any of the future."""
    for at, name in (("2026-11-25T15:59:59Z", "a"), ("2026-11-24T16:00Z", "b"), (None, "now")):
        words = () if at is None else ("--now", at)
        done = harvester("simulate", "--ids", "100", name, "--days", 3, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    a, b, now = ((tmp_path / name).read_text().split() for name in ("a", "b", "now"))
    assert a == b == list(make_ids(100, end=date(2026, 11, 24), days=3))
    assert len(set(now)) == 100
    assert all(told < datetime.now(UTC) for one in now if (told := time_in_id(one)))


@pytest.mark.parametrize("at", ["today", "2026-13-01", "1999-12-31", "2100-01-01", ""])
def test_an_instant_that_is_none_is_a_usage_error(tmp_path: Path, at: str) -> None:
    done = harvester("simulate", "--now", at, "--ids", "1", "out.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert "2026-11-25T22:00:00Z" in done.stderr
    assert not (tmp_path / "out.txt").exists()


def test_output_folder_that_cannot_be_written_exits_6(tmp_path: Path, ids: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = harvester("run", ids, "--out", "out", cwd=tmp_path, env=KEYS)
    assert done.returncode == 6
    assert "--out" in done.stderr


def test_status_of_data_without_a_state_says_how_to_make_one(tmp_path: Path) -> None:
    day = tmp_path / "out" / "cdr" / "submit_date=2026-11-01"
    day.mkdir(parents=True)
    (day / "part-a-1-0.parquet").write_bytes(b"")
    done = harvester("status", "--out", "out", cwd=tmp_path)
    assert done.returncode == 6
    assert "harvester rebuild" in done.stderr
