"""Records without a day, without a cost or with an absurd one are counted with their money."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from statistics import median_low
from typing import Any

import pytest

from harvester.cli.main import run_command
from harvester.simulator import SimulatorOptions
from tests.support.datasets import made, simulated
from tests.support.oracle import Row

COUNT = 6_000
PLAIN = {"call_duration_s": 60, "charged_duration_s": 60}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    out = tmp_path_factory.mktemp("apart") / "out"
    return out, simulated(out, SimulatorOptions(seed=20261127, wild=True), COUNT)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a report and an audit both say of these records."""
    assert run_command(["report", *words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["apart"]
    assert run_command(["audit", *words, "--json"]) == 0
    audit = json.loads(capsys.readouterr().out.splitlines()[-1])["apart"]
    assert report == audit
    return report


def named(row: Row) -> str:
    currency = row["currency"] or "-"
    return currency if re.fullmatch("[A-Za-z]{3}|-", currency) else "odd"


def group(rows: Iterable[Row]) -> dict[str, Any]:
    """The same of plain rows."""
    found = list(rows)
    calls: dict[str, int] = defaultdict(int)
    cost: dict[str, Decimal] = defaultdict(Decimal)
    for row in found:
        calls[named(row)] += 1
        if row["cost"] is not None:
            cost[named(row)] += row["cost"]
    return {
        "calls": len(found),
        "answered": sum(row["answered"] for row in found),
        "charged_duration_s": sum(row["charged_duration_s"] or 0 for row in found),
        "calls_by_currency": dict(calls),
        "cost": {name: amount.normalize() for name, amount in cost.items()},
    }


def read(said: dict[str, Any]) -> dict[str, Any]:
    return said | {"cost": {name: Decimal(text).normalize() for name, text in said["cost"].items()}}


def absurd(rows: list[Row]) -> list[Row]:
    """The rule once more: per charged minute over 20 times the median of 20 rated calls."""
    minutes: dict[tuple[str, str], list[Fraction]] = defaultdict(list)
    for row in rows:
        if row["cost"] and row["cost"] > 0 and row["charged_duration_s"]:
            minutes[row["code"] or "", row["currency"] or ""].append(minute(row))
    usual = {key: median_low(found) for key, found in minutes.items() if len(found) >= 20}

    def is_absurd(row: Row) -> bool:
        if row["cost"] is None:
            return False
        if abs(row["cost"]) >= 1_000_000:
            return True
        most = usual.get((row["code"] or "", row["currency"] or ""))
        return bool(most is not None and row["charged_duration_s"] and minute(row) > 20 * most)

    return [row for row in rows if is_absurd(row)]


def minute(row: Row) -> Fraction:
    return Fraction(row["cost"]) * 60 / int(row["charged_duration_s"])


def test_groups_are_those_of_the_records(
    night: tuple[Path, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, rows = night
    found = told(capsys, "--out", str(out))
    undated = [row for row in rows if row["submit_time"] is None]
    unpriced = [row for row in rows if row["cost"] is None]
    assert read(found["without_day"]) == group(undated)
    assert read(found["without_cost"]) == group(unpriced)
    assert read(found["absurd"]) == group(absurd(rows))
    assert all(found[name]["calls"] for name in ("without_day", "without_cost", "absurd"))


def test_groups_of_a_period_are_those_of_its_records_and_all_without_a_day(
    night: tuple[Path, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, rows = night
    days = sorted({row["submit_time"].date() for row in rows if row["submit_time"]})
    first, last = days[1], days[-2]
    words = ("--from", str(first), "--to", str(last), "--zone", "UTC")
    found = told(capsys, "--out", str(out), *words)
    month = [r for r in rows if r["submit_time"] and first <= r["submit_time"].date() <= last]
    assert len(month) < len(rows) - 20
    assert read(found["without_day"]) == group(row for row in rows if row["submit_time"] is None)
    assert read(found["without_cost"]) == group(row for row in month if row["cost"] is None)
    assert read(found["absurd"]) == group(absurd(month))


def test_by_answer_time_calls_that_nobody_answered_have_no_day(
    night: tuple[Path, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, rows = night
    day = max(row["answer_time"] for row in rows if row["answer_time"]).date()
    found = told(capsys, "--out", str(out), "--date-by", "answer", "--from", str(day))
    unanswered = [row for row in rows if row["answer_time"] is None]
    assert read(found["without_day"]) == group(unanswered)


def usual(times: int, **more: Any) -> list[dict[str, Any]]:
    """Calls of a minute at 0.01."""
    return [PLAIN | {"cost": Decimal("0.01")} | more] * times


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        # Of 20 rated calls the median is 0.01: 0.2 is 20 times as much, and not over it.
        ([*usual(19), PLAIN | {"cost": Decimal("0.2")}], 0),
        ([*usual(19), PLAIN | {"cost": Decimal("0.20000001")}], 1),
        ([*usual(18), PLAIN | {"cost": Decimal("0.20000001")}], 0),  # 19 are too few
        # Two minutes for 0.4 are 0.2 a minute.
        ([*usual(19), {"charged_duration_s": 120, "cost": Decimal("0.4")}], 0),
        ([*usual(19), {"charged_duration_s": 120, "cost": Decimal("0.41")}], 1),
        # Free calls and calls without seconds are not rated; no cost is none.
        ([*usual(19), *usual(9, cost=Decimal(0)), PLAIN | {"cost": Decimal(3)}], 1),
        ([*usual(18), *usual(9, cost=Decimal(0)), PLAIN | {"cost": Decimal(3)}], 0),
        ([*usual(18), *usual(9, charged_duration_s=0), PLAIN | {"cost": Decimal(3)}], 0),
        ([*usual(19), *usual(9, cost=None), PLAIN | {"cost": Decimal(3)}], 1),
        ([*usual(20), {"charged_duration_s": 0, "cost": Decimal(3)}], 0),
        # Another destination, another currency: compared by themselves.
        ([*usual(20), PLAIN | {"cost": Decimal(3), "code": "Fiji"}], 0),
        ([*usual(20), PLAIN | {"cost": Decimal(3), "currency": "EUR"}], 0),
        ([*usual(19, code=None), PLAIN | {"cost": Decimal(3), "code": None}], 1),
        # Of 10 and 10 the lower is the median.
        ([*usual(10), *usual(9, cost=Decimal(1)), PLAIN | {"cost": Decimal(3)}], 10),
        ([*usual(9), *usual(10, cost=Decimal(1)), PLAIN | {"cost": Decimal(3)}], 0),
        # A million and more, whatever else there is.
        ([{"cost": Decimal("999999.99999999")}], 0),
        ([{"cost": Decimal(1_000_000)}], 1),
        ([{"cost": Decimal(-1_000_000)}], 1),
        ([{"cost": Decimal(1_000_000), "charged_duration_s": None}], 1),
    ],
)
def test_a_cost_is_absurd(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    number: int,
) -> None:
    made(tmp_path / "out", rows)
    assert told(capsys, "--out", str(tmp_path / "out"))["absurd"]["calls"] == number


def shown(capsys: pytest.CaptureFixture[str], out: Path, *words: str) -> tuple[str, str, str]:
    """The screen of a report, its page, and the screen of an audit."""
    file = out.parent / "page.html"
    assert run_command(["report", "--out", str(out), *words, "--html", str(file)]) == 0
    report = capsys.readouterr().out
    assert run_command(["audit", "--out", str(out), *words]) == 0
    return report, file.read_text().replace("&#x27;", "'"), capsys.readouterr().out


def flat(text: str) -> str:
    return " ".join(text.split())


def test_screens_and_page_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(
        tmp_path / "out",
        [
            {"cost": Decimal(7)},
            {"cost": Decimal(2_000_000)},
            {"cost": None},
            {"cost": None, "currency": "EUR", "answered": False, "charged_duration_s": 30},
            {"submit_time": None, "cost": Decimal("1.125")},
            {"submit_time": None, "cost": Decimal("0.5"), "currency": "EUR"},
        ],
    )
    out = tmp_path / "out"
    unpriced = (
        "Records without a cost, in no sum of money: 2 (1 in EUR, 1 in USD); answered: 1, minutes "
        "charged: 1.5."
    )
    absurd_ = (
        "Records with an absurd cost (1,000,000 and more, or over 20 times the usual price of a "
        "minute): 1, 2,000,000.00 USD; in the sums."
    )
    undated = "Records without a submit time, and so without a day: 2, 0.50 EUR, 1.13 USD; in "
    for words, where in (((), "the figures over all days."), (("--month", "2026-11"), "none of")):
        report, page, audit = shown(capsys, out, *words)
        for text in (report, page, audit):
            for said in (unpriced, absurd_, undated + where):
                assert said in flat(text)
        for text in (report, page):
            sensible = "7.00 USD" if words else "8.13 USD"
            assert f"Without the absurd costs the sums are {sensible}." in flat(text)


def test_where_all_is_well_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "out", [{}, {}])
    for text in shown(capsys, tmp_path / "out"):
        assert "note:" not in text
        assert "Records with" not in text
