"""A new file beside the one that it will replace.

Theory of operation.  The folder may be one that others can write to (`/tmp`, a collector's folder).
Whoever can guess the name of the file in the making can put a link or a file of their own there
first, and would be given what is written.  So the name can't be guessed, and the file must be a new
one: O_EXCL follows no link and takes no file that is there already.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

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
