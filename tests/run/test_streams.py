"""stdin, stdout and stderr that are gone, closed, full, stuck or of another encoding."""

from __future__ import annotations

import array
import fcntl
import json
import os
import pty
import select
import shlex
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harvester.simulator import make_ids
from harvester.state.lock import OutputLock
from tests.run.test_cli_commands import KEYS
from tests.security.commands import QUICK
from tests.support.outputs import look
from tests.support.simulated import END, ROOT, Simulator

IDS = list(make_ids(90, 4, end=END))
COMMANDS = {
    # Each way of writing to stdout: typer's, rich's, JSON, Arrow's, our own lines.
    "help": "--help",
    "status": "status",
    "plan as json": "plan ids.txt --json",
    "dead": "export dead",
    "open as json lines": "export open --format jsonl",
    "delivered": "export delivered",
    "sql": "sql 'SELECT voice_id, destination_country FROM cdr'",
    "sql as csv": "sql --format csv 'FROM dead_letter'",
    "report": "report",
}
SPOKEN = {
    "config": "config show",
    "check": "config check",
    "status": "status",
    "run that only plans": "run ids.txt --dry-run",
    "sql": "sql 'SELECT voice_id, destination_country FROM cdr'",
    "verify": "verify",
    "report": "report",
    "audit": "audit",
    "explain": f"explain {IDS[0]}",
    "refetch that only says": "refetch dead --dry-run",
}
SHELL = "/bin/sh"


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates="dead_param=0.2,open_then_final=0.2", latency_ms=1) as up:
        yield up


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vendor: Simulator) -> Path:
    """A harvest, in `out`."""
    place = tmp_path_factory.mktemp("streams")
    (place / "ids.txt").write_text("\n".join([*IDS, "no id"]))
    (place / "x.toml").write_text('[output]\ndir = "out"\n')
    done = shell(f"{H} run ids.txt -q --base-url {vendor.base_url}", place)
    assert done.returncode == 3, done.stderr
    return place


H = f"{sys.executable} -m harvester"


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell, as its user types it; with the exit code of its first command."""
    if "&-" in line and "FAKETIME" in os.environ:
        pytest.skip("libfaketime's memory, all processes' own, would take the closed one's place")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HARVESTER_")}
    return subprocess.run(
        [SHELL, "-c", line],
        cwd=folder,
        env={
            **clean,
            **KEYS,
            **QUICK,
            "HARVESTER_OUTPUT__DIR": "out",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            **env,
        },
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def is_calm(told: str) -> bool:
    """No bug, no traceback, and nothing of the state database."""
    return not any(
        word in told
        for word in ("bug", "Traceback", "ledger", "state database", "Exception ignored")
    )


@pytest.mark.parametrize(
    ("words", "where"),
    [
        *((words, ">/dev/full") for words in COMMANDS.values()),
        *((COMMANDS[name], ">&-") for name in ("help", "status", "dead", "plan as json")),
    ],
)
def test_a_stdout_that_is_closed_or_full_is_said_and_nothing_else(
    folder: Path, words: str, where: str
) -> None:
    done = shell(f"{H} {words} {where}", folder)
    assert done.returncode == 6, done.stderr
    assert "stdout can't be written: " in done.stderr
    assert is_calm(done.stderr), done.stderr


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_where_nobody_reads_a_command_ends_as_others_do_and_says_nothing(
    folder: Path, words: str
) -> None:
    # The reader is gone before the first line comes.
    line = f"{{ sleep 0.01; {H} {words}; echo $? >&3; }} 3>code | :"
    done = shell(line, folder)
    assert is_calm(done.stderr), done.stderr
    assert int((folder / "code").read_text()) == 141


@pytest.mark.parametrize("words", ["status --json", "export dead", "run --no-such-option"])
def test_a_stderr_that_is_closed_or_full_changes_nothing(folder: Path, words: str) -> None:
    right = shell(f"{H} {words}", folder)
    for where in ("2>&-", "2>/dev/full"):
        done = shell(f"{H} {words} {where}", folder)
        assert (done.returncode, done.stdout) == (right.returncode, right.stdout)


def run_line(vendor: Simulator, name: str, more: str = "") -> str:
    return f"{H} run ids.txt --out {name} --base-url {vendor.base_url} --rate 1000 {more}"


def ended(out: Path) -> tuple[int, int]:
    """The exit code that the state database has of the only run, and that of its summary."""
    ((code,),) = look(out, "SELECT exit_code FROM run")
    (summary,) = out.glob("runs/*/summary.json")
    return code, json.loads(summary.read_text())["exit_code"]


@pytest.mark.parametrize(
    "where",
    [
        ">&- 2>&-",
        "--json >&-",
        "--json >/dev/full",
        "--json >/dev/full 2>/dev/full",
        "--json >&- 2>&- <&-",
        "2>&-",
        "2>/dev/full",
        "-q >&- 2>&-",
    ],
)
def test_a_run_is_done_wherever_its_words_go(
    folder: Path, vendor: Simulator, tmp_path: Path, where: str
) -> None:
    done = shell(f"{run_line(vendor, str(tmp_path / 'out'))} {where}", folder)
    assert done.returncode == 3, done.stderr
    assert ended(tmp_path / "out") == (3, 3)
    assert is_calm(done.stderr)
    assert ("stdout can't be written" in done.stderr or "stdout_failed" in done.stderr) == (
        where.startswith("--json") and "2>" not in where
    )
    verified = shell(f"{H} verify --deep --out {tmp_path / 'out'}", folder)
    assert verified.returncode == 0, verified.stdout


def test_a_run_whose_reader_has_gone_goes_on_and_warns_once(
    folder: Path, vendor: Simulator, tmp_path: Path
) -> None:
    line = run_line(vendor, str(tmp_path / "out"), "--json")
    done = shell(f"{{ {line}; echo $? >{tmp_path}/code; }} | head -n 0", folder)
    assert (tmp_path / "code").read_text().strip() == "3", done.stderr
    assert ended(tmp_path / "out") == (3, 3)
    assert done.stderr.count("stdout_failed") == 1
    assert is_calm(done.stderr.replace("already", ""))


def test_a_reader_that_stands_still_does_not_keep_a_run_from_its_end(
    folder: Path, vendor: Simulator, tmp_path: Path
) -> None:
    """Its output is free again, though the process waits to get rid of what it has to say."""
    reading, writing = os.pipe()
    filled = 0
    os.set_blocking(writing, False)
    try:
        while True:
            filled += os.write(writing, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    words = run_line(vendor, str(tmp_path / "out"), "--json").split()
    env = {**os.environ, **KEYS, **QUICK, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=writing, stderr=subprocess.DEVNULL
    ) as process:
        os.close(writing)
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                found = list((tmp_path / "out").glob("runs/*/summary.json"))
                if found and shell(f"{H} verify --out {tmp_path / 'out'}", folder).returncode == 0:
                    break
                time.sleep(0.1)
            else:
                raise AssertionError("the run never ended")
            assert process.poll() is None
        finally:
            rest = b""
            while chunk := os.read(reading, 65536):
                rest += chunk
            os.close(reading)
        assert process.wait(30) == 3
    objects = [json.loads(line) for line in rest[filled:].splitlines()]
    assert [objects[0]["type"], objects[-1]["type"]] == ["start", "summary"]


def test_a_stdout_that_somebody_made_one_that_does_not_wait_is_waited_for(folder: Path) -> None:
    program = (
        "import os, subprocess, sys, time\n"
        "reading, writing = os.pipe()\n"
        "os.set_blocking(writing, False)\n"
        "query = 'SELECT repeat(chr(120), 90) AS x FROM range(9000)'\n"
        f"words = {H.split()!r} + ['sql', '--format', 'csv', query]\n"
        "with subprocess.Popen(words, stdout=writing) as process:\n"
        "    os.close(writing)\n"
        "    time.sleep(2)\n"
        "    size = 0\n"
        "    while part := os.read(reading, 999):\n"
        "        size += len(part)\n"
        "print(size, process.wait())\n"
    )
    (folder / "slow.py").write_text(program)
    done = shell(f"{sys.executable} slow.py", folder)
    assert done.stdout.split()[1] == "0", done.stderr
    assert int(done.stdout.split()[0]) >= 9000 * 91


LOCALES = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C as it comes": {"LC_ALL": "C"},
}


@pytest.mark.parametrize(
    ("words", "locale"),
    [
        *((words, "C") for words in SPOKEN.values()),
        *((SPOKEN[name], "latin-1") for name in ("status", "sql", "report")),
    ],
)
def test_no_locale_is_a_trouble(folder: Path, words: str, locale: str) -> None:
    done = shell(f"{H} {words}", folder, **LOCALES[locale])
    assert done.returncode == 0, done.stderr
    assert is_calm(done.stderr)


@pytest.mark.parametrize(
    ("name", "locale", "code"),
    [
        ("gesprächsdaten", "latin-1", 0),
        ("gesprächsdaten", "C as it comes", 0),
        ("通话记录", "ascii", 0),
        # DuckDB and Arrow know names by their UTF-8 alone.
        ("通话记录", "POSIX", 2),
        ("\udcffodd", "C as it comes", 2),
    ],
)
def test_no_name_of_a_folder_is_a_bug_in_any_locale(
    vendor: Simulator, tmp_path: Path, name: str, locale: str, code: int
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "ids ä.txt").write_text("\n".join(IDS[:9]))
    line = f"cd '{name}' && {H} run ids*.txt --out '../{name}/out' --base-url {vendor.base_url}"
    for words in (line, f"cd '{name}' && {H} status --out '../{name}/out'"):
        done = shell(words, tmp_path, **LOCALES[locale])
        assert done.returncode in (code, 3 if code == 0 else code), done.stderr
        assert ("LC_ALL=C.UTF-8" in done.stderr) == (code == 2)
        assert is_calm(done.stderr), done.stderr


def test_a_name_that_the_locale_cannot_express_is_said_with_the_remedy(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.toml").write_text('[output]\ndir = "通话记录"\n', encoding="utf-8")
    for words in ("status", "run ids.txt", "plan"):
        done = shell(
            f"unset HARVESTER_OUTPUT__DIR; {H} {words} -c x.toml", tmp_path, **LOCALES["C"]
        )
        assert done.returncode == 2
        assert "LC_ALL=C.UTF-8" in done.stderr
        assert is_calm(done.stderr)


STUCK = {
    "export dead": "export dead",
    "export open as parquet lines": "export open --json",
    "sql": "sql 'FROM dead_letter'",
    "status": "status --json",
    "explain": f"explain {IDS[0]} --json",
    "report": "report --json",
    "verify": "verify --json",
}


@pytest.mark.parametrize("words", STUCK.values(), ids=STUCK)
def test_who_reads_does_not_hold_the_output_while_nobody_takes_what_it_writes(
    folder: Path, words: str
) -> None:
    """As `… | less` that was left open in the evening."""
    with stuck_pipe() as (reading, writing):
        process = start(words, folder, stdout=writing)
        wait_until_blocked(process.pid)
        try:
            with OutputLock(folder / "out" / "state" / "lock", "run", wait_s=0):
                pass
        finally:
            os.close(reading)
            assert process.wait(60) == 141


def test_a_prompt_that_waits_does_not_hold_the_output(folder: Path) -> None:
    ours, theirs = pty.openpty()
    process = start("sql", folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        os.write(ours, b"SELECT 'x' || count(*) FROM dead_letter;\n")
        seen = b""
        while b"(1 row" not in seen:
            seen += os.read(ours, 4096)
        with OutputLock(folder / "out" / "state" / "lock", "run", wait_s=0):
            pass
        os.write(ours, b".quit\n")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    "words", ["plan -", "plan /dev/stdin", "doctor - --base-url http://[::1]:9"]
)
def test_an_input_that_somebody_is_still_writing_is_waited_for_without_the_output(
    folder: Path, words: str
) -> None:
    reading, writing = os.pipe()
    process = start(words, folder, stdin=reading, stdout=subprocess.DEVNULL)
    os.close(reading)
    os.write(writing, IDS[0].encode() + b"\n")
    try:
        # It has read that line, and waits for more.
        until(lambda: not select.select([], [writing], [], 0)[1] or _unread(writing) == 0)
        time.sleep(0.3)
        with OutputLock(folder / "out" / "state" / "lock", "run", wait_s=0):
            pass
    finally:
        os.close(writing)
        assert process.wait(60) in (0, 2, 5, 6)


def test_a_run_waits_for_a_reader_and_names_it_if_it_takes_too_long(
    folder: Path, vendor: Simulator
) -> None:
    line = f"{H} run ids.txt -q --base-url {vendor.base_url}"
    with OutputLock(folder / "out" / "state" / "lock", "verify"):
        done = shell(line, folder)
    assert done.returncode == 7
    assert "`harvester verify` reads this output" in done.stderr
    assert f"process {os.getpid()} on " in done.stderr


def start(words: str, folder: Path, **streams: int) -> subprocess.Popen[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HARVESTER_")}
    own = {**KEYS, **QUICK, "HARVESTER_OUTPUT__DIR": "out", "PYTHONPATH": str(ROOT)}
    pipes: dict[str, int] = {"stderr": subprocess.DEVNULL, **streams}
    return subprocess.Popen(
        [*H.split(), *shlex.split(words)],
        cwd=folder,
        env={**clean, **own},
        stdin=pipes.pop("stdin", subprocess.DEVNULL),
        stdout=pipes["stdout"],
        stderr=pipes["stderr"],
    )


@contextmanager
def stuck_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is full."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    try:
        yield reading, writing
    finally:
        os.close(writing)


def wait_until_blocked(pid: int) -> None:
    """Return once the process has written what there was room for, and waits."""
    seen: list[tuple[str, str]] = []

    def rests() -> bool:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seen.append((fields[0], f"{fields[11]} {fields[12]}"))
        last = seen[-16:]
        return len(last) == 16 and len(set(last)) == 1 and last[0][0] == "S"

    until(rests)


def _unread(descriptor: int) -> int:
    size = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, size)
    return size[0]


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_status_says_of_one_that_only_reads_that_it_is_no_run(folder: Path) -> None:
    with OutputLock(folder / "out" / "state" / "lock", "verify"):
        done = shell(f"{H} status", folder)
    assert done.returncode == 0
    assert "`harvester verify` (process " in done.stdout
    assert "at work" not in done.stdout


def test_a_stdin_that_is_closed_is_no_trouble_of_the_output(folder: Path) -> None:
    done = shell(f"{H} plan - <&-", folder)
    assert done.returncode == 2
    assert "stdin: can't be read (" in done.stderr
