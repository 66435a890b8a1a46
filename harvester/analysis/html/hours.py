"""A report's page: when calls are made."""

from __future__ import annotations

from harvester.analysis.html import charts
from harvester.analysis.html.charts import escape
from harvester.analysis.html.markup import Cell, data_table
from harvester.analysis.report import formatting
from harvester.analysis.report.report import Hours

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def hours_section(hours: Hours, timezone: str) -> str:
    """A week's hours as a field of shades, and the busiest of them."""
    told = [
        [
            f"{day} {hour:02}:00: {formatting.count(value)} calls"
            for hour, value in enumerate(hours.week[number])
        ]
        for number, day in enumerate(_WEEKDAYS)
    ]
    field = charts.grid("Calls by weekday and hour", hours.week, told)
    days = "".join(f"<span>{day}</span>" for day in _WEEKDAYS)
    clock = "".join(f"<span>{hour:02}</span>" for hour in (0, 6, 12, 18, 23))
    busiest = [
        [
            Cell(busy.begins_at.strftime("%a %Y-%m-%d %H:00")),
            Cell(formatting.count(busy.calls)),
            Cell(formatting.count(busy.answered)),
        ]
        for busy in hours.busiest
    ]
    week = [
        [Cell(day), *(Cell(formatting.count(value)) for value in hours.week[number])]
        for number, day in enumerate(_WEEKDAYS)
    ]
    heads = ["day", *(f"{hour:02}" for hour in range(24))]
    return (
        f'<p class="soft">By the hour of submission, on a clock of {escape(timezone)}.</p>'
        f'<div class="pair"><figure><div class="week"><div class="days" aria-hidden="true">{days}'
        f'</div>{field}<div class="x" aria-hidden="true">{clock}</div></div></figure>'
        f"<div><h3>Busiest hours</h3>{data_table('hour', ['hour', 'calls', 'answered'], busiest)}"
        f"</div></div><details><summary>The week as a table</summary>"
        f"{data_table('calls by weekday and hour', heads, week)}</details>"
    )
