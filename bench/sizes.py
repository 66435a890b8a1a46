"""Bytes of Parquet per record, on the simulator's calls."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

from bench.answers import answers
from bench.tables import show
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.packing import pieces_of
from harvester.dataset.parts import stage
from harvester.pipeline.publish.normalizer import NORMALIZED_ROWS

DAYS = 2
_HEADS = ("records", "files", "bytes/record", "answers' bytes/record")


def sizes(count: int) -> None:
    """Print the table: `count` calls of two days, in one publication."""
    with tempfile.TemporaryDirectory() as folder:
        made = answers(count, days=DAYS)
        batches = list(iter(lambda: list(islice(made, NORMALIZED_ROWS)), []))
        raw = sum(len(one.body) for batch in batches for one in batch)
        parts = stage(
            pieces_of(
                (normalize(batch, "default", GROUP_RECORD).table for batch in batches),
                "UTC",
                GROUP_RECORD,
            ),
            GROUP_RECORD,
            staging=Path(folder),
            state_id="0" * 32,
            publication=1,
            mode=0o640,
        )
    rows = sum(part.rows for part in parts)
    written = sum(part.bytes for part in parts)
    row = [f"{rows:,}", str(len(parts)), f"{written / rows:.1f}", f"{raw / rows:.0f}"]
    show("Parquet per record, the simulator's calls", _HEADS, [row])
