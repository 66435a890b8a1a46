"""The log's vocabulary: the code, a run and docs/events.md say the same."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harvester.cli.logs.logs import Logs
from harvester.cli.logs.run_events import RunEvents, progress_fields
from harvester.config import Log
from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS, harvester
from tests.security import commands
from tests.security.commands import QUICK
from tests.security.leaks import KEY, SECRET
from tests.support.discovering import day
from tests.support.simulated import END, ROOT, Simulator
from tests.unit.test_pipeline_prometheus import NOW

PAGE = (ROOT / "docs" / "events.md").read_text()
_ROW = r"(?m)^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| "
STANDING = {"timestamp", "level", "event", "run_id"}


def names(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


DOCUMENTED = {
    name: (level.strip(), names(fields)) for name, level, fields in re.findall(_ROW, PAGE)
}


def calls() -> Iterator[tuple[str, str, set[str]]]:
    """(event, level, fields) of every place in the code that logs an event."""
    for path in (ROOT / "harvester").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="message"),
                    args=[level, ast.Constant(value=str(event))],
                    keywords=keywords,
                ):
                    yield event, level_of(level, tree), {one.arg for one in keywords if one.arg}
                case ast.Call(
                    func=ast.Attribute(attr="failure"), args=[ast.Constant(value=str(event)), _]
                ):
                    yield event, "error", {"exception"}
                case _:
                    pass


def level_of(level: ast.expr, tree: ast.AST) -> str:
    """A level as it is written, or both of those between which the lines above choose."""
    if isinstance(level, ast.Name):
        chosen = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == level.id
            and node.lineno < level.lineno
        ]
        level = max(chosen, key=lambda node: node.lineno).value
    match level:
        case ast.IfExp(body=ast.Constant(value=str(one)), orelse=ast.Constant(value=str(other))):
            return f"{one} or {other}"
        case _:
            return str(ast.literal_eval(level))


def test_every_event_of_the_code_is_documented_with_its_fields_and_no_other() -> None:
    found: dict[str, tuple[str, set[str]]] = {}
    for event, level, fields in calls():
        told = set(progress_fields(NOW)) if event == "progress" else fields
        assert found.setdefault(event, (level, told)) == (level, told), event
    found["library_message"] = ("any", {"logger", "message"})
    assert found == DOCUMENTED


def test_what_every_object_has_is_documented() -> None:
    assert set(re.findall(r"(?m)^\| `(\w+)` \| [^|]+ \|$", PAGE)) - {"start"} >= STANDING


def test_types_on_stdout_are_documented() -> None:
    sources = [(ROOT / "harvester" / "cli" / f"{one}.py").read_text() for one in _SPEAKERS]
    types = {name for source in sources for name in re.findall(r'"type": "(\w+)"', source)}
    assert types == set(re.findall(r"(?m)^\| `(\w+)` \|", PAGE.split("## On stdout")[1]))


_SPEAKERS = ("commands/run", "logs/run_events", "error_output")


def test_every_line_of_a_run_is_an_event_of_the_vocabulary_with_its_run(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join([*make_ids(40, 4, end=END), "no id"]))
    with Simulator(rate_limit=0, faults="busy=0.1") as vendor:
        words = ("run", "ids.txt", "--out", "out", "--base-url", vendor.base_url, "--json")
        done = harvester(*words, cwd=tmp_path, env={**KEYS, **QUICK})
    run_id = json.loads(done.stdout.splitlines()[0])["run_id"]
    log = tmp_path / "out" / "runs" / run_id / "log.jsonl"
    lines = [*log.read_text().splitlines(), *done.stderr.splitlines()]
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert {"run_started", "input_listed", "bad_ids", "run_ended"} <= {e["event"] for e in told}
    for event in told:
        assert event["run_id"] == run_id
        assert set(event) - STANDING == DOCUMENTED[event["event"]][1] - {"run_id"}


def test_every_line_of_a_listing_is_an_event_of_the_vocabulary(tmp_path: Path) -> None:
    with Simulator(rate_limit=0, listed="calls=200,total=1,lies=3", drift=False) as vendor:
        words = ("discover", "--from", day(), "--to", day(), "--out", "out", "--compare", 20)
        flags = ("--base-url", vendor.base_url, "--rate", 500, "--json")
        done = harvester(*words, *flags, cwd=tmp_path, env=KEYS)
        plain = harvester(*words, *flags[:-1], cwd=tmp_path, env=KEYS)
    assert done.returncode == plain.returncode == 3, done.stderr
    *told, error = (json.loads(line) for line in done.stderr.splitlines())
    assert error["code"] == "listing.differs"
    assert [one["event"] for one in told] == [
        *("listing_started", "calls_compared", "windows_unsettled", "listing_ended"),
    ]
    for event in told:
        assert event["run_id"] == ""
        assert set(event) - STANDING == DOCUMENTED[event["event"]][1]
    assert told[-1]["exit_code"] == 3
    assert not plain.stderr, "the screen says it all"


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_librarys_line_and_a_bug_are_events_as_well(tmp_path: Path, said: list[str]) -> None:
    before = logging.getLogger().handlers[:]
    try:
        with Logs(Log(format="json"), say=said.append, secrets=("s3cret",)) as logs:
            logging.getLogger("asyncio").warning("slow callback with %s", "s3cret")
            events = RunEvents(logs, command="run")
            events.message(
                "info", "run_started", run_id="20261122T010000Z-abcdef", folder=str(tmp_path)
            )
            logs.failure("unexpected_error", ValueError("boom"))
            logging.getLogger("asyncio").warning("another")
    finally:
        logging.getLogger().handlers[:] = before
    told = [json.loads(line) for line in said]
    assert [one["event"] for one in told] == [
        *("library_message", "run_started", "unexpected_error", "library_message"),
    ]
    assert (told[0]["logger"], told[0]["message"]) == ("asyncio", "slow callback with [secret]")
    assert [one["run_id"] for one in told] == ["", *["20261122T010000Z-abcdef"] * 3]
    assert "ValueError: boom" in told[2]["exception"]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3


def test_an_outage_and_a_slower_pace_are_told_when_they_begin_and_when_they_end(
    said: list[str],
) -> None:
    before = logging.getLogger().handlers[:]
    calm = replace(NOW, pace_per_s=NOW.rate_per_s)
    try:
        with Logs(Log(format="json", level="info"), say=said.append) as logs:
            events = RunEvents(logs, command="run")
            for now in (calm, NOW, NOW, replace(calm, outage=True), replace(calm, outage=True)):
                events.progress(now)
            events.progress(calm)
    finally:
        logging.getLogger().handlers[:] = before
    told = [json.loads(line) for line in said]
    assert [one["event"] for one in told] == [
        *("pace_lowered", "outage_began", "pace_restored", "outage_over"),
    ]
    assert (told[0]["pace"], told[0]["limit"]) == (35.0, 50.0)
    for one in told:
        assert set(one) - STANDING == DOCUMENTED[one["event"]][1]


def test_people_are_not_told_the_run_with_every_line(said: list[str]) -> None:
    before = logging.getLogger().handlers[:]
    try:
        with Logs(Log(), say=said.append) as logs:
            logs.run_id = "20261122T010000Z-abcdef"
            logs.message("warning", "ping_failed", reason="HTTP 500")
            logging.getLogger("aiohttp").warning("odd")
    finally:
        logging.getLogger().handlers[:] = before
    assert said == [
        "warning: the ping failed (HTTP 500); the run goes on",
        "warning: aiohttp: odd",
    ]


@pytest.mark.parametrize(
    ("place", "is_of_a_run"),
    [
        ("harvester.client.connect:way_to", False),
        ("harvester.pipeline.run.run:list_input", True),
        ("harvester.pipeline.engine.fetcher:Fetcher.fetch", True),
        ("harvester.pipeline.publish.publisher:Publisher.publish", True),
    ],
    ids=["before there is a run", "before it fetches", "while it fetches", "while it publishes"],
)
def test_a_bug_of_a_run_is_named_on_the_screen_and_whole_in_its_log(
    tmp_path: Path, place: str, is_of_a_run: bool
) -> None:
    """Whoever mends it needs the traceback; where there is no log yet, it is on the screen."""
    module, name = place.split(":")
    (tmp_path / "ids.txt").write_text("\n".join(make_ids(100, 4, end=END)))
    (tmp_path / "bug.py").write_text(
        f"""import sys
import {module} as module
from harvester.cli.main import main

*owners, name = "{name}".split(".")
place = getattr(module, owners[0]) if owners else module
works = getattr(place, name)

def breaks(*given, **named):
    # Once: the books are made, and what was harvested is published, after it as well.
    setattr(place, name, works)
    raise KeyError("nobody foresaw it")

setattr(place, name, breaks)
sys.exit(main())
"""
    )
    with Simulator(rate_limit=0, latency_ms=50, key=KEY, secret=SECRET) as vendor:
        words = commands.run_words(vendor.base_url)
        # Slowly, and in small portions: the first one is published while others are asked for.
        done = commands.harvester(
            *(*words, "--concurrency", 2),
            cwd=tmp_path,
            env={"HARVESTER_OUTPUT__PUBLISH_RECORDS": "5"},
            program=["bug.py"],
        )
    assert done.returncode == 1
    assert "this is a bug: KeyError" in done.stderr
    told = [
        json.loads(line)
        for log in (tmp_path / "out").glob("runs/*/log.jsonl")
        for line in log.read_text().splitlines()
    ]
    bugs = [one["exception"] for one in told if one["event"] == "unexpected_error"]
    assert len(bugs) == is_of_a_run
    text = bugs[0] if is_of_a_run else done.stderr
    assert "bug.py" in text
    assert "KeyError: 'nobody foresaw it'" in text
