"""Whoever reads sees each call as it is now, whether its changes are folded in or not."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import harvester as library
from harvester.operations.compact import Order, compact
from tests.run.test_cli_commands import harvester
from tests.support.changes import change, current, rows_of
from tests.support.events import SignallingEvents
from tests.support.fakes import House
from tests.support.nights import DAYS, nights

REFETCH, LATER = "20261001T000000Z-00000a", "20261002T000000Z-00000b"
ONE, OTHER, THIRD = (
    f"{DAYS[day].replace('-', '')[2:]}120000000000{row}" for day, row in ((0, 0), (0, 1), (2, 7))
)
COSTS = "SELECT sum(cost) FROM {} WHERE currency = 'EUR'"


@pytest.fixture(params=["as they came", "folded in", "half folded in"])
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    with closing(nights(tmp_path / "out", count=4)) as made:
        change(made, {ONE: "1", THIRD: "3"}, REFETCH)
        if request.param == "half folded in":
            made.close()
            compact(made.config, Order(min_files=2, older_than_s=0), SignallingEvents())
            made.db = sqlite3.connect(made.output.database, isolation_level=None)
        change(made, {ONE: "2.5", OTHER: "0.00000001"}, LATER)
        made.close()
        if request.param == "folded in":
            compact(made.config, Order(min_files=2, older_than_s=0), SignallingEvents())
        yield made


def costs(rows: dict[str, dict[str, Any]]) -> dict[str | None, Decimal]:
    found: dict[str | None, Decimal] = {}
    for row in rows.values():
        found[row["currency"]] = found.get(row["currency"], Decimal(0)) + row["cost"]
    return found


def test_sql_has_the_calls_as_they_are_the_files_and_the_changes(house: House) -> None:
    output = library.open_output(house.output.root)
    now = output.sql("SELECT currency, sum(cost) AS cost, count(*) AS calls FROM cdr GROUP BY ALL")
    assert {row["currency"]: row["cost"] for row in now.to_pylist()} == costs(current(house))
    assert sum(now["calls"].to_pylist()) == 48
    files = output.sql("SELECT currency, sum(cost) AS cost FROM cdr_files GROUP BY ALL")
    assert {row["currency"]: row["cost"] for row in files.to_pylist()} == costs(rows_of(house))
    changes = output.sql("SELECT voice_id, old.cost, new.cost FROM changes ORDER BY publication")
    assert sorted(changes["voice_id"].to_pylist()) == sorted([ONE, THIRD, ONE, OTHER])
    dates = "SELECT DISTINCT submit_date FROM cdr WHERE voice_id = '{}'"
    found = output.sql(dates.format(ONE))["submit_date"].to_pylist()
    assert [str(one) for one in found] == [DAYS[0]]


def test_report_audit_and_export_have_the_calls_as_they_are(tmp_path: Path, house: House) -> None:
    right = costs(current(house))
    words = ("--out", "out", "--zone", "UTC")
    report = json.loads(harvester("report", *words, "--json", cwd=tmp_path).stdout)
    assert {name: Decimal(cost) for name, cost in report["total"]["cost"].items()} == right
    assert report["total"]["calls"] == 48
    day = harvester("report", *words, "--from", DAYS[0], "--to", DAYS[0], "--json", cwd=tmp_path)
    of_day = {name: row for name, row in current(house).items() if row["folder"].endswith(DAYS[0])}
    found = json.loads(day.stdout)["total"]["cost"]
    assert {name: Decimal(cost) for name, cost in found.items()} == costs(of_day)
    audit = json.loads(harvester("audit", *words, "--json", cwd=tmp_path).stdout.splitlines()[-1])
    assert audit["records"] == 48
    for form in ("csv", "parquet"):
        file = tmp_path / f"all.{form}"
        done = harvester("export", "delivered", "--out", "out", "-o", str(file), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        frame = (
            pl.read_parquet(file) if form == "parquet" else pl.read_csv(file, infer_schema=False)
        )
        assert sorted(frame["voice_id"]) == sorted(current(house))
        sums = {row["voice_id"]: Decimal(row["cost"]) for row in frame.iter_rows(named=True)}
        assert sums == {name: row["cost"] for name, row in current(house).items()}
    one_day = harvester(
        "export", "delivered", *words, "--from", DAYS[0], "--to", DAYS[0], cwd=tmp_path
    )
    rows = list(csv.DictReader(StringIO(one_day.stdout)))
    assert {row["voice_id"]: Decimal(row["cost"]) for row in rows} == {
        name: row["cost"] for name, row in of_day.items()
    }


def test_a_part_of_changes_that_is_missing_is_told(tmp_path: Path, house: House) -> None:
    min(house.output.changes.glob("*/*.parquet")).unlink()
    for command in (("report",), ("audit",), ("sql", "FROM cdr"), ("export", "delivered")):
        done = harvester(*command, "--out", "out", cwd=tmp_path)
        assert done.returncode == 6, (command, done.stdout)
        assert "changes/change_date=" in done.stderr


def test_a_part_of_changes_that_was_altered_is_refused(tmp_path: Path) -> None:
    """A bit that a disk has lost would make figures others, and nobody would see it."""
    with closing(nights(tmp_path / "out", count=2)) as made:
        change(made, {ONE: "1"}, REFETCH)
    part = min(made.output.changes.glob("*/*.parquet"))
    content = bytearray(part.read_bytes())
    content[60] ^= 1
    part.write_bytes(content)
    for words in (("report",), ("audit",), ("export", "delivered"), ("export", "changes")):
        done = harvester(*words, "--out", "out", cwd=tmp_path)
        assert done.returncode == 6, (words, done.stdout)
        assert f"{part.name} was changed since it was published" in done.stderr


def test_export_changes_has_a_line_a_change_with_old_and_new(tmp_path: Path, house: House) -> None:
    done = harvester("export", "changes", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(StringIO(done.stdout)))
    found = {(row["voice_id"], row["old_cost"], row["new_cost"]) for row in rows}
    assert found == {
        (ONE, "0.00000000", "1.00000000"),
        (THIRD, "0.00000000", "3.00000000"),
        (ONE, "1.00000000", "2.50000000"),
        (OTHER, "0.01000000", "0.00000001"),
    }
    assert {row["changed"] for row in rows} == {"cost"}
    assert {row["submit_date"] for row in rows} == {DAYS[0], DAYS[2]}
    file = tmp_path / "changes.parquet"
    words = ("--zone", "UTC", "--from", DAYS[2], "--to", DAYS[2])
    done = harvester("export", "changes", "--out", "out", *words, "-o", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frame = pl.read_parquet(file)
    assert frame["voice_id"].to_list() == [THIRD]
    assert frame["new_cost"].to_list() == [Decimal(3)]


def test_report_says_what_changed_and_what_it_comes_to(
    tmp_path: Path, house: House, request: pytest.FixtureRequest
) -> None:
    words = ("report", "--out", "out", "--zone", "UTC")
    found = json.loads(harvester(*words, "--json", cwd=tmp_path).stdout)["changes"]
    assert found["changes"] == 4
    # By hand: ONE 0 -> 1 -> 2.5 and THIRD 0 -> 3 in USD (ids divisible by 3) or EUR, OTHER down.
    up, down = found["money"]["up"], found["money"]["down"]
    assert sum(map(Decimal, up.values())) == Decimal("5.5")
    assert sum(map(Decimal, down.values())) == Decimal("0.00999999")
    assert found["by_column"] == {"cost": 4}
    assert found["by_reason"] == {"vendor": 4}
    assert [(row["name"], row["changes"]) for row in found["by_day"]] == [
        (DAYS[0], 3),
        (DAYS[2], 1),
    ]
    assert [row["changes"] for row in found["by_destination"]] == [4]
    waiting = {"as they came": 4, "half folded in": 2, "folded in": 0}
    assert found["not_folded"] == waiting[request.node.callspec.params["house"]]
    of_day = json.loads(
        harvester(*words, "--from", DAYS[2], "--to", DAYS[2], "--json", cwd=tmp_path).stdout
    )["changes"]
    assert of_day["changes"] == 1
    page = tmp_path / "report.html"
    screen = harvester(*words, "--html", str(page), cwd=tmp_path).stdout
    assert "Changed since they were delivered: 4, counted above as they are now" in screen
    assert "Changed since delivered" in page.read_text()


def test_a_change_of_the_currency_goes_out_of_one_and_into_the_other(tmp_path: Path) -> None:
    house = nights(tmp_path / "out", count=2)
    row = current(house)[OTHER]
    change(house, {OTHER: "5"}, REFETCH, currency="CNY")
    house.close()
    told = harvester("report", "--out", "out", "--zone", "UTC", "--json", cwd=tmp_path).stdout
    money = json.loads(told)["changes"]["money"]
    assert {name: Decimal(cost) for name, cost in money["up"].items()} == {"CNY": Decimal(5)}
    assert {name: Decimal(cost) for name, cost in money["down"].items()} == {
        row["currency"]: row["cost"]
    }


def test_money_in_what_is_no_currency_is_added_up_under_one_name(tmp_path: Path) -> None:
    house = nights(tmp_path / "out", count=2)
    rows = current(house)
    for voice_id, cost, odd in ((ONE, "5", "12345678"), (OTHER, "2", "87654321")):
        change(house, {voice_id: cost}, REFETCH, currency=odd)
    house.close()
    told = harvester("report", "--out", "out", "--zone", "UTC", "--json", cwd=tmp_path).stdout
    found = json.loads(told)["changes"]
    assert {name: Decimal(cost) for name, cost in found["money"]["up"].items()} == {
        "odd": Decimal(7)
    }
    (day,) = found["by_day"]
    assert Decimal(day["money"]["up"]["odd"]) == Decimal(7)
    down = sum(map(Decimal, found["money"]["down"].values()))
    assert down == rows[ONE]["cost"] + rows[OTHER]["cost"]


def test_without_a_change_nothing_is_said_of_any(tmp_path: Path) -> None:
    nights(tmp_path / "out", count=1).close()
    done = harvester("export", "changes", "--out", "out", cwd=tmp_path)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    screen = harvester("report", "--out", "out", cwd=tmp_path).stdout
    assert "Changed since" not in screen
    found = library.open_output(tmp_path / "out").sql("SELECT count(*) AS n FROM changes")
    assert found["n"].to_pylist() == [0]
