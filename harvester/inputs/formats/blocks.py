"""Bytes of a text file as blocks of whole lines, in bounded memory whatever the file holds.

A block ends with a line's end.  A line of more than LINE_BYTES is cut to its first CUT_BYTES and
the mark CUT, whose NUL makes it bad in every form: so a gigabyte without a line end is one bad
line, and no half of it can pass for an id.  A block that would be blank is passed over: a megabyte
of gzip may hold a gigabyte of line ends.
"""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa

from harvester.errors import SourceError
from harvester.inputs.discover import IdFile
from harvester.inputs.formats.likeness import converting

BLOCK_BYTES = 8 << 20
LINE_BYTES = 1 << 20
CUT_BYTES = 200
CUT = b"\0(cut)"

_RAW_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
# The longer ones first: UTF-32's mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_TEXT = (
    (b"\x1f\x8b", "gzip data. Add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", "zstd data. Add .zst to its name"),
    (b"PAR1", "a Parquet file. Add .parquet to its name"),
    (b"PK\x03\x04", "a ZIP archive (or a spreadsheet). Unpack it, or export it as CSV"),
    (b"PK\x05\x06", "an empty ZIP archive. Export the ids again"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet (or another document of Office). Export it as CSV"),
    (b"%PDF", "a PDF document. Export the ids as CSV"),
    (b"{\\rtf", "a document (RTF). Export the ids as CSV"),
    *((b"BZh%d1AY&SY" % level, "bzip2 data. Unpack it (bunzip2)") for level in range(1, 10)),
    (b"\xfd7zXZ", "xz data. Unpack it (unxz)"),
    (b"\x04\x22\x4d\x18", "LZ4 data. Unpack it (lz4 -d)"),
    (b"\x1f\x9d", "compressed data. Unpack it (uncompress)"),
    (b"7z\xbc\xaf", "a 7-Zip archive. Unpack it (7z x)"),
    (b"Rar!", "a RAR archive. Unpack it (unrar x)"),
    (b"-----BEGIN PGP", "an encrypted message (PGP). Decrypt it (gpg -d)"),
    (b"age-encryption.org", "an encrypted file (age). Decrypt it (age -d)"),
    (b"Salted__", "an encrypted file (openssl). Decrypt it (openssl enc -d)"),
    (b"SQLite format 3", "a database (SQLite). Export the ids as CSV"),
    (b"ARROW1\0\0", "an Arrow file. Write it as Parquet or CSV"),
    (b"Obj\x01", "an Avro file. Write it as Parquet or CSV"),
)
_TAR_AT = 257


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
        if not text.isspace():
            # Trimming would do it as well, but line by line.
            yield Block(first, text.replace(b"\r\n", b"\n"))
        first += lines


def head(file: IdFile, size: int) -> bytes:
    """The first bytes of a text file, at most `size`; none of what can't be read as text."""
    try:
        with closing(_chunks(file, size)) as chunks:
            return next(chunks, b"")[:size]
    except SourceError:
        return b""


def _chunks(file: IdFile, size: int) -> Generator[bytes]:
    """Unpacked bytes of about `size`, checked for the form at their start; UTF-8 if they tell."""
    try:
        with closing(_unpacked(file, size)) as unpacked:
            first = next(unpacked, b"")
            _check(file, first)
            yield from _as_utf8(first, unpacked)
    except (OSError, EOFError, zlib.error) as exc:
        raise SourceError(_trouble(file, exc), code="input.damaged") from exc


def _as_utf8(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    for mark, encoding in _MARKS:
        if first.startswith(mark):
            decoder = codecs.getincrementaldecoder(encoding)("replace")
            for chunk in chain([first], others):
                yield decoder.decode(chunk).encode()
            yield decoder.decode(b"", final=True).encode()
            return
    yield first.removeprefix(_BOM)
    yield from others


def _unpacked(file: IdFile, size: int) -> Generator[bytes]:
    """The bytes of a file in pieces of `size`; the last may be shorter.

    Raises OSError; EOFError and zlib.error for gzip that is torn or none.
    """
    if file.compression == "gzip":
        with io.FileIO(file.path, "r") as packed:
            yield from _gathered(_gunzipped(packed, size), size)
        return
    stream: io.FileIO | pa.NativeFile
    if file.compression is None:
        stream = io.FileIO(file.path, "r")
    else:
        # Arrow's stream goes on to the next frame by itself, and says so if the last one is torn;
        # Python's zstandard ends there as if all were well.
        stream = pa.CompressedInputStream(pa.OSFile(file.path, "rb"), file.compression)
    with stream:
        while chunk := stream.read(size):
            yield chunk


def _gunzipped(packed: io.FileIO, size: int) -> Iterator[bytes]:
    """What the members of a gzip file hold, in pieces of at most `size`.

    As gzip does it, zeros behind a member are passed over: tapes and devices fill their blocks.
    """
    member: Any = None
    seen = False
    while raw := packed.read(_RAW_BYTES):
        while raw:
            if member is None:
                raw = raw.lstrip(b"\0") if seen else raw
                if not raw:
                    break
                member, seen = zlib.decompressobj(wbits=31), True
            yield member.decompress(raw, size)
            raw = member.unconsumed_tail
            if member.eof:
                raw, member = member.unused_data, None
    if member is not None:
        yield member.flush()
        if not member.eof:
            raise EOFError("Truncated gzip data")


def _gathered(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes, in pieces of `size` at least but for the last."""
    held: list[bytes] = []
    bytes_held = 0
    for piece in pieces:
        held.append(piece)
        bytes_held += len(piece)
        if bytes_held >= size:
            yield b"".join(held)
            held, bytes_held = [], 0
    if bytes_held:
        yield b"".join(held)


def _check(file: IdFile, start: bytes) -> None:
    for magic, what in _NOT_TEXT:
        if start.startswith(magic):
            raise SourceError(f"{file.name}: isn't text but {what}.", code="input.form")
    if start[_TAR_AT:].startswith(b"ustar"):
        raise SourceError(
            f"{file.name}: isn't text but a tar archive. Unpack it (tar -x).", code="input.form"
        )
    encoding = _unmarked(start[:1024])
    if encoding is not None:
        command = converting(file, f"iconv -f {encoding} -t UTF-8")
        raise SourceError(
            f"{file.name}: isn't text but {encoding} without a mark that says so. "
            f"Convert it: {command}",
            code="input.form",
        )


def _unmarked(start: bytes) -> str | None:
    """The encoding of two bytes a character, if text of ASCII is written in one without a mark."""
    even, odd = start[0::2], start[1::2]
    if len(odd) < 4 or start.startswith(tuple(mark for mark, _ in _MARKS)):
        return None
    for zeros, others, encoding in ((odd, even, "UTF-16LE"), (even, odd, "UTF-16BE")):
        if zeros.count(0) >= 0.9 * len(zeros) and others.count(0) <= 0.1 * len(others):
            return encoding
    return None


def _trouble(file: IdFile, exc: OSError | EOFError | zlib.error) -> str:
    if not (isinstance(exc, OSError) and exc.errno) and file.compression is not None:
        torn = "Truncated" in str(exc)
        state = "ends in the middle of its" if torn else "isn't, or isn't only,"
        return (
            f"{file.name}: {state} {file.compression} data ({exc}). "
            "Copy it again, or give it the name that fits."
        )
    said = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
    return f"{file.name}: can't be read ({said}). Check its name and permissions."


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
