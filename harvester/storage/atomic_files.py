"""Files that exist under their names only when they are whole; the one place that makes them.

Theory of operation.  A new file is written beside the one that it will replace, and takes its name
by a rename.  The folder may be one that others can write to (`/tmp`, a collector's folder).
Whoever can guess the name of the file in the making can put a link or a file of their own there
first, and would be given what is written.  So the name can't be guessed, and the file must be a new
one: O_EXCL follows no link and takes no file that is there already.

What must outlive a power cut goes in this order: the content is synced, the file gets its name, the
folder is synced.  A name before its content could be found empty; a rename is durable only when its
folder is.  What need not outlive one (figures for a collector, an export that can be made again) is
renamed without a sync.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Self

from harvester.errors import StoreError, disk_code

OWNER_ONLY = 0o600

_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
_NAME_CHARS = 40
"""Of the final name: the whole must not be longer than a name may be."""


class NewFile:
    """A file being written beside its final name; `commit` gives it the name.

    Leaving the context without a commit, or with one that failed, removes what was written.
    """

    def __init__(self, path: Path, mode: int = OWNER_ONLY) -> None:
        """Make the file, empty and for the owner alone; it gets `mode` with its name.

        Raises OSError, which names `path`.
        """
        self.path = path
        self._mode = mode
        self.half, descriptor = fresh_file(path)
        """Where it is until then, for what writes by name."""
        self.stream: BinaryIO = os.fdopen(descriptor, "wb")
        self._is_named = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_named:
            return
        # Whatever ended the writing may end this too; what counts is that error, and no half file.
        with suppress(OSError):
            self.stream.close()
        self.half.unlink(missing_ok=True)

    def commit(self, *, durable: bool = True) -> None:
        """Give the finished file its name.  Raises OSError.

        `durable`: a power cut leaves the old file or the whole new one; when this returns, the new.
        """
        os.fchmod(self.stream.fileno(), self._mode)
        if durable:
            sync_file(self.stream)
        self.stream.close()
        self.half.replace(self.path)
        self._is_named = True
        if durable:
            sync_folder(self.path.parent)


class NewTextFile(NewFile):
    """The same of text, in UTF-8, which goes to `text`."""

    def __init__(self, path: Path, mode: int = OWNER_ONLY) -> None:
        super().__init__(path, mode)
        self.text = TextIOWrapper(self.stream, encoding="utf-8")

    def commit(self, *, durable: bool = True) -> None:
        """See `NewFile`."""
        self.text.flush()
        super().commit(durable=durable)


@contextmanager
def in_place_of(path: Path, mode: int = OWNER_ONLY) -> Iterator[BinaryIO]:
    """A stream; what was written to it is the file `path` when it is whole, or not at all.

    Not synced.  A device or a pipe of that name is written into.  Raises OSError.
    """
    if is_special(path):
        with path.open("wb") as stream:
            yield stream
        return
    with NewFile(path, mode) as new:
        yield new.stream
        new.commit(durable=False)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, so that a reader sees the old or the new, never half.

    Durable, and private to the owner.  Raises StoreError.
    """
    try:
        with NewFile(path) as new:
            new.stream.write(content)
            new.commit()
    except OSError as exc:
        raise StoreError(
            f"{path} can't be written: {exc.strerror}. Free some space, or make the folder "
            "writable, and run the same command again.",
            code=disk_code(exc),
        ) from exc


def fresh_file(path: Path) -> tuple[Path, int]:
    """A new, empty file in the folder of `path`, for the owner alone, and its descriptor.

    Its name begins with a dot and ends with 64 random bits.  Raises OSError, which names `path`.
    """
    name = path.with_name(f".{path.name[:_NAME_CHARS]}.{secrets.token_hex(8)}")
    try:
        return name, os.open(name, _NEW, OWNER_ONLY)
    except OSError as exc:
        exc.filename = str(path)
        raise


def sync_file(file: BinaryIO) -> None:
    """Return when the content of `file` is durable; what is buffered too.  Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in `folder` are durable.  Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_special(path: Path) -> bool:
    """Whether `path` is no name of a file: a device, a pipe, a socket, or what /dev and /proc hold.

    `/dev/stdout` is a link to whatever stdout is, which may be a file.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` follows links
    if absolute.parts[1:2] in (("dev",), ("proc",)) and absolute.parts[2:3] != ("shm",):
        return True
    try:
        found = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(found) or stat.S_ISDIR(found))
