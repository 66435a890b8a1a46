"""Ids of .csv and .tsv files, quoted as RFC 4180 says.

A block whose records are lines is cut by Arrow, all rows at once; what doesn't fit the simple
pattern, and a block in which a cell goes over several lines, goes to Python's csv module record by
record.  A quote that is never closed must cost one bad line, not swallow the rest of the file: a
record that doesn't end within RECORD_BYTES is given up at its first line and reading goes on at
the next.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from harvester.errors import SourceError
from harvester.ids.bad_ids import BadIds
from harvester.ids.blocks import CUT, Block, blocks
from harvester.ids.clean import clean
from harvester.ids.columns import position
from harvester.ids.files import IdFile
from harvester.ids.lines import sift, split_lines

RECORD_BYTES = 1 << 16
_BLOCK_BYTES = 4 << 20
_SLICE = 65_536
# RE2 unrolls repetitions: beyond this, a pattern costs more than it saves.
_PATTERN_CELLS = 64
_NUMBER = re.compile(r"\+?[0-9]{7,}")


def read_csv(file: IdFile, column: str, bad: BadIds) -> Iterator[pa.Array]:
    """The ids in `column` of a .csv or .tsv file.

    Raises SourceError if there is no such column.
    """
    table: _Table | None = None
    open_record = _Open(0, [])
    for block in blocks(file, size=_BLOCK_BYTES):
        rest: Block | None = block
        if table is None:
            table, rest = _begin(file, column, block)
            if table is None or rest is None:
                continue
        assert rest is not None
        lines = None if open_record.lines else table.records(rest)
        if lines is None:
            open_record = yield from table.slowly(rest, open_record, bad)
        else:
            yield from table.at_once(rest, lines, bad)
    if table is not None and open_record.lines:
        last = Block(open_record.first, b"\n".join(open_record.lines) + b"\n")
        yield from table.slowly(last, _Open(0, []), bad, at_end=True)


class _Open:
    """Lines of a record whose quote isn't closed yet."""

    def __init__(self, first: int, lines: list[bytes]) -> None:
        self.first = first
        self.lines = lines


class _Table:
    """How the rows of one file are cut."""

    def __init__(self, delimiter: str, width: int, place: int) -> None:
        self._delimiter = delimiter
        self._width = width
        self._place = place
        cell = rf'(?:"[^"]*"|[^"{delimiter}]*)'
        ours = rf'(?:"(?P<quoted>[^"]*)"|(?P<plain>[^"{delimiter}]*))'
        before = rf"(?:{cell}{delimiter}){{{place}}}" if place else ""
        behind = rf"(?:{delimiter}{cell}){{{width - place - 1}}}" if place < width - 1 else ""
        self._pattern = rf"\A{before}{ours}{behind}\z"

    def records(self, block: Block) -> pa.Array | None:
        """The lines of a block if each is a record of its own, as far as Arrow can tell."""
        if b"\0" in block.text:
            return None
        lines = split_lines(block)
        if b'"' not in block.text:
            return lines
        # A line with an odd number of quotes begins or ends a cell that goes over several.
        odd = pc.bit_wise_and(pc.count_substring(lines, '"'), 1)
        return None if self._width > _PATTERN_CELLS or pc.max(odd).as_py() else lines

    def at_once(self, block: Block, lines: pa.Array, bad: BadIds) -> Iterator[pa.Array]:
        """Ids of a block in which every line is a record."""
        cut = self._by_pattern if b'"' in block.text else self._by_delimiter
        whole, values = cut(lines)
        rows = pc.indices_nonzero(whole)
        if len(rows):
            yield from sift(values, lambda at: block.first + int(rows[at].as_py()), bad)
        rest = pc.indices_nonzero(pc.invert(whole))
        for start in range(0, len(rest), _SLICE):
            part = rest.slice(start, _SLICE)
            odd = zip(part.to_pylist(), lines.take(part).to_pylist(), strict=True)
            yield from self._one_by_one(((block.first + row, line) for row, line in odd), bad)

    def _by_delimiter(self, lines: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Which lines are whole rows, and their ids' cells, where no quote stands."""
        found = pc.split_pattern(lines, self._delimiter)
        whole = pc.equal(pc.list_value_length(found), self._width)
        whole = pc.and_(whole, pc.greater(pc.binary_length(lines), 0))
        return whole, pc.list_element(found.filter(whole), self._place)

    def _by_pattern(self, lines: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The same where cells are quoted, though none holds a quote itself."""
        found = pc.extract_regex(lines, self._pattern)
        whole = pc.and_(pc.is_valid(found), pc.greater(pc.binary_length(lines), 0))
        rows = found.filter(whole)
        quoted, plain = pc.struct_field(rows, "quoted"), pc.struct_field(rows, "plain")
        return whole, pc.if_else(pc.greater(pc.binary_length(quoted), 0), quoted, plain)

    def _one_by_one(self, lines: Iterable[tuple[int, bytes]], bad: BadIds) -> Iterator[pa.Array]:
        values: list[bytes] = []
        numbers: list[int] = []
        for number, line in lines:
            cell = self._cell(line)
            if cell is not None:
                values.append(cell)
                numbers.append(number)
            elif line.strip():
                self._torn(number, line, bad)
        yield from sift(pa.array(values, pa.binary()), numbers.__getitem__, bad)

    def slowly(
        self, block: Block, begun: _Open, bad: BadIds, *, at_end: bool = False
    ) -> Generator[pa.Array, None, _Open]:
        """Ids of any block; returns the record that goes on behind its end."""
        lines = begun.lines + block.text.removesuffix(b"\n").split(b"\n")
        first = begun.first if begun.lines else block.first
        values: list[bytes] = []
        numbers: list[int] = []
        at = 0
        while at < len(lines):
            end = _record_end(lines, at)
            if end is None and not at_end and sum(map(len, lines[at:])) < RECORD_BYTES:
                break
            cell = None if end is None else self._cell(b"\n".join(lines[at:end]))
            if cell is None and lines[at].strip():
                self._torn(first + at, lines[at], bad)
            elif cell is not None:
                values.append(cell)
                numbers.append(first + at)
            at = end if cell is not None and end is not None else at + 1
        yield from sift(pa.array(values, pa.binary()), numbers.__getitem__, bad)
        return _Open(first + at, lines[at:])

    def _cell(self, record: bytes) -> bytes | None:
        """The id's cell of a record, or None if it isn't one whole row."""
        if b"\0" in record or not record:
            return None
        row = cells(record, self._delimiter)
        if row is None or len(row) != self._width:
            return None
        return row[self._place].encode("utf-8", "surrogateescape")

    @staticmethod
    def _torn(number: int, line: bytes, bad: BadIds) -> None:
        if line.endswith(CUT):
            bad.add(number, "too_long", line)
        else:
            bad.add(number, "nul_byte" if b"\0" in line else "torn_row", line)


def cells(record: bytes, delimiter: str) -> list[str] | None:
    """The cells of one record, or None if its quoting is broken."""
    text = record.decode("utf-8", "surrogateescape")
    try:
        rows = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _record_end(lines: list[bytes], at: int) -> int | None:
    """The index behind the record that begins at `at`; None if its quote isn't closed in reach."""
    if lines[at].count(b'"') % 2 == 0:
        return at + 1
    size = 0
    for end in range(at + 1, len(lines)):
        size += len(lines[end])
        if size > RECORD_BYTES:
            return None
        if lines[end].count(b'"') % 2:
            return end + 1
    return None


def _begin(file: IdFile, column: str, block: Block) -> tuple[_Table | None, Block | None]:
    """Find the column by the first line that isn't blank; the block without its header."""
    skipped = len(block.text) - len(block.text.lstrip(b"\n"))
    text = block.text[skipped:]
    if not text:
        return None, None
    header, _, rest = text.partition(b"\n")
    first = block.first + skipped
    delimiter = _delimiter(file, header)
    names = [name.strip() for name in cells(header, delimiter) or []]
    if not names or b"\0" in header:
        raise SourceError(
            f"{file.path}: its first line isn't a header of columns. "
            "Check the file, or name it .txt."
        )
    if len(names) == 1 and _is_id(names[0], column):
        return _Table(delimiter, 1, 0), Block(first, text)
    if any(_NUMBER.fullmatch(name) for name in names):
        # Not listed: these are no names, and a callee's number may be among them.
        raise SourceError(
            f"{file.path}: its first line holds values, not the names of columns. "
            f"Put a header above it, with {column} over the ids."
        )
    table = _Table(delimiter, len(names), position(names, column, file.path))
    return table, Block(first + 1, rest) if rest else None


def _delimiter(file: IdFile, header: bytes) -> str:
    if file.form == "tsv":
        return "\t"
    # Spreadsheets of half of Europe write semicolons; no id can hold one.
    return ";" if b";" in header and b"," not in header else ","


def _is_id(name: str, column: str) -> bool:
    """Whether the first line of a single column is an id: names of columns hold no digit."""
    has_digit = any(char.isdigit() for char in name)
    return clean(name) is not None and has_digit and name.casefold() != column.casefold()
