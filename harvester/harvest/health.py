"""Is it this id, or is it everybody?  Two watches over the answers of all ids.

Both are told of every answer and hold plain state; the clock is an argument.
"""

from __future__ import annotations

from collections import deque

OUTAGE_WINDOW_S = 60
OUTAGE_ANSWERS = 50
OUTAGE_ROW = 64
PROBE_EVERY_S = 5.0
REFUSALS_THAT_HALT = 3
UNKNOWNS_THAT_HALT = 20


class OutageWatch:
    """Sees an outage: over half of the last minute's answers failed, or 64 in a row."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int, int]] = deque()  # (second, answers, failures)
        self._answers = 0  # in all of these
        self._failures = 0
        self._second = -1  # the one that goes on, which is not among them
        self._second_ends = float("-inf")
        self._answers_now = 0
        self._failures_now = 0
        self._row = 0
        self.since: float | None = None
        """When the present outage was seen; None while there is none."""

    def note(self, now: float, *, failed: bool) -> None:
        """Note an answer at `now` (seconds); `failed`: network, 5xx or -18."""
        if now >= self._second_ends:
            self._begin(int(now))
        if failed:
            self._answers_now += 1
            self._failures_now += 1
            self._row += 1
            if self.since is None and self._is_out():
                self.since = now
            return
        if self._row:
            self._row = 0
            if self.since is not None:
                self._forget()
        self._answers_now += 1

    def _is_out(self) -> bool:
        if self._row >= OUTAGE_ROW:
            return True
        answers = self._answers + self._answers_now
        failures = self._failures + self._failures_now
        return answers >= OUTAGE_ANSWERS and 2 * failures > answers

    def _begin(self, second: int) -> None:
        self._seconds.append((self._second, self._answers_now, self._failures_now))
        self._answers += self._answers_now
        self._failures += self._failures_now
        self._answers_now = self._failures_now = 0
        self._second, self._second_ends = second, second + 1.0
        while self._seconds and self._seconds[0][0] <= second - OUTAGE_WINDOW_S:
            _, answers, failures = self._seconds.popleft()
            self._answers -= answers
            self._failures -= failures

    def _forget(self) -> None:
        """An answer came through: the outage is over, and its failures say nothing any more."""
        self.since = None
        self._seconds.clear()
        self._answers = self._failures = self._answers_now = self._failures_now = 0


class RefusalWatch:
    """Sees that the vendor refuses us, not an id: several ids agree, and none succeeds between."""

    def __init__(self) -> None:
        self._refused: dict[str, set[str]] = {}
        self._unknown: dict[str, str] = {}

    def succeeded(self) -> None:
        """An answer showed that we are let in."""
        if self._refused:
            self._refused.clear()

    def delivered(self) -> None:
        """A record came: the vendor still speaks the language that we know."""
        if self._refused:
            self._refused.clear()
        if self._unknown:
            self._unknown.clear()

    def refused(self, voice_id: str, what: str, left: set[str] | None) -> bool:
        """Note a refusal; True when it halts the run.

        `left`: the ids that are still to settle, if no others wait behind them; None if they do.
        """
        ids = self._refused.setdefault(what, set())
        ids.add(voice_id)
        return len(ids) >= REFUSALS_THAT_HALT or (left is not None and left <= ids)

    def unknown(self, voice_id: str, status: str) -> bool:
        """Note an unknown status; True when so many ids have met one that the run halts."""
        self._unknown[voice_id] = status
        return len(self._unknown) >= UNKNOWNS_THAT_HALT
