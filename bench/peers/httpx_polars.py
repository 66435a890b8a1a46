"""httpx.AsyncClient with a pool of workers, and polars to write."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import polars as pl

from bench.peers.job import BATCH_ROWS, WORKERS, Job, data_of, job, normalize, schema, signed


async def fetch_all(todo: Job) -> None:
    """Fetch and write every record."""
    rows: list[dict[str, object]] = []
    ids, part = todo.voice_ids(), 0
    limits = httpx.Limits(max_connections=WORKERS, max_keepalive_connections=WORKERS)
    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:

        async def work() -> None:
            nonlocal part
            for voice_id in ids:
                response = await client.get(todo.prefix + voice_id, headers=signed())
                response.raise_for_status()
                rows.append(normalize(data_of(response.json())))
                if len(rows) >= BATCH_ROWS:
                    part += 1
                    _write(rows, todo.out, part)
                    rows.clear()

        await asyncio.gather(*(work() for _ in range(WORKERS)))
    if rows:
        _write(rows, todo.out, part + 1)


def _write(rows: list[dict[str, object]], out: Path, part: int) -> None:
    like = pl.from_arrow(schema().empty_table())
    assert isinstance(like, pl.DataFrame)
    frame = pl.DataFrame(rows, schema=like.schema)
    for (date,), group in frame.partition_by("dt", as_dict=True, include_key=False).items():
        folder = out / f"dt={date}"
        folder.mkdir(parents=True, exist_ok=True)
        group.write_parquet(folder / f"part-{part:05d}.parquet", compression="zstd")


if __name__ == "__main__":
    asyncio.run(fetch_all(job()))
