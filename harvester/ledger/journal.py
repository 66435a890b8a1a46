"""The journal's blobs: zstd-compressed lines of JSON, one an answer.

A line is {"id": …, "at": …, "final": …, "answer": {…}}, with the vendor's answer pasted in as it
came, so that every literal (money above all) keeps its digits.  JSON text holds line breaks only
between tokens, where a space means the same; so a line stays a line.

On the way back the answer is cut out of its line, not parsed: JSON that one parser took (a lone
surrogate, five hundred brackets) another refuses, and a line that can't be read again would stop
every publication after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import zstandard

from harvester.ledger.values import Entry

DAMAGED = (zstandard.ZstdError, msgspec.MsgspecError, ValueError, IndexError)
"""What `decode` raises for a blob that is not as it was written."""

_BOM = b"\xef\xbb\xbf"
_LEVEL = 1  # higher levels cost twice the CPU for a few per cent (findings/storage.md §3)


_ANSWER = b',"answer":'


class _Head(msgspec.Struct, gc=False):
    id: str
    at: int
    final: bool


_decode = msgspec.json.Decoder(list[_Head]).decode


def encode(entries: Iterable[Entry]) -> tuple[bytes, int]:
    """A compressed blob and its size before compression, in bytes."""
    entries = list(entries)
    text = _lines(entries, [entry.answer for entry in entries])
    if text.count(b"\n") != len(entries) or b"\r" in text or _BOM in text:
        text = _lines(entries, [_on_one_line(entry.answer) for entry in entries])
    # With a checksum: a flipped bit on the disk must not become another price.
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return compressor.compress(text), len(text)


def decode(blob: bytes) -> Iterator[Entry]:
    """The entries of a blob, in the order they were written."""
    text = zstandard.ZstdDecompressor().decompress(blob)
    heads, answers = [], []
    for line in text.split(b"\n")[:-1]:
        # The first match is ours: what stands before it holds no text but an id.
        at = line.index(_ANSWER)
        heads.append(line[:at])
        answers.append(line[at + len(_ANSWER) : -1])
    # All heads at once: half the price of one after the other.
    found = _decode(b"[" + b"},".join([*heads, b""])[:-1] + b"]") if heads else []
    for head, answer in zip(found, answers, strict=True):
        yield Entry(head.id, head.at, head.final, answer)


def _lines(entries: Sequence[Entry], answers: Sequence[bytes]) -> bytes:
    parts: list[bytes] = []
    for entry, answer in zip(entries, answers, strict=True):
        # One join of everything: to format an answer into its line would copy it once more.
        parts += (_head(entry), answer, b"}\n")
    return b"".join(parts)


def _head(entry: Entry) -> bytes:
    return b'{"id":"%s","at":%d,"final":%s,"answer":' % (
        entry.voice_id.encode(),
        entry.at_ms,
        b"true" if entry.is_final else b"false",
    )


def _on_one_line(answer: bytes) -> bytes:
    return answer.removeprefix(_BOM).replace(b"\r", b" ").replace(b"\n", b" ")
