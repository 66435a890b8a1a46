"""Files that a command is told to write: whole or not at all, and never inside an output's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.harvest.output import Output


def refuse_ours(file: Path, output: Output) -> None:
    """Raise UsageError if `file` would be a stranger in the data set, or overwrite the state."""
    target = file.resolve()
    owned = (output.cdr, output.state, output.runs)
    if any(target.is_relative_to(own.resolve()) for own in owned):
        raise UsageError(f"{file} lies inside {output.root}, which is ours: choose another place.")


def write_private(file: Path, text: str) -> None:
    """Write `text`, readable for the owner alone; it appears under its name when it is whole.

    Raises UsageError if it can't be written.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        temporary.replace(file)
    except OSError as exc:
        raise UsageError(f"{file} can't be written: {exc.strerror or exc}.") from exc
    finally:
        temporary.unlink(missing_ok=True)
