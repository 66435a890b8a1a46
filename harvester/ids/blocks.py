"""Bytes of a text file as blocks of whole lines, in bounded memory whatever the file holds.

A block ends with a line's end.  A line of more than LINE_BYTES is cut to its first CUT_BYTES and
the mark CUT, whose NUL makes it bad in every form: so a gigabyte without a line end is one bad
line, and no half of it can pass for an id.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa

from harvester.errors import SourceError
from harvester.ids.files import IdFile

BLOCK_BYTES = 8 << 20
LINE_BYTES = 1 << 20
CUT_BYTES = 200
CUT = b"\0(cut)"

_BOM = b"\xef\xbb\xbf"
_NOT_TEXT = (
    (b"\x1f\x8b", "gzip data. Add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", "zstd data. Add .zst to its name"),
    (b"PAR1", "a Parquet file. Add .parquet to its name"),
    (b"PK\x03\x04", "a ZIP archive (or a spreadsheet). Unpack it, or export it as CSV"),
    (b"\xff\xfe", "UTF-16 text. Convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "UTF-16 text. Convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"),
)


class Block(NamedTuple):
    """Whole lines: `first` is the number of the first one, counted from 1.

    Lines end with LF (a CR before it is gone); the last one of a file may have no end.
    """

    first: int
    text: bytes


def blocks(file: IdFile, *, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """The lines of `file` in blocks of about `size` bytes.

    Raises SourceError if it can't be read or isn't what its name says.
    """
    first = 1
    for text in _whole_lines(_chunks(file, size)):
        lines = text.count(b"\n")
        # Trimming would do it as well, but line by line.
        yield Block(first, text.replace(b"\r\n", b"\n"))
        first += lines


def _chunks(file: IdFile, size: int) -> Iterator[bytes]:
    """Unpacked bytes, checked for the form at their start."""
    try:
        with _opened(file) as read:
            chunk = read(size)
            _check(file, chunk)
            chunk = chunk.removeprefix(_BOM)
            while chunk:
                yield chunk
                chunk = read(size)
    except OSError as exc:
        raise SourceError(_trouble(file, exc)) from exc


class _opened:  # noqa: N801 - reads as the verb that it is
    """The read function of a file, unpacking where it is packed."""

    def __init__(self, file: IdFile) -> None:
        self._file = file

    def __enter__(self) -> Callable[[int], bytes]:
        self._stream: io.FileIO | pa.NativeFile
        if self._file.compression is None:
            self._stream = io.FileIO(self._file.path, "r")
        else:
            # Arrow's stream goes on to the next frame or member by itself, and says so if the
            # last one is torn; Python's zstandard ends there as if all were well.
            raw = pa.OSFile(self._file.path, "rb")
            self._stream = pa.CompressedInputStream(raw, self._file.compression)
        return self._read

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _read(self, size: int) -> bytes:
        return self._stream.read(size) or b""


def _check(file: IdFile, head: bytes) -> None:
    for magic, what in _NOT_TEXT:
        if head.startswith(magic):
            raise SourceError(f"{file.path}: isn't text but {what}.")


def _trouble(file: IdFile, exc: OSError) -> str:
    if exc.errno is None and file.compression is not None:
        torn = "Truncated" in str(exc)
        state = "ends in the middle of its" if torn else "isn't, or isn't only,"
        return (
            f"{file.path}: {state} {file.compression} data ({exc}). "
            "Copy it again, or give it the name that fits."
        )
    return f"{file.path}: can't be read ({exc.strerror or exc}). Check its name and permissions."


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks cut anew at line ends, over-long lines shortened."""
    carry = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if not end:
            carry = _shortened(carry if carry.endswith(CUT) else carry + chunk)
            continue
        start = chunk.find(b"\n") if carry.endswith(CUT) else 0
        yield _no_long_line(carry + chunk[start:end])
        carry = _shortened(chunk[end:])
    if carry:
        yield carry


def _no_long_line(text: bytes) -> bytes:
    """`text` with its over-long lines shortened; looks at one place in a LINE_BYTES."""
    pieces: list[bytes] = []
    kept = at = 0
    while len(text) - at > LINE_BYTES:
        end = text.rfind(b"\n", at, at + LINE_BYTES + 1)
        if end < 0:
            end = text.find(b"\n", at)
            pieces += [text[kept:at], _shortened(text[at:end])]
            kept = end
        at = end + 1
    return b"".join([*pieces, text[kept:]]) if pieces else text


def _shortened(line: bytes) -> bytes:
    return line[:CUT_BYTES] + CUT if len(line) > LINE_BYTES else line
