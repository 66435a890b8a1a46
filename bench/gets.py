"""Bare GETs by one HTTP client after the other: what is the least that a transport costs?

`python -m bench.gets CLIENT IDS ADDRESS` gets every record with 64 workers on asyncio, reads it
and throws it away; `python -m bench gets` compares them in rounds.  wreq and pyreqwest do their
work on a thread of their own, in Rust, so their records/s gain from the second core.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

from bench.headers import HEADERS

WORKERS = 64
Get: TypeAlias = Callable[[str], Awaitable[int]]
"""Gets the record of an id; the bytes of its answer."""


async def ours(name: str, address: str, stack: AsyncExitStack) -> Get:
    """One of our transports, with a seal that never waits."""
    from harvester.client.connect import connect
    from harvester.client.record_group import record_request
    from harvester.client.transport import Reply
    from harvester.config import load

    async def seal() -> dict[str, str]:
        return HEADERS

    flags = {"vendor.base_url": f"{address}/voice", "vendor.transport": name}
    transport = connect(load(flags=flags).config.vendor, WORKERS, seal)
    stack.push_async_callback(transport.close)

    async def get(voice_id: str) -> int:
        reply = await transport.send(record_request(voice_id))
        return len(reply.body) if isinstance(reply, Reply) else 0

    return get


async def wreq(address: str, _: AsyncExitStack) -> Get:
    """wreq, as it comes."""
    from wreq import Client

    client = Client()
    prefix = f"{address}/voice/recordGroup/"

    async def get(voice_id: str) -> int:
        response = await client.get(prefix + voice_id, headers=HEADERS)
        return len(await response.bytes())

    return get


async def pyreqwest(address: str, stack: AsyncExitStack) -> Get:
    """pyreqwest, as it comes."""
    from pyreqwest.client import ClientBuilder

    client = await stack.enter_async_context(ClientBuilder().build())
    prefix = f"{address}/voice/recordGroup/"

    async def get(voice_id: str) -> int:
        response = await client.get(prefix + voice_id).headers(HEADERS).build().send()
        return len(await response.bytes())

    return get


async def fetch_all(client: str, ids: Path, address: str) -> int:
    """Get every record; how many there were."""
    got = 0
    async with AsyncExitStack() as stack:
        if client == "wreq":
            get = await wreq(address, stack)
        elif client == "pyreqwest":
            get = await pyreqwest(address, stack)
        else:
            get = await ours(client, address, stack)
        with ids.open() as lines:

            async def work() -> None:
                nonlocal got
                for line in lines:
                    size = await get(line.rstrip())
                    got += bool(size)

            await asyncio.gather(*(work() for _ in range(WORKERS)))
    return got


if __name__ == "__main__":
    print(asyncio.run(fetch_all(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
