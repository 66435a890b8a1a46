"""A report of a few calls, as a page and as a screen: every cell is reckoned by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harvester.analysis.clock import Clock
from harvester.analysis.html.days import days_section
from harvester.analysis.html.figures import money_columns
from harvester.analysis.html.report_page import page
from harvester.analysis.period import Period
from harvester.analysis.report.aggregate import Calls, Prices
from harvester.analysis.report.figures import Figures, Row, Table
from harvester.analysis.report.prices import PriceChange
from harvester.analysis.report.report import BusyHour, Delay, Hours, Report
from harvester.analysis.report.unfinished import RunHistory, Unknown
from harvester.analysis.scope import Scope
from harvester.cli.commands.report import as_json
from harvester.cli.ui.report_screen import screen
from harvester.dataset.stated import Stated
from harvester.identity import Identity
from harvester.state.id_counts import IdCounts
from harvester.storage.run_summary import RunSummary

AT = datetime(2026, 11, 4, 12, 30, tzinfo=UTC)
CLOCK = Clock("UTC", "submit")
# Ten calls, eight seizures of which seven can be judged: five reached, four of them by SEER.
ONE = Figures(
    *(10, 4, 4, 120, 150, 1, 2, 5_000),
    *(8, 7, 5, 4, 0, 2, Decimal("0.125")),
    {"USD": Decimal("1.5")},
)
TWO = Figures(*(5, 5, 5, 600, 630, 0, 1, 1_000, 5, 5, 5, 5), cost={"EUR": Decimal("0.0001")})


def total() -> Figures:
    found = Figures()
    found.add(ONE)
    found.add(TWO)
    return found


WEEK = tuple(tuple(10 * day + hour for hour in range(24)) for day in range(7))
PRICES = Prices(
    1_200,
    7,
    (
        PriceChange(
            "India",
            "USD",
            "2026-11-01",
            "2026-11-03",
            Decimal("0.01"),
            Decimal("0.012"),
            1_500,
            1_400,
        ),
    ),
    4,
    (),
)
LOOSE = IdCounts(0, 0, 3, 2, 1, 0, 4, {"gave_up": 4}, 12, 9, 0)


def run(number: int, *, balanced: bool = True, exit_code: int | None = 0) -> RunSummary:
    return RunSummary(
        account="acme",
        ended_at=AT,
        cut_off=0,
        opens_published=0,
        run_id=f"202611{number:02}T100000Z-aaaaaa",
        started_at=AT,
        exit_code=exit_code,
        requests=1_001,
        attempted=1_002,
        delivered=1_003,
        open=1_004,
        dead=1_005,
        deferred=1_006,
        rows=1_007,
        cost={"USD": Decimal(3)},
        balanced=balanced,
    )


def report(**changes: Any) -> Report:
    table = Table((Row("India", ONE), Row("", TWO)))
    calls = Calls(
        total(), (Row("2026-11-01", ONE), Row("2026-11-03", TWO)), table, table, {}, {}, PRICES
    )
    plain: dict[str, Any] = {
        "output": "out",
        "made_at": AT,
        "scope": Scope(CLOCK, Period()),
        "first_day": date(2026, 11, 1),
        "last_day": date(2026, 11, 3),
        "files": 2_000,
        "foreign": 0,
        "calls": calls,
        "hours": Hours(WEEK, (BusyHour(AT, 1_500, 700),)),
        "delay": Delay(3, 2_500, 9_900),
        "unfinished": LOOSE,
        "control_totals": RunHistory((run(2), run(1, balanced=False, exit_code=None)), ("a", "b")),
        "stated": Stated(
            Identity(account="acme", addresses=("https://api.example.com/voice",)), 1_400, 1_300, 3
        ),
    }
    return Report(**{**plain, **changes})


class Tables(HTMLParser):
    """The tables of a page, by what they are called: rows of texts, the heads first."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[list[str]]]] = {}
        self._rows: list[list[str]] = []
        self._is_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "div" and told.get("class") == "wide":
            self._rows = []
            self.found.setdefault(told["aria-label"] or "", []).append(self._rows)
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td"):
            self._rows[-1].append("")
            self._is_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._is_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self._rows[-1][-1] += data


FIGURES = ["calls", "answered", "ASR", "NER", "ACD", "PDD", "minutes", "charged"]
HEADS = [*FIGURES, "cost, EUR", "cost, USD", "settled"]
TOLD_ONE = ["10", "4", "50.0 %", "62.5 to 75.0 %", "30.0 s", "2.5 s", "2.0", "2.5", "-", "1.50"]
TOLD_ONE += ["0.13"]
TOLD_TWO = ["5", "5", "100.0 %", "100.0 %", "120.0 s", "1.0 s", "10.0", "10.5", "0.00010", "-"]
TOLD_TWO += ["-"]


def test_tables_of_a_page() -> None:
    found = Tables(page(report())).found
    assert found["day"] == [[["day", *HEADS], ["2026-11-01", *TOLD_ONE], ["2026-11-03", *TOLD_TWO]]]
    for name, heads in (("destination", "destination"), ("code", "code")):
        assert found[name] == [[[heads, *HEADS], ["India", *TOLD_ONE], ["(none)", *TOLD_TWO]]]
    assert found["hour"] == [
        [["hour", "calls", "answered"], ["Wed 2026-11-04 12:00", "1,500", "700"]]
    ]
    (week,) = found["calls by weekday and hour"]
    assert week[0] == ["day", *(f"{hour:02}" for hour in range(24))]
    assert [row[0] for row in week[1:]] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert [row[1:] for row in week[1:]] == [[str(one) for one in row] for row in WEEK]
    assert found["price changes"][0][1] == [
        "India",
        "2026-11-03",
        "0.01",
        "0.012",
        "+20.0 %",
        "USD",
        "1,400",
        "1,500",
    ]
    assert found["open and dead"] == [
        [
            ["state", "reason", "ids"],
            ["open", "not_over", "2"],
            ["open", "no_record", "1"],
            ["dead", "gave_up", "4"],
        ]
    ]
    numbers = ["1,001", "1,002", "1,003", "1,004", "1,005", "1,006", "1,007", "3.00 USD"]
    assert found["runs"][0][1:] == [
        ["20261102T100000Z-aaaaaa", "0", "balance", *numbers],
        ["20261101T100000Z-aaaaaa", "killed", "DIFFER", *numbers],
    ]


def test_texts_of_a_page() -> None:
    text = page(report())
    for told in (
        "<title>Calls 2026-11-01 to 2026-11-03</title>",
        "made 2026-11-04 12:30 UTC",
        "From 2,000 files",
        "3 older changes are not listed",
        "Of 1,200 days of destinations, 7 had no price",
        "3 open, of which 2 are due to be fetched again; 4 dead; 12 pending, 9 of them",
        "2 summaries can't be read",
        "and says no SIP code can't be judged: 1.",
        "or was answered: 13 of 15.",
        "NER, at least",
        "Calls that never ended while they were fetched (is_final = false)",
        "counted as they stood: 1.",
    ):
        assert told in text
    tiles = re.findall(
        r'<dt>([^<]*)</dt><dd class="big">([^<]*)</dd><dd class="soft">([^<]*)</dd>', text
    )
    assert [tile[:2] for tile in tiles] == [
        ("Calls", "15"),
        ("ASR", "69.2 %"),  # 9 / 13
        ("ABR", "60.0 %"),  # 9 / 15
        ("NER", "76.9 to 84.7 %"),  # 10 / 13 to 11 / 13
        ("SEER", "69.2 to 77.0 %"),  # 9 / 13 to 10 / 13
        ("Minutes", "12.0"),
        ("Charged minutes", "13.0"),
        ("ACD", "80.0 s"),
        ("PDD", "2.5 s"),
        ("Cost in EUR", "0.00010"),
        ("Cost in USD", "1.50"),
        ("Settled", "0.13"),
        ("USD presumed", "1,300"),
    ]
    assert tiles[12][2] == (
        "of 1,400 records read, as the vendor named no currency; files of an older version that "
        "don&#x27;t say: 3"
    )
    assert "account acme · api.example.com · days of UTC, by submit time · made 2026-11-04" in text
    assert tiles[3][2] == "reached the other end; 7.7 % of the seizures can&#x27;t be judged"
    assert tiles[11][2].startswith("exactly 0.125; settle_pay of 2 calls")
    assert (tiles[0][2], tiles[8][2], tiles[9][2]) == (
        "9 answered",
        "median; 95 % within 9.9 s",
        "exactly 0.0001",
    )
    assert text.count("Cost in EUR by day") == 2, "once for the eye, once for who cannot see it"


def test_a_page_names_no_folder_of_the_machine_that_made_it(tmp_path: Path) -> None:
    """It can be mailed."""
    root = tmp_path / "customer-of-ours"
    for output in (str(root), "customer-of-ours"):
        held = f"{Path(output).absolute()}/state is held by a run."
        text = page(report(output=output, unfinished=Unknown(held)))
        assert "Not known now: OUT/state is held by a run.<" in text
        assert "customer-of-ours" not in text


def test_charts_of_years_show_the_last_800_days() -> None:
    text = page(report(first_day=date(2023, 1, 1)))
    days = re.findall(r"<title>([0-9-]{10}): [0-9,]+ calls, ", text)
    assert len(days) == 800
    assert (days[0], days[-1]) == ("2024-08-26", "2026-11-03")
    assert "<title>2026-11-03: 5 calls, 5 answered</title>" in text


def test_a_table_folds_after_twelve_rows_and_names_the_rest() -> None:
    def of(count: int, others: Row | None = None) -> list[list[list[str]]]:
        table = Table(tuple(Row(f"p{n}", ONE) for n in range(count)), others)
        calls = Calls(total(), (), table, Table(()), {}, {}, PRICES)
        return Tables(page(report(calls=_with(calls, by_code=table)))).found["destination"]

    assert [len(rows) - 1 for rows in of(12)] == [12]
    assert [len(rows) - 1 for rows in of(13)] == [12, 1]
    assert [row[0] for row in of(12, Row("50", TWO))[1]] == ["destination", "50 others"]


def _with(calls: Calls, **changes: Any) -> Calls:
    fields = {name: getattr(calls, name) for name in Calls.__slots__}
    return Calls(**{**fields, **changes})


def shown(**changes: Any) -> list[str]:
    return [line.text for line in screen(report(**changes))]


PRESUMED = "of 1,400 records read, as the vendor named no currency"


def test_a_screen_says_the_same() -> None:
    lines = shown()
    unjudged = "; 7.7 % of the seizures can't be judged"
    total_ = [" ".join(line.split()) for line in lines[:16]]
    for told in (
        "Calls 2026-11-01 to 2026-11-03, out",
        "days of UTC, by submit time",
        "calls 15 9 answered, ABR 60.0 %",
        "ASR 69.2 % answered of 13 seizures (ITU-T E.425)",
        f"NER 76.9 to 84.7 % reached the other end (ITU-T E.425){unjudged}",
        "SEER 69.2 to 77.0 % the same by RFC 6076",
        "minutes 12.0 13.0 charged",
        "ACD 80.0 s average duration of an answered call",
        "PDD 2.5 s median; 95 % ring within 9.9 s",
        "cost, EUR 0.00010 exactly 0.0001",
        "cost, USD 1.50 exactly 1.5",
        "settled 0.13 exactly 0.125; settle_pay of 2 calls, in the account's own currency",
        f"USD presumed 1,300 {PRESUMED}; files of an older version that don't say: 3",
    ):
        assert told in total_
    days = lines.index(next(line for line in lines if line.startswith("Day by day")))
    assert " ".join(lines[days].split()) == (
        "Day by day calls ASR ACD PDD minutes charged min EUR USD"
    )
    assert " ".join(lines[days + 1].split()) == ("2026-11-01 10 50.0 % 30.0 s 2.5 s 2.0 2.5 - 1.50")
    rest = [" ".join(line.split()) for line in lines]
    for told in (
        "Wed 2026-11-04 12:00 1,500 calls",
        "Price changes: 4",
        "India 2026-11-03 0.01 to 0.012 USD (+20.0 %; 1,500 calls since)",
        "7 of 1,200 days of destinations had no price that held for most calls.",
        "open 3: not_over 2, no_record 1",
        "dead 4: gave_up 4",
        "12 pending, 9 of them dead letters that are fetched again",
        "Runs that began in the period: 2",
        "20261102T100000Z-aaaaaa exit 0 1,003 1,004 1,005 balance",
        "20261101T100000Z-aaaaaa killed 1,003 1,004 1,005 DIFFER",
        "2 summaries can't be read: `harvester verify` names them.",
    ):
        assert told in rest


def test_a_name_that_its_column_does_not_hold_goes_on_below() -> None:
    names = [
        "India",
        "480 Temporarily Unavailable",
        "439 First Hop Lacks Outbound Support",
        "123456789012345678901",  # 21 cells, the most that a line holds
        "1234567890123456789012",
        "\u4e2d" * 10,  # two cells each
    ]
    table = Table(tuple(Row(name, ONE) for name in names))
    lines = shown(calls=_with(report().calls, by_destination=table, by_code=Table(())))
    at = next(n for n, line in enumerate(lines) if line.startswith("Destinations"))
    found = [line.partition("        10")[0].rstrip() for line in lines[at + 1 : at + 11]]
    assert found == [
        "  India",
        "  480 Temporarily",
        "    Unavailable",
        "  439 First Hop Lacks",
        "    Outbound Support",
        "  123456789012345678901",
        "  123456789012345678901",
        "    2",
        "  " + "\u4e2d" * 10,
        "",
    ]
    rows = [line for line in lines if " 10  " in line and not line.startswith("  2026")]
    assert {line.index(" 10  ") for line in rows if line.isascii()} == {31}


@pytest.mark.parametrize(("days", "head"), [(14, "Day by day  "), (15, "Day by day (the last 14)")])
def test_a_screen_shows_the_last_fourteen_days(days: int, head: str) -> None:
    rows = tuple(Row(f"2026-11-{n:02}", ONE) for n in range(1, days + 1))
    lines = shown(calls=_with(report().calls, by_day=rows))
    at = lines.index(next(line for line in lines if line.startswith("Day by day")))
    assert lines[at].startswith(head)
    assert [line.split()[0] for line in lines[at + 1 : at + 15]] == [r.name for r in rows[-14:]]
    assert lines[at + 15] == ""


@pytest.mark.parametrize(
    ("rows", "others", "calls"),
    [(10, None, None), (11, None, "10"), (11, TWO, "15"), (2, TWO, "5")],
)
def test_rows_beyond_ten_are_one_on_a_screen(
    rows: int, others: Figures | None, calls: str | None
) -> None:
    table = Table(
        tuple(Row(f"p{n}", ONE) for n in range(rows)),
        None if others is None else Row("7", others),
    )
    lines = shown(calls=_with(report().calls, by_destination=table, by_code=Table(())))
    summed = [line.split()[2] for line in lines if line.startswith("  all others")]
    assert summed == ([] if calls is None else [calls])
    assert sum(line.startswith("  p") for line in lines) == min(rows, 10)


def test_runs_beyond_five_and_changes_beyond_six_are_counted() -> None:
    change = PRICES.changes[0]
    prices = Prices(1, 0, (change,) * 8, 8, ())
    lines = shown(
        calls=_with(report().calls, prices=prices),
        control_totals=RunHistory(tuple(run(n) for n in range(7, 0, -1))),
    )
    assert sum(line.endswith("balance") for line in lines) == 5
    assert "  and 2 before these (--html, --json)" in lines
    assert sum("0.01 to 0.012" in line for line in lines) == 6
    assert not any("held for most" in line for line in lines)
    five = shown(control_totals=RunHistory(tuple(run(n) for n in range(5, 0, -1))))
    assert not any("before these" in line for line in five)


def test_hours_are_drawn_as_eighths_of_the_most() -> None:
    week = tuple(
        tuple((0, 1, 8, 9, 16)[hour] if hour < 5 else 0 for hour in range(24)) for _ in "1"
    )
    lines = shown(hours=Hours(week, ()))
    at = lines.index("Hours of the day, by submit time")
    assert lines[at + 1] == "    " + "▁▁▄▄▅▅██" + "  " * 19
    plain = [line.text for line in screen(report(hours=Hours(week, ())), unicode=False)]
    assert not any("█" in line for line in plain)
    none = shown(hours=Hours(((0,) * 24,) * 7, ()))
    assert none[none.index("Hours of the day, by submit time") + 1].strip() == ""


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"foreign": 3}, "Files under cdr/ that are not the harvester's and were not read: 3."),
        (
            {"unfinished": IdCounts(0, 5, 0, 0, 0, 0, 0, {}, 0, 0, 0)},
            "Delivered records that wait in the journal and are not in these figures: 5.",
        ),
        (
            {"unfinished": IdCounts(0, 0, 0, 0, 0, 0, 0, {}, 0, 0, 0, pending_again=7)},
            "so that figures may change: 7. `harvester run --carried-over-only` fetches them.",
        ),
    ],
)
def test_what_a_reader_must_know_is_noted(changes: dict[str, Any], note: str) -> None:
    for text in (page(report(**changes)).replace("&#x27;", "'"), "\n".join(shown(**changes))):
        assert note in text
    for text in (page(report()).replace("&#x27;", "'"), "\n".join(shown())):
        assert note not in text
        assert "There is no call" not in text


@pytest.mark.parametrize(
    ("period", "told"),
    [
        (Period(), "2026-11-01 to 2026-11-03"),
        (Period(date(2026, 10, 31), None), "2026-10-31 to 2026-11-03"),
        (Period(None, date(2026, 11, 5)), "2026-11-01 to 2026-11-05"),
        (Period(date(2026, 11, 3), None), "2026-11-03"),
    ],
)
def test_the_days_of_a_report_are_those_asked_for_or_those_there_are(
    period: Period, told: str
) -> None:
    assert shown(scope=Scope(CLOCK, period))[0] == f"Calls {told}, out"


def test_a_report_without_days_says_so() -> None:
    assert shown(first_day=None, last_day=None)[0] == "Calls without a day, out"
    unknown = shown(unfinished=Unknown("a run holds the output"))
    assert "  not known now: a run holds the output." in unknown


def test_json_of_a_report() -> None:
    told: Any = as_json(report(scope=Scope(CLOCK, Period(date(2026, 11, 1), None))))
    assert (told["from"], told["to"]) == ("2026-11-01", None)
    assert (told["first_day"], told["last_day"]) == ("2026-11-01", "2026-11-03")
    assert told["made_at"] == "2026-11-04T12:30:00+00:00"
    assert told["by_day"][0] == {
        "day": "2026-11-01",
        "calls": 10,
        "answered": 4,
        "call_duration_s": 120,
        "charged_duration_s": 150,
        "minutes": "2.0",
        "charged_minutes": "2.5",
        "unfinished": 1,
        "unrated": 0,
        "seizures": 8,
        "asr_percent": "50.00",
        "abr_percent": "40.00",
        "ner_percent": None,
        "ner_percent_low": "62.50",
        "ner_percent_high": "75.00",
        "ner_calls": 7,
        "ner_unjudged": 1,
        "seer_percent": None,
        "seer_percent_low": "50.00",
        "seer_percent_high": "62.50",
        "acd_s": "30.0",
        "pdd_s": "2.500",
        "cost": {"USD": "1.5"},
        "settle_pay": "0.125",
        "settled": 2,
    }
    assert told["by_destination"]["rows"][1]["destination"] is None
    assert told["by_destination"]["others"] is None
    assert told["pdd"] == {"calls": 3, "median_ms": 2_500, "p95_ms": 9_900}
    assert told["by_weekday_and_hour"][6][23] == 83
    assert told["busiest_hours"][0]["calls"] == 1_500
    assert told["prices"]["changes"][0]["after"] == "0.012"
    assert told["unfinished"]["dead_by_reason"] == {"gave_up": 4}
    assert told["control_totals"]["runs"][1]["exit_code"] is None
    assert (told["account"], told["vendor"]) == ("acme", "api.example.com")
    assert told["presumed_currency"] == {
        "records": 1_300,
        "of_records": 1_400,
        "files_without": 3,
    }
    others = Table((Row("India", ONE),), Row("50", TWO))
    more: Any = as_json(report(calls=_with(report().calls, by_destination=others)))
    assert more["by_destination"]["others"]["names"] == 50
    assert more["by_destination"]["others"]["calls"] == 5


# --- days ----------------------------------------------------------------------------------------

DAYS = [date(2026, 11, day) for day in range(1, 5)]
FIRST, LAST = DAYS[1], DAYS[2]


@pytest.mark.parametrize(
    ("period", "covered"),
    [
        (Period(), [*DAYS, None]),
        (Period(FIRST), DAYS[1:]),
        (Period(None, LAST), DAYS[:3]),
        (Period(FIRST, LAST), DAYS[1:3]),
        (Period(LAST, FIRST), []),
    ],
)
def test_a_period_covers_its_first_and_its_last_day(
    period: Period, covered: Sequence[date | None]
) -> None:
    assert [day for day in (*DAYS, None) if period.covers(day)] == covered
    assert period.is_bounded is (period != Period())


def test_an_instant_is_of_the_day_that_it_is_in_the_zone() -> None:
    period, zone = Period(FIRST, FIRST), ZoneInfo("Asia/Shanghai")
    begins = datetime(2026, 11, 1, 16, tzinfo=UTC)
    second = timedelta(seconds=1)
    assert [
        period.covers_instant(at, zone)
        for at in (
            begins - second,
            begins,
            begins + timedelta(days=1) - second,
            begins + timedelta(days=1),
        )
    ] == [False, True, True, False]


def test_a_column_of_settled_amounts_is_there_where_a_call_has_one() -> None:
    assert money_columns(TWO) == ["EUR"]
    assert len(money_columns(ONE)) == len(["USD", "settled"])


def test_the_bars_of_a_day_are_those_answered_and_upon_them_the_others() -> None:
    """Of 1,500 calls 700 were answered, and the axis ends at 1,500."""
    figures = Figures(calls=1_500, answered=700)
    one = replace(report().calls, by_day=(Row("2026-11-01", figures),))
    chart = days_section(report(calls=one), [date(2026, 11, 1)])
    heights = [
        Decimal(height)
        for height in re.findall(r'<rect class="s[01]"[^>]* height="([0-9.]+)"', chart)
    ]
    answered, others = heights[:2]
    assert round(answered + others) == 100
    assert round(answered * 15) == 700
