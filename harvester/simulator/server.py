"""The stand-in vendor on a socket: routes requests to the desk, and its answers to the wire.

aiohttp's low-level server without its router: the simulator shares two cores with the client that
is being rehearsed, and must not be the one that is slow.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from harvester.errors import UsageError
from harvester.simulator.control import parse_change
from harvester.simulator.desk import LIST, Desk
from harvester.simulator.logbook import Entry
from harvester.simulator.options import SimulatorOptions
from harvester.simulator.replies import Reply, bare
from harvester.simulator.signature import Credentials
from harvester.simulator.wire import DateLine, send

if TYPE_CHECKING:
    from aiohttp import web

CONTROL = "/_simulator/"
_GRACE_S = 1.0
# Longer than a client waits between two requests of a paced run.
_KEEP_ALIVE_S = 75.0


Ended = Callable[[Mapping[str, object]], None]
"""Gets the counts (`Desk.stats`) when nobody listens any more."""


async def serve(
    options: SimulatorOptions, *, ready: Callable[[str], None], ended: Ended | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` gets the base URL once somebody listens.

    Raises UsageError where the address is taken or the log can't be written.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with listening(options, ended=ended) as base_url:
        ready(base_url)
        await stop.wait()


@asynccontextmanager
async def listening(options: SimulatorOptions, *, ended: Ended | None = None) -> AsyncIterator[str]:
    """A simulator that listens inside the `async with`; gives its base URL."""
    from aiohttp import web

    with ExitStack() as files:
        log = files.enter_context(_open_log(options.log)) if options.log else None
        keep = _keeper(log) if log else None
        desk = Desk(options, clock=_clock(options.now), ticks=time.monotonic, keep=keep)
        front = Front(desk)
        server = web.Server(
            front.handle, access_log=None, keepalive_timeout=_KEEP_ALIVE_S, lingering_time=0
        )
        listener = await _listen(options, front.counting(server))
        try:
            yield _url(options, listener.sockets[0].getsockname()[1])
        finally:
            listener.close()
            await server.shutdown(_GRACE_S)
            if ended is not None:
                ended(desk.stats())


class Front:
    """Tells the vendor's address from the simulator's own, and counts connections."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._start = f"{desk.options.prefix}/recordGroup/"
        self._list = f"{desk.options.prefix}/{LIST}"
        self._date = DateLine()
        self._connections = 0

    def counting(
        self, server: Callable[[], asyncio.BaseProtocol]
    ) -> Callable[[], asyncio.BaseProtocol]:
        """`server` as a protocol factory that counts what it makes."""

        def connect() -> asyncio.BaseProtocol:
            self._connections += 1
            return server()

        return connect

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request."""
        path = request.path
        if path.startswith(CONTROL):
            return await self._control(request, path.removeprefix(CONTROL))
        if path == self._list and self._desk.list.is_there:
            return await self._page(request)
        voice_id = path.removeprefix(self._start) if path.startswith(self._start) else ""
        if not voice_id or "/" in voice_id:
            reply = bare(404, "address")
        elif request.method != "GET":
            reply = bare(405, "method")
        else:
            reply = self._desk.answer(voice_id, _credentials(request))
        return await self._send(request, reply)

    async def _page(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "POST":
            return await self._send(request, bare(405, "method"))
        body = await request.read()
        return await self._send(request, self._desk.answer_list(body, _credentials(request)))

    async def _send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        date = self._date.at(self._desk.now_s())
        return await send(request, reply, date=date, drip_s=self._desk.options.drip_s)

    async def _control(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        match request.method, path:
            case "GET", "stats":
                return _json({**self._desk.stats(), "connections": self._connections})
            case "GET", "asks":
                return _json(self._desk.book.asks())
            case "GET", "listed" if self._desk.list.is_there:
                return _json(self._desk.list.truth())
            case "GET", "log":
                return _respond(b"".join(self._desk.book.lines()), "application/x-ndjson")
            case "POST", "faults":
                return self._change(await request.read())
            case _:
                return _respond(
                    b"stats, asks, listed, log: GET. faults: POST.\n", "text/plain", 404
                )

    def _change(self, body: bytes) -> web.StreamResponse:
        try:
            self._desk.change(parse_change(body))
        except UsageError as exc:
            return _json({"error": str(exc)}, 400)
        return _json({"ok": True})


def _clock(now: datetime | None) -> Callable[[], float]:
    """A wall clock that shows `now` at this moment, and goes on from there."""
    if now is None:
        return time.time
    ahead_s = now.timestamp() - time.time()
    return lambda: time.time() + ahead_s


def _credentials(request: web.BaseRequest) -> Credentials:
    headers = request.headers
    return Credentials(
        headers.getall("Api-Key", ()), headers.getall("Sign", ()), headers.getall("Timestamp", ())
    )


def _json(document: object, status: int = 200) -> web.StreamResponse:
    return _respond(msgspec.json.encode(document), "application/json", status)


def _respond(body: bytes, content_type: str, status: int = 200) -> web.StreamResponse:
    from aiohttp import web

    return web.Response(body=body, content_type=content_type, status=status)


async def _listen(
    options: SimulatorOptions, factory: Callable[[], asyncio.BaseProtocol]
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(
            factory, options.host, options.port, ssl=options.ssl_context, backlog=1024
        )
    except OSError as exc:
        raise UsageError(
            f"the simulator can't listen on {options.host}:{options.port}: "
            f"{exc.strerror or exc}. --port 0 takes a free port."
        ) from exc


def _url(options: SimulatorOptions, port: int) -> str:
    scheme = "https" if options.ssl_context else "http"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{scheme}://{host}:{port}{options.prefix}"


def _open_log(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as exc:
        raise UsageError(f"the simulator's log {path}: {exc.strerror or exc}.") from exc


def _keeper(log: BinaryIO) -> Callable[[Entry], None]:
    def keep(entry: Entry) -> None:
        log.write(entry.as_line())

    return keep
