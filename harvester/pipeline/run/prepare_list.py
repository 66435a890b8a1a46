"""From a user's files to the work list in force.

Theory of operation.  There is one list per output.  A new input makes a new list: its own ids that
are not settled (rank 0), then what the old list still holds (rank 1), then ids whose record the
data set has and that are fetched again (rank 2).  The new one replaces the
old in one transaction, after its file is durable; so at any moment there is exactly one list, and
no id that was ever listed is forgotten.  The input that the list was last made for needs no new
one: its progress is in the bitmaps.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from harvester.config import Input, Plan
from harvester.dataset.kind import RecordKind
from harvester.errors import UsageError
from harvester.inputs.discover import IdFile
from harvester.inputs.fingerprint import Fingerprint, Stamp, fingerprint
from harvester.inputs.id_dates import stamp_of
from harvester.inputs.worklist.build_process import ListResult, ListSpec, make_list
from harvester.inputs.worklist.reader import ListFile, write_ids
from harvester.inputs.worklist.spec import Selection
from harvester.pipeline.run.refetch import Ordered, selection_of
from harvester.pipeline.run.requests import RefetchRequest
from harvester.state import between_runs, listings, publications, unresolved, work_lists
from harvester.state.database import newest_number
from harvester.state.values import (
    CHUNK_ROWS,
    FileStamp,
    InputRecord,
    WorkList,
    chunks_of,
    rows_of_chunk,
)
from harvester.storage import dropped
from harvester.storage.output import Output


class Listing(msgspec.Struct, frozen=True):
    """The list that a run works down, and what became of its input's lines."""

    work_list: WorkList | None
    input: InputRecord | None
    result: ListResult | None
    """Only where the list was made just now."""


class Places(msgspec.Struct, frozen=True):
    """Where a list that is being made puts its files."""

    list: Path
    ids: Path
    """All distinct ids of the input; made only where there is an input."""
    bad_ids: Path
    scratch: Path
    old_lists: Path
    """The folder of the list in force."""
    dropped: tuple[Path, ...] = ()
    """Files of ids that were dropped: they stay resolved."""


def list_input(  # noqa: PLR0917 - what a list is made of
    db: sqlite3.Connection,
    output: Output,
    settings: Input,
    plan: Plan,
    files: Sequence[IdFile] | None,
    run_dir: Path,
) -> Listing:
    """The list for the ids of `files`; None: no input is read, and the one in force counts.

    An input without ids (also one of no files) is an input like others: its list holds what was
    carried over.

    Raises SourceError before anything is changed if an id file can't be read.
    """
    current = work_lists.current_list(db)
    if files is None:
        known = work_lists.find_input(db, current.input_key) if current else None
        return Listing(current, known, None)
    print_ = fingerprint(files, settings.column, known_stamps(db))
    known = work_lists.find_input(db, print_.key)
    if current and known and is_in_force(current, known):
        work_lists.remember_stamps(db, _stamps(print_))
        return Listing(current, known, None)
    number = work_lists.next_list_id(db)
    places = _places(output, number, run_dir)
    result = draft_list(db, settings, plan, files, places, data_glob=data_glob(db, output))
    record = _input_record(print_.key, result)
    ids_path = places.ids.name if files else None
    new = _work_list(number, print_.key, places.list.name, ids_path, result)
    # What was pending is listed or carried over; whatever else is listed is new to the output.
    carried = (current.pending_new if current else 0) - result.carried_over
    new_ids_ms = record.first_listed_ms if result.listed > carried else None
    work_lists.replace_list(
        db, new, input_record=record, stamps=_stamps(print_), new_ids_ms=new_ids_ms
    )
    return Listing(new, work_lists.find_input(db, print_.key), result)


def is_in_force(current: WorkList, known: InputRecord) -> bool:
    """Whether the list in force is all that there is to make of a known input.

    It is not while ids of it were too young: they may be old enough by now.
    """
    return current.input_key == known.key and not known.too_young


def list_retry(  # noqa: PLR0917 - what a list is made of
    db: sqlite3.Connection,
    output: Output,
    settings: Input,
    plan: Plan,
    reason: str | None,
    run_dir: Path,
) -> Listing:
    """A list that asks the dead letters (of one `reason`) again, then what is pending."""
    chosen = unresolved.retryable_ids(db, reason)
    number = work_lists.next_list_id(db)
    places = _places(output, number, run_dir)
    result = draft_list(
        db, settings, plan, [], places, data_glob=data_glob(db, output), retried=chosen
    )
    new = _work_list(number, None, places.list.name, None, result)
    work_lists.replace_list(db, new, retrying=chosen)
    return Listing(new, None, result)


def list_again(  # noqa: PLR0917 - what a list is made of
    db: sqlite3.Connection,
    output: Output,
    settings: Input,
    plan: Plan,
    selection: Selection,
    key: str,
    run_dir: Path,
    *,
    has_taken: bool = False,
) -> Listing:
    """A list with the ids of the data set that `selection` names, behind what is pending.

    `key` stands for the selection: where ids of the same one are pending, the list goes on.
    Raises UsageError for a sample that would be mixed with others.  `has_taken`: see
    `work_lists.replace_list`.
    """
    current = work_lists.current_list(db)
    ordered = work_lists.refetched_for(db, Ordered)
    if current and current.pending_again and ordered and ordered.key == key:
        return Listing(current, None, None)
    if current and current.pending_again and selection.share is not None:
        raise UsageError(
            f"{current.pending_again} ids of another refetch are pending, and would be taken for "
            "ids of the sample. Let `harvester run --carried-over-only` fetch them first.",
            code="usage.conflict",
        )
    number = work_lists.next_list_id(db)
    places = _places(output, number, run_dir)
    result = draft_list(
        db, settings, plan, [], places, data_glob=data_glob(db, output), selection=selection
    )
    new = _work_list(number, None, places.list.name, None, result)
    assert result.chosen is not None, "there was a selection"
    ordered = Ordered(
        key=key,
        what=selection.what,
        share=selection.share,
        chosen=result.chosen,
        since=newest_number(db, "publication"),
    )
    work_lists.replace_list(db, new, refetch=ordered, has_taken=has_taken)
    return Listing(new, None, result)


def list_taken(  # noqa: PLR0917 - what a list is made of
    db: sqlite3.Connection,
    output: Output,
    kind: RecordKind,
    settings: Input,
    plan: Plan,
    run_dir: Path,
) -> int:
    """Put what was taken from pages, and is not believed any more, on the list, to be fetched again
    singly; how many ids.  All of it is published.
    """
    with tempfile.TemporaryDirectory(prefix="taken-", dir=output.staging) as at:
        file = Path(at) / "taken.txt"
        with file.open("w", encoding="ascii", newline="\n") as out:
            for ids in listings.taken_ids(db):
                out.writelines(f"{voice_id}\n" for voice_id in ids)
        files = (IdFile(str(file), "txt"),)
        wanted = RefetchRequest(what="delivered")
        selection = selection_of(db, output, kind, wanted, files, 0, "")
        key = f"taken {work_lists.next_list_id(db)}"
        listing = list_again(db, output, settings, plan, selection, key, run_dir, has_taken=True)
    assert listing.result is not None, "its key is of this list alone"
    return listing.result.again


def draft_list(
    db: sqlite3.Connection | None,
    settings: Input,
    plan: Plan,
    files: Sequence[IdFile],
    places: Places,
    *,
    data_glob: str | None,
    retried: Sequence[str] = (),
    selection: Selection | None = None,
) -> ListResult:
    """Make a list, and change nothing else.  `db` None: nothing was ever asked."""
    scratch = places.scratch
    names = ("settled", "left", "retried", "again")
    settled, carried_over, of_dead, again = (scratch / f"{name}.parquet" for name in names)
    pending_again = 0
    if db is not None:
        write_ids(settled, work_lists.resolved_ids(db, frozenset(retried)))
        write_ids(carried_over, _pending_ids(db, places.old_lists, again=False))
        pending_again = write_ids(again, _pending_ids(db, places.old_lists, again=True))
    if retried:
        write_ids(of_dead, [retried])
    spec = ListSpec(
        files=tuple(files),
        column=settings.column,
        data_glob=data_glob,
        resolved=(*([str(settled)] if db is not None else []), *map(str, places.dropped)),
        carried_over=str(carried_over) if db is not None else None,
        retried=str(of_dead) if retried else None,
        selection=selection,
        again=str(again) if pending_again else None,
        list_path=str(places.list),
        input_path=str(places.ids) if files else None,
        bad_ids_path=str(places.bad_ids),
        scratch=str(scratch),
        memory_limit=plan.memory_limit,
        max_bad_share=settings.max_bad_share,
        too_young=_too_young(db, settings.min_age_s),
    )
    return make_list(spec)


def _too_young(db: sqlite3.Connection | None, min_age_s: float) -> tuple[str, str] | None:
    """The stamps between which ids are held back; None: none are.

    An id that dates itself beyond tomorrow is not dated by its digits: it would wait for ever.
    """
    if not min_age_s:
        return None
    now_ms = time.time_ns() // 1_000_000
    if db is not None:
        now_ms = between_runs.latest_ms(db, now_ms)
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return stamp_of(now - timedelta(seconds=min_age_s)), stamp_of(now + timedelta(days=1))


def known_stamps(db: sqlite3.Connection) -> dict[str, Stamp]:
    """How each file looked when it was read last, by resolved path."""
    return {
        path: Stamp(s.path, s.inode, s.size, s.mtime_ns, s.ctime_ns, s.xxh128)
        for path, s in work_lists.known_stamps(db).items()
    }


def data_glob(db: sqlite3.Connection, output: Output) -> str | None:
    """What to read the delivered ids from; None while nothing is published."""
    return output.data_glob if publications.has_live_parts(db) else None


def _pending_ids(db: sqlite3.Connection, lists: Path, *, again: bool) -> Iterator[list[str]]:
    """The old list's ids that aren't settled, chunk by chunk: those that the data set has
    (`again`), or the others.
    """
    old = work_lists.current_list(db)
    if old is None or not (old.pending_again if again else old.pending_new):
        return
    bits = work_lists.resolved_rows(db, old)
    with ListFile(lists / old.path) as ids:
        for no in range(chunks_of(old.rows)):
            rows = work_lists.pending_rows(old, bits, no)
            new = rows_of_chunk(no, old.new)
            pending = [row for row in rows if (row >= new) is again]
            if pending:
                chunk = ids.chunk(no, CHUNK_ROWS)[0]
                yield [chunk[row] for row in pending]


def draft_places(output: Output, scratch: Path) -> Places:
    """Where a list that is only looked at is made.  Raises StoreError."""
    return Places(
        scratch / "list.parquet",
        scratch / "ids.parquet",
        scratch / "bad_ids.jsonl",
        scratch,
        output.lists,
        tuple(dropped.checked_files(output.dropped)),
    )


def _places(output: Output, number: int, run_dir: Path) -> Places:
    return Places(
        output.lists / f"list-{number}.parquet",
        output.lists / f"input-{number}.parquet",
        run_dir / "bad_ids.jsonl",
        output.staging,
        output.lists,
        tuple(dropped.checked_files(output.dropped)),
    )


def _work_list(
    number: int, key: str | None, path: str, ids_path: str | None, result: ListResult
) -> WorkList:
    listed, retried, carried_over = result.listed, result.retried, result.carried_over
    return WorkList(number, key, path, ids_path, listed, retried, carried_over, again=result.again)


def _input_record(key: str, result: ListResult) -> InputRecord:
    return InputRecord(
        key,
        result.lines,
        result.bad,
        result.duplicate,
        result.distinct,
        result.resolved,
        result.listed,
        time.time_ns() // 1_000_000,
        result.too_young,
    )


def _stamps(print_: Fingerprint) -> list[FileStamp]:
    return [
        FileStamp(s.path, s.inode, s.size, s.mtime_ns, s.ctime_ns, s.xxh128) for s in print_.trusted
    ]
