"""Our own packages in the plain way: a task an id, aiolimiter and tenacity around each request."""

from __future__ import annotations

import asyncio

import aiohttp
from aiolimiter import AsyncLimiter
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from bench.peers.job import WORKERS, Job, Writer, data_of, job, normalize, signed

_ATTEMPTS = 5


async def fetch_all(todo: Job) -> None:
    """Fetch and write every record."""
    writer = Writer(todo.out)
    limiter = AsyncLimiter(1_000_000, 1)
    turns = asyncio.Semaphore(WORKERS)
    connector = aiohttp.TCPConnector(limit=WORKERS)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def fetch(voice_id: str) -> dict[str, object]:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(_ATTEMPTS),
                wait=wait_random_exponential(0.1, 5),
                retry=retry_if_exception_type(aiohttp.ClientError),
                reraise=True,
            ):
                with attempt:
                    async with (
                        limiter,
                        session.get(todo.prefix + voice_id, headers=signed()) as response,
                    ):
                        response.raise_for_status()
                        return normalize(data_of(await response.json()))
            raise AssertionError("tenacity ended without an answer or an error")

        async def one(voice_id: str) -> None:
            async with turns:
                writer.add(await fetch(voice_id))

        await asyncio.gather(*(one(voice_id) for voice_id in todo.voice_ids()))
    writer.flush()


if __name__ == "__main__":
    asyncio.run(fetch_all(job()))
