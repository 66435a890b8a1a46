"""The answer to a query as a screen: a table where it fits, else a record a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.types as pt
from rich.cells import cell_len, set_cell_size

from harvester.analysis.query.plain_types import plain, plain_schema
from harvester.analysis.query.session import Answer
from harvester.cli.ui.console import Line
from harvester.cli.ui.row_output import as_text
from harvester.cli.ui.text import one_line

MOST_ROWS = 100
_WIDEST = 60
_BETWEEN = "  "
_NONE = "NULL"


def screen(answer: Answer, width: int | None) -> tuple[list[Line], bool]:
    """Lines, and whether they are all there is.  `width`: None where lines may be of any."""
    schema = plain_schema(answer.schema)
    rows, is_whole = _rows(answer, schema)
    names = [one_line(name) for name in schema.names]
    told = Line(
        f"({len(rows)} row{'' if len(rows) == 1 else 's'}{'' if is_whole else ', not all'})", "dim"
    )
    if _is_plan(schema):
        return [Line(line) for row in rows for line in (row[-1] or "").splitlines()], is_whole
    wide = [
        min(_WIDEST, max(cell_len(text) for text in column))
        for column in zip(names, *[[_cell(one) for one in row] for row in rows], strict=True)
    ]
    if width is not None and sum(wide) + len(_BETWEEN) * (len(wide) - 1) > width:
        return [*_records(names, rows), told], is_whole
    right = [_is_number(field.type) for field in schema]
    lines = [Line(_line(names, wide, right), "bold")]
    lines += [Line(_line([_cell(one) for one in row], wide, right)) for row in rows]
    return [*lines, told], is_whole


def _rows(answer: Answer, schema: pa.Schema) -> tuple[list[list[str | None]], bool]:
    rows: list[list[str | None]] = []
    for batch in answer.batches:
        texts = [as_text(column).to_pylist() for column in plain(batch, schema).columns]
        rows += [list(row) for row in zip(*texts, strict=True)]
        if len(rows) > MOST_ROWS:
            return rows[:MOST_ROWS], False
    return rows, True


def _records(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Iterator[Line]:
    wide = max(map(cell_len, names))
    for number, row in enumerate(rows, 1):
        yield Line(f"row {number}", "bold")
        for name, one in zip(names, row, strict=True):
            yield Line(f"  {set_cell_size(name, wide)}  {_cell(one)}")


def _line(cells: Sequence[str], wide: Sequence[int], right: Sequence[bool]) -> str:
    told = (_fit(*cell) for cell in zip(cells, wide, right, strict=True))
    return _BETWEEN.join(told).rstrip()


def _fit(text: str, width: int, right: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 3) + "..."
    return " " * (width - cell_len(text)) + text if right else set_cell_size(text, width)


def _cell(text: str | None) -> str:
    return _NONE if text is None else one_line(text)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_decimal(kind) or pt.is_floating(kind))


def _is_plan(schema: pa.Schema) -> bool:
    """Whether it is what EXPLAIN says: lines that belong beneath each other."""
    return list(schema.names) == ["explain_key", "explain_value"]
