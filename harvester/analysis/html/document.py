"""What every page of HTML is: one file that works offline, with no script and nothing to load.

Theory of operation.  A page is made of text that was escaped and of numbers that we wrote; every
value passes `markup`, `escape` or a function of `telling`, and the page itself forbids whatever is
not in it (Content-Security-Policy: no script, no request).  Its head names the account and the
vendor, never a path of the machine that made it, so it can be mailed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from harvester.analysis.html.charts import escape
from harvester.analysis.html.style import STYLE
from harvester.analysis.report.source import PRESUMED, presumed, whose
from harvester.analysis.scope import Scope
from harvester.dataset.stated import Stated

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

Tile = tuple[str, str, str]
"""A figure above all sections: its name, itself, and what it is of."""


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above the sections.  All of it is text, not markup."""

    title: str
    stated: Stated
    scope: Scope
    made_at: datetime
    """UTC."""
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...]


def document(head: Head, sections: Iterable[str], foot: str) -> str:
    """The whole page; `sections` and `foot` are markup."""
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer">',
            f"<title>{escape(head.title)}</title><style>{STYLE}</style></head><body><main>",
            _head(head),
            *sections,
            f"<footer>{foot}</footer></main></body></html>\n",
        )
    )


def section(title: str, *parts: str) -> str:
    """A section; `parts` are markup."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _head(head: Head) -> str:
    made = head.made_at.strftime("%Y-%m-%d %H:%M UTC")
    told = " · ".join((whose(head.stated), head.scope.told, f"made {made}"))
    notes = [f'<p class="note">{escape(note)}</p>' for note in head.notes]
    figure, of = presumed(head.stated)
    tiles = (*head.tiles, *([(PRESUMED, figure, of)] if of else []))
    return (
        f"<header><h1>{_unbroken(head.title)}</h1>"
        f'<p class="soft">{escape(told)}</p>{"".join(notes)}{_tiles(tiles)}</header>'
    )


def _unbroken(title: str) -> str:
    """A title whose days aren't broken at their hyphens."""
    return " ".join(f'<span class="day">{escape(word)}</span>' for word in title.split())


def _tiles(tiles: Iterable[Tile]) -> str:
    cells = (
        f'<div><dt>{escape(name)}</dt><dd class="big">{escape(figure)}</dd>'
        f'<dd class="soft">{escape(told)}</dd></div>'
        for name, figure, told in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'
