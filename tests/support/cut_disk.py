"""A disk whose power is cut: what was done by then stays, and nothing is done after it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from harvester.storage.disk import RealDisk


class Gone(BaseException):
    """The power is cut, or the process killed."""


class CutDisk(RealDisk):
    """Its power is cut behind the step of this number, of those that count."""

    def __init__(self, after: int, *, with_syncs: bool = False) -> None:
        """`with_syncs`: they count as well."""
        self.left = after
        self._with_syncs = with_syncs

    def _step(self) -> None:
        self.left -= 1
        if not self.left:
            raise Gone

    def sync_file(self, file: BinaryIO) -> None:
        super().sync_file(file)
        if self._with_syncs:
            self._step()

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        if self._with_syncs:
            self._step()

    def exchange(self, one: Path, other: Path) -> None:
        super().exchange(one, other)
        self._step()

    def rename_folder(self, source: Path, target: Path) -> None:
        super().rename_folder(source, target)
        self._step()

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        self._step()

    def remove(self, path: Path) -> None:
        super().remove(path)
        self._step()
