"""What a check has to say, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["damage", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, or that is worth knowing."""

    severity: Severity
    """`damage`: an invariant does not hold.  `note`: all is well, and this is why it looks odd."""
    kind: str
    """A word for machines: missing_file, twice, control_totals, …"""
    what: str
    where: str
    """A path, or a table of the state database."""
    remedy: str


def damage(kind: str, what: str, where: object, remedy: str) -> Finding:
    """Something that no crash and no fault of the vendor can make."""
    return Finding("damage", kind, what, str(where), remedy)


def note(kind: str, what: str, where: object, remedy: str = "Nothing to do.") -> Finding:
    """Something that is as it should be."""
    return Finding("note", kind, what, str(where), remedy)


RESTORE_FILE = (
    "Restore this file from a backup. Without one, move it out of cdr/, run `harvester rebuild`, "
    "and run the same input again: what is missing is fetched again."
)
RESTORE_STATE = (
    "Restore state/ from a backup. Without one, `harvester rebuild --force` makes it again from "
    "the data; the old one is kept."
)
OLDER_STATE = (
    "Put the newer state/ back, if there is one. Otherwise `harvester rebuild` makes it again "
    "from the data."
)
MOVE_OUT = "Move it out of cdr/: readers of the data set would read it as data, or fail on it."
