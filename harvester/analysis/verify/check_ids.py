"""Every id against every place where it may stand.

Theory of operation.  The ids of the data set, the journal, the open calls, the dead letters, the
deferred ids and (with `deep`) the work list are sorted together, each with the weight of its
place.  Equal ids are neighbours then; their weights are added up, and a sum that isn't among the
allowed ones is a contradiction.  Memory is that of a batch and of DuckDB's sort, however many ids
there are.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harvester.analysis.verify.dataset_scan import STANDINGS, Content
from harvester.analysis.verify.findings import RESTORE_STATE, Finding, damage
from harvester.analysis.verify.id_states import MOST_PLACES, Place, allowed, contradiction
from harvester.state import journal, publications, unresolved, work_lists
from harvester.state.values import CHUNK_ROWS, WorkList, chunks_of, rows_of_chunk

_EXAMPLES = 3
_MISSING_DATA = frozenset({"resolved_nowhere", "not_in_data"})
"""What follows from a file that is gone or unreadable."""


@dataclass(frozen=True, slots=True)
class IdCheck:
    """What was found, and how many distinct ids were looked at."""

    findings: list[Finding]
    ids: int


@dataclass(slots=True)
class _Contradictions:
    """Ids by what is wrong with them."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, voice_id: str, standing: int) -> None:
        wrong = contradiction(standing)
        self.counts[wrong] += 1
        examples = self.examples.setdefault(wrong, [])
        if len(examples) < _EXAMPLES:
            examples.append(voice_id)


def check_ids(
    db: sqlite3.Connection,
    content: Content,
    *,
    work_list: tuple[WorkList, Path] | None,
    complete: bool,
    rebuilt: bool,
) -> IdCheck:
    """Look for ids that stand in two places, or in none where they should stand in one.

    `work_list`: the list and its file, to be counted as well.  `complete`: no file of the data set
    is missing; otherwise what follows from that isn't told again.  Raises StoreError.
    """
    good = pa.array(sorted(allowed(with_list=work_list is not None, rebuilt=rebuilt)), pa.int64())
    found = _Contradictions()
    ids = 0
    for group in _grouped(content.sorted_ids(_standings(db, work_list))):
        ids += group.num_rows
        wrong = group.filter(
            pc.or_(
                pc.invert(pc.is_in(group["weight_sum"], value_set=good)),
                # So many that one place's count has run over into the next one's.
                pc.greater(group["weight_count"], MOST_PLACES),
            )
        )
        for row in wrong.to_pylist():
            found.add(row["voice_id"], row["weight_sum"])
    return IdCheck(_told(found, complete=complete), ids)


def _told(found: _Contradictions, *, complete: bool) -> list[Finding]:
    findings = []
    for wrong, count in sorted(found.counts.items()):
        kind, what = wrong
        if kind in _MISSING_DATA and not complete:
            continue
        examples = ", ".join(found.examples[wrong])
        findings.append(
            damage(kind, f"{count} id(s) {what}", f"ids such as {examples}", _remedy(kind))
        )
    return findings


def _remedy(kind: str) -> str:
    if kind == "twice":
        return (
            "`harvester explain ID` says in which files. Keep the output as it is and report it: "
            "no crash can make this. If a file was put there by hand, move it out."
        )
    return f"`harvester explain ID` shows all that is known of one. {RESTORE_STATE}"


def _grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Tables of (voice_id, weight_sum, weight_count): one row for each id of the sorted batches."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows == 0:
            continue
        held.append(batch)
        ids = batch.column("voice_id")
        start = pc.index(ids, ids[-1]).as_py()
        if start == 0 and ids[0].as_py() == held[0].column("voice_id")[-1].as_py():
            continue  # nothing but the id that the batches before ended with
        # The last id may go on in the next batch.
        held[-1] = batch.slice(0, start)
        yield _sums(held)
        held = [batch.slice(start)]
    if held:
        yield _sums(held)


def _sums(batches: list[pa.RecordBatch]) -> pa.Table:
    rows = pa.Table.from_batches(batches, schema=STANDINGS)
    return rows.group_by("voice_id").aggregate([("weight", "sum"), ("weight", "count")])


def _standings(
    db: sqlite3.Connection, work_list: tuple[WorkList, Path] | None
) -> Iterator[pa.RecordBatch]:
    """The ids that stand elsewhere than in the data set.

    Those that are fetched again are left out there: where they count, they are in the data set.
    """
    for row in publications.journal_blobs(db, kind="new"):
        try:
            ids = [answer.voice_id for answer in journal.answers_of(row)]
        except journal.DAMAGED:
            continue  # `check_state` tells of it
        yield _placed(ids, Place.JOURNAL)
    for ids in unresolved.open_ids(db):
        yield _placed(ids, Place.OPEN)
    for letters in unresolved.dead_letter_states(db):
        places = [_of_letter(*flags).weight for _, *flags in letters]
        yield _weighed([voice_id for voice_id, _, _ in letters], places)
    for ids in unresolved.deferred_ids(db):
        yield _placed(ids, Place.DEFERRED)
    if work_list is not None:
        yield from _of_list(db, *work_list)


def _of_letter(published: bool, retrying: bool) -> Place:
    if retrying:
        return Place.RETRYING
    return Place.DEAD_PUBLISHED if published else Place.DEAD


def _of_list(db: sqlite3.Connection, work_list: WorkList, path: Path) -> Iterator[pa.RecordBatch]:
    """The list's rows, settled or pending by their bits."""
    bits = work_lists.resolved_rows(db, work_list)
    at = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(CHUNK_ROWS, columns=["voice_id"], use_threads=False):
            ids = batch.column("voice_id").slice(0, max(0, work_list.new - at))
            settled = settled_flags(work_list, bits, at, len(ids))
            weights = pc.if_else(
                settled,
                pa.scalar(Place.LIST_RESOLVED.weight, pa.int64()),
                pa.scalar(Place.LIST_PENDING.weight, pa.int64()),
            )
            yield pa.RecordBatch.from_arrays([ids, weights], schema=STANDINGS)
            at += len(ids)


def settled_flags(
    work_list: WorkList, bits: dict[int, bytes | None], start: int, rows: int
) -> pa.Array:
    """Whether each of `rows` rows of the list, from row `start` on, is settled."""
    flags = []
    end = start + rows
    for no in range(start // CHUNK_ROWS, chunks_of(end)):
        first = no * CHUNK_ROWS
        size = rows_of_chunk(no, work_list.rows)
        chunk = _flags_of_chunk(bits.get(no, b""), size)
        flags.append(chunk.slice(max(0, start - first), min(end, first + size) - max(start, first)))
    return pa.concat_arrays(flags) if flags else pa.array([], pa.bool_())


def _flags_of_chunk(bits: bytes | None, size: int) -> pa.Array:
    if bits is None:
        return pa.array([True]).take(pa.array([0] * size))
    padded = bits.ljust((size + 7) // 8, b"\0")
    # Arrow's bits have the ledger's order: the lowest of a byte first.
    return pa.Array.from_buffers(pa.bool_(), size, [None, pa.py_buffer(padded)])


def _placed(ids: list[str], place: Place) -> pa.RecordBatch:
    return _weighed(ids, [place.weight] * len(ids))


def _weighed(ids: list[str], weights: list[int]) -> pa.RecordBatch:
    arrays = [pa.array(ids, pa.string()), pa.array(weights, pa.int64())]
    return pa.RecordBatch.from_arrays(arrays, schema=STANDINGS)
