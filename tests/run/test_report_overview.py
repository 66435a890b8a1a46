"""Every figure of a report is what plain Python makes of the simulator's own truth."""

from __future__ import annotations

import json
import random
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harvester.analysis.clock import Clock
from harvester.analysis.html.report_page import page
from harvester.analysis.period import Period
from harvester.analysis.report.aggregate import Calls, count_calls
from harvester.analysis.report.figures import Figures
from harvester.analysis.report.prices import PriceChange
from harvester.analysis.report.report import Order, Report, make_report
from harvester.analysis.report.unfinished import Unknown
from harvester.analysis.scope import Scope
from harvester.cli.commands.demo_tables import first_look
from harvester.cli.main import run_command
from harvester.cli.ui.report_screen import screen
from harvester.config import Billing
from harvester.simulator import SimulatorOptions
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.id_counts import IdCounts
from harvester.state.lock import OutputLock
from harvester.state.run_records import begin_run
from harvester.state.values import Batch, DeadLetter, OpenCall
from harvester.storage.output import Output
from tests.run.test_sql import BLOCKS
from tests.support.datasets import RUN_ID, made, simulated
from tests.support.oracle import NO_DATE, Row
from tests.support.summaries import summary_of

OPTIONS = SimulatorOptions(seed=20261105)
COUNT = 2_500
ZONE = "Asia/Kolkata"  # half an hour off: no hour of UTC is an hour there
EFFECTIVE = {200, 480, 486, 600, 603}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    out = tmp_path_factory.mktemp("output [1] submit_date=x") / "out"
    return out, simulated(out, OPTIONS, COUNT, ZONE)


def report_of(out: Path, period: Period | None = None, zone: str = ZONE) -> Report:
    scope = Scope(Clock(zone, "submit"), period or Period())
    return make_report(Output(out), Order(scope, "400MB"))


def calls_of(out: Path, tmp_path: Path) -> Calls:
    files = sorted(out.glob("cdr/*/*.parquet"))
    scope = Scope(Clock("UTC", "submit"), Period())
    return count_calls(files, scope, memory_limit="400MB", scratch=tmp_path)


# --- the figures, reckoned a second time ---------------------------------------------------------


def reckon(rows: Iterable[Row]) -> Figures:
    found = Figures()
    for row in rows:
        found.calls += 1
        found.answered += row["answered"]
        found.timed += row["answered"] and row["call_duration_s"] is not None
        found.call_s += row["call_duration_s"] or 0
        found.charged_s += row["charged_duration_s"] or 0
        found.unfinished += not row["is_final"]
        found.unrated += not row["is_rated"]
        delay = pdd(row)
        if delay is not None:
            found.pdd_calls += 1
            found.pdd_ms += delay
        found.settled += row["settle_pay"] is not None
        found.settle_pay += row["settle_pay"] or 0
        if row["call_time"] is not None or row["answered"]:
            code = sip(row)
            found.seized += 1
            effective = row["answered"] or code in EFFECTIVE
            if code is None and row["termination_code"] == "0":
                effective = True
            found.judged += effective or code is not None
            found.effective += effective
            found.reached += effective or (code == 487 and row["ringing_time"] is not None)
            again = code is not None and (code // 100 == 3 or code in {401, 402, 407})
            found.recoverable += not row["answered"] and again
        if row["cost"] is not None and row["is_rated"]:
            currency = row["currency"] if re.fullmatch("[A-Za-z]{3}", row["currency"]) else "odd"
            found.cost[currency] = found.cost.get(currency, Decimal(0)) + row["cost"]
    return found


def sip(row: Row) -> int | None:
    """The SIP code of a record, wherever the vendor has put it."""
    found = row["sip_code"]
    if found is None and row["extra"]:
        said = str(row["extra"].get("sipCode", ""))
        found = int(said) if re.fullmatch("[1-6][0-9][0-9]", said) else None
    return None if found is None else int(found)


def pdd(row: Row) -> int | None:
    if row["ringing_time"] is None or row["call_time"] is None:
        return None
    delay = (row["ringing_time"] - row["call_time"]) // timedelta(milliseconds=1)
    return int(delay) if 0 <= delay <= 600_000 else None


def by(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, Figures]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return {name: reckon(group) for name, group in groups.items()}


def test_totals_are_those_of_the_records(night: tuple[Path, list[Row]]) -> None:
    out, rows = night
    total = report_of(out).calls.total
    assert total == reckon(rows)
    assert total.calls == len(rows) > 2_000
    assert set(total.cost) == {"EUR", "USD"}


def test_measures_are_those_of_the_field(night: tuple[Path, list[Row]]) -> None:
    out, rows = night
    report = report_of(out)
    total = report.calls.total
    answered = [row for row in rows if row["answered"]]
    seized = [row for row in rows if row["call_time"] is not None or row["answered"]]
    delays = sorted(delay for row in rows if (delay := pdd(row)) is not None)
    assert total.asr == Decimal(100 * len(answered)) / len(seized)
    assert total.abr == Decimal(100 * len(answered)) / len(rows)
    assert len(answered) < len(seized) < len(rows)
    durations = [row["call_duration_s"] for row in answered if row["call_duration_s"] is not None]
    assert total.acd_s is not None
    assert abs(float(total.acd_s) - statistics.fmean(durations)) <= 1e-9
    assert report.delay.calls == len(delays)
    assert report.delay.median == statistics.median_low(delays)
    assert report.delay.p95 == delays[-(-len(delays) * 95 // 100) - 1]


NOT_ANSWERED: dict[str, Any] = {
    "answered": False,
    "answer_time": None,
    "ringing_time": None,
    "call_duration_s": 0,
    "termination_code": None,
    "sip_code": None,
}


def ended(code: str | None, **more: Any) -> dict[str, Any]:
    """A call that nobody answered, with its termination code as the data set has it."""
    sip_code = int(code) if code and re.fullmatch("[1-6][0-9][0-9]", code) else None
    return NOT_ANSWERED | {"termination_code": code, "sip_code": sip_code} | more


RANG = datetime(2026, 11, 2, 10, 0, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("call", "ner", "seer"),
    [
        (ended("486"), "reached", "reached"),
        (ended("480"), "reached", "reached"),
        (ended("600"), "reached", "reached"),
        (ended("603"), "reached", "reached"),
        (ended("404"), "failed", "failed"),
        (ended("503"), "failed", "failed"),
        (ended("503", ringing_time=RANG), "failed", "failed"),
        *(
            (ended(code), "failed", "left out")
            for code in ("300", "302", "399", "401", "402", "407")
        ),
        *((ended(code), "failed", "failed") for code in ("299", "400", "403", "406", "408")),
        (ended("487"), "failed", "failed"),
        (ended("487", ringing_time=RANG), "reached", "failed"),
        # The vendor's own codes: 0 is a success; any other a failure, and nobody knows where.
        (ended("0"), "reached", "reached"),
        (ended("1"), "unknown", "unknown"),
        (ended("7003"), "unknown", "unknown"),
        (ended(None), "unknown", "unknown"),
        (ended("X"), "unknown", "unknown"),
        # The SIP code of newer accounts, as a number or as text; no other field, and no nonsense.
        (ended("1", extra='{"sipCode":486}'), "reached", "reached"),
        (ended("1", extra='{"a":[],"sipCode":"503"}'), "failed", "failed"),
        (ended("0", extra='{"sipCode":"503"}'), "failed", "failed"),
        (ended("1", extra='{"sipCode":487}', ringing_time=RANG), "reached", "failed"),
        (ended("1", extra='{"sipCode":9999}'), "unknown", "unknown"),
        (ended("1", extra='{"sipCode":{"a":486}}'), "unknown", "unknown"),
        (ended("1", extra='{"other":{"sipCode":486}}'), "unknown", "unknown"),
        (ended("1", extra='{"sipCode":'), "unknown", "unknown"),
        (ended("503", extra='{"sipCode":486}'), "failed", "failed"),
        # Never sent on: no seizure, whatever it says.
        (ended("486", call_time=None), "left out", "left out"),
        (ended("1", call_time=None), "left out", "left out"),
        # Answered: reached, whatever it says.
        ({"termination_code": "1", "sip_code": None}, "reached", "reached"),
        ({"termination_code": "503", "sip_code": 503}, "reached", "reached"),
        ({"call_time": None}, "reached", "reached"),
    ],
)
def test_ner_and_seer_judge_a_call(
    tmp_path: Path, call: dict[str, Any], ner: str, seer: str
) -> None:
    made(tmp_path / "out", [call])
    total = calls_of(tmp_path / "out", tmp_path).total
    hundred, nothing = Decimal(100), Decimal(0)
    bounds = {
        "reached": (hundred, hundred),
        "failed": (nothing, nothing),
        "unknown": (nothing, hundred),
        "left out": None,
    }
    for ratio, judged in ((total.ner, ner), (total.seer, seer)):
        assert (ratio and (ratio.low, ratio.high)) == bounds[judged]
    assert total.unjudged == (ner == "unknown")


def test_what_cannot_be_judged_makes_ner_a_range_and_never_a_clean_hundred(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of ten seizures six were answered; four failed by the vendor's own code: 60 to 100 %."""
    made(tmp_path / "out", [*[{"termination_code": "0", "sip_code": None}] * 6, *[ended("1")] * 4])
    words = ["report", "--out", str(tmp_path / "out")]
    assert run_command([*words, "--html", str(tmp_path / "page.html")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "NER 60.0 to 100 % reached the other end (ITU-T E.425); 40.0 % of the seizures" in shown
    assert "SEER 60.0 to 100 %" in shown
    assert "60.0 to 100 %" in (tmp_path / "page.html").read_text()
    assert run_command([*words, "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert total["ner_percent"] is None
    assert (total["ner_percent_low"], total["ner_percent_high"]) == ("60.00", "100.00")
    assert (total["ner_calls"], total["ner_unjudged"], total["seizures"]) == (6, 4, 10)
    assert (total["seer_percent_low"], total["seer_percent_high"]) == ("60.00", "100.00")


def test_asr_is_of_seizures_and_abr_of_all_calls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten calls: three answered, three failed, four never sent on."""
    made(tmp_path / "out", [*[{}] * 3, *[ended("503")] * 3, *[ended("503", call_time=None)] * 4])
    assert run_command(["report", "--out", str(tmp_path / "out"), "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert (total["asr_percent"], total["abr_percent"]) == ("50.00", "30.00")
    assert (total["ner_percent"], total["seer_percent"]) == ("50.00", "50.00")


# --- rounding, words, what was settled -----------------------------------------------------------


def test_a_half_cent_is_rounded_up_in_report_page_and_sql(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    made(tmp_path / "out", [{"cost": Decimal("2.125")}, {"cost": Decimal(0)}])
    assert run_command(["report", "--out", out, "--html", str(tmp_path / "page.html")]) == 0
    assert "2.13  exactly 2.125" in capsys.readouterr().out
    assert (
        '<dd class="big">2.13</dd><dd class="soft">exactly 2.125'
        in (tmp_path / "page.html").read_text()
    )
    query = BLOCKS["The month's bill, to the cent"]
    assert run_command(["sql", "--out", out, "--json", query]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] == "2.13"
    look = [line.text for line in first_look(tmp_path / "out", Billing())]
    assert sum(" 2.13 " in f"{line} " for line in look) == 2


@pytest.mark.parametrize(
    ("billing", "told", "days"),
    [
        (Billing(), "days of Asia/Shanghai, by submit time", ["2026-11-02", "2026-11-01"]),
        (Billing(zone="UTC"), "days of UTC, by submit time", ["2026-11-01", "2026-10-31"]),
        (
            Billing(zone="UTC", date_by="hangup"),
            "days of UTC, by hangup time",
            ["2026-11-02", "2026-10-31", "(none)"],
        ),
    ],
)
def test_a_first_look_has_the_days_of_the_clock_that_it_names(
    tmp_path: Path, billing: Billing, told: str, days: list[str]
) -> None:
    """Calls of 23:30 UTC, of which one hung up after midnight and one has no hang-up."""
    late = [datetime(2026, *day, 23, 30, tzinfo=UTC) for day in ((11, 1), (10, 31))]
    hung_up = [late[0] + timedelta(hours=1), late[1] + timedelta(minutes=1), None]
    times = zip([late[0], late[1], late[1]], hung_up, strict=True)
    made(tmp_path / "out", [{"submit_time": at, "hangup_time": end} for at, end in times])
    lines = [line.text for line in first_look(tmp_path / "out", billing)]
    assert lines[0].strip() == told
    heads = lines.index(next(line for line in lines if "The newest days" in line))
    shown = [line.split()[0] for line in lines[heads + 1 : heads + 1 + len(days)]]
    assert shown == days
    assert lines[heads + 1 + len(days)] == ""
    assert not any("UTC" in line for line in lines[1:])


def test_what_was_settled_is_summed_apart_from_the_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"settle_pay": Decimal("0.01000001")}, {"settle_pay": Decimal("0.02")}, {}]
    made(tmp_path / "out", [*rows, {"settle_pay": Decimal("0.5"), "destination_country": "Fiji"}])
    words = ["report", "--out", str(tmp_path / "out")]
    assert run_command([*words, "--html", str(tmp_path / "page.html")]) == 0
    assert "0.53  exactly 0.53000001; settle_pay of 3 calls" in capsys.readouterr().out
    assert "exactly 0.53000001; settle_pay of 3 calls" in (tmp_path / "page.html").read_text()
    assert run_command([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["total"]["settle_pay"], told["total"]["settled"]) == ("0.53000001", 3)
    by_name = {row["destination"]: row["settle_pay"] for row in told["by_destination"]["rows"]}
    assert by_name == {"India": "0.03000001", "Fiji": "0.5"}


def test_termination_codes_have_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = ["486", "0", "7003", "433", "699", "X", None]
    made(tmp_path / "out", [ended(code) for code in codes])
    words = ["report", "--out", str(tmp_path / "out")]
    assert run_command([*words, "--html", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "486 Busy Here" in capsys.readouterr().out
    assert "486 Busy Here" in text
    assert "0 vendor&#x27;s success" in text
    assert run_command([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["by_termination_code"]["rows"]
    assert {row["termination_code"]: row["meaning"] for row in rows} == {
        "486": "Busy Here",
        "0": "vendor's success",
        "7003": "vendor's failure",
        "433": "Anonymity Disallowed",
        "699": "a failure everywhere, by its SIP class",
        "X": None,
        None: None,
    }


def test_a_ringing_of_up_to_ten_minutes_is_a_delay(tmp_path: Path) -> None:
    at = datetime(2026, 11, 2, 10, 0, 1, tzinfo=UTC)
    delays = [-1, 0, 1, 600_000, 600_001]
    rows = [{"call_time": at, "ringing_time": at + timedelta(milliseconds=d)} for d in delays]
    made(tmp_path / "out", [*rows, {"call_time": None}, {"ringing_time": None}])
    found = calls_of(tmp_path / "out", tmp_path)
    assert dict(found.delays) == {0: 1, 1: 1, 600_000: 1}
    assert (found.total.pdd_calls, found.total.pdd_ms) == (3, 600_001)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("by_day", lambda row: "" if row["submit_date"] == NO_DATE else row["submit_date"]),
        ("by_destination", lambda row: row["destination_country"] or ""),
        ("by_code", lambda row: row["termination_code"] or ""),
    ],
)
def test_tables_are_those_of_the_records(
    night: tuple[Path, list[Row]], table: str, key: Callable[[Row], str]
) -> None:
    out, rows = night
    found = getattr(report_of(out).calls, table)
    shown = found if isinstance(found, tuple) else found.rows
    assert {row.name: row.figures for row in shown} == by(rows, key)
    if table != "by_day":
        calls = [row.figures.calls for row in shown]
        assert calls == sorted(calls, reverse=True)


def test_hours_are_those_of_the_zone(night: tuple[Path, list[Row]]) -> None:
    out, rows = night
    hours = report_of(out).hours
    zone = ZoneInfo(ZONE)
    told = [row["submit_time"].astimezone(zone) for row in rows if row["submit_time"]]
    week = Counter((at.weekday(), at.hour) for at in told)
    assert {
        (day, hour): calls
        for day, line in enumerate(hours.week)
        for hour, calls in enumerate(line)
        if calls
    } == dict(week)
    answered = [row["submit_time"] for row in rows if row["submit_time"] and row["answered"]]
    each, taken = (
        Counter(at.astimezone(zone).replace(minute=0, second=0, microsecond=0) for at in times)
        for times in (told, answered)
    )
    assert [one.calls for one in hours.busiest] == [n for _, n in each.most_common(5)]
    for one in hours.busiest:
        assert (one.calls, one.answered) == (each[one.begins_at], taken[one.begins_at])


def test_period_holds_its_first_and_its_last_day(night: tuple[Path, list[Row]]) -> None:
    out, rows = night
    days = sorted({row["submit_date"] for row in rows} - {NO_DATE})
    first, last = days[3], days[9]
    report = report_of(out, Period(date.fromisoformat(first), date.fromisoformat(last)))
    assert report.calls.total == reckon(r for r in rows if first <= r["submit_date"] <= last)
    assert [row.name for row in report.calls.by_day] == days[3:10]


# --- prices --------------------------------------------------------------------------------------


def day(number: int, hour: int = 10) -> datetime:
    return datetime(2026, 11, number, hour, tzinfo=UTC)


def priced(number: int, rate: str, times: int = 3, **more: Any) -> list[dict[str, Any]]:
    return [{"submit_time": day(number), "rate": Decimal(rate), **more}] * times


CHANGE = PriceChange(
    "India(Karnataka)",
    "USD",
    "2026-11-02",
    "2026-11-04",
    Decimal("0.01"),
    Decimal("0.012"),
    calls=30,
    calls_before=20,
)


def test_price_change_is_told_of_the_price_that_ended_and_the_one_that_began(
    tmp_path: Path,
) -> None:
    made(
        tmp_path / "out",
        [
            *priced(1, "0.01", 10),
            *priced(2, "0.01", 10),
            *priced(3, "0.9", 4),  # too few to be a price
            *priced(4, "0.012", 20),
            *priced(5, "0.012", 10),
            *priced(5, "0.0101", 2),
        ],
    )
    prices = calls_of(tmp_path / "out", tmp_path).prices
    assert (prices.changes, prices.changes_in_all) == ((CHANGE,), 1)
    assert (prices.destination_days, prices.mixed) == (5, 0)
    (line,) = prices.lines
    told = [(day.usual, day.lowest, day.highest) for day in line.days]
    assert told[4] == (Decimal("0.012"), Decimal("0.0101"), Decimal("0.012"))


def test_what_stands_where_the_price_will_stand_is_in_no_sum(tmp_path: Path) -> None:
    rated = [{"cost": Decimal(2), "currency": "USD"}, {"cost": Decimal("-0.5"), "currency": "USD"}]
    others = [{"cost": cost, "is_rated": False} for cost in (Decimal(-1), Decimal(0), None)]
    made(tmp_path / "out", [*rated, *others])
    figures = calls_of(tmp_path / "out", tmp_path).total
    assert figures.cost == {"USD": Decimal("1.5")}
    assert (figures.calls, figures.unrated) == (5, 3)


@pytest.mark.parametrize(
    ("before", "after", "changes"), [(20, 20, 1), (19, 20, 0), (20, 19, 0), (19, 19, 0)]
)
def test_a_change_needs_twenty_rated_calls_on_each_side(
    tmp_path: Path, before: int, after: int, changes: int
) -> None:
    unrated = [{"submit_time": day(number), "rate": None} for number in (1, 4)] * 5
    rated = priced(1, "0.01", before) + priced(4, "0.012", after)
    made(tmp_path / "out", [*rated, *unrated])
    assert calls_of(tmp_path / "out", tmp_path).prices.changes_in_all == changes


def test_a_mix_that_swings_is_no_change_and_a_rise_within_it_is_one(tmp_path: Path) -> None:
    """Fixed numbers at 0.01 all along; mobile ones at 0.03, from the 15th at 0.045."""
    rows = []
    for number in range(1, 29):
        fixed, mobile = (7, 2) if number % 3 else (1, 6)  # most calls go now here, now there
        rows += priced(number, "0.01", fixed)
        rows += priced(number, "0.03" if number < 15 else "0.045", mobile)
    made(tmp_path / "out", rows)
    prices = calls_of(tmp_path / "out", tmp_path).prices
    (change,) = prices.changes
    assert (change.before, change.after) == (Decimal("0.03"), Decimal("0.045"))
    # The last two of 44 calls, those of the 14th, are within the twentieth that is left out.
    assert (change.day_before, change.day) == ("2026-11-13", "2026-11-15")
    # Days 1 to 14: four of 6 and ten of 2; days 15 to 28: five of 6 and nine of 2.
    assert (change.calls_before, change.calls) == (4 * 6 + 10 * 2, 5 * 6 + 9 * 2)


def test_a_few_late_and_early_calls_hide_no_change(tmp_path: Path) -> None:
    """One call of twenty, at the old price after the change and at the new one before it."""
    rows = [*priced(1, "0.01", 19), *priced(9, "0.01", 1), *priced(5, "0.012", 20)]
    made(tmp_path / "late", rows)
    (change,) = calls_of(tmp_path / "late", tmp_path).prices.changes
    assert (change.day_before, change.day) == ("2026-11-01", "2026-11-05")
    rows = [*priced(1, "0.012", 1), *priced(2, "0.01", 20), *priced(5, "0.012", 20)]
    made(tmp_path / "early", rows)
    (change,) = calls_of(tmp_path / "early", tmp_path).prices.changes
    assert (change.day_before, change.day) == ("2026-11-02", "2026-11-05")
    rows = [*priced(1, "0.01", 18), *priced(9, "0.01", 2), *priced(5, "0.012", 20)]
    made(tmp_path / "many", rows)
    assert calls_of(tmp_path / "many", tmp_path).prices.changes == ()


def test_of_two_prices_that_change_at_once_each_has_its_own_successor(tmp_path: Path) -> None:
    rows = [*priced(1, "0.01", 20), *priced(1, "0.03", 20)]
    made(tmp_path / "out", [*rows, *priced(2, "0.035", 20), *priced(2, "0.012", 20)])
    changes = calls_of(tmp_path / "out", tmp_path).prices.changes
    assert {(one.before, one.after) for one in changes} == {
        (Decimal("0.01"), Decimal("0.012")),
        (Decimal("0.03"), Decimal("0.035")),
    }


def test_prices_are_those_of_the_records(night: tuple[Path, list[Row]]) -> None:
    out, rows = night
    rates: dict[tuple[str, str, str], Counter[Decimal]] = defaultdict(Counter)
    for row in rows:
        if row["rate"] is not None and row["submit_date"] != NO_DATE:
            rates[row["code"] or "", row["currency"], row["submit_date"]][row["rate"]] += 1
    usual = {
        key: max(one.items(), key=lambda item: (item[1], item[0])) for key, one in rates.items()
    }
    clear = {key for key, one in rates.items() if 2 * usual[key][1] > one.total()}
    prices = report_of(out).calls.prices
    assert (prices.destination_days, prices.mixed) == (len(rates), len(rates) - len(clear))
    for line in prices.lines:
        for one in line.days:
            key = line.destination, line.currency, one.day
            assert (one.usual, one.lowest, one.highest) == (
                usual[key][0],
                min(rates[key]),
                max(rates[key]),
            )


def expected_changes(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Every change, by sorting each price's calls and leaving out a twentieth at either end."""
    times: dict[tuple[str, Decimal], list[datetime]] = defaultdict(list)
    for row in rows:
        times[row["code"], row["rate"]].append(row["submit_time"])
    found: set[tuple[Any, ...]] = set()
    for code in sorted({code for code, _ in times}):
        prices = []
        for (of, rate), ats in times.items():
            if of == code and len(ats) >= 20:
                ats.sort()
                first, last = ats[len(ats) // 20], ats[-(-19 * len(ats) // 20) - 1]
                prices.append((first, rate, last, len(ats)))
        replaced: set[Decimal] = set()
        for first, rate, last, calls in sorted(prices):
            over = [
                one
                for one in prices
                if one[2] <= first and one[0] < first and one[2] < last and one[1] not in replaced
            ]
            if over:
                before = min(over, key=lambda one: (abs(one[1] - rate), -one[2].timestamp()))
                replaced.add(before[1])
                days = before[2].date().isoformat(), first.date().isoformat()
                found.add((code, *days, before[1], rate, calls, before[3]))
    return found


def test_changes_are_those_of_the_records(tmp_path: Path) -> None:
    """Destinations with one to three prices at once, of which some rise on days of their own."""
    dice = random.Random(20261127)
    rows: list[dict[str, Any]] = []
    for place in range(30):
        for line in range(dice.randrange(1, 4)):
            rise = dice.choice([None, dice.randrange(5, 25)])
            low = Decimal(dice.randrange(10, 60)) / 1000 + line
            for number in range(1, 29):
                rate = low + (Decimal("0.005") if rise and number >= rise else 0)
                for _ in range(dice.randrange(0, 5)):
                    at = day(number, dice.randrange(24))
                    rows.append({"code": f"Place {place:02}", "submit_time": at, "rate": rate})
    made(tmp_path / "out", rows)
    expected = expected_changes(rows)
    found = calls_of(tmp_path / "out", tmp_path).prices
    assert {
        (o.destination, o.day_before, o.day, o.before, o.after, o.calls, o.calls_before)
        for o in found.changes
    } == expected
    assert found.changes_in_all == len(expected) > 10
    days = [one.day for one in found.changes]
    assert days == sorted(days, reverse=True)
    assert {one.destination for one in found.lines} <= {one[0] for one in expected}


def test_same_price_in_another_currency_is_no_change(tmp_path: Path) -> None:
    made(tmp_path / "out", [*priced(1, "0.01", 20), *priced(2, "0.02", 20, currency="EUR")])
    assert calls_of(tmp_path / "out", tmp_path).prices.changes == ()


def test_destinations_beyond_a_table_are_one_row(tmp_path: Path) -> None:
    rows = [{"destination_country": f"Place {n:03}"} for n in range(250)]
    made(tmp_path / "out", [*rows, *rows[:10]])
    table = calls_of(tmp_path / "out", tmp_path).by_destination
    assert len(table.rows) == 200
    assert table.others is not None
    assert (table.others.name, table.others.figures.calls) == ("50", 50)
    total = Figures()
    for row in (*table.rows, table.others):
        total.add(row.figures)
    assert (total.calls, total.cost) == (260, {"USD": Decimal("0.012") * 260})


def test_money_of_ten_thousand_greatest_amounts_is_exact(tmp_path: Path) -> None:
    greatest = Decimal("9999999999.99999999")
    made(tmp_path / "out", [{"cost": greatest}] * 10_000)
    assert calls_of(tmp_path / "out", tmp_path).total.cost == {"USD": greatest * 10_000}


# --- the ledger ----------------------------------------------------------------------------------


def with_ledger(out: Path) -> Output:
    output = Output(out)
    db = open_database(output.database, "default")
    batch = Batch(
        open_calls=[
            OpenCall("1", 0, 0, 1, "r", b"{}", 0),
            OpenCall("2", 0, 0, 1, "r", unknown_ms=5),
        ],
        dead_letters=[
            DeadLetter("3", "no_record", "", 1, 0, 0, "r"),
            DeadLetter("4", "gave_up", "", 1, 0, 0, "r"),
            DeadLetter("5", "gave_up", "", 1, 0, 0, "r"),
        ],
    )
    begin_run(db, RUN_ID, 0)
    acknowledge(db, RUN_ID, batch, work_list=None, counters={}, requests_of_day=("", 0))
    db.close()
    return output


def test_open_and_dead_are_told_by_reason(tmp_path: Path) -> None:
    made(tmp_path / "out", [{}])
    with_ledger(tmp_path / "out")
    loose = report_of(tmp_path / "out").unfinished
    assert isinstance(loose, IdCounts)
    assert loose.open_by_reason == {"not_over": 1, "no_record": 1}
    assert loose.dead_by_reason == {"gave_up": 2, "no_record": 1}
    assert (loose.open, loose.open_due, loose.dead) == (2, 2, 3)


def summary(out: Path, run_id: str, started_at: str, differences: list[dict[str, str]]) -> None:
    folder = out / "runs" / run_id
    folder.mkdir()
    told = summary_of(
        run_id,
        started_at=started_at,
        exit_code=3,
        requests=12,
        run={"attempted": 11, "delivered": 5, "open": 1, "dead": 2, "deferred": 3},
        data={"rows": 5, "cost": {"EUR": "0.10000001"}},
        differences=differences,
    )
    (folder / "summary.json").write_text(json.dumps(told))


def test_runs_are_those_that_began_in_the_period(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(out, [{}])
    summary(out, "20261101T183000Z-aaaaaa", "2026-11-01T18:30:00Z", [])  # the 2nd in ZONE
    summary(out, "20261101T182959Z-bbbbbb", "2026-11-01T18:29:59Z", [])
    summary(out, "20261102T100000Z-cccccc", "2026-11-02T10:00:00Z", [{"book": "run"}])
    (out / "runs" / "20261103T100000Z-dddddd").mkdir()
    (out / "runs" / "20261103T100000Z-dddddd" / "summary.json").write_text("{")
    report = report_of(out, Period(date(2026, 11, 2), None))
    found = report.control_totals
    assert [run.run_id[-6:] for run in found.runs] == ["cccccc", "aaaaaa"]
    assert [run.balanced for run in found.runs] == [False, True]
    assert found.runs[0].cost == {"EUR": Decimal("0.10000001")}
    assert found.unreadable == ("20261103T100000Z-dddddd",)
    assert "DIFFER" in page(report)


def test_report_is_made_while_a_run_holds_the_output(tmp_path: Path) -> None:
    made(tmp_path / "out", [{}, {}])
    output = with_ledger(tmp_path / "out")
    with OutputLock(output.lock):
        report = report_of(output.root)
    assert report.calls.total.calls == 2
    assert isinstance(report.unfinished, Unknown)
    assert "a run uses the output" in page(report)


# --- the command ---------------------------------------------------------------------------------


def test_json_has_exact_money_and_every_table(
    night: tuple[Path, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, rows = night
    assert run_command(["report", "--out", str(out), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    costs = {name: Decimal(text) for name, text in told["total"]["cost"].items()}
    assert costs == reckon(rows).cost
    assert sum(row["calls"] for row in told["by_day"]) == len(rows)
    assert sum(row["calls"] for row in told["by_termination_code"]["rows"]) == len(rows)


class Tags(HTMLParser):
    """The tags of a page; each must be closed where it was opened."""

    VOID = frozenset({"meta", "rect", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\u202e"


def test_page_stands_alone_and_escapes_what_others_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {"code": HOSTILE, "destination_country": HOSTILE, "termination_code": HOSTILE}
    made(tmp_path / "out", [odd | {"callee": "918099999999"}, {}])
    file = tmp_path / "report.html"
    assert run_command(["report", "--out", str(tmp_path / "out"), "--html", str(file)]) == 0
    screen = capsys.readouterr().out
    text = file.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert {"script", "link", "img", "iframe", "object"} & set(tags.seen) == set()
    assert {"src", "href", "onclick", "onload"} & set(tags.attributes) == set()
    assert "url(" not in text
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "&lt;script&gt;" in text
    for shown in (text, screen):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "918099999999" not in shown
    assert file.stat().st_mode & 0o777 == 0o600


def test_screen_fits_the_window_and_says_what_it_left_out(night: tuple[Path, list[Row]]) -> None:
    found = report_of(night[0])
    whole = [line.text for line in screen(found)]
    assert not any("too narrow" in line for line in whole)
    (heads,) = (line for line in whole if line.startswith("Destinations"))
    for width in (140, 100, 80, 60):
        lines = [line.text for line in screen(found, width=width)]
        (kept,) = (line for line in lines if line.startswith("Destinations"))
        assert len(kept) <= width
        gone = set(heads.split()) - set(kept.split())
        assert {"calls", "ASR"}.isdisjoint(gone)
        assert bool(gone) == ("too narrow" in lines[-1])
        assert all(column in lines[-1] for column in gone)


def test_every_drawing_has_a_title_and_a_table(night: tuple[Path, list[Row]]) -> None:
    text = page(report_of(night[0]))
    drawings = re.findall(r"<svg[^>]*>", text)
    for drawing in drawings:
        assert "aria-hidden" in drawing or ('role="img"' in drawing and "aria-label" in drawing)
    assert "The days as a table" in text
    assert "The week as a table" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "2026-13-01"], "is not a date"),
        (["--from", "2026-11-02", "--to", "2026-11-01"], "is before"),
        (["--html", "cdr/report.html"], "is inside the output"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    made(tmp_path, [{}])
    monkeypatch.chdir(tmp_path)
    assert run_command(["report", "--out", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err


def test_output_without_calls_is_told_and_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "out", [{}])
    words = ["report", "--out", str(tmp_path / "out"), "--from", "2027-01-01"]
    assert run_command([*words, "--html", str(tmp_path / "r.html")]) == 0
    assert "There is no call in this period" in capsys.readouterr().out
    assert run_command(["report", "--out", str(tmp_path / "none")]) == 2
