"""Acknowledgement: the one transaction after which no crash loses an outcome.

Theory of operation.  A batch's journal blob, its progress bits, the changes to open calls, dead
letters and deferred ids, and the run's counters are committed together or not at all.  So a bit is
set exactly when its outcome is kept, and the books of a run that was killed are as true as those
of one that ended.  Compression happens before the transaction begins: it holds the writer's time,
not the disk's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from harvester.errors import StoreError
from harvester.state import journal, listings, unresolved
from harvester.state.between_runs import keep_requests_of_day
from harvester.state.database import transaction
from harvester.state.values import Batch, WorkList, rows_of_chunk
from harvester.storage import bitmap


def acknowledge(
    db: sqlite3.Connection,
    run_id: str,
    batch: Batch,
    *,
    work_list: WorkList | None,
    counters: Mapping[str, int],
    requests_of_day: tuple[str, int],
) -> int:
    """Commit `batch`; afterwards all of it is acknowledged.

    `counters` are the run's, as of this batch; `requests_of_day` is (day of +08:00, requests sent
    in it).  Returns the bytes of undecoded answers that the journal took in.  Raises StoreError if
    an id of the batch is resolved already.
    """
    kinds = (("new", batch.entries), ("again", batch.again))
    blobs = [(kind, len(found), *journal.encode(found)) for kind, found in kinds if found]
    with transaction(db):
        for kind, records, body, size in blobs:
            db.execute(
                "INSERT INTO journal (run, n, bytes, body, kind) VALUES (?, ?, ?, ?, ?)",
                (run_id, records, size, body, kind),
            )
        if work_list is not None:
            _mark_settled(db, work_list, batch)
        _change_open_calls(db, batch)
        unresolved.remove_dead_letters(db, batch.revived)
        unresolved.remove_published(db, batch.corrected)
        unresolved.put_dead_letters(db, batch.dead_letters)
        unresolved.remove_deferred(db, batch.recovered)
        unresolved.put_deferred(db, batch.deferred)
        if batch.by_pages:
            listings.keep_taken(db, run_id, batch.by_pages)
        db.execute(
            "UPDATE run SET counters = ? WHERE id = ?",
            (msgspec.json.encode(counters).decode(), run_id),
        )
        keep_requests_of_day(db, requests_of_day)
    return sum(size for *_, size in blobs)


def _mark_settled(db: sqlite3.Connection, work_list: WorkList, batch: Batch) -> None:
    for no, rows in batch.resolved_rows.items():
        size = rows_of_chunk(no, work_list.rows)
        if min(rows) < 0 or max(rows) >= size:
            raise StoreError(_no_such_row(no, rows, size), code="state.contradiction")
        found = db.execute(
            "SELECT bits FROM chunk WHERE list = ? AND no = ?", (work_list.id, no)
        ).fetchone()
        bits = bitmap.empty(size) if found is None else found[0]
        if bits is None:
            raise StoreError(_settled_twice(no, rows), code="state.contradiction")
        try:
            bits = bitmap.with_rows(bits, rows)
        except ValueError as exc:
            raise StoreError(_settled_twice(no, rows), code="state.contradiction") from exc
        is_done = bitmap.count(bits) == size
        db.execute(
            "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?)",
            (work_list.id, no, None if is_done else bits),
        )
    if batch.resolved_rows:
        db.execute(
            "UPDATE list SET delivered = delivered + ?, open = open + ?, dead = dead + ?, "
            "refetched = refetched + ? WHERE id = ?",
            (
                batch.list_delivered,
                batch.list_open,
                batch.list_dead,
                batch.list_refetched,
                work_list.id,
            ),
        )


def _change_open_calls(db: sqlite3.Connection, batch: Batch) -> None:
    if batch.closed_calls:
        closed = unresolved.remove_open_calls(db, batch.closed_calls)
        if closed != len(batch.closed_calls):
            raise StoreError(_closed_twice(batch.closed_calls), code="state.contradiction")
    unresolved.put_open_calls(db, batch.open_calls)


def _settled_twice(no: int, rows: list[int]) -> str:
    return (
        f"an id of chunk {no} (one of its rows {rows[:5]}…) would be resolved twice. Nothing of "
        "this batch was kept: run the same command again, and please report this."
    )


def _no_such_row(no: int, rows: list[int], size: int) -> str:
    return (
        f"chunk {no} of the work list has {size} rows, but one of {rows[:5]}… would be resolved. "
        "Nothing of this batch was kept: run the same command again, and please report this."
    )


def _closed_twice(ids: list[str]) -> str:
    return (
        f"an open call that is closed already (one of {ids[:5]}…) would be resolved twice. Nothing "
        "of this batch was kept: run the same command again, and please report this."
    )
