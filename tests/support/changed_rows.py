"""Rows and changes of rows, as tables, for tests of what is made of them."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pyarrow as pa

from harvester.answers.answer import Answer
from harvester.dataset.changes import NEW, OLD, changes_of
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize

CHANGES = changes_of(GROUP_RECORD)


def row(voice_id: str, cost: str, run: str = "first", at: int = 0, **more: Any) -> dict[str, Any]:
    """A call of a minute in USD."""
    said = {"submitTime": "2026-11-01T10:00:00Z", "callDuration": 60, "chargedDuration": 60}
    said |= {"currency": "USD", "cost": cost, **more}
    answer = Answer(voice_id, json.dumps({"data": said}).encode(), at, run, is_final=True)
    (found,) = normalize([answer], "acme", GROUP_RECORD).table.to_pylist()
    return dict(found)


def rows(*found: dict[str, Any]) -> pa.Table:
    """A table of rows of cdr/."""
    return pa.Table.from_pylist(list(found), GROUP_RECORD.schema)


def change(
    old: dict[str, Any], new: dict[str, Any], publication: int, day: str | None = "2026-11-01"
) -> dict[str, Any]:
    """A row of changes/; `day`: of the folder that the call's row lies in."""
    return {
        "voice_id": old["voice_id"],
        "submit_date": None if day is None else date.fromisoformat(day),
        "changed_at": new["fetched_at"],
        "publication": publication,
        "run_id": new["run_id"],
        "reason": "vendor",
        "changed": ["cost"],
        OLD: old,
        NEW: new,
    }


def changes(*found: dict[str, Any]) -> pa.Table:
    """A table of rows of changes/."""
    return pa.Table.from_pylist(list(found), CHANGES.schema)
