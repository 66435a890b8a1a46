"""Events that interrupt: the process gets a signal at the first message."""

from __future__ import annotations

import os


class SignallingEvents:
    """See `pipeline.engine.progress.Events`; for commands that fetch nothing."""

    def __init__(self, number: int | None = None) -> None:
        """`number`: of the signal; None sends none."""
        self._number = number
        self.said: list[str] = []

    def message(self, level: str, event: str, **fields: object) -> None:
        """Note the event; send the signal."""
        self.said.append(event)
        if self._number is not None:
            os.kill(os.getpid(), self._number)

    def progress(self, progress: object) -> None:
        """There is none."""
        raise AssertionError("nothing is fetched")
