"""Where the things of an output lie, as this room needs to know it (storage/output.py has them)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Places(Protocol):
    """The paths of one output."""

    @property
    def root(self) -> Path: ...
    @property
    def cdr(self) -> Path: ...
    @property
    def state(self) -> Path: ...
    @property
    def database(self) -> Path: ...
    @property
    def lock(self) -> Path: ...
    @property
    def lists(self) -> Path: ...
    @property
    def staging(self) -> Path: ...
    @property
    def runs(self) -> Path: ...
