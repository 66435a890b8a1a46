"""The transport over aiohttp.

Theory of operation.  The pace must be kept at the socket, not at the queue, so the turn is taken
where aiohttp has a connection in its hand and is about to write: in `ClientRequest.send`
(`request_class` is a documented parameter of ClientSession).  aiohttp sends a GET once more by
itself when a kept-alive connection turns out to be dead; that repeat passes through `send` too, so
it is paced, counted and signed afresh like any other.

Waiting for a turn must not count as waiting for the vendor, so there is no total timeout of
aiohttp's.  `sock_read` catches silence; the watchdog below, one timer for all attempts, catches
an answer that drips, by aborting its connection once its time is up.

What is refused on purpose: redirects (signed headers go to the configured host only), cookies,
proxies from the environment, bodies over MAX_BODY_BYTES once decoded (read in pieces, so that a
compressed bomb never unfolds in memory).
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import aiohttp
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from yarl import URL

from harvester.config import Vendor
from harvester.vendor.transport import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    NoReply,
    Reply,
    Seal,
)

_WATCH_EVERY_S = 0.5


class AiohttpTransport:
    """GET {base_url}/recordGroup/{voiceId} over kept-alive connections, one per concurrent ask."""

    def __init__(
        self,
        vendor: Vendor,
        concurrency: int,
        seal: Seal,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Must be made inside the running loop.  `tls` replaces the system's trust (tests)."""
        self._prefix = f"{vendor.base_url.rstrip('/')}/recordGroup/"
        self._watchdog = _Watchdog(vendor.timeout_s)
        # limit = concurrency: no ask ever queues for a connection, and all are kept alive.
        connector = aiohttp.TCPConnector(
            limit=concurrency, ttl_dns_cache=300, ssl=tls if tls is not None else True
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            request_class=_sealed_request(seal, self._watchdog),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=vendor.timeout_s, sock_read=vendor.timeout_s
            ),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            trust_env=False,
        )

    async def get(self, voice_id: str) -> Reply | NoReply:
        """Ask for one record.  Raises nothing but CancelledError and what the seal raises."""
        # encoded=True: a voiceId holds only unreserved characters, so there is nothing to quote.
        url = URL(self._prefix + voice_id, encoded=True)
        took_s = 0.0
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                body = await _read_capped(response)
            took_s = self._watchdog.watched_s(asyncio.current_task())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            return self._no_reply(exc)
        finally:
            self._watchdog.forget(asyncio.current_task())
        if body is None:
            return NoReply("too_long", f"an answer of over {MAX_BODY_BYTES} bytes")
        return Reply(
            response.status,
            body,
            response.headers.get("Date"),
            response.headers.get("Retry-After"),
            took_s,
        )

    async def close(self) -> None:
        """Close every connection."""
        self._watchdog.stop()
        await self._session.close()

    def _no_reply(self, exc: Exception) -> NoReply:
        if self._watchdog.has_cut_off(asyncio.current_task()):
            return NoReply("timeout", "the answer did not end in time")
        return NoReply(_cause(exc), f"{type(exc).__name__}: {exc}")


class _Watchdog:
    """Aborts the connection of each attempt that outlives `timeout_s`; one timer for all."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._watched: dict[object, tuple[float, Connection]] = {}
        self._cut_off: set[object] = set()
        self._timer = self._loop.call_later(_WATCH_EVERY_S, self._look)

    def watch(self, task: object, connection: Connection) -> None:
        self._watched[task] = (self._loop.time() + self._timeout_s, connection)

    def watched_s(self, task: object) -> float:
        """Seconds since the attempt of `task` was written."""
        deadline, _ = self._watched.get(task, (self._loop.time() + self._timeout_s, None))
        return self._loop.time() - deadline + self._timeout_s

    def forget(self, task: object) -> None:
        self._watched.pop(task, None)
        self._cut_off.discard(task)

    def has_cut_off(self, task: object) -> bool:
        return task in self._cut_off

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        for task, (deadline, connection) in list(self._watched.items()):
            if now >= deadline:
                del self._watched[task]
                self._cut_off.add(task)
                # Aborting wakes the reader with a connection error, which is a value here.
                if connection.transport is not None:
                    connection.transport.abort()
        self._timer = self._loop.call_later(_WATCH_EVERY_S, self._look)


def _sealed_request(seal: Seal, watchdog: _Watchdog) -> type[ClientRequest]:
    class SealedRequest(ClientRequest):
        """A request that waits for its turn and is signed with its connection in hand."""

        async def send(self, conn: Connection) -> ClientResponse:
            self.headers.update(await seal())
            watchdog.watch(asyncio.current_task(), conn)
            return await super().send(conn)

    return SealedRequest


async def _read_capped(response: ClientResponse) -> bytes | None:
    """The decoded body; None when it is longer than MAX_BODY_BYTES."""
    content = response.content
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
    with suppress(OSError):
        response.close()
    return None


def _cause(exc: Exception) -> str:
    """A stable name for what went wrong on the way."""
    match exc:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "tls"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientConnectorError():
            return "refused"
        case aiohttp.ClientPayloadError():
            return "torn"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return "reset"
        case _:
            return "protocol"
