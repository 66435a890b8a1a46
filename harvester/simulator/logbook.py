"""What the simulator saw: counts for good, the last requests in full."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec


class Entry(NamedTuple):
    """One request: when it came (monotonic seconds), for which id, and what it got."""

    at: float
    voice_id: str
    status: str
    why: str
    http: int

    def as_line(self) -> bytes:
        """The entry as a JSON line."""
        return _ENCODER.encode(self._asdict()) + b"\n"


_ENCODER = msgspec.json.Encoder()


class Logbook:
    """Counts every answer and remembers the last `size` of them."""

    def __init__(self, size: int) -> None:
        self.statuses: Counter[str] = Counter()
        self.whys: Counter[str] = Counter()
        self._last: deque[Entry] = deque(maxlen=size)

    def note(self, entry: Entry) -> None:
        """Count an answer and remember it; the oldest one goes when the book is full."""
        self.statuses[entry.status] += 1
        self.whys[entry.why] += 1
        self._last.append(entry)

    def lines(self) -> Iterator[bytes]:
        """The remembered requests as JSON lines, oldest first."""
        return (entry.as_line() for entry in tuple(self._last))

    def asks(self) -> dict[str, int]:
        """How often each remembered id was asked for."""
        return dict(Counter(entry.voice_id for entry in self._last))
