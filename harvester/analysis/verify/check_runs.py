"""The control totals of every known run: its counters, its rows, its summary."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harvester.analysis.places import Places
from harvester.analysis.verify.dataset_scan import UsageRow
from harvester.analysis.verify.findings import OLDER_STATE, Finding, damage, note
from harvester.dataset.usage import (
    UsageTotals,
    cost_units,
    counted_all,
    from_counters,
)
from harvester.money import SCALE
from harvester.run_name import is_run_id
from harvester.state import publications, run_records
from harvester.state.restore import lost_before, runs_before
from harvester.state.values import RunRecord
from harvester.storage.run_summary import (
    SUMMARY,
    RunSummary,
    SummaryError,
    read_summary,
    summary_files,
)

_COMPARED = (
    "attempted",
    "cut_off",
    "dead",
    "deferred",
    "delivered",
    "open",
    "opens_published",
    "unrated",
)
_OLDER_TOTALS = "its version left answers with a byte order mark out of its totals"
_REPORT = "Keep the output as it is, and report it: no crash and no vendor can make this."


def check_runs(
    db: sqlite3.Connection,
    usage: Sequence[UsageRow] | None,
    journal: Mapping[str, UsageTotals],
    told: Iterable[RunSummary] = (),
) -> Iterator[Finding]:
    """Counters of every run against themselves, and against the rows that carry its name.

    `usage` None: the data could not be read through, so that only the counters are looked at.
    `told`: what runs say of themselves, for those from before a rebuild.
    """
    yield from _check_lost(db)
    runs = run_records.all_runs(db)
    compared = _compared(db)
    for run in runs:
        yield from _check_counters(run)
        yield from _check_again(db, run, compared[run.id])
    if usage is None:
        return
    sums = dict(journal)
    for row in usage:
        sums[row[0]] = sums.get(row[0], UsageTotals()) + _totals(row)
    for run in runs:
        yield from _check_rows(run, sums.pop(run.id, UsageTotals()))
    yield from _unknown_runs(db, sums, {one.run_id: one for one in told})


def _check_lost(db: sqlite3.Connection) -> Iterator[Finding]:
    rows, changes = lost_before(db)
    if rows or changes:
        what = (
            f"{rows} rows and {changes} changes that runs had found were nowhere when the state "
            "was rebuilt"
        )
        remedy = (
            "What the vendor still has is fetched again: rows when their input is run again, "
            "changes by `harvester refetch delivered`."
        )
        yield note("lost", what, "state.db: run", remedy)


def _check_counters(run: RunRecord) -> Iterator[Finding]:
    if run.exit_code is None:
        return  # killed: what was under way is counted as begun, and has no outcome
    outcomes = run.delivered + run.open + run.dead + run.deferred + run.cut_off
    if run.attempted != outcomes:
        what = f"{run.attempted} ids were attempted, but {outcomes} have an outcome"
        yield damage("control_totals", what, f"run {run.id}", _REPORT)


def _compared(db: sqlite3.Connection) -> Counter[str]:
    """Run -> its answers about calls that were delivered before, as far as they are compared."""
    found = Counter[str]()
    for _, note_ in publications.notes_since(db, 0):
        for run, one in note_.compared.items():
            found[run] += one.same + one.changed + one.extra_only + one.missing
    return found


def _check_again(db: sqlite3.Connection, run: RunRecord, compared: int) -> Iterator[Finding]:
    if not (run.again or compared):
        return
    waiting = sum(row.records for row in publications.journal_blobs(db, run.id, "again"))
    outcomes = compared + run.forgotten + run.failed + waiting
    if run.again != outcomes:
        what = f"{run.again} ids were fetched again, but {outcomes} have an outcome"
        yield damage("control_totals", what, f"run {run.id}", _REPORT)


def _totals(row: UsageRow) -> UsageTotals:
    """What DuckDB summed up of one run and currency."""
    _, currency, rows, call_s, charged_s, cost = row
    costs = [] if cost is None else [(currency, cost)]
    return UsageTotals(rows, call_s, charged_s, cost_units(costs))


def _check_rows(run: RunRecord, found: UsageTotals) -> Iterator[Finding]:
    counted = from_counters(run.counters, run.rows)
    pairs = [
        ("rows", counted.rows, found.rows),
        ("call seconds", counted.call_duration_s, found.call_duration_s),
        ("charged seconds", counted.charged_duration_s, found.charged_duration_s),
        *(
            (
                f"cost in {name} (1e-{SCALE})",
                counted.cost.get(name, 0),
                found.cost.get(name, 0),
            )
            for name in sorted({*counted.cost, *found.cost})
        ),
    ]
    # Versions before `usage.answers` left an answer with a byte order mark out of these totals, and
    # read it right into its row.  Then no row is missing, and the rows hold more, never less.
    is_older = counted.rows == found.rows and not counted_all(run.counters)
    for what, answered, held in pairs:
        differs = f"{what}: the answers came to {answered}, data and journal hold {held}"
        if is_older and held > answered:
            yield note("older_totals", f"{differs}; {_OLDER_TOTALS}", f"run {run.id}")
        elif answered != held:
            yield damage("control_totals", differs, f"run {run.id}", _REPORT)


def _unknown_runs(
    db: sqlite3.Connection, sums: Mapping[str, UsageTotals], told: Mapping[str, RunSummary]
) -> Iterator[Finding]:
    """Rows of runs that the state database doesn't know: all from before a rebuild, or none."""
    is_before = runs_before(db)
    old = {name: one for name, one in sums.items() if is_before(name)}
    for name in sorted(old.keys() & told.keys()):
        yield from _check_told(told[name], old[name])
    if old:
        rows = sum(one.rows for one in old.values())
        what = f"{rows} rows are of {len(old)} run(s) before the state was rebuilt"
        yield note("rebuilt", what, "state.db: run", "Their cost is what runs/*/summary.json have.")
    for name in sorted(sums.keys() - old.keys()):
        what = f"{sums[name].rows} rows are of run {name}, which the state database does not know"
        yield damage("unknown_run", what, "state.db: run", OLDER_STATE)


def _check_told(run: RunSummary, held: UsageTotals) -> Iterator[Finding]:
    """The cost of a run's rows against its summary, if all of its rows are there."""
    told = cost_units(run.cost.items())
    for currency in sorted({*told, *held.cost}):
        there, said = held.cost.get(currency, 0), told.get(currency, 0)
        if run.rows == held.rows and there != said:
            what = (
                f"cost in {currency} (1e-{SCALE}): its summary.json has {said}, its rows come to "
                f"{there}"
            )
            remedy = (
                "A file of the data set was damaged before the state was rebuilt: restore cdr/, "
                "changes/ and dropped/ from a backup, and let `harvester rebuild` make the state."
            )
            yield damage("control_totals", what, f"run {run.run_id}", remedy)


def check_summaries(db: sqlite3.Connection, places: Places) -> Iterator[Finding]:
    """runs/<run_id>/summary.json says what the state database says."""
    runs = {run.id: run for run in run_records.all_runs(db)}
    is_before = runs_before(db)
    for path in summary_files(places.runs):
        name = path.parent.name
        if name in runs:
            yield from _check_summary(runs[name], path)
        elif is_run_id(name) and not is_before(name):
            what = f"run {name} has a summary, but the state database does not know it"
            yield damage("older_state", what, path, OLDER_STATE)
    for run in runs.values():
        if run.ended_ms is not None and not (places.runs / run.id / SUMMARY).is_file():
            where = places.runs / run.id
            yield note("no_summary", f"run {run.id} has no summary.json any more", where)


def _check_summary(run: RunRecord, path: Path) -> Iterator[Finding]:
    remedy = "The state database is right; restore the summary from a backup, or ignore it."
    try:
        summary = read_summary(path)
    except SummaryError as exc:
        yield damage("summary", f"can't be read: {exc}", path, remedy)
        return
    if run.ended_ms is None:
        return  # it was killed between its summary and its last transaction
    wrong = [name for name in _COMPARED if getattr(run, name) != getattr(summary, name)]
    if summary.run_id != run.id or summary.exit_code != run.exit_code:
        wrong.append("run_id or exit_code")
    if summary.rows != run.rows:
        wrong.append("data.rows")
    if wrong:
        what = f"differs from the state database in: {', '.join(wrong)}"
        yield damage("summary", what, path, remedy)
