"""The journal's blobs: zstd-compressed lines of JSON, one an answer.

A line is {"id": …, "at": …, "final": …, "answer": {…}}, before the answer of an unrated call with
"rated": false and of one that a page brought with "by": "pages", and with the vendor's answer
pasted in as it came, so that every literal (money above all) keeps its digits.  JSON text holds
line breaks only between tokens, where a space means the same; so a line stays a line.

On the way back the answer is cut out of its line, not parsed: JSON that one parser took (a lone
surrogate, five hundred brackets) another refuses, and a line that can't be read again would stop
every publication after it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import zstandard

from harvester.answers.answer import SINGLE, Answer
from harvester.state.values import Entry, JournalBlob

DAMAGED = (zstandard.ZstdError, msgspec.MsgspecError, ValueError, IndexError)
"""What `decode` raises for a blob that is not as it was written."""

_BOM = b"\xef\xbb\xbf"
_LEVEL = 1  # higher ones cost twice the CPU for a few per cent (docs/internals/commit-protocol.md)


_ANSWER = b',"answer":'
_AS_MOST_ARE = b',"final":true,"answer":'
_LINE_ENDS = b"\n"
_LF, _CR = b"\n\r"


class _Head(msgspec.Struct, gc=False):
    id: str
    at: int
    final: bool
    rated: bool = True
    by: str = SINGLE


_decode = msgspec.json.Decoder(list[_Head]).decode


def encode(entries: Iterable[Entry]) -> tuple[bytes, int]:
    """A compressed blob and its size before compression, in bytes."""
    text = _lines(entries)
    # With a checksum: a flipped bit on the disk must not become another price.
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return compressor.compress(text), len(text)


def decode(blob: bytes, run_id: str) -> list[Answer]:
    """The answers of a blob, in the order they were written; `run_id`: whose they are."""
    text = zstandard.ZstdDecompressor().decompress(blob)
    heads, answers = [], []
    start, end, index = 0, len(text), text.index
    while start < end:
        # The first match is ours: what stands before it holds no text but an id.
        at = index(_ANSWER, start)
        line_ends = index(_LINE_ENDS, at)  # as `split` would, which looks at byte after byte
        heads.append(text[start:at])
        answers.append(text[at + len(_ANSWER) : line_ends - 1])
        start = line_ends + 1
    # All heads at once: half the price of one after the other.
    found = _decode(b"[" + b"},".join([*heads, b""])[:-1] + b"]") if heads else []
    return [
        Answer(head.id, answer, head.at, run_id, head.final, head.rated, head.by)
        for head, answer in zip(found, answers, strict=True)
    ]


def answers_of(row: JournalBlob) -> list[Answer]:
    """The answers of a row of the journal; raises one of DAMAGED."""
    return decode(row.blob, row.run_id)


def _lines(entries: Iterable[Entry]) -> bytes:
    parts: list[bytes] = []
    for entry in entries:
        answer = entry.body.removeprefix(_BOM)
        # Numbers, not texts: `in` tries a text as a number first, and forms the error at length.
        if _LF in answer or _CR in answer:
            answer = answer.replace(b"\r", b" ").replace(b"\n", b" ")
        head = b'{"id":"%s","at":%d' % (entry.voice_id.encode(), entry.fetched_at_ms)
        if entry.is_final and entry.is_rated and entry.fetched_by == SINGLE:
            state = _AS_MOST_ARE
        else:
            state = b',"final":%s%s%s,"answer":' % (
                b"true" if entry.is_final else b"false",
                b"" if entry.is_rated else b',"rated":false',
                b"" if entry.fetched_by == SINGLE else b',"by":"%s"' % entry.fetched_by.encode(),
            )
        # One join of everything: to format an answer into its line would copy it once more.
        parts += (head, state, answer, b"}\n")
    return b"".join(parts)
