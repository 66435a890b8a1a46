"""Whole harvests against the simulator, compared with what the oracle says they must come to."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as ds

from harvester.simulator import SimulatorOptions, make_ids
from harvester.simulator.calls import Fate
from tests.support.harvesting import Harvest
from tests.support.oracle import Expected, expect_all
from tests.support.simulated import END, Simulator

SEED = 20261122
COUNT = 18_000
UNDATED = 2_000
NOW = datetime(2026, 11, 22, tzinfo=UTC)
"""Any time after the ids: what tells no date is never old, and the others always are."""


def test_20000_ids_with_all_faults_come_to_what_the_oracle_says(tmp_path: Path) -> None:
    """Row by row and column by column, and every reader sees the same."""
    ids_file = tmp_path / "ids.txt"
    ids = [f"call-{n}" for n in range(UNDATED)]
    ids += make_ids(COUNT, SEED, end=END, shuffled=True)
    ids_file.write_text("\n".join(ids))
    options = SimulatorOptions(seed=SEED)
    expected = {e.voice_id: e for e in expect_all(options, ids, now=NOW)}
    unknown = {e.first for e in expected.values() if e.fate is Fate.NO_RECORD}
    assert unknown == {"open", "dead"}, "not every way of being unknown is here"
    with Simulator(seed=SEED, faults="all", rate_limit=0, drip_s=4, slow_s=1) as vendor:
        harvest = Harvest(
            tmp_path / "out",
            vendor.base_url,
            open_calls__delays_s=[1.0],
            open_calls__max_age_s=8.0,
            output__publish_records=7_000,
        )
        first = harvest.run(ids_file)
        assert first.code == 3, first.err
        assert _states(first.summary) == _expected_states(expected)
        _ask_open_calls_until_they_are_old(harvest)
    _compare_rows(harvest, expected)
    _compare_readers(harvest.out)


def _states(summary: dict[str, Any]) -> dict[str, int]:
    books = summary["list"]
    assert books["pending"] == 0
    return {name: books[name] for name in ("delivered", "open", "dead")}


def _expected_states(expected: dict[str, Expected]) -> dict[str, int]:
    found = {"delivered": 0, "open": 0, "dead": 0}
    for one in expected.values():
        found[one.first] += 1
    return found


def _ask_open_calls_until_they_are_old(harvest: Harvest) -> None:
    for _ in range(12):
        time.sleep(1)
        again = harvest.run()
        assert again.code in (0, 3), again.err
        if not [call for call in _open_calls(harvest.out) if call["answer"]]:
            return
    raise AssertionError("open calls never became old")


def _open_calls(out: Path) -> list[dict[str, Any]]:
    newest = max(out.glob("runs/*/state.parquet"), key=lambda path: path.stat().st_mtime_ns)
    rows = ds.dataset(newest).to_table().to_pylist()
    return [row for row in rows if row["kind"] == "open"]


def _compare_rows(harvest: Harvest, expected: dict[str, Expected]) -> None:
    rows = {row["voice_id"]: row for row in harvest.rows()}
    assert len(harvest.ids()) == len(rows), "a voiceId is in the data twice"
    wanted = {e.voice_id: e.row for e in expected.values() if e.row is not None}
    assert rows.keys() == wanted.keys()
    for voice_id, row in rows.items():
        for name in ("extra", "unparsed"):
            text = row[name]
            row[name] = None if text is None else json.loads(text, parse_float=Decimal)
        assert row.pop("fetched_at") is not None
        assert row.pop("run_id")
        assert row == wanted[voice_id], voice_id


def _compare_readers(out: Path) -> None:
    pattern = str(out / "cdr" / "*" / "*.parquet")
    sums = "count(*), sum(cost), sum(call_duration_s), count(distinct voice_id), min(submit_date)"
    query = f"select {sums} from read_parquet('{pattern}', hive_partitioning=true)"
    duck = duckdb.execute(query).fetchall()[0]
    lazy = pl.scan_parquet(pattern, hive_partitioning=True)
    polars = lazy.select(
        pl.len(),
        pl.col("cost").sum(),
        pl.col("call_duration_s").sum(),
        pl.col("voice_id").n_unique(),
    ).collect()
    arrow = ds.dataset(out / "cdr", partitioning="hive").to_table(columns=["cost", "voice_id"])
    assert tuple(polars.row(0)) == duck[:4]
    assert arrow.num_rows == duck[0]
    assert sum((c for c in arrow["cost"].to_pylist() if c is not None), Decimal(0)) == duck[1]
