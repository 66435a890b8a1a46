"""The runs of an output as rows, from their summaries: those can be read while a run works."""

from __future__ import annotations

from datetime import UTC

import pyarrow as pa

from harvester.analysis.period import Period
from harvester.analysis.places import Places
from harvester.analysis.report.unfinished import RUN_COLUMNS, read_run_history
from harvester.money import SCALE

_COST = pa.map_(pa.string(), pa.decimal128(38, SCALE))
RUN_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("started_at", pa.timestamp("ms", "UTC")),
        ("exit_code", pa.int32()),
        ("requests", pa.int64()),
        ("attempted", pa.int64()),
        ("delivered", pa.int64()),
        ("open", pa.int64()),
        ("dead", pa.int64()),
        ("deferred", pa.int64()),
        ("rows", pa.int64()),
        ("cost", _COST),
        ("balanced", pa.bool_()),
    ]
)


def run_batch(places: Places) -> pa.RecordBatch:
    """Every run that has a summary, newest first."""
    history = read_run_history(places, Period(None, None), UTC)
    rows = [
        {name: getattr(run, name) for name in RUN_COLUMNS} | {"cost": list(run.cost.items())}
        for run in history.runs
    ]
    return pa.RecordBatch.from_pylist(rows, RUN_SCHEMA)
