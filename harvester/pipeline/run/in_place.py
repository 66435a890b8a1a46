"""Whether what a run writes to is still where it was.

Theory of operation.  A file that is removed or replaced while a process has it open goes on taking
all that is written to it, and nobody will ever read that; a lock that is removed keeps nobody out
any more.  No write fails by it, so somebody has to look.  A run notes which files and folders
(device and inode) its output is made of, and looks every 2 s and at its end: the first that is
another one now ends it with exit code 6.  The state database only grows (nothing vacuums it), so
one that got smaller was written over.
"""

from __future__ import annotations

import os
from pathlib import Path

from harvester.errors import StoreError
from harvester.storage.output import Output

_MADE_AGAIN = (
    "If that was only moved, put it back and run the same command again; else restore state/ from "
    "a backup, or make it again from the data with `harvester rebuild`: what the data lacks is "
    "then fetched again."
)
_STATE_LOST = (
    f"What was acknowledged since the last publication is in the old one alone. {_MADE_AGAIN}"
)
_LIST_LOST = f"Without its work list the state has no meaning. {_MADE_AGAIN}"
_PUT_BACK = (
    "If it was only moved, put it back and run the same command again: nothing is lost then. If it "
    "was removed, restore it from a backup first; the next start says what is missing."
)
_LOCK_LOST = (
    "Another run could have begun beside this one, so this one stopped; what it acknowledged is "
    "safe. Never remove the lock by hand: run the same command again."
)
_RUN_FOLDER_LOST = (
    "The summary of this run can't be kept there; what it acknowledged is safe. Run the same "
    "command again."
)


class InPlace:
    """The files and folders of an output as they were when they were noted."""

    def __init__(self, output: Output) -> None:
        """Note what every run works on.  Raises StoreError if any of it is gone already."""
        self._database = output.database
        self._noted: dict[Path, tuple[os.stat_result, str]] = {}
        # The outermost first: it is what the message names.
        for folder in (output.root, output.cdr, output.runs, output.state):
            self.note(folder, _PUT_BACK)
        self.note(output.lock, _LOCK_LOST)
        self.note(output.database, _STATE_LOST)
        self.note(output.lists, _LIST_LOST)

    def note(self, path: Path, remedy: str) -> None:
        """From now on `path` has to stay what it is.  Raises StoreError if it is gone already."""
        status = _status(path)
        if status is None:
            raise _gone(path, remedy)
        self._noted[path] = status, remedy

    def note_state(self, *lists: str | None) -> None:
        """Note the lists in force, by their names, and SQLite's log, which is there from the
        first transaction on.
        """
        log = self._database.with_name(f"{self._database.name}-wal")
        if log.exists():
            self.note(log, _STATE_LOST)
        for name in filter(None, lists):
            self.note(self._database.parent / "lists" / name, _LIST_LOST)

    def note_run(self, folder: Path) -> None:
        """Note the folder of this run."""
        self.note(folder, _RUN_FOLDER_LOST)

    def trouble(self) -> StoreError | None:
        """What is not in its place any more, and what to do; None if all is."""
        for path, (noted, remedy) in self._noted.items():
            found = _status(path)
            if found is None or not os.path.samestat(found, noted):
                return _gone(path, remedy)
            if path == self._database:
                if found.st_size < noted.st_size:
                    return _gone(path, remedy)
                self._noted[path] = found, remedy
        return None


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _gone(path: Path, remedy: str) -> StoreError:
    return StoreError(
        f"{path} was moved, removed or replaced while the run used it. {remedy}", code="state.moved"
    )
