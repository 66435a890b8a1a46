"""Sends a `Reply` through aiohttp, whole or broken in the way that its manner says."""

from __future__ import annotations

import asyncio
import socket
import struct
from email.utils import formatdate
from typing import TYPE_CHECKING

from harvester.simulator.replies import Manner, Reply

if TYPE_CHECKING:
    from aiohttp import web

_DRIP_EVERY_S = 1.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class DateLine:
    """The Date header of the vendor's clock, written once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def at(self, now_s: float) -> str:
        """`now_s` as an HTTP date."""
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._text = formatdate(self._second, usegmt=True)
        return self._text


async def send(
    request: web.BaseRequest, reply: Reply, *, date: str, drip_s: float
) -> web.StreamResponse:
    """Send `reply` in its manner; what comes back is for aiohttp to finish."""
    from aiohttp import web

    if reply.delay_s:
        await asyncio.sleep(reply.delay_s)
    headers = {"Content-Type": reply.content_type, "Date": date, **reply.headers}
    match reply.manner:
        case Manner.WHOLE:
            return web.Response(body=reply.body, status=reply.http, headers=headers)
        case Manner.RESET:
            _reset(request)
            return web.Response(headers=headers)
        case Manner.CHUNKED:
            return await _chunked(request, reply, headers)
        case Manner.TORN:
            return await _torn(request, reply, headers)
        case Manner.DRIP:
            return await _drip(request, reply, headers, drip_s)


def _reset(request: web.BaseRequest) -> None:
    """Close so that the other side reads a reset, not an orderly end."""
    transport = request.transport
    if transport is None:
        return
    plug = transport.get_extra_info("socket")
    if plug is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def _chunked(
    request: web.BaseRequest, reply: Reply, headers: dict[str, str]
) -> web.StreamResponse:
    response = _stream(reply, headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    third = len(reply.body) // 3 + 1
    for start in range(0, len(reply.body), third):
        await response.write(reply.body[start : start + third])
    await response.write_eof()
    return response


async def _torn(
    request: web.BaseRequest, reply: Reply, headers: dict[str, str]
) -> web.StreamResponse:
    response = _stream(reply, headers)
    response.content_length = len(reply.body)
    await response.prepare(request)
    await response.write(reply.body[: len(reply.body) // 2])
    _hang_up(request)
    return response


async def _drip(
    request: web.BaseRequest, reply: Reply, headers: dict[str, str], drip_s: float
) -> web.StreamResponse:
    response = _stream(reply, headers)
    response.content_length = len(reply.body)
    await response.prepare(request)
    drops = min(int(drip_s / _DRIP_EVERY_S), len(reply.body) - 1)
    for drop in range(drops):
        await response.write(reply.body[drop : drop + 1])
        await asyncio.sleep(_DRIP_EVERY_S)
    _hang_up(request)
    return response


def _stream(reply: Reply, headers: dict[str, str]) -> web.StreamResponse:
    from aiohttp import web

    return web.StreamResponse(status=reply.http, headers=headers)


def _hang_up(request: web.BaseRequest) -> None:
    """Close in the middle of an answer, without the header that would announce it."""
    if request.transport is not None:
        request.transport.close()
