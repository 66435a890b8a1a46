"""Every figure of a report is what plain Python makes of the simulator's own truth."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harvester.cli.main import run_command
from harvester.cli.report_screen import screen
from harvester.harvest.output import Output
from harvester.ledger.acknowledge import acknowledge
from harvester.ledger.database import open_database
from harvester.ledger.lock import OutputLock
from harvester.ledger.records import begin_run
from harvester.ledger.values import Batch, DeadLetter, OpenCall
from harvester.report.calls import Calls, PriceChange, count_calls
from harvester.report.figures import Figures
from harvester.report.html import page
from harvester.report.loose import Loose, Unknown
from harvester.report.overview import Order, Report, make_report
from harvester.report.period import Period
from harvester.simulator import SimulatorOptions
from tests.datasets import RUN_ID, made, simulated
from tests.oracle import NO_DATE, Row

OPTIONS = SimulatorOptions(seed=20261105)
COUNT = 2_500
ZONE = "Asia/Kolkata"  # half an hour off: no hour of UTC is an hour there
REACHED = {200, 480, 486, 487, 600, 603}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    out = tmp_path_factory.mktemp("output [1] submit_date=x") / "out"
    return out, simulated(out, OPTIONS, COUNT, ZONE)


def report_of(out: Path, period: Period | None = None, zone: str = ZONE) -> Report:
    return make_report(Output(out), Order(period or Period(), zone, "400MB"))


def calls_of(out: Path, tmp_path: Path) -> Calls:
    files = sorted(out.glob("cdr/*/*.parquet"))
    return count_calls(files, memory_limit="400MB", scratch=tmp_path)


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
        delay = pdd(row)
        if delay is not None:
            found.pdd_calls += 1
            found.pdd_ms += delay
        found.judged += row["answered"] or row["sip_code"] is not None
        found.reached += row["answered"] or row["sip_code"] in REACHED
        if row["cost"] is not None:
            currency = row["currency"] if re.fullmatch("[A-Za-z]{3}", row["currency"]) else "odd"
            found.cost[currency] = found.cost.get(currency, Decimal(0)) + row["cost"]
    return found


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
    judged = [row for row in rows if row["answered"] or row["sip_code"] is not None]
    reached = [row for row in judged if row["answered"] or row["sip_code"] in REACHED]
    delays = sorted(delay for row in rows if (delay := pdd(row)) is not None)
    assert total.asr == (Decimal(100 * len(answered)) / len(rows)).quantize(Decimal("0.01"))
    assert total.ner == (Decimal(100 * len(reached)) / len(judged)).quantize(Decimal("0.01"))
    durations = [row["call_duration_s"] for row in answered if row["call_duration_s"] is not None]
    assert total.acd_s is not None
    assert abs(float(total.acd_s) - statistics.fmean(durations)) <= 0.05
    assert report.delay.calls == len(delays)
    assert report.delay.median == statistics.median_low(delays)
    assert report.delay.p95 == delays[-(-len(delays) * 95 // 100) - 1]


def test_ner_leaves_out_calls_whose_code_is_no_sip_code_but_not_those_answered(
    tmp_path: Path,
) -> None:
    """Of eight calls six can be judged: four reached the other end, two failed (503 and 404)."""
    no_code = {"answered": False, "answer_time": None, "termination_code": "X", "sip_code": None}
    made(
        tmp_path / "out",
        [
            {},
            {"sip_code": None},  # answered: reached, whatever the code says
            no_code | {"sip_code": 486},
            no_code | {"sip_code": 603},
            no_code | {"sip_code": 503},
            no_code | {"sip_code": 404},
            no_code,
            no_code,
        ],
    )
    total = calls_of(tmp_path / "out", tmp_path).total
    assert (total.calls, total.answered, total.judged, total.reached) == (8, 2, 6, 4)
    assert (total.ner, total.asr) == (Decimal("66.67"), Decimal("25.00"))


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
    undated = any(row["submit_date"] == NO_DATE for row in rows)
    assert report.undated_left_out == undated


# --- prices --------------------------------------------------------------------------------------


def day(number: int, hour: int = 10) -> datetime:
    return datetime(2026, 11, number, hour, tzinfo=UTC)


def priced(number: int, rate: str, times: int = 3, **more: Any) -> list[dict[str, Any]]:
    return [{"submit_time": day(number), "rate": Decimal(rate), **more}] * times


def test_price_change_is_told_over_a_day_on_which_none_held(tmp_path: Path) -> None:
    made(
        tmp_path / "out",
        [
            *priced(1, "0.01"),
            *priced(2, "0.01", 2),
            *priced(2, "0.012", 2),
            *priced(3, "0.012"),
            *priced(3, "0.0101", 1),
            *priced(4, "0.012"),
        ],
    )
    prices = calls_of(tmp_path / "out", tmp_path).prices
    change = PriceChange(
        "India(Karnataka)",
        "USD",
        "2026-11-01",
        "2026-11-03",
        Decimal("0.01"),
        Decimal("0.012"),
        4,
    )
    assert prices.changes == (change,)
    assert (prices.destination_days, prices.mixed, prices.changes_in_all) == (4, 1, 1)
    (line,) = prices.lines
    third = line.days[2]
    told = (third.usual, third.lowest, third.highest)
    assert told == (Decimal("0.012"), Decimal("0.0101"), Decimal("0.012"))


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
    lines = defaultdict(list)
    for code, currency, submit_date in sorted(clear):
        lines[code, currency].append(submit_date)
    changes = {
        (*line, before, after, usual[*line, before][0], usual[*line, after][0])
        for line, days in lines.items()
        for before, after in pairwise(days)
        if usual[*line, before][0] != usual[*line, after][0]
    }
    prices = report_of(out).calls.prices
    assert (prices.destination_days, prices.mixed) == (len(rates), len(rates) - len(clear))
    assert prices.changes_in_all == len(changes) > 0
    told = {
        (one.destination, one.currency, one.day_before, one.day, one.before, one.after)
        for one in prices.changes
    }
    assert told <= changes
    assert len(told) == min(200, len(changes))
    newest = sorted((one[3] for one in changes), reverse=True)[: len(told)]
    assert [one.day for one in prices.changes] == newest
    for line in prices.lines:
        for one in line.days:
            key = line.destination, line.currency, one.day
            assert (one.usual, one.lowest, one.highest) == (
                usual[key][0],
                min(rates[key]),
                max(rates[key]),
            )


def test_same_price_in_another_currency_is_no_change(tmp_path: Path) -> None:
    made(tmp_path / "out", [*priced(1, "0.01"), *priced(2, "0.02", currency="EUR")])
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
    loose = report_of(tmp_path / "out").loose
    assert isinstance(loose, Loose)
    assert loose.open_by_reason == {"not_over": 1, "no_record": 1}
    assert loose.dead_by_reason == {"gave_up": 2, "no_record": 1}
    assert (loose.open, loose.open_due, loose.dead) == (2, 2, 3)


def summary(out: Path, run_id: str, started_at: str, differences: list[dict[str, str]]) -> None:
    folder = out / "runs" / run_id
    folder.mkdir()
    told = {
        "run_id": run_id,
        "started_at": started_at,
        "exit_code": 3,
        "requests": 12,
        "run": {"attempted": 11, "delivered": 5, "open": 1, "dead": 2, "deferred": 3},
        "data": {"rows": 5, "cost": {"EUR": "0.10000001"}},
        "differences": differences,
    }
    (folder / "summary.json").write_text(json.dumps(told))


def test_books_are_those_of_the_runs_that_began_in_the_period(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(out, [{}])
    summary(out, "20261101T183000Z-aaaaaa", "2026-11-01T18:30:00Z", [])  # the 2nd in ZONE
    summary(out, "20261101T182959Z-bbbbbb", "2026-11-01T18:29:59Z", [])
    summary(out, "20261102T100000Z-cccccc", "2026-11-02T10:00:00Z", [{"book": "run"}])
    (out / "runs" / "20261103T100000Z-dddddd").mkdir()
    (out / "runs" / "20261103T100000Z-dddddd" / "summary.json").write_text("{")
    report = report_of(out, Period(date(2026, 11, 2), None))
    found = report.books
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
    assert isinstance(report.loose, Unknown)
    assert "a run holds the output" in page(report)


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
        (["--from", "2026-13-01"], "is no day"),
        (["--from", "2026-11-02", "--to", "2026-11-01"], "is before"),
        (["--html", "cdr/report.html"], "is ours"),
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
