"""Several processes, one limit: real ones, that are killed, stopped and started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.pipeline.limits.limit_file import read_sharing
from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.harvesting import Harvest, read_trace, worst_second
from tests.support.outputs import wait_for_requests
from tests.support.simulated import ALL_RECORDS, END, ROOT, Simulator

IDS = list(make_ids(3_000, 21, end=END))


@contextmanager
def party(folder: Path, rate: int, name: str, priority: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes all the turns it can get."""
    words = [folder / "limit", rate, priority, folder / name]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.support.limit_party", *map(str, words)],
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def traces(folder: Path, names: str = "*.trace") -> list[float]:
    """The times of these traces; the last line of a process that was killed may be half."""
    return [
        float(line)
        for path in folder.glob(names)
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def test_the_promise_is_kept_by_all_together_whoever_is_killed_or_stopped(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    keep_the_promise_together(tmp_path, 2_000, rounds=2, seed=seed)


def keep_the_promise_together(tmp_path: Path, rate: int, *, rounds: int, seed: int) -> None:
    """Processes of both priorities: some are stopped and go on, some are killed, each round."""
    dice = random.Random(seed)
    with (
        party(tmp_path, rate, "a.trace", "normal") as first,
        party(tmp_path, rate, "b.trace", "normal") as stopped,
        party(tmp_path, rate, "c.trace", "low"),
    ):
        while len(traces(tmp_path)) < rate / 10:
            time.sleep(0.01)
        for number in range(rounds):
            time.sleep(dice.uniform(0.1, 0.5))
            stopped.send_signal(signal.SIGSTOP)
            with party(tmp_path, rate, f"d{number}.trace", dice.choice(["normal", "low"])) as late:
                time.sleep(dice.uniform(0.1, 0.5))
                late.kill()
            stopped.send_signal(signal.SIGCONT)
        first.kill()
        time.sleep(0.5)
        ended = time.monotonic()
    times = sorted(traces(tmp_path))
    assert worst_second(times) <= rate
    lasted_s = ended - times[0]
    assert sum(at < ended for at in times) >= 0.8 * rate * (lasted_s - 1)


def test_nightly_and_backfill_side_by_side(tmp_path: Path) -> None:
    """Two outputs, one key: a nightly run that is killed and run again beside two backfills."""
    limit = tmp_path / "limit"
    rate = 200
    ids = 400
    files = []
    # The backfills have more, or on a busy machine they are done before the nightly run begins.
    for number, part in enumerate((IDS[:ids], IDS[ids:1_700], IDS[1_700:])):
        files.append(tmp_path / f"ids-{number}.txt")
        files[-1].write_text("\n".join(part))
    with Simulator(rate_limit=rate, fates=ALL_RECORDS) as vendor:

        def output(name: str, priority: str) -> Harvest:
            return Harvest(
                tmp_path / name,
                vendor.base_url,
                pace__rate_per_s=float(rate),
                pace__limit_file=str(limit),
                pace__priority=priority,
            )

        nightly, one, two = output("n", "normal"), output("b1", "low"), output("b2", "low")
        backfills = [
            one.start(files[1], trace=str(tmp_path / "b1.trace")),
            two.start(files[2], trace=str(tmp_path / "b2.trace")),
        ]
        wait_for_requests(vendor, 100)
        killed = nightly.start(files[0], trace=str(tmp_path / "n1.trace"))
        while len(traces(tmp_path, "n1.trace")) < 100:
            time.sleep(0.01)
        seen = read_sharing(limit)
        killed.kill()
        nightly.ended(killed)
        again = nightly.run(files[0], trace=str(tmp_path / "n2.trace"))
        assert again.code == 0, again.err
        for harvest, process in zip((one, two), backfills, strict=True):
            ended = harvest.ended(process)
            assert ended.code == 0, ended.err
        stats = vendor.stats()
    assert seen is not None
    assert [party.priority for party in seen.parties].count("low") == 2
    assert {party.pid for party in seen.parties} == {killed.pid, *(one.pid for one in backfills)}
    times = traces(tmp_path)
    assert worst_second(times) <= rate
    # When they come to be read is the vendor's machine's business (`python -m bench limit`); but no
    # more come than had a turn, and no fewer, but for what the kill cut off.
    assert 0 <= len(times) - stats["requests"] <= 64
    assert nightly.ids() == sorted(IDS[:ids])
    assert sorted(one.ids() + two.ids()) == sorted(IDS[ids:])
    # It uses nearly all that there is; without priority it would have a third.
    for name in ("n1.trace", "n2.trace"):
        its = read_trace(tmp_path / name)[:-1]
        others = [at for at in traces(tmp_path, "b*.trace") if its[0] + 0.1 < at < its[-1] - 0.1]
        assert len(others) <= 0.5 * len(its)


def test_another_rate_ends_with_2_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS[:2_000]))
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        slow = Harvest(
            tmp_path / "b",
            vendor.base_url,
            pace__rate_per_s=100.0,
            pace__limit_file=str(tmp_path / "limit"),
        )
        process = slow.start(tmp_path / "ids.txt")
        wait_for_requests(vendor, 1)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        before = vendor.stats()["requests"]
        refused = Harvest(
            tmp_path / "n",
            vendor.base_url,
            pace__rate_per_s=50.0,
            pace__limit_file=str(tmp_path / "limit"),
        ).run(tmp_path / "ids.txt")
        assert vendor.stats()["requests"] == before
        process.kill()
        slow.ended(process)
    assert refused.code == 2
    assert "100 requests a second" in refused.err
    assert "pace.rate_per_s is 50" in refused.err
    assert f"process {process.pid} with {tmp_path / 'b'}" in refused.err


def test_a_limit_file_that_is_taken_away_ends_the_run_with_6_and_loses_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS[:600]))
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(
            tmp_path / "out",
            vendor.base_url,
            pace__rate_per_s=120.0,
            pace__limit_file=str(tmp_path / "limit"),
        )
        process = harvest.start(tmp_path / "ids.txt")
        wait_for_requests(vendor, 20)
        (tmp_path / "limit").unlink()
        ended = harvest.ended(process)
        assert ended.code == 6, ended.err
        assert "moved or replaced" in ended.err
        done = harvest.run(tmp_path / "ids.txt")
        assert done.code == 0, done.err
    assert harvest.ids() == sorted(IDS[:600])


def test_status_and_doctor_tell_who_shares_it(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS[:5]))
    limit = tmp_path / "limit"
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        environment = {
            **KEYS,
            "HARVESTER_PACE__LIMIT_FILE": str(limit),
            "HARVESTER_PACE__PER_DAY": "1000",
            "HARVESTER_VENDOR__BASE_URL": vendor.base_url,
        }
        done = harvester("run", "ids.txt", "--out", "out", cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        with party_of(environment) as pid:
            status = harvester("status", "--out", "out", cwd=tmp_path, env=environment)
            told = harvester("status", "--out", "out", "--json", cwd=tmp_path, env=environment)
            doctor = harvester(
                "doctor", "ids.txt", "--out", "out", "--json", cwd=tmp_path, env=environment
            )
    assert f"Limit 50 requests/s in {limit}: shared by" in status.stdout
    assert f"process {pid}, low, no turn yet: " in status.stdout
    [one] = json.loads(told.stdout)["limit"]["parties"]
    assert (one["pid"], one["priority"], one["idle_s"]) == (pid, "low", None)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    [check] = [
        line for line in map(json.loads, doctor.stdout.splitlines()) if line.get("name") == "limit"
    ]
    assert check["state"] == "ok"
    assert f"process {pid} with" in check["said"]
    assert "another machine with this key needs a part of the rate" in check["said"]
    assert "pace.per_day = 1,000 is counted for this output alone" in check["said"]


def test_the_request_of_doctor_waits_for_nobody_and_a_bad_file_hides_no_status(
    tmp_path: Path,
) -> None:
    (tmp_path / "ids.txt").write_text(IDS[0])
    limit = tmp_path / "limit"
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        environment = {
            **KEYS,
            "HARVESTER_PACE__LIMIT_FILE": str(limit),
            "HARVESTER_PACE__PRIORITY": "low",
            "HARVESTER_VENDOR__BASE_URL": vendor.base_url,
            "HARVESTER_OUTPUT__DIR": "out",
        }
        with party_of(environment, _TAKE_ALL, "normal"):
            doctor = harvester("doctor", "ids.txt", cwd=tmp_path, env=environment)
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        done = harvester("run", "ids.txt", cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        limit.write_bytes(limit.read_bytes()[:200])
        status = harvester("status", cwd=tmp_path, env=environment)
        told = harvester("status", "--json", cwd=tmp_path, env=environment)
        refused = harvester("run", "ids.txt", cwd=tmp_path, env=environment)
        sent = vendor.stats()["requests"]
    assert status.returncode == 0, status.stderr
    assert "Limit: the limit file" in status.stdout
    assert "is damaged" in json.loads(told.stdout)["limit"]["trouble"]
    assert refused.returncode == 6
    assert "is damaged" in refused.stderr
    assert sent == 2, "one of doctor, one of the first run"


_HOLD = """
import os, sys
from pathlib import Path
from harvester.config import load, load_secrets
from harvester.pipeline.limits.limit_file import sharing

config = load(environ=os.environ).config
with sharing(config.vendor, config.pace, load_secrets(os.environ), Path("elsewhere")):
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""

_TAKE_ALL = """
import os, time
from pathlib import Path
from harvester.config import load, load_secrets
from harvester.pipeline.limits.limit_file import sharing

config = load(environ=os.environ).config
with sharing(config.vendor, config.pace, load_secrets(os.environ), Path("elsewhere")) as limit:
    print(os.getpid(), flush=True)
    while True:
        time.sleep(limit.take(more=True) / 1e9)
"""


@contextmanager
def party_of(
    environment: dict[str, str], code: str = _HOLD, priority: str = "low"
) -> Iterator[int]:
    """A process that shares the limit; usually one of low priority that takes no turn."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment, "HARVESTER_PACE__PRIORITY": priority},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()
