"""Lifting: rows of an older version of the columns get those of the newest.

Theory of operation.  Fields that had no column are in `extra`, as the vendor sent them.  So a row's
`extra`, read as an answer of the newer kind, gives the new columns, and an `extra` without them.
What is no field of the vendor follows from the row (is it rated?) or is not known any more.
Nothing that was typed is typed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from harvester.answers.answer import SINGLE, Answer
from harvester.answers.rating import is_free, is_unrated
from harvester.dataset.kind import (
    CURRENCY_PRESUMED,
    EXTRA,
    FETCHED_AT,
    FETCHED_BY,
    IS_FINAL,
    IS_RATED,
    TEXT,
    UNPARSED,
    RecordKind,
)
from harvester.dataset.normalize import normalize
from harvester.dataset.stated import presumed_in
from harvester.pipeline.publish.merging import Edited


class Lift:
    """An edit (`merging.Edit`): rows of cdr/ get the columns of a newer version."""

    def __init__(
        self, old: RecordKind, new: RecordKind, free_destinations: Sequence[str] = ()
    ) -> None:
        """`free_destinations`: of calls to these nobody waits for a price."""
        self.reads = old
        self.writes = new
        self._free = free_destinations
        read_now = {column.name for column in new.columns if column.field}
        self._from_extra = tuple(sorted(read_now - old.by_name.keys()))
        self._presumed: bool | None = None

    def begin(self, footer: Mapping[bytes, bytes], rows: int) -> None:
        """See `merging.Edit`.  The old footers say whether currencies were presumed."""
        presumed, of = presumed_in(footer, rows)
        all_alike = of == rows and presumed in {0, rows}
        self._presumed = bool(presumed) if all_alike else None

    def edited(self, rows: pa.Table) -> Edited:
        """See `merging.Edit`."""
        columns: dict[str, pa.ChunkedArray] = {name: rows[name] for name in rows.schema.names}
        made = {
            IS_RATED.name: self._rated,
            CURRENCY_PRESUMED.name: self._currency_presumed,
            FETCHED_BY.name: _singly,
        }
        columns |= {name: make(rows) for name, make in made.items() if name not in columns}
        if self._from_extra:
            columns |= self._read_extra(rows)
        taken = [columns[one.name] for one in self.writes.columns]
        return Edited(pa.Table.from_arrays(taken, schema=self.writes.schema))

    def complete(self) -> None:
        """Nothing can be missing."""

    def _currency_presumed(self, rows: pa.Table) -> pa.Array:
        if self._presumed is not None:
            return pa.repeat(pa.scalar(self._presumed), rows.num_rows)
        # Any other currency than that one was sent.
        usage = self.writes.usage
        named = pc.not_equal(rows[usage.currency], usage.default_currency)
        return pc.if_else(named, pa.scalar(False), pa.scalar(None, pa.bool_()))

    def _rated(self, rows: pa.Table) -> pa.Array:
        cost = rows[self.reads.usage.cost]
        is_open = pc.or_kleene(cost.is_null(), pc.less_equal(cost, pa.scalar(Decimal(0))))
        unsure = pc.and_(rows[IS_FINAL.name], pc.fill_null(is_open, True))
        rated = [True] * rows.num_rows
        for at in pc.indices_nonzero(unsure).to_pylist():
            rated[at] = self._is_rated(rows.slice(at, 1).to_pylist()[0])
        return pa.array(rated, pa.bool_())

    def _is_rated(self, row: Mapping[str, Any]) -> bool:
        fields = _as_sent(row, self.reads)
        fetched_ms = round(row[FETCHED_AT.name].timestamp() * 1000)
        if not is_unrated(fields, fetched_ms):
            return True
        body = f'{{"data":{{"code":{fields.get("code", "null")}}}}}'
        return is_free(body.encode(), self._free)

    def _read_extra(self, rows: pa.Table) -> dict[str, pa.Array]:
        """The columns that were in `extra`, and what it and `unparsed` are without them."""
        old_extra = rows[EXTRA.name].to_pylist()
        answers = [
            Answer("", f'{{"data":{extra or "{}"}}}'.encode(), 0, "", is_final=True)
            for extra in old_extra
        ]
        read = normalize(answers, "", self.writes).table
        both = (rows[UNPARSED.name].to_pylist(), read[UNPARSED.name].to_pylist())
        found: dict[str, pa.Array] = {name: read[name] for name in self._from_extra}
        found[EXTRA.name] = read[EXTRA.name]
        found[UNPARSED.name] = pa.array(map(_joined, *both), TEXT)
        return found


def _singly(rows: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(SINGLE, TEXT), rows.num_rows)


def _joined(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one or other
    return json.dumps(json.loads(one) | json.loads(other), ensure_ascii=False)


def _as_sent(row: Mapping[str, Any], kind: RecordKind) -> dict[str, str]:
    """A row's fields as JSON texts that are typed as it is."""
    sent = {
        column.field: _literal(row[column.name])
        for column in kind.columns
        if column.field and row[column.name] is not None
    }
    odd = json.loads(row[UNPARSED.name] or "{}")
    return sent | {name: json.dumps(text) for name, text in odd.items()}


def _literal(value: object) -> str:
    if isinstance(value, datetime):
        return json.dumps(value.isoformat())
    return json.dumps(format(value, "f") if isinstance(value, Decimal) else str(value))
