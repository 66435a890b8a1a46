"""What `harvester reconcile` costs: a tenth of our calls listed, and nothing left to list."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.calls import LAST_DAY, write_calls
from bench.measure import Usage, measure
from bench.places import OURS, work
from bench.tables import show
from harvester.pipeline.listing.days import of_days
from harvester.pipeline.listing.rows import SCHEMA
from harvester.state import listings
from harvester.state.database import open_database
from harvester.state.listings import ListedFile

MEMORY_LIMIT = "400MB"
_DAYS = 30
_HEADS = ("command", "listed", "ours", "dialer", "wall s", "CPU s", "RSS MB", "tree MB")
_KEYS = {"HARVESTER_API_KEY": "made", "HARVESTER_API_SECRET": "up"}
_LISTED = """
SELECT CASE WHEN hash(voice_id) % 100 = 0 THEN voice_id || 'x' ELSE voice_id END AS voice_id,
       submit_time, answered, charged_duration_s, cost::DECIMAL(18, 8) AS cost, currency,
       true AS is_final, true AS is_rated, fetched_at AS asked_at
FROM read_parquet($files, hive_partitioning = false) WHERE hash(voice_id) % 10 = 0
"""
"""One in a hundred of them is unknown here."""


def reconcile(count: int, rounds: int) -> None:
    """Print the table: `count` calls of 30 days, a tenth listed; the fastest of `rounds`."""
    out = work() / f"reconciled-{count}"
    if not out.exists():
        fresh = out.with_suffix(".new")
        write_calls(fresh, count, days=_DAYS)
        measure([OURS, "-m", "harvester", "rebuild", "--out", str(fresh), "-q"])
        _list(fresh)
        fresh.rename(out)
    placed = work() / f"placed-{count}.parquet"
    if not placed.exists():
        with duckdb.connect() as database:
            database.execute(
                f"COPY (SELECT voice_id AS voiceId FROM ({_LISTED})) TO '{placed}'",
                {"files": _parts(out)},
            )
    rows = [_row(out, count, rounds), _row(out, count, rounds, "--ours", str(placed))]
    show(f"Reconciling, plan.memory_limit = {MEMORY_LIMIT}", _HEADS, rows)


def _parts(out: Path) -> list[str]:
    return [str(path) for path in sorted(out.glob("cdr/*/*.parquet"))]


def _list(out: Path) -> None:
    """A listing of the days as `discover` would leave it."""
    days = of_days(LAST_DAY - timedelta(days=_DAYS), LAST_DAY + timedelta(days=1))
    folder = out / "state" / "listed"
    folder.mkdir(exist_ok=True)
    with duckdb.connect() as database, pq.ParquetWriter(folder / "made.parquet", SCHEMA) as to:
        rows = database.sql(_LISTED, params={"files": _parts(out)})
        for batch in rows.to_arrow_reader(100_000):
            to.write_table(pa.Table.from_batches([batch]).cast(SCHEMA))
    now_ms = time.time_ns() // 1_000_000
    with closing(open_database(out / "state" / "state.db", "default")) as db:
        one = listings.begin(db, (days.start_s, days.until_s), now_ms)
        file = ListedFile("made.parquet", 1)
        listings.keep(db, one.id, (), file, requests=1, requests_of_day=("2026-11-22", 1))
        listings.end(db, one.id, now_ms, calls=1)


def _row(out: Path, count: int, rounds: int, *words: str) -> list[str]:
    first, last = LAST_DAY - timedelta(days=_DAYS), LAST_DAY + timedelta(days=1)
    command: list[str | Path] = [OURS, "-m", "harvester", "reconcile"]
    command += ["--from", str(first), "--to", str(last), "--out", str(out), "-q", *words]
    turns = [measure(command, environ=_KEYS, codes=(0, 3)) for _ in range(rounds)]
    best: Usage = min(turns, key=lambda turn: turn.wall_s)
    return [
        f"harvester reconcile {' '.join(words[:1])}".strip(),
        f"{count // 10:,}",
        f"{count:,}",
        f"{count // 10:,}" if words else "-",
        f"{best.wall_s:.1f}",
        f"{best.cpu_s:.1f}",
        f"{max(turn.rss_mb for turn in turns):.0f}",
        f"{max(turn.tree_mb for turn in turns):.0f}",
    ]
