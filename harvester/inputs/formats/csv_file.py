"""Ids of .csv and .tsv files, quoted as RFC 4180 says.

A block whose records are lines is cut by Arrow, all rows at once; what doesn't fit the simple
pattern, and a block in which a cell goes over several lines, goes to Python's csv module record by
record.  A quote that is never closed must cost one bad line, not swallow the rest of the file: a
record that doesn't end within RECORD_BYTES, or that has rows with ids inside, is given up at its
first line and reading goes on at the next.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Generator, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from harvester.errors import SourceError
from harvester.inputs.bad_lines import BadIds
from harvester.inputs.discover import IdFile
from harvester.inputs.formats.blocks import CUT, Block, blocks
from harvester.inputs.formats.id_column import TIMES, places, position
from harvester.inputs.formats.text_file import sift, split_lines
from harvester.inputs.voice_id import Reason, clean, no_ids, same_name, trimmed

RECORD_BYTES = 1 << 16
_BLOCK_BYTES = 4 << 20
_SLICE = 65_536
# RE2 unrolls repetitions: beyond this, a pattern costs more than it saves.
_PATTERN_CELLS = 64
_NUMBER = re.compile(r"\+?[0-9]{7,}")
# Longer than any phone number.
_SURELY_AN_ID = re.compile("[0-9]{16,64}")
_DELIMITERS = ",;\t|"
_SEP = re.compile(rb'"?sep=(\t|[,;|])"?\s*', re.IGNORECASE)


def read_csv(file: IdFile, column: str, bad: BadIds) -> Iterator[pa.Array]:
    """The ids in `column` of a .csv or .tsv file.

    Raises SourceError if there is no such column.
    """
    table: _Table | None = None
    begun: _Begun | None = None
    for block in blocks(file, size=_BLOCK_BYTES):
        rest: Block | None = block
        if table and begun and begun.end != block.first:
            # Nothing but blank lines was between them, and more than a record may have.
            yield from table.slowly(begun.block(), None, bad, at_end=True)
            begun = None
        if table is None:
            table, rest = _begin(file, column, block)
            if table is None or rest is None:
                continue
        assert rest is not None
        lines = None if begun else table.records(rest)
        if lines is None:
            begun = yield from table.slowly(rest, begun, bad)
        else:
            yield from table.at_once(rest, lines, bad)
    if table is not None and begun is not None:
        yield from table.slowly(begun.block(), None, bad, at_end=True)


class _Begun:
    """Lines of a record whose quote isn't closed yet; one at least."""

    def __init__(self, first: int, lines: list[bytes]) -> None:
        self.first = first
        self.lines = lines

    @property
    def end(self) -> int:
        """The line behind its last."""
        return self.first + len(self.lines)

    def block(self) -> Block:
        """Its lines."""
        return Block(self.first, b"\n".join(self.lines) + b"\n")


class _Table:
    """How the rows of one file are cut."""

    def __init__(self, delimiter: str, width: int, place: int, words: str) -> None:
        """`place`: where the ids stand among `width` cells; `words`: see `no_ids`."""
        self._width = width
        self._place = place
        self._words = words
        self._delimiter = delimiter
        delimiter = re.escape(delimiter)
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
            yield from self._sifted(values, lambda at: block.first + int(rows[at].as_py()), bad)
        is_odd = pc.and_not(pc.greater(pc.binary_length(lines), 0), whole)
        rest = pc.indices_nonzero(is_odd)
        for start in range(0, len(rest), _SLICE):
            part = rest.slice(start, _SLICE)
            yield from self._one_by_one(block.first, part, lines.take(part), bad)

    def _by_delimiter(self, lines: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Which lines are whole rows, and their ids' cells, where no quote stands."""
        found = pc.split_pattern(lines, self._delimiter)
        whole = pc.equal(pc.list_value_length(found), self._width)
        whole = pc.and_(whole, self._filled(lines))
        return whole, pc.list_element(found.filter(whole), self._place)

    def _by_pattern(self, lines: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The same where cells are quoted, though none holds a quote itself."""
        found = pc.extract_regex(lines, self._pattern)
        whole = pc.and_(pc.is_valid(found), self._filled(lines))
        rows = found.filter(whole)
        quoted, plain = pc.struct_field(rows, "quoted"), pc.struct_field(rows, "plain")
        return whole, pc.if_else(pc.greater(pc.binary_length(quoted), 0), quoted, plain)

    def _filled(self, lines: pa.Array) -> pa.Array:
        """Which lines aren't blank; where there is one cell alone, white space makes none."""
        if self._width > 1:
            return pc.greater(pc.binary_length(lines), 0)
        return pc.match_substring_regex(lines, r"[^ \t\v\f\r]")

    def _sifted(
        self, values: pa.Array, number: Callable[[int], int], bad: BadIds
    ) -> Iterator[pa.Array]:
        yield from sift(values, number, bad, words=self._words)

    def _one_by_one(
        self, first: int, rows: pa.Array, lines: pa.Array, bad: BadIds
    ) -> Iterator[pa.Array]:
        """Ids of single lines, `rows` of a block that begins with line `first`."""
        kinds = lines.dictionary_encode()
        found = [self._judged(line) for line in kinds.dictionary.to_pylist()]
        cells_ = pa.array([cell for cell, _ in found], pa.binary()).take(kinds.indices)
        reasons = pa.array([reason for _, reason in found], pa.string()).take(kinds.indices)
        bad.add_all(rows, reasons, lines, lambda row: first + int(row))
        whole = rows.filter(cells_.is_valid())
        values = cells_.drop_null()
        yield from self._sifted(values, lambda at: first + int(whole[at].as_py()), bad)

    def _judged(self, line: bytes) -> tuple[bytes | None, str | None]:
        """The id's cell of a line, or why it has none; neither of a blank line."""
        if not line.strip():
            return None, None
        cell = self._cell(line)
        return (None, _torn(line)) if cell is None else (cell, None)

    def slowly(
        self, block: Block, begun: _Begun | None, bad: BadIds, *, at_end: bool = False
    ) -> Generator[pa.Array, None, _Begun | None]:
        """Ids of any block; returns the record that goes on behind its end."""
        lines = block.text.removesuffix(b"\n").split(b"\n")
        first = block.first
        if begun is not None:
            lines, first = begun.lines + lines, begun.first
        values: list[bytes] = []
        numbers: list[int] = []
        at = 0
        while at < len(lines):
            if not lines[at].strip():
                at += 1
                continue
            end = _record_end(lines, at)
            if end is None and not at_end and _is_short(lines, at):
                break
            cell = None if end is None else self._record(lines[at:end])
            if cell is None:
                bad.add(first + at, _torn(lines[at]), lines[at])
            else:
                values.append(cell)
                numbers.append(first + at)
            at = end if cell is not None and end is not None else at + 1
        yield from self._sifted(pa.array(values, pa.binary()), numbers.__getitem__, bad)
        return _Begun(first + at, lines[at:]) if at < len(lines) else None

    def _record(self, lines: list[bytes]) -> bytes | None:
        """The id's cell of a record of several lines, or None if it isn't one.

        Two stray quotes make one of all the rows between them, by the rules of CSV a whole one; but
        no cell of text holds rows of this very table.
        """
        if any(self._is_row(line) for line in lines[1:-1]):
            return None
        return self._cell(b"\n".join(lines))

    def _is_row(self, line: bytes) -> bool:
        cell = self._cell(line)
        return cell is not None and _SURELY_AN_ID.fullmatch(cell.decode("latin-1")) is not None

    def _cell(self, record: bytes) -> bytes | None:
        """The id's cell of a record, or None if it isn't one whole row."""
        if b"\0" in record or not record:
            return None
        row = cells(record, self._delimiter)
        if row is None or len(row) != self._width:
            return None
        return row[self._place].encode("utf-8", "surrogateescape")


def _torn(line: bytes) -> Reason:
    """Why a line that is no row of its table is a bad one."""
    if line.endswith(CUT):
        return "too_long"
    return "nul_byte" if b"\0" in line else "torn_row"


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
        size += len(lines[end]) + 1
        if size > RECORD_BYTES:
            return None
        if lines[end].count(b'"') % 2:
            return end + 1
    return None


def _is_short(lines: list[bytes], at: int) -> bool:
    """Whether the record that begins at `at` may still end behind the last of the lines."""
    size = 0
    for line in lines[at + 1 :]:
        size += len(line) + 1
        if size > RECORD_BYTES:
            return False
    return True


def read_cells(file: IdFile, columns: tuple[str, str]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """The cells of two columns, of ids and of times, in each row that has both; binary.

    A row that is torn has none; which ids of a file count is for `read_csv` to say.  Raises
    SourceError if there are no such columns.
    """
    table: _Cells | None = None
    for block in blocks(file, size=_BLOCK_BYTES):
        text = block
        if table is None:
            first, header, rest, delimiters = _header(file, block)
            if not header:
                continue
            delimiter, names = _names(header, delimiters, columns[0])
            ids = position(names, columns[0], file.name)
            times = position(names, columns[1], file.name, only=False, of=TIMES)
            table = _Cells(delimiter, (ids, times))
            text = Block(first + 1, rest)
        yield table.add(text)
    if table is not None:
        yield table.rest()


class _Cells:
    """Cuts two cells out of each row of a file, block by block."""

    def __init__(self, delimiter: str, places: tuple[int, int]) -> None:
        self._delimiter = delimiter
        self._places = places
        self._begun: list[bytes] = []

    def add(self, block: Block) -> tuple[pa.Array, pa.Array]:
        """Those of a block; a record that goes on behind its end is kept."""
        if not self._begun and b'"' not in block.text:
            rows = pc.split_pattern(split_lines(block), self._delimiter)
            rows = rows.filter(pc.greater(pc.list_value_length(rows), max(self._places)))
            ids, times = (pc.list_element(rows, place) for place in self._places)
            return ids, times
        lines = [*self._begun, *block.text.removesuffix(b"\n").split(b"\n")]
        self._begun, found, at = [], list[list[str]](), 0
        while at < len(lines):
            end = _record_end(lines, at)
            if end is None and _is_short(lines, at):
                self._begun = lines[at:]
                break
            row = None if end is None else self._row(b"\n".join(lines[at:end]))
            if row is not None:
                found.append(row)
            at = at + 1 if row is None or end is None else end
        return self._columns(found)

    def rest(self) -> tuple[pa.Array, pa.Array]:
        """Those of what is left at the end of the file."""
        return self._columns([row for line in self._begun if (row := self._row(line)) is not None])

    def _row(self, record: bytes) -> list[str] | None:
        row = cells(record, self._delimiter)
        return row if row is not None and len(row) > max(self._places) else None

    def _columns(self, rows: list[list[str]]) -> tuple[pa.Array, pa.Array]:
        ids, times = (
            pa.array([row[place].encode("utf-8", "surrogateescape") for row in rows], pa.binary())
            for place in self._places
        )
        return ids, times


def _header(file: IdFile, block: Block) -> tuple[int, bytes, bytes, str]:
    """The first line that isn't blank, its number before it, what follows, and what may cut it."""
    first, header, rest = _first_line(block)
    delimiters = "\t,;|" if file.form == "tsv" else _DELIMITERS
    told = _SEP.fullmatch(header)
    if told is not None:
        # Written for a spreadsheet: it says how the lines below are cut, and is none of them.
        delimiters = told[1].decode()
        first, header, rest = _first_line(Block(first + 1, rest))
    return first, header, rest, delimiters


def _begin(file: IdFile, column: str, block: Block) -> tuple[_Table | None, Block | None]:
    """Find the column by the first line that isn't blank; the block without its header."""
    first, header, rest, delimiters = _header(file, block)
    if not header:
        return None, None
    delimiter, names = _names(header, delimiters, column)
    if not names or b"\0" in header:
        raise SourceError(
            f"{file.name}: its first line isn't a header of columns. "
            "Check the file, or name it .txt.",
            code="input.no_header",
        )
    if len(names) == 1 and _is_id(names[0], column):
        return _Table(delimiter, 1, 0, no_ids(column)), Block(first, header + b"\n" + rest)
    if any(_NUMBER.fullmatch(name) for name in names):
        # Not listed: these are no names, and a callee's number may be among them.
        raise SourceError(
            f"{file.name}: its first line holds values, not the names of columns. "
            f"Put a header above it, with {column} over the ids.",
            code="input.no_header",
        )
    place = position(names, column, file.name)
    table = _Table(delimiter, len(names), place, no_ids(column, names[place]))
    return table, Block(first + 1, rest) if rest else None


def _first_line(block: Block) -> tuple[int, bytes, bytes]:
    """The first line that isn't blank, its number before it and what follows behind it."""
    skipped = len(block.text) - len(block.text.lstrip(b"\n"))
    header, _, rest = block.text[skipped:].partition(b"\n")
    return block.first + skipped, header, rest


def _names(header: bytes, delimiters: str, column: str) -> tuple[str, list[str]]:
    """The delimiter that cuts the column's name out of the header, and all the names.

    Where none does, the first that cuts it at all counts; of a single name, the first.
    """
    cuts = []
    for delimiter in delimiters:
        names = [trimmed(name) for name in cells(header, delimiter) or []]
        if places(names, column):
            return delimiter, names
        cuts.append((delimiter, names))
    return next((cut for cut in cuts if len(cut[1]) > 1), cuts[0])


def _is_id(name: str, column: str) -> bool:
    """Whether the first line of a single column is an id: names of columns hold no digit."""
    has_digit = any(char.isdigit() for char in name)
    return clean(name) is not None and has_digit and same_name(name) != same_name(column)
