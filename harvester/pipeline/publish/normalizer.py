"""What a publication computes: blobs of the journal become pieces of the data set.

`Normalizer` does it in this process; `aside` has it done in another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from harvester.answers.answer import Answer
from harvester.dataset.kind import RecordKind
from harvester.dataset.normalize import normalize
from harvester.dataset.packing import Packer, Piece
from harvester.state import journal

NORMALIZED_ROWS = 4_000
"""Typing columns has a price per batch as well as per row."""


class Normalizing(Protocol):
    """Takes a range of the journal, blob by blob; to be used in a `with`."""

    unparsed: Counter[str]
    """Vendor field -> how many of its values could not be typed; whole after `rest`."""
    extra: Counter[str]
    """Unknown field -> how many answers held it; whole after `rest`."""
    without_cost: int
    """Answered calls without a cost; whole after `rest`."""

    def add(self, run_id: str, blob: bytes) -> Iterator[Piece]:
        """The pieces that are full with this blob of `run_id`."""

    def rest(self) -> Iterator[Piece]:
        """What is left, once every blob was added."""

    def __enter__(self) -> Self:
        """See `with`."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up whatever is not done."""


class Normalizer:
    """See `Normalizing`.  Raises one of `journal.DAMAGED` for a blob that is not as it was."""

    def __init__(self, account: str, timezone: str, kind: RecordKind) -> None:
        self._account = account
        self._kind = kind
        self._packer = Packer(timezone, kind)
        self._waiting: list[Answer] = []
        self.unparsed: Counter[str] = Counter()
        self.extra: Counter[str] = Counter()
        self.without_cost = 0

    def add(self, run_id: str, blob: bytes) -> Iterator[Piece]:
        """See `Normalizing`."""
        self._waiting += journal.decode(blob, run_id)
        if len(self._waiting) >= NORMALIZED_ROWS:
            yield from self._normalized()

    def rest(self) -> Iterator[Piece]:
        """See `Normalizing`."""
        if self._waiting:
            yield from self._normalized()
        yield from self._packer.rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting = []

    def _normalized(self) -> Iterator[Piece]:
        answers, self._waiting = self._waiting, []
        done = normalize(answers, self._account, self._kind)
        self.unparsed.update(done.unparsed)
        self.extra.update(done.extra)
        self.without_cost += done.without_cost
        yield from self._packer.add(done.table, done.presumed)
