"""Delivered ids fetched again: what has changed is kept beside the data set, which stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.analysis.verify.verify import Order, verify
from harvester.simulator import make_ids
from harvester.storage.output import Output
from tests.support.harvesting import Harvest
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = sorted(make_ids(120, 7, end=END, days=3))
FROM_2000: dict[str, Any] = {"since_ms": 0}


def changes(out: Path) -> list[dict[str, Any]]:
    """Every row of changes/, by publication."""
    found: list[dict[str, Any]] = []
    for path in out.glob("changes/change_date=*/*.parquet"):
        found += pq.ParquetFile(path).read().to_pylist()
    return sorted(found, key=lambda row: (row["publication"], row["voice_id"]))


def damage(out: Path) -> list[str]:
    audit = verify(Output(out), Order("UTC", "400MB", deep=True))
    return [f"{f.kind}: {f.what} {f.where}" for f in audit.findings if f.severity == "damage"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(IDS))
    return path


def test_what_has_changed_lies_in_changes_old_and_new_and_the_data_set_stays(
    tmp_path: Path, source: Path
) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, billing="rerated=0.3", drift=False) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        assert harvest.run(source).code == 0
        before = harvest.rows()
        done = harvest.run(refetch={"what": "delivered", **FROM_2000})
        assert done.code == 0, done.err
        found = done.summary["refetch"]
        rows = changes(harvest.out)
        assert found["again"] == len(IDS) == found["same"] + found["changed"]
        assert found["changed"] == len(rows) > 10
        assert harvest.rows() == before
        by_id = {row["voice_id"]: row for row in before}
        for row in rows:
            old = {**by_id[row["voice_id"]]}
            assert str(row["submit_date"]) == old.pop("submit_date")
            assert row["old"] == old
            assert row["new"]["cost"] == old["cost"] * 3 / 2
            assert (row["reason"], row["changed"]) == ("vendor", ["cost"])
            assert row["run_id"] == done.summary["run_id"] == row["new"]["run_id"]
        moved = sum(row["new"]["cost"] - row["old"]["cost"] for row in rows)
        assert sum(map(type(moved), found["cost"].values())) == moved
        assert done.summary["run"]["attempted"] == 0
        assert damage(harvest.out) == []
        # The newest change is what is known: nothing differs from that.
        again = harvest.run(refetch={"what": "delivered", **FROM_2000})
        assert again.summary["refetch"]["same"] == len(IDS)
        assert len(changes(harvest.out)) == len(rows)
        assert harvest.run(source).summary["run"]["attempted"] == 0
        assert damage(harvest.out) == []


def test_a_refetch_that_was_cut_short_goes_on_with_the_same_command_and_with_a_run(
    tmp_path: Path, source: Path
) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, billing="rerated=0.3", drift=False) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        assert harvest.run(source).code == 0
        order = {"what": "delivered", **FROM_2000}
        short = Harvest(tmp_path / "out", vendor.base_url, pace__per_day=len(IDS) + 30)
        first = short.run(refetch=order)
        assert first.code == 8
        assert first.summary["refetch"]["again"] == 30
        assert first.summary["refetch"]["pending"] == len(IDS) - 30
        assert damage(harvest.out) == []
        short = Harvest(tmp_path / "out", vendor.base_url, pace__per_day=len(IDS) + 60)
        second = short.run(refetch=order)
        assert second.summary["refetch"]["again"] == 30
        # Another input comes between: what is to be fetched again stays on the list, and last.
        more = tmp_path / "more.txt"
        more.write_text("\n".join(make_ids(20, 8, end=END, days=3)))
        rest = harvest.run(more)
        assert rest.code == 0, rest.err
        assert rest.summary["run"]["delivered"] == 20
        assert rest.summary["list"]["again"] == len(IDS) - 60
        assert rest.summary["refetch"]["again"] == len(IDS) - 60
        found = [run.summary["refetch"]["changed"] for run in (first, second, rest)]
        assert sum(found) == len(changes(harvest.out)) > 10
        assert len({row["voice_id"] for row in changes(harvest.out)}) == sum(found)
        assert vendor.stats()["requests"] == 2 * len(IDS) + 20
        assert damage(harvest.out) == []


def test_no_record_is_no_change_and_the_row_stays(tmp_path: Path, source: Path) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        assert harvest.run(source).code == 0
        vendor.post_faults(refuse="-24")
        done = harvest.run(refetch={"what": "delivered", "fail_on_change": True, **FROM_2000})
        assert done.code == 0, done.err
        assert done.summary["refetch"]["forgotten"] == len(IDS)
        assert harvest.ids() == IDS
        assert changes(harvest.out) == []
        assert damage(harvest.out) == []


def test_a_call_that_never_ended_is_corrected_once_it_has(tmp_path: Path, source: Path) -> None:
    fates = ALL_RECORDS.replace("open_then_final=0", "open_then_final=1")
    flags = {"open_calls__max_age_s": 0.001, "open_calls__delays_s": [0.001]}
    with Simulator(rate_limit=0, fates=fates, open_asks=2) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, **flags)
        for _ in range(2):
            ended = harvest.run(source)
            assert ended.code == 0, ended.err
        assert not any(row["is_final"] for row in harvest.rows())
        done = harvest.run(refetch={"what": "not-final", **FROM_2000})
        rows = changes(harvest.out)
        assert done.summary["refetch"]["changed"] == len(rows) == len(IDS)
        assert {row["reason"] for row in rows} == {"final"}
        assert all(row["new"]["is_final"] for row in rows)
        again = harvest.run(refetch={"what": "not-final", **FROM_2000})
        assert again.summary["refetch"]["again"] == 0
        assert damage(harvest.out) == []
