"""Charts in SVG: bars, lines and a grid, each in a figure whose labels are ordinary text.

Theory of operation.  A drawing that scales as a whole has unreadable letters on a phone.  So the
SVG holds marks only and is stretched to the width there is; titles and labels stand around it as
text, in the reader's own size.  Colours are classes, for light and dark.  Every drawing has a
title, every mark what it stands for, and whoever draws one puts the figures beneath as a table.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from harvester.analysis.report.formatting import plain

HEIGHT = 100
_STEP = 10
_GAP = 2
_NICE = (Decimal(1), Decimal("1.5"), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its parts from the bottom up, and what it says when it is pointed at."""

    parts: tuple[Decimal | int, ...]
    told: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line; None where there is nothing to draw."""

    name: str
    values: tuple[Decimal | None, ...]


@dataclass(frozen=True, slots=True)
class Axes:
    """What is written around a drawing."""

    title: str
    """For those who can't see it: what it shows."""
    high: str
    low: str
    along: tuple[str, ...]
    """Labels below, spread evenly from the left end to the right one."""


def escape(text: str) -> str:
    """Text, fit for HTML and SVG, in attributes too."""
    return html.escape(plain(text), quote=True)


def nice(most: Decimal | int) -> Decimal:
    """The end of an axis on which `most` has room: 1, 1.5, 2, 2.5 or 5 times a power of ten."""
    value = Decimal(most)
    if value <= 0:
        return Decimal(1)
    power = Decimal(1).scaleb(value.adjusted())
    return next(step * power for step in _NICE if step * power >= value)


def bars(axes: Axes, found: Sequence[Bar], top: Decimal) -> str:
    """A bar for each of `found`, up to `top`."""
    marks = []
    for place, bar in enumerate(found):
        y, rects = Decimal(HEIGHT), []
        for kind, part in enumerate(bar.parts):
            height = max(Decimal(0), Decimal(part)) * HEIGHT / top
            y -= height
            rects.append(
                f'<rect class="s{kind}" x="{place * _STEP + 1}" y="{_at(y)}" '
                f'width="{_STEP - _GAP}" height="{_at(height)}"/>'
            )
        marks.append(f"<g><title>{escape(bar.told)}</title>{''.join(rects)}</g>")
    return _drawing(axes, max(len(found), 1) * _STEP, "".join(marks))


def lines(axes: Axes, found: Sequence[Line], low: Decimal, high: Decimal) -> str:
    """Lines over the same days, between `low` and `high`."""
    length = max((len(line.values) for line in found), default=1)
    marks = []
    for kind, line in enumerate(found):
        path = _path(line.values, low, high, steps=False)
        marks.append(f'<path class="l{kind}" d="{path}"><title>{escape(line.name)}</title></path>')
    return _drawing(axes, length * _STEP, "".join(marks))


def steps(axes: Axes, usual: Line, band: tuple[Line, Line], low: Decimal, high: Decimal) -> str:
    """A price by day as a flight of steps, before the band of the lowest and the highest."""
    marks = []
    for place, (bottom, top) in enumerate(zip(band[0].values, band[1].values, strict=True)):
        if bottom is not None and top is not None and top > bottom:
            y = _y(top, low, high)
            height = _y(bottom, low, high) - y
            marks.append(
                f'<rect class="band" x="{place * _STEP}" y="{_at(y)}" width="{_STEP}" '
                f'height="{_at(height)}"/>'
            )
    path = _path(usual.values, low, high, steps=True)
    marks.append(f'<path class="l0" d="{path}"><title>{escape(usual.name)}</title></path>')
    return _drawing(axes, len(usual.values) * _STEP, "".join(marks))


def grid(title: str, rows: Sequence[Sequence[int]], told: Sequence[Sequence[str]]) -> str:
    """A field of cells, the darker the more; `told` is what each says when it is pointed at."""
    most = max((value for row in rows for value in row), default=0)
    cells = []
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            strength = Decimal(value) / most if most else Decimal(0)
            cells.append(
                f'<g><title>{escape(told[y][x])}</title><rect class="none" x="{x}" y="{y}" '
                f'width="0.94" height="0.9"/><rect class="s0" x="{x}" y="{y}" width="0.94" '
                f'height="0.9" fill-opacity="{strength:.2f}"/></g>'
            )
    width = max((len(row) for row in rows), default=1)
    return (
        f'<svg class="grid" viewBox="0 0 {width} {len(rows)}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f"{''.join(cells)}</svg>"
    )


def share_bar(part: Decimal | int, whole: Decimal | int) -> str:
    """A bar inside a table's cell; the number stands beside it, so it is silent."""
    width = Decimal(part) * 100 / whole if whole else Decimal(0)
    return (
        '<svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="none" width="100" height="10"/>'
        f'<rect class="s0" width="{_at(width)}" height="10"/></svg>'
    )


def _drawing(axes: Axes, width: int, marks: str) -> str:
    title = escape(axes.title)
    rules = "".join(f'<path class="rule" d="M0 {y}H{width}"/>' for y in (0, HEIGHT // 2, HEIGHT))
    labels = "".join(f"<span>{escape(label)}</span>" for label in axes.along)
    return (
        '<div class="plot"><div class="y" aria-hidden="true">'
        f"<span>{escape(axes.high)}</span><span>{escape(axes.low)}</span></div>"
        f'<svg viewBox="0 0 {width} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{title}"><title>{title}</title>{rules}{marks}</svg>'
        f'<div class="x" aria-hidden="true">{labels}</div></div>'
    )


def _path(values: Sequence[Decimal | None], low: Decimal, high: Decimal, *, steps: bool) -> str:
    """The d of a path: begun again after each gap, so that nothing is drawn where nothing is."""
    found = []
    pen_down = False
    for place, value in enumerate(values):
        if value is None:
            pen_down = pen_down and steps  # a price holds until there is another one
            continue
        y = _at(_y(value, low, high))
        left = place * _STEP
        if steps:
            found.append(f"H{left}V{y}H{left + _STEP}" if pen_down else f"M{left} {y}h{_STEP}")
        elif pen_down:
            found.append(f"L{left + _STEP // 2} {y}")
        else:
            # A day alone is a line of no length: its round cap is a point.
            found.append(f"M{left + _STEP // 2} {y}h0")
        pen_down = True
    return "".join(found)


def _y(value: Decimal, low: Decimal, high: Decimal) -> Decimal:
    return HEIGHT - (value - low) * HEIGHT / (high - low if high > low else Decimal(1))


def _at(number: Decimal) -> str:
    return f"{number:.2f}"
