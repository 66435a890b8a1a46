"""How many connections the limit of open files leaves room for.

Connections are what a run has most of, and they take whatever there is; then it is the ledger, the
journal's parts or the status that can't be opened, and the run ends.  So a run asks for what it
needs, which any process may up to its hard limit, and makes do with fewer connections if that is
not enough.
"""

from __future__ import annotations

import resource

SPARE_FILES = 64
"""Files that a run has open beside its connections: ledger, list, parts, logs, libraries."""


def most_files() -> int:
    """Open files that this process may have, once it asks for them; -1 for no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return -1 if hard == resource.RLIM_INFINITY else hard


def room_for(concurrency: int) -> int:
    """Connections that may be open at once: `concurrency`, or what there is room for.

    Raises this process's own limit as far as that needs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = concurrency + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return concurrency
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return connections_within(allowed, concurrency)


def connections_within(files: int, concurrency: int) -> int:
    """Of `concurrency`, as many as leave room for what else a run opens; one at least."""
    return max(1, min(concurrency, files - SPARE_FILES))
