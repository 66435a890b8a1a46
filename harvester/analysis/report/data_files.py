"""The files of the data set, and that none of them is missing.

A file that somebody removed would only make the figures smaller: nobody would see it.  So what
lies under cdr/ is held against the state database, where that can be read; beside a run, or with
the data alone, it can't, and what is there is taken.
"""

from __future__ import annotations

from harvester.analysis.places import Places
from harvester.analysis.report.unfinished import Unknown, ask_ledger
from harvester.dataset.files import Listing, list_parts
from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import StoreError
from harvester.state import publications


def data_files(places: Places, command: str) -> Listing:
    """What lies under cdr/; `command` is who asks.

    Raises StoreError if a file is missing that was published, or a folder can't be listed.
    """
    published = _published(places, command)  # first: what is published meanwhile is more, not less
    listing = list_parts(places.cdr, GROUP_RECORD)
    missing = sorted(published - listing.parts.keys())
    if missing:
        raise StoreError(
            f"{places.cdr / missing[0]} is missing ({len(missing)} such file(s)), though the state "
            "database has it as published: its records would be left out of every figure. If "
            "`harvester compact` was at work at this moment, run the command again. Else restore "
            "the file from a backup; without one let `harvester rebuild` make the state again: "
            "what is missing is then fetched again.",
            code="data.missing",
        )
    return listing


def _published(places: Places, command: str) -> set[str]:
    try:
        found = ask_ledger(
            places,
            command,
            lambda db: {part.path for part in publications.current_parts(db, places.place_of)},
        )
    except StoreError:
        return set()  # a damaged state is told by whoever needs it
    return set() if isinstance(found, Unknown) else found
