"""What is kept of runs that are long over."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

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
