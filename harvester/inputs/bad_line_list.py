"""What a `bad_ids.jsonl` tells of the lines of an input that held no voiceId.

The reader counts every bad line and lists the first of them, so the list may be shorter than the
count; then it says nothing of the rest.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from harvester.inputs.bad_lines import LISTED_AT_MOST

EXAMPLES = 5
BAD_IDS = "bad_ids.jsonl"
"""Its name in a run's folder."""

# stdin and pipes are read from a copy whose name is another one each time.
_COPY = rb'^(\{"file": ")[^"]*/((?:stdin|pipe)-)[^"/]*\.txt"'


class _BadLine(msgspec.Struct):
    file: str
    line: int
    reason: str
    excerpt: str


class BadLines(msgspec.Struct):
    """Bad lines as they are listed."""

    count: int = 0
    by_reason: Counter[str] = msgspec.field(default_factory=Counter)
    by_file: Counter[str] = msgspec.field(default_factory=Counter)
    examples: list[str] = []
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


def keep_bad_lines(runs: Path, run_id: str, count: int) -> Path:
    """The list of the input's `count` bad lines in the folder of a run, where the next look for it.

    A run that did not read the input itself, as it was known, gets the list of the one that did.
    """
    own = runs / run_id / BAD_IDS
    if not own.exists() and (earlier := newest_list(runs, count)):
        with suppress(OSError):
            shutil.copy2(earlier, own)
    return own


def newest_list(runs: Path, count: int) -> str:
    """The newest list of so many bad lines in the folders of `runs`; empty where it is gone."""
    listed = min(count, LISTED_AT_MOST)
    for path in sorted(runs.glob(f"*/{BAD_IDS}"), reverse=True):
        if sum(1 for _ in _lines(path)) == listed:
            return str(path)
    return ""


def unreported_lines(own: Path, reported: Iterable[Path]) -> int:
    """How many of the lines in `own` none of `reported` has: same file, line and text.

    Lines beyond those that are listed are not known; a list that is gone says nothing.
    """
    new = set(_lines(own))
    for path in reported:
        if not new:
            break
        new.difference_update(_lines(path))
    return len(new)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as lines:
            for line in lines:
                yield re.sub(_COPY, rb"\1\2", line)
    except OSError:
        return


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
