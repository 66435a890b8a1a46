"""`harvester doctor` against the simulator: what it finds, what it sends, what it leaves alone."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from harvester.cli.main import run_command
from harvester.pipeline.limits.daily_quota import day_of
from harvester.pipeline.limits.shares import LEASE_S
from harvester.simulator import make_ids
from harvester.state import between_runs, publications, run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.lock import OutputLock
from harvester.state.values import Batch, DeadLetter, Deferred, Entry, OpenCall
from tests.run.test_cli_commands import KEYS, harvester
from tests.security.hostile import Ask, HostileVendor, record
from tests.support import ways
from tests.support.fakes import ACCOUNT, House
from tests.support.outputs import fingerprint
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = list(make_ids(30, 4, end=END))
NAMES = ["config", "secrets", "output", "input", "disk", "files", "limit", "request", "clock"]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, drift=False, fates="dead_param=0") as up:
        yield up


class Patient:
    """Runs the doctor in a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def examined(self, base_url: str, *words: object) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit code, and the checks by name."""
        arguments = ["doctor", "ids.txt", "--out", "out", "--base-url", base_url, "--json"]
        code = run_command([*arguments, *map(str, words)])
        told = [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]
        assert told[-1]["type"] == "doctor"
        assert told[-1]["exit_code"] == code
        return code, {one["name"]: one for one in told if one["type"] == "check"}

    def screen(self, base_url: str) -> str:
        """What people see."""
        run_command(["doctor", "ids.txt", "--out", "out", "--base-url", base_url])
        return self._capsys.readouterr().out


@pytest.fixture
def patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Patient:
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    monkeypatch.chdir(tmp_path)
    for name, value in {**KEYS, "HARVESTER_VENDOR__TRANSPORT": ways.TRANSPORT}.items():
        monkeypatch.setenv(name, value)
    return Patient(tmp_path, capsys)


def test_all_in_order_sends_one_request_and_makes_nothing(
    vendor: Simulator, patient: Patient
) -> None:
    before = vendor.stats()["requests"]
    code, found = patient.examined(vendor.base_url)
    assert code == 0
    assert list(found) == NAMES
    assert {one["state"] for one in found.values()} <= {"ok", "warn"}
    assert found["request"]["state"] == found["clock"]["state"] == "ok"
    assert vendor.stats()["requests"] == before + 1
    assert vendor.log()[-1]["voice_id"] in IDS
    assert [path.name for path in patient.folder.iterdir()] == ["ids.txt"]


def test_an_output_stays_as_it_is_and_so_does_the_next_run(
    vendor: Simulator, patient: Patient
) -> None:
    words = ("run", "ids.txt", "--out", "out", "--rate", 500, "--base-url", vendor.base_url)
    budget = {**KEYS, "HARVESTER_PACE__PER_DAY": "5", "HARVESTER_PACE__CONCURRENCY": "1"}
    assert harvester(*words, cwd=patient.folder, env=budget).returncode == 8
    before, asks = fingerprint(patient.folder / "out"), vendor.asks()
    code, found = patient.examined(vendor.base_url)
    assert code == 0, found
    assert "25 ids to fetch" in found["input"]["said"]
    assert found["exchange"]["state"] == "ok", "tried, and nothing of it is left"
    assert fingerprint(patient.folder / "out") == before
    assert sum(vendor.asks().values()) == sum(asks.values()) + 1
    done = harvester(*words, "--json", cwd=patient.folder, env=KEYS)
    assert json.loads(done.stdout.splitlines()[-1])["run"]["attempted"] == 25


def test_a_used_up_day_holds_not_even_this_request(
    vendor: Simulator, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "ids.txt", "--out", "out", "--rate", 500, "--base-url", vendor.base_url)
    monkeypatch.setenv("HARVESTER_PACE__PER_DAY", "5")
    budget = {**KEYS, "HARVESTER_PACE__PER_DAY": "5"}
    assert harvester(*words, cwd=patient.folder, env=budget).returncode == 8
    before = vendor.stats()["requests"]
    code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == (8, "fail")
    assert found["request"]["code"] == "limit.per_day"
    assert vendor.stats()["requests"] == before


def test_while_a_run_works_nothing_is_sent_beside_it(vendor: Simulator, patient: Patient) -> None:
    state = patient.folder / "out" / "state"
    state.mkdir(parents=True)
    (state / "state.db").write_bytes(b"x")
    before = vendor.stats()["requests"]
    with OutputLock(state / "lock"):
        code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == (7, "skip")
    assert vendor.stats()["requests"] == before


def test_a_refused_secret_is_told_and_never_shown(
    vendor: Simulator, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_API_SECRET", "wr0ng-s3cret")
    code, found = patient.examined(vendor.base_url)
    assert code == 4
    assert "HARVESTER_API_SECRET" in found["request"]["said"]
    assert "wr0ng" not in json.dumps(found)


def test_without_a_secret_nothing_is_sent(
    vendor: Simulator, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARVESTER_API_SECRET")
    before = vendor.stats()["requests"]
    code, found = patient.examined(vendor.base_url)
    assert (code, found["secrets"]["state"], found["request"]["state"]) == (2, "fail", "skip")
    assert found["output"]["state"] == "ok"
    assert vendor.stats()["requests"] == before


def test_a_secret_file_that_everybody_can_read_is_a_warning(
    vendor: Simulator, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = patient.folder / "secret"
    file.write_text(KEYS["HARVESTER_API_SECRET"])
    monkeypatch.delenv("HARVESTER_API_SECRET")
    monkeypatch.setenv("HARVESTER_API_SECRET_FILE", str(file))
    # A group may be let in on purpose: that of whoever runs it.
    for mode, state in ((0o644, "warn"), (0o604, "warn"), (0o640, "ok"), (0o600, "ok")):
        file.chmod(mode)
        code, found = patient.examined(vendor.base_url)
        assert (code, found["secrets"]["state"]) == (0, state)


def test_a_clock_that_is_off_is_a_warning(patient: Patient) -> None:
    with Simulator(rate_limit=0, clock_skew_s=300) as vendor:
        code, found = patient.examined(vendor.base_url)
        assert vendor.stats()["requests"] == 2, "the second is signed with the vendor's time"
    assert code == 0
    assert (found["request"]["state"], found["clock"]["state"]) == ("ok", "warn")
    assert "s behind the vendor's" in found["clock"]["said"]


def test_a_wrong_secret_is_found_behind_a_clock_that_is_off(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_API_SECRET", "wr0ng-s3cret")
    with Simulator(rate_limit=0, clock_skew_s=300) as vendor:
        code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == (4, "fail")


def test_a_vendor_that_hangs_up_is_asked_once_and_no_more(patient: Patient) -> None:
    def hang_up(ask: Ask) -> None:
        ask.connection.close()

    with HostileVendor(hang_up) as vendor:
        code, found = patient.examined(vendor.base_url)
        assert len(vendor.asks) == 1
    assert (code, found["request"]["state"], found["clock"]["state"]) == (5, "fail", "skip")


def test_nobody_there_is_5_and_an_unwritable_output_6(patient: Patient) -> None:
    code, _ = patient.examined("http://127.0.0.1:9/voice")
    assert code == 5
    (patient.folder / "out").write_text("a file")
    code, found = patient.examined("http://127.0.0.1:9/voice")
    assert (code, found["output"]["state"], found["disk"]["state"]) == (6, "fail", "skip")


def test_a_proxy_of_the_environment_that_is_not_used_is_named(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://someone:hunter2@127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    code, found = patient.examined("http://127.0.0.1:1/voice")
    assert code == 5
    assert "HTTP_PROXY is set" in found["request"]["said"]
    assert "vendor.proxy" in found["request"]["said"]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Content-Encoding: zstd\r\nContent-Length: 4\r\n\r\n\x28\xb5\x2f\xfd", "zstd"),
        (b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "length twice"),
    ],
)
def test_an_answer_that_cannot_be_read_is_said_why(
    patient: Patient, head: bytes, words: str
) -> None:
    def odd(ask: Ask) -> None:
        ask.send(b"HTTP/1.1 200 OK\r\n" + head)

    with HostileVendor(odd) as vendor:
        code, found = patient.examined(vendor.base_url)
    assert code == 5
    assert words in found["request"]["said"]


def test_a_wrong_input_or_configuration_is_2(patient: Patient, vendor: Simulator) -> None:
    (patient.folder / "ids.txt").unlink()
    code, found = patient.examined(vendor.base_url)
    assert (code, found["input"]["state"], found["request"]["state"]) == (2, "fail", "skip")
    code, found = patient.examined(vendor.base_url, "--rate", 0)
    assert (code, list(found)) == (2, ["config", "the rest"])


def test_the_screen_has_a_line_a_check_and_the_remedies(
    vendor: Simulator, patient: Patient
) -> None:
    (patient.folder / "ids.txt").write_text("\n".join([*IDS, "no id"]))
    told = patient.screen(vendor.base_url).splitlines()
    checks = [
        line.split()[:2] for line in told if line[:1].strip() and not line.startswith("Ready")
    ]
    assert [name for _, name in checks] == NAMES
    assert ["warn", "input"] in checks
    assert told[-1].startswith("Ready to run; warnings: ")


def test_its_request_is_one_of_the_days(
    vendor: Simulator, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "ids.txt", "--out", "out", "--rate", 500, "--base-url", vendor.base_url)
    assert harvester(*words, cwd=patient.folder, env={**KEYS, **_a_day(5)}).returncode == 8
    before = vendor.stats()["requests"]
    monkeypatch.setenv("HARVESTER_PACE__PER_DAY", "6")
    code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == (0, "ok")
    assert vendor.stats()["requests"] == before + 1
    assert harvester(*words, cwd=patient.folder, env={**KEYS, **_a_day(6)}).returncode == 8
    code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == (8, "fail")
    assert found["request"]["code"] == "limit.per_day"
    assert found["clock"]["state"] == "skip"
    assert vendor.stats()["requests"] == before + 1


@pytest.mark.parametrize("secret", [KEYS["HARVESTER_API_SECRET"], "wr0ng-s3cret"])
def test_on_a_new_output_it_begins_the_days_count(
    vendor: Simulator, patient: Patient, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("HARVESTER_API_SECRET", secret)
    monkeypatch.setenv("HARVESTER_PACE__PER_DAY", "3")
    before = vendor.stats()["requests"]
    is_right = secret == KEYS["HARVESTER_API_SECRET"]
    code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == ((0, "ok") if is_right else (4, "fail"))
    assert vendor.stats()["requests"] == before + 1
    words = ("run", "ids.txt", "--out", "out", "--rate", 500, "--base-url", vendor.base_url)
    assert harvester(*words, cwd=patient.folder, env={**KEYS, **_a_day(3)}).returncode == 8
    assert vendor.stats()["requests"] == before + 3, "its request counts"


def test_both_requests_of_a_clock_that_is_off_count(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_PACE__PER_DAY", "1")
    with Simulator(rate_limit=0, clock_skew_s=300) as vendor:
        code, found = patient.examined(vendor.base_url)
        assert (code, vendor.stats()["requests"]) == (8, 1)
        assert "NOT tried" in found["request"]["said"]
        monkeypatch.setenv("HARVESTER_PACE__PER_DAY", "3")
        assert patient.examined(vendor.base_url)[0] == 0
        assert vendor.stats()["requests"] == 3
        assert patient.examined(vendor.base_url)[0] == 8
        assert vendor.stats()["requests"] == 3


def test_where_nothing_is_to_be_fetched_an_id_that_is_known_tries_the_key(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Simulator(rate_limit=0, drift=False, fates=ALL_RECORDS) as vendor:
        words = ("run", "ids.txt", "--out", "out", "--rate", 500, "--base-url", vendor.base_url)
        assert harvester(*words, cwd=patient.folder, env=KEYS).returncode == 0
        before = fingerprint(patient.folder / "out")
        code, found = patient.examined(vendor.base_url)
        assert (code, found["request"]["state"]) == (0, "ok")
        assert vendor.log()[-1]["voice_id"] in IDS
        assert fingerprint(patient.folder / "out") == before
        monkeypatch.setenv("HARVESTER_API_SECRET", "wr0ng-s3cret")
        code, found = patient.examined(vendor.base_url)
        assert (code, found["request"]["state"]) == (4, "fail")


def test_an_id_that_failed_before_tells_nothing_where_another_was_delivered(
    patient: Patient, tmp_path: Path
) -> None:
    odd = "2299010101010000001"
    with Simulator(rate_limit=0, drift=False, fates=ALL_RECORDS) as vendor:
        words = ("run", "ids.txt", "--out", "out", "--rate", 500, "--base-url", vendor.base_url)
        assert harvester(*words, cwd=patient.folder, env=KEYS).returncode == 0
        (patient.folder / "ids.txt").write_text("\n".join([*IDS, odd]))
        assert patient.examined(vendor.base_url)[0] == 0
        assert vendor.log()[-1]["voice_id"] == odd, "a new id is tried"
        with closing(sqlite3.connect(tmp_path / "out/state/state.db")) as db:
            (run_id,) = [folder.name for folder in (tmp_path / "out/runs").glob("2*")]
            batch = Batch(deferred=[Deferred(odd, "refused_http_403", "", 1, 1, run_id)])
            acknowledge(db, run_id, batch, work_list=None, counters={}, requests_of_day=("", 0))
        code, found = patient.examined(vendor.base_url)
        assert (code, found["request"]["state"]) == (0, "ok")
        assert vendor.log()[-1]["voice_id"] in IDS


def test_without_any_id_the_key_is_not_tried_and_that_is_no_pass(
    vendor: Simulator, patient: Patient
) -> None:
    (patient.folder / "ids.txt").write_text("")
    before = vendor.stats()["requests"]
    code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == (2, "fail")
    assert "NOT tried" in found["request"]["said"]
    assert vendor.stats()["requests"] == before
    assert (
        patient.screen(vendor.base_url).splitlines()[-1].endswith("Key and secret were NOT tried.")
    )


@pytest.mark.parametrize("refuse", ["-15", "-99", "-18"])
def test_an_answer_that_says_nothing_of_the_key_is_no_pass(patient: Patient, refuse: str) -> None:
    with Simulator(rate_limit=0, drift=False, fates=ALL_RECORDS) as vendor:
        vendor.post_faults(refuse=refuse)
        code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == (5, "fail")
    assert "NOT tried" in found["request"]["said"]


@pytest.mark.parametrize("where", ["journal", "open", "dead"])
def test_a_known_id_is_found_wherever_it_stands(tmp_path: Path, where: str) -> None:
    out = House(tmp_path / "out")
    run_records.begin_run(out.db, "run-1", 1)
    assert publications.known_id(out.db) is None
    batch = {
        "journal": Batch(entries=[Entry("7", 1, True, b"{}")]),
        "open": Batch(open_calls=[OpenCall("7", 1, 1, 1, "run-1")]),
        "dead": Batch(dead_letters=[DeadLetter("7", "gave_up", "", 1, 1, 1, "run-1")]),
    }[where]
    acknowledge(out.db, "run-1", batch, work_list=None, counters={}, requests_of_day=("", 0))
    assert publications.known_id(out.db) == "7"
    out.close()


def test_what_a_killed_run_may_have_sent_is_left_to_it(
    vendor: Simulator, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "ids.txt", "--out", "out", "--rate", 500, "--base-url", vendor.base_url)
    assert harvester(*words, cwd=patient.folder, env={**KEYS, **_a_day(5)}).returncode == 8
    with closing(sqlite3.connect(patient.folder / "out" / "state" / "state.db")) as db, db:
        db.execute("UPDATE run SET ended_ms = NULL, exit_code = NULL")
    monkeypatch.setenv("HARVESTER_PACE__PER_DAY", "500")
    before = vendor.stats()["requests"]
    code, found = patient.examined(vendor.base_url)
    assert (code, found["request"]["state"]) == (8, "fail")
    assert found["request"]["code"] == "limit.per_day"
    assert vendor.stats()["requests"] == before


def _a_day(requests: int) -> dict[str, str]:
    return {"HARVESTER_PACE__PER_DAY": str(requests), "HARVESTER_PACE__CONCURRENCY": "1"}


def test_its_requests_count_on_the_vendors_day(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_PACE__PER_DAY", "2")
    skew_s = -30 * 86_400
    with Simulator(rate_limit=0, clock_skew_s=skew_s) as vendor:
        code, found = patient.examined(vendor.base_url)
        assert (code, found["clock"]["state"]) == (0, "warn")
        days = {day_of(time.time() + skew_s + late_s) for late_s in (-60, 0)}
        with closing(sqlite3.connect(patient.folder / "out" / "state" / "state.db")) as db:
            counts = between_runs.requests_by_day(db)
        assert [counts[day] for day in days if day in counts] == [2]
        assert patient.examined(vendor.base_url)[0] == 8, "the day is full, whatever our clock says"
        assert vendor.stats()["requests"] == 3, "one alone learns the vendor's day"


def test_one_request_counts_on_the_vendors_day_too(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its answer tells which day it is there, and it was written down before."""
    monkeypatch.setenv("HARVESTER_PACE__PER_DAY", "1")
    later = datetime.now(UTC) + timedelta(days=2)
    envelope = json.dumps({"status": 0, "reason": "success", "data": record(IDS[0])}).encode()

    def behave(ask: Ask) -> None:
        ask.answer(envelope, f"Date: {format_datetime(later, usegmt=True)}")

    (patient.folder / "ids.txt").write_text(IDS[0])
    with HostileVendor(behave) as vendor:
        _, found = patient.examined(vendor.base_url)
        assert found["clock"]["state"] == "warn"
        assert len(vendor.asks) == 1
    with closing(sqlite3.connect(patient.folder / "out" / "state" / "state.db")) as db:
        assert between_runs.requests_by_day(db)[day_of(later.timestamp())] == 1


@pytest.mark.skipif("FAKETIME" in os.environ, reason="libfaketime moves no times of files")
@pytest.mark.parametrize("had_workers", [False, True])
def test_its_request_leaves_a_second_after_it_holds_the_output(
    patient: Patient, had_workers: bool
) -> None:
    """Whoever held it before had the second before for its own last requests, and workers of it
    the rest of their lease.
    """
    with closing(House(patient.folder / "out")) as house:
        between_runs.had_workers(house.db, had_workers)
    lock = patient.folder / "out" / "state" / "lock"
    held_s: list[float] = []

    def behave(ask: Ask) -> None:
        # The name of whoever holds it was written when it was taken.
        held_s.append(time.time() - lock.stat().st_mtime)
        ask.deliver()

    with HostileVendor(behave) as vendor:
        patient.examined(vendor.base_url, "--account", ACCOUNT)
    assert len(held_s) == 1
    assert held_s[0] >= 1 + LEASE_S * had_workers
