"""state/ and runs/ hold answers, ids and phone numbers: nobody but the owner may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from harvester.analysis.places import Places
from harvester.analysis.verify.findings import Finding, damage

_OTHERS = 0o077


def check_modes(places: Places) -> Iterator[Finding]:
    """Folders 0700, files 0600; what comes into the data set, or left it, has that one's mode."""
    for root in (places.state, places.runs):
        if not root.is_dir():
            continue
        for path in _walk(root, skip={places.staging, places.retired}):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & _OTHERS and not path.is_symlink():
                right = "700" if path.is_dir() else "600"
                what = f"others may get at it (mode {mode:04o}, ought to be 0{right})"
                yield damage("permissions", what, path, f"chmod {right} the file named here.")


def _walk(root: Path, *, skip: AbstractSet[Path]) -> Iterator[Path]:
    yield root
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield Path(folder) / name
        folders[:] = [name for name in folders if Path(folder) / name not in skip]
