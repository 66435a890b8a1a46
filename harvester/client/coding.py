"""Content codings of an answer: none is asked for, and what comes all the same is undone here.

Both transports hand in the body as it came, so that one answer means the same over either.  gzip
and deflate are undone in pieces that are never longer than an answer may be: a bomb stays packed.
Sources: RFC 9110 §8.4 (content codings), RFC 1952 §2.2 (members of gzip).
"""

from __future__ import annotations

import re
import zlib
from typing import Any, Final

from harvester.client.transport import MAX_BODY_BYTES, NoReply

TOO_LONG: Final = NoReply("too_long", f"an answer of over {MAX_BODY_BYTES} bytes")
_NOT_DECODED: Final = NoReply("torn", "the answer's content coding is damaged")
_CUT_SHORT: Final = NoReply("protocol", "the answer's content coding ends too soon")

_NAME = re.compile(r"[a-z0-9-]{1,16}")
_JSON = b"{"
_PIECE: Final = 4096


def decoded(body: bytes, header: str) -> bytes | NoReply:
    """The body without the codings that `header` (Content-Encoding) names, last one first.

    A coding that is unknown here (zstd, br) is no reply that can be read, unless the body is JSON
    all the same: some write the header and leave the body alone, or write it twice.
    """
    is_undone = False
    for coding in reversed(header.lower().split(",")):
        name = coding.strip()
        if name in ("", "identity") or not body or (is_undone and body[:1] == _JSON):
            continue
        undone = _undone(body, name)
        if isinstance(undone, NoReply):
            return undone
        body, is_undone = undone, True
    return body


def _undone(body: bytes, name: str) -> bytes | NoReply:
    """`body`, which is not empty, without one coding."""
    if name in ("gzip", "x-gzip"):
        return _inflate_gzip(body)
    if name == "deflate":
        # Meant is zlib's format; some send bare deflate (RFC 9110 §8.4.1.2).
        is_zlib = body[0] & 0xF == zlib.DEFLATED
        unpacker = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        inflated = _inflate(unpacker, body)
        return inflated if isinstance(inflated, NoReply) or unpacker.eof else _CUT_SHORT
    if body.lstrip()[:1] == _JSON:
        return body
    told = name if _NAME.fullmatch(name) else "something unknown here"
    return NoReply(
        "coding",
        f"the answer is packed with {told}, though no packing was requested: see what stands "
        "between us and the vendor",
    )


def _inflate_gzip(body: bytes) -> bytes | NoReply:
    """All members of it, one after the other, without the noughts that may stand behind each.

    In pieces, for the end of a member copies what is left: many tiny ones would block the loop.
    """
    parts: list[bytes] = []
    size = 0
    unpacker: Any = None
    for start in range(0, len(body), _PIECE):
        piece = body[start : start + _PIECE]
        while piece := piece if unpacker or not parts else piece.lstrip(b"\0"):
            unpacker = unpacker or zlib.decompressobj(zlib.MAX_WBITS | 16)
            part = _inflate(unpacker, piece)
            if isinstance(part, NoReply):
                return part
            parts.append(part)
            size += len(part)
            if size > MAX_BODY_BYTES:
                return TOO_LONG
            piece = unpacker.unused_data
            unpacker = None if unpacker.eof else unpacker
    return b"".join(parts)


def _inflate(unpacker: Any, body: bytes) -> bytes | NoReply:  # noqa: ANN401 - zlib names no type
    try:
        inflated: bytes = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        return _NOT_DECODED
    return inflated if len(inflated) <= MAX_BODY_BYTES else TOO_LONG
