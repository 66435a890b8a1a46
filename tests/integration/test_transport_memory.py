"""Answers made to fill a memory: the process that asks must not grow with them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zlib
from pathlib import Path

import pytest

from tests.integration.test_transport import CHUNKED, HEAD, Ask, RawVendor, chunk, right

ROOT = Path(__file__).resolve().parent.parent.parent
BOMB_BYTES = 256 << 20
GROWTH_BYTES = 24 << 20
"""What a cap of 1 MiB, its copies and the allocator's generosity come to, and more."""

HINTS = b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 2_000

# VmHWM, not ru_maxrss: the latter is inherited over exec from a larger parent.
CLIENT = """
import asyncio, json, re, sys
from pathlib import Path
from harvester.client.record_group import record_request
from harvester.config import Vendor
from harvester.client.connect import connect

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

async def seal():
    return {}

async def main(transport, base_url, *ids):
    transport = connect(Vendor(base_url=base_url, timeout_s=60, transport=transport), 1, seal)
    await transport.send(record_request("right"))
    causes, before = {}, peak()
    for voice_id in ids:
        reply = await transport.send(record_request(voice_id))
        causes[voice_id] = getattr(reply, "cause", "reply")
    last = await transport.send(record_request("right"))
    await transport.close()
    print(json.dumps({"growth": peak() - before, "causes": causes, "last": last.status}))

asyncio.run(main(*sys.argv[1:]))
"""


def bomb(wbits: int) -> bytes:
    """Noughts without number, packed: about a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    noughts = bytes(1 << 20)
    return b"".join(packer.compress(noughts) for _ in range(BOMB_BYTES >> 20)) + packer.flush()


def encoded(body: bytes, encoding: bytes) -> bytes:
    named = b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body))
    return HEAD + named + body


async def _pour(ask: Ask, start: bytes, portion: bytes) -> None:
    await ask.send(start)
    # Hints are read at the price of whole answers; fewer of them do for a memory.
    size = BOMB_BYTES // 16 if portion is HINTS else BOMB_BYTES
    for _ in range(size // len(portion)):
        await ask.send(portion)


@pytest.mark.parametrize("transport", ["aiohttp", "lean"])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
async def test_no_answer_fills_the_memory(transport: str) -> None:
    gzipped = bomb(31)
    twice = zlib.compress(gzipped, 9)
    answers = {
        "gzip": encoded(gzipped, b"gzip"),
        "deflate": encoded(bomb(15), b"deflate"),
        "raw_deflate": encoded(bomb(-15), b"deflate"),
        "gzip_in_deflate": encoded(twice, b"deflate, gzip"),
        "chunked_gzip": HEAD
        + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(gzipped)
        + b"0\r\n\r\n",
    }
    pours = {
        "length": (HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 30), bytes(1 << 16)),
        "no_length": (HEAD + b"\r\n", bytes(1 << 16)),
        "chunks": (CHUNKED, chunk(bytes(1 << 16))),
        "one_chunk": (CHUNKED + b"40000000\r\n", bytes(1 << 16)),
        "extensions": (CHUNKED + b"1;", b"x" * (1 << 16)),
        "trailers": (CHUNKED + chunk(b"x") + b"0\r\n", b"X: y\r\n" * 10_000),
        "headers": (HEAD, b"X: y\r\n" * 10_000),
        "header": (HEAD + b"X: ", b"y" * (1 << 16)),
        "hints": (b"", HINTS),
    }

    if transport == "lean":
        # aiohttp stays small as well, but now and then takes a minute to have had enough.
        pours["trailer"] = (CHUNKED + chunk(b"x") + b"0\r\nX: ", b"y" * (1 << 16))

    async def behaviour(ask: Ask) -> None:
        if ask.voice_id in answers:
            await ask.send(answers[ask.voice_id])
        elif ask.voice_id in pours:
            await _pour(ask, *pours[ask.voice_id])
            ask.hang_up()
        else:
            await right(ask)

    async with RawVendor(behaviour).listening() as vendor:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CLIENT, transport, vendor.base_url, *answers, *pours),
            cwd=ROOT,
            # glibc would let its threshold grow, and keep what was let go, as it happens to come.
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"},
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await client.communicate()
    found = json.loads(told)
    causes = found["causes"]
    for name in ("gzip", "deflate", "raw_deflate", "chunked_gzip", "length", "no_length", "chunks"):
        assert causes[name] == "too_long"
    for name in ("headers", "header", "trailers"):
        assert causes[name] in ("protocol", "torn")
    assert found["last"] == 200
    assert found["growth"] < GROWTH_BYTES, found
