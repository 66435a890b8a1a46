"""Which dates leave, and what their calls come to: as first delivered, and as they are now.

Only reads.  A folder is read as a whole, its hash compared, but for the columns that no sum is made
of; one date is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from harvester.dataset.changes import NEW, OLD, rows_of
from harvester.dataset.files import usage_in
from harvester.dataset.kind import IS_RATED, Partition, RecordKind
from harvester.dataset.packing import NO_DATE, submit_dates
from harvester.pipeline.publish.folding import changes_in, in_place_of
from harvester.pipeline.publish.merging import Source, whole_part
from harvester.pipeline.run.recovery import Opened
from harvester.state import publications
from harvester.state.values import PartRecord, by_folder
from harvester.storage.dropped import LeftOfMonth, LeftOfRun

_HASHES = 1 << 128


class LeavingDate(msgspec.Struct, frozen=True):
    """A date that leaves, and what it comes to."""

    folder: str
    parts: tuple[PartRecord, ...]
    ids: pa.Array
    """Sorted."""
    runs: Mapping[str, LeftOfRun]
    months: Mapping[str, LeftOfMonth]
    unrated: int
    """Calls without a price, as they are now."""

    @property
    def date(self) -> str:
        return self.folder.partition("=")[2]


def choose(
    opened: Opened, day: date, parts: Sequence[PartRecord], changes: Sequence[PartRecord]
) -> tuple[list[LeavingDate], dict[str, str]]:
    """The dates that leave, and those that were meant and stay, with the reason."""
    before = day.isoformat()
    found: list[LeavingDate] = []
    kept: dict[str, str] = {}
    for folder, of_date in sorted(by_folder(parts).items()):
        name = folder.partition("=")[2]
        if name == NO_DATE:
            kept[name] = "its calls have no date"
        elif name < before:
            date_ = _reckoned(opened, folder, of_date, changes)
            later = [month for month in date_.months if month and f"{month}-01" >= before]
            if later:
                kept[name] = f"it holds calls of the billing month {min(later)}"
            else:
                found.append(date_)
    return found, kept


def _reckoned(
    opened: Opened, folder: str, parts: Sequence[PartRecord], changes: Sequence[PartRecord]
) -> LeavingDate:
    """What the calls of a folder come to.  Raises StoreError if a file is not as published."""
    kind, billing = opened.kind, opened.config.billing
    usage, time_column = kind.usage, f"{billing.date_by}_time"
    used = (usage.call_duration, usage.charged_duration, usage.cost, usage.currency)
    rated = [IS_RATED.name] if IS_RATED.name in kind.by_name else []
    columns = list(dict.fromkeys([kind.key, "run_id", time_column, *used, *rated]))
    tables = []
    for part in parts:
        with whole_part(source_of(opened, part), kind) as file:
            tables.append(file.read(columns, use_threads=False))
    rows = pa.concat_tables(tables).combine_chunks()
    rows = rows.take(pc.sort_indices(rows[kind.key]))
    newest = publications.newest_number(opened.db)
    of_rows = changes_in(folder, [source_of(opened, one) for one in changes], kind, newest)
    ids = of_rows[kind.key].to_pylist()
    last = {voice_id: at for at, voice_id in enumerate(ids)}
    first = {voice_id: at for at, voice_id in reversed(list(enumerate(ids)))}
    as_first = _replaced(rows, rows_of(of_rows[OLD]), first, columns, kind)
    as_now = _replaced(rows, rows_of(of_rows[NEW]), last, columns, kind)
    days = submit_dates(as_now, billing.zone, Partition(time_column, ""))
    months = [None if day == NO_DATE else day[:7] for day in days.to_pylist()]
    return LeavingDate(
        folder,
        tuple(parts),
        rows[kind.key].combine_chunks(),
        _by_run(as_first, kind),
        _by_month(as_first, as_now, months, kind),
        sum(pc.invert(as_now[name]).combine_chunks().true_count for name in rated),
    )


def _replaced(
    rows: pa.Table, others: pa.Table, at: Mapping[str, int], columns: list[str], kind: RecordKind
) -> pa.Table:
    """`rows` with those of `others` that `at` names by their ids."""
    if not at:
        return rows
    where = pc.index_in(rows[kind.key], value_set=pa.array(at, pa.string())).combine_chunks()
    taken = others.select(columns).take(pa.array(at.values(), pa.int64()))
    return in_place_of(rows, taken.take(where), where.is_valid())


def _by_run(rows: pa.Table, kind: RecordKind) -> dict[str, LeftOfRun]:
    found = {}
    for run in pc.unique(rows["run_id"]).to_pylist():
        usage = usage_in(rows.filter(pc.equal(rows["run_id"], run)), kind)
        found[run] = LeftOfRun(
            usage.rows, usage.call_duration_s, usage.charged_duration_s, dict(usage.cost)
        )
    return found


def _by_month(
    first: pa.Table, current: pa.Table, months: Sequence[str | None], kind: RecordKind
) -> dict[str, LeftOfMonth]:
    found = {}
    of_rows = pa.array([month or "" for month in months], pa.string())
    for month in pc.unique(of_rows).to_pylist():
        mask = pc.equal(of_rows, month)
        then, now = first.filter(mask), current.filter(mask)
        usage = usage_in(now, kind)
        found[month] = LeftOfMonth(
            now.num_rows, _hex(_hash(then, kind)), _hex(_hash(now, kind)), dict(usage.cost)
        )
    return found


def _hash(rows: pa.Table, kind: RecordKind) -> int:
    """As `LeftOfMonth.first` says."""
    usage, digest = kind.usage, xxhash.xxh3_128_intdigest
    columns = (kind.key, usage.charged_duration, usage.cost, usage.currency)
    values = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    return sum(digest("|".join(map(_plain, of_call)).encode()) for of_call in values) % _HASHES


def _plain(value: object) -> str:
    # Not str(): that of a cost of 0 is "0E-8".
    return "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def _hex(number: int) -> str:
    return f"{number:032x}"


def source_of(opened: Opened, part: PartRecord) -> Source:
    return Source(opened.output.place_of(part.path), part.sha256, part.publication)


def months_of(dates: Iterable[LeavingDate]) -> dict[str, LeftOfMonth]:
    found: dict[str, LeftOfMonth] = {}
    for date_ in dates:
        for month, one in date_.months.items():
            known = found.get(month, LeftOfMonth(0, "0", "0", {}))
            found[month] = LeftOfMonth(
                known.rows + one.rows,
                _hex((int(known.first, 16) + int(one.first, 16)) % _HASHES),
                _hex((int(known.current, 16) + int(one.current, 16)) % _HASHES),
                _added(known.cost, one.cost),
            )
    return dict(sorted(found.items()))


def runs_of(dates: Iterable[LeavingDate]) -> dict[str, LeftOfRun]:
    found: dict[str, LeftOfRun] = {}
    for date_ in dates:
        for run, one in date_.runs.items():
            known = found.get(run, LeftOfRun(0, 0, 0, {}))
            found[run] = LeftOfRun(
                known.rows + one.rows,
                known.call_duration_s + one.call_duration_s,
                known.charged_duration_s + one.charged_duration_s,
                _added(known.cost, one.cost),
            )
    return dict(sorted(found.items()))


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}
