"""A text file for its owner's eyes that gets its name when it is whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Self, TextIO

from harvester.storage.new_file import fresh_file
from harvester.storage.parquet_file import fsync_folder


class PrivateText:
    """A file of mode 0600, written beside its final name; `commit` gives it the name."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._half, descriptor = fresh_file(self.path)
        self.stream: TextIO = os.fdopen(descriptor, "w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream.closed:
            return
        with suppress(OSError):
            self.stream.close()
        self._half.unlink(missing_ok=True)

    def commit(self) -> None:
        """Bring the file to the disk and give it its name.  Raises OSError."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        self._half.rename(self.path)
        fsync_folder(self.path.parent)
