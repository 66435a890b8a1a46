"""A run's name: when it began and six random hex digits, so that names sort by time."""

from __future__ import annotations

import re
from datetime import UTC, datetime

STAMP = "[0-9]{8}T[0-9]{6}Z"
"""Pattern of its beginning: 20260902T010203Z."""
TAIL = "-[0-9a-f]{6}"
_FORMAT = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(STAMP + TAIL)


def is_run_id(text: str) -> bool:
    """Whether this is the name of a run; its folder under runs/ has the same."""
    return _NAME.fullmatch(text) is not None


def stamp_at(unix_s: float) -> str:
    """How the name of a run that began at an instant begins: whole seconds, UTC."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime(_FORMAT)


def began_at(name: str) -> float:
    """When the run of this name began: Unix time in whole seconds.  Raises ValueError."""
    stamp = name.partition("-")[0]
    return datetime.strptime(stamp, _FORMAT).replace(tzinfo=UTC).timestamp()
