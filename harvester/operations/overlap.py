"""Which ids files have in common, and what the changes beside them say of them, out of core; for a
state that is made anew.

Loads DuckDB: only for a process that never fetches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from harvester.storage.duckdb_engine import Room, answers, pattern

_EXAMPLES = 3
_DATA = "read_parquet($files, hive_partitioning = false)"
_NAMED = "read_parquet($files, hive_partitioning = false, filename = true)"
_OTHERS = "read_parquet($others, hive_partitioning = false)"


def held_twice(files: Sequence[Path], room: Room) -> list[str]:
    """Examples of ids that `files` hold more than once, each with two of the files.

    Raises StoreError for want of memory or disk.
    """
    query = f"SELECT voice_id, filename FROM {_NAMED} ORDER BY voice_id"  # noqa: S608
    found: list[str] = []
    last: pa.RecordBatch | None = None
    with closing(answers(query, {"files": _patterns(files)}, room)) as batches:
        for batch in batches:
            # With the last row of the batch before, so that no pair falls between two.
            rows = batch if last is None else pa.concat_batches([last, batch])
            found += _pairs(rows)
            if len(found) >= _EXAMPLES:
                break
            last = rows.slice(len(rows) - 1)
    return found[:_EXAMPLES]


def held_of(others: Path, files: Sequence[Path], room: Room) -> set[str]:
    """The ids of `others` that are in `files` as well.  Raises StoreError."""
    query = f"SELECT voice_id FROM {_OTHERS} WHERE voice_id IN (SELECT voice_id FROM {_DATA})"  # noqa: S608
    parameters = {"files": _patterns(files), "others": _patterns([others])}
    return _ids(query, parameters, room)


def ended_of(others: Path, files: Sequence[Path], changes: Sequence[Path], room: Room) -> set[str]:
    """The ids of `others` whose calls their row, or a change of it, shows to be over.

    Raises StoreError.
    """
    within = f"voice_id IN (SELECT voice_id FROM {_OTHERS})"  # noqa: S608
    found = set[str]()
    for paths, over in ((files, "is_final"), (changes, "new.is_final AND NOT old.is_final")):
        if paths:
            query = f"SELECT voice_id FROM {_DATA} WHERE {over} AND {within}"  # noqa: S608
            found |= _ids(query, {"files": _patterns(paths), "others": _patterns([others])}, room)
    return found


def held_only_in(
    others: Sequence[Path], files: Sequence[Path], more: Sequence[Path], room: Room
) -> set[str]:
    """The ids of `others` that are neither in `files` nor in `more`, of another schema.

    Raises StoreError.
    """
    query = f"SELECT DISTINCT voice_id FROM {_OTHERS} WHERE true"  # noqa: S608
    parameters = {"others": _patterns(others)}
    for name, paths in (("files", files), ("more", more)):
        if paths:
            source = f"read_parquet(${name}, hive_partitioning = false)"
            query += f" AND voice_id NOT IN (SELECT voice_id FROM {source})"  # noqa: S608
            parameters[name] = _patterns(paths)
    return _ids(query, parameters, room)


def first_runs(
    files: Sequence[Path], changes: Sequence[Path], room: Room
) -> tuple[dict[str, int], dict[str, int]]:
    """By run: calls of `files` that it delivered first, and `changes` that it found.

    Raises StoreError.
    """
    rows = _by_value(files, changes, ("run_id", "arg_min(old.run_id, publication)"), room)
    found = f"SELECT run_id, count(*) FROM {_OTHERS} GROUP BY 1"  # noqa: S608
    others = {"others": _patterns(changes)}
    return rows, _counts(found, others, room) if changes else {}


def count_unrated(files: Sequence[Path], changes: Sequence[Path], room: Room) -> int:
    """Calls of `files` that have no price now, by their newest change or their row.

    Raises StoreError.
    """
    rated = ("is_rated", "arg_max(new.is_rated, publication)")
    return _by_value(files, changes, rated, room).get(False, 0)


def _by_value(
    files: Sequence[Path], changes: Sequence[Path], told: tuple[str, str], room: Room
) -> dict[Any, int]:
    """How many calls of `files` have each value; `told`: the column, and what its changes say."""
    column, of_changes = told
    if not files:
        return {}
    parameters, source = {"files": _patterns(files)}, f"{_DATA} AS data"
    value = f"data.{column}"
    if changes:
        parameters["others"] = _patterns(changes)
        value = f"coalesce(changed.{column}, {value})"
        source += (
            f" LEFT JOIN (SELECT voice_id, {of_changes} AS {column} FROM {_OTHERS} "  # noqa: S608
            "GROUP BY voice_id) AS changed USING (voice_id)"
        )
    query = f"SELECT {value} AS value, count(*) FROM {source} GROUP BY 1"  # noqa: S608
    return _counts(query, parameters, room)


def _counts(query: str, parameters: Mapping[str, object], room: Room) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for batch in answers(query, parameters, room):
        found.update(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
    return found


def _ids(query: str, parameters: Mapping[str, object], room: Room) -> set[str]:
    found: set[str] = set()
    for batch in answers(query, parameters, room):
        found.update(batch.column(0).to_pylist())
    return found


def _pairs(rows: pa.RecordBatch) -> list[str]:
    ids, names = rows.column(0), rows.column(1)
    if len(ids) < 2:
        return []
    same = pc.indices_nonzero(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)))
    return [
        f"{ids[at].as_py()} in {names[at].as_py()} and in {names[at + 1].as_py()}"
        for at in same.slice(0, _EXAMPLES).to_pylist()
    ]


def _patterns(files: Sequence[Path]) -> list[str]:
    return [pattern(path) for path in files]
