"""The output folder: what lies where, and who may read it.

    OUT/cdr/submit_date=…/part-….parquet    the data set; nothing but finished parts
    OUT/changes/change_date=…/part-….parquet    records that changed since, whole: old and new
    OUT/dropped/drop-….parquet    the ids of calls that were dropped (storage/dropped.py)
    OUT/state/  state.db status.json lock lists/ listed/ staging/ retired/    ours
    OUT/runs/<run_id>/  summary.json bad_ids.jsonl log.jsonl state.parquet

state/ and runs/ hold answers and ids and are for the owner only; cdr/ and changes/ follow
`output.mode`.
All lie on one file system, so that a rename is atomic.
"""

from __future__ import annotations

import glob
import shutil
from pathlib import Path

import msgspec

from harvester.errors import StoreError, disk_code
from harvester.storage.atomic_files import sync_folder

PRIVATE = 0o700
CHANGE_FOLDER = "change_date"
"""What a partition of changes/ is called, before the `=`; no partition of cdr/ is called so."""
_SYSTEMS_OWN = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def is_systems_own(path: Path) -> bool:
    """Whether a file manager or a network file system left it, as they do wherever they like."""
    return path.name in _SYSTEMS_OWN or path.name.startswith(".nfs")


class Output(msgspec.Struct, frozen=True):
    """The paths of one output."""

    root: Path

    @property
    def cdr(self) -> Path:
        return self.root / "cdr"

    @property
    def changes(self) -> Path:
        """Made by the first change."""
        return self.root / "changes"

    @property
    def dropped(self) -> Path:
        """Made by the first drop."""
        return self.root / "dropped"

    def is_among_ours(self, path: Path) -> bool:
        """Whether a file of that name would be a stranger among the output's own."""
        own = (self.cdr, self.changes, self.dropped, self.state, self.runs)
        return any(path.resolve().is_relative_to(one.resolve()) for one in own)

    def place_of(self, path: str) -> Path:
        """Where a part with this path, or a partition of this name, lies: in cdr/ or changes/."""
        return (self.changes if is_change(path) else self.cdr) / path

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def database(self) -> Path:
        return self.state / "state.db"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def status(self) -> Path:
        return self.state / "status.json"

    @property
    def lists(self) -> Path:
        return self.state / "lists"

    @property
    def listed(self) -> Path:
        """What the vendor's list said; made by the first `discover`."""
        return self.state / "listed"

    @property
    def staging(self) -> Path:
        return self.state / "staging"

    @property
    def retired(self) -> Path:
        """A folder a rewrite: the partitions that it took out of cdr/, as long as they are kept."""
        return self.state / "retired"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def run(self, run_id: str) -> Path:
        return self.runs / run_id

    @property
    def data_glob(self) -> str:
        """What readers glob; a `*` or `[` in the output's own name stands for itself."""
        return f"{glob.escape(str(self.cdr))}/*/*.parquet"


ASIDE = ".aside"
"""Ends the name of a partition in staging/ that was moved out so that another can take its place.

Only where two folders can't be exchanged in one step, and nobody reads meanwhile.
"""


def put_back(output: Output) -> None:
    """Put partitions back that were moved aside, and nothing has taken their place.

    Raises StoreError.
    """
    try:
        for aside in sorted(output.staging.glob(f"*/*{ASIDE}")):
            there = output.place_of(aside.name.removesuffix(ASIDE))
            if not there.exists():
                aside.rename(there)
                sync_folder(there.parent)
                sync_folder(aside.parent)
    except OSError as exc:
        raise StoreError(
            f"{exc.filename} can't be put back into the data set: {exc.strerror}. Check the "
            "owner of the output's folders, and run again.",
            code=disk_code(exc),
        ) from exc


def is_change(path: str) -> bool:
    """Whether a part with this path, or a partition of this name, belongs to changes/."""
    return path.startswith(f"{CHANGE_FOLDER}=")


def make_folders(output: Output, mode: int) -> None:
    """Make what is missing of the output's folders.  Raises StoreError if that can't be."""
    is_new = not output.database.exists()
    try:
        output.root.mkdir(parents=True, exist_ok=True)
        for folder in (output.state, output.lists, output.staging, output.runs):
            folder.mkdir(mode=PRIVATE, exist_ok=True)
            folder.chmod(PRIVATE)
        if not output.cdr.exists():
            output.cdr.mkdir()
            output.cdr.chmod(mode)
        if is_new:
            # SQLite syncs its own folder; that the folder has a name is ours to make durable.
            for folder in (output.state, output.root, output.root.parent):
                sync_folder(folder)
    except OSError as exc:
        raise StoreError(
            f"the output folder {output.root} can't be written: {exc.strerror} "
            f"({exc.filename}). Make it writable, or choose another with --out.",
            code=disk_code(exc),
        ) from exc
    if output.cdr.stat().st_dev != output.staging.stat().st_dev:
        raise StoreError(
            f"{output.cdr} and {output.staging} lie on different file systems, so a part can't be "
            "moved into place at once. Put the whole output folder on one.",
            code="output.two_file_systems",
        )


def empty_folder(folder: Path) -> None:
    """Remove what lies in `folder`.  Raises StoreError."""
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as exc:
        raise StoreError(
            f"{folder} can't be emptied: {exc.strerror}. Check its owner.", code=disk_code(exc)
        ) from exc
