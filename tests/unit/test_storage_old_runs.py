"""What is kept of runs that are long over."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harvester.errors import StoreError
from harvester.storage.old_runs import remove_old

OLD, MIDDLE, NEW = "20260101T000000Z-aaaaaa", "20260601T000000Z-bbbbbb", "20261101T000000Z-cccccc"
NOW = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp() * 1000)


def made(folder: Path, snapshots: tuple[str, ...] = (OLD, MIDDLE, NEW)) -> list[str]:
    for name in (OLD, MIDDLE, NEW):
        (folder / name).mkdir()
        for file in ("log.jsonl", "summary.json", "bad_ids.jsonl"):
            (folder / name / file).touch()
        if name in snapshots:
            (folder / name / "state.parquet").touch()
    (folder / "latest.json").touch()
    return [NEW, MIDDLE, OLD]


def left(folder: Path, file: str) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{file}"))


def test_logs_and_snapshots_go_and_summaries_stay(tmp_path: Path) -> None:
    remove_old(tmp_path, made(tmp_path), 90, NOW)
    assert left(tmp_path, "log.jsonl") == left(tmp_path, "state.parquet") == [NEW]
    assert left(tmp_path, "summary.json") == left(tmp_path, "bad_ids.jsonl") == [OLD, MIDDLE, NEW]


def test_the_newest_snapshot_stays_however_old(tmp_path: Path) -> None:
    remove_old(tmp_path, made(tmp_path, (OLD, MIDDLE)), 90, NOW)
    assert left(tmp_path, "state.parquet") == [MIDDLE]
    # By the order of the runs, not by their clock.
    remove_old(tmp_path, [NEW, OLD, MIDDLE], 90, NOW)
    assert left(tmp_path, "state.parquet") == [MIDDLE]


def test_0_keeps_all_and_so_does_an_output_without_runs(tmp_path: Path) -> None:
    names = made(tmp_path)
    remove_old(tmp_path, names, 0, NOW)
    remove_old(tmp_path, [], 90, NOW)
    assert left(tmp_path, "log.jsonl") == [OLD, MIDDLE, NEW]


def test_a_clock_that_is_years_ahead_removes_nothing_more(tmp_path: Path) -> None:
    remove_old(tmp_path, made(tmp_path), 300, NOW + 10 * 365 * 86_400_000)
    assert left(tmp_path, "log.jsonl") == [MIDDLE, NEW]


def test_what_is_as_old_as_the_limit_itself_stays(tmp_path: Path) -> None:
    """153 days before the first of November is the first of June."""
    remove_old(tmp_path, made(tmp_path, ()), 153, NOW)
    assert left(tmp_path, "log.jsonl") == [MIDDLE, NEW]
    remove_old(tmp_path, [NEW, MIDDLE, OLD], 152.9, NOW)
    assert left(tmp_path, "log.jsonl") == [NEW]


def test_days_are_counted_by_a_clock_that_is_behind_the_newest_run(tmp_path: Path) -> None:
    january = int(datetime(2026, 1, 6, tzinfo=UTC).timestamp() * 1000)
    names = made(tmp_path, ())
    remove_old(tmp_path, names, 6, january)
    assert left(tmp_path, "log.jsonl") == [OLD, MIDDLE, NEW]
    remove_old(tmp_path, names, 4, january)
    assert left(tmp_path, "log.jsonl") == [MIDDLE, NEW]


def test_snapshots_of_runs_that_are_not_known_come_after_those_that_are(tmp_path: Path) -> None:
    """The newest by name first; what is no run's folder is left alone."""
    made(tmp_path, (OLD, MIDDLE))
    (tmp_path / "20260101T000000Z").mkdir()
    (tmp_path / "20260101T000000Z" / "log.jsonl").touch()
    remove_old(tmp_path, [NEW, "no run"], 90, NOW)
    assert left(tmp_path, "state.parquet") == [MIDDLE]
    assert left(tmp_path, "log.jsonl") == ["20260101T000000Z", NEW]
    (tmp_path / OLD / "state.parquet").touch()
    remove_old(tmp_path, [NEW, OLD], 90, NOW)
    assert left(tmp_path, "state.parquet") == [OLD]


def test_what_can_not_be_removed_is_named(tmp_path: Path) -> None:
    names = made(tmp_path)
    (tmp_path / OLD / "log.jsonl").unlink()
    (tmp_path / OLD / "log.jsonl").mkdir()
    with pytest.raises(StoreError, match=rf"removing .*{OLD}/log\.jsonl: Is a directory"):
        remove_old(tmp_path, names, 90, NOW)
