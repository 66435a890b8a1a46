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

    def begin(self, since: float) -> None:
        """An outage that others have seen goes on."""
        self.since, self._row = since, max(1, self._row)

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
    """Sees that the vendor denies access to us, not to an id: ids agree, and none succeeds between.

    That is a suspicion, which probes must confirm: some ids may always be refused, and the oldest
    of a list are the first ones.
    """

    def __init__(self, *, is_proven: bool = False) -> None:
        """`is_proven`: records were delivered at this address with this key, in whichever run."""
        self.is_proven = is_proven
        self.is_calm = False
        """Whether a record would tell nothing new."""
        self._refused: dict[str, set[str]] = {}
        self._unknown: dict[str, str] = {}
        self._passed_over: set[str] = set()

    def pass_over(self, voice_id: str) -> None:
        """Take this id for no sign, whatever it is answered."""
        self._passed_over.add(voice_id)

    def succeeded(self) -> None:
        """An answer showed that we are let in."""
        if self._refused:
            self._forget_refused()

    def delivered(self) -> None:
        """A record came: the vendor still speaks the language that we know."""
        self.is_proven = self.is_calm = True
        if self._refused:
            self._forget_refused()
        if self._unknown:
            self._passed_over.update(self._unknown)
            self._unknown.clear()

    def _forget_refused(self) -> None:
        if self.is_proven:
            # Others were served meanwhile: whatever these are refused for, it is their own.
            self._passed_over.update(*self._refused.values())
        self._refused.clear()

    @property
    def is_suspected(self) -> bool:
        """Whether two ids on end were refused alike."""
        return any(len(ids) > 1 for ids in self._refused.values())

    def refused(self, voice_id: str, what: str) -> bool:
        """Note a refusal; whether so many ids agree that it may be meant for us."""
        if voice_id in self._passed_over:
            return False
        self.is_calm = False
        ids = self._refused.setdefault(what, set())
        ids.add(voice_id)
        return len(ids) >= REFUSALS_THAT_HALT

    def unknown(self, voice_id: str, status: str) -> bool:
        """Note an unknown status; whether so many ids have met one that it may be for all."""
        if voice_id in self._passed_over:
            return False
        self.is_calm = False
        self._unknown[voice_id] = status
        return len(self._unknown) >= UNKNOWNS_THAT_HALT

    def all_refused(self, left: set[str] | None, what: str) -> bool:
        """Whether all ids that are left agree on a refusal.

        `left`: the ids that are still to settle, if no others wait behind them; None if they do.
        Where the vendor is known to let us in, some beyond those that raised the suspicion must
        agree.
        """
        ids = self._refused.get(what, set())
        least = REFUSALS_THAT_HALT + 1 if self.is_proven else 1
        return left is not None and len(ids) >= least and left - self._passed_over <= ids

    def all_unknown(self, left: set[str] | None) -> bool:
        """Whether all ids that are left met an unknown status."""
        return left is not None and left - self._passed_over <= self._unknown.keys()
