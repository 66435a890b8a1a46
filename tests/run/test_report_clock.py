"""Days and months are those of the clock that the header names, in every command alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import duckdb
import pyarrow.parquet as pq
import pytest

from harvester.analysis.clock import Clock, offsets
from harvester.analysis.period import Period, day_of
from harvester.analysis.scope import Scope
from harvester.cli.main import run_command
from harvester.config import DateBy
from harvester.dataset.files import file_sha256
from harvester.simulator import SimulatorOptions
from harvester.state.database import open_database
from harvester.storage.output import Output
from tests.support.datasets import filled, made, simulated, write
from tests.support.oracle import Row

OPTIONS = SimulatorOptions(seed=20261127)
NOVEMBER = ["--month", "2026-11"]
ZONES = ["Asia/Shanghai", "America/New_York", "UTC", "Pacific/Kiritimati", "Asia/Kolkata"]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """Records in folders of UTC, the zone of a data set that nobody gave another one."""
    out = tmp_path_factory.mktemp("clock") / "out"
    return out, simulated(out, OPTIONS, 2_500)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert run_command([*words, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def dated(row: Row, zone: str, date_by: str) -> date | None:
    """The day of a record, in plain Python."""
    at = row[f"{date_by}_time"]
    return None if at is None else at.astimezone(ZoneInfo(zone)).date()


def cost(rows: Iterable[Row], currency: str) -> Decimal:
    return sum((r["cost"] for r in rows if r["cost"] and r["currency"] == currency), Decimal(0))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("date_by", get_args(DateBy))
def test_days_of_a_report_are_those_of_the_records_on_that_clock(
    night: tuple[Path, list[Row]], capsys: pytest.CaptureFixture[str], zone: str, date_by: str
) -> None:
    out, rows = night
    days = sorted({day for row in rows if (day := dated(row, zone, date_by)) is not None})
    first, last = days[2], days[-3]
    words = ("--zone", zone, "--date-by", date_by, "--from", str(first), "--to", str(last))
    (told,) = said(capsys, "report", "--out", str(out), *words)
    expected: dict[str, list[Row]] = {}
    for row in rows:
        day = dated(row, zone, date_by)
        if day is not None and first <= day <= last:
            expected.setdefault(str(day), []).append(row)
    assert {row["day"]: row["calls"] for row in told["by_day"]} == {
        day: len(found) for day, found in expected.items()
    }
    chosen = [row for found in expected.values() for row in found]
    assert told["total"]["calls"] == len(chosen) > 100
    assert Decimal(told["total"]["cost"]["USD"]) == cost(chosen, "USD")
    assert (told["first_day"], told["last_day"]) == (min(expected), max(expected))
    assert told["clock"] == f"days of {zone}, by {date_by} time"
    assert (told["timezone"], told["date_by"]) == (zone, date_by)


# --- the edges of a month ------------------------------------------------------------------------

SHANGHAI = ZoneInfo("Asia/Shanghai")
EDGES = [
    datetime(2026, 10, 31, 23, 59, 59, 999_000, tzinfo=SHANGHAI),
    datetime(2026, 11, 1, 0, 0, 0, tzinfo=SHANGHAI),
    datetime(2026, 11, 30, 23, 59, 59, 999_000, tzinfo=SHANGHAI),
    datetime(2026, 12, 1, 0, 0, 0, tzinfo=SHANGHAI),
]
"""The second and the third are November's."""


def edges(out: Path, column: str = "submit_time") -> None:
    """A call at each edge, each with an amount of its own, and one without a time."""
    rows: list[dict[str, Any]] = [
        {"callee": f"91801234567{n}", column: at, "cost": Decimal(10) ** n}
        for n, at in enumerate(EDGES)
    ]
    made(out, [*rows, {column: None, "cost": Decimal("0.5")}])


@pytest.mark.parametrize("date_by", get_args(DateBy))
def test_a_month_begins_and_ends_at_midnight_of_the_clock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], date_by: str
) -> None:
    edges(tmp_path / "out", f"{date_by}_time")
    words = ("--out", str(tmp_path / "out"), "--date-by", date_by, *NOVEMBER)
    (told,) = said(capsys, "report", *words)
    assert told["total"]["cost"] == {"USD": "110"}
    assert (told["from"], told["to"]) == ("2026-11-01", "2026-11-30")
    *_, audit = said(capsys, "audit", *words)
    assert audit["clock"] == f"days of Asia/Shanghai, by {date_by} time"
    assert (audit["from"], audit["to"]) == ("2026-11-01", "2026-11-30")
    assert (audit["timezone"], audit["date_by"]) == ("Asia/Shanghai", date_by)


def test_an_audit_is_of_the_records_of_the_month(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each call costs too much; only those of November are told."""
    edges(tmp_path / "out")
    rules = said(capsys, "audit", "--out", str(tmp_path / "out"), *NOVEMBER)
    (found,) = (one for one in rules if one.get("rule") == "cost")
    assert (found["checked"], found["differing"]) == (2, 2)
    assert found["over"] == {"USD": "109.976"}  # 110 less twice 0.012


def test_headers_say_which_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edges(tmp_path / "out")
    words = ["--out", str(tmp_path / "out"), *NOVEMBER]
    file = tmp_path / "page.html"
    assert run_command(["report", *words, "--html", str(file)]) == 0
    assert "days of Asia/Shanghai, by submit time" in capsys.readouterr().out
    assert "days of Asia/Shanghai, by submit time" in file.read_text()
    assert run_command(["audit", *words, "--date-by", "hangup", "--zone", "UTC"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("out, 2026-11-01 to 2026-11-30")
    assert lines[1] == "  days of UTC, by hangup time"


def ledger(out: Path) -> Output:
    """The parts of `out` as a state database has them, which `export` asks."""
    output = Output(out)
    db = open_database(output.database, "default")
    db.execute("INSERT INTO publication (id, lo, hi, state) VALUES (1, 0, 0, 'live')")
    for path in sorted(output.cdr.glob("*/*.parquet")):
        db.execute(
            "INSERT INTO file (path, publication, rows, bytes, sha256, state) "
            "VALUES (?, 1, 0, ?, ?, 'live')",
            (path.relative_to(output.cdr).as_posix(), path.stat().st_size, file_sha256(path)),
        )
    db.commit()
    db.close()
    return output


def test_an_export_holds_the_records_of_the_month_and_says_its_clock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edges(tmp_path / "out")
    ledger(tmp_path / "out")
    words = ["export", "delivered", "--out", str(tmp_path / "out")]
    file = tmp_path / "november.parquet"
    assert run_command([*words, *NOVEMBER, "-o", str(file)]) == 0
    assert sorted(pq.read_table(file)["cost"].to_pylist()) == [10, 100]
    assert capsys.readouterr().err == (
        "note: 2 records, 2026-11-01 to 2026-11-30, days of Asia/Shanghai, by submit time; 1 "
        "without a day left out.\n"
    )
    assert run_command([*words, *NOVEMBER, "--zone", "UTC", "-o", str(file)]) == 0
    assert sorted(pq.read_table(file)["cost"].to_pylist()) == [100, 1000]
    assert run_command([*words, "-o", str(file)]) == 0
    assert len(pq.read_table(file)) == 5
    assert "days of" not in capsys.readouterr().err.splitlines()[-1:]


def test_an_export_by_hangup_reads_the_folders_of_other_days(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = {"submit_time": datetime(2026, 10, 20, tzinfo=UTC), "hangup_time": EDGES[1]}
    made(tmp_path / "out", [late, {"hangup_time": EDGES[0]}])
    ledger(tmp_path / "out")
    words = ["--out", str(tmp_path / "out"), *NOVEMBER]
    assert run_command(["export", "delivered", *words, "--date-by", "hangup", "--json"]) == 0
    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert row["submit_time"] == "2026-10-20T00:00:00.000Z"
    (told,) = said(capsys, "report", *words, "--date-by", "hangup")
    assert told["total"]["calls"] == 1


@pytest.mark.parametrize(
    ("words", "dates"),
    [
        ([], [None, "2026-10-31", "2026-11-01", "2026-11-30", "2026-12-01"]),
        (["--zone", "UTC"], [None, "2026-10-31", "2026-10-31", "2026-11-30", "2026-11-30"]),
        (["--date-by", "answer"], ["2026-11-02"] * 5),
    ],
)
def test_views_of_sql_have_the_billing_date(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    dates: list[str | None],
) -> None:
    edges(tmp_path / "out")
    query = "SELECT billing_date FROM cdr ORDER BY submit_time NULLS FIRST"
    found = said(capsys, "sql", "--out", str(tmp_path / "out"), *words, query)
    assert [row["billing_date"] for row in found] == dates


def test_a_data_set_without_parts_has_a_billing_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "out", [filled([])])
    query = "SELECT count(billing_date) AS n FROM cdr"
    assert said(capsys, "sql", "--out", str(tmp_path / "out"), query) == [{"n": 0}]


# --- the same months from flags, environment and file --------------------------------------------


def test_the_clock_is_a_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edges(tmp_path / "out")
    file = tmp_path / "c.toml"
    file.write_text('[billing]\nzone = "UTC"\ndate_by = "hangup"\n')
    words = ("report", "--out", str(tmp_path / "out"), "-c", str(file))
    assert said(capsys, *words)[0]["clock"] == "days of UTC, by hangup time"
    monkeypatch.setenv("HARVESTER_BILLING__DATE_BY", "answer")
    assert said(capsys, *words)[0]["clock"] == "days of UTC, by answer time"
    assert said(capsys, *words, "--zone", "Asia/Tokyo")[0]["clock"] == (
        "days of Asia/Tokyo, by answer time"
    )


@pytest.mark.parametrize("command", [["report"], ["audit"], ["export", "delivered"]])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--month", "2026-11", "--from", "2026-11-01"], "--month 2026-11 and --from both name"),
        (["--month", "2026-11", "--to", "2026-11-01"], "--month 2026-11 and --to both name"),
        (["--month", "2026-13"], "--month '2026-13' is not a month: write it as 2026-11."),
        (["--month", "2026-11-01"], "is not a month"),
        (["--from", "9999-12-31"], "is not a date"),
        (["--zone", "Mars/Olympus"], "no time zone is named 'Mars/Olympus'"),
        (["--date-by", "ringing"], "billing.date_by"),
    ],
)
def test_days_that_make_no_sense_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    words: list[str],
    message: str,
) -> None:
    edges(tmp_path / "out")
    ledger(tmp_path / "out")
    assert run_command([*command, "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [NOVEMBER, ["--zone", "UTC"], ["--date-by", "answer"]])
def test_only_delivered_records_have_days(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    edges(tmp_path / "out")
    ledger(tmp_path / "out")
    assert run_command(["export", "dead", "--out", str(tmp_path / "out"), *words]) == 2
    assert "`export dead` has no --month" in capsys.readouterr().err


# --- the clock itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone", [*ZONES, "Africa/Casablanca", "Asia/Beirut", "Australia/Lord_Howe"]
)
def test_bounds_and_days_of_a_zone_agree(zone: str) -> None:
    """Around every change of the zone's offset of ten years, and around each midnight."""
    clock, info = Clock(zone, "submit"), ZoneInfo(zone)
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(3_650)]
    instants = []
    for day in days:
        since, until = clock.bounds(Period(day, day))
        assert since is not None
        assert until is not None
        inside, outside = (since, until - timedelta(milliseconds=1)), (until,)
        assert {at.astimezone(info).date() for at in inside} == {day}
        assert {at.astimezone(info).date() for at in outside} == {day + timedelta(days=1)}
        instants += [*inside, *outside]
    for second, _ in offsets(zone):
        at = datetime.fromtimestamp(second, UTC)
        instants += [at - timedelta(milliseconds=1), at]
    with duckdb.connect() as database:
        database.execute("CREATE TABLE call (n INTEGER, submit_time TIMESTAMPTZ)")
        database.execute(
            "INSERT INTO call SELECT generate_subscripts($at, 1), "
            "unnest($at::VARCHAR[])::TIMESTAMPTZ",
            {"at": [at.isoformat() for at in instants]},
        )
        query = f"SELECT {clock.day_sql()} FROM call ORDER BY n"
        told = [row[0] for row in database.execute(query).fetchall()]
    assert told == [at.astimezone(info).date() for at in instants]


DAYS = [date(2026, 11, day) for day in range(1, 12)]
PARTS = [f"submit_date={day}/x.parquet" for day in reversed(DAYS)]
UNDATED = "submit_date=__HIVE_DEFAULT_PARTITION__/x.parquet"


def test_folders_are_left_out_only_where_no_clock_could_need_them() -> None:
    clock = Clock("Asia/Shanghai", "submit")

    def days(period: Period) -> list[date | None]:
        return [day_of(part) for part in clock.parts_of([*PARTS, UNDATED], period)]

    assert days(Period(DAYS[4], DAYS[5])) == [*DAYS[2:8], None]
    assert days(Period(DAYS[4], None)) == [*DAYS[2:], None]
    assert days(Period(None, DAYS[4])) == [*DAYS[:7], None]
    assert days(Period()) == [*DAYS, None]
    hangup = Clock("Asia/Shanghai", "hangup")
    assert len(hangup.parts_of([*PARTS, UNDATED], Period(DAYS[4], DAYS[5]))) == 12


def test_a_scope_says_its_clock() -> None:
    scope = Scope(Clock("Asia/Shanghai", "answer"), Period())
    assert scope.told == "days of Asia/Shanghai, by answer time"
