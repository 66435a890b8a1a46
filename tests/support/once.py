"""One command in a process of its own, as the crash tests hurt it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from harvester.errors import HarvesterError


def ended(work: Callable[[], object]) -> int:
    """Do it; the exit code."""
    try:
        print(work())
    except HarvesterError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0
