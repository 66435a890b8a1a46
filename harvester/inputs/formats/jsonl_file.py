"""Ids of .jsonl and .ndjson files: a field of the object on each line.

The field is taken as it is written: a number that a JSON reader would round keeps all its digits,
and one with a fraction or an exponent has already lost some before it came to us.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa

from harvester.errors import SourceError
from harvester.inputs.bad_lines import BadIds
from harvester.inputs.discover import IdFile
from harvester.inputs.formats.blocks import CUT, Block, blocks
from harvester.inputs.formats.id_column import IDS, TIMES, places, position
from harvester.inputs.formats.text_file import sift
from harvester.inputs.voice_id import Reason, no_ids

# A line of two bytes becomes an object of a hundred, so the blocks are small.
_BLOCK_BYTES = 1 << 20
_WHOLE = re.compile(rb"-?[0-9]+")
_ABSENT = msgspec.Raw()
_NAMES = 100
"""Of an object, for a message."""


def read_jsonl(file: IdFile, column: str, bad: BadIds) -> Iterator[pa.Array]:
    """The ids in field `column` of a file of JSON lines.

    Raises SourceError if no line at all is a JSON object, or none has such a field.
    """
    fields = _Fields(file.name, column)
    for block in blocks(file, size=_BLOCK_BYTES):
        yield from fields.ids(block, bad)
    fields.check()


def read_fields(file: IdFile, columns: tuple[str, str]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """The values of two fields, of ids and of times, of each object that has an id; binary.

    Which ids of a file count is for `read_jsonl` to say.  Raises SourceError if no object has both.
    """
    found: list[str] = []
    seen: dict[str, None] = {}
    for block in blocks(file, size=_BLOCK_BYTES):
        values: list[list[bytes]] = []
        for line in block.text.split(b"\n"):
            try:
                fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw]) if line else {}
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if not found:
                seen |= dict.fromkeys(list(fields)[:_NAMES])
                names = list(fields)
                if all(places(names, column) for column in columns):
                    found = [names[position(names, column, file.name)] for column in columns]
            cells = [_text(bytes(fields.get(name, _ABSENT)))[0] for name in found]
            if cells and cells[0]:
                values.append(cells)
        if values:
            ids, times = (pa.array(column, pa.binary()) for column in zip(*values, strict=True))
            yield ids, times
    if seen and not found:
        for column, of in zip(columns, (IDS, TIMES), strict=True):
            position(list(seen), column, file.name, only=False, of=of)


class _Fields:
    """The field of one file, whose name is settled by the first object that has it."""

    def __init__(self, path: str, column: str) -> None:
        self._path = path
        self._column = column
        self._words = no_ids(column)
        self._lines = 0
        self._first: dict[str, Any] | None = None
        self._decoder: msgspec.json.Decoder[Any] | None = None

    def check(self) -> None:
        """Raise SourceError if the file as a whole was not what its name says."""
        if self._lines and self._first is None:
            raise SourceError(
                f"{self._path}: no line of it is a JSON object. Check the file, or name it .txt.",
                code="input.form",
            )
        if self._first is not None and self._decoder is None:
            position(list(self._first), self._column, self._path, only=False)

    def ids(self, block: Block, bad: BadIds) -> Iterator[pa.Array]:
        """The clean ids of a block."""
        values: list[bytes] = []
        numbers: list[int] = []
        for number, line in enumerate(block.text.split(b"\n"), block.first):
            if not line.strip():
                continue
            self._lines += 1
            value, reason = self._value(line)
            if reason is not None:
                bad.add(number, reason, line)
            else:
                values.append(value)
                numbers.append(number)
        if values:
            cells = pa.array(values, pa.binary())
            yield from sift(cells, numbers.__getitem__, bad, words=self._words)

    def _value(self, line: bytes) -> tuple[bytes, Reason | None]:
        if b"\0" in line:
            return b"", "too_long" if line.endswith(CUT) else "nul_byte"
        if self._decoder is None:
            self._decoder = self._settled(line)
        decoder = self._decoder or _ANY_OBJECT
        try:
            found = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return b"", "not_utf8" if _undecodable(line) else "not_json"
        return _text(bytes(getattr(found, "value", _ABSENT)))

    def _settled(self, line: bytes) -> msgspec.json.Decoder[Any] | None:
        """A decoder for the field, once an object has it; other objects only say what there is."""
        try:
            found = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if self._first is None:
            self._first = found
        names = list(found)
        if not places(names, self._column):
            return None
        name = names[position(names, self._column, self._path)]
        row = msgspec.defstruct(
            "Row", [("value", msgspec.Raw, _ABSENT)], rename={"value": name}, gc=False
        )
        return msgspec.json.Decoder(row)


class _AnyObject(msgspec.Struct):
    """An object of which no field is asked."""


_ANY_OBJECT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_AnyObject)


def _text(literal: bytes) -> tuple[bytes, Reason | None]:
    """The text that a JSON literal stands for, as an id is one; or why it can't be one."""
    match literal[:1]:
        case b"":
            return b"", "no_field"
        case b'"':
            if b"\\" not in literal:
                return literal[1:-1], None
            return msgspec.json.decode(literal, type=str).encode("utf-8", "surrogatepass"), None
        case b"n":
            return b"", "empty"
        case b"t" | b"f" | b"[" | b"{":
            return b"", "not_text"
        case _:
            whole = _WHOLE.fullmatch(literal)
            return (literal, None) if whole else (b"", "not_a_whole_number")


def _undecodable(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False
