"""A report's page: prices over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from harvester.analysis.html import charts
from harvester.analysis.html.charts import Axes, Line
from harvester.analysis.html.markup import Cell, data_table, figure, folded
from harvester.analysis.report import formatting
from harvester.analysis.report.aggregate import PriceLine, Prices
from harvester.analysis.report.prices import RATED


def prices_section(prices: Prices, days: Sequence[date]) -> str:
    """The price of each large destination over the days, and every change."""
    known, mixed = formatting.count(prices.destination_days), formatting.count(prices.mixed)
    told = (
        "The usual price (<code>rate</code>) of a destination's day is the one that most of its "
        f"calls had; the band spans the lowest and the highest. Of {known} days of destinations, "
        f"{mixed} had no price that held for more than half of the calls. A change is shown for "
        f"each price by itself: one ended, another began, with at least {RATED} rated calls each."
    )
    charts_ = "".join(_price_chart(line, days) for line in prices.lines)
    drawn = f'<div class="pair">{charts_}</div>{_price_table(prices)}'
    if not prices.changes:
        return f'<p class="soft">{told}</p>{drawn}<p>No price changed.</p>'
    rows = [
        [
            Cell(formatting.named(change.destination)),
            Cell(change.day),
            Cell(formatting.exact(change.before)),
            Cell(formatting.exact(change.after)),
            Cell(formatting.change(change.before, change.after)),
            Cell(formatting.plain(change.currency)),
            Cell(formatting.count(change.calls_before)),
            Cell(formatting.count(change.calls)),
        ]
        for change in prices.changes
    ]
    heads = [
        "destination",
        "since",
        "before",
        "now",
        "change",
        "currency",
        "calls before",
        "calls since",
    ]
    more = prices.changes_in_all - len(rows)
    rest = (
        f'<p class="soft">{formatting.count(more)} older changes are not listed.</p>'
        if more
        else ""
    )
    return (
        f'<p class="soft">{told}</p>{drawn}'
        f"<h3>Changes, newest first</h3>{folded('price changes', heads, rows)}{rest}"
    )


def _price_table(prices: Prices) -> str:
    rows = [
        [
            Cell(formatting.named(line.destination)),
            Cell(day.day),
            *(Cell(formatting.exact(price)) for price in (day.usual, day.lowest, day.highest)),
            Cell(formatting.plain(line.currency)),
        ]
        for line in prices.lines
        for day in line.days
    ]
    heads = ["destination", "day", "usual", "lowest", "highest", "currency"]
    drawn = data_table("prices by day", heads, rows)
    return f"<details><summary>These prices as a table</summary>{drawn}</details>"


def _price_chart(line: PriceLine, days: Sequence[date]) -> str:
    by_day = {price.day: price for price in line.days}
    found = [by_day.get(day.isoformat()) for day in days]
    prices = [price for price in found if price is not None]
    if not prices:
        return ""
    lowest = min(price.lowest for price in prices)
    highest = max(price.highest for price in prices)
    # A little air, so that a price that never moved is a line in the middle.
    air = (highest - lowest) / 10 or highest / 10 or Decimal(1)
    name = f"{formatting.named(line.destination)}, {formatting.plain(line.currency)}"
    usual = Line("usual price", tuple(price.usual if price else None for price in found))
    band = (
        Line("lowest", tuple(price.lowest if price else None for price in found)),
        Line("highest", tuple(price.highest if price else None for price in found)),
    )
    axes = Axes(
        f"Price by day: {name}",
        formatting.exact(highest),
        formatting.exact(lowest),
        formatting.along(days),
    )
    drawing = charts.steps(axes, usual, band, lowest - air, highest + air)
    return f'<div class="small">{figure(name, "", drawing)}</div>'
