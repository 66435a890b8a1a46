"""The lean transport: nothing between the harvest and its sockets but llhttp.

Theory of operation.  The same promises as the transport over aiohttp, at a fraction of its cost
(docs/performance.md).  A connection is taken from those that lie idle, or made; then the turn is
waited for and the request signed; then it is written, with nothing in between that could wait.  A
connection that died meanwhile is left, and the request goes out once more on another one, paced
and signed afresh; so does a GET whose connection ends before an answer begins.

TLS is the system's own, verified.  There are no redirects, cookies, proxies or .netrc here, and
none could be configured: `vendor.proxy` needs the other transport, and is refused with this one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from time import monotonic
from urllib.parse import urlsplit

from harvester.client.failures import no_connection, unused_proxy
from harvester.client.http11_connection import LOST, LeanConnection, SeenHeads
from harvester.client.tls import system_trust
from harvester.client.transport import STANDING_HEADERS, NoReply, Reply, Request, Seal
from harvester.client.watchdog import look_every_s
from harvester.config import Vendor

_PORTS = {"http": 80, "https": 443}
_TRIES = (1, 2)
"""A kept-alive connection may be dead already, above all."""

_EYEBALLS_S = 0.25  # RFC 8305 §5: before the next of a name's addresses is tried as well


class LeanTransport:
    """Requests under vendor.base_url over kept-alive connections, one per concurrent request."""

    def __init__(
        self,
        vendor: Vendor,
        concurrency: int,
        seal: Seal,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Must be made inside the running loop.  `tls` replaces the system's trust (tests)."""
        del concurrency  # who asks holds one connection, so there are never more than asks
        address = urlsplit(vendor.base_url)
        assert address.hostname is not None
        self._host = address.hostname
        self._port = address.port or _PORTS[address.scheme]
        self._tls = tls
        if address.scheme == "https" and tls is None:
            self._tls = system_trust()
        if address.scheme == "http":
            self._tls = None
        self._base_url = vendor.base_url
        self._timeout_s = vendor.timeout_s
        self._seal = seal
        self._loop = asyncio.get_running_loop()
        self._heads = SeenHeads()
        self._open: set[LeanConnection] = set()
        """Every connection until it is found to be unusable; at most one for each ask."""
        self._idle: list[LeanConnection] = []
        """Those of them that nobody holds; they may have died meanwhile."""
        self._prefix = f" {address.path.rstrip('/')}/".encode("ascii")
        self._get = b"GET" + self._prefix
        standing = {"Host": address.netloc, **STANDING_HEADERS}
        self._standing = b" HTTP/1.1\r\n" + _lines(standing)
        self._signed: dict[str, str] | None = None
        self._rest = b""
        self._look_every_s = look_every_s(vendor.timeout_s)
        self._timer = self._loop.call_later(self._look_every_s, self._look)

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody waits for an answer."""
        return len(self._idle) == len(self._open)

    async def send(self, request: Request, *, fresh: bool = False) -> Reply | NoReply:
        """Send a request; see `Transport`."""
        path, is_get = request.path.encode("ascii"), request.method == "GET"
        if not is_get or request.body is not None or len(path.split()) != 1:
            request.check()  # a call for each would be felt; blanks and line breaks split it
        reply: Reply | NoReply = LOST
        if fresh:
            self._leave_idle()
        for _ in _TRIES:
            connection = None if fresh else self._take_idle()
            is_sure = connection is not None
            if connection is None:
                made = await self._connect()
                if isinstance(made, NoReply):
                    return made
                connection = made
            try:
                headers = self._seal()
                if not isinstance(headers, dict):
                    headers, is_sure = await headers, False
                # Whatever was waited for, the connection may have died meanwhile.
                if is_sure or connection.is_usable():
                    reply = await connection.ask(self._written(path, request.body, headers))
                    is_lost = reply is LOST and is_get
                else:
                    is_lost = True
            except BaseException:
                connection.abort()
                self._open.discard(connection)
                raise
            self._idle.append(connection)
            if not is_lost:
                break
        return reply

    async def close(self) -> None:
        """Close every connection."""
        self._timer.cancel()
        for connection in self._open:
            connection.abort()
        self._open.clear()
        self._idle.clear()
        await asyncio.sleep(0)  # they are closed in the loop's next round

    def _take_idle(self) -> LeanConnection | None:
        """The one that was used last: the others may then grow old together."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            self._open.discard(connection)
        return None

    def _leave_idle(self) -> None:
        """Close one that lies idle: the new one takes its place, so their number stays the same."""
        connection = self._take_idle()
        if connection is not None:
            connection.abort()
            self._open.discard(connection)

    async def _connect(self) -> LeanConnection | NoReply:
        try:
            async with asyncio.timeout(self._timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: LeanConnection(self._heads),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    happy_eyeballs_delay=_EYEBALLS_S,
                )
        except OSError as exc:
            return no_connection(exc, unused_proxy(self._base_url))
        self._open.add(connection)
        return connection

    def _look(self) -> None:
        """End what takes too long.  A timer an attempt would cost more than reading the answer."""
        too_old = monotonic() - self._timeout_s
        for connection in list(self._open):
            connection.cut_off(too_old)
        self._timer = self._loop.call_later(self._look_every_s, self._look)

    def _written(self, path: bytes, body: bytes | None, headers: dict[str, str]) -> bytes:
        """A GET, or with a body a POST."""
        # The seal gives the same mapping for as long as the signature is the same: a second.
        if headers is not self._signed:
            self._rest = self._standing + _lines(headers) + b"\r\n"
            self._signed = headers
        if body is None:
            return self._get + path + self._rest
        start = b"POST" + self._prefix + path
        return b"%s%sContent-Length: %d\r\n\r\n%s" % (start, self._rest[:-2], len(body), body)


def _lines(headers: Mapping[str, str]) -> bytes:
    """Header lines.  Raises ValueError for what would be more than its line."""
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if text.count("\n") != len(headers) or text.count("\r") != len(headers) or "\0" in text:
        raise ValueError("a header with a line break in it")
    return text.encode("latin-1")
