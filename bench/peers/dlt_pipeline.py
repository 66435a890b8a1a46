"""dlt: a transformer of awaitables, filesystem destination, Parquet, a table for each date.

(Its file layout has no placeholder for a date of the data.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import aiohttp
import dlt
import pyarrow as pa

from bench.peers.job import BATCH_ROWS, WORKERS, Job, data_of, job, normalize, schema, signed


def load(todo: Job) -> None:
    """Fetch and write every record."""
    out = todo.out.resolve()
    os.environ.update(
        {
            "EXTRACT__MAX_PARALLEL_ITEMS": str(WORKERS),
            "EXTRACT__WORKERS": str(WORKERS),
            "DATA_WRITER__BUFFER_MAX_ITEMS": str(BATCH_ROWS),
            "NORMALIZE__WORKERS": "1",
            "LOAD__WORKERS": "4",
            "NORMALIZE__DATA_WRITER__COMPRESSION": "zstd",
            "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "false",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
            "DESTINATION__FILESYSTEM__BUCKET_URL": f"file://{out}",
            "DLT_DATA_DIR": f"{out}/_dlt-home",
        }
    )
    sessions: list[aiohttp.ClientSession] = []

    @dlt.resource(name="voice_ids", selected=False)
    def voice_ids() -> Iterator[str]:
        yield from todo.voice_ids()

    @dlt.transformer(
        data_from=voice_ids,
        name="record_group",
        write_disposition="append",
        columns={field.name: _column(field) for field in schema() if field.name != "dt"},
        table_name=lambda row: f"record_group_{row['dt'].replace('-', '_')}",
    )
    async def records(voice_id: str) -> dict[str, object]:
        if not sessions:  # there is no loop before dlt makes one
            connector = aiohttp.TCPConnector(limit=WORKERS)
            sessions.append(aiohttp.ClientSession(connector=connector))
        async with sessions[0].get(todo.prefix + voice_id, headers=signed()) as response:
            response.raise_for_status()
            return normalize(data_of(await response.json()))

    pipeline = dlt.pipeline(
        "bench",
        destination="filesystem",
        dataset_name="d",
        pipelines_dir=f"{out}/_dlt-pipelines",
    )
    pipeline.run(records, loader_file_format="parquet")


def _column(field: pa.Field) -> dict[str, object]:
    if pa.types.is_timestamp(field.type):
        return {"data_type": "timestamp"}
    if pa.types.is_decimal(field.type):
        return {"data_type": "decimal", "precision": 18, "scale": 6}
    return {"data_type": "bigint" if pa.types.is_integer(field.type) else "text"}


if __name__ == "__main__":
    load(job())
