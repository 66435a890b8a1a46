"""The ledger against itself: publications, the journal, the work list, the inputs, the runs."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from harvester.analysis.places import Places
from harvester.analysis.verify.findings import RESTORE_STATE, Finding, damage, note
from harvester.dataset.files import Totals, totals_of
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import Answer, normalize
from harvester.state import bitmap, journal, records, work_lists
from harvester.state.restore import is_rebuilt
from harvester.state.values import CHUNK_ROWS, Publication, WorkList

_PUBLICATION = "state.db: publication"
_JOURNAL = "state.db: journal"
_LIST = "state.db: list"
_FINISHES = "The next run finishes it."


@dataclass(slots=True)
class JournalAudit:
    """What the journal holds, and what is wrong with it."""

    findings: list[Finding] = field(default_factory=list)
    records: int = 0
    totals: dict[str, Totals] = field(default_factory=dict)
    """By run."""
    readable: bool = True


def check_publications(db: sqlite3.Connection) -> Iterator[Finding]:
    """Ranges of the journal and their states fit together."""
    parts: dict[int, list[tuple[str, str, int]]] = {}
    for number, path, state, rows in db.execute(
        "SELECT publication, path, state, rows FROM file ORDER BY publication"
    ):
        parts.setdefault(int(number), []).append((str(path), str(state), int(rows)))
    last_hi = 0
    known = set()
    for number, lo, hi, state in db.execute(
        "SELECT id, lo, hi, state FROM publication ORDER BY id"
    ):
        known.add(number)
        yield from _publication(db, Publication(number, lo, hi, state), parts)
        if lo <= hi:  # those of a rebuilt state have no range
            if lo <= last_hi:
                what = f"publication {number} begins at {lo}, but {last_hi} was published before"
                yield damage("publication", what, _PUBLICATION, RESTORE_STATE)
            last_hi = hi
    for number in sorted(parts.keys() - known):
        what = f"publication {number} has files, but no entry"
        yield damage("publication", what, _PUBLICATION, RESTORE_STATE)


def _publication(
    db: sqlite3.Connection,
    one: Publication,
    parts: dict[int, list[tuple[str, str, int]]],
) -> Iterator[Finding]:
    waiting = int(
        db.execute(
            "SELECT COALESCE(SUM(n), 0) FROM journal WHERE seq BETWEEN ? AND ?", (one.lo, one.hi)
        ).fetchone()[0]
    )
    files = parts.get(one.id, [])
    states = {state for _, state, _ in files}
    rows = sum(rows for _, _, rows in files)
    if one.state == "prepared":
        what = f"publication {one.id} ({waiting} records) stopped before its commit point"
        yield note("unfinished", what, _PUBLICATION, _FINISHES)
        wrong = "has files already" if files else ""
    elif one.state == "committed":
        what = f"publication {one.id} ({rows} records) is committed, but not all in place yet"
        yield note("unfinished", what, _PUBLICATION, _FINISHES)
        wrong = _unlike("committed", states) or (
            f"has {rows} rows, but {waiting} records wait for it" if rows != waiting else ""
        )
    else:
        wrong = _unlike("live", states) or (
            f"is live, but {waiting} of its records are in the journal still" if waiting else ""
        )
    if wrong:
        what = f"publication {one.id} {wrong}"
        yield damage("publication", what, _PUBLICATION, RESTORE_STATE)


def _unlike(state: str, states: set[str]) -> str:
    if states == {state}:
        return ""
    return f"is {state}, but its files are {' and '.join(sorted(states)) or 'none'}"


def check_journal(db: sqlite3.Connection, account: str) -> JournalAudit:
    """Every blob can be read and holds what its row says; one blob in memory at a time."""
    audit = JournalAudit()
    runs = {str(row[0]) for row in db.execute("SELECT id FROM run")}
    for seq, run, n, size, body in db.execute(
        "SELECT seq, run, n, bytes, body FROM journal ORDER BY seq"
    ):
        where = f"{_JOURNAL}, seq {seq}"
        audit.records += n
        try:
            entries = list(journal.decode(body))
            real_size = zstandard.frame_content_size(body)
        except journal.DAMAGED as exc:
            audit.readable = False
            what = f"{n} acknowledged answer(s) can't be read: {exc}"
            audit.findings.append(damage("journal", what, where, RESTORE_STATE))
            continue
        if (len(entries), real_size) != (n, size):
            audit.readable = False
            what = f"holds {len(entries)} answers of {real_size} bytes, not {n} of {size}"
            audit.findings.append(damage("journal", what, where, RESTORE_STATE))
        if run not in runs:
            what = f"belongs to run {run}, which the ledger does not know"
            audit.findings.append(damage("journal", what, where, RESTORE_STATE))
        answers = [Answer(e.voice_id, e.answer, e.at_ms, run, e.is_final) for e in entries]
        table = normalize(answers, account, GROUP_RECORD).table
        audit.totals[run] = audit.totals.get(run, Totals()) + totals_of(table, run, GROUP_RECORD)
    return audit


def check_list(db: sqlite3.Connection, places: Places) -> Iterator[Finding]:
    """The list in force: its file, its rows, its bits, its counters."""
    lists = int(db.execute("SELECT COUNT(*) FROM list").fetchone()[0])
    if lists > 1:
        yield damage("list", f"{lists} lists are in force", _LIST, RESTORE_STATE)
    work_list = work_lists.current_list(db)
    if work_list is None:
        return
    yield from _list_file(work_list, places.lists / work_list.path)
    if work_list.ids_path is not None and not (places.lists / work_list.ids_path).is_file():
        where = places.lists / work_list.ids_path
        yield damage("list", "the input's ids are gone", where, RESTORE_STATE)
    yield from _list_bits(db, work_list)
    settled = work_list.delivered + work_list.open + work_list.dead
    bits = _count_bits(work_lists.settled_rows(db, work_list), work_list)
    if settled != bits:
        what = f"{bits} rows are marked settled, its counters say {settled}"
        yield damage("bits", what, _LIST, RESTORE_STATE)


def _list_file(work_list: WorkList, path: Path) -> Iterator[Finding]:
    if not path.is_file():
        yield damage("list", "the work list is gone", path, RESTORE_STATE)
        return
    try:
        with pq.ParquetFile(path) as file:
            rows = file.metadata.num_rows
    except (OSError, pa.ArrowException) as exc:
        yield damage("list", f"the work list can't be read: {exc}", path, RESTORE_STATE)
        return
    if rows != work_list.rows:
        what = f"has {rows} rows, the ledger says {work_list.rows}"
        yield damage("list", what, path, RESTORE_STATE)


def _list_bits(db: sqlite3.Connection, work_list: WorkList) -> Iterator[Finding]:
    """Each chunk's bitmap has the size of its chunk, and no bit behind its end."""
    strange = db.execute("SELECT COUNT(*) FROM chunk WHERE list != ?", (work_list.id,)).fetchone()
    if strange[0]:
        what = f"{strange[0]} chunk(s) belong to a list that is gone"
        yield damage("bits", what, _LIST, RESTORE_STATE)
    for no, bits in work_lists.settled_rows(db, work_list).items():
        size = min(CHUNK_ROWS, work_list.rows - no * CHUNK_ROWS)
        if size <= 0 or (bits is not None and not _fits(bits, size)):
            what = f"the bitmap of chunk {no} doesn't fit the list"
            yield damage("bits", what, _LIST, RESTORE_STATE)


def _fits(bits: bytes, size: int) -> bool:
    return len(bits) == len(bitmap.empty(size)) and not int.from_bytes(bits, "little") >> size


def _count_bits(bits: dict[int, bytes | None], work_list: WorkList) -> int:
    return sum(
        min(CHUNK_ROWS, work_list.rows - no * CHUNK_ROWS) if chunk is None else bitmap.count(chunk)
        for no, chunk in bits.items()
    )


def check_inputs(db: sqlite3.Connection) -> Iterator[Finding]:
    """The books of every input that was listed."""
    for key, lines, bad, duplicate, distinct, settled, listed in db.execute(
        "SELECT key, lines, bad, duplicate, distinct_ids, settled_before, listed FROM input"
    ):
        if lines != bad + duplicate + distinct or distinct != settled + listed:
            what = (
                f"{lines} lines, but {bad} bad + {duplicate} duplicate + {distinct} distinct; of "
                f"those {settled} settled + {listed} listed"
            )
            yield damage("books", what, f"state.db: input {key}", RESTORE_STATE)


def check_states(db: sqlite3.Connection) -> Iterator[Finding]:
    """Values that only one hand writes."""
    for table, kind in (("open_call", "open calls"), ("dead_letter", "dead letters")):
        unknown = Counter(
            str(run)
            for (run,) in db.execute(
                f"SELECT run FROM {table} WHERE run NOT IN (SELECT id FROM run)"  # noqa: S608
            )
        )
        if unknown and not is_rebuilt(db):
            run, count = next(iter(unknown.items()))
            what = f"{count} {kind} are of run {run}, which the ledger does not know"
            yield damage("run", what, f"state.db: {table}", RESTORE_STATE)
    for killed in records.unended_runs(db):
        what = f"run {killed.id} was killed; its books are as of its last acknowledgement"
        yield note("killed_run", what, "state.db: run", "The next run closes its books.")
