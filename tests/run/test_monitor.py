"""Who else is told of a run: the metrics file, and pings at its start and end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harvester.cli.logs.ping import Pinger
from harvester.config import load
from harvester.errors import ConfigError
from harvester.simulator import make_ids
from harvester.state.lock import OutputLock
from tests.run.test_cli_commands import KEYS, harvester
from tests.security import commands
from tests.security.commands import QUICK
from tests.security.hostile import Ask, HostileVendor
from tests.support import forked
from tests.support.simulated import END, ROOT, Simulator
from tests.unit.test_pipeline_prometheus import read

IDS = list(make_ids(120, 4, end=END))


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, drift=False, fates="dead_param=0.1", faults="busy=0.1") as up:
        yield up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    return tmp_path


def pong(ask: Ask) -> None:
    ask.answer(b"OK")


def words(vendor: Simulator, *more: object) -> tuple[object, ...]:
    own = ("run", "ids.txt", "--out", "out", "--base-url", vendor.base_url, "--json")
    return (*own, "--metrics-file", "x.prom", "--rate", 1000, *more)


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_metrics_while_a_run_works_and_at_its_end_agree_with_its_summary(
    vendor: Simulator, folder: Path
) -> None:
    command = [sys.executable, "-m", "harvester", *map(str, words(vendor, "--rate", 150))]
    env = {**os.environ, **KEYS, **QUICK, "PYTHONPATH": str(ROOT)}
    seen: set[float] = set()
    with forked.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            if (folder / "x.prom").exists():
                seen.add(read((folder / "x.prom").read_text())[("run_active", ())])
            time.sleep(0.02)
        out, err = process.communicate()
    assert process.returncode == 3, err
    told = json.loads(out.splitlines()[-1])
    found = read((folder / "x.prom").read_text())
    assert 1 in seen
    assert found[("run_active", ())] == 0
    assert found[("run_exit_code", ())] == 3
    assert found[("requests_total", ())] == told["requests"]
    assert found[("received_bytes_total", ())] > 100 * told["data"]["rows"]
    assert {name: n for (key, ((_, name), *_)), n in _labelled(found) if key == "ids_total"} == {
        name: told["run"][name] for name in ("delivered", "open", "dead", "deferred", "cut_off")
    }
    causes = {name: n for (key, ((_, name), *_)), n in _labelled(found) if key == "retries_total"}
    assert causes == told["retries"]
    assert found[("journal_records", ())] == 0
    assert found[("published_records_total", ())] == told["data"]["rows"]
    dead = told["run"]["dead"]
    assert (told["code"], told["message"], told["newly_dead"]) == ("found.dead", "", dead)
    assert found[("output_ids", (("state", "dead"),))] == dead > 0
    assert found[("output_ids", (("state", "delivered"),))] == told["data"]["rows"]
    text = (folder / "x.prom").read_text()
    assert not [hidden for hidden in (*IDS, *KEYS.values()) if hidden in text]


def _labelled(found: dict[Any, float]) -> list[tuple[Any, float]]:
    return [(key, value) for key, value in found.items() if key[1]]


def test_pings_at_start_and_end_carry_nothing_but_the_exit_code(
    vendor: Simulator, folder: Path
) -> None:
    with HostileVendor(pong) as pinged:
        env = {**KEYS, **QUICK, "HARVESTER_MONITOR__PING_URL": pinged.base_url}
        assert harvester(*words(vendor), cwd=folder, env=env).returncode == 3
        wrong = {**env, "HARVESTER_API_SECRET": "wrong"}
        (folder / "ids.txt").write_text("\n".join(make_ids(5, 9, end=END)))
        assert harvester(*words(vendor), cwd=folder, env=wrong).returncode == 4
        assert harvester("run", "gone.txt", "--out", "out", cwd=folder, env=env).returncode == 2
        paths = [ask.path for ask in pinged.asks]
        headers = {name for ask in pinged.asks for name in ask.headers}
    assert paths == ["/voice/start", "/voice", "/voice/start", "/voice/4", "/voice/2"]
    assert headers == {"host", "accept-encoding", "user-agent"}
    assert read((folder / "x.prom").read_text())[("run_exit_code", ())] == 4


def test_a_bug_before_there_is_a_run_is_pinged_as_well(vendor: Simulator, folder: Path) -> None:
    (folder / "bug.py").write_text(
        """import sys
import harvester.client.connect as connect
from harvester.cli.main import main

def breaks(*given):
    raise KeyError("nobody foresaw it")

connect.way_to = breaks
sys.exit(main())
"""
    )
    with HostileVendor(pong) as pinged:
        env = {**QUICK, "HARVESTER_MONITOR__PING_URL": pinged.base_url}
        given = tuple(map(str, words(vendor)))
        done = commands.harvester(*given, cwd=folder, env=env, program=["bug.py"])
        paths = [ask.path for ask in pinged.asks]
    assert done.returncode == 1
    assert "this is a bug" in done.stderr
    assert paths == ["/voice/1"]


def test_a_second_run_leaves_the_file_alone_and_pings_nobody(
    vendor: Simulator, folder: Path
) -> None:
    state = folder / "out" / "state"
    state.mkdir(parents=True)
    (folder / "x.prom").write_text("as it was\n")
    with HostileVendor(pong) as pinged, OutputLock(state / "lock"):
        env = {**KEYS, **QUICK, "HARVESTER_MONITOR__PING_URL": pinged.base_url}
        assert harvester(*words(vendor), cwd=folder, env=env).returncode == 7
        assert pinged.asks == []
    assert (folder / "x.prom").read_text() == "as it was\n"


@pytest.mark.parametrize("way", ["silent", "refused", "error", "elsewhere"])
def test_a_ping_that_goes_wrong_is_told_and_costs_seconds_at_most(way: str) -> None:
    warned: list[str] = []
    is_over = threading.Event()

    def behave(ask: Ask) -> None:
        if way == "silent":
            is_over.wait()
        if way == "elsewhere":
            ask.answer(b"", f"Location: {target.base_url}", status="302 Found")
        ask.answer(b"no", status="500 No")

    with HostileVendor(pong) as target, HostileVendor(behave) as pinged:
        url = "http://127.0.0.1:9/x" if way == "refused" else pinged.base_url
        pinger = Pinger(url, warned.append, wait_s=0.3)
        pinger.start()
        pinger.end(5)  # the silent one answers only when this is over
        is_over.set()
        assert target.connections == 0
    assert warned
    assert not any(url in text for text in warned)


def test_a_ping_that_ends_after_the_run_is_told_to_nobody() -> None:
    """The log that it would be told to is closed by then."""
    warned: list[str] = []
    is_over = threading.Event()

    def behave(ask: Ask) -> None:
        is_over.wait()
        ask.answer(b"no", status="500 No")

    before = set(threading.enumerate())
    with HostileVendor(behave) as pinged:
        pinger = Pinger(pinged.base_url, warned.append, wait_s=0.2)
        pinger.start()
        pinger.end(5)
        told = list(warned)
        is_over.set()
        for thread in set(threading.enumerate()) - before:
            if "_ping" in thread.name:  # as Python names a thread by what it does
                thread.join()
    assert warned == told
    assert told, "that no answer came: either wait may be over first"


def test_a_run_goes_on_without_its_metrics_and_its_ping(vendor: Simulator, folder: Path) -> None:
    env = {**KEYS, **QUICK, "HARVESTER_MONITOR__PING_URL": "http://127.0.0.1:9/secret-path"}
    more = ("--metrics-file", "missing/x.prom")
    done = harvester(*words(vendor), *more, cwd=folder, env=env)
    assert done.returncode == 3
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events.count("metrics_failed") == 1
    assert events.count("ping_failed") == 2
    assert "secret-path" not in done.stderr


@pytest.mark.parametrize(
    "url",
    ["http://example.com/x", "ftp://x/y", "https://u:p@x/y", "https://x/y?z=1", "x", "https://"],
)
def test_a_ping_url_that_is_not_safe_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigError, match="ping_url") as refused:
        load(flags={"monitor.ping_url": url})
    assert url in ("x", "https://") or url not in str(refused.value)


@pytest.mark.parametrize("url", ["https://hc-ping.com/uuid", "http://127.0.0.1:8000/ping/x"])
def test_a_ping_url_that_is_safe_is_taken(url: str) -> None:
    assert load(flags={"monitor.ping_url": url}).config.monitor.ping_url == url


@pytest.mark.parametrize("file", ["out/cdr/x.prom", "out/state/state.db", "out/../out/runs/x", "."])
def test_a_metrics_file_among_the_outputs_own_files_is_refused(file: str) -> None:
    with pytest.raises(ConfigError, match="metrics_file"):
        load(flags={"monitor.metrics_file": file, "output.dir": "out"})


def test_a_metrics_file_beside_the_data_is_taken() -> None:
    flags = {"monitor.metrics_file": "out/x.prom", "output.dir": "out"}
    assert load(flags=flags).config.monitor.metrics_file == "out/x.prom"
