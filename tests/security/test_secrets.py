"""Neither the key, nor the secret, nor a signature is left anywhere; phone numbers only as data."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from harvester.simulator import Fates, make_ids
from harvester.simulator.calls import call_of
from tests.security.commands import harvester, run, run_words, start
from tests.security.hostile import Ask, HostileVendor
from tests.security.leaks import KEY, SECRET, leaks, left_behind, signs, told_to_people
from tests.support.simulated import END, ROOT, Simulator

SEED = 11
IDS = list(make_ids(600, 4, end=END))
PHONES = {
    number
    for call in (call_of(SEED, voice_id, Fates()) for voice_id in IDS)
    for number in (call.callee, call.display_num)
    if number
}
SPOKEN = {"+49 151 1234567", "8613812345678", "+1 (415) 555-2671", "0049-151-1234567"}


class Told(NamedTuple):
    """What a run said and left, by place."""

    screens: Mapping[str, bytes]
    places: Mapping[str, bytes]

    @property
    def all(self) -> dict[str, bytes]:
        return {**self.screens, **self.places}

    @property
    def for_people(self) -> dict[str, bytes]:
        return {**self.screens, **told_to_people(self.places)}


def _told(folder: Path, **screens: str) -> Told:
    return Told(
        {name: text.encode() for name, text in screens.items()}, left_behind(folder / "out")
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ids.txt").write_text("\n".join([*IDS, "no id \x1b[2J", "+49 151 1234567"]))
    return tmp_path


def _hidden(begin: float) -> set[str]:
    return {KEY, SECRET} | signs(KEY, SECRET, begin, time.time())


@pytest.mark.parametrize("manner", ["--json", "--verbose"])
def test_a_faulty_verbose_run_leaves_no_secret_and_tells_no_phone_number(
    folder: Path, manner: str
) -> None:
    begin = time.time()
    with Simulator(
        seed=SEED, faults="all", rate_limit=0, key=KEY, secret=SECRET, slow_s=0.2, drip_s=1
    ) as vendor:
        done = run(vendor.base_url, folder, manner)
    assert done.returncode in (0, 3, 5), done.stderr
    told = _told(folder, stdout=done.stdout, stderr=done.stderr)
    if manner == "--json":
        assert all(
            json.loads(line) for line in [*done.stdout.splitlines(), *done.stderr.splitlines()]
        )
    assert leaks(told.all, _hidden(begin)) == []
    assert leaks(told.for_people, PHONES) == []
    # The search sees what is there: the numbers are in the data, packed as it is.
    assert leaks(told.places, PHONES)


def test_a_refused_secret_is_not_told_with_the_refusal(folder: Path) -> None:
    begin = time.time()
    with Simulator(seed=SEED, rate_limit=0, key=KEY, secret="another-secret") as vendor:
        done = run(vendor.base_url, folder, "--json")
    assert done.returncode == 4
    told = _told(folder, stdout=done.stdout, stderr=done.stderr)
    assert leaks(told.all, _hidden(begin)) == []


def test_neither_a_kill_nor_the_start_after_it_leaves_a_secret(folder: Path) -> None:
    begin = time.time()
    with Simulator(seed=SEED, rate_limit=0, key=KEY, secret=SECRET) as vendor:
        process = start(*run_words(vendor.base_url), "--rate", 300, cwd=folder)
        while vendor.stats()["requests"] < 200:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
        killed = _told(folder, stdout=out, stderr=err)
        done = run(vendor.base_url, folder)
    assert done.returncode in (0, 3), done.stderr
    told = _told(folder, stdout=done.stdout, stderr=done.stderr)
    assert any(place.endswith("state.db-wal") for place in killed.places)
    for left in (killed, told):
        assert leaks(left.all, _hidden(begin)) == []
        assert leaks(left.for_people, PHONES) == []


def test_no_process_of_a_run_has_a_secret_among_its_arguments(folder: Path) -> None:
    seen: set[bytes] = set()
    # So many lines that the list's process is there for a while.
    (folder / "ids.txt").write_text("\n".join(IDS * 1_000))
    with Simulator(seed=SEED, rate_limit=0, key=KEY, secret=SECRET) as vendor:
        process = start(*run_words(vendor.base_url), "--rate", 600, cwd=folder)
        while process.poll() is None:
            seen |= _command_lines(process.pid)
        process.communicate()
    assert any(b"harvester" in line for line in seen)
    assert any(b"worklist.build_child" in line for line in seen), "the child was never seen"
    assert leaks({"argv": b"\n".join(seen)}, [KEY, SECRET]) == []


def _command_lines(pid: int) -> set[bytes]:
    """Those of a process and its children."""
    found = set()
    try:
        found.add(Path(f"/proc/{pid}/cmdline").read_bytes())
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found |= _command_lines(int(child))
    except OSError:
        pass  # it has just ended
    return found


def test_a_vendor_that_repeats_our_headers_and_numbers_does_not_get_them_into_a_message(
    folder: Path,
) -> None:
    """Statuses that nobody knows halt the run, and the message shows the answer."""

    def repeat(ask: Ask) -> None:
        ask.say(-99, reason=f"{ask.headers} {' '.join(SPOKEN)}")

    with HostileVendor(repeat) as vendor:
        done = run(vendor.base_url, folder, "--json")
        hidden = {KEY, SECRET} | vendor.heard("sign")
    assert done.returncode == 4, done.stderr
    assert "-99" in done.stderr
    told = _told(folder, stdout=done.stdout, stderr=done.stderr)
    assert leaks(told.all, hidden) == []
    assert leaks(told.for_people, SPOKEN) == []


def test_a_dead_letter_does_not_keep_the_headers_that_its_answer_repeats(folder: Path) -> None:
    odd = set(IDS[::40])

    def repeat(ask: Ask) -> None:
        if ask.voice_id in odd:
            ask.say(-99, reason=str(ask.headers))
        else:
            ask.deliver()

    with HostileVendor(repeat) as vendor:
        done = run(vendor.base_url, folder, "--json")
        hidden = {KEY, SECRET} | vendor.heard("sign")
    assert done.returncode == 3, done.stderr
    told = _told(folder, stdout=done.stdout, stderr=done.stderr)
    assert leaks(told.all, hidden) == []


@pytest.mark.parametrize("status", [f"{KEY} +49 151 1234567", "8613812345678", "\x1b[2Jx\r\ny"])
def test_a_status_that_is_a_secret_or_a_number_is_counted_under_no_such_name(
    folder: Path, status: str
) -> None:
    odd = set(IDS[::40])

    def answer(ask: Ask) -> None:
        if ask.voice_id in odd:
            ask.say(status)
        else:
            ask.deliver()

    with HostileVendor(answer) as vendor:
        done = run(vendor.base_url, folder, "--json")
    told = _told(folder, stdout=done.stdout, stderr=done.stderr)
    assert leaks(told.all, [KEY, SECRET]) == []
    assert leaks(told.for_people, [*SPOKEN, "\x1b"]) == []


def test_field_names_and_currencies_of_a_vendor_are_no_way_into_the_summary(folder: Path) -> None:
    def answer(ask: Ask) -> None:
        ask.deliver(**{"8613812345678": 1, "+49 151 1234567": 2}, currency="8613812345678")

    with HostileVendor(answer) as vendor:
        done = run(vendor.base_url, folder, "--json")
    assert done.returncode == 0, done.stderr
    told = _told(folder, stdout=done.stdout, stderr=done.stderr)
    assert leaks(told.for_people, SPOKEN) == []


@pytest.mark.parametrize("manner", ["--json", "--verbose"])
@pytest.mark.parametrize("bug", ["broken_run.py", "broken_publish.py"])
def test_a_bug_that_quotes_its_hands_full_is_told_without_them(
    folder: Path, bug: str, manner: str
) -> None:
    begin = time.time()
    program = [str(ROOT / "tests" / "security" / bug)]
    with Simulator(seed=SEED, rate_limit=0, key=KEY, secret=SECRET) as vendor:
        words = [*run_words(vendor.base_url), manner]
        words += ["-c", "small.toml"]
        (folder / "small.toml").write_text("output.publish_records = 100\n")
        done = harvester(*words, cwd=folder, program=program)
    assert done.returncode == 1
    told = _told(folder, stdout=done.stdout, stderr=done.stderr)
    log = next(text for place, text in told.places.items() if place.endswith("log.jsonl"))
    assert b"Traceback" in log, "a bug without its traceback can't be mended"
    assert leaks(told.all, _hidden(begin)) == []
    assert leaks(told.for_people, SPOKEN) == []
    assert leaks(told.screens, ["\x1b"]) == []


def test_a_configuration_that_is_wrong_is_told_without_the_secret(folder: Path) -> None:
    (folder / "bad.toml").write_text(f'[vendor]\napi_secret = "{SECRET}"\n')
    (folder / "torn.toml").write_text(f'[vendor]\nbase_url = "{SECRET}\n')
    (folder / "list.toml").write_text(f'[pace]\nrate_per_s = "{SECRET}"\n')
    for name in ("bad.toml", "torn.toml", "list.toml"):
        done = harvester("run", "ids.txt", "-c", name, cwd=folder)
        assert done.returncode == 2
        assert SECRET not in done.stdout + done.stderr
    for words in (["config", "show"], ["config", "check"], ["config", "show", "--json"]):
        done = harvester(*words, cwd=folder)
        assert leaks({"config": (done.stdout + done.stderr).encode()}, [KEY, SECRET]) == []
