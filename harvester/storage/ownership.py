"""What another user's files keep from us, and what to do about it.

An output that root made yesterday is no good to cron's own user today.  It is refused by one look
before anything is done, with the names of both users, and not by whichever file comes first.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path

from harvester.errors import StoreError

READ = os.R_OK
CHANGE = os.R_OK | os.W_OK


def refuse_closed(root: Path, paths: Iterable[Path], wanted: int) -> None:
    """Raise StoreError for the first of `paths`, all of the output at `root`, that this user may
    not read (`READ`) or change (`CHANGE`), or that a folder hides.  What is missing is no matter.
    """
    for path in paths:
        closed = _closed(path.absolute(), wanted)
        if closed is not None:
            raise StoreError(_told(root, closed), code="output.permission")


def explained(root: Path, exc: PermissionError) -> StoreError:
    """An error of the system as one that names both users."""
    name = Path(os.fsdecode(exc.filename)) if isinstance(exc.filename, str | bytes) else root
    return StoreError(
        _told(root, _closed(name.absolute(), CHANGE) or name), code="output.permission"
    )


def _closed(path: Path, wanted: int) -> Path | None:
    for one in (*reversed(path.parents), path):
        try:
            mode = one.stat().st_mode
        except PermissionError:
            return one.parent
        except OSError:
            return None
        need = os.X_OK if stat.S_ISDIR(mode) else 0
        if not os.access(one, need | (wanted if one == path else 0)):
            return one
    return None


def _told(root: Path, closed: Path) -> str:
    me, mine = _name(os.geteuid()), os.geteuid()
    try:
        owner = closed.stat().st_uid
    except OSError:
        owner = -1
    if owner in (mine, -1):
        return (
            f"{closed} is closed to {me}, whose own it is: its mode or its file system forbids it. "
            f"`chmod -R u+rwX {shlex.quote(str(root))}` opens it, unless it is mounted read-only."
        )
    return (
        f"{closed} belongs to {_name(owner)}, and {me}, who runs this command, may not use it. Run "
        f"it as {_name(owner)}, or give the whole output to {me}: `sudo chown -R {me} "
        f"{shlex.quote(str(root.absolute()))}`, then run the same command again. Nothing was "
        "changed."
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
