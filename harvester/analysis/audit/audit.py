"""`harvester audit`: every rule applied to the records of a period, and what a page says of it.

Nothing is changed.  The data set is read without the output's lock, as by `report`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from harvester.analysis.apart import Apart
from harvester.analysis.audit.bill import Verdict, opened
from harvester.analysis.audit.limits import Excess, above
from harvester.analysis.places import Places
from harvester.analysis.report.data_files import data_files
from harvester.analysis.report.report import Order
from harvester.analysis.report.source import read_source
from harvester.analysis.scope import Scope
from harvester.dataset.group_record import VERSIONS
from harvester.dataset.origin import own_version
from harvester.dataset.stated import Stated
from harvester.errors import UsageError


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that an audit shows."""

    output: str
    made_at: datetime
    scope: Scope
    first_day: date | None
    last_day: date | None
    """The days that there is data of, within the period."""
    files: int
    """Files that hold days of the period."""
    calls: int
    verdicts: tuple[Verdict, ...]
    apart: Apart
    stated: Stated
    above: tuple[Excess, ...]
    """What is above the limits that were set."""

    @property
    def differing(self) -> tuple[Verdict, ...]:
        """The rules that something differs from."""
        return tuple(one for one in self.verdicts if one.differing)


def make_audit(
    places: Places,
    order: Order,
    limits: Mapping[str, Decimal],
    keep: Callable[[pa.Schema, Iterator[pa.RecordBatch]], None] | None = None,
) -> Audit:
    """Apply every rule to the records of the order's period.

    `keep` gets all that differ, and their columns.  Raises UsageError where there is no record,
    StoreError if something can't be read.
    """
    scope, found = order.scope, data_files(places, "audit")
    listed, around = found.parts, scope.parts_around(found.parts)
    found.refuse_damaged(places, around)
    files = [places.cdr / part for part in around]
    if not files:
        raise _no_calls(places, scope)
    with (
        tempfile.TemporaryDirectory(prefix="harvester-audit-") as scratch,
        opened(
            files,
            scope,
            own_version(places.cdr, listed, VERSIONS),
            changes=found.changes,
            memory_limit=order.memory_limit,
            scratch=Path(scratch),
        ) as billing,
    ):
        calls, first, last = billing.calls()
        if not calls:
            raise _no_calls(places, scope)
        verdicts, apart = billing.verdicts(), billing.apart()
        if keep is not None:
            keep(billing.found_schema, billing.differing(verdicts))
    parts = scope.parts(listed)
    return Audit(
        output=str(places.root),
        made_at=datetime.now(UTC),
        scope=scope,
        first_day=first,
        last_day=last,
        files=len(parts),
        calls=calls,
        verdicts=verdicts,
        apart=apart,
        stated=read_source(places, parts, "audit"),
        above=above(verdicts, limits),
    )


def _no_calls(places: Places, scope: Scope) -> UsageError:
    return UsageError(
        f"{places.root} holds no calls of these days ({scope.told}). Name the right folder with "
        "--out or -c, or other days.",
        code="data.no_calls",
    )
