"""A new file beside the one that it will replace.

Theory of operation.  The folder may be one that others can write to (`/tmp`, a collector's folder).
Whoever can guess the name of the file in the making can put a link or a file of their own there
first, and would be given what is written.  So the name can't be guessed, and the file must be a new
one: O_EXCL follows no link and takes no file that is there already.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
_NAME_CHARS = 40
"""Of the final name: the whole must not be longer than a name may be."""


def fresh_file(path: Path) -> tuple[Path, int]:
    """A new, empty file in the folder of `path`, for the owner alone, and its descriptor.

    Its name begins with a dot and ends with 64 random bits.  Raises OSError, which names `path`.
    """
    name = path.with_name(f".{path.name[:_NAME_CHARS]}.{secrets.token_hex(8)}")
    try:
        return name, os.open(name, _NEW, 0o600)
    except OSError as exc:
        exc.filename = str(path)
        raise


@contextmanager
def in_place_of(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A stream; what was written to it is the file `path` when it is whole, or not at all.

    A device or a pipe of that name is written into.  Raises OSError.
    """
    if is_special(path):
        with path.open("wb") as stream:
            yield stream
        return
    temporary, descriptor = fresh_file(path)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            os.fchmod(stream.fileno(), mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
