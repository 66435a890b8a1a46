"""The places that hold some phone numbers, as lines; never the numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harvester.cli.ui.console import Line
from harvester.cli.ui.text import count, one_line

if TYPE_CHECKING:
    from harvester.operations.number_places import Place

_SHOWN = 20
_WIDTH = 21


def place_lines(found: Iterable[Place], *, ids: bool = False) -> list[Line]:
    """A line a place; with `ids` those of its calls below it."""
    lines = []
    for one in found:
        told = f"{count(len(one.files))} files"
        if one.rows:
            told = f"{count(one.rows)} rows in {told}"
        else:
            told += ", not looked into: " + ", ".join(map(one_line, one.files[:_SHOWN]))
        lines.append(Line(f"  {one.place + ':':<{_WIDTH}}{told}"))
        if ids:
            lines += [Line(f"    {one_line(voice_id)}") for voice_id in one.ids[:_SHOWN]]
            if len(one.ids) > _SHOWN:
                lines.append(Line(f"    {count(len(one.ids) - _SHOWN)} more (--json names them)"))
    return lines
