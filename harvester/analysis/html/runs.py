"""A report's page: what is open or dead, and the control totals of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harvester.analysis.html.charts import escape
from harvester.analysis.html.markup import Cell, data_table, folded
from harvester.analysis.report import formatting
from harvester.analysis.report.unfinished import RunHistory, Unknown
from harvester.state.id_counts import BillingDay, IdCounts
from harvester.storage.run_summary import RunSummary
from harvester.vendor_clock import OFFSET_TEXT


def unfinished_section(found: IdCounts | Unknown, root: Path) -> str:
    """Open and dead ids by reason; `root` is the output's folder, which a page does not name."""
    if isinstance(found, Unknown):
        why = found.why.removesuffix(".").replace(str(root.absolute()), "OUT")
        return f'<p class="note">Not known now: {escape(why)}.</p>'
    told = (
        f"Over the whole output, whatever the period: {formatting.count(found.open)} open, "
        "of which "
        f"{formatting.count(found.open_due)} are due to be fetched again; "
        f"{formatting.count(found.dead)} dead; {formatting.pending(found.pending, found.retrying)}."
    )
    rows = [
        [Cell(state), Cell(formatting.plain(reason), "text reason"), Cell(formatting.count(number))]
        for state, reasons in (
            ("open", found.open_by_reason),
            ("dead", found.dead_by_reason),
        )
        for reason, number in reasons.items()
    ]
    table = data_table("open and dead", ["state", "reason", "ids"], rows) if rows else ""
    return f'<p class="soft">{told}</p>{table}'


def billing_days_section(days: Sequence[BillingDay]) -> str:
    """What the vendor lists for each day, and what of it is here."""
    told = (
        f"Days of the vendor's clock ({OFFSET_TEXT}), by submitTime, as "
        f"`harvester reconcile` counted them last: {formatting.days_complete(days)}. "
        "calls = delivered + open + dead + pending + dropped + missing."
    )
    rows = [[Cell(one.day), *map(Cell, formatting.billing_day(one))] for one in days]
    table = folded("billing days", ["day", *formatting.BILLING_HEADS], rows)
    return f'<p class="soft">{told}</p>{table}'


def control_totals_section(history: RunHistory) -> str:
    """The runs of the period, and whether their control totals balance."""
    if not history.runs:
        return '<p class="soft">No run began in this period.</p>'
    heads = [
        "run",
        "exit",
        "totals",
        "requests",
        "attempted",
        "delivered",
        "open",
        "dead",
        "deferred",
        "rows",
        "cost",
    ]
    told = "attempted = delivered + open + dead + deferred + cancelled; as each run counted itself."
    unread = ""
    if history.unreadable:
        unread = (
            f'<p class="note">{formatting.count(len(history.unreadable))} summaries '
            "can't be read: `harvester verify` names them.</p>"
        )
    table = folded("runs", heads, [_run_row(run) for run in history.runs])
    return f'<p class="soft">{told}</p>{unread}{table}'


def _run_row(run: RunSummary) -> list[Cell]:
    numbers = (
        run.requests,
        run.attempted,
        run.delivered,
        run.open,
        run.dead,
        run.deferred,
        run.rows,
    )
    return [
        Cell(formatting.plain(run.run_id)),
        Cell("killed" if run.exit_code is None else str(run.exit_code)),
        Cell("balance" if run.balanced else "DIFFER"),
        *(Cell(formatting.count(number)) for number in numbers),
        Cell(formatting.moneys(run.cost)),
    ]
