"""Where bad lines go: all are counted, the first of them are listed as JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc

from harvester.inputs.voice_id import Reason, excerpt

LISTED_AT_MOST = 100_000

# More than an excerpt shows, less than a line of megabytes costs to look at.
_LOOKED_AT = 400


class BadIds:
    """The bad lines of an input: `file` is the one being read, `by_reason` counts them all."""

    def __init__(self, out: TextIO, *, listed_at_most: int = LISTED_AT_MOST) -> None:
        self.file = ""
        self.total = 0
        self.by_reason: Counter[str] = Counter()
        self._out = out
        self._room = listed_at_most

    def apart(self) -> BadIds:
        """Another count, that lists into the same file."""
        return BadIds(self._out, listed_at_most=self._room)

    def add_all(
        self, rows: pa.Array, reasons: pa.Array, texts: pa.Array, number: Callable[[int], int]
    ) -> None:
        """Count the rows that have a reason; list them while there is room.

        `number` gives the line of one of `rows`; the three columns are of one length.
        """
        if self._room <= 0:
            # Millions of lines may be of one kind: counted, not looked at.
            for found in pc.value_counts(reasons.drop_null()).to_pylist():
                self.total += found["counts"]
                self.by_reason[found["values"]] += found["counts"]
            return
        bad = reasons.is_valid()
        columns = (rows.filter(bad), reasons.filter(bad), texts.filter(bad))
        for row, reason, text in zip(*(one.to_pylist() for one in columns), strict=True):
            self.add(number(row), reason, text or b"")

    def add(self, line: int, reason: Reason, text: bytes | str) -> None:
        """Count a bad line; list it while there is room."""
        self.total += 1
        self.by_reason[reason] += 1
        if self._room <= 0:
            return
        self._room -= 1
        start = text[:_LOOKED_AT]
        if isinstance(start, bytes):
            start = start.decode("utf-8", "surrogateescape")
        entry = {"file": self.file, "line": line, "reason": reason, "excerpt": excerpt(start)}
        # Escaped throughout: a file's name may hold what no terminal should be sent, too.
        self._out.write(json.dumps(entry) + "\n")
