"""Which delivered ids to fetch again, out of core.

Theory of operation.  What a call is now is the newest change of it, and its row of the data set
where it has none; a selection is by that.  Every id of the data set is counted once: chosen, or
left out for its date or because numbers were erased in its record, or another than was wanted.  A
sample takes an id by a hash of the id and the run's name, so that it is as good as drawn by lot,
and the same in every process; of a few ids it is at least one, as a sample of none proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from harvester.inputs.worklist.spec import Chosen, Selection
from harvester.storage.duckdb_engine import Engine, literal, pattern
from harvester.storage.parquet_file import IDS, ParquetOut

_EXAMPLES = 10
_WANTED = {"delivered": "true", "unrated": "NOT is_rated", "not-final": "NOT is_final"}
_HASHES = 2**64
_OUTSIDE = (
    "SELECT voice_id, count(*) OVER () AS n FROM (SELECT DISTINCT voice_id FROM "
    "read_parquet($only)) AS wanted ANTI JOIN read_parquet($parts, hive_partitioning = false) AS "
    "rows ON wanted.voice_id = rows.voice_id ORDER BY voice_id LIMIT $most"
)


def choose(
    selection: Selection, engine: Engine, wanted: Iterator[pa.RecordBatch] | None, scratch: Path
) -> tuple[Path, Chosen]:
    """Write the ids that `selection` names to a file in `scratch`, in no order; and the counts.

    `wanted`: only these; None: whichever.
    """
    chosen, only = scratch / "chosen.parquet", scratch / "only.parquet"
    if not selection.parts:
        with ParquetOut(chosen, IDS) as out:
            out.commit()
        return chosen, Chosen()
    parameters: dict[str, object] = {"parts": [*map(pattern, selection.parts)]}
    if selection.changes:
        parameters["changes"] = [*map(pattern, selection.changes)]
    if selection.erased:
        parameters["erased"] = [*map(pattern, selection.erased)]
    outside: list[str] = []
    outside_count = 0
    if wanted is not None:
        with ParquetOut(only, IDS) as out:
            for batch in wanted:
                out.write(batch.column("voice_id"))
            out.commit()
        own = {"only": [pattern(only)]}
        told = {**own, "parts": parameters["parts"], "most": _EXAMPLES}
        for batch in engine.stream(_OUTSIDE, told):
            outside += batch.column("voice_id").to_pylist()
            outside_count = batch.column("n")[0].as_py()
        parameters |= own
    current = _current(selection, is_bounded=wanted is not None)
    within = _within(selection)
    lot = f"md5_number_lower(voice_id || {literal(selection.salt)})"
    counts = (
        f"SELECT count(*) FILTER ({within}) AS yes, count(*) AS n, "  # noqa: S608
        f"min({lot}) FILTER ({within}) AS least FROM ({current})"
    )
    (row,) = [one for batch in engine.stream(counts, parameters) for one in batch.to_pylist()]
    rows = f"SELECT voice_id FROM ({current}) WHERE {within}"  # noqa: S608
    if selection.share is not None and row["yes"]:
        most = max(int(selection.share * _HASHES) - 1, int(row["least"]))
        rows += f" AND {lot} <= {most}::UHUGEINT"
    with ParquetOut(chosen, IDS) as out:
        for batch in engine.stream(rows, parameters):
            out.write(batch.column("voice_id").cast(pa.string()))
        out.commit()
    return chosen, Chosen(
        population=row["yes"],
        left_out=row["n"] - row["yes"],
        outside=outside_count,
        outside_ids=tuple(outside),
    )


def in_order(engine: Engine, files: list[Path], new: list[Path]) -> Iterator[pa.RecordBatch]:
    """The ids of `files`, once each and sorted, without those of `new`."""
    query = (
        "SELECT DISTINCT voice_id FROM read_parquet($files) AS again ANTI JOIN read_parquet($new) "
        "AS new ON again.voice_id = new.voice_id ORDER BY voice_id"
    )
    yield from engine.stream(query, {"files": [*map(pattern, files)], "new": [*map(pattern, new)]})


def _current(selection: Selection, *, is_bounded: bool) -> str:
    """SQL: the calls as they are now that are such as is wanted, with the time that dates them."""
    at = selection.column
    flags = {"is_final": "is_final", "is_rated": "is_rated" if selection.has_rated else "true"}
    told = ", ".join(f"{value} AS {name}" for name, value in flags.items())
    rows = (
        f"SELECT voice_id, {at} AS dated, {told} FROM "  # noqa: S608
        "read_parquet($parts, hive_partitioning = false) AS rows"
    )
    if is_bounded:
        rows += " SEMI JOIN read_parquet($only) AS wanted ON rows.voice_id = wanted.voice_id"
    if selection.changes:
        news = ", ".join(
            f"{name} := {'true' if value == 'true' else 'new.' + value}"
            for name, value in flags.items()
        )
        rows = (
            "SELECT base.voice_id, "  # noqa: S608
            "CASE WHEN later IS NULL THEN base.dated ELSE later.dated END AS dated, "
            "CASE WHEN later IS NULL THEN base.is_final ELSE later.is_final END AS is_final, "
            "CASE WHEN later IS NULL THEN base.is_rated ELSE later.is_rated END AS is_rated "
            f"FROM ({rows}) AS base LEFT JOIN ("
            f"SELECT voice_id, arg_max(struct_pack(dated := new.{at}, {news}), publication) "
            "AS later FROM read_parquet($changes, hive_partitioning = false) GROUP BY voice_id"
            ") AS newest ON base.voice_id = newest.voice_id"
        )
    return f"SELECT voice_id, dated FROM ({rows}) WHERE {_WANTED[selection.what]}"  # noqa: S608


def _within(selection: Selection) -> str:
    """SQL: whether a call is of the period, and none of its numbers was erased.

    One without a day is of an unbounded period only.
    """
    bounds = [
        f"epoch_ms(dated) {sign} {ms}"
        for sign, ms in ((">=", selection.since_ms), ("<", selection.until_ms))
        if ms is not None
    ]
    if bounds:
        bounds.append("dated IS NOT NULL")
    if selection.erased:
        bounds.append("voice_id NOT IN (SELECT voice_id FROM read_parquet($erased))")
    return " AND ".join(bounds) if bounds else "true"
