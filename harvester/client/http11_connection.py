"""One HTTP/1.1 connection of the lean transport: a request, its answer, and then perhaps another.

Theory of operation.  llhttp (through httptools) splits what arrives into messages and is strict:
whatever it refuses ends the connection.  What it does not bound is bounded here: the bytes of a
head and of the whole, the number of header lines, the bytes of a body.  A connection is used again
only after an answer that was whole, had a length of its own, was said to be followed by others,
and left nothing over; at the least doubt it is closed.  So no id gets the answer of another:
anything that arrives when nothing is asked condemns the connection.

A head that llhttp has read once needs no second reading: within a second a server sends few
different ones, byte for byte.  `SeenHeads` keeps what they said, for answers that arrive in one
piece, whole and plain; whatever else arrives takes the way through the parser.

Lenient it is where the RFC lets a client be and aiohttp is, no further: lines that end in LF alone
(§2.2), folded header lines (§5.2), blanks after the size of a chunk.

Sources: RFC 9112 §6.3 (length of a message), §9.3 (persistence).
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final, NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from harvester.client.coding import TOO_LONG, decoded
from harvester.client.failures import no_http
from harvester.client.transport import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    NoReply,
    Reply,
)

LOST: Final = NoReply("reset", "the connection ended before an answer began")
TOO_SLOW: Final = NoReply("timeout", "the answer did not end in time")
_TORN: Final = NoReply("torn", "the connection ended before the answer was whole")
_NO_HTTP: Final = no_http("")
_GARBLED: Final = NoReply("torn", "the answer went on as none in HTTP/1.1")

_MAX_HEAD_BYTES = MAX_HEADER_BYTES * MAX_HEADERS
_MAX_BYTES = 8 * MAX_BODY_BYTES
"""Of a whole answer as it comes.  A body of a byte a chunk takes six times its length; a trailer
without an end would be collected in memory until its time is up."""

_FIRST = 100
_FIRST_FINAL = 200  # lower status codes announce an answer, they are none (RFC 9110 §15.2)
_LISTS = (b"transfer-encoding", b"content-encoding")  # of others, said twice, the first counts
_END_OF_HEAD = b"\r\n\r\n"
_END_BYTES = len(_END_OF_HEAD)
_HEADS = 512
_LONGEST_HEAD = 2_048


class SeenHead(NamedTuple):
    """What the parser read in a head before: of a plain answer, after which the next may come."""

    status: int
    body_bytes: int
    date: str | None
    retry_after: str | None
    content_type: str | None = None


class SeenHeads:
    """The heads of late, shared by all connections to one host; at most a megabyte."""

    def __init__(self) -> None:
        self._seen: dict[bytes, SeenHead] = {}
        self.get = self._seen.get
        """What a head said, by all of its bytes; None for one that was not seen."""

    def add(self, head: bytes, said: SeenHead) -> None:
        """Remember what the parser read in `head`."""
        if len(head) > _LONGEST_HEAD:
            return
        if len(self._seen) >= _HEADS:
            self._seen.clear()  # a new second has a new Date: the old ones do not come again
        self._seen[head] = said


class LeanConnection(asyncio.Protocol):
    """A connection and the parser of what it brings."""

    _is_fresh: bool
    _received: int

    def __init__(self, heads: SeenHeads) -> None:
        """Made by the loop's `create_connection`; lives on that loop."""
        self._loop = asyncio.get_running_loop()
        self._heads = heads
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply | NoReply] | None = None
        self._asked_at = 0.0
        self._is_doubtful = False
        self._parser = self._new_parser()
        self._is_reused = False
        self._is_chunked = False
        self._begin()

    def is_usable(self) -> bool:
        """Whether a request may be written to it now."""
        transport = self._transport
        return (
            not self._is_doubtful
            and self._answer is None
            and transport is not None
            and not transport.is_closing()
        )

    def ask(self, request: bytes) -> asyncio.Future[Reply | NoReply]:
        """Write `request`; its answer will be the result.  LOST if the connection ends before.

        To be called while `is_usable`.  If the future is cancelled, the connection must be aborted.
        """
        assert self._transport is not None
        if not self._is_fresh:
            self._begin()
        answer: asyncio.Future[Reply | NoReply] = asyncio.Future(loop=self._loop)
        self._answer = answer
        self._asked_at = monotonic()
        self._transport.write(request)
        return answer

    def abort(self) -> None:
        """Close at once, whatever is on its way."""
        self._is_doubtful = True
        if self._transport is not None:
            self._transport.abort()

    def cut_off(self, asked_before: float) -> None:
        """End an answer that was asked for at `asked_before` (monotonic time) or earlier."""
        if self._answer is not None and self._asked_at <= asked_before:
            self._end(TOO_SLOW)

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        answer = self._answer
        if answer is None:
            self.abort()  # nobody asked
            return
        if self._is_fresh:
            end = data.find(_END_OF_HEAD) + _END_BYTES
            seen = self._heads.get(data[:end])
            if seen is not None:
                status, body_bytes, date, retry_after, content_type = seen
                if body_bytes == len(data) - end:
                    took_s = monotonic() - self._asked_at
                    is_reused, self._is_reused = self._is_reused, True
                    self._answer = None
                    if not answer.done():
                        answer.set_result(
                            Reply(
                                status,
                                data[end:],
                                date,
                                retry_after,
                                took_s,
                                content_type,
                                is_reused,
                            )
                        )
                    return
            self._is_fresh = False
            self._first = data
        self._received += len(data)
        if self._received > (_MAX_BYTES if self._is_body else _MAX_HEAD_BYTES):
            self._end(TOO_LONG if self._is_body else _NO_HTTP)
            return
        had_begun = self._is_body
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._end(_GARBLED if had_begun else no_http(str(exc)))  # unless it was whole before

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        return False  # close our side too

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if not self._is_body:
            self._end(LOST)
        elif self._has_length or exc is not None:
            self._end(_TORN)
        else:
            self._end(self._decoded())  # it ends where its connection does

    # What llhttp tells.  An exception raised here ends the parsing and comes out of `feed_data`.

    def on_message_begin(self) -> None:
        """See httptools."""
        if self._is_whole:
            self._is_doubtful = True  # more than was asked for
            raise _Enough
        self._headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools.  Trailers come here too."""
        self._lines += 1
        if self._lines > MAX_HEADERS or len(name) + len(value) > MAX_HEADER_BYTES:
            raise _Enough
        if b"\0" in value:
            raise _Enough  # a lenient llhttp lets it through
        if not self._is_body:
            name = name.lower()
            known = self._headers.get(name)
            if known is None:
                self._headers[name] = value
            elif name in _LISTS:
                self._headers[name] = known + b", " + value

    def on_headers_complete(self) -> None:
        """See httptools."""
        headers = self._headers
        status = self._parser.get_status_code()
        if status < _FIRST:
            raise _Enough
        self._is_body = status >= _FIRST_FINAL
        coding = headers.get(b"transfer-encoding")
        self._is_chunked = (
            coding is not None and coding.lower().rpartition(b",")[2].strip() == b"chunked"
        )
        self._has_length = self._is_chunked or b"content-length" in headers

    def on_body(self, part: bytes) -> None:
        """See httptools."""
        self._size += len(part)
        if self._size > MAX_BODY_BYTES:
            self._end(TOO_LONG)
            raise _Enough
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self._is_body:
            return  # 100 Continue and the like: the answer is still to come
        self._is_whole = True
        answer = self._decoded()
        if self._parser.should_keep_alive() and isinstance(answer, Reply):
            self._remember_head(answer)
            self._settle(answer)
        else:
            self._end(answer)

    def _new_parser(self) -> HttpResponseParser:
        """As lenient as aiohttp's: an answer means the same over either transport."""
        parser = HttpResponseParser(self)
        parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        return parser

    def _begin(self) -> None:
        """Forget the last answer."""
        self._is_fresh = True
        self._first = b""
        if self._is_chunked:
            # The old one may hold a trailer back, and would give it to the next message.
            self._parser = self._new_parser()
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._lines = 0
        self._received = 0
        self._has_length = False
        self._is_chunked = False
        self._is_body = False
        self._is_whole = False

    def _remember_head(self, answer: Reply) -> None:
        """If the answer came in one piece: nothing but a head and a body as long as it said."""
        if b"content-length" not in self._headers or b"content-encoding" in self._headers:
            return
        first = self._first
        end = first.find(_END_OF_HEAD) + _END_BYTES
        if len(first) == self._received and len(first) - end == self._size:
            said = SeenHead(
                answer.status, self._size, answer.date, answer.retry_after, answer.content_type
            )
            self._heads.add(first[:end], said)

    def _decoded(self) -> Reply | NoReply:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        headers = self._headers
        coding = headers.get(b"content-encoding")
        if coding is not None:
            plain = decoded(body, coding.decode("latin-1"))
            if isinstance(plain, NoReply):
                return plain
            body = plain
        return Reply(
            self._parser.get_status_code(),
            body,
            _text(headers.get(b"date")),
            _text(headers.get(b"retry-after")),
            monotonic() - self._asked_at,
            _text(headers.get(b"content-type")),
            self._is_reused,
        )

    def _end(self, answer: Reply | NoReply) -> None:
        """The answer, if there is none yet, and the end of the connection."""
        self._settle(answer)
        self.abort()

    def _settle(self, reply: Reply | NoReply) -> None:
        answer, self._answer = self._answer, None
        self._is_reused = True
        if answer is not None and not answer.done():
            answer.set_result(reply)


class _Enough(Exception):
    """Stops the parser."""


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
