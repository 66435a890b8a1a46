"""The configurations and schedule files that `init` and `demo` take.

One source: `configs/` of the repository.  The build puts it into the wheel as
`harvester/templates/` (pyproject.toml); a checkout reads it where it lies, so that nothing is there
twice and nothing is moved.
"""

from __future__ import annotations

from pathlib import Path

import harvester

_PACKAGE = Path(harvester.__file__).parent
_FOR_USERS = ("nightly.toml", "backfill.toml", "schedule/*")


def templates() -> Path:
    """The folder that holds them."""
    built = _PACKAGE / "templates"
    return built if built.is_dir() else _PACKAGE.parent / "configs"


def files_for_users() -> dict[str, bytes]:
    """What `harvester init` writes: name relative to the folder -> content.  Raises OSError."""
    folder = templates()
    found = [path for pattern in _FOR_USERS for path in sorted(folder.glob(pattern))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}
