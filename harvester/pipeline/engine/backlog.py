"""What waits in the journal, and whether it has to be published now.

Two things make it due: its size (`output.publish_records`, `output.publish_bytes`), so that memory
and parts are of a known size, and the age of its oldest record (`output.publish_after_s`), so that
whoever reads the data set at breakfast has last night's calls.  Ages are told by a clock that is
never set, the loop's.  What an earlier run left behind is old from the start.
"""

from __future__ import annotations

import math

from harvester.config import Output

_FULL = 2.0
_LOOK_AGAIN_S = 1.0


class Waiting:
    """The records of the journal that no publication has taken yet."""

    def __init__(self, output: Output, left: tuple[int, int]) -> None:
        """`left`: (records, bytes) that were in the journal at the start."""
        self._output = output
        self.records, self._bytes = left
        self._oldest_at = -math.inf

    def add(self, records: int, size: int, now: float) -> None:
        """So many records were committed; `size` in bytes of undecoded answers."""
        if not self.records:
            self._oldest_at = now
        self.records += records
        self._bytes += size

    def take(self, records: int, size: int, *, all_before: float | None) -> None:
        """A publication took so many.  `all_before`: when it began, if it took all there was."""
        self.records -= records
        self._bytes -= size
        if all_before is not None:
            self._oldest_at = all_before

    def is_due(self, now: float) -> bool:
        """Whether it is large enough, or its oldest record is old enough, to be published."""
        return self._fill >= 1 or (self.records > 0 and self.until_old(now) <= 0)

    @property
    def is_full(self) -> bool:
        """Whether nobody may fetch before some of it is published."""
        return self._fill >= _FULL

    def until_old(self, now: float) -> float:
        """Seconds until the oldest record, or one that came now, is old; 0 if it is."""
        oldest_at = self._oldest_at if self.records else now
        return max(0.0, oldest_at + self._output.publish_after_s - now)

    def look_again_in(self, now: float) -> float:
        """Seconds after which its age has to be looked at again."""
        return max(_LOOK_AGAIN_S, self.until_old(now))

    @property
    def _fill(self) -> float:
        by_records = self.records / self._output.publish_records
        return max(by_records, self._bytes / self._output.publish_bytes)
