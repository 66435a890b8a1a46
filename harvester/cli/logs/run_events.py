"""What a run tells while it works: to the log, to the bar, to `--json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harvester.cli.ui.progress_bar import ProgressBar, is_slowed, slowed
from harvester.pipeline.engine.progress import Progress
from harvester.version import __version__

if TYPE_CHECKING:
    from harvester.api import Event
    from harvester.cli.logs.logs import Logs

TELL_EVERY_S = 30.0


class RunEvents:
    """Hears what a run says."""

    def __init__(
        self,
        logs: Logs,
        *,
        command: str,
        bar: ProgressBar | None = None,
        emit: Callable[[Mapping[str, object]], None] | None = None,
        on_start: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`emit` writes an object to stdout (`--json`); `on_start` is called when a run begins;
        `clock` is in seconds.
        """
        self.run_folder: Path | None = None
        self._logs = logs
        self._command = command
        self._bar = bar
        self._emit = emit
        self._on_start = on_start
        self._clock = clock
        self._told_at = clock()
        self._was_out = False
        self._was_slowed = False

    def hear(self, event: Event) -> None:
        """See `harvester.run`."""
        if event.progress is not None:
            self.progress(event.progress)
        else:
            self.message(event.level, event.name, **event.fields)

    def message(self, level: str, event: str, **fields: object) -> None:
        """Log it; with the start of the run its own log begins."""
        if event == "run_started":
            self._begin(fields)
        self._logs.message(level, event, **fields)

    def progress(self, progress: Progress) -> None:
        """Draw it; every 30 s, log it and tell it on stdout."""
        if self._bar is not None:
            self._bar.update(progress)
        self._tell_changes(progress)
        now = self._clock()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            fields = progress_fields(progress)
            self._logs.message("info", "progress", **fields)
            if self._emit is not None:
                self._emit({"type": "progress", **fields})

    def _tell_changes(self, now: Progress) -> None:
        """An outage and a slower pace: when they begin and when they are over."""
        if now.outage and not self._was_out:
            self._logs.message("warning", "outage_began", requests=now.requests)
        elif self._was_out and not now.outage:
            self._logs.message("info", "outage_over", requests=now.requests)
        slow = is_slowed(now)
        if slow and not self._was_slowed:
            pace = round(now.pace_per_s, 1)
            self._logs.message("warning", "pace_lowered", pace=pace, limit=now.rate_per_s)
        elif self._was_slowed and not slow:
            self._logs.message("info", "pace_restored", limit=now.rate_per_s)
        self._was_out, self._was_slowed = now.outage, slow

    def _begin(self, fields: Mapping[str, object]) -> None:
        self.run_folder = Path(str(fields.get("folder", "")))
        self._logs.run_id = str(fields.get("run_id", ""))
        self._logs.attach(self.run_folder / "log.jsonl")
        self._told_at = self._clock()
        if self._on_start is not None:
            self._on_start()
        if self._emit is not None:
            self._emit(
                {"type": "start", "command": self._command, "harvester": __version__, **fields}
            )


def progress_fields(now: Progress) -> dict[str, object]:
    """A run at one moment, as plain fields."""
    return {
        "phase": now.phase,
        "to_fetch": now.to_fetch,
        "resolved": now.resolved,
        "delivered": now.delivered,
        "open": now.open,
        "dead": now.dead,
        "deferred": now.deferred,
        "requests": now.requests,
        "requests_per_s": round(now.requests_per_s, 1),
        "received_bytes": now.received_bytes,
        "limit": now.rate_per_s,
        "pace": round(now.pace_per_s, 1),
        "slowed": slowed(now),
        "retries": dict(now.retries),
        "elapsed_s": round(now.elapsed_s, 1),
        "eta_s": None if now.eta_s is None else round(now.eta_s),
    }
