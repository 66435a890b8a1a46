"""A report as one page of HTML that works offline: no script, nothing loaded, light and dark.

Theory of operation.  The page is made of text that was escaped and of numbers that we wrote; every
value passes `markup`, `escape` or a function of `telling`, and the page itself forbids whatever is
not in it (Content-Security-Policy: no script, no request).  No phone number and no id of a call is
ever in it, so it can be mailed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from harvester.report import telling
from harvester.report.charts import escape
from harvester.report.notes import report_notes, span
from harvester.report.overview import Report
from harvester.report.section_days import days_section
from harvester.report.section_figures import measures, ranked
from harvester.report.section_hours import hours_section
from harvester.report.section_prices import prices_section
from harvester.report.section_standing import books_section, loose_section
from harvester.report.style import STYLE

_MOST_DAYS = 800
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(report: Report) -> str:
    """The whole page."""
    title = f"Calls {escape(span(report))}"
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer">',
            f"<title>{title}</title><style>{STYLE}</style></head><body><main>",
            _head(report, title),
            *_sections(report),
            _foot(report),
            "</main></body></html>\n",
        )
    )


def _head(report: Report, title: str) -> str:
    made = report.made_at.strftime("%Y-%m-%d %H:%M UTC")
    notes = [f'<p class="note">{escape(note)}</p>' for note in report_notes(report)]
    return (
        f"<header><h1>{_unbroken(title)}</h1>"
        f'<p class="soft">{escape(report.output)} · {escape(report.scope.told)} · '
        f"made {made}</p>{''.join(notes)}{_tiles(report)}</header>"
    )


def _unbroken(title: str) -> str:
    """A title whose days aren't broken at their hyphens."""
    return " ".join(f'<span class="day">{word}</span>' for word in title.split())


def _tiles(report: Report) -> str:
    total = report.calls.total
    tiles = [
        ("Calls", telling.count(total.calls), f"{telling.count(total.answered)} answered"),
        ("ASR", telling.percent(total.asr), f"of {telling.count(total.seized)} seizures"),
        ("ABR", telling.percent(total.abr), "answered of all calls"),
        ("NER", telling.percents(total.ner), f"reached the other end{telling.unjudged(total)}"),
        ("SEER", telling.percents(total.seer), "the same by RFC 6076"),
        ("Minutes", telling.tenths(total.minutes), "of conversation"),
        ("Charged minutes", telling.tenths(total.charged_minutes), "by the vendor"),
        ("ACD", telling.seconds(total.acd_s), "average call duration"),
        (
            "PDD",
            telling.milliseconds(report.delay.median),
            f"median; 95 % within {telling.milliseconds(report.delay.p95)}",
        ),
    ]
    tiles += [
        (f"Cost in {currency}", telling.money(cost), f"exactly {telling.exact(cost)}")
        for currency, cost in sorted(total.cost.items())
    ]
    if total.settled:
        tiles.append(("Settled", telling.money(total.settle_pay), telling.settled(total)))
    cells = (
        f'<div><dt>{escape(name)}</dt><dd class="big">{escape(figure)}</dd>'
        f'<dd class="soft">{escape(told)}</dd></div>'
        for name, figure, told in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _sections(report: Report) -> Iterator[str]:
    calls = report.calls
    if calls.total.calls:
        days = _all_days(report)
        yield _section("Day by day", days_section(report, days))
        yield _section("Destinations", ranked("destination", calls.by_destination, calls.total))
        yield _section(
            "How calls ended",
            ranked("code", calls.by_code, calls.total, telling.coded),
            measures(calls.total),
        )
        yield _section("When calls are made", hours_section(report.hours, report.scope.clock.zone))
        yield _section("Prices", prices_section(calls.prices, days))
    yield _section("Open and dead, as of now", loose_section(report.loose))
    yield _section("The books of the runs", books_section(report.books))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _all_days(report: Report) -> list[date]:
    if report.first_day is None or report.last_day is None:
        return []
    return telling.days_between(report.first_day, report.last_day)[-_MOST_DAYS:]


def _foot(report: Report) -> str:
    files = telling.count(report.files)
    return (
        f"<footer>From {files} files of the data set, by <code>harvester report</code>. Amounts "
        "are exact decimals, rounded only where they are shown. No phone number and no id of a "
        "call is on this page.</footer>"
    )
