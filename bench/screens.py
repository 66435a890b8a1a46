"""Pictures of a report and an audit: on a wide screen, on a phone, light and dark, in a terminal.

They are taken in headless Chromium of made-up calls (bench/calls.py), so that anybody can take them
again; where there is no Chromium, that is said aloud and nothing else happens.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from bench.calls import LAST_DAY, write_calls
from bench.places import ROOT, BenchError, work
from bench.terminal import Screen, night
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.run_records import begin_run, end_run
from harvester.state.values import Batch, DeadLetter, OpenCall
from harvester.storage.output import Output, make_folders

SCREENS = ROOT / "docs" / "screens"
CALLS = 60_000
BILLED = 20_000
MOST_BYTES = 300_000
_TERMINAL_WIDTH = 1240
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_RUN_ID = "20261122T011000Z-5eed00"
_DEAD = {"parameter_exception": 41, "out_of_time_range": 17, "no_record": 9, "gave_up": 2}
_OPEN = 38

# The window of a headless browser has a least width: the phone is a frame within it.
_PHONE = """<!doctype html><meta charset="utf-8"><style>
body{{margin:0;display:grid;place-items:center;height:100vh;background:#8a949e}}
iframe{{width:390px;height:1560px;border:0;border-radius:24px}}</style>
<iframe src="{page}"></iframe>"""
_TERMINAL = """<!doctype html><meta charset="utf-8"><style>body{{margin:0}}
svg{{display:block;width:100vw;height:auto}}</style>{svg}"""


def screens() -> None:
    """Take every picture into docs/screens/."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        print("SKIPPED: there is no Chromium here (apt-get install chromium), so no picture.")
        return
    home = work() / "screens"
    write_calls(home / "data", CALLS)
    _fill_ledger(Output(home / "data"))
    write_calls(home / "billed", BILLED, odd=True)
    shown = _made(home, "report", "data")
    _made(home, "audit", "billed")
    (home / "phone.html").write_text(_PHONE.format(page="report.html"))
    (home / "audit-phone.html").write_text(_PHONE.format(page="audit.html"))
    (home / "terminal.html").write_text(_TERMINAL.format(svg=_terminal(shown)))
    SCREENS.mkdir(parents=True, exist_ok=True)
    for screen in night(home / "night"):
        _take_terminal(browser, home, screen)
    for name, page, size, dark in (
        ("report-light", "report", (1100, 1900), False),
        ("report-dark", "report", (1100, 1900), True),
        ("report-phone-light", "phone", (500, 1600), False),
        ("report-phone-dark", "phone", (500, 1600), True),
        ("report-terminal", "terminal", (1200, 830), True),
        ("audit-light", "audit", (1100, 1500), False),
        ("audit-phone-light", "audit-phone", (500, 1600), False),
    ):
        _take(browser, home / f"{page}.html", SCREENS / f"{name}.png", size, dark=dark)


def _take_terminal(browser: str, home: Path, screen: Screen) -> None:
    svg = screen.svg()
    page = home / f"{screen.name}.html"
    page.write_text(_TERMINAL.format(svg=svg))
    _take(browser, page, SCREENS / f"{screen.name}.png", _size_of(svg), dark=True)


def _size_of(svg: str) -> tuple[int, int]:
    """The window that holds a picture as it was drawn."""
    found = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg)
    assert found is not None
    width, height = map(float, found.groups())
    return _TERMINAL_WIDTH, round(_TERMINAL_WIDTH * height / width)


def _fill_ledger(output: Output) -> None:
    """What a night leaves beside its data: open calls, dead letters, the books of a run."""
    make_folders(output, 0o750)
    began = int(LAST_DAY.strftime("%s")) * 1000
    letters = [
        DeadLetter(f"dead-{reason}-{n}", reason, "", 1, began, began, _RUN_ID)
        for reason, number in _DEAD.items()
        for n in range(number)
    ]
    calls = [OpenCall(f"open-{n}", began, began, 1, _RUN_ID, b"{}", began) for n in range(_OPEN)]
    figures = {"delivered": CALLS, "open": _OPEN, "dead": len(letters), "deferred": 0}
    with closing(open_database(output.database, "default")) as db:
        begin_run(db, _RUN_ID, began)
        batch = Batch(open_calls=calls, dead_letters=letters)
        acknowledge(db, _RUN_ID, batch, work_list=None, counters=figures, requests_of_day=("", 0))
        end_run(db, _RUN_ID, began + 1_260_000, 3, figures)
    folder = output.run(_RUN_ID)
    folder.mkdir()
    summary = {
        "run_id": _RUN_ID,
        "account": "default",
        "started_at": f"{LAST_DAY}T01:10:00Z",
        "ended_at": f"{LAST_DAY}T01:31:00Z",
        "exit_code": 3,
        "requests": CALLS + 1_722,
        "run": {"attempted": sum(figures.values()), **figures, "cut_off": 0, "opens_published": 0},
        "data": {"rows": CALLS, "cost": {"EUR": "37.211146", "USD": "864.810072"}},
        "differences": [],
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def _made(home: Path, command: str, data: str) -> str:
    """Write the page of `report` or `audit`; what the command says on the screen."""
    words = [sys.executable, "-m", "harvester", command, "--out", data, "--html", f"{command}.html"]
    done = subprocess.run(
        words, cwd=home, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(done.stderr)
    return done.stdout


def _terminal(shown: str) -> str:
    """The screen as a terminal of 140 columns draws it, in SVG."""
    console = Console(record=True, width=140, file=io.StringIO(), force_terminal=True)
    for line in ["$ harvester report --out data", *shown.splitlines()[:46]]:
        heading = bool(line) and not line.startswith((" ", "$"))
        console.print(Text(line, style="bold" if heading else ""))
    return console.export_svg(title="harvester report", theme=MONOKAI)


def _take(browser: str, page: Path, target: Path, size: tuple[int, int], *, dark: bool) -> None:
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",  # the page is ours, and has no script
        "--disable-gpu",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--window-size={size[0]},{size[1]}",
        f"--screenshot={target}",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode or not target.is_file():
        raise BenchError(f"{browser} took no picture of {page}: {done.stderr[-500:]}")
    taken = target.stat().st_size
    if taken > MOST_BYTES:
        raise BenchError(f"{target} has {taken} bytes, too many for a page of the docs.")
    print(f"{target.relative_to(ROOT)}: {taken // 1000} KB")
