"""The few things that publishing does to a file system, each one durable or atomic on its own.

`Disk` is what publications and rewrites ask for; `RealDisk` does it.  A test puts a recording or a
broken one in its place.  Neither decides anything: which file, which order, and what an error means
is up to those who ask.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, Protocol

from harvester.errors import StoreError, disk_code
from harvester.storage.atomic_files import sync_file, sync_folder

# File systems that know no hard links say so in different ways.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
# And those that exchange no folders.  Any other error is a disk that is full or broken, not unable.
_NO_EXCHANGE = _NO_LINKS | {errno.EINVAL, errno.EXDEV}

_REMEDY: dict[int | None, str] = {
    errno.ENOSPC: "The disk is full: free some space and run again; nothing acknowledged is lost.",
    errno.EDQUOT: "The disk quota is used up: free some space and run again.",
    errno.EACCES: "This user may not write there: correct the owner or the mode, and run again.",
    errno.EPERM: "This user may not write there: correct the owner or the mode, and run again.",
    errno.EROFS: "The file system is mounted read-only: remount it, and run again.",
    errno.EIO: "The disk reports an error: look at the kernel log before you run again.",
}
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

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

    def link(self, source: Path, target: Path) -> None:
        """Give the file `source` a second name.  FileExistsError if there is a `target`."""

    def make_alike(self, path: Path, pattern: Path) -> None:
        """Make a folder that the same people may read as the folder `pattern`."""

    def exchange(self, one: Path, other: Path) -> None:
        """Let two folders swap their names, in one step that no reader sees half of."""

    def rename_folder(self, source: Path, target: Path) -> None:
        """Give a folder another name, which none has."""

    def remove_folder(self, path: Path) -> None:
        """Remove a folder with all that is in it; one that is gone already is fine."""


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
        path.mkdir(mode)  # a kill before the next line must leave nothing that is open to more
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

    def link(self, source: Path, target: Path) -> None:
        """See `Disk`."""
        target.hardlink_to(source)

    def make_alike(self, path: Path, pattern: Path) -> None:
        """See `Disk`.  Lists of access rights beside the mode go along."""
        path.mkdir()
        group = pattern.stat().st_gid
        if path.stat().st_gid != group:
            os.chown(path, -1, group)
        shutil.copystat(pattern, path)

    def exchange(self, one: Path, other: Path) -> None:
        """See `Disk`.  OSError with ENOSYS or EINVAL where the system or the file system can't."""
        # Here, not at the top: whoever fetches needs none of it.
        import ctypes

        # The C library's function, not the bare system call: what is preloaded before that library
        # sees it (tests/crash).
        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(one))
        names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
        place = (ctypes.c_int, ctypes.c_char_p)
        call.argtypes = [*place, *place, ctypes.c_uint]
        if call(*names, _RENAME_EXCHANGE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(one), None, str(other))

    def rename_folder(self, source: Path, target: Path) -> None:
        """See `Disk`."""
        source.rename(target)

    def remove_folder(self, path: Path) -> None:
        """See `Disk`."""
        if path.exists():
            shutil.rmtree(path)


def why_no_exchange(folder: Path, disk: Disk | None = None) -> str:
    """Why folders on the file system of `folder` can't be exchanged, tried in it; "" if they can.

    Raises OSError if nothing can be written there, or if the disk is full or broken.
    """
    disk = disk or RealDisk()
    with tempfile.TemporaryDirectory(prefix="exchange-", dir=folder) as made:
        one, other = Path(made, "one"), Path(made, "other")
        one.mkdir()
        other.mkdir()
        (one / "file").touch()
        try:
            disk.link(one / "file", one / "again")
            disk.exchange(one, other)
        except OSError as exc:
            if exc.errno not in _NO_EXCHANGE:
                raise
            return exc.strerror or str(exc)
        return "" if (other / "again").exists() else "the exchange did nothing"


def store_error(doing: str, path: Path, exc: OSError) -> StoreError:
    """What a user can read and act on, for a file system's error."""
    remedy = _REMEDY.get(exc.errno, _ANY_REMEDY)
    return StoreError(f"{doing} {path}: {exc.strerror or exc}. {remedy}", code=disk_code(exc))


def _move_unlinked(source: Path, target: Path) -> None:
    # Look, then rename: not atomic, but the output's lock keeps other writers out.
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)
