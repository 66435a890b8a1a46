"""What goes back over the wire, as a value; and how each fault spoils it.

Nothing here touches a socket.  `manner` tells the wire what to do with the bytes.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import Enum
from functools import cache

from harvester.simulator import render
from harvester.simulator.dice import Dice

NO_HEADERS: Mapping[str, str] = {}


class Manner(Enum):
    """How the bytes are sent."""

    WHOLE = "whole"
    CHUNKED = "chunked"
    TORN = "torn"
    RESET = "reset"
    DRIP = "drip"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.  `status` is the vendor's, or http500, reset … where there is no envelope."""

    status: str
    body: bytes = b""
    why: str = "record"
    """What made it so: record, open, no_record, signature, limit, a fault's name …"""
    http: int = 200
    content_type: str = render.JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    manner: Manner = Manner.WHOLE
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a fault needs to know: the right answer, another call's, chance and time."""

    right: Reply
    other: Callable[[], bytes]
    dice: Dice
    now_s: float
    slow_s: float
    prefix: str
    drift: bool = True


def refuse(status: str, why: str, *, numeric: bool = False) -> Reply:
    """The vendor's refusal with `status`."""
    return Reply(status, render.refusal(status, numeric=numeric), why)


def bare(code: int, why: str, headers: Mapping[str, str] = NO_HEADERS) -> Reply:
    """An HTTP answer that isn't the vendor's: a page of a proxy."""
    return Reply(f"http{code}", render.page(str(code)), why, code, render.HTML_TYPE, headers)


def too_many(after_s: int, why: str) -> Reply:
    """HTTP 429 with a Retry-After in seconds."""
    return bare(429, why, {"Retry-After": str(after_s)})


def reset(why: str) -> Reply:
    """No answer: the connection is reset."""
    return Reply("reset", b"", why, manner=Manner.RESET)


def spoil(fault: str, occasion: Occasion) -> Reply:
    """The reply that `fault` makes of the right one."""
    return replace(_SPOILERS[fault](occasion), why=fault)


def _status(status: str) -> Callable[[Occasion], Reply]:
    return lambda occasion: refuse(status, "", numeric=occasion.drift and not occasion.dice.roll(4))


def _code(code: int) -> Callable[[Occasion], Reply]:
    return lambda _: bare(code, "")


def _throttle(occasion: Occasion) -> Reply:
    after_s = 1 + occasion.dice.roll(2)
    match occasion.dice.roll(3):
        case 0:
            return refuse("-15", "")
        case 1:
            return too_many(after_s, "")
        case _:
            # A date has no fractions: round up, or the wait could end before it began.
            date = formatdate(int(occasion.now_s) + 1 + after_s, usegmt=True)
            return bare(429, "", {"Retry-After": date})


def _redirect(occasion: Occasion) -> Reply:
    return bare(302, "", {"Location": f"{occasion.prefix}/elsewhere"})


def _torn(occasion: Occasion) -> Reply:
    return replace(occasion.right, status="torn", manner=Manner.TORN)


def _reset(_: Occasion) -> Reply:
    return reset("")


def _slow(occasion: Occasion) -> Reply:
    return replace(occasion.right, delay_s=occasion.slow_s)


def _drip(occasion: Occasion) -> Reply:
    return replace(occasion.right, status="drip", manner=Manner.DRIP)


def _html(_: Occasion) -> Reply:
    return Reply("html", render.page("Welcome"), content_type=render.HTML_TYPE)


def _empty(_: Occasion) -> Reply:
    return Reply("empty")


def _list(occasion: Occasion) -> Reply:
    return Reply("list", b"[" + occasion.right.body + b"]")


def _no_status(occasion: Occasion) -> Reply:
    return Reply("no_status", b'{"reason":"success","data":' + occasion.other() + b"}")


def _data_text(_: Occasion) -> Reply:
    return Reply("0", render.success('"see attachment"'))


def _other_id(occasion: Occasion) -> Reply:
    return Reply("0", render.success(occasion.other().decode()))


def _gzip(occasion: Occasion) -> Reply:
    packed = gzip.compress(occasion.right.body, compresslevel=1)
    return replace(occasion.right, body=packed, headers={"Content-Encoding": "gzip"})


def _chunked(occasion: Occasion) -> Reply:
    return replace(occasion.right, manner=Manner.CHUNKED)


def _bomb(_: Occasion) -> Reply:
    return Reply("bomb", bomb(), headers={"Content-Encoding": "gzip"})


def _long(occasion: Occasion) -> Reply:
    filler = "x" * (1 << 20)
    data = occasion.other().decode()
    return Reply("long", render.success(f'{data[:-1]},"filler":"{filler}"}}'))


@cache
def bomb() -> bytes:
    """A small gzip body that decodes to 65 MiB of JSON; made once, on first use."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    blanks = b" " * (1 << 20)
    parts = [packer.compress(b'{"status":"0","reason":"success","data":')]
    parts += [packer.compress(blanks) for _ in range(65)]
    return b"".join([*parts, packer.compress(b"null}"), packer.flush()])


_SPOILERS: Mapping[str, Callable[[Occasion], Reply]] = {
    "busy": _status("-18"),
    "expired": _status("-16"),
    "throttle": _throttle,
    "refused": _status("-1"),
    "unknown": _status("-99"),
    "http500": _code(500),
    "http502": _code(502),
    "http503": _code(503),
    "redirect": _redirect,
    "torn": _torn,
    "reset": _reset,
    "slow": _slow,
    "drip": _drip,
    "html": _html,
    "empty": _empty,
    "list": _list,
    "no_status": _no_status,
    "data_text": _data_text,
    "other_id": _other_id,
    "gzip": _gzip,
    "chunked": _chunked,
    "bomb": _bomb,
    "long": _long,
}
