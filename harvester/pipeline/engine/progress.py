"""How a run is doing, as a value: for the screen, for status.json, for `--json`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

import msgspec

from harvester.state.values import RETRY

_RATE_WINDOW_S = 10.0
_RENAMED = {"push_back": "throttled"}
"""What runs of before 0.2.0 called a cause."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment.  Counts are of this run; rates are per second."""

    to_fetch: int
    """Ids that this run set out to ask: due open calls and what was pending on the list."""
    resolved: int
    delivered: int
    open: int
    dead: int
    deferred: int
    requests: int
    retries: dict[str, int]
    requests_per_s: float
    resolved_per_s: float
    rate_per_s: float
    """The limit, as configured."""
    pace_per_s: float
    """The pace in force; below the limit after push-back."""
    paused_s: float
    outage: bool
    elapsed_s: float
    eta_s: float | None
    phase: str
    received_bytes: int
    """Of answers, decoded, whatever they said."""

    @property
    def left(self) -> int:
        return max(0, self.to_fetch - self.resolved)


class Events(Protocol):
    """Whoever wants to know what a run does.  Must not raise and must not block."""

    def message(self, level: str, event: str, **fields: object) -> None:
        """Something worth telling; `level` is debug, info, warning or error."""
        ...

    def progress(self, progress: Progress) -> None:
        """How it is going, about four times a second."""
        ...


class Speedometer:
    """Requests and resolved ids per second over the last 10 s."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def mark(self, now: float, requests: int, resolved: int) -> tuple[float, float]:
        """Note the counts at `now` (seconds); returns (requests, resolved) per second."""
        self._marks.append((now, requests, resolved))
        while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_WINDOW_S:
            self._marks.popleft()
        then, requests_then, settled_then = self._marks[0]
        elapsed = now - then
        if elapsed <= 0:
            return 0.0, 0.0
        return (requests - requests_then) / elapsed, (resolved - settled_then) / elapsed


def retries(counters: Mapping[str, int]) -> dict[str, int]:
    """Retries by cause."""
    found: dict[str, int] = {}
    for name, count in counters.items():
        if name.startswith(RETRY) and count:
            cause = name.removeprefix(RETRY)
            cause = _RENAMED.get(cause, cause)
            found[cause] = found.get(cause, 0) + count
    return dict(sorted(found.items()))
