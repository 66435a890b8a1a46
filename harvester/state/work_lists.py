"""The ledger's side of the work list: inputs, the list in force, its progress."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from harvester.state import journal, listings, publications, unresolved
from harvester.state.database import get_meta, newest_number, one_number, set_meta, transaction
from harvester.state.values import FileStamp, InputRecord, WorkList, rows_of_chunk
from harvester.storage import bitmap

_LIST_COLUMNS = (
    "id, input_key, path, ids_path, listed, retried, left_over, delivered, open, dead, again, "
    "refetched"
)
_NEW_IDS = "new_ids_ms"
_REFETCH = "refetch"

T = TypeVar("T", bound=msgspec.Struct)
_INPUT_COLUMNS = (
    "key, lines, bad, duplicate, distinct_ids, settled_before, listed, first_listed_ms, too_young"
)
_STAMP_COLUMNS = "path, inode, size, mtime_ns, ctime_ns, xxh128"


def current_list(db: sqlite3.Connection) -> WorkList | None:
    """The work list in force; None before the first one."""
    row = db.execute(f"SELECT {_LIST_COLUMNS} FROM list ORDER BY id DESC LIMIT 1").fetchone()  # noqa: S608
    return None if row is None else WorkList(*row)


def next_list_id(db: sqlite3.Connection) -> int:
    """A number that no list has had; names of list files are never used twice either."""
    return newest_number(db, "list") + 1


def replace_list(
    db: sqlite3.Connection,
    new: WorkList,
    *,
    input_record: InputRecord | None = None,
    stamps: Sequence[FileStamp] = (),
    retrying: Iterable[str] = (),
    new_ids_ms: int | None = None,
    refetch: msgspec.Struct | None = None,
    has_taken: bool = False,
) -> None:
    """Put `new` in force in place of the old list, in one transaction.

    What was pending on the old list is on the new one, so the old one's progress goes.
    `retrying` are the dead letters that `new` asks again.  `new_ids_ms`: when it was made, if it
    has ids that were never on a list of this output.  `refetch`: what its last rows are for.
    `has_taken`: it has what pages brought and is not believed any more (`listings.taken_ids`).
    """
    with transaction(db):
        db.execute("DELETE FROM chunk")
        db.execute("DELETE FROM list")
        db.execute(
            f"INSERT INTO list ({_LIST_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?, 0)",  # noqa: S608
            (
                new.id,
                new.input_key,
                new.path,
                new.ids_path,
                new.listed,
                new.retried,
                new.carried_over,
                new.again,
            ),
        )
        # Places on the old list mean nothing on the new one.
        db.execute("UPDATE deferred SET chunk = NULL, row = NULL")
        if new_ids_ms is not None:
            set_meta(db, _NEW_IDS, str(new_ids_ms))
        if refetch is not None:
            set_meta(db, _REFETCH, msgspec.json.encode(refetch).decode())
        if has_taken:
            listings.clear_taken(db)
        if input_record is not None:
            _remember_input(db, input_record, stamps)
        db.executemany("UPDATE dead_letter SET retrying = 1 WHERE id = ?", [(v,) for v in retrying])


def refetched_for(db: sqlite3.Connection, kind: type[T]) -> T | None:
    """What the latest list of ids to be fetched again was made for; None before the first."""
    noted = get_meta(db, _REFETCH)
    return None if noted is None else msgspec.json.decode(noted, type=kind)


def last_new_ids_ms(db: sqlite3.Connection) -> int | None:
    """When a list last had ids new to this output; before the first, when its first run began.

    None before that too.  A database of before this was noted is told by its inputs.
    """
    noted = get_meta(db, _NEW_IDS)
    if noted is not None:
        return int(noted)
    row = db.execute(
        "SELECT COALESCE((SELECT MAX(first_listed_ms) FROM input WHERE listed > 0), "
        "(SELECT MIN(started_ms) FROM run))"
    )
    return row.fetchone()[0]  # type: ignore[no-any-return]


def remember_stamps(db: sqlite3.Connection, stamps: Sequence[FileStamp]) -> None:
    """Note how files look now, so that they aren't read again next time."""
    with transaction(db):
        _write_stamps(db, stamps)


def known_stamps(db: sqlite3.Connection) -> dict[str, FileStamp]:
    """How each file that was ever read looked then, by path."""
    rows = db.execute(f"SELECT {_STAMP_COLUMNS} FROM input_file")  # noqa: S608
    return {str(row[0]): FileStamp(*row) for row in rows}


def find_input(db: sqlite3.Connection, key: str | None) -> InputRecord | None:
    """The books of an input that was listed before; None for a new one."""
    row = db.execute(f"SELECT {_INPUT_COLUMNS} FROM input WHERE key = ?", (key,)).fetchone()  # noqa: S608
    return None if row is None else InputRecord(*row)


def all_inputs(db: sqlite3.Connection) -> list[InputRecord]:
    """The books of every input that was listed."""
    return [InputRecord(*row) for row in db.execute(f"SELECT {_INPUT_COLUMNS} FROM input")]  # noqa: S608


def resolved_rows(db: sqlite3.Connection, work_list: WorkList) -> dict[int, bytes | None]:
    """The bitmap of each chunk that is begun; None for one that is done."""
    rows = db.execute("SELECT no, bits FROM chunk WHERE list = ?", (work_list.id,))
    return {int(no): bits for no, bits in rows}


def pending_rows(work_list: WorkList, bits: dict[int, bytes | None], no: int) -> list[int]:
    """The rows of chunk `no` that aren't settled, in order."""
    size = rows_of_chunk(no, work_list.rows)
    if no not in bits:
        return list(range(size))
    chunk = bits[no]
    return [] if chunk is None else list(bitmap.unset(chunk, size))


def resolved_count(
    work_list: WorkList, bits: Mapping[int, bytes | None], rows: int | None = None
) -> int:
    """How many rows of the list are settled by `bits`; with `rows`, of its first so many."""
    total = 0
    for no, chunk in bits.items():
        size = rows_of_chunk(no, work_list.rows)
        reach = size if rows is None else max(0, min(size, rows_of_chunk(no, rows)))
        if chunk is None:
            total += reach
        else:
            total += bitmap.count(chunk) if reach == size else bitmap.count(chunk, reach)
    return total


def pending_of_input(db: sqlite3.Connection, work_list: WorkList) -> int:
    """How many ids of the input that the list was made for (or of the retry) are pending."""
    rows = work_list.listed + work_list.retried
    return rows - resolved_count(work_list, resolved_rows(db, work_list), rows)


def resolved_ids(db: sqlite3.Connection, retried: Collection[str] = ()) -> Iterator[list[str]]:
    """Ids that are settled but not in the data set's files: journal, open calls, dead letters.

    Dead letters that are being retried, or are to be `retried`, are not settled.  In portions
    of bounded size.
    """
    for row in publications.journal_blobs(db, kind="new"):
        yield [answer.voice_id for answer in journal.answers_of(row)]
    yield from unresolved.open_ids(db)
    # A published dead letter is in the data as well: counted there.
    for portion in unresolved.dead_only_ids(db):
        yield [voice_id for voice_id in portion if voice_id not in retried]


def count_lists(db: sqlite3.Connection) -> int:
    """How many lists are in force: one at most, if nobody meddled."""
    return one_number(db, "SELECT COUNT(*) FROM list")


def stray_chunks(db: sqlite3.Connection, work_list: WorkList) -> int:
    """Chunks that have progress on another list than the one in force."""
    return one_number(db, "SELECT COUNT(*) FROM chunk WHERE list != ?", work_list.id)


def _remember_input(
    db: sqlite3.Connection, record: InputRecord, stamps: Sequence[FileStamp]
) -> None:
    # The first listing's date stays: exit code 3 is about deaths since then.
    db.execute(
        f"INSERT INTO input ({_INPUT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
        "ON CONFLICT (key) DO UPDATE SET "
        "lines = excluded.lines, bad = excluded.bad, duplicate = excluded.duplicate, "
        "distinct_ids = excluded.distinct_ids, settled_before = excluded.settled_before, "
        "listed = excluded.listed, too_young = excluded.too_young",
        (
            record.key,
            record.lines,
            record.bad,
            record.duplicate,
            record.distinct,
            record.resolved_before,
            record.listed,
            record.first_listed_ms,
            record.too_young,
        ),
    )
    _write_stamps(db, stamps)


def _write_stamps(db: sqlite3.Connection, stamps: Sequence[FileStamp]) -> None:
    db.executemany(
        f"INSERT OR REPLACE INTO input_file ({_STAMP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
        [(s.path, s.inode, s.size, s.mtime_ns, s.ctime_ns, s.xxh128) for s in stamps],
    )
