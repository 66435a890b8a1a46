"""The few things that publishing does to a file system, each one durable or atomic on its own.

`Disk` is what `parts` asks for; `RealDisk` does it.  A test puts a recording or a broken one in its
place.  Neither decides anything: which file, which order, and what an error means is up to `parts`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO, Protocol

from harvester.errors import StoreError, disk_code
from harvester.storage.atomic_files import sync_file, sync_folder

# File systems that know no hard links say so in different ways.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}

_REMEDY: dict[int | None, str] = {
    errno.ENOSPC: "The disk is full: free some space and run again; nothing acknowledged is lost.",
    errno.EDQUOT: "The disk quota is used up: free some space and run again.",
    errno.EACCES: "This user may not write there: correct the owner or the mode, and run again.",
    errno.EPERM: "This user may not write there: correct the owner or the mode, and run again.",
    errno.EROFS: "The file system is mounted read-only: remount it, and run again.",
    errno.EIO: "The disk reports an error: look at the kernel log before you run again.",
}
_ANY_REMEDY = "Look at the disk and run again; nothing acknowledged is lost."


class Disk(Protocol):
    """What publishing needs of a file system.  All methods raise OSError."""

    def create(self, path: Path, mode: int) -> BinaryIO:
        """A file to write, empty, with exactly this mode whatever the umask."""

    def sync_file(self, file: BinaryIO) -> None:
        """Return when the file's content is durable."""

    def sync_folder(self, path: Path) -> None:
        """Return when the names in the folder are durable."""

    def make_folder(self, path: Path, mode: int) -> None:
        """Make a folder and those above it; one that exists stays as it is."""

    def move(self, source: Path, target: Path) -> None:
        """Rename within the file system.  FileExistsError if there is a `target`."""

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""


class RealDisk:
    """The operating system's file system."""

    def create(self, path: Path, mode: int) -> BinaryIO:
        """See `Disk`."""
        file = path.open("wb")
        os.fchmod(file.fileno(), mode)
        return file

    def sync_file(self, file: BinaryIO) -> None:
        """See `Disk`."""
        sync_file(file)

    def sync_folder(self, path: Path) -> None:
        """See `Disk`."""
        sync_folder(path)

    def make_folder(self, path: Path, mode: int) -> None:
        """See `Disk`."""
        if path.is_dir():
            return
        self.make_folder(path.parent, mode)
        path.mkdir()
        path.chmod(mode)

    def move(self, source: Path, target: Path) -> None:
        """See `Disk`.  A hard link fails where the target exists; rename() would replace it."""
        try:
            target.hardlink_to(source)
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            _move_unlinked(source, target)
        else:
            source.unlink()

    def remove(self, path: Path) -> None:
        """See `Disk`."""
        path.unlink(missing_ok=True)


def store_error(doing: str, path: Path, exc: OSError) -> StoreError:
    """What a user can read and act on, for a file system's error."""
    remedy = _REMEDY.get(exc.errno, _ANY_REMEDY)
    return StoreError(f"{doing} {path}: {exc.strerror or exc}. {remedy}", code=disk_code(exc))


def _move_unlinked(source: Path, target: Path) -> None:
    # Look, then rename: not atomic, but the output's lock keeps other writers out.
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)
