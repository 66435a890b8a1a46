"""`reconcile` over sockets: a month listed, what was missed fetched, a stolen key's calls found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester import Secrets, load_config, reconcile
from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS, harvester
from tests.support import forked
from tests.support.discovering import day
from tests.support.mounts import small_disk
from tests.support.simulated import ALL_RECORDS, ROOT, Simulator

CALLS, EXTRA = 400, 30
NOWHERE = "http://127.0.0.1:9/voice"
"""Nobody answers there: whatever is asked of it ends with another code than 2."""


FATES = f"answered=1,{ALL_RECORDS}"
"""Every call has a record: made-up ids go by the date, and one of a thousand would be dead."""


def our_ids() -> list[str]:
    """Ids of the vendor's last whole day, in order of time."""
    return list(make_ids(CALLS, 1, end=day(), days=1))


def listing_simulator(habits: str = "", **options: object) -> Simulator:
    listed = f"calls={CALLS},extra={EXTRA}{habits}"
    return Simulator(
        **{"rate_limit": 0, "drift": False, "listed": listed, "fates": FATES, **options}
    )


class Cli:
    """Commands on one output."""

    def __init__(self, cwd: Path, url: str) -> None:
        self._cwd = cwd
        self._shared = ("--base-url", url, "--out", "out")

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        words = (*words, *self._shared, "--rate", 500, "-q")
        return harvester("run", *words, cwd=self._cwd, env=KEYS)

    def other(self, *words: object) -> subprocess.CompletedProcess[str]:
        done = harvester(*words, "--out", "out", cwd=self._cwd)
        assert done.returncode == 0, done.stderr
        return done

    def discover(self, *words: object) -> subprocess.CompletedProcess[str]:
        words = ("--from", day(), "--to", day(), *words, *self._shared, "--rate", 500, "-q")
        return harvester("discover", *words, cwd=self._cwd, env=KEYS)

    def reconcile(
        self, *words: object, first: date | None = None, last: date | None = None
    ) -> subprocess.CompletedProcess[str]:
        days = ("--from", first or day(), "--to", last or first or day())
        words = (*days, *words, *self._shared, "--rate", 500)
        return harvester("reconcile", *words, cwd=self._cwd, env=KEYS)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The last line, of --json."""
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["type"] == "reconcile"
    assert list(found["regions"]) == ["V", "B", "D", "VB", "VD", "BD", "VBD"]
    assert found["together"] == sum(one["calls"] for one in found["regions"].values())
    return found


def calls(found: dict[str, Any]) -> dict[str, int]:
    return {name: one["calls"] for name, one in found["regions"].items() if one["calls"]}


def shown_everywhere(cli: Cli, tmp_path: Path) -> None:
    """What was counted is in status, in the report's three forms and in the metrics."""
    status = json.loads(cli.other("status", "--json").stdout)
    month = next(one for one in status["months"] if one["month"] == f"{day():%Y-%m}")
    assert (month["days_listed"], month["listed"]) == (1, CALLS + EXTRA)
    assert f"{CALLS + EXTRA} calls" in cli.other("status").stdout
    words = ("report", "--from", day(), "--to", day(), "--html", "report.html")
    assert "The vendor's list, day by day" in cli.other(*words).stdout
    assert "list, day by day" in (tmp_path / "report.html").read_text()
    (found,) = json.loads(cli.other(*words, "--json").stdout)["billing_days"]
    assert (found["day"], found["listed"]) == (str(day()), CALLS + EXTRA)
    assert cli.run("--carried-over-only", "--metrics-file", "run.prom").returncode == 0
    metrics = (tmp_path / "run.prom").read_text()
    assert 'cdr_harvester_billing_days{state="listed"} 1\n' in metrics
    assert 'cdr_harvester_billing_calls{state="missing"} 0\n' in metrics


def test_a_program_gets_the_same(tmp_path: Path) -> None:
    with listing_simulator() as vendor:
        config = load_config(
            overrides={
                "vendor.base_url": vendor.base_url,
                "output.dir": str(tmp_path / "out"),
                "pace.rate_per_s": 500,
            }
        )
        (tmp_path / "dialer.txt").write_text("\n".join(our_ids()))
        done = reconcile(
            config, Secrets(*KEYS.values()), day(), day(), ours=tmp_path / "dialer.txt"
        )
    assert {name: one.calls for name, one in done.regions.items() if one.calls} == {
        "V": EXTRA,
        "VD": CALLS,
    }
    assert (done.exit_code, done.code) == (3, "reconcile.differ")


def test_what_was_missed_is_taken_and_fetched_and_the_month_is_complete(tmp_path: Path) -> None:
    with listing_simulator() as vendor:
        cli = Cli(tmp_path, vendor.base_url)
        (tmp_path / "ids.txt").write_text("\n".join(our_ids()[:-50]))
        assert cli.run("ids.txt").returncode == 0
        first = cli.reconcile("--json")
        assert first.returncode == 3, first.stderr
        assert json.loads(first.stderr)["code"] == "reconcile.differ"
        found = told(first)
        assert calls(found) == {"VB": CALLS - 50, "V": 50 + EXTRA}
        assert found["vendor"] == len(vendor.listed()["ids"])
        assert found["differing"] == 50 + EXTRA
        assert found["requests"] > 0
        where = f"--out out --base-url {vendor.base_url}"
        typed = f"discover --from {day()} --to {day()} --take {where}`"
        assert typed in found["regions"]["V"]["next"]
        (of_day,) = found["by_day"]
        assert of_day["listed"] == CALLS + EXTRA
        # One or two may wait for their price.
        assert of_day["delivered"] + of_day["open"] == CALLS - 50
        assert of_day["missing"] == 50 + EXTRA

        assert cli.reconcile("--allow", 50 + EXTRA, "-q").returncode == 0
        assert cli.reconcile("--allow", 50 + EXTRA - 1, "-q").returncode == 3
        assert cli.discover("--take").returncode == 0
        pending = told(cli.reconcile("--json"))
        assert calls(pending) == {"VB": CALLS + EXTRA}
        assert pending["alive"]["pending"] == 50 + EXTRA
        assert cli.run("--carried-over-only").returncode == 0

        last = cli.reconcile("--json")
        assert (last.returncode, last.stderr) == (0, "")
        whole = told(last)
        assert calls(whole) == {"VB": CALLS + EXTRA}
        assert whole["requests"] == 0, "a day that is listed and not due is not asked for again"
        assert whole["regions"]["VB"]["states"].keys() <= {"delivered", "open", "unrated"}
        shown_everywhere(cli, tmp_path)
        screen = cli.reconcile().stdout
        assert "1 of 1 days for sure" in screen
        assert "calls may come late" in screen


def test_calls_of_a_stolen_key_are_found_first(tmp_path: Path) -> None:
    with listing_simulator() as vendor:
        cli = Cli(tmp_path, vendor.base_url)
        ours = our_ids()
        stolen = set(vendor.listed()["ids"]) - set(ours)
        (tmp_path / "ids.txt").write_text("\n".join(ours[10:]))
        cli.run("ids.txt")
        placed = [*ours[:-5], "26112010000000000001", ours[0]]
        lines = [f"{voice_id},{day()} 12:00:00" for voice_id in placed]
        # A second before the day on the dialer's clock, and within it on the vendor's.
        lines.append(f"{ours[-1]},{day() - timedelta(days=1)} 23:59:59")
        lines.append(f"of-another-day,{day() - timedelta(days=1)} 12:00:00")
        (tmp_path / "dialer.csv").write_text("call id,sent at\n" + "\n".join(lines) + "\n")
        words = ("--ours", "dialer.csv", "--column", "call_id", "--time-column", "sent_at")
        done = cli.reconcile(*words, "-o", "found", "--json")
        assert done.returncode == 3, done.stderr
        found = told(done)
        assert calls(found) == {"V": EXTRA, "VB": 4, "VD": 10, "D": 1, "VBD": CALLS - 14}
        dialer = found["dialer"]
        assert (dialer["lines"], dialer["double"], dialer["outside"]) == (CALLS - 1, 1, 1)
        assert dialer["elsewhere"] == 1
        assert "never placed by us" in found["regions"]["V"]["meaning"]
        folder = tmp_path / "found"
        strange = pq.read_table(folder / "V.parquet")
        assert set(strange["voice_id"].to_pylist()) == stolen
        assert {"callee", "display_num"}.isdisjoint(strange.column_names)
        assert json.loads((folder / "reconcile.json").read_text()) == found
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        assert len(list(folder.iterdir())) == 8
        screen = cli.reconcile(*words).stdout.splitlines()
        regions = [line.split()[0] for line in screen if "placed" in line and line[:1] in "VBD"]
        assert regions[:2] == ["V", "VB"]
        assert any("1 of other days left out" in line for line in screen)
        without = cli.reconcile("--ours", "dialer.csv", "--column", "call_id").stdout
        assert "no --time-column" in without


def test_a_list_that_is_not_settled_counts_before_what_differs(tmp_path: Path) -> None:
    with listing_simulator(",total=3") as vendor:
        done = Cli(tmp_path, vendor.base_url).reconcile("--json")
        assert done.returncode == 5
        assert told(done)["code"] == "listing.unsettled"
        assert told(done)["days"]["not_listed"] == [str(day())]


def test_a_day_that_goes_on_is_not_over(tmp_path: Path) -> None:
    with listing_simulator() as vendor:
        today = day() + timedelta(days=1)
        done = Cli(tmp_path, vendor.base_url).reconcile("--json", first=day(), last=today)
        assert done.returncode == 5
        found = told(done)
        assert (found["code"], found["days"]["listed"]) == ("listing.not_over", 1), (
            "yesterday is over"
        )
        assert calls(found)["V"] == CALLS + EXTRA


def parquet_of(path: Path, **columns: pa.Array) -> None:
    pq.write_table(pa.table(columns), path)


DAY = "2026-11-03"
GOOD = [f"26110312000000{n:06}" for n in range(40)]


def _csv(path: Path, rows: list[str], header: str = "voiceId,at") -> None:
    path.write_text("\n".join([header, *rows]) + "\n")


def make_bad(name: str, path: Path) -> None:
    """A dialer's file that is no good."""
    sent = [f"{one},{DAY} 12:00:00" for one in GOOD]
    match name:
        case "no_column.csv":
            _csv(path, sent, "call,at")
        case "no_time_column.csv":
            _csv(path, sent, "voiceId,when")
        case "no_times.csv":
            _csv(path, [f"{one},soon" for one in GOOD])
        case "other_days.csv":
            _csv(path, [f"{one},2026-09-{n % 30 + 1:02} 12:00:00" for n, one in enumerate(GOOD)])
        case "digits.csv":
            _csv(path, ["2.61103E+19,x" for _ in GOOD])
        case "bad.csv":
            _csv(path, [*sent, *(f"?,{DAY} 12:00:00" for _ in range(5))])
        case "rounded.csv":
            _csv(path, [f"261103120000{n:03}00000,x" for n in range(40)])
        case "partly.csv":
            some = [f"261103120000{n:03}00000,x" for n in range(5)]
            _csv(path, [*(f"2611031200{n:04}123456,x" for n in range(395)), *some])
        case "cut.parquet":
            parquet_of(path, voiceId=pa.array([9223372036854775807] * 30))
        case "float.parquet":
            parquet_of(path, voiceId=pa.array([2.6110312e19] * 30))
        case "float.jsonl":
            path.write_text("".join('{"voiceId": 2.6110312e19}\n' for _ in range(30)))
        case "times.txt":
            path.write_text("\n".join(GOOD))
        case "empty.txt":
            path.write_text("")
        case "september.txt":
            path.write_text("\n".join(f"2609{n % 30 + 1:02}12000000{n:06}" for n in range(40)))


@pytest.mark.parametrize(
    ("name", "words", "code", "says"),
    [
        ("no_column.csv", (), "input.no_column", "'call', 'at'"),
        ("no_time_column.csv", ("--time-column", "at"), "input.no_column", "--time-column"),
        ("no_times.csv", ("--time-column", "at"), "input.no_time", "40 of the 40"),
        ("other_days.csv", ("--time-column", "at"), "input.other_days", "2026-09-01..2026-09-30"),
        ("digits.csv", (), "input.no_ids", "last digits are lost"),
        ("bad.csv", ("--time-column", "at"), "input.bad_share", "character 5), more than the 1 %"),
        ("rounded.csv", (), "input.rounded_ids", "15 digits"),
        ("partly.csv", (), "input.rounded_ids", "5 of its 400 ids have 15 digits"),
        ("cut.parquet", (), "input.rounded_ids", "cut"),
        ("float.parquet", (), "input.column_type", "lost digits"),
        ("float.jsonl", (), "input.no_ids", "not a whole number"),
        ("times.txt", ("--time-column", "at"), "input.no_column", "no column of times"),
        ("empty.txt", (), "input.no_ids", "no voiceId"),
        ("september.txt", (), "input.other_days", "2026-09-01..2026-09-30"),
        ("missing.csv", (), "input.missing", "missing.csv"),
    ],
)
def test_a_file_that_is_no_good_is_refused_before_anything_is_asked(
    tmp_path: Path, name: str, words: tuple[str, ...], code: str, says: str
) -> None:
    make_bad(name, tmp_path / name)
    cli = Cli(tmp_path, NOWHERE)
    first, last = date(2026, 11, 1), date(2026, 11, 30)
    done = cli.reconcile("--ours", name, *words, "--json", first=first, last=last)
    assert done.returncode == 2, done.stderr
    complaint = json.loads(done.stderr.splitlines()[-1])
    assert complaint["code"] == code
    assert says.replace("'", "") in complaint["message"].replace("'", "")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_an_older_set_of_files_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "dialer.txt").write_text("\n".join(our_ids()))
    with (
        listing_simulator() as vendor,
        small_disk(tmp_path / "small", 400) as disk,
    ):
        cli = Cli(tmp_path, vendor.base_url)
        words = ("--ours", "dialer.txt", "-o", disk / "found", "--json")
        assert cli.reconcile(*words).returncode == 3
        before = contents(disk / "found")
        assert len(before) == 8
        fill(disk / "more")
        done = cli.reconcile(*words)
        assert done.returncode == 6, done.stderr
        assert json.loads(done.stderr.splitlines()[-1])["code"] == "output.full"
        assert contents(disk / "found") == before
        (disk / "more").unlink()
        (disk / "found" / ".reconcile-killed").mkdir()
        assert cli.reconcile(*words).returncode == 3
        assert contents(disk / "found").keys() == before.keys()


def fill(path: Path) -> None:
    """Until there is no room left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1_000))


def contents(folder: Path) -> dict[str, bytes | None]:
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


def test_one_id_that_was_rounded_is_no_call_of_a_stolen_key(tmp_path: Path) -> None:
    ids = our_ids()
    rounded = [str(int(float(ids[7]))), *ids[:7], *ids[8:]]
    assert rounded[0] != ids[7]
    (tmp_path / "dialer.txt").write_text("\n".join(rounded))
    with listing_simulator() as vendor:
        done = Cli(tmp_path, vendor.base_url).reconcile("--ours", "dialer.txt", "--json")
    assert done.returncode == 2, done.stderr
    complaint = json.loads(done.stderr.splitlines()[-1])
    assert complaint["code"] == "input.rounded_ids"
    assert "dialer.txt: 1 of its ids" in complaint["message"]


def test_an_output_of_another_account_is_refused(tmp_path: Path) -> None:
    with listing_simulator() as vendor:
        cli = Cli(tmp_path, vendor.base_url)
        cli.reconcile("-q")
        done = cli.reconcile("--account", "other", "--json")
    assert done.returncode == 2
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "state.belongs.account"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), "usage.date"),
        (("--from", "2026-11-01"), "usage.date"),
        (("--month", "2026-11", "--column", "id"), "usage.conflict"),
        (("--month", "2026-11", "-q", "-v"), "usage.conflict"),
        (("--month", "2026-11", "-o", "out/state/found"), "usage.target"),
        (("--month", "2021-11"), "usage.date"),
        (("--month", "2199-11"), "usage.date"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: tuple[str, ...], code: str) -> None:
    shared = ("--out", "out", "--json", "--base-url", NOWHERE)
    done = harvester("reconcile", *words, *shared, cwd=tmp_path, env=KEYS)
    assert done.returncode == 2
    assert json.loads(done.stderr.splitlines()[-1])["code"] == code


def test_a_signal_ends_it_in_good_order_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with listing_simulator(latency_ms=50) as vendor:
        words = ("reconcile", "--from", day(), "--to", day(), "--base-url", vendor.base_url)
        process = forked.Popen(
            [sys.executable, "-m", "harvester", *map(str, words), "--out", "out", "--rate", "20"],
            cwd=tmp_path,
            env={**os.environ, **KEYS, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None and not vendor.stats()["requests"]:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, ""), err
        assert "the same command" in err
        assert calls(told(Cli(tmp_path, vendor.base_url).reconcile("--json")))["V"] == CALLS + EXTRA


def test_what_was_listed_before_it_was_cut_short_is_kept(tmp_path: Path) -> None:
    with listing_simulator() as vendor:
        cli = Cli(tmp_path, vendor.base_url)
        done = cli.reconcile("--max-duration", "0.01s", "--json")
        assert (done.returncode, done.stdout) == (8, "")
        assert json.loads(done.stderr.splitlines()[-1])["code"] == "limit.duration"
        assert calls(told(cli.reconcile("--json"))) == {"V": CALLS + EXTRA}
