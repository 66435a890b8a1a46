"""Tables in Markdown, so that one can go into a page as it is."""

from __future__ import annotations

from collections.abc import Sequence


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one table; all columns but the first are numbers, set to the right."""
    widths = [max(len(cells[at]) for cells in [heads, *rows]) for at in range(len(heads))]
    print(f"\n### {title}\n")
    print(_line(heads, widths))
    marks = ("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths))
    print(f"|{'|'.join(marks)}|")
    for cells in rows:
        print(_line(cells, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if at else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
