"""Which edit a folder gets: from what the state database names, and once more by a note.

Theory of operation.  A rewrite that a crash left past its commit point may have to make a folder
again, and must make the same one.  So its note says how far changes were folded in, and which
version the columns had; what came later is left for the next time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from harvester.dataset.group_record import of_version
from harvester.dataset.kind import RecordKind
from harvester.errors import StoreError
from harvester.pipeline.publish.folding import Fold, changes_by_folder, changes_in
from harvester.pipeline.publish.in_changes import InChanges, Without
from harvester.pipeline.publish.lifting import Lift
from harvester.pipeline.publish.merging import Edit, Source
from harvester.state import publications
from harvester.state.values import Note
from harvester.storage.output import Output, is_change

REPEATED = "compact"
"""The command whose rewrites can be made again by their note."""


class Unfolded(msgspec.Struct, frozen=True):
    """Changes of the rows of a folder that are not folded in."""

    changes: int
    newest: int
    """The publication of the newest one."""


def unfolded(db: sqlite3.Connection, output: Output, kind: RecordKind) -> dict[str, Unfolded]:
    """Folder of cdr/ -> its changes that are not folded in; without those that have none.

    Raises StoreError.
    """
    through = publications.folded(db)
    found = {}
    for folder, by_number in changes_by_folder(_changes(db, output), kind).items():
        later = {no: rows for no, rows in by_number.items() if no > through.get(folder, 0)}
        if later:
            found[folder] = Unfolded(sum(later.values()), max(later))
    return found


def fold(
    db: sqlite3.Connection, output: Output, kind: RecordKind, folder: str, through: int
) -> Callable[[], Edit]:
    """What makes the edit that folds changes into the rows of `folder`, those that came up to the
    publication `through`.
    """
    sources = _changes(db, output)
    return lambda: Fold(kind, changes_in(folder, sources, kind, through), folder)


def lift(
    folder: str, old: RecordKind, new: RecordKind, free_destinations: Sequence[str]
) -> Callable[[], Edit]:
    """What makes the edit that gives the rows of a folder of cdr/ or changes/ newer columns."""
    of_rows = partial(Lift, old, new, free_destinations)
    return (lambda: InChanges(of_rows())) if is_change(folder) else of_rows


def again(
    db: sqlite3.Connection, output: Output, kind: RecordKind, note: Note, folder: str
) -> Callable[[], Edit] | None:
    """See `rewrite.EditAgain`."""
    if note.lifted_from is not None:
        return lift(folder, of_version(note.lifted_from), kind, note.free_destinations)
    if note.dropped and is_change(folder):
        return partial(Without, kind, note.dropped)
    if folder in note.folded:
        return fold(db, output, kind, folder, note.folded[folder])
    if note.command != REPEATED:
        raise StoreError(
            f"the new files of {folder} are lost, and `harvester {note.command}` can't be repeated "
            "by what was kept of it. The disk has lost what it said was written: restore the "
            "output from a backup, and look at the disk.",
            code="data.part_lost",
        )
    return None


def _changes(db: sqlite3.Connection, output: Output) -> list[Source]:
    parts = publications.current_parts(db, output.place_of, changes=True)
    return [Source(output.place_of(part.path), part.sha256, part.publication) for part in parts]
