"""The state database against itself: publications, journal, work list, inputs, runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from harvester.analysis.places import Places
from harvester.analysis.verify.findings import RESTORE_STATE, Finding, damage, note
from harvester.dataset.changes import changes_of
from harvester.dataset.files import totals_of
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.origin import numbers_of
from harvester.dataset.usage import UsageTotals
from harvester.state import journal, publications, run_records, unresolved, work_lists
from harvester.state.restore import is_rebuilt
from harvester.state.values import KnownPart, Publication, WorkList, rows_of_chunk
from harvester.storage import bitmap
from harvester.storage.output import is_change

_PUBLICATION = "state.db: publication"
_JOURNAL = "state.db: journal"
_LIST = "state.db: list"
_FINISHES = "The next run finishes it."


@dataclass(slots=True)
class JournalCheck:
    """What the journal holds, and what is wrong with it."""

    findings: list[Finding] = field(default_factory=list)
    records: int = 0
    totals: dict[str, UsageTotals] = field(default_factory=dict)
    """By run."""
    readable: bool = True


def check_publications(db: sqlite3.Connection) -> Iterator[Finding]:
    """Ranges of the journal and their states fit together."""
    parts: dict[int, list[KnownPart]] = {}
    went: dict[int, list[KnownPart]] = {}
    for part in publications.known_parts(db).values():
        parts.setdefault(part.brought_by, []).append(part)
        if part.superseded_by is not None:
            went.setdefault(part.superseded_by, []).append(part)
    last_hi = 0
    known = set()
    found = publications.all_publications(db)
    emptied = _emptied(found)
    for one in found:
        known.add(one.id)
        yield from _publication(one, parts.get(one.id, []), is_emptied=one.id in emptied)
        came = parts.get(one.id, [])
        yield from _rewrite(one, came, went.get(one.id, []), is_emptied=one.id in emptied)
        if one.lo <= one.hi:  # those of a rebuilt state have no range
            if one.lo <= last_hi:
                what = (
                    f"publication {one.id} begins at {one.lo}, but {last_hi} was published before"
                )
                yield damage("publication", what, _PUBLICATION, RESTORE_STATE)
            last_hi = one.hi
    for number in sorted({*parts, *went} - known):
        what = f"publication {number} has files, but no entry"
        yield damage("publication", what, _PUBLICATION, RESTORE_STATE)


def _emptied(found: Sequence[Publication]) -> set[int]:
    """Publications of whose files rewrites have taken some out, so that none may be left."""
    notes = [one.note for one in found if one.note]
    paths = [path for note in notes for old in note.made_of.values() for path in old]
    paths += [path for note in notes for path in note.went]
    emptied = {rewrite or publication for publication, rewrite in map(_numbers, paths)}
    return emptied | {one.id for one in found if one.note and one.note.left}  # none came


def _numbers(path: str) -> tuple[int, int | None]:
    return numbers_of(path, changes_of(GROUP_RECORD) if is_change(path) else GROUP_RECORD)


def _rewrite(
    one: Publication, came: Sequence[KnownPart], went: Sequence[KnownPart], *, is_emptied: bool
) -> Iterator[Finding]:
    """What a rewrite took out and what it put in are the same rows, as long as both are known.

    `is_emptied`: others have taken some out that it had put in, and an erasure keeps none of those.
    """
    wrong = []
    there = sum(part.rows for part in came) + (one.note.left if one.note else 0)
    before = sum(part.rows for part in went)
    if went and (there > before if is_emptied else there != before):
        rows = f"{before} rows, and put {sum(part.rows for part in came)} there"
        wrong.append(f"took files out of the data set that have {rows}")
    if went and not one.is_rewrite:
        wrong.append("is no rewrite, but files were taken out of the data set by it")
    states = {"committed": {"live"}, "live": {"retired"}}.get(one.state, set())
    odd = sorted({part.state for part in went} - states)
    if odd:
        wrong.append(f"is {one.state}, but files that it took out are {' and '.join(odd)}")
    for what in wrong:
        yield damage("publication", f"publication {one.id} {what}", _PUBLICATION, RESTORE_STATE)


def _publication(
    one: Publication, files: list[KnownPart], *, is_emptied: bool
) -> Iterator[Finding]:
    waiting = one.records
    states = {part.state for part in files}
    rows = sum(part.rows for part in files)
    if one.state == "prepared":
        what = f"publication {one.id} ({waiting} records) stopped before its commit point"
        yield note("unfinished", what, _PUBLICATION, _FINISHES)
        wrong = "has files already" if files else ""
    elif one.state == "committed":
        what = f"publication {one.id} ({rows} records) is committed, but not all in place yet"
        yield note("unfinished", what, _PUBLICATION, _FINISHES)
        is_short = rows != waiting and one.kind == "append"
        # No answer of its range may have told anything new.
        is_empty = one.is_change and not files
        wrong = ("" if is_empty else _unlike("committed", states)) or (
            f"has {rows} rows, but {waiting} records wait for it" if is_short else ""
        )
    else:
        is_emptied = is_emptied or one.is_change
        still = states - {"retired"} if is_emptied else states
        wrong = ("" if is_emptied and not still else _unlike("live", still)) or (
            f"is live, but {waiting} of its records are in the journal still" if waiting else ""
        )
    if wrong:
        what = f"publication {one.id} {wrong}"
        yield damage("publication", what, _PUBLICATION, RESTORE_STATE)


def _unlike(state: str, states: set[str]) -> str:
    if states == {state}:
        return ""
    return f"is {state}, but its files are {' and '.join(sorted(states)) or 'none'}"


def check_journal(db: sqlite3.Connection, account: str) -> JournalCheck:
    """Every blob can be read and holds what its row says; one blob in memory at a time."""
    check = JournalCheck()
    runs = {run.id for run in run_records.all_runs(db)}
    for row in publications.journal_blobs(db):
        where = f"{_JOURNAL}, seq {row.seq}"
        check.records += row.records
        try:
            answers = journal.answers_of(row)
            size = zstandard.frame_content_size(row.blob)
        except journal.DAMAGED as exc:
            check.readable = False
            what = f"{row.records} acknowledged answer(s) can't be read: {exc}"
            check.findings.append(damage("journal", what, where, RESTORE_STATE))
            continue
        if (len(answers), size) != (row.records, row.bytes):
            check.readable = False
            what = f"holds {len(answers)} answers of {size} bytes, not {row.records} of {row.bytes}"
            check.findings.append(damage("journal", what, where, RESTORE_STATE))
        if row.run_id not in runs:
            what = f"belongs to run {row.run_id}, which the state database does not know"
            check.findings.append(damage("journal", what, where, RESTORE_STATE))
        if row.kind != "new":
            continue  # the totals of a run are of what it delivered first
        table = normalize(answers, account, GROUP_RECORD).table
        totals = check.totals.get(row.run_id, UsageTotals())
        check.totals[row.run_id] = totals + totals_of(table, row.run_id, GROUP_RECORD)
    return check


def check_list(db: sqlite3.Connection, places: Places) -> Iterator[Finding]:
    """The list in force: its file, its rows, its bits, its counters."""
    lists = work_lists.count_lists(db)
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
    resolved = work_list.delivered + work_list.open + work_list.dead + work_list.refetched
    bits = work_lists.resolved_count(work_list, work_lists.resolved_rows(db, work_list))
    if resolved != bits:
        what = f"{bits} rows are marked resolved, its counters say {resolved}"
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
        what = f"has {rows} rows, the state database says {work_list.rows}"
        yield damage("list", what, path, RESTORE_STATE)


def _list_bits(db: sqlite3.Connection, work_list: WorkList) -> Iterator[Finding]:
    """Each chunk's bitmap has the size of its chunk, and no bit behind its end."""
    if stray := work_lists.stray_chunks(db, work_list):
        what = f"{stray} chunk(s) belong to a list that is gone"
        yield damage("bits", what, _LIST, RESTORE_STATE)
    for no, bits in work_lists.resolved_rows(db, work_list).items():
        size = rows_of_chunk(no, work_list.rows)
        if size <= 0 or (bits is not None and not _fits(bits, size)):
            what = f"the bitmap of chunk {no} has not the size that the list needs"
            yield damage("bits", what, _LIST, RESTORE_STATE)


def _fits(bits: bytes, size: int) -> bool:
    return len(bits) == len(bitmap.empty(size)) and not int.from_bytes(bits, "little") >> size


def check_inputs(db: sqlite3.Connection) -> Iterator[Finding]:
    """The control totals of every input that was listed."""
    for one in work_lists.all_inputs(db):
        lines = one.bad + one.duplicate + one.distinct
        distinct = one.resolved_before + one.listed + one.too_young
        if one.lines != lines or one.distinct != distinct:
            what = (
                f"{one.lines} lines, but {one.bad} bad + {one.duplicate} duplicate + "
                f"{one.distinct} distinct; of those {one.resolved_before} resolved + "
                f"{one.listed} listed + {one.too_young} too young"
            )
            yield damage("control_totals", what, f"state.db: input {one.key}", RESTORE_STATE)


def check_states(db: sqlite3.Connection) -> Iterator[Finding]:
    """Values that one transaction writes."""
    for table, kind, unknown in unresolved.of_unknown_runs(db):
        if unknown and not is_rebuilt(db):
            run, count = next(iter(unknown.items()))
            what = f"{count} {kind} are of run {run}, which the state database does not know"
            yield damage("run", what, f"state.db: {table}", RESTORE_STATE)
    for killed in run_records.unended_runs(db):
        what = f"run {killed.id} was killed; its control totals are as of its last acknowledgement"
        yield note("killed_run", what, "state.db: run", "The next run closes its control totals.")
