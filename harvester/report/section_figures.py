"""Tables of a report's page: the figures of days, destinations and termination codes."""

from __future__ import annotations

from collections.abc import Iterable

from harvester.report import charts, telling
from harvester.report.charts import escape
from harvester.report.figures import REACHED_CODES, Figures, Row, Table
from harvester.report.markup import Cell, folded


def ranked(what: str, table: Table, total: Figures) -> str:
    """Destinations or codes, by their calls."""
    currencies = sorted(total.cost)
    heads = figure_heads(what, currencies)
    found = list(table.rows)
    if table.others is not None:
        found.append(Row(f"{table.others.name} others", table.others.figures))
    most = max(row.figures.calls for row in found)
    rows = [figure_row(row, most, currencies) for row in found]
    return folded(what, heads, rows)


def figure_heads(what: str, currencies: Iterable[str]) -> list[str]:
    """The heads over rows of `figure_row`."""
    costs = [f"cost, {currency}" for currency in currencies]
    return [what, "calls", "answered", "ASR", "NER", "ACD", "PDD", "minutes", "charged", *costs]


def figure_row(row: Row, most: int, currencies: Iterable[str]) -> list[Cell]:
    """The figures of a day, a destination or a code; `most` calls are a full bar."""
    one = row.figures
    return [
        Cell(telling.named(row.name)),
        Cell(telling.count(one.calls), mark=charts.share_bar(one.calls, most)),
        Cell(telling.count(one.answered)),
        Cell(telling.percent(one.asr)),
        Cell(telling.percent(one.ner)),
        Cell(telling.seconds(one.acd_s)),
        Cell(telling.seconds(one.pdd_s)),
        Cell(telling.tenths(one.minutes)),
        Cell(telling.tenths(one.charged_minutes)),
        *(Cell(_cost(one, currency)) for currency in currencies),
    ]


def _cost(figures: Figures, currency: str) -> str:
    return telling.money(figures.cost[currency]) if currency in figures.cost else telling.NONE


def measures(total: Figures) -> str:
    """How the ratios are reckoned."""
    codes = ", ".join(f"{code} ({what})" for code, what in REACHED_CODES.items())
    unjudged = telling.count(total.calls - total.judged)
    return (
        '<details><summary>How ASR, NER, ACD and PDD are reckoned</summary><div class="soft">'
        "<p>ASR: answered calls / calls (ITU-T E.425).</p>"
        "<p>NER: calls that reached the other end / calls (ITU-T E.425); the recommendation names "
        "answer, user busy, ring no answer and terminal rejection. Of the SIP codes these count: "
        f"{escape(codes)}. Calls that say no SIP code and were not answered are left out: "
        f"{unjudged}.</p>"
        "<p>ACD: seconds of answered calls / answered calls. PDD: ringing time less call time; by "
        "row the mean, above the median.</p></div></details>"
    )
