"""The files of the data set, that none of them is missing, and that they are what was written.

A file that somebody removed would only make the figures smaller, and a bit that a disk has lost
would make them others: nobody would see it.  So what lies under cdr/ and changes/ is held against
the state database, where that can be read; beside a run, or with the data alone, it can't, and what
is there is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from harvester.analysis.places import Places
from harvester.analysis.report.unfinished import Unknown, ask_ledger
from harvester.dataset.changes import changes_of
from harvester.dataset.files import file_sha256, list_parts
from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import StoreError
from harvester.state import publications


class DataFiles(msgspec.Struct, frozen=True):
    """What lies under cdr/ and changes/."""

    parts: tuple[str, ...]
    """Those of cdr/, relative to it."""
    changes: tuple[Path, ...]
    """All of changes/."""
    foreign: tuple[str, ...]
    """Files under cdr/ that are not ours."""
    hashes: Mapping[str, str] = {}
    """SHA-256 of the published ones, by their paths in the state database."""

    def refuse_damaged(self, places: Places, parts: Iterable[str]) -> None:
        """Raise StoreError if one of `parts`, or a file of changes/, is not what was published."""
        of_changes = (path.relative_to(places.changes).as_posix() for path in self.changes)
        for name in (*parts, *of_changes):
            path, known = places.place_of(name), self.hashes.get(name)
            # One that is gone by now is told when it is read.
            if known is not None and path.is_file() and file_sha256(path) != known:
                raise StoreError(
                    f"{path} was changed since it was published (sha256 differs): figures from it "
                    "would be wrong. Restore it from a backup; `harvester verify --deep` shows "
                    "what else is wrong.",
                    code="data.changed",
                )


def data_files(places: Places, command: str) -> DataFiles:
    """The files of the data set; `command` is who asks.

    Raises StoreError if a file is missing that was published, or a folder can't be listed.
    """
    published = _published(places, command)  # first: what is published meanwhile is more, not less
    listing = list_parts(places.cdr, GROUP_RECORD)
    changes = list_parts(places.changes, changes_of(GROUP_RECORD)).parts
    missing = sorted(published.keys() - listing.parts.keys() - changes.keys())
    if missing:
        raise StoreError(
            f"{places.place_of(missing[0])} is missing ({len(missing)} such file(s)), though the "
            "state database has it as published: its records would be left out of every figure. If "
            "`harvester compact` was at work at this moment, run the command again. Else restore "
            "the file from a backup; without one let `harvester rebuild` make the state again: "
            "what is missing is then fetched again.",
            code="data.missing",
        )
    return DataFiles(
        tuple(listing.parts),
        tuple(places.changes / path for path in sorted(changes)),
        tuple(listing.foreign),
        published,
    )


def _published(places: Places, command: str) -> Mapping[str, str]:
    try:
        found = ask_ledger(
            places,
            command,
            lambda db: {
                part.path: part.sha256
                for changes in (False, True)
                for part in publications.current_parts(db, places.place_of, changes=changes)
            },
        )
    except StoreError:
        return {}  # a damaged state is told by whoever needs it
    return {} if isinstance(found, Unknown) else found
