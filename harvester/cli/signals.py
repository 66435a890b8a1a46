"""SIGINT, SIGTERM and SIGHUP: the first ends a command in good order, the second at once.

While the command looks for it (`requests.StopSource`) the first is only noted, and the command
drains; before and after that it raises, and ends with the signal's number instead of dying of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from harvester.errors import Interrupted
from harvester.pipeline.run.requests import StopCheck

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """A `StopSource`.  In the main thread only."""

    def __init__(self, stopped: Callable[[int], Interrupted]) -> None:
        """`stopped`: the error that a signal of a number ends the command with."""
        self._stopped = stopped
        self._is_watched = False
        self._reason: Interrupted | None = None

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals as long as this lasts."""
        # Under nohup the terminal may go, and the command goes on.
        stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        numbers = [one for one in _SIGNALS if not (stays and one == signal.SIGHUP)]
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def watched(self) -> Iterator[StopCheck]:
        """See `StopSource`."""
        self._is_watched = True
        try:
            yield lambda: self._reason
        finally:
            self._is_watched = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        reason = self._stopped(number)
        if not self._is_watched:
            raise reason
        if self._reason is not None:
            # As a kill would: nothing that is acknowledged depends on a tidy end.
            os._exit(128 + number)
        # Only noted: what the handler has interrupted may hold the log's lock.
        self._reason = reason
