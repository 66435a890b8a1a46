"""Charts: every mark stands where its figure says, reckoned here by hand."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from harvester.analysis.html.charts import (
    Axes,
    Bar,
    Line,
    bars,
    escape,
    grid,
    lines,
    nice,
    share_bar,
    steps,
)

AXES = Axes("T & <t>", "high", "low", ("a", "b"))


def rects(svg: str, kind: str) -> list[tuple[str, ...]]:
    """(x, y, width, height) of the rectangles of a class, as they are written."""
    form = rf'<rect class="{kind}" x="([^"]*)" y="([^"]*)" width="([^"]*)" height="([^"]*)"'
    return re.findall(form, svg)


def paths(svg: str, kind: str) -> list[str]:
    return re.findall(rf'<path class="{kind}" d="([^"]*)"', svg)


@pytest.mark.parametrize(
    ("most", "end"),
    [
        ("0", "1"),
        ("-5", "1"),
        ("1", "1"),
        ("1.01", "1.5"),
        ("1.5", "1.5"),
        ("1.6", "2"),
        ("2.1", "2.5"),
        ("2.6", "5"),
        ("5.1", "10"),
        ("9.9", "10"),
        ("10", "10"),
        ("99", "100"),
        ("140", "150"),
        ("0.0012", "0.0015"),
    ],
)
def test_an_axis_ends_at_a_round_number_with_room_for_the_most(most: str, end: str) -> None:
    assert nice(Decimal(most)) == Decimal(end)


def test_bars_stand_side_by_side_and_their_parts_upon_each_other() -> None:
    svg = bars(AXES, [Bar((50, 100), "one & two"), Bar((Decimal("12.5"), -3), "x")], Decimal(200))
    assert rects(svg, "s0") == [
        ("1", "75.00", "8", "25.00"),
        ("11", "93.75", "8", "6.25"),
    ]
    assert rects(svg, "s1") == [("1", "25.00", "8", "50.00"), ("11", "93.75", "8", "0.00")]
    assert '<svg viewBox="0 0 20 100"' in svg
    assert paths(svg, "rule") == ["M0 0H20", "M0 50H20", "M0 100H20"]
    assert "<title>one &amp; two</title>" in svg
    assert "T &amp; &lt;t&gt;" in svg
    assert "<span>high</span><span>low</span>" in svg
    assert "<span>a</span><span>b</span>" in svg
    assert '<svg viewBox="0 0 10 100"' in bars(AXES, [], Decimal(1))


def test_a_line_is_broken_where_there_is_nothing_and_a_day_alone_is_a_point() -> None:
    values = (Decimal(20), None, Decimal(60), Decimal(100), None)
    svg = lines(AXES, [Line("A", (Decimal(60),)), Line("B", values)], Decimal(20), Decimal(100))
    assert paths(svg, "l0") == ["M5 50.00h0"]
    assert paths(svg, "l1") == ["M5 100.00h0M25 50.00h0L35 0.00"]
    assert '<svg viewBox="0 0 50 100"' in svg
    assert '<svg viewBox="0 0 10 100"' in lines(AXES, [], Decimal(0), Decimal(1))


def test_a_value_on_an_axis_without_length_is_at_its_foot() -> None:
    assert paths(lines(AXES, [Line("A", (Decimal(7),))], Decimal(7), Decimal(7)), "l0") == [
        "M5 100.00h0"
    ]


def test_a_price_holds_until_there_is_another_one() -> None:
    usual = Line("usual", (None, Decimal(1), None, Decimal(3)))
    low = Line("low", (None, Decimal(1), None, Decimal(2)))
    high = Line("high", (None, Decimal(1), None, Decimal(4)))
    svg = steps(AXES, usual, (low, high), Decimal(0), Decimal(4))
    assert paths(svg, "l0") == ["M10 75.00h10H30V25.00H40"]
    assert rects(svg, "band") == [("30", "0.00", "10", "50.00")], "none where all are one price"
    assert '<svg viewBox="0 0 40 100"' in svg


def test_the_most_of_a_grid_is_dark_and_the_others_by_their_share() -> None:
    svg = grid("week", [[0, 1], [4, 3]], [["a", "b"], ["c", "d"]])
    assert re.findall('fill-opacity="([^"]*)"', svg) == ["0.00", "0.25", "1.00", "0.75"]
    assert [one[:2] for one in rects(svg, "s0")] == [("0", "0"), ("1", "0"), ("0", "1"), ("1", "1")]
    assert re.findall("<title>(.)</title>", svg) == ["a", "b", "c", "d"]
    assert 'viewBox="0 0 2 2"' in svg
    empty = grid("week", [[0, 0, 0]], [["a", "b", "c"]])
    assert re.findall('fill-opacity="([^"]*)"', empty) == ["0.00"] * 3
    assert 'viewBox="0 0 3 1"' in empty


@pytest.mark.parametrize(
    ("part", "whole", "width"), [(1, 4, "25.00"), (4, 4, "100.00"), (0, 4, "0.00"), (0, 0, "0.00")]
)
def test_a_share_is_its_part_of_a_hundred(part: int, whole: int, width: str) -> None:
    assert f'<rect class="s0" width="{width}"' in share_bar(part, whole)


def test_what_is_escaped_may_stand_in_an_attribute() -> None:
    assert escape("<a href=\"x\" b='y'>&\x1b") == (
        "&lt;a href=&quot;x&quot; b=&#x27;y&#x27;&gt;&amp;\N{REPLACEMENT CHARACTER}"
    )
