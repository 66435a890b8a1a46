"""Answers about calls that the data set has already, compared with what is known of them.

Theory of operation.  A range of the journal's `again` rows is normalised as any other, so that what
is compared are typed values: "1.0" and "1.00" are one price.  A row that differs in a column that
counts goes into changes/ whole, as it was and as it is; the row of cdr/ stays as it is.  Of each
answer one thing is counted, by the run that fetched it: same, changed, extra_only or missing.

Two answers to one id may stand in one range, of a run that was killed and of the next one.  The
last is compared; the one before it says nothing that would be known otherwise, and counts as same.
Memory is bounded by the range: its rows are held packed, and one date of them is unpacked at a
time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from harvester.dataset.changes import (
    ALARMING,
    BY_VENDOR,
    ENDED_AT,
    FINAL,
    NEW,
    OLD,
    changes_of,
    compared,
)
from harvester.dataset.kind import IS_FINAL, IS_RATED, RecordKind
from harvester.dataset.packing import NO_DATE, Packer, Piece, packed
from harvester.pipeline.publish.known_rows import Known, KnownRows
from harvester.state.values import Compared

_ONLY_EXTRA = ("extra", "unparsed")
_NAMED = 5


class Comparison:
    """Takes the rows of a range, and gives those of changes/; `counts` is whole at the end."""

    def __init__(self, known: KnownRows, kind: RecordKind, timezone: str, publication: int) -> None:
        self._known = known
        self._kind = kind
        self._packer = Packer(timezone, changes_of(kind))
        self._publication = publication
        self.counts: dict[str, Compared] = {}
        """By the run that fetched the answers."""

    def changes(self, pieces: Iterable[Piece], twice: dict[str, int]) -> Iterator[Piece]:
        """What of `pieces` has changed.  Raises StoreError if a file can't be read.

        `twice`: ids of which there is more than one answer, and when the last of them came.
        """
        by_date: dict[str, list[bytes]] = {}
        for piece in pieces:
            by_date.setdefault(piece.date, []).append(piece.rows)
        elsewhere: list[bytes] = []
        for day in sorted(by_date):
            rows = self._last_of(_unpacked(by_date.pop(day)), twice)
            left = yield from self._changed(rows, day)
            if left.num_rows:
                elsewhere.append(packed(left.combine_chunks(), self._kind.schema))
        if elsewhere:
            left = yield from self._changed(_unpacked(elsewhere), None)
            for run, count in _by_run(left).items():
                self._of(run).missing += count
        yield from self._packer.rest()

    def _last_of(self, rows: pa.Table, twice: dict[str, int]) -> pa.Table:
        if not twice:
            return rows
        ids, at = rows[self._kind.key].to_pylist(), rows["fetched_at"].cast(pa.int64()).to_pylist()
        kept = pa.array([twice.get(one, when) == when for one, when in zip(ids, at, strict=True)])
        for run, count in _by_run(rows.filter(pc.invert(kept))).items():
            self._of(run).same += count
        return rows.filter(kept)

    def _changed(self, rows: pa.Table, day: str | None) -> Generator[Piece, None, pa.Table]:
        """The changes among the rows that are known in the folder of `day`; gives back the rest.

        `day` None: in any folder.
        """
        key = self._kind.key
        known = self._known.of(rows[key].combine_chunks(), day)
        at = pc.index_in(rows[key].combine_chunks(), value_set=known.rows[key].combine_chunks())
        is_known = at.is_valid()
        new = rows.filter(is_known).combine_chunks()
        at = at.drop_null()
        old = Known(known.rows.take(at).combine_chunks(), known.folders.take(at))
        yield from self._packer.add(self._compare(old, new))
        return rows.filter(pc.invert(is_known))

    def _compare(self, old: Known, new: pa.Table) -> pa.Table:
        new = _still_over(old.rows, new)
        names = compared(self._kind)
        differs = {name: _differs(old.rows[name], new[name]) for name in names}
        any_extra = _any([_differs(old.rows[n], new[n]) for n in _ONLY_EXTRA], new.num_rows)
        is_changed = _any(list(differs.values()), new.num_rows)
        for name, mask in self._lost(old.rows, new).items():
            # A change like others, but nobody should learn of it by a smaller sum.
            self._alarm_of(name, new.filter(mask))
        self._count(new, is_changed, any_extra)
        rows = pc.indices_nonzero(is_changed)
        changed = {name: mask.take(rows) for name, mask in differs.items()}
        was, now = old.rows.take(rows).combine_chunks(), new.take(rows).combine_chunks()
        self._weigh(was, now)
        self._count_unrated(was, now)
        self._alarm(now, changed)
        return self._rows_of(was, now, old.folders.take(rows), changed)

    def _rows_of(
        self, was: pa.Table, now: pa.Table, folders: pa.Array, changed: dict[str, pa.Array]
    ) -> pa.Table:
        size = now.num_rows
        names: list[list[str]] = [[] for _ in range(size)]
        for name, mask in changed.items():
            for row in pc.indices_nonzero(mask).to_pylist():
                names[row].append(name)
        days = [None if one == NO_DATE else date.fromisoformat(one) for one in folders.to_pylist()]
        is_final = pc.and_(_is_done(now), pc.invert(_is_done(was)))
        kind = changes_of(self._kind)
        columns = [
            now[self._kind.key],
            pa.array(days, pa.date32()),
            now["fetched_at"],
            pa.repeat(pa.scalar(self._publication, pa.int64()), size),
            now["run_id"],
            pc.if_else(is_final, pa.scalar(FINAL), pa.scalar(BY_VENDOR)),
            pa.array(names, pa.list_(pa.string())),
            *(self._struct(rows) for rows in (was, now)),
        ]
        names_of = [one.name for one in kind.columns]
        assert names_of[-2:] == [OLD, NEW], "in the order of the kind"
        return pa.table(dict(zip(names_of, columns, strict=True))).cast(kind.schema)

    def _struct(self, rows: pa.Table) -> pa.StructArray:
        schema = self._kind.schema
        arrays = [_one(rows[name]) for name in schema.names]
        return pa.StructArray.from_arrays(arrays, fields=list(schema))

    def _count(self, new: pa.Table, is_changed: pa.Array, any_extra: pa.Array) -> None:
        extra_only = pc.and_(any_extra, pc.invert(is_changed))
        for run, count in _by_run(new.filter(is_changed)).items():
            self._of(run).changed += count
        for run, count in _by_run(new.filter(extra_only)).items():
            self._of(run).extra_only += count
        same = pc.invert(pc.or_(is_changed, any_extra))
        for run, count in _by_run(new.filter(same)).items():
            self._of(run).same += count

    def _count_unrated(self, was: pa.Table, now: pa.Table) -> None:
        if IS_RATED.name not in now.column_names:
            return
        for rows, sign in ((was, -1), (now, 1)):
            for run, count in _by_run(now.filter(pc.invert(_one(rows[IS_RATED.name])))).items():
                self._of(run).unrated += sign * count

    def _weigh(self, was: pa.Table, now: pa.Table) -> None:
        """Add up by how much costs rose and fell, by currency."""
        usage = self._kind.usage
        runs = now["run_id"].to_pylist()
        pairs = zip(
            runs,
            _amounts(was, usage.currency, usage.cost),
            _amounts(now, usage.currency, usage.cost),
            strict=True,
        )
        for run, (old_currency, old), (currency, new) in pairs:
            if (old_currency, old) == (currency, new):
                continue
            if old_currency == currency:
                self._add(run, currency, new - old)
            else:
                self._add(run, old_currency, -old)
                self._add(run, currency, new)

    def _add(self, run: str, currency: str, difference: Decimal) -> None:
        if not difference:
            return
        of = self._of(run)
        for sums, amount in (
            (of.cost, difference),
            (of.moved, abs(difference)),
            (of.squares, difference * difference),
        ):
            sums[currency] = f"{Decimal(sums.get(currency, '0')) + amount:f}"

    def _lost(self, old: pa.Table, new: pa.Table) -> dict[str, pa.Array]:
        """Calls whose known cost is absent or unreadable now, and that were over and are not."""
        cost = self._kind.usage.cost
        was, now = _one(old[IS_FINAL.name]), _one(new[IS_FINAL.name])
        return {
            cost: _one(pc.and_(old[cost].is_valid(), new[cost].is_null())),
            IS_FINAL.name: pc.and_(was, pc.invert(now)),
        }

    def _alarm(self, now: pa.Table, changed: dict[str, pa.Array]) -> None:
        for name in ALARMING:
            if name in changed:
                self._alarm_of(name, now.filter(changed[name]))

    def _alarm_of(self, name: str, rows: pa.Table) -> None:
        for run, count in _by_run(rows).items():
            of = self._of(run)
            of.alarmed[name] = of.alarmed.get(name, 0) + count
            mine = rows.filter(pc.equal(rows["run_id"], run))[self._kind.key].to_pylist()
            of.alarms[name] = (*of.alarms.get(name, ()), *mine)[:_NAMED]

    def _of(self, run: str) -> Compared:
        return self.counts.setdefault(run, Compared())


def _unpacked(pieces: list[bytes]) -> pa.Table:
    options = pa.ipc.IpcReadOptions(use_threads=False)
    return pa.concat_tables(pa.ipc.open_file(one, options=options).read_all() for one in pieces)


def _differs(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.Array:
    """Whether two columns differ in each row; two absent values don't."""
    unequal = pc.fill_null(pc.not_equal(old, new), False)
    return _one(pc.or_(unequal, pc.xor(old.is_null(), new.is_null())))


def _any(masks: list[pa.Array], size: int) -> pa.Array:
    found = pa.repeat(pa.scalar(False), size)
    for mask in masks:
        found = pc.or_(found, mask)
    return found


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _is_done(rows: pa.Table) -> pa.Array:
    """Whether each call is over and rated."""
    done = _one(rows[IS_FINAL.name])
    return pc.and_(done, _one(rows[IS_RATED.name])) if IS_RATED.name in rows.column_names else done


def _still_over(old: pa.Table, new: pa.Table) -> pa.Table:
    """`new`, in which a call that has hung up at the same time as before is over as before.

    Whether it is over was judged by the clock of that moment, which may have been wrong.
    """
    name = IS_FINAL.name
    if ENDED_AT not in new.schema.names:
        return new
    same = pc.fill_null(pc.equal(_one(old[ENDED_AT]), _one(new[ENDED_AT])), False)
    over = pc.or_(_one(new[name]), pc.and_(_one(old[name]), same))
    return new.set_column(new.schema.get_field_index(name), new.schema.field(name), over)


def _by_run(rows: pa.Table) -> Counter[str]:
    return Counter(rows["run_id"].to_pylist())


def _amounts(rows: pa.Table, currency: str, cost: str) -> Iterator[tuple[str, Decimal]]:
    for of, amount in zip(rows[currency].to_pylist(), rows[cost].to_pylist(), strict=True):
        yield of or "", amount or Decimal(0)
