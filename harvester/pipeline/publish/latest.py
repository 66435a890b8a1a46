"""runs/latest.json: which files the last command brought and which it took away.

For jobs that copy the data set or load it elsewhere: they need not compare thousands of names, and
after a compaction they must not have the same calls twice.  It is written when an output is let go,
if anything was published since it was written last; `since` says up to which publication the one
before went, so that a job which has missed one knows it.  After a rebuild nobody knows which files
a job has: `since` is a number then that no job can have seen, and all files are told anew.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

import msgspec

from harvester.dataset.changes import changes_of
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.origin import numbers_of
from harvester.state import publications
from harvester.state.database import get_meta, set_meta, transaction
from harvester.state.values import PartRecord
from harvester.storage.atomic_files import NewFile
from harvester.storage.output import Output, is_change

_THROUGH = "latest_through"
NAME = "latest.json"


class File(msgspec.Struct, frozen=True):
    """A file of the data set."""

    path: str
    """Relative to the output's folder."""
    date: str
    """Of its folder."""
    rows: int
    bytes: int
    sha256: str
    publication: int


class Latest(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in runs/latest.json."""

    version: int = 1
    written_ms: int
    since: int
    """The publications after this one are told here."""
    through: int
    """The newest of them."""
    new: tuple[File, ...]
    """Files that came, and are still there."""
    superseded: tuple[str, ...]
    """Paths of files that are there no more: their calls are in new files, or were dropped."""


def write_latest(db: sqlite3.Connection, output: Output) -> None:
    """Write it, if anything was published since the last time.  Raises OSError, sqlite3.Error."""
    since, through = int(get_meta(db, _THROUGH) or 0), publications.newest_live(db)
    if through <= since:
        return
    new = (part for part in _parts(db, output) if part.brought_by > since)
    _write(output, since, through, new, _superseded(db, output, since))
    with transaction(db):
        set_meta(db, _THROUGH, str(through))


def begin_anew(db: sqlite3.Connection, number: int) -> None:
    """No job knows what is told from here on; `number`: one that no publication has."""
    with transaction(db):
        set_meta(db, _THROUGH, str(number))


def write_anew(db: sqlite3.Connection, output: Output) -> None:
    """Write it with all files, after `begin_anew`.  Raises OSError, sqlite3.Error."""
    through = int(get_meta(db, _THROUGH) or 0)
    _write(output, through, through, _parts(db, output), ())


def _parts(db: sqlite3.Connection, output: Output) -> list[PartRecord]:
    return [
        *publications.current_parts(db, output.place_of),
        *publications.current_parts(db, output.place_of, changes=True),
    ]


def _write(
    output: Output,
    since: int,
    through: int,
    new: Iterable[PartRecord],
    superseded: Iterable[str],
) -> None:
    latest = Latest(
        written_ms=time.time_ns() // 1_000_000,
        since=since,
        through=through,
        new=tuple(_files(output, new)),
        superseded=tuple(superseded),
    )
    with NewFile(output.runs / NAME) as file:
        file.stream.write(msgspec.json.format(msgspec.json.encode(latest)) + b"\n")
        file.commit()


def _files(output: Output, parts: Iterable[PartRecord]) -> Iterable[File]:
    for part in parts:
        place = output.place_of(part.path).relative_to(output.root)
        date = part.folder.partition("=")[2]
        yield File(place.as_posix(), date, part.rows, part.bytes, part.sha256, part.brought_by)


def _superseded(db: sqlite3.Connection, output: Output, since: int) -> Iterable[str]:
    """From the notes: what a rewrite took out may be swept from the tables already.

    A file that came and went between two of these is not told: nobody has it.
    """
    for one in publications.all_publications(db):
        if one.note is None or one.id <= since or one.state != "live":
            continue
        paths = [path for old in one.note.made_of.values() for path in old]
        for path in (*paths, *one.note.went):
            if _brought_by(path) <= since:
                yield output.place_of(path).relative_to(output.root).as_posix()


def _brought_by(path: str) -> int:
    publication, rewrite = numbers_of(
        path, changes_of(GROUP_RECORD) if is_change(path) else GROUP_RECORD
    )
    return publication if rewrite is None else rewrite
