"""The way to the vendor, behind one small protocol.

A transport sends one request and brings back what came; it knows no status code of the vendor and
keeps no policy.  What goes wrong on the way is a value (`NoReply`), never an exception: an id that
fails must not end the run.

The order inside `send` carries a promise: a connection first, then `seal`, then the write.  `seal`
waits for the pace and signs; so a slow connect can't delay a request into somebody else's second,
and no signature grows old in a queue.

A request whose connection ends before an answer begins may have been carried out or not.  A GET
changes nothing, so it goes out once more, on another connection; a POST is left to the caller, who
alone knows whether twice is harmless, unless its connection was seen to be dead before a byte of it
was written.

What is signed goes to the host of vendor.base_url and to no other: a request names a path under
it, never an address, and a redirect is an answer like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeAlias

import msgspec

from harvester.version import __version__

MAX_BODY_BYTES = 1 << 20
"""The longest answer that is read, decoded: a record has under 2 KB, so this is already a lie."""

MAX_HEADER_BYTES = 16_384
MAX_HEADERS = 128

# No compression is asked for: a record fits into one packet, and unpacking costs more than one.
STANDING_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"cdr-harvester/{__version__}",
}
"""Beside Host and the signed ones; nothing else is sent."""

Seal: TypeAlias = Callable[[], dict[str, str] | Awaitable[dict[str, str]]]
"""Gives this attempt its turn and its freshly signed headers; an awaitable of them where the turn
has to be waited for, as a coroutine costs more than a turn that is to be had at once."""


EXHAUSTED = "exhausted"
"""The cause of a `NoReply` that is ours: no file descriptor, port or memory for a connection."""


class Request(msgspec.Struct, frozen=True, gc=False):  # each attempt has one
    """One request; the headers are the transport's and the seal's."""

    method: Literal["GET", "POST"]
    path: str
    """Relative to vendor.base_url, without a slash in front; quoted: ASCII without blanks."""
    body: bytes | None = None
    """For a POST, of the type that the seal's headers name: JSON."""

    def check(self) -> None:
        """Raise ValueError for one that would be more than its line, or no request at all."""
        path = self.path
        if not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError("the path of a request is not quoted")
        if (self.method == "GET") != (self.body is None):
            raise ValueError("a POST has a body, and a GET has none")


class Reply(msgspec.Struct, frozen=True, gc=False):  # each request has one
    """An answer as it came.  `body` is decoded (no gzip), at most MAX_BODY_BYTES long."""

    status: int
    body: bytes
    date: str | None = None
    retry_after: str | None = None
    took_s: float = 0.0
    """From the request's write to the answer's last byte."""
    content_type: str | None = None
    """The header; a transport may leave it out where the body is ASCII, which any of them is."""
    is_reused: bool = False
    """Its connection had brought an answer before: this one could be what that one left behind."""


class NoReply(msgspec.Struct, frozen=True):
    """No answer.  `cause` is a stable name; `detail` is for people and quotes no answer.

    Causes: dns, refused, tls, proxy (no connection), exhausted (none, for want of something of
    this machine's), timeout (no whole answer in time), reset (the connection ended before the
    answer began), torn (before it was whole), protocol (no HTTP), coding (packed as nobody asked),
    too_long.
    """

    cause: str
    detail: str


class Transport(Protocol):
    """Sends one signed request at a time per caller; safe for many callers at once."""

    async def send(self, request: Request, *, fresh: bool = False) -> Reply | NoReply:
        """Send `request`; `fresh`: on a connection that has brought no answer yet.

        Raises nothing but CancelledError, what the seal raises, and ValueError for a request that
        `Request.check` refuses.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
