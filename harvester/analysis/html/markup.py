"""The pieces that a page is made of: figures, tables, cells.  Every text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harvester.analysis.html.charts import escape
from harvester.analysis.report import formatting

SHOWN = 12
"""Rows of a table before the fold."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: text, and perhaps a mark or another class."""

    text: str
    style: str = ""
    mark: str = ""
    """Markup of ours."""


def figure(title: str, key: str, drawing: str) -> str:
    """A drawing with its title, and its key between them."""
    return f"<figure><h3>{escape(title)}</h3>{key}{drawing}</figure>"


def legend(*entries: tuple[str, str]) -> str:
    """What the colours of a drawing stand for: (class, meaning)."""
    told = "".join(
        f'<span class="key"><i class="{kind}"></i>{escape(name)}</span>' for kind, name in entries
    )
    return f"<figcaption>{told}</figcaption>"


def data_table(
    what: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]], *, pinned: bool = True
) -> str:
    """A table that scrolls sideways where it must, by touch and by keyboard; its edge shows it.

    `pinned`: its first column stays in sight; one of long texts would leave a phone no room.
    """
    styles = [cell.style for cell in rows[0]] if rows else [""] * len(heads)
    head = "".join(
        f'<th scope="col" class="{style}">{escape(name)}</th>'
        for name, style in zip(heads, styles, strict=True)
    )
    body = "".join(_row(cells) for cells in rows)
    style = "" if pinned else ' class="free"'
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(what)}"><table{style}>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: Sequence[Cell]) -> str:
    first, *rest = cells
    others = "".join(
        f'<td class="{cell.style}">{escape(cell.text)}{cell.mark}</td>'
        if cell.style
        else f"<td>{escape(cell.text)}{cell.mark}</td>"
        for cell in rest
    )
    # What others wrote may run from right to left: it must not turn the row around.
    return f'<tr><th scope="row"><bdi>{escape(first.text)}</bdi></th>{others}</tr>'


def folded(what: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table, of which what is beyond SHOWN rows waits to be asked for."""
    shown = data_table(what, heads, rows[:SHOWN])
    if len(rows) <= SHOWN:
        return shown
    rest = data_table(what, heads, rows[SHOWN:])
    more = formatting.count(len(rows) - SHOWN)
    return f"{shown}<details><summary>{more} more rows</summary>{rest}</details>"
