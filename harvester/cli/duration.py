"""Lengths of time as people write them: 90s, 45m, 5h, 2d."""

from __future__ import annotations

import re

from harvester.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FORM = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhd])+")
_PIECE = re.compile(r"([0-9.]+)([smhd])")


def duration_s(text: str, option: str = "--max-duration", *, may_be_zero: bool = False) -> float:
    """Seconds of "90s", "45m", "5h", "2d" or "1h30m".  Raises UsageError naming `option`."""
    trimmed = text.strip().lower()
    pieces = _PIECE.findall(trimmed) if _FORM.fullmatch(trimmed) else []
    total = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    if total <= 0 and not (pieces and may_be_zero):
        raise UsageError(
            f"{option} {text!r} is not a valid duration. Write a number and a unit of s, m, "
            "h or d, for example 45m, 5h or 1h30m.",
            code="usage.duration",
        )
    return total
