"""The books of every run that the ledger knows: its counters, its rows, its summary."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import msgspec

from harvester.analysis.places import Places
from harvester.analysis.verify.dataset_scan import UsageRow
from harvester.analysis.verify.findings import OLDER_STATE, Finding, damage, note
from harvester.dataset.files import Totals
from harvester.dataset.usage import currency_name
from harvester.state import run_records
from harvester.state.restore import runs_before
from harvester.state.values import RunRecord

COST_SCALE = 8
_COST = "usage.cost."
_ALL_RUNS = 1 << 60
_OUTCOMES = ("delivered", "open", "dead", "deferred", "cut_off")
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
_OLDER_TOTALS = "its version left answers with a byte order mark out of its totals"
_REPORT = "Keep the output as it is, and report it: no crash and no vendor can make this."


@dataclass(slots=True)
class Sums:
    """Rows, seconds, and costs by currency in units of 10^-8."""

    rows: int = 0
    call_s: int = 0
    charged_s: int = 0
    cost: dict[str, int] = field(default_factory=dict)

    def add(self, row: UsageRow) -> None:
        """Add what DuckDB summed up of one run and currency."""
        _, currency, rows, call_s, charged_s, cost = row
        self.rows += rows
        self.call_s += call_s
        self.charged_s += charged_s
        if cost is not None:
            self._add_cost(currency, cost)

    def add_totals(self, totals: Totals) -> None:
        """Add what waits in the journal."""
        self.rows += totals.rows
        self.call_s += totals.call_duration_s
        self.charged_s += totals.charged_duration_s
        for currency, cost in totals.cost.items():
            self._add_cost(currency, cost)

    def _add_cost(self, currency: str | None, cost: Decimal) -> None:
        name = currency_name(currency)
        self.cost[name] = self.cost.get(name, 0) + int(cost.scaleb(COST_SCALE))


class _RunBooks(msgspec.Struct, frozen=True):
    attempted: int
    delivered: int
    open: int
    dead: int
    deferred: int
    cut_off: int
    opens_published: int


class _DataBooks(msgspec.Struct, frozen=True):
    rows: int


class _Summary(msgspec.Struct, frozen=True):
    """What is read of a summary.json; other fields don't matter here."""

    run_id: str
    exit_code: int | None
    run: _RunBooks
    data: _DataBooks


def check_runs(
    db: sqlite3.Connection, usage: Sequence[UsageRow] | None, journal: Mapping[str, Totals]
) -> Iterator[Finding]:
    """Counters of every run against themselves, and against the rows that carry its name.

    `usage` None: the data could not be read through, so that only the counters are looked at.
    """
    runs = run_records.last_runs(db, _ALL_RUNS)
    for run in runs:
        yield from _check_counters(run)
    if usage is None:
        return
    sums: dict[str, Sums] = {}
    for row in usage:
        sums.setdefault(row[0], Sums()).add(row)
    for name, totals in journal.items():
        sums.setdefault(name, Sums()).add_totals(totals)
    for run in runs:
        yield from _check_rows(run, sums.pop(run.id, Sums()))
    yield from _unknown_runs(db, sums)


def _check_counters(run: RunRecord) -> Iterator[Finding]:
    if run.exit_code is None:
        return  # killed: what was under way is counted as begun, and has no outcome
    begun = run.counters.get("begun", 0)
    outcomes = sum(run.counters.get(name, 0) for name in _OUTCOMES)
    if begun != outcomes:
        what = f"{begun} ids were attempted, but {outcomes} have an outcome"
        yield damage("books", what, f"run {run.id}", _REPORT)


def _check_rows(run: RunRecord, found: Sums) -> Iterator[Finding]:
    counters = run.counters
    rows = counters.get("delivered", 0) + counters.get("opens_published", 0)
    costs = {k.removeprefix(_COST): v for k, v in counters.items() if k.startswith(_COST)}
    pairs = [
        ("rows", rows, found.rows),
        ("call seconds", counters.get("usage.call_duration_s", 0), found.call_s),
        ("charged seconds", counters.get("usage.charged_duration_s", 0), found.charged_s),
        *(
            (f"cost in {name} (1e-{COST_SCALE})", costs.get(name, 0), found.cost.get(name, 0))
            for name in sorted({*costs, *found.cost})
        ),
    ]
    # Versions before `usage.answers` left an answer with a byte order mark out of these totals, and
    # read it right into its row.  Then no row is missing, and the rows hold more, never less.
    is_older = rows == found.rows and "usage.answers" not in counters
    for what, answered, held in pairs:
        told = f"{what}: the answers came to {answered}, data and journal hold {held}"
        if is_older and held > answered:
            yield note("older_totals", f"{told}; {_OLDER_TOTALS}", f"run {run.id}")
        elif answered != held:
            yield damage("books", told, f"run {run.id}", _REPORT)


def _unknown_runs(db: sqlite3.Connection, sums: Mapping[str, Sums]) -> Iterator[Finding]:
    """Rows of runs that the ledger doesn't know: all from before a rebuild, or none."""
    is_before = runs_before(db)
    old = {name: one for name, one in sums.items() if is_before(name)}
    if old:
        rows = sum(one.rows for one in old.values())
        what = f"{rows} rows are of {len(old)} run(s) before the state was rebuilt"
        yield note("rebuilt", what, "state.db: run", "Their books are in runs/*/summary.json.")
    for name in sorted(sums.keys() - old.keys()):
        what = f"{sums[name].rows} rows are of run {name}, which the ledger does not know"
        yield damage("unknown_run", what, "state.db: run", OLDER_STATE)


def check_summaries(db: sqlite3.Connection, places: Places) -> Iterator[Finding]:
    """runs/<run_id>/summary.json says what the ledger says."""
    runs = {run.id: run for run in run_records.last_runs(db, _ALL_RUNS)}
    is_before = runs_before(db)
    for path in sorted(places.runs.glob("*/summary.json")):
        name = path.parent.name
        if name in runs:
            yield from _check_summary(runs[name], path)
        elif _RUN_ID.fullmatch(name) and not is_before(name):
            what = f"run {name} has a summary, but the ledger does not know it"
            yield damage("older_state", what, path, OLDER_STATE)
    for run in runs.values():
        if run.ended_ms is not None and not (places.runs / run.id / "summary.json").is_file():
            where = places.runs / run.id
            yield note("no_summary", f"run {run.id} has no summary.json any more", where)


def _check_summary(run: RunRecord, path: Path) -> Iterator[Finding]:
    remedy = "The ledger counts; restore the summary from a backup or ignore it."
    try:
        summary = msgspec.json.decode(path.read_bytes(), type=_Summary)
    except (OSError, msgspec.MsgspecError) as exc:
        yield damage("summary", f"can't be read: {exc}", path, remedy)
        return
    if run.ended_ms is None:
        return  # it was killed between its summary and its last transaction
    counters = run.counters
    said = msgspec.to_builtins(summary.run)
    known = {name: counters.get(name, 0) for name in (*_OUTCOMES, "opens_published")}
    known["attempted"] = counters.get("begun", 0)
    wrong = sorted(name for name in known if known[name] != said[name])
    if summary.run_id != run.id or summary.exit_code != run.exit_code:
        wrong.append("run_id or exit_code")
    if summary.data.rows != known["delivered"] + known["opens_published"]:
        wrong.append("data.rows")
    if wrong:
        what = f"differs from the ledger in: {', '.join(wrong)}"
        yield damage("summary", what, path, remedy)
