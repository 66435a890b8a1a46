"""Changes in an output, without a vendor: as `refetch` would have published them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harvester.dataset.changes import BY_VENDOR, changes_of, compared
from harvester.dataset.packing import pieces_of
from harvester.dataset.parts import place, stage, sync_folders
from harvester.state import publications
from harvester.state.database import transaction
from harvester.state.values import Compared, Note, PartRecord
from tests.support.fakes import House

CHANGED_AT = datetime(2026, 10, 1, tzinfo=UTC)


def rows_of(house: House) -> dict[str, dict[str, Any]]:
    """Every row of cdr/ by its id, with the date of its folder."""
    found = {}
    for path in house.output.cdr.glob("*/*.parquet"):
        for row in pq.read_table(path, partitioning=None).to_pylist():
            found[row["voice_id"]] = row | {"folder": path.parent.name}
    return found


def current(house: House) -> dict[str, dict[str, Any]]:
    """The same, with the changes that were made since."""
    found = rows_of(house)
    changes = [
        row
        for path in house.output.changes.glob("*/*.parquet")
        for row in pq.read_table(path, partitioning=None).to_pylist()
    ]
    for change in sorted(changes, key=lambda one: one["publication"]):
        found[change["voice_id"]] |= change["new"]
    return found


def change(
    house: House,
    costs: Mapping[str, str],
    run_id: str,
    *,
    before: Mapping[str, object] | None = None,
    **others: object,
) -> int:
    """Publish other costs of these calls, and `others`, columns; returns the publication.

    `before`: columns of the old rows, as they are to be told.
    """
    kind = house.kind
    with transaction(house.db):
        number = house.db.execute(
            "INSERT INTO publication (lo, hi, state, kind) VALUES (1, 0, 'prepared', 'change')"
        ).lastrowid
    assert number is not None
    known, at = current(house), CHANGED_AT + timedelta(hours=number)
    changes: list[dict[str, Any]] = []
    for voice_id, cost in costs.items():
        row = known[voice_id] | dict(before or {})
        day = row.pop("folder").partition("=")[2]
        new = row | {"cost": Decimal(cost), "run_id": run_id, "fetched_at": at} | others
        changes.append(
            {
                kind.key: voice_id,
                kind.partition.folder: date.fromisoformat(day),
                "changed_at": at,
                "publication": number,
                "run_id": run_id,
                "reason": BY_VENDOR,
                "changed": [name for name in compared(kind) if row[name] != new[name]],
                "old": row,
                "new": new,
            }
        )
    of = changes_of(kind)
    staged = stage(
        pieces_of([pa.Table.from_pylist(changes, of.schema)], "UTC", of),
        of,
        staging=house.output.staging,
        state_id=house.state_id,
        publication=number,
        mode=0o640,
    )
    parts = [PartRecord(one.path, number, one.rows, one.bytes, one.sha256) for one in staged]
    unrated = sum(one["old"].get("is_rated", 0) - one["new"].get("is_rated", 0) for one in changes)
    compared_ = Compared(changed=len(changes), unrated=unrated)
    publications.commit(house.db, number, parts, Note(compared={run_id: compared_}))
    for one in staged:
        place(one.staged, house.output.place_of(one.path), sha256=one.sha256, mode=0o640)
    finals = [house.output.place_of(one.path) for one in staged]
    sync_folders(finals, house.output.changes)
    (publication,) = publications.unfinished(house.db)
    publications.make_live(house.db, publication)
    return number
