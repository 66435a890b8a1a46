"""A report as a page of HTML (`document`).

No phone number and no id of a call is ever on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from harvester.report import telling
from harvester.report.document import Head, Tile, document, section
from harvester.report.notes import report_notes, span
from harvester.report.overview import Report
from harvester.report.section_days import days_section
from harvester.report.section_figures import measures, ranked
from harvester.report.section_hours import hours_section
from harvester.report.section_prices import prices_section
from harvester.report.section_standing import books_section, loose_section

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
    yield "Calls", telling.count(total.calls), f"{telling.count(total.answered)} answered"
    yield "ASR", telling.percent(total.asr), f"of {telling.count(total.seized)} seizures"
    yield "ABR", telling.percent(total.abr), "answered of all calls"
    reached = f"reached the other end{telling.unjudged(total)}"
    yield "NER", telling.percents(total.ner), reached
    yield "SEER", telling.percents(total.seer), "the same by RFC 6076"
    yield "Minutes", telling.tenths(total.minutes), "of conversation"
    yield "Charged minutes", telling.tenths(total.charged_minutes), "by the vendor"
    yield "ACD", telling.seconds(total.acd_s), "average call duration"
    p95 = telling.milliseconds(report.delay.p95)
    yield "PDD", telling.milliseconds(report.delay.median), f"median; 95 % within {p95}"
    for currency, cost in sorted(total.cost.items()):
        yield f"Cost in {currency}", telling.money(cost), f"exactly {telling.exact(cost)}"
    if total.settled:
        yield "Settled", telling.money(total.settle_pay), telling.settled(total)


def _sections(report: Report) -> Iterator[str]:
    calls = report.calls
    if calls.total.calls:
        days = _all_days(report)
        yield section("Day by day", days_section(report, days))
        yield section("Destinations", ranked("destination", calls.by_destination, calls.total))
        yield section(
            "How calls ended",
            ranked("code", calls.by_code, calls.total, telling.coded),
            measures(calls.total),
        )
        yield section("When calls are made", hours_section(report.hours, report.scope.clock.zone))
        yield section("Prices", prices_section(calls.prices, days))
    yield section("Open and dead, as of now", loose_section(report.loose, Path(report.output)))
    yield section("The books of the runs", books_section(report.books))


def _all_days(report: Report) -> list[date]:
    if report.first_day is None or report.last_day is None:
        return []
    return telling.days_between(report.first_day, report.last_day)[-_MOST_DAYS:]


def _foot(report: Report) -> str:
    files = telling.count(report.files)
    return (
        f"From {files} files of the data set, by <code>harvester report</code>. Amounts are exact "
        "decimals, rounded only where they are shown. No phone number and no id of a call is on "
        "this page."
    )
