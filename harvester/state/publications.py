"""The journal's rows, and the ledger's side of a publication: which range, which files, how far.

States: prepared (P1: a range was chosen), committed (P3: its files are staged, durable and named
here; from now on it is only ever finished), live (P5: the files are in place and the range is gone
from the journal).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from harvester.state import journal
from harvester.state.database import exists, transaction
from harvester.state.values import JournalBlob, KnownPart, PartRecord, Publication


def prepare(db: sqlite3.Connection, max_bytes: int) -> Publication | None:
    """P1: choose the journal's oldest blobs, about `max_bytes` of undecoded answers; None if empty.

    A bounded range bounds the memory of the publication, however long the journal has grown.
    """
    lo = hi = None
    records = size = 0
    for seq, n, n_bytes in db.execute("SELECT seq, n, bytes FROM journal ORDER BY seq"):
        lo = seq if lo is None else lo
        hi = seq
        records += n
        size += n_bytes
        if size >= max_bytes:
            break
    if lo is None or hi is None:
        return None
    with transaction(db):
        cursor = db.execute(
            "INSERT INTO publication (lo, hi, state) VALUES (?, ?, 'prepared')", (lo, hi)
        )
        number = int(cursor.lastrowid or 0)
    return Publication(number, lo, hi, "prepared", records, size)


def next_blob(db: sqlite3.Connection, after: int, hi: int) -> tuple[int, str, bytes] | None:
    """(seq, run id, blob) of the journal's first one in after+1…hi; None behind the last."""
    row = db.execute(
        "SELECT seq, run, body FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1",
        (after, hi),
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]), bytes(row[2]))


def commit(db: sqlite3.Connection, publication: int, parts: Sequence[PartRecord]) -> None:
    """P3, the commit point: the staged files are the data of this range from now on."""
    with transaction(db):
        db.executemany(
            "INSERT INTO file VALUES (?, ?, ?, ?, ?, 'committed')",
            [(p.path, publication, p.rows, p.bytes, p.sha256) for p in parts],
        )
        db.execute("UPDATE publication SET state = 'committed' WHERE id = ?", (publication,))


def amend(db: sqlite3.Connection, part: PartRecord) -> None:
    """Note that a committed part that was lost has been made again, with another hash."""
    with transaction(db):
        db.execute(
            "UPDATE file SET bytes = ?, sha256 = ? WHERE path = ? AND state = 'committed'",
            (part.bytes, part.sha256, part.path),
        )


def make_live(db: sqlite3.Connection, publication: Publication) -> None:
    """P5: the files are durable in their places, so the journal's range may go."""
    with transaction(db):
        db.execute("UPDATE publication SET state = 'live' WHERE id = ?", (publication.id,))
        db.execute("UPDATE file SET state = 'live' WHERE publication = ?", (publication.id,))
        db.execute(
            "DELETE FROM journal WHERE seq BETWEEN ? AND ?", (publication.lo, publication.hi)
        )


def drop_prepared(db: sqlite3.Connection) -> int:
    """Forget publications that never reached their commit point; returns how many."""
    with transaction(db):
        return db.execute("DELETE FROM publication WHERE state = 'prepared'").rowcount


def unfinished(db: sqlite3.Connection) -> list[Publication]:
    """Committed publications that aren't live yet, oldest first."""
    rows = db.execute(
        "SELECT id, lo, hi, state FROM publication WHERE state = 'committed' ORDER BY id"
    )
    return [Publication(*row) for row in rows]


def parts_of(db: sqlite3.Connection, publication: int) -> list[PartRecord]:
    """The files of one publication."""
    rows = db.execute(
        "SELECT path, publication, rows, bytes, sha256 FROM file WHERE publication = ? "
        "ORDER BY path",
        (publication,),
    )
    return [PartRecord(*row) for row in rows]


def known_parts(db: sqlite3.Connection) -> dict[str, KnownPart]:
    """Every file that the state database knows, by path."""
    rows = db.execute("SELECT path, publication, state, rows, bytes FROM file")
    return {part.path: part for part in (KnownPart(*row) for row in rows)}


def all_publications(db: sqlite3.Connection) -> list[Publication]:
    """Every publication, oldest first, with how many of its records the journal still holds."""
    rows = db.execute(
        "SELECT id, lo, hi, state, (SELECT COALESCE(SUM(n), 0) FROM journal "
        "WHERE seq BETWEEN lo AND hi) FROM publication ORDER BY id"
    )
    return [Publication(*row) for row in rows]


def live_parts(db: sqlite3.Connection, since: int = 0) -> list[PartRecord]:
    """The data set's files, of publications from number `since` on."""
    rows = db.execute(
        "SELECT path, publication, rows, bytes, sha256 FROM file "
        "WHERE state = 'live' AND publication >= ? ORDER BY path",
        (since,),
    )
    return [PartRecord(*row) for row in rows]


def journal_size(db: sqlite3.Connection) -> tuple[int, int]:
    """(records, bytes of undecoded answers) that wait in the journal."""
    n, size = db.execute(
        "SELECT COALESCE(SUM(n), 0), COALESCE(SUM(bytes), 0) FROM journal"
    ).fetchone()
    return int(n), int(size)


def journal_blobs(db: sqlite3.Connection, run_id: str | None = None) -> Iterator[JournalBlob]:
    """The journal's rows, oldest first, one in memory at a time; of `run_id`, or of all runs."""
    rows = db.execute(
        "SELECT seq, run, n, bytes, body FROM journal WHERE ? IS NULL OR run = ? ORDER BY seq",
        (run_id, run_id),
    )
    for row in rows:
        yield JournalBlob(*row)


def has_live_parts(db: sqlite3.Connection) -> bool:
    """Whether anything was ever published."""
    return exists(db, "file WHERE state = 'live'")


def known_id(db: sqlite3.Connection) -> str | None:
    """Some id that was resolved, and is not in the data set's files; None if there is none."""
    row = db.execute("SELECT run, body FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
    if row is not None:
        return journal.decode(row[1], row[0])[-1].voice_id
    row = db.execute(
        "SELECT id FROM open_call UNION ALL SELECT id FROM dead_letter ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])
