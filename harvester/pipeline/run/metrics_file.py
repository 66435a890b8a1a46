"""The metrics file (`monitor.metrics_file`): replaced every few seconds, and at the end.

It is for others to read, so it is readable for everybody and holds nothing that is not.  A file
that can't be written is no reason not to harvest: it is said once, and the run goes on.
"""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import replace

from harvester.pipeline.engine.progress import Events
from harvester.pipeline.run.prometheus import PREFIX, RunFigures, exposition
from harvester.storage.atomic_files import in_place_of

EVERY_S = 5.0
_READABLE = 0o644


class MetricsFile:
    """Where the figures go; nowhere if there is no path."""

    def __init__(self, path: str | None, events: Events) -> None:
        self._path = Path(path) if path else None
        self._events = events
        self._last: RunFigures | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether anybody asked for it, and it can be written as far as we know."""
        return self._path is not None

    def write(self, figures: RunFigures) -> None:
        """Replace the file: a reader sees the old one or the new one, never half."""
        if self._path is None:
            return
        self._last = figures
        try:
            _replace(self._path, exposition(figures))
        except OSError as exc:
            self._events.message(
                "warning",
                "metrics_failed",
                file=str(self._path),
                reason=exc.strerror or type(exc).__name__,
            )
            self._path = None

    def write_failure(self, account: str, started_s: float, ended_s: float, code: int) -> None:
        """Tell of a run that ended before it could draw up its books."""
        if self._path is None:
            return
        last = self._last or RunFigures(
            account=account,
            started_s=started_s,
            last_success_s=self._told("last_success_timestamp_seconds"),
            last_new_ids_s=self._told("last_new_ids_timestamp_seconds"),
        )
        self.write(replace(last, ended_s=ended_s, exit_code=code))

    def _told(self, name: str) -> float | None:
        """A figure by the file itself: the ledger could not be asked."""
        assert self._path is not None
        told = re.compile(rf"(?m)^{PREFIX}{name} ([0-9.]+)$")
        try:
            found = told.search(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return None
        return float(found[1]) if found else None


def _replace(path: Path, text: str) -> None:
    # A collector reads *.prom: the one in the making is not called so.  Not synced: after a power
    # cut it would tell of a run that is no more.
    with in_place_of(path, _READABLE) as file:
        file.write(text.encode())
