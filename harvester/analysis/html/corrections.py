"""A report's page: what has changed since calls were delivered."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.analysis.html.markup import Cell, data_table, folded
from harvester.analysis.report import formatting
from harvester.analysis.report.corrections import Changed, Corrections


def corrections_section(found: Corrections) -> str:
    """Changes by column, day and destination, with the money that moved."""
    currencies = sorted({*found.money.up, *found.money.down})
    told = (
        f"{formatting.count(found.changes)} changes of calls of this period, found by "
        "<code>harvester refetch</code>; every figure above counts the calls as they are now. Of "
        f"the changes, {formatting.not_folded(found.not_folded).replace('`', '')}."
    )
    columns = [
        [Cell(formatting.plain(name), "text"), Cell(formatting.count(n))]
        for name, n in found.by_column.items()
    ]
    return (
        f'<p class="soft">{told}</p>'
        f"{data_table('changed columns', ['column', 'changes'], columns)}"
        f"{_table('day of the call', found.by_day, currencies)}"
        f"{_table('destination', found.by_destination, currencies)}"
    )


def _table(what: str, rows: Sequence[Changed], currencies: Sequence[str]) -> str:
    heads = [what, "changes", *(f"{currency}, up and down" for currency in currencies)]
    cells = [
        [
            Cell(formatting.named(row.name)),
            Cell(formatting.count(row.changes)),
            *(
                Cell(formatting.moved(row.money.up, row.money.down, currency))
                for currency in currencies
            ),
        ]
        for row in rows
    ]
    return folded(f"changes by {what}", heads, cells)
