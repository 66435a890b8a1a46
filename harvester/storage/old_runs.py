"""The folders of runs that are long over: logs and snapshots go, summaries stay.

A snapshot holds answers, and so phone numbers; the newest one is what `rebuild` needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harvester.run_name import began_at, is_run_id, stamp_at
from harvester.storage.disk import store_error

SNAPSHOT = "state.parquet"
_DAY_S = 86_400
_GO = ("log.jsonl", SNAPSHOT)


def remove_old(runs: Path, newest_first: Sequence[str], keep_days: float, now_ms: int) -> None:
    """Remove what is older than `keep_days` from the run folders in `runs`; 0: nothing.

    `newest_first`: the runs that are known, in their order; their newest snapshot stays.  A clock
    that is ahead removes nothing too early: days are counted back from the newest run.  Raises
    StoreError.
    """
    newest_first = [name for name in newest_first if is_run_id(name)]
    if not keep_days or not newest_first:
        return
    newest = min(now_ms / 1000, began_at(max(newest_first)))
    limit = stamp_at(newest - keep_days * _DAY_S)
    names = [path.name for path in runs.glob("*") if is_run_id(path.name)]
    ordered = [*newest_first, *sorted(set(names) - set(newest_first), reverse=True)]
    kept = next((name for name in ordered if (runs / name / SNAPSHOT).exists()), None)
    for name in names:
        if name >= limit:
            continue
        for file in _GO:
            path = runs / name / file
            if not (file == SNAPSHOT and name == kept):
                try:
                    path.unlink(missing_ok=True)
                except OSError as exc:
                    raise store_error("removing", path, exc) from exc
