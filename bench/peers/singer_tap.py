"""singer-sdk: a RESTStream with a partition for each id; its requests go one after another.

A tap only: its records go to /dev/null as Singer messages, and none becomes Parquet.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.streams import RESTStream

from bench.peers.job import Job, job, schema, signed


def tap(todo: Job) -> None:
    """Fetch every record."""

    class Records(RESTStream):
        """The one stream."""

        name = "record_group"
        path = "{voiceId}"
        primary_keys = ("voiceId",)
        records_jsonpath = "$.data"
        state_partitioning_keys: list[str] = []  # noqa: RUF012 - as its documentation shows
        schema = th.PropertiesList(
            *(
                th.Property(name, th.IntegerType if "Duration" in name else th.StringType)
                for name in schema().names
                if not name.startswith("bill") and name != "dt"
            ),
            th.Property("billPeriod", th.StringType),
        ).to_dict()
        url_base = todo.prefix

        @property
        def http_headers(self) -> dict[str, str]:
            return signed()

        @property
        def partitions(self) -> Iterator[dict[str, str]]:
            return ({"voiceId": voice_id} for voice_id in todo.voice_ids())

    class BenchTap(Tap):
        """The tap around it."""

        name = "tap-bench"
        config_jsonschema = th.PropertiesList().to_dict()

        def discover_streams(self) -> list[Records]:
            return [Records(self)]

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        config.write_text("{}")
        sys.argv = ["tap-bench", "--config", str(config)]
        BenchTap.cli()


if __name__ == "__main__":
    tap(job())
