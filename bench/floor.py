"""FLOOR: bare aiohttp, default settings, asyncio's own loop: session.get and read, nothing else.

Fixed headers, 64 workers on one iterator, and nothing is done with the body.
`python -m bench.floor IDS ADDRESS [WORKERS]`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp

from bench.headers import HEADERS


async def fetch_all(ids: Path, address: str, workers: int) -> int:
    """Get every record; how many there were."""
    prefix = f"{address}/voice/recordGroup/"
    got = 0
    connector = aiohttp.TCPConnector(limit=max(100, workers))
    with ids.open() as lines:
        async with aiohttp.ClientSession(connector=connector) as session:

            async def work() -> None:
                nonlocal got
                for line in lines:
                    async with session.get(prefix + line.rstrip(), headers=HEADERS) as response:
                        body = await response.read()
                    got += bool(body)

            await asyncio.gather(*(work() for _ in range(workers)))
    return got


if __name__ == "__main__":
    wanted = int(sys.argv[3]) if len(sys.argv) > 3 else 64
    print(asyncio.run(fetch_all(Path(sys.argv[1]), sys.argv[2], wanted)))
