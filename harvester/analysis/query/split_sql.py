"""Where one SQL statement ends and the next begins."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Whole pieces first; what only opens one is a piece that has no end yet.
_PIECE = re.compile(
    r"""
    (?P<whole> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
             | --[^\n]*(?:\n|\Z) | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | \w+ )
  | (?P<end> ; )
  | (?P<opened> ['"] | /\* | \$\w*\$ )
  | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Split:
    """A text in statements."""

    whole: tuple[str, ...]
    """Those that a semicolon ended, without it; none of them is blank."""
    rest: str
    """What has no end yet; "" if that is nothing but blanks."""


def split(text: str) -> Split:
    """Part statements at semicolons that stand neither in quotes nor in comments."""
    whole = []
    begin = 0
    for piece in _PIECE.finditer(text):
        if piece["opened"]:
            break
        if piece["end"]:
            whole.append(text[begin : piece.start()].strip())
            begin = piece.end()
    return Split(tuple(filter(None, whole)), text[begin:] if text[begin:].strip() else "")
