"""Tables of a report's page: the figures of days, destinations and termination codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harvester.analysis.html import charts
from harvester.analysis.html.charts import escape
from harvester.analysis.html.markup import Cell, folded
from harvester.analysis.report import formatting
from harvester.analysis.report.figures import (
    RANG_CODE,
    REACHED_CODES,
    RECOVERABLE_CODES,
    Figures,
    Row,
    Table,
)

_SETTLED = "settled"


def ranked(
    what: str, table: Table, total: Figures, named: Callable[[str], str] = formatting.named
) -> str:
    """Destinations or codes, by their calls."""
    monies = money_columns(total)
    heads = figure_heads(what, monies)
    found = list(table.rows)
    if table.others is not None:
        found.append(Row(f"{table.others.name} others", table.others.figures))
    most = max(row.figures.calls for row in found)
    rows = [figure_row(row, most, monies, named) for row in found]
    return folded(what, heads, rows)


def money_columns(total: Figures) -> list[str]:
    """What amounts there are: those of each currency, and what was settled."""
    return [*sorted(total.cost), *([_SETTLED] if total.settled else [])]


def figure_heads(what: str, monies: Iterable[str]) -> list[str]:
    """The heads over rows of `figure_row`."""
    costs = [money if money == _SETTLED else f"cost, {money}" for money in monies]
    return [what, "calls", "answered", "ASR", "NER", "ACD", "PDD", "minutes", "charged", *costs]


def figure_row(
    row: Row,
    most: int,
    monies: Iterable[str],
    named: Callable[[str], str] = formatting.named,
) -> list[Cell]:
    """The figures of a day, a destination or a code; `most` calls are a full bar."""
    one = row.figures
    return [
        Cell(named(row.name)),
        Cell(formatting.count(one.calls), mark=charts.share_bar(one.calls, most)),
        Cell(formatting.count(one.answered)),
        Cell(formatting.percent(one.asr)),
        Cell(formatting.percents(one.ner)),
        Cell(formatting.seconds(one.acd_s)),
        Cell(formatting.seconds(one.pdd_s)),
        Cell(formatting.tenths(one.minutes)),
        Cell(formatting.tenths(one.charged_minutes)),
        *(Cell(_amount(one, money)) for money in monies),
    ]


def _amount(figures: Figures, money: str) -> str:
    if money == _SETTLED and figures.settled:
        return formatting.money(figures.settle_pay)
    return formatting.money(figures.cost[money]) if money in figures.cost else formatting.NONE


def measures(total: Figures) -> str:
    """How the ratios are reckoned."""
    codes = ", ".join(f"{code} ({what})" for code, what in REACHED_CODES.items())
    recoverable = ", ".join(map(str, RECOVERABLE_CODES))
    return (
        '<details><summary>How ASR, NER, ACD and PDD are reckoned</summary><div class="soft">'
        "<p>A seizure is a call that was sent on: it has a call time, or was answered: "
        f"{formatting.count(total.seized)} of {formatting.count(total.calls)}. "
        "A record is one call, "
        "however often the vendor dialled.</p>"
        "<p>ASR: answered / seizures; ABR: answered / all calls (ITU-T E.425).</p>"
        "<p>NER: seizures that reached the other end / seizures (ITU-T E.425); the recommendation "
        "names answer, user busy, ring no answer and terminal rejection. Of the SIP codes these "
        f"count: {escape(codes)}, and {RANG_CODE} (ended by the caller's side) where it rang; the "
        "vendor's own code 0 is a success. SEER (RFC 6076): the same without "
        f"{RANG_CODE}, of the seizures that did not end in a 3xx or one of {recoverable}: these "
        "say how to go on (another address, a login, a payment).</p>"
        "<p>A seizure that was not answered and says no SIP code can't be judged: "
        f"{formatting.count(total.unjudged)}. NER and SEER are ranges then, from none to all of "
        "these.</p>"
        "<p>ACD: seconds of answered calls / answered calls. PDD: ringing time less call time; by "
        "row the mean, above the median.</p></div></details>"
    )
