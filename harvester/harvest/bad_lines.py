"""What a `bad_ids.jsonl` tells of the lines of an input that held no voiceId.

The reader counts every bad line and lists the first of them, so the list may be shorter than the
count; then it says nothing of the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec

EXAMPLES = 5


class _BadLine(msgspec.Struct):
    file: str
    line: int
    reason: str
    excerpt: str


@dataclass(slots=True)
class BadLines:
    """Bad lines as they are listed."""

    count: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    by_file: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    """The first few, as `file:line: reason: excerpt`."""


def read_bad_lines(path: Path) -> BadLines:
    """What is listed in `path`; nothing where it is gone or is no such file."""
    found = BadLines()
    decoder = msgspec.json.Decoder(_BadLine)
    try:
        with path.open("rb") as lines:
            for line in lines:
                _add(found, decoder.decode(line))
    except (OSError, msgspec.MsgspecError):
        return BadLines()
    return found


def first_examples(path: Path) -> tuple[str, ...]:
    """The first few that are listed in `path`, without reading on."""
    decoder = msgspec.json.Decoder(_BadLine)
    if not path.exists():
        return ()
    with path.open("rb") as lines:
        return tuple(_told(decoder.decode(line)) for line in islice(lines, EXAMPLES))


def worst_first(by_file: Mapping[str, int]) -> dict[str, int]:
    """Files by their number of bad lines; those without are left out."""
    bad = ((file, number) for file, number in by_file.items() if number)
    return dict(sorted(bad, key=lambda one: (-one[1], one[0])))


def _add(found: BadLines, bad: _BadLine) -> None:
    found.count += 1
    found.by_reason[bad.reason] += 1
    found.by_file[bad.file] += 1
    if len(found.examples) < EXAMPLES:
        found.examples.append(_told(bad))


def _told(bad: _BadLine) -> str:
    return f"{bad.file}:{bad.line}: {bad.reason.replace('_', ' ')}: {bad.excerpt}"
