"""The control totals after a run, as a screen."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from harvester.cli.ui.summary_screen import closing, control_totals
from harvester.pipeline.publish.oddities import Oddities
from harvester.pipeline.run.control_totals import Difference
from harvester.pipeline.run.summary import (
    DataTotals,
    InputTotals,
    ListTotals,
    PlanTotals,
    RunTotals,
    Summary,
)
from tests.support.simulated import ROOT

RUN = Summary(
    run_id="r1",
    account="a",
    started_at="",
    ended_at="",
    exit_code=3,
    code="",
    message="",
    input=InputTotals(
        lines=1_010,
        bad=3,
        duplicate=7,
        distinct=1_000,
        resolved_before=200,
        listed=800,
        first_listed_at="",
        dead_since_first_listed=0,
    ),
    work_list=ListTotals(
        listed=800, retried=0, carried_over=20, delivered=700, open=60, dead=50, pending=10
    ),
    run=RunTotals(
        attempted=811, delivered=700, open=60, dead=50, deferred=0, cut_off=1, opens_published=2
    ),
    data=DataTotals(
        rows=702,
        rows_in_journal=0,
        call_duration_s=12_345,
        charged_duration_s=13_000,
        cost={"EUR": "1234.500000", "USD": "-12.07", "GBP": "-0.3", "": "3"},
    ),
    differences=[],
    requests=1_200,
    retries={},
    throttled=0,
    outages=0,
    clock_skew_s=5.0,
    published_files=0,
    published_bytes=0,
    unparsed={},
    extra={},
    odd=Oddities(answered_without_cost=0, odd_hangups=0),
    first_publication=1,
    output="out",
)


def shown(summary: Summary = RUN, seconds: float = 0.0, *, unicode: bool = True) -> list[str]:
    return [line.text for line in control_totals(summary, seconds, unicode=unicode)]


def test_the_sample_of_the_quick_start_is_such_a_screen() -> None:
    """Its words and marks, whatever the figures."""
    page = (ROOT / "docs/quickstart.md").read_text()
    sample = page.partition("\nControl totals of")[2].partition("\n```\n")[0].splitlines()[1:]
    shown_too = replace(RUN, retries={"-18": 12, "torn": 1})
    screen = [" ".join(re.findall(r"[^\d\s,.]+", line)) for line in shown(shown_too, 8.0)]
    told = [" ".join(re.findall(r"[^\d\s,.]+", line)) for line in sample]
    equations = [line for line in told if " = " in line or line.startswith(("sent", "retries"))]
    assert len(equations) == 7
    assert set(equations) <= set(screen)


def test_each_total_is_a_line_with_its_equation() -> None:
    assert shown() == [
        "",
        "Control totals of run r1, account a",
        "✓  input         1,010 lines     =  3 bad + 7 duplicate + 1,000 distinct",
        "✓                1,000 distinct  =  200 resolved before + 800 listed",
        "✓  list            820 ids       =  700 delivered + 60 open + 50 dead + 10 pending",
        "            (800 listed + 20 carried over)",
        (
            "✓  run             811 attempted =  700 delivered + 60 open + 50 dead + 0 deferred "
            "+ 1 cancelled"
        ),
        "✓  data            702 rows      =  700 delivered + 2 published as not final",
        (
            "✓           answers and rows agree: 12,345 s of calls · 13,000 s charged · "
            "1,234.50 EUR · -12.07 USD · -0.30 GBP · 3.00 (none)"
        ),
        "",
        "   sent     1,200 requests",
    ]


def test_without_an_input_or_a_list_their_totals_are_left_out() -> None:
    found = shown(replace(RUN, input=None, work_list=None))
    assert [line.split()[1] for line in found if line.startswith("✓")] == ["run", "data", "answers"]


def test_what_was_retried_is_part_of_the_list() -> None:
    assert RUN.work_list is not None
    found = shown(replace(RUN, work_list=replace(RUN.work_list, retried=30)))
    at = next(at for at, line in enumerate(found) if line.startswith("✓  list"))
    assert found[at].split()[2:4] == ["850", "ids"]
    assert found[at + 1].strip() == "(800 listed + 30 retried + 20 carried over)"


@pytest.mark.parametrize(
    ("book", "marked"),
    [
        ("input", ["input", "1,000"]),
        ("list", ["list"]),
        ("run", ["run"]),
        ("data", ["data", "answered:"]),
    ],
)
def test_what_differs_is_marked_and_told_in_red(book: str, marked: list[str]) -> None:
    summary = replace(RUN, differences=[Difference(book, "3 rows", "4 in the list")])
    lines = [line for line in control_totals(summary, 0.0) if line.text.startswith("✗")]
    assert [line.text.split()[1] for line in lines] == [*marked, "differs"]
    assert lines[-1].text == f"✗  differs  {book}: 3 rows, but 4 in the list"
    assert {line.style for line in lines} == {"bold red"}
    good = [line for line in control_totals(summary, 0.0) if line.text.startswith("✓")]
    assert len(good) == 6 - len(marked)
    assert {line.style for line in good} == {""}


def test_without_unicode_the_marks_are_ascii() -> None:
    summary = replace(RUN, differences=[Difference("run", "1", "2")])
    text = "\n".join(shown(summary, unicode=False))
    assert text.isascii()
    assert "ok input" in text
    assert "!! run" in text
    assert "12,345 s of calls, 13,000 s charged" in text


PLAN = PlanTotals(
    to_fetch=1_000,
    fetched=900,
    requests_planned=1_100,
    requests_sent=950,
    seconds_planned=22.0,
    seconds_taken=30.0,
    bytes_planned=0,
    bytes_written=0,
)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"plan": PLAN},
            ["planned  1,100 requests in 22 s for 1,000 ids; 900 were attempted"],
        ),
        ({"plan": replace(PLAN, to_fetch=0)}, []),
        ({"retries": {"torn": 2, "throttled": 3}}, ["retries  throttling 3, incomplete answer 2"]),
        (
            {"throttled": 1_001, "outages": 2},
            ["warnings throttled 1,001 times by the vendor · 2 vendor outages"],
        ),
        (
            {"clock_skew_s": 5.2},
            ["warnings this clock is 5 s behind the vendor's: check NTP"],
        ),
        (
            {"clock_skew_s": -61.0},
            ["warnings this clock is 1 min 1 s ahead of the vendor's: check NTP"],
        ),
        (
            {"ages_held": True},
            ["warnings a clock was changed since the last run: no id ended for its age"],
        ),
        (
            {"unparsed": {"rate": 2, "cost": 1}, "extra": {"tag": 3}},
            [
                (
                    "unusual  could not be converted, kept in `unparsed`: cost 1, rate 2; "
                    "unknown fields, kept in `extra`: tag 3"
                )
            ],
        ),
        (
            {"odd": Oddities(answered_without_cost=4, odd_hangups=5)},
            [
                "unusual  answered calls without a cost: 4; hangupTimes in an unknown form: 5",
            ],
        ),
        ({"published_files": 2, "published_bytes": 12_345}, ["written  2 files, 12.3 KB"]),
        (
            {"data": replace(RUN.data, rows_in_journal=9)},
            ["waiting  9 rows, safe in the journal: `harvester publish`"],
        ),
    ],
)
def test_what_else_is_good_to_know_stands_below(
    changes: dict[str, object], told: list[str]
) -> None:
    found = shown(replace(RUN, **changes), seconds=24.0)
    below = found[found.index("", 1) + 1 :]
    assert below == [f"   {line}" for line in ("sent     1,200 requests in 24 s", *told)]


@pytest.mark.parametrize(
    ("code", "style"),
    [
        (0, "bold green"),
        (3, "bold yellow"),
        (8, "bold yellow"),
        (130, "bold yellow"),
        (143, "bold yellow"),
        (1, "bold red"),
        (4, "bold red"),
        (5, "bold red"),
        (6, "bold red"),
    ],
)
def test_the_end_is_green_if_all_is_well_and_red_if_somebody_must_look(
    code: int, style: str
) -> None:
    empty, head, *rest = closing(code, "it was so")
    assert (empty.text, head.style) == ("", style)
    assert head.text.startswith(f"Exit code {code} — ")
    # A stop that somebody wanted needs no reason.
    why = ["Why:   it was so"] if code not in {130, 143} else []
    assert [line.text for line in rest[:-1]] == why
    assert rest[-1].text.startswith("Next:  ")


def test_without_a_message_or_unicode_the_end_has_no_reason_and_no_dash() -> None:
    lines = [line.text for line in closing(6, "", unicode=False)]
    assert [line[:5] for line in lines] == ["", "Exit ", "Next:"]
    assert "\n".join(lines).isascii()


def test_what_came_by_pages_of_a_list_that_differs_is_fetched_again_without_pages() -> None:
    said = "\n".join(str(line) for line in closing(5, "why", found="listing.taken"))
    assert "run --carried-over-only" in said
    assert "Run the same command again" not in said
