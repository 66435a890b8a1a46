"""The journal's rows, and the ledger's side of a publication: which range, which files, how far.

States: prepared (P1: a range was chosen), committed (P3: its files are staged, durable and named
here; from now on it is only ever finished), live (P5: the files are in place and the range is gone
from the journal).

A rewrite is a publication too, with an empty range: it names files that come and files that go.
From its commit point on, the files that come are committed, and those that go are live and marked
as superseded; once all folders are exchanged the former are live and the latter retired.  In
between a folder is either as before or as after, and what lies in it says which: `current_parts`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from harvester.state import database, journal
from harvester.state.database import exists, transaction
from harvester.state.values import JournalBlob, KnownPart, Note, PartRecord, Publication
from harvester.storage.output import is_change

_PART = "path, publication, rows, bytes, sha256, rewrite"
_PUBLICATION = "id, lo, hi, state, kind, note"
NOTED = Note()
_EMPTY = (1, 0)
"""The range of a publication that takes nothing from the journal."""


def prepare(db: sqlite3.Connection, max_bytes: int) -> Publication | None:
    """P1: choose the journal's oldest blobs, about `max_bytes` of undecoded answers; None if empty.

    A bounded range bounds the memory of the publication, however long the journal has grown.
    """
    lo = hi = first = None
    records = size = 0
    rows = db.execute("SELECT seq, n, bytes, kind FROM journal ORDER BY seq")
    for seq, n, n_bytes, kind in rows:
        first = kind if first is None else first
        if kind != first:
            break  # these go elsewhere: into cdr/ or into changes/
        lo = seq if lo is None else lo
        hi = seq
        records += n
        size += n_bytes
        if size >= max_bytes:
            break
    if lo is None or hi is None:
        return None
    kind = "change" if first == "again" else "append"
    with transaction(db):
        cursor = db.execute(
            "INSERT INTO publication (lo, hi, state, kind) VALUES (?, ?, 'prepared', ?)",
            (lo, hi, kind),
        )
        number = int(cursor.lastrowid or 0)
    return Publication(number, lo, hi, "prepared", records, size, kind=kind)


def next_blob(db: sqlite3.Connection, after: int, hi: int) -> tuple[int, str, bytes] | None:
    """(seq, run id, blob) of the journal's first one in after+1…hi; None behind the last."""
    row = db.execute(
        "SELECT seq, run, body FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1",
        (after, hi),
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]), bytes(row[2]))


def commit(
    db: sqlite3.Connection,
    publication: int,
    parts: Sequence[PartRecord],
    note: Note = NOTED,
) -> None:
    """P3, the commit point: the staged files are the data of this range from now on."""
    with transaction(db):
        _enter(db, parts, "committed")
        db.execute(
            "UPDATE publication SET state = 'committed', note = ? WHERE id = ?",
            (msgspec.json.encode(note).decode(), publication),
        )


def prepare_rewrite(db: sqlite3.Connection) -> int:
    """W1: the number of a rewrite."""
    with transaction(db):
        cursor = db.execute(
            "INSERT INTO publication (lo, hi, state, kind) VALUES (?, ?, 'prepared', 'rewrite')",
            _EMPTY,
        )
        return int(cursor.lastrowid or 0)


def commit_rewrite(  # noqa: PLR0917 - what a rewrite is
    db: sqlite3.Connection,
    rewrite: int,
    come: Sequence[PartRecord],
    go: Sequence[PartRecord],
    note: Note,
    also: Callable[[sqlite3.Connection], None] | None = None,
) -> None:
    """W3, the commit point: the staged files `come` stand for the files `go` from now on.

    `also` writes what has to be true from the same moment on.
    """
    with transaction(db):
        if also is not None:
            also(db)
        _enter(db, come, "committed")
        db.executemany(
            "UPDATE file SET superseded_by = ? WHERE path = ? AND state = 'live'",
            [(rewrite, part.path) for part in go],
        )
        db.execute(
            "UPDATE publication SET state = 'committed', note = ? WHERE id = ?",
            (msgspec.json.encode(note).decode(), rewrite),
        )


def leaving_files(db: sqlite3.Connection) -> list[tuple[int, str]]:
    """(rewrite, command) of each that has left a file behind, in OUT/dropped/."""
    return [
        (one.id, one.note.command)
        for one in all_publications(db)
        if one.note is not None
        and one.note.command in {"drop", "erase"}
        and one.state != "prepared"
    ]


def retire(db: sqlite3.Connection, rewrite: int, now_ms: int) -> None:
    """W5: every folder is as after, durable; the files that went are kept for a while."""
    with transaction(db):
        db.execute("UPDATE publication SET state = 'live' WHERE id = ?", (rewrite,))
        db.execute("UPDATE file SET state = 'live' WHERE rewrite = ?", (rewrite,))
        db.execute(
            "UPDATE file SET state = 'retired', retired_ms = ? WHERE superseded_by = ?",
            (now_ms, rewrite),
        )


def folded(db: sqlite3.Connection) -> dict[str, int]:
    """Folder of cdr/ -> the newest change that rewrites have folded into its rows."""
    found: dict[str, int] = {}
    rows = db.execute(
        "SELECT note FROM publication WHERE kind = 'rewrite' AND note IS NOT NULL ORDER BY id"
    )
    for (note,) in rows:
        found |= msgspec.json.decode(note, type=Note).folded
    return found


def newest_live(db: sqlite3.Connection) -> int:
    """The highest number of a publication that is live; 0 for none."""
    query = "SELECT COALESCE(MAX(id), 0) FROM publication WHERE state = 'live'"
    return database.one_number(db, query)


def newest_number(db: sqlite3.Connection) -> int:
    """The highest number that a publication ever had."""
    return database.newest_number(db, "publication")


def forget_retired(db: sqlite3.Connection, rewrite: int) -> None:
    """W6: what `rewrite` took out of the data set is gone from the disk."""
    with transaction(db):
        db.execute("DELETE FROM file WHERE state = 'retired' AND superseded_by = ?", (rewrite,))


def retired_at(db: sqlite3.Connection) -> dict[int, int]:
    """Rewrite -> when the files that it took out of the data set were retired (ms)."""
    rows = db.execute(
        "SELECT superseded_by, MAX(retired_ms) FROM file WHERE state = 'retired' GROUP BY 1"
    )
    return {int(rewrite): int(at) for rewrite, at in rows}


def _enter(db: sqlite3.Connection, parts: Sequence[PartRecord], state: str) -> None:
    db.executemany(
        f"INSERT INTO file ({_PART}, state) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        [(p.path, p.publication, p.rows, p.bytes, p.sha256, p.rewrite, state) for p in parts],
    )


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
        db.execute(
            "UPDATE file SET state = 'live' WHERE publication = ? AND state = 'committed'",
            (publication.id,),
        )
        db.execute(
            "DELETE FROM journal WHERE seq BETWEEN ? AND ?", (publication.lo, publication.hi)
        )


def drop_prepared(db: sqlite3.Connection) -> list[int]:
    """Forget publications that never reached their commit point; returns their numbers."""
    with transaction(db):
        rows = db.execute("SELECT id FROM publication WHERE state = 'prepared'").fetchall()
        db.execute("DELETE FROM publication WHERE state = 'prepared'")
    return [int(number) for (number,) in rows]


def unfinished(db: sqlite3.Connection) -> list[Publication]:
    """Committed publications that aren't live yet, oldest first."""
    rows = db.execute(
        f"SELECT {_PUBLICATION} FROM publication WHERE state = 'committed' "  # noqa: S608
        "ORDER BY id"
    )
    return [_publication(*row) for row in rows]


def parts_of(db: sqlite3.Connection, publication: int) -> list[PartRecord]:
    """The files that one publication puts into the data set."""
    rows = db.execute(
        f"SELECT {_PART} FROM file WHERE COALESCE(rewrite, publication) = ? "  # noqa: S608
        "ORDER BY path",
        (publication,),
    )
    return [PartRecord(*row) for row in rows]


def superseded_parts(db: sqlite3.Connection, rewrite: int) -> list[PartRecord]:
    """The files that a rewrite takes out of the data set."""
    rows = db.execute(
        f"SELECT {_PART} FROM file WHERE superseded_by = ? ORDER BY path",  # noqa: S608
        (rewrite,),
    )
    return [PartRecord(*row) for row in rows]


def known_parts(db: sqlite3.Connection) -> dict[str, KnownPart]:
    """Every file that the state database knows, by path; retired ones lie under cdr/ no more."""
    rows = db.execute(
        f"SELECT {_PART}, state, superseded_by, retired_ms FROM file"  # noqa: S608
    )
    return {
        row[0]: KnownPart(*row[:6], state=row[6], superseded_by=row[7], retired_ms=row[8])
        for row in rows
    }


def all_publications(db: sqlite3.Connection) -> list[Publication]:
    """Every publication, oldest first, with how many of its records the journal still holds."""
    rows = db.execute(
        f"SELECT {_PUBLICATION}, (SELECT COALESCE(SUM(n), 0) FROM journal "  # noqa: S608
        "WHERE seq BETWEEN lo AND hi) FROM publication ORDER BY id"
    )
    return [_publication(*row) for row in rows]


def _publication(  # noqa: PLR0917 - a row
    id_: int, lo: int, hi: int, state: str, kind: str, note: str | None, records: int = 0
) -> Publication:
    decoded = None if note is None else msgspec.json.decode(note, type=Note)
    return Publication(id_, lo, hi, state, records, kind=kind, note=decoded)


def current_parts(
    db: sqlite3.Connection,
    place_of: Callable[[str], Path],
    since: int = 0,
    *,
    changes: bool = False,
) -> list[PartRecord]:
    """The files of cdr/, or of changes/, by path; only those whose publication is `since` or later.

    `place_of`: where a path lies (`Output.place_of`).  Where a rewrite past its commit point is not
    finished, what lies in each of its folders says whether that is as before or as after.
    """
    rows = db.execute(
        f"SELECT {_PART} FROM file WHERE state = 'live' AND publication >= ? AND "  # noqa: S608
        "superseded_by IS NULL ORDER BY path",
        (since,),
    )
    parts = [PartRecord(*row) for row in rows]
    if exists(db, "publication WHERE state = 'committed' AND kind = 'rewrite'"):
        parts += [part for part in _of_unfinished(db, place_of) if part.publication >= since]
        parts.sort(key=lambda part: part.path)
    return [part for part in parts if is_change(part.path) == changes]


def committed_paths(db: sqlite3.Connection) -> set[str]:
    """The files of publications of the journal that are committed: in their places, or not yet."""
    rows = db.execute("SELECT path FROM file WHERE state = 'committed' AND rewrite IS NULL")
    return {str(path) for (path,) in rows}


def _of_unfinished(db: sqlite3.Connection, place_of: Callable[[str], Path]) -> Iterator[PartRecord]:
    for rewrite in unfinished(db):
        if rewrite.is_rewrite:
            come = parts_of(db, rewrite.id)
            exchanged = {part.folder for part in come if place_of(part.path).exists()}
            yield from (part for part in come if part.folder in exchanged)
            # For a folder that leaves nothing comes: it is there, or not any more.
            replaced = {part.folder for part in come}
            go = superseded_parts(db, rewrite.id)
            for part in go:
                is_there = part.folder in replaced or place_of(part.folder).exists()
                if part.folder not in exchanged and is_there:
                    yield part


def journal_size(db: sqlite3.Connection, kind: str | None = None) -> tuple[int, int]:
    """(records, bytes of undecoded answers) that wait in the journal; of `kind`, or of both."""
    n, size = db.execute(
        "SELECT COALESCE(SUM(n), 0), COALESCE(SUM(bytes), 0) FROM journal "
        "WHERE ? IS NULL OR kind = ?",
        (kind, kind),
    ).fetchone()
    return int(n), int(size)


def journal_blobs(
    db: sqlite3.Connection, run_id: str | None = None, kind: str | None = None
) -> Iterator[JournalBlob]:
    """The journal's rows, oldest first, one in memory at a time; of `run_id` or of all runs, of
    `kind` or of both.
    """
    rows = db.execute(
        "SELECT seq, run, n, bytes, body, kind FROM journal "
        "WHERE (? IS NULL OR run = ?) AND (? IS NULL OR kind = ?) ORDER BY seq",
        (run_id, run_id, kind, kind),
    )
    for row in rows:
        yield JournalBlob(*row)


def notes_since(db: sqlite3.Connection, publication: int) -> list[tuple[int, Note]]:
    """Number and note of the publications of the journal above `publication` whose files are in
    place.
    """
    rows = db.execute(
        "SELECT id, note FROM publication "
        "WHERE id > ? AND state = 'live' AND kind != 'rewrite' AND note IS NOT NULL ORDER BY id",
        (publication,),
    )
    return [(int(number), msgspec.json.decode(note, type=Note)) for number, note in rows]


def live_rows(db: sqlite3.Connection) -> int:
    """The rows of cdr/, as the state database has them."""
    rows = db.execute("SELECT path, rows FROM file WHERE state = 'live'")
    return sum(int(found) for path, found in rows if not is_change(path))


def has_live_parts(db: sqlite3.Connection) -> bool:
    """Whether anything was ever published."""
    return exists(db, "file WHERE state = 'live'")


def known_id(db: sqlite3.Connection) -> str | None:
    """Some id that was resolved, and is not in the data set's files; None if there is none."""
    row = db.execute(
        "SELECT run, body FROM journal WHERE kind = 'new' ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    if row is not None:
        return journal.decode(row[1], row[0])[-1].voice_id
    row = db.execute(
        "SELECT id FROM open_call UNION ALL SELECT id FROM dead_letter ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])
