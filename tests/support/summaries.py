"""summary.json as a run writes it, for tests that only need one to be there."""

from __future__ import annotations

from typing import Any


def summary_of(run_id: str, **changes: Any) -> dict[str, Any]:
    """A whole summary of version 1 of a run that did nothing, but for `changes`."""
    counts = ("attempted", "delivered", "open", "dead", "deferred", "cut_off", "opens_published")
    whole: dict[str, Any] = {
        "version": 1,
        "run_id": run_id,
        "account": "default",
        "started_at": "2026-11-01T00:00:00Z",
        "ended_at": "2026-11-01T00:00:01Z",
        "exit_code": 0,
        "requests": 0,
        "run": dict.fromkeys(counts, 0),
        "data": {"rows": 0, "cost": {}},
        "differences": [],
    }
    assert changes.keys() <= {*whole, "first_publication", "else"}
    for part in ("run", "data"):
        whole[part] |= changes.pop(part, {})
    return whole | changes
