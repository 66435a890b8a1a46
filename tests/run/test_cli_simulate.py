"""`harvester simulate`: what it says at its end, money on demand, and the ids it writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harvester.simulator import twin_of
from harvester.simulator.billing import Bill, Billing
from harvester.simulator.ids import time_in_id
from harvester.simulator.options import PAGE_KEYS
from harvester.simulator.signature import sign
from tests.run.test_cli_commands import harvester
from tests.support.simulated import ROOT

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
NOW = datetime(2026, 11, 25, 22, tzinfo=UTC)


class Vendor:
    """`harvester simulate` as a process."""

    def __init__(self, process: subprocess.Popen[str], *, as_json: bool) -> None:
        self._process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        if as_json:
            self.base_url: str = json.loads(line)["base_url"]
        else:
            self.base_url = line.removeprefix("listening on ").strip()

    def ask(self, voice_id: str) -> dict[str, object]:
        """The answer to a signed request at NOW."""
        timestamp = str(int(NOW.timestamp()))
        key, secret = PAGE_KEYS
        headers = {"Api-Key": key, "Timestamp": timestamp, "Sign": sign(key, secret, timestamp)}
        address = f"{self.base_url}/recordGroup/{voice_id}"
        with _DIRECT.open(urllib.request.Request(address, headers=headers)) as response:
            answer: dict[str, object] = json.loads(response.read())
        return answer

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Exit code, what was still written to stdout, and all of stderr."""
        self._process.send_signal(number)
        out, err = self._process.communicate(timeout=30)
        return self._process.returncode, out, err


@contextmanager
def vendor(*words: str) -> Iterator[Vendor]:
    command = [sys.executable, "-m", "harvester", "simulate", "--port", "0", "--now"]
    process = subprocess.Popen(
        [*command, NOW.isoformat(), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Vendor(process, as_json="--json" in words)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_its_last_word_is_whether_the_limit_was_kept(number: signal.Signals) -> None:
    with vendor("--rate-limit", "1") as up:
        for _ in range(3):
            up.ask("abc-1")
        code, _, err = up.end(number)
    assert code == 0
    # How fast three requests come is the machine's business; that they are counted is ours.
    told = err.splitlines()[-1]
    assert told.startswith("3 requests, ")
    assert "over the limit of 1; at most " in told
    assert told.endswith(" in any second.")


def test_its_last_word_as_json() -> None:
    with vendor("--rate-limit", "0", "--json") as up:
        up.ask("abc-1")
        code, out, _ = up.end(signal.SIGTERM)
    assert code == 0
    assert json.loads(out) == {
        "type": "ended",
        "requests": 1,
        "rate_limit": None,
        "over_limit": 0,
        "worst_window": 1,
    }


def test_a_rate_sheet_of_a_file_is_what_calls_cost(tmp_path: Path) -> None:
    lines = [f"{digit},2026-01-01,0.5,1,USD" for digit in range(1, 10)]
    sheet = tmp_path / "rates.csv"
    sheet.write_text("\n".join(["prefix,from,rate,increment,currency", *lines]))
    with vendor("--rates", str(sheet), "--drift", "none") as up:
        data = up.ask("2611240000000000001")["data"]
    assert isinstance(data, dict)
    assert (data["rate"], data["billPeriod"]) == ("0.5", "1+1")


def test_a_bare_drift_is_the_plain_one() -> None:
    with vendor("--drift") as up:
        assert up.ask("2611240000000000001")["data"]


def test_records_older_than_two_months_are_forgotten() -> None:
    with vendor("--no-drift") as up:
        told = {
            voice_id: up.ask(voice_id)
            for voice_id in ("2611240000000000001", "2609010000000000001")
        }
    young, old = told.values()
    assert young["data"]
    assert not old["data"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rates", "none.csv"), "none.csv can't be read: No such file or directory"),
        (("--rates", "odd.csv"), "odd.csv: the columns of a rate sheet are destination, from"),
        (("--rates", "bytes.csv"), "bytes.csv can't be read: it is no UTF-8"),
        (("--billing", "early=2"), "billing: 'early=2' needs a share"),
    ],
)
def test_what_makes_no_sense_exits_2(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "odd.csv").write_text("country,price\n")
    (tmp_path / "bytes.csv").write_bytes(b"destination,\xff")
    done = harvester("simulate", *words, "--ids", 1, "ids.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_ids_are_written_with_their_doubles(tmp_path: Path) -> None:
    words = ("--now", NOW.isoformat(), "--ids", 500, "ids.txt")
    harvester("simulate", *words, cwd=tmp_path)
    plain = (tmp_path / "ids.txt").read_text().split()
    done = harvester("simulate", *words, "--billing", "double=0.2", "--json", cwd=tmp_path)
    bill = Bill(Billing(double=0.2))
    expected = [[one, twin_of(1, one, None, bill)] for one in plain]
    written = [one for pair in expected for one in pair if one is not None]
    assert len(written) > 530
    assert (tmp_path / "ids.txt").read_text().split() == written
    assert json.loads(done.stdout)["count"] == len(written)


@pytest.mark.parametrize(("skew_s", "last"), [(0, 25), (-86_400, 24)])
def test_ids_are_never_of_the_future_of_its_clock(tmp_path: Path, skew_s: int, last: int) -> None:
    """NOW is 06:00 of the 26th at +08:00."""
    words = ("--now", NOW.isoformat(), "--clock-skew", skew_s, "--days", 2)
    harvester("simulate", *words, "--ids", 200, "ids.txt", cwd=tmp_path)
    told = [time_in_id(one) for one in (tmp_path / "ids.txt").read_text().split()]
    assert {moment.day for moment in told if moment is not None} == {last - 1, last}
