"""What `refetch` is to fetch again, and what it has found.

Theory of operation.  The ids are chosen when the list is made; what it was made for, and how many
ids there are, is kept with it.  So the same command after a kill goes on with the list in force,
and a sample knows what it was drawn from.  What became of each answer is kept with the publication
that compared it (`state.values.Compared`), by the run that fetched it: the totals of a run are the
same whether it published its answers itself or another did.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from harvester.dataset.files import newest_fetch_ms
from harvester.dataset.kind import IS_RATED, RecordKind
from harvester.inputs.discover import IdFile
from harvester.inputs.worklist.spec import Chosen, Selection
from harvester.pipeline.engine.settle import KEPT_MS
from harvester.pipeline.run.requests import RefetchRequest
from harvester.state import between_runs, publications
from harvester.state.values import Compared, PartRecord, RunRecord, WorkList
from harvester.storage import dropped
from harvester.storage.output import Output

_Z = 1.959963984540054
"""Of a normal distribution: 95 % lie within so many standard deviations."""
_HOUR_MS = 3_600_000
_ZERO = Decimal(0)


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """What a list was made for: kept with it."""

    key: str
    what: str
    share: float | None = None
    chosen: Chosen = Chosen()
    since: int = 0
    """The newest publication when the list was made: what later ones compared belongs to it."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Of what a sample found, what that would be for all ids it was drawn from.

    Shares are of 1; each `low` and `high` are the ends of an interval of 95 %.
    """

    population: int
    compared: int
    changed: int
    share_low: float
    share_high: float
    changed_whole: int
    changed_low: int
    changed_high: int
    cost_whole: dict[str, str] = {}
    """Decimal text by currency."""
    cost_low: dict[str, str] = {}
    cost_high: dict[str, str] = {}


class RefetchTotals(msgspec.Struct, frozen=True, kw_only=True):
    """again = same + changed + extra_only + missing + forgotten + failed + in_journal."""

    again: int
    """Ids whose record was in the data set already, and that have an outcome of this run."""
    same: int
    changed: int
    extra_only: int
    """Nothing but `extra` or `unparsed` differs: no change."""
    missing: int
    """The data set has no row of the call any more."""
    forgotten: int
    """The vendor has no record of the call any more; what the data set has stays."""
    failed: int
    """Failed in too many runs: not fetched again before another `refetch`."""
    in_journal: int
    """Answers that are not compared yet."""
    pending: int
    """Ids on the list that have no outcome yet."""
    cost: dict[str, str] = {}
    """By currency: what costs rose and fell by, added up."""
    cost_moved: dict[str, str] = {}
    """The same, each rise and each fall counted as above zero."""
    alarmed: dict[str, int] = {}
    """callee, submit_time or voice_id -> rows in which it changed, though no call may change it."""
    alarms: dict[str, tuple[str, ...]] = {}
    """The same -> some ids of such rows."""
    left_out: int = 0
    """Ids that are such as was wanted, and dated outside the bounds or erased."""
    outside: int = 0
    """Ids of `--ids` that the data set does not have."""
    outside_ids: tuple[str, ...] = ()
    sample: Estimate | None = None
    """None before all ids of the sample have an outcome."""

    @property
    def outcomes(self) -> dict[str, int]:
        """What became of the ids, but for answers that are not compared yet."""
        names = ("same", "changed", "extra_only", "missing", "forgotten", "failed")
        return {name: getattr(self, name) for name in names}


def selection_of(  # noqa: PLR0917 - what a selection is made of
    db: sqlite3.Connection,
    output: Output,
    kind: RecordKind,
    request: RefetchRequest,
    files: tuple[IdFile, ...] | None,
    now_ms: int,
    salt: str,
) -> Selection:
    """The ids that a request names; where it names none, those that the vendor must still have.

    `now_ms`: by our clock.
    """
    place_of = output.place_of
    parts = publications.current_parts(db, place_of)
    changes = publications.current_parts(db, place_of, changes=True)
    since_ms, until_ms = request.since_ms, request.until_ms
    if since_ms is None and until_ms is None and files is None:
        since_ms = _earliest_ms(db, output, parts, now_ms) - KEPT_MS
    return Selection(
        what=request.what,
        parts=tuple(str(place_of(part.path)) for part in parts),
        changes=tuple(str(place_of(part.path)) for part in changes),
        erased=tuple(map(str, dropped.erased_files(output.dropped))),
        has_rated=IS_RATED.name in kind.by_name,
        column=request.column,
        since_ms=since_ms,
        until_ms=until_ms,
        files=files,
        share=request.share,
        salt=salt,
    )


def _earliest_ms(
    db: sqlite3.Connection, output: Output, parts: Sequence[PartRecord], now_ms: int
) -> int:
    """The earliest that it may be on the vendor's clock, of what is known before anybody asks it.

    Our clock may be wrong now, or have been when a run compared it last.  But no answer came in the
    future: so the time of the newest rows tells which of the two can't be.
    """
    newest = max(parts, key=lambda part: part.brought_by, default=None)
    seen_ms = 0 if newest is None else newest_fetch_ms(output.place_of(newest.path)) - _HOUR_MS
    times = (now_ms, now_ms + int(between_runs.last_skew_s(db) * 1000))
    return min((one for one in times if one >= seen_ms), default=max(times))


def key_of(request: RefetchRequest, ids_key: str) -> str:
    """What stands for a selection; the same words name the same one."""
    told = (
        request.what,
        request.since_ms,
        request.until_ms,
        request.column,
        ids_key,
        request.share,
    )
    return "refetch " + msgspec.json.encode(told).decode()


def compared_by(db: sqlite3.Connection, run: RunRecord) -> Compared:
    """What became of the answers of a run that are compared."""
    notes = publications.notes_since(db, run.first_publication - 1)
    return added(note.compared[run.id] for _, note in notes if run.id in note.compared)


def compared_for(db: sqlite3.Connection, ordered: Ordered | None) -> Compared:
    """What became of the answers of a list so far, whichever run fetched them."""
    if ordered is None:
        return Compared()
    notes = publications.notes_since(db, ordered.since)
    return added(one for _, note in notes for one in note.compared.values())


def added(found: Iterable[Compared]) -> Compared:
    """All of them as one."""
    total = Compared()
    for one in found:
        total.same += one.same
        total.changed += one.changed
        total.extra_only += one.extra_only
        total.missing += one.missing
        total.unrated += one.unrated
        for mine, theirs in (
            (total.cost, one.cost),
            (total.moved, one.moved),
            (total.squares, one.squares),
        ):
            for currency, amount in theirs.items():
                mine[currency] = f"{Decimal(mine.get(currency, '0')) + Decimal(amount):f}"
        for column, rows in one.alarmed.items():
            total.alarmed[column] = total.alarmed.get(column, 0) + rows
            total.alarms[column] = (*total.alarms.get(column, ()), *one.alarms[column])[:5]
    return total


def refetch_totals(
    db: sqlite3.Connection, run: RunRecord, work_list: WorkList | None, ordered: Ordered | None
) -> RefetchTotals | None:
    """What a run has found about calls that the data set had already; None if it looked at none."""
    pending = work_list.pending_again if work_list else 0
    if not (run.again or pending or ordered):
        return None
    found = compared_by(db, run)
    in_journal = sum(row.records for row in publications.journal_blobs(db, run.id, "again"))
    chosen = ordered.chosen if ordered else Chosen()
    # In their order a part of the ids is no sample: they are sorted, and ids tell dates.
    is_whole = not pending and not publications.journal_size(db, "again")[0]
    is_sample = ordered is not None and ordered.share is not None and is_whole
    return RefetchTotals(
        again=run.again,
        same=found.same,
        changed=found.changed,
        extra_only=found.extra_only,
        missing=found.missing,
        forgotten=run.forgotten,
        failed=run.failed,
        in_journal=in_journal,
        pending=pending,
        cost=_sorted(found.cost),
        cost_moved=_sorted(found.moved),
        alarmed=found.alarmed,
        alarms=found.alarms,
        left_out=chosen.left_out,
        outside=chosen.outside,
        outside_ids=chosen.outside_ids,
        sample=estimate_of(compared_for(db, ordered), chosen.population) if is_sample else None,
    )


def estimate_of(found: Compared, population: int) -> Estimate | None:
    """What a sample says of all that it was drawn from; None of a sample of none."""
    size = found.same + found.changed + found.extra_only
    if not size:
        return None
    low, high = wilson(found.changed, size)
    whole, lows, highs = {}, {}, {}
    for currency, cost in found.cost.items():
        total, square = Decimal(cost), Decimal(found.squares.get(currency, "0"))
        scale = Decimal(population) / size
        # Each id differs by so much on average; the sum of all scatters by this.
        variance = max(_ZERO, square - total * total / size) / max(1, size - 1)
        reach = Decimal(_Z) * population * (variance / size).sqrt()
        whole[currency] = _rounded(total * scale)
        lows[currency] = _rounded(total * scale - reach)
        highs[currency] = _rounded(total * scale + reach)
    return Estimate(
        population=population,
        compared=size,
        changed=found.changed,
        share_low=low,
        share_high=high,
        changed_whole=round(population * found.changed / size),
        changed_low=math.floor(population * low),
        changed_high=math.ceil(population * high),
        cost_whole=whole,
        cost_low=lows,
        cost_high=highs,
    )


def wilson(hits: int, size: int) -> tuple[float, float]:
    """Wilson's interval of 95 % of a share of which `hits` of `size` were seen."""
    share, square = hits / size, _Z * _Z
    middle = (share + square / (2 * size)) / (1 + square / size)
    reach = (
        _Z / (1 + square / size) * math.sqrt(share * (1 - share) / size + square / (4 * size**2))
    )
    return (
        0.0 if hits == 0 else max(0.0, middle - reach),
        1.0 if hits == size else min(1.0, middle + reach),
    )


def exceeded(request: object, found: Compared) -> tuple[str, str]:
    """(code, message) of the limit of a request that is exceeded; empty texts where none is.

    `found`: by the answers to its list so far, in this run and before.
    """
    if not isinstance(request, RefetchRequest):
        return "", ""
    for currency, limit in request.fail_above.items():
        moved = Decimal(found.moved.get(currency, "0"))
        if moved > limit:
            return "found.amount", (
                f"costs differ by {moved:f} {currency} in all, more than --fail-above "
                f"{currency}={limit:f} allows. The changes are in changes/."
            )
    if request.fail_on_change and found.changed:
        return "found.changed", (
            f"{found.changed:,} record(s) have changed since they were delivered. The changes are "
            "in changes/."
        )
    return "", ""


def _sorted(amounts: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(amounts.items()))


def _rounded(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal('0.01')):f}"
