"""The transport over aiohttp.

Theory of operation.  The pace must be kept at the socket, not at the queue, so the turn is taken
where aiohttp has a connection in its hand and is about to write: in `ClientRequest.send`
(`request_class` is a documented parameter of ClientSession).  aiohttp sends a GET once more by
itself when its connection ends before an answer begins (a kept-alive one that was dead already,
above all), but no POST; that repeat passes through `send` too, so it is paced, counted and signed
afresh like any other.

A connection can die while its request waits for the turn, and a vendor that has sent more than it
was asked for may have left the next answer in it beforehand.  Writing to the first would fail the
id for nothing; reading from the second would give one id the answer of another.  So both are seen
right before the write and end as a dead connection does: once more, on another one.

Waiting for a turn must not count as waiting for the vendor, and a timer an attempt costs CPU.  So
aiohttp's timeouts are off but for connecting; the watchdog below, one timer for all attempts,
catches silence and dripping alike, by aborting the connection once the attempt's time is up.

Whoever reads a body waits for the body alone, and aiohttp does not always end it: where a later
packet of an answer is no HTTP, the connection is closed, its protocol gets the error, and the body
gets nothing.  So the watchdog looks at both: a body whose connection is gone is torn, and a body
whose time is up gets that error itself, whatever became of its connection.

What is refused on purpose: redirects (signed headers go to the configured host only), cookies,
.netrc, proxies and other wishes of the environment (`vendor.proxy` names a proxy), bodies over
MAX_BODY_BYTES.  No compression is asked for: a record fits into one packet as it is, and unpacking
costs more than a packet.  What comes packed all the same is unpacked by `coding`, and not by
aiohttp, which knows other codings on other machines.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from harvester.client.coding import TOO_LONG, decoded
from harvester.client.failures import no_connection, no_http, no_way, unused_proxy
from harvester.client.tls import system_trust
from harvester.client.transport import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    STANDING_HEADERS,
    NoReply,
    Reply,
    Request,
    Seal,
)
from harvester.client.watchdog import Watchdog
from harvester.config import Vendor, proxy_login


class _Ask(msgspec.Struct, eq=False):  # each request has one
    """One `send`, as the watchdog knows it."""

    connection: Connection | None = None
    """That which the request was written to."""
    body: StreamReader | None = None
    """The answer's, if it was not there as soon as its head was."""
    is_reused: bool = False
    """Whether that had carried a request before."""
    is_written: bool = False
    """Whether a byte of the request may have left."""
    was_gone: bool = False
    """Whether the last look found the connection gone, and the body not at its end."""

    def look(self) -> None:
        """End a body that nothing more can come for.

        At the second look: a connection that ends a body tells it so a moment later.
        """
        body, connection = self.body, self.connection
        if body is None or connection is None or body.is_eof():
            return
        protocol = connection.protocol
        if protocol is None or not protocol.is_connected():
            if self.was_gone:
                body.set_exception(aiohttp.ClientPayloadError("the connection is gone"))
            self.was_gone = True

    def cut_off(self) -> None:
        """Wake whoever waits for head or body with an error, which is a value in `send`."""
        slow = aiohttp.SocketTimeoutError("the answer took too long")
        connection = self.connection
        if connection is not None:
            transport = connection.transport
            if connection.protocol is not None:
                # Who waits for the head of an answer must learn that time is up: at a mere loss
                # of the connection aiohttp would send the request once more.
                connection.protocol.set_exception(slow)
            if transport is not None:
                transport.abort()
        if self.body is not None:
            self.body.set_exception(slow)


# `send` runs in the task that asked; `current_task` would tell as well, at several times the price.
_ASK: ContextVar[_Ask] = ContextVar("ask")


class AiohttpTransport:
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
        self._base_url = vendor.base_url
        self._proxy = None if vendor.proxy is None else URL(vendor.proxy).with_user(None)
        self._through, standing = _through(vendor, self._proxy)
        self._base = URL(vendor.base_url)
        self._path = f"{self._base.raw_path.rstrip('/')}/"
        self._watchdog = Watchdog(vendor.timeout_s)
        request_class = _sealed_request(seal, self._watchdog, concurrency)
        # Authorities take long to load: only for who needs them.
        uses_tls = "https" in (self._base.scheme, self._proxy.scheme if self._proxy else "")
        trust = tls if tls is not None else system_trust() if uses_tls else True

        def session(*, force_close: bool = False) -> aiohttp.ClientSession:
            # limit = concurrency: no ask ever queues for a connection, and all are kept alive.
            connector = aiohttp.TCPConnector(
                limit=concurrency, ttl_dns_cache=300, ssl=trust, force_close=force_close
            )
            return aiohttp.ClientSession(
                connector=connector,
                headers=standing,
                request_class=request_class,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=vendor.timeout_s),
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                max_headers=MAX_HEADERS,
                auto_decompress=False,
                trust_env=False,
            )

        self._make_session: Callable[..., aiohttp.ClientSession] = session
        self._session = session()
        self._fresh: aiohttp.ClientSession | None = None
        """For requests that want a connection of their own; made when first wanted."""

    @property
    def is_at_rest(self) -> bool:
        """Whether no attempt is remembered."""
        return self._watchdog.is_at_rest

    async def send(self, request: Request, *, fresh: bool = False) -> Reply | NoReply:
        """Send a request; see `Transport`."""
        request.check()
        # Another path for the same host costs a quarter of reading an address anew.
        url = self._base.with_path(self._path + request.path, encoded=True)
        ask = _Ask()
        _ASK.set(ask)
        session = self._session if not fresh else self._fresh_session()
        try:
            response = await session.request(
                request.method, url, data=request.body, allow_redirects=False, **self._through
            )
            try:
                body = await _read_capped(response, ask)
            finally:
                # `async with` does no more, at the price of four coroutines.
                if not response.closed:
                    response.release()
            took_s = self._watchdog.watched_s(ask)
            # A body without a length ends where its connection does, be it by our own hand.
            if self._watchdog.has_cut_off(ask):
                return _TOO_SLOW
        except _SealBroke as broken:
            raise broken.cause from broken
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as exc:
            if self._watchdog.has_cut_off(ask):
                return _TOO_SLOW
            repeats = not fresh and _is_to_repeat(request, ask, exc)
            return await self.send(request, fresh=True) if repeats else self._no_reply(exc)
        finally:
            self._watchdog.forget(ask)
        return _answer(response, body, took_s, is_reused=ask.is_reused)

    def _no_reply(self, exc: Exception) -> NoReply:
        """What went wrong, in words of the system or of ours: others may quote what was sent."""
        match exc:
            case aiohttp.ClientConnectorCertificateError():
                return self._no_connection(exc.certificate_error, exc.host)
            case aiohttp.ClientConnectorError():
                return self._no_connection(exc.os_error, exc.host)
            case aiohttp.ConnectionTimeoutError():
                return self._no_connection(TimeoutError())
            case aiohttp.ClientHttpProxyError():
                return no_way(exc.status)
            case aiohttp.ClientResponseError() | HttpProcessingError():
                return no_http(exc.message)
            case _:
                return NoReply(_cause(exc), type(exc).__name__)

    def _no_connection(self, exc: Exception, host: str = "") -> NoReply:
        known = exc if isinstance(exc, OSError) else ConnectionError()
        if self._proxy is None:
            return no_connection(known, unused_proxy(self._base_url))
        found = no_connection(known, ", through the proxy")
        if found.cause in _AT_THE_NEXT_HOP or (found.cause == "tls" and host == self._proxy.host):
            return NoReply("proxy", f"no connection to the proxy: {found.detail}")
        return found

    async def close(self) -> None:
        """Close every connection."""
        self._watchdog.stop()
        await self._session.close()
        if self._fresh is not None:
            await self._fresh.close()

    def _fresh_session(self) -> aiohttp.ClientSession:
        if self._fresh is None:
            self._fresh = self._make_session(force_close=True)
        return self._fresh


def _through(vendor: Vendor, proxy: URL | None) -> tuple[dict[str, Any], dict[str, str]]:
    """How to go through `proxy`: more arguments of each request, and the headers of all.

    To an https vendor the proxy is asked for a tunnel (CONNECT), and sees neither our headers nor
    an answer; TLS is spoken with the vendor itself.  Its login goes to nobody else.
    """
    if proxy is None or vendor.proxy is None:
        return {}, STANDING_HEADERS
    login = proxy_login(vendor.proxy)
    auth = {}
    if login is not None:
        text = base64.b64encode(":".join(login).encode()).decode("ascii")
        auth = {"Proxy-Authorization": f"Basic {text}"}
    if urlsplit(vendor.base_url).scheme == "http":
        return {"proxy": proxy}, {**STANDING_HEADERS, **auth}
    agent = STANDING_HEADERS["User-Agent"]
    return {"proxy": proxy, "proxy_headers": {"User-Agent": agent, **auth}}, STANDING_HEADERS


class _SealBroke(Exception):
    """Carries what the seal raised through aiohttp, which would read an OSError as its own."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def _sealed_request(seal: Seal, watchdog: Watchdog, concurrency: int) -> type[ClientRequest]:
    used: set[ResponseHandler] = set()  # a weak one costs more than the signature

    class SealedRequest(ClientRequest):
        """A request that waits for its turn and is signed with its connection in hand."""

        async def send(self, conn: Connection) -> ClientResponse:
            ask = _ASK.get()
            if ask.is_written:
                watchdog.forget(ask)  # the first attempt: this is aiohttp's second
            broken: Exception | None = None
            try:
                sealed = seal()
                self.headers.update(sealed if isinstance(sealed, dict) else await sealed)
            except Exception as exc:  # noqa: BLE001 - of whatever kind, it is not the vendor's
                broken = exc
            if broken is not None:
                raise _SealBroke(broken)
            protocol = conn.protocol
            if protocol is None or protocol.should_close or not protocol.is_connected():
                raise aiohttp.ServerDisconnectedError
            ask.is_reused = protocol in used
            if not ask.is_reused:
                if len(used) > concurrency:
                    used.difference_update([one for one in used if not one.is_connected()])
                used.add(protocol)
            ask.connection = conn
            ask.is_written = True
            watchdog.watch(ask)
            return await super().send(conn)

    return SealedRequest


def _answer(
    response: ClientResponse, body: bytes | None, took_s: float, *, is_reused: bool
) -> Reply | NoReply:
    if body is None:
        return TOO_LONG
    if response.status < _FIRST_FINAL:
        return no_http("")
    headers = response.headers
    if "Content-Encoding" in headers:
        plain = decoded(body, ", ".join(headers.getall("Content-Encoding")))
        if isinstance(plain, NoReply):
            return plain
        body = plain
    return Reply(
        response.status,
        body,
        headers.get("Date"),
        headers.get("Retry-After"),
        took_s,
        None if body.isascii() else headers.get("Content-Type"),
        is_reused,
    )


def _is_to_repeat(request: Request, ask: _Ask, exc: Exception) -> bool:
    """Whether a request that aiohttp does not repeat by itself goes out once more, on purpose.

    Its connection was seen to be dead before it was written: so nothing of it can have arrived.
    """
    was_dead = isinstance(exc, aiohttp.ServerDisconnectedError) and not ask.is_written
    return was_dead and request.method != "GET"


async def _read_capped(response: ClientResponse, ask: _Ask) -> bytes | None:
    """The body as it came; None when it is longer than MAX_BODY_BYTES."""
    content = response.content
    if not content.is_eof():
        ask.body = content
    first = await content.readany()
    if content.at_eof():
        return first if len(first) <= MAX_BODY_BYTES else None
    parts, size = [first], len(first)
    while size <= MAX_BODY_BYTES:
        part = await content.readany()
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    response.close()
    return None


_AT_THE_NEXT_HOP = frozenset({"dns", "refused"})  # which is the proxy, where there is one
_FIRST_FINAL = 200  # whoever switches protocols (101) has understood something else
_TOO_SLOW = NoReply("timeout", "the answer did not end in time")


def _cause(exc: Exception) -> str:
    """A stable name for what went wrong once there was a connection."""
    match exc:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientPayloadError():
            return "torn"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return "reset"
        case _:
            return "protocol"
