"""Each figure that `report --json` and `audit --json` tell is reckoned a second time, from rows.

What is expected is made of the simulator's own records with Python's integers and fractions, by the
words of docs/report.md and docs/audit.md.  The whole objects are compared, so a figure that is
added without being reckoned here fails.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harvester.cli.main import run_command
from harvester.simulator import SimulatorOptions
from harvester.simulator.calls import call_of
from harvester.simulator.drift import state
from tests.run import (
    test_billing_days,
    test_report_apart,
    test_report_billing,
    test_report_overview,
)
from tests.support.datasets import made, simulated
from tests.support.oracle import Row

OPTIONS = SimulatorOptions(seed=20261105, wild=True)
ZONE = "America/New_York"
SCOPE = {
    "timezone": ZONE,
    "date_by": "submit",
    "clock": f"days of {ZONE}, by submit time",
    "from": None,
    "to": None,
}
ELSEWHERE = {
    # Of the report: what no row says, and what other tests reckon of rows of their own.
    "made_at": test_report_overview.test_output_without_calls_is_told_and_no_error,
    "prices": test_report_overview.test_changes_are_those_of_the_records,
    "unfinished": test_report_overview.test_open_and_dead_are_told_by_reason,
    "control_totals": test_report_overview.test_runs_are_those_that_began_in_the_period,
    "billing_days": test_billing_days.test_a_report_has_the_days_of_its_period,
    # Of an audit: the limits are asked for below.
    "above": test_report_billing.test_greatest_amounts_are_summed_without_error,
}
"""Keys that are left out here, and where they are tried."""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    out = tmp_path_factory.mktemp("figures") / "out"
    return out, simulated(out, OPTIONS, 3_000)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert run_command([*words, "--zone", ZONE, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- how figures are written ---------------------------------------------------------------------


def half_up(number: Fraction | None, digits: int) -> str | None:
    """As decimal text, rounded half up; what is none stays so."""
    if number is None:
        return None
    units = (2 * abs(number) * 10**digits + 1) // 2
    whole, rest = divmod(units, 10**digits)
    return f"{'-' if number < 0 and units else ''}{whole}.{rest:0{digits}}"


def part(some: int, of: int, times: int = 1) -> Fraction | None:
    return Fraction(times * some, of) if of else None


def plain(money: Decimal) -> str:
    text = f"{money:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def currency_of(row: Row) -> str:
    named = row["currency"] or "-"
    return named if re.fullmatch("[A-Za-z]{3}|-", named) else "odd"


# --- a report ------------------------------------------------------------------------------------


def reached_by(row: Row) -> bool | None:
    """Whether a seizure counts in NER; None where nobody can say."""
    if row["answered"]:
        return True
    code = test_report_overview.sip(row)
    if code is None:
        return True if row["termination_code"] == "0" else None
    return code in {200, 480, 486, 600, 603} or (code == 487 and row["ringing_time"] is not None)


def seer_of(row: Row) -> bool | str | None:
    """Whether it counts in SEER; "left out" where it is not even in the denominator."""
    code = test_report_overview.sip(row)
    if not row["answered"] and code is not None and (300 <= code < 400 or code in {401, 402, 407}):
        return "left out"
    return False if not row["answered"] and code == 487 else reached_by(row)


def between(name: str, judged: list[bool | None]) -> dict[str, str | None]:
    low = part(judged.count(True), len(judged), 100)
    high = part(judged.count(True) + judged.count(None), len(judged), 100)
    return {
        f"{name}_percent": half_up(low, 2) if low == high else None,
        f"{name}_percent_low": half_up(low, 2),
        f"{name}_percent_high": half_up(high, 2),
    }


def figures(rows: Iterable[Row]) -> dict[str, Any]:
    found = list(rows)
    answered = [row for row in found if row["answered"]]
    seized = [row for row in found if row["answered"] or row["call_time"] is not None]
    judged = [reached_by(row) for row in seized]
    by_seer = [verdict for row in seized if (verdict := seer_of(row)) != "left out"]
    lengths = [row["call_duration_s"] or 0 for row in found]
    charged = [row["charged_duration_s"] or 0 for row in found]
    timed = sum(row["call_duration_s"] is not None for row in answered)
    delays = [one for row in found if (one := test_report_overview.pdd(row)) is not None]
    cost: dict[str, Decimal] = defaultdict(Decimal)
    for row in found:
        if row["cost"] is not None:
            cost[currency_of(row)] += row["cost"]
    settled = [row["settle_pay"] for row in found if row["settle_pay"] is not None]
    return {
        "calls": len(found),
        "answered": len(answered),
        "call_duration_s": sum(lengths),
        "charged_duration_s": sum(charged),
        "minutes": half_up(Fraction(sum(lengths), 60), 1),
        "charged_minutes": half_up(Fraction(sum(charged), 60), 1),
        "unfinished": sum(not row["is_final"] for row in found),
        "unrated": sum(not row["is_rated"] for row in found),
        "seizures": len(seized),
        "asr_percent": half_up(part(len(answered), len(seized), 100), 2),
        "abr_percent": half_up(part(len(answered), len(found), 100), 2),
        **between("ner", judged),
        "ner_calls": len(judged) - judged.count(None),
        "ner_unjudged": judged.count(None),
        **between("seer", by_seer),  # type: ignore[arg-type]
        "acd_s": half_up(part(sum(lengths), timed), 1),
        "pdd_s": half_up(part(sum(delays), 1000 * len(delays)), 3),
        "cost": {name: plain(amount) for name, amount in cost.items()},
        "settle_pay": plain(sum(settled, Decimal(0))) if settled else None,
        "settled": len(settled),
    }


def rows_by(rows: list[Row], key: str, of: Callable[[Row], str | None]) -> list[dict[str, Any]]:
    groups: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        groups[of(row)].append(row)
    return [{key: name, **figures(group)} for name, group in groups.items()]


def by_calls(key: str, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(table, key=lambda row: (-row["calls"], row[key] or ""))


def local(row: Row) -> datetime | None:
    at: datetime | None = row["submit_time"]
    return at and at.astimezone(ZoneInfo(ZONE))


def day_of(row: Row) -> str | None:
    at = local(row)
    return None if at is None else f"{at:%Y-%m-%d}"


def hours(rows: list[Row]) -> dict[str, Any]:
    week = [[0] * 24 for _ in range(7)]
    calls: Counter[datetime] = Counter()
    answered: Counter[datetime] = Counter()
    for row in rows:
        if (at := local(row)) is not None:
            week[at.weekday()][at.hour] += 1
            hour = at.replace(minute=0, second=0, microsecond=0).astimezone(UTC)
            calls[hour] += 1
            answered[hour] += row["answered"]
    busiest = sorted(calls, key=lambda hour: (-calls[hour], hour))[:5]
    return {
        "by_weekday_and_hour": week,
        "busiest_hours": [
            {
                "begins_at": hour.astimezone(ZoneInfo(ZONE)).isoformat(),
                "calls": calls[hour],
                "answered": answered[hour],
            }
            for hour in busiest
        ],
    }


def delay(rows: list[Row]) -> dict[str, Any]:
    """Nearest rank: the smallest that at least so many per cent don't exceed."""
    found = sorted(one for row in rows if (one := test_report_overview.pdd(row)) is not None)
    median, p95 = (found[-(-percent * len(found) // 100) - 1] for percent in (50, 95))
    return {"calls": len(found), "median_ms": median, "p95_ms": p95}


def apart(rows: list[Row]) -> dict[str, Any]:
    found = {
        "without_day": [row for row in rows if row["submit_time"] is None],
        "without_cost": [row for row in rows if row["cost"] is None],
        "absurd": test_report_apart.absurd(rows),
    }
    assert all(found.values())
    groups = {name: test_report_apart.group(group) for name, group in found.items()}
    for one in groups.values():
        one["cost"] = {name: plain(amount) for name, amount in one["cost"].items()}
    return groups


def stated(out: Path, rows: list[Row]) -> dict[str, Any]:
    """No account and no vendor: these files were made without a harvest."""
    presumed = 0
    for row in rows:
        call = call_of(OPTIONS.seed, row["voice_id"], OPTIONS.fates, OPTIONS.bill)
        said_ = state(call, OPTIONS.seed, drift=OPTIONS.drift, wild=OPTIONS.wild).fields
        presumed += "costEur" not in said_ and said_["currency"].value is None
    assert 0 < presumed < len(rows)
    return {
        "output": str(out),
        "account": None,
        "vendor": None,
        "presumed_currency": {
            "records": presumed,
            "of_records": len(rows),
            "files_without": 0,
        },
    }


def test_every_figure_of_a_report(
    night: tuple[Path, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, rows = night
    (told,) = said(capsys, "report", "--out", str(out))
    days = sorted(rows_by(rows, "day", day_of), key=lambda row: row["day"] or "")
    codes = rows_by(rows, "termination_code", lambda row: row["termination_code"])
    places = rows_by(rows, "destination", lambda row: row["destination_country"])
    found_codes = told["by_termination_code"]["rows"]
    words = {row["termination_code"]: row.pop("meaning") for row in found_codes}
    assert (words["486"], words["200"]) == ("Busy Here", "OK")
    dated = [day for row in rows if (day := day_of(row))]
    assert {key: value for key, value in told.items() if key not in ELSEWHERE} == {
        "type": "report",
        **SCOPE,
        "first_day": min(dated),
        "last_day": max(dated),
        "files": len(list(out.glob("cdr/*/*.parquet"))),
        "total": figures(rows),
        "apart": apart(rows),
        "by_day": days,
        "by_destination": {"rows": by_calls("destination", places), "others": None},
        "by_termination_code": {"rows": by_calls("termination_code", codes), "others": None},
        "pdd": delay(rows),
        **hours(rows),
        "changes": {
            "changes": 0,
            "money": {"up": {}, "down": {}},
            "by_reason": {},
            "by_column": {},
            "by_day": [],
            "by_destination": [],
            "not_folded": 0,
        },
        **stated(out, rows),
    }


# --- an audit ------------------------------------------------------------------------------------


def test_every_figure_of_an_audit(
    night: tuple[Path, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, rows = night
    *rules, whole = said(capsys, "audit", "--out", str(out))
    again = test_report_billing.reckon(rows)
    assert {rule["rule"] for rule in rules} == again.keys()
    numbers = {row["voice_id"]: row["callee"] or "" for row in rows}
    places = {row["voice_id"]: row["code"] or "" for row in rows}
    for rule in rules:
        one = again[rule["rule"]]
        worst = rule.pop("worst")
        ranked = sorted(one.records, key=test_report_billing._worst_first)[:10]
        assert [(w["voice_id"], w["amount"]) for w in worst] == [
            (voice_id, None if amount is None else plain(amount)) for amount, _, voice_id in ranked
        ]
        for shown in worst:
            number = numbers[shown["voice_id"]]
            assert shown["destination"] == places[shown["voice_id"]]
            assert shown["callee"] in {"***", f"{number[:3]}{'*' * (len(number) - 5)}{number[-2:]}"}
            assert isinstance(shown["found"], str)
            assert isinstance(shown["expected"], str)
            assert shown["currency"]
        sides = {
            name: {
                currency: plain(total)
                for currency, amounts in one.amounts.items()
                if (total := sum((sign * a for a in amounts if sign * a > 0), Decimal(0)))
            }
            for name, sign in (("over", 1), ("under", -1))
        }
        assert {k: v for k, v in rule.items() if k not in {"assumption", "tolerance"}} == {
            "type": "rule",
            "rule": rule["rule"],
            "checked": one.checked,
            "differing": len(one.ids),
            **sides,
            "cost": {name: plain(cost) for name, cost in one.costs.items() if cost},
        }
    assert {key: value for key, value in whole.items() if key not in ELSEWHERE} == {
        "type": "audit",
        "code": None,
        **SCOPE,
        "differing": sum(len(one.ids) for one in again.values()),
        "apart": apart(rows),
        "records": len(rows),
        **stated(out, rows),
    }


def test_amounts_above_a_limit_are_those_of_the_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calls of a minute at 0.012, billed at 1.012 USD and 2.012 EUR: 1 and 2 too much."""
    dear: list[dict[str, Any]] = [
        {"cost": Decimal("1.012")},
        {"cost": Decimal("2.012"), "currency": "EUR"},
    ]
    at = datetime(2026, 11, 3, 10, tzinfo=UTC)
    rows = [one | {"callee": f"9180{n}", "code": f"Place {n}"} for n, one in enumerate(dear)]
    made(tmp_path / "out", [row | {"submit_time": at - timedelta(days=2)} for row in rows])
    words = ["audit", "--out", str(tmp_path / "out"), "--json", "--fail-above"]
    assert run_command([*words, "USD=1,EUR=1.99"]) == 3
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["above"] == [{"rule": "cost", "currency": "EUR", "over": "2", "limit": "1.99"}]
    assert told["code"] == "found.amount"
