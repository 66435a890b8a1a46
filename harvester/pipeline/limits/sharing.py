"""Who shares a limit file."""

from __future__ import annotations

import msgspec

from harvester.config import Priority


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """A process that shares the file.  `idle_s`: since its latest turn; None: it had none yet."""

    pid: int
    output: str
    priority: Priority
    idle_s: float | None


class Sharing(msgspec.Struct, frozen=True, kw_only=True):
    """Who shares a limit file.  `closed_s`: for how long the vendor wants nobody to ask."""

    file: str
    rate_per_s: float = 0.0
    closed_s: float = 0.0
    parties: tuple[Party, ...] = ()
    trouble: str = ""
    """Why no run could take its turns there; nothing else is known then."""
