"""A report's page: day by day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from harvester.analysis.html import charts
from harvester.analysis.html.charts import Axes, Bar, Line
from harvester.analysis.html.figures import figure_heads, figure_row, money_columns
from harvester.analysis.html.markup import data_table, figure, legend
from harvester.analysis.report import formatting
from harvester.analysis.report.figures import Figures
from harvester.analysis.report.report import Report


def days_section(report: Report, days: Sequence[date]) -> str:
    """Calls, ratios and cost by day: charts, and the days as a table."""
    by_day = {row.name: row.figures for row in report.calls.by_day}
    found = [by_day.get(day.isoformat(), Figures()) for day in days]
    currencies = sorted(report.calls.total.cost)
    monies = money_columns(report.calls.total)
    charts_ = [_calls_chart(days, found), _ratio_chart(days, found)]
    charts_ += [_cost_chart(days, found, currency) for currency in currencies]
    most = max((row.figures.calls for row in report.calls.by_day), default=0)
    rows = [figure_row(row, most, monies) for row in report.calls.by_day]
    table = data_table("day", figure_heads("day", monies), rows)
    return (
        f'<div class="pair">{"".join(charts_)}</div>'
        f"<details><summary>The days as a table</summary>{table}</details>"
    )


def _calls_chart(days: Sequence[date], found: Sequence[Figures]) -> str:
    top = charts.nice(max((one.calls for one in found), default=0))
    columns = [
        Bar(
            (one.answered, one.calls - one.answered),
            f"{day}: {formatting.count(one.calls)} calls, "
            f"{formatting.count(one.answered)} answered",
        )
        for day, one in zip(days, found, strict=True)
    ]
    axes = Axes("Calls by day, answered and not", f"{top:,f}", "0", formatting.along(days))
    key = legend(("k0", "answered"), ("k1", "not answered"))
    return figure("Calls", key, charts.bars(axes, columns, top))


def _ratio_chart(days: Sequence[date], found: Sequence[Figures]) -> str:
    drawn = [
        Line("ASR", tuple(one.asr for one in found)),
        Line("NER", tuple(None if one.ner is None else one.ner.low for one in found)),
    ]
    axes = Axes("ASR and NER by day, per cent", "100 %", "0 %", formatting.along(days))
    ner = "NER, at least" if any(one.unjudged for one in found) else "NER"
    key = legend(("k0 line", "ASR"), ("k2 line", ner))
    return figure("ASR and NER", key, charts.lines(axes, drawn, Decimal(0), Decimal(100)))


def _cost_chart(days: Sequence[date], found: Sequence[Figures], currency: str) -> str:
    costs = [one.cost.get(currency, Decimal(0)) for one in found]
    top = charts.nice(max(costs, default=Decimal(0)))
    columns = [
        Bar((cost,), f"{day}: {formatting.money(cost)} {currency}")
        for day, cost in zip(days, costs, strict=True)
    ]
    axes = Axes(f"Cost in {currency} by day", f"{top:,f}", "0", formatting.along(days))
    return figure(f"Cost in {currency}", "", charts.bars(axes, columns, top))
