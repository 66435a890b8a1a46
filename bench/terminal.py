"""Pictures of a night in a terminal: real commands in a real one, against the stand-in vendor.

What the terminal (tmux) shows is read back with its colours, drawn as SVG by rich, and photographed
by the same headless Chromium as the report's pages (bench/screens.py).
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from bench.places import ROOT, BenchError
from harvester.simulator import last_whole_day, write_ids
from harvester.simulator.options import PAGE_KEYS

COLUMNS = 100
_ROWS = 44
_IDS = 30_000
_EARLIER = 2_000
_RATE = 400
_PATIENCE_S = 240.0
_FAULTS = (
    "busy=0.03,expired=0.01,http503=0.01,torn=0.005,reset=0.004,slow=0.002,throttle=0.0002,"
    "unknown=0.0001"
)
_CONFIG = """[vendor]
base_url = "{base_url}"
account = "main"

[pace]
rate_per_s = {rate}

[input]
paths = ["ids"]
"""


@dataclass(frozen=True, slots=True)
class Screen:
    """What a terminal showed: a name for the picture, a title, and its text with colours."""

    name: str
    title: str
    text: str

    def svg(self) -> str:
        """The terminal as rich draws one."""
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        console.print(Text.from_ansi(self.text), soft_wrap=True)
        return console.export_svg(title=self.title, theme=MONOKAI)


def night(home: Path) -> Iterator[Screen]:
    """An evening, a run and its status, in `home`; each screen as soon as it was seen."""
    if shutil.which("tmux") is None:
        print("SKIPPED: there is no tmux here (apt-get install tmux), so no picture of a terminal.")
        return
    shutil.rmtree(home, ignore_errors=True)
    _write_input(home)
    with _vendor() as base_url, _Tmux(home) as terminal:
        (home / "nightly.toml").write_text(_CONFIG.format(base_url=base_url, rate=_RATE))
        # An earlier night, cut short: something is left over, and there is a history of retries.
        terminal.type("harvester run earlier -c nightly.toml --max-duration 3s -q; clear")
        terminal.wait_idle()
        for name in ("plan", "doctor"):
            yield terminal.show(name, f"harvester {name} -c nightly.toml")
        terminal.begin("harvester run -c nightly.toml")
        yield _mid_way(terminal)
        with _Tmux(home) as other:
            yield other.show("status", "harvester status -c nightly.toml")
        terminal.wait_idle()
        shown = terminal.text().rpartition("\n")[0]
        yield Screen("books", "harvester run", shown.rstrip("\n"))
        yield terminal.show("morning", "harvester status -c nightly.toml")


def _mid_way(terminal: _Tmux) -> Screen:
    """The run over a third through, once its pace is slowed down; or at three quarters as it is."""

    def is_telling(shown: str) -> bool:
        found = re.search(r" (\d+) % ", shown)
        done = int(found.group(1)) if found else 0
        return done >= 75 or (done >= 35 and "climbing back" in shown)

    return Screen("run", "harvester run", terminal.wait(is_telling))


def _write_input(home: Path) -> None:
    """Five evenings of ids that overlap, with lines that are none; and ids of long ago."""
    (home / "ids").mkdir(parents=True)
    (home / "earlier").mkdir()
    write_ids(home / "all.txt", _IDS, 3, end=last_whole_day(), days=40)
    lines = (home / "all.txt").read_text().splitlines()
    portion = len(lines) // 5
    for day in range(5):
        # The evenings overlap a little.
        own = lines[max(0, day * portion - 200) : (day + 1) * portion]
        (home / "ids" / f"2026-11-{17 + day}.txt").write_text("\n".join(own) + "\n")
    with (home / "ids" / "2026-11-19.txt").open("a") as file:
        file.write("n/a\n1.22e+19\nsee other sheet\n")
    write_ids(home / "earlier" / "september.txt", _EARLIER, 4, end=last_whole_day(), days=80)


@contextmanager
def _vendor() -> Iterator[str]:
    command = [sys.executable, "-m", "harvester", "simulate", "--port", "0", "--enforce"]
    command += ["--rate-limit", str(round(1.25 * _RATE)), "--faults", _FAULTS, "--no-drift"]
    command += ["--latency-ms", "40", "--jitter-ms", "30"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            if not told.startswith("listening on "):
                raise BenchError("the stand-in vendor did not start.")
            yield told.removeprefix("listening on ").strip()
        finally:
            process.terminate()


def _plain(shown: str) -> str:
    """Without colours; tmux carries those of a line on into the next."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


class _Tmux:
    """A terminal of its own server, so that nobody's sessions are near."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._socket = f"harvester-screens-{os.getpid()}-{id(self)}"

    def __enter__(self) -> Self:
        size = ["-x", str(COLUMNS), "-y", str(_ROWS)]
        self._tmux("-f", os.devnull, "new-session", "-d", *size, "bash --norc --noprofile")
        key, secret = PAGE_KEYS
        names = {
            "HARVESTER_API_KEY": key,
            "HARVESTER_API_SECRET": secret,
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PS1": "$ ",
        }
        set_ = " ".join(f"{name}={shlex.quote(value)}" for name, value in names.items())
        self.type(f"export {set_}; unset CI NO_COLOR; cd {shlex.quote(str(self._home))}")
        self.type(f'harvester() {{ {shlex.quote(sys.executable)} -m harvester "$@"; }}; clear')
        self.wait_idle()
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        self._tmux("send-keys", line, "Enter")

    def text(self) -> str:
        """What is on the screen, with its colours; without the lines below that are empty."""
        return self._tmux("capture-pane", "-e", "-p").rstrip("\n")

    def wait(self, is_seen: Callable[[str], bool]) -> str:
        """The screen once `is_seen` says so of it.  Raises BenchError after a long while."""
        ends = time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends:
            time.sleep(0.3)
            if is_seen(shown := self.text()):
                return shown
        raise BenchError(f"the terminal never showed what was waited for, but:\n{self.text()}")

    def wait_idle(self) -> str:
        """The screen once the shell asks for the next command."""
        return self.wait(lambda shown: _plain(shown).splitlines()[-1:] == ["$"])

    def begin(self, command: str) -> None:
        """Type a command on an empty screen."""
        self.type("clear")
        self.wait(lambda shown: _plain(shown) == "$")
        self.type(command)
        self.wait(lambda shown: "\n" in shown)

    def show(self, name: str, command: str) -> Screen:
        """Type a command on an empty screen, and what is there when it is through."""
        self.begin(command)
        # The last line is the next prompt.
        shown = self.wait_idle().rpartition("\n")[0]
        return Screen(name, command.split(" -c", maxsplit=1)[0], shown.rstrip("\n"))

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"tmux {words[0]}: {done.stderr.strip()}")
        return done.stdout
