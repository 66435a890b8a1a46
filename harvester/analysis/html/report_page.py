"""A report as a page of HTML (`document`).

No phone number and no id of a call is ever on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from harvester.analysis.html.corrections import corrections_section
from harvester.analysis.html.days import days_section
from harvester.analysis.html.document import Head, Tile, document, section
from harvester.analysis.html.figures import measures, ranked
from harvester.analysis.html.hours import hours_section
from harvester.analysis.html.prices import prices_section
from harvester.analysis.html.runs import (
    billing_days_section,
    control_totals_section,
    unfinished_section,
)
from harvester.analysis.notes import report_notes, span
from harvester.analysis.report import formatting
from harvester.analysis.report.report import Report

_MOST_DAYS = 800


def page(report: Report) -> str:
    """The whole page."""
    head = Head(
        title=f"Calls {span(report)}",
        stated=report.stated,
        scope=report.scope,
        made_at=report.made_at,
        notes=tuple(report_notes(report)),
        tiles=tuple(_tiles(report)),
    )
    return document(head, _sections(report), _foot(report))


def _tiles(report: Report) -> Iterator[Tile]:
    total = report.calls.total
    yield "Calls", formatting.count(total.calls), f"{formatting.count(total.answered)} answered"
    yield "ASR", formatting.percent(total.asr), f"of {formatting.count(total.seized)} seizures"
    yield "ABR", formatting.percent(total.abr), "answered of all calls"
    reached = f"reached the other end{formatting.unjudged(total)}"
    yield "NER", formatting.percents(total.ner), reached
    yield "SEER", formatting.percents(total.seer), "the same by RFC 6076"
    yield "Minutes", formatting.tenths(total.minutes), "of conversation"
    yield "Charged minutes", formatting.tenths(total.charged_minutes), "by the vendor"
    yield "ACD", formatting.seconds(total.acd_s), "average call duration"
    p95 = formatting.milliseconds(report.delay.p95)
    yield "PDD", formatting.milliseconds(report.delay.median), f"median; 95 % within {p95}"
    for currency, cost in sorted(total.cost.items()):
        yield f"Cost in {currency}", formatting.money(cost), f"exactly {formatting.exact(cost)}"
    if total.settled:
        yield "Settled", formatting.money(total.settle_pay), formatting.settled(total)


def _sections(report: Report) -> Iterator[str]:
    calls = report.calls
    if calls.total.calls:
        days = _all_days(report)
        yield section("Day by day", days_section(report, days))
        yield section("Destinations", ranked("destination", calls.by_destination, calls.total))
        yield section(
            "How calls ended",
            ranked("code", calls.by_code, calls.total, formatting.coded),
            measures(calls.total),
        )
        yield section("When calls are made", hours_section(report.hours, report.scope.clock.zone))
        yield section("Prices", prices_section(calls.prices, days))
    if report.corrections.changes:
        yield section("Changed since delivered", corrections_section(report.corrections))
    if report.billing_days:
        yield section("The vendor's list, day by day", billing_days_section(report.billing_days))
    yield section(
        "Open and dead, as of now", unfinished_section(report.unfinished, Path(report.output))
    )
    yield section("Control totals of the runs", control_totals_section(report.control_totals))


def _all_days(report: Report) -> list[date]:
    if report.first_day is None or report.last_day is None:
        return []
    return formatting.days_between(report.first_day, report.last_day)[-_MOST_DAYS:]


def _foot(report: Report) -> str:
    files = formatting.count(report.files)
    return (
        f"From {files} files of the data set, by <code>harvester report</code>. Amounts are exact "
        "decimals, rounded only where they are shown. No phone number and no id of a call is on "
        "this page."
    )
