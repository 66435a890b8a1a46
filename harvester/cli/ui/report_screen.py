"""A report as a screen: tables that end where the terminal does, the rest in --html and --json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size

from harvester.analysis.notes import report_notes, span
from harvester.analysis.report import formatting
from harvester.analysis.report.figures import Figures, Row, Table
from harvester.analysis.report.report import Report
from harvester.analysis.report.source import PRESUMED, presumed
from harvester.analysis.report.unfinished import Unknown
from harvester.cli.ui.console import Line
from harvester.cli.ui.next_command import pasted
from harvester.cli.ui.text import one_line
from harvester.vendor_clock import OFFSET_TEXT

_NAME = 24
"""Cells of the first column."""
_WIDEST = _NAME - 3
"""Of them, those that a name has: two are its indent, and one is free behind it."""
_DAYS = 14
_MONTH = 31
_ROWS = 10
_CHANGES = 6
_RUNS = 5
_EIGHTHS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the tables."""

    head: str
    wide: int
    told: Callable[[Figures], str]
    rank: int = 0
    """Which columns go where the window is narrow: those of the highest rank first, 0 never."""


_COLUMNS = (
    _Column("calls", 10, lambda one: formatting.count(one.calls)),
    _Column("ASR", 9, lambda one: formatting.percent(one.asr)),
    _Column("ACD", 9, lambda one: formatting.seconds(one.acd_s), 2),
    _Column("PDD", 9, lambda one: formatting.seconds(one.pdd_s), 4),
    _Column("minutes", 12, lambda one: formatting.tenths(one.minutes), 3),
    _Column("charged min", 13, lambda one: formatting.tenths(one.charged_minutes), 5),
)


def screen(report: Report, *, unicode: bool = True, width: int | None = None) -> list[Line]:
    """A report as lines; the tables are at most `width` wide, if that is given."""
    columns = _columns(report)
    kept = _fitting(columns, width)
    lines = list(_screen(report, kept, unicode=unicode))
    gone = [column.head for column in columns if column not in kept]
    if gone:
        told = f"The window is too narrow for {', '.join(gone)}: --html and --json have them."
        lines += [Line(), Line(told, "dim")]
    return lines


def _columns(report: Report) -> list[_Column]:
    """The figures, then a column for each currency, as wide as its greatest amount."""
    costs = sorted(report.calls.total.cost.items())
    return [
        *_COLUMNS,
        *(
            _Column(currency, max(14, len(formatting.money(cost)) + 2), _cost(currency), 1)
            for currency, cost in costs
        ),
    ]


def _cost(currency: str) -> Callable[[Figures], str]:
    def told(one: Figures) -> str:
        return formatting.money(one.cost[currency]) if currency in one.cost else formatting.NONE

    return told


def _fitting(columns: Sequence[_Column], width: int | None) -> list[_Column]:
    kept = list(columns)
    while width is not None and _NAME + sum(column.wide for column in kept) > width:
        rank = max(column.rank for column in kept)
        if not rank:
            break
        kept.remove(next(column for column in reversed(kept) if column.rank == rank))
    return kept


def _screen(report: Report, columns: Sequence[_Column], *, unicode: bool) -> Iterator[Line]:
    calls = report.calls
    yield Line(f"Calls {span(report)}, {one_line(report.output)}", "bold")
    yield Line(f"  {report.scope.told}", "dim")
    for note in report_notes(report):
        yield Line(f"  note: {note}", "yellow")
    yield from _total(report)
    if calls.total.calls:
        days = Table(calls.by_day[-_DAYS:])
        left = len(calls.by_day) - len(days.rows)
        yield from _table("Day by day" + (f" (the last {_DAYS})" if left else ""), days, columns)
        yield from _table("Destinations", calls.by_destination, columns, most=_ROWS)
        codes = _renamed(calls.by_code, formatting.coded)
        yield from _table("Termination codes", codes, columns, most=_ROWS)
        yield from _hours(report, unicode=unicode)
        yield from _prices(report)
    yield from _corrections(report)
    yield from _billing_days(report)
    yield from _unfinished(report)
    yield from _runs_of(report)


def _total(report: Report) -> Iterator[Line]:
    total, delay = report.calls.total, report.delay
    yield Line()
    told = f"{formatting.count(total.answered)} answered, ABR {formatting.percent(total.abr)}"
    yield _figure("calls", formatting.count(total.calls), told)
    seizures = f"answered of {formatting.count(total.seized)} seizures (ITU-T E.425)"
    yield _figure("ASR", formatting.percent(total.asr), seizures)
    reached = f"reached the other end (ITU-T E.425){formatting.unjudged(total)}"
    yield _figure("NER", formatting.percents(total.ner), reached)
    yield _figure("SEER", formatting.percents(total.seer), "the same by RFC 6076")
    charged = formatting.tenths(total.charged_minutes)
    yield _figure("minutes", formatting.tenths(total.minutes), f"{charged} charged")
    yield _figure("ACD", formatting.seconds(total.acd_s), "average duration of an answered call")
    p95 = formatting.milliseconds(delay.p95)
    yield _figure("PDD", formatting.milliseconds(delay.median), f"median; 95 % ring within {p95}")
    for currency, cost in sorted(total.cost.items()):
        yield _figure(
            f"cost, {currency}", formatting.money(cost), f"exactly {formatting.exact(cost)}"
        )
    if total.settled:
        yield _figure("settled", formatting.money(total.settle_pay), formatting.settled(total))
    figure, of = presumed(report.stated)
    if of:
        yield _figure(PRESUMED, figure, of)


def _figure(label: str, figure: str, told: str) -> Line:
    return Line(f"  {label:<12}{figure:>18}  {told}")


def _table(
    title: str, table: Table, columns: Sequence[_Column], *, most: int | None = None
) -> Iterator[Line]:
    yield Line()
    yield Line(_fit(title) + "".join(f"{column.head:>{column.wide}}" for column in columns), "bold")
    shown, rest = table.rows, Figures()
    if most is not None:
        shown = table.rows[:most]
        for row in (*table.rows[most:], *([table.others] if table.others else [])):
            rest.add(row.figures)
    for row in shown:
        yield from _row(row, columns)
    if rest.calls:
        yield from _row(Row("all others", rest), columns)


def _renamed(table: Table, named: Callable[[str], str]) -> Table:
    return Table(tuple(Row(named(row.name), row.figures) for row in table.rows), table.others)


def _row(row: Row, columns: Sequence[_Column]) -> Iterator[Line]:
    return _beside(
        row.name, "".join(f"{column.told(row.figures):>{column.wide}}" for column in columns)
    )


def _beside(name: str, figures: str) -> Iterator[Line]:
    """Figures beside a name; what the name's column does not hold goes on below."""
    first, *rest = _broken(formatting.named(name))
    yield Line(f"{_fit(f'  {first}')}{figures}")
    yield from (Line(f"    {piece}") for piece in rest)


def _broken(name: str) -> list[str]:
    """A name as lines of at most `_WIDEST` cells, broken between words where there are any."""
    lines: list[str] = []
    for word in name.split() or [name]:
        for piece in chop_cells(word, _WIDEST):
            longer = f"{lines[-1]} {piece}" if lines else piece
            if lines and cell_len(longer) <= _WIDEST:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _fit(name: str) -> str:
    """A name in its column; some scripts take two cells a character."""
    return set_cell_size(name, _NAME)


def _hours(report: Report, *, unicode: bool) -> Iterator[Line]:
    by_hour = [sum(day[hour] for day in report.hours.week) for hour in range(24)]
    most = max(by_hour) or 1
    yield Line()
    yield Line("Hours of the day, by submit time", "bold")
    if unicode:
        bars = "".join(_EIGHTHS[-(-8 * calls // most)] * 2 for calls in by_hour)
        yield Line(f"  {bars}")
        yield Line("  00          06          12          18        23", "dim")
    for busy in report.hours.busiest[:3]:
        when = busy.begins_at.strftime("%a %Y-%m-%d %H:00")
        yield Line(f"  {when:<22}{formatting.count(busy.calls):>10} calls")


def _prices(report: Report) -> Iterator[Line]:
    prices = report.calls.prices
    yield Line()
    yield Line(f"Price changes: {formatting.count(prices.changes_in_all)}", "bold")
    for change in prices.changes[:_CHANGES]:
        before, after = formatting.exact(change.before), formatting.exact(change.after)
        moved = formatting.change(change.before, change.after)
        currency = formatting.plain(change.currency)
        yield from _beside(
            change.destination,
            f"{change.day}  {before} to {after} {currency} ({moved}; "
            f"{formatting.count(change.calls)} calls since)",
        )
    if prices.mixed:
        yield Line(
            f"  {formatting.count(prices.mixed)} of {formatting.count(prices.destination_days)} "
            "days of "
            "destinations had no price that held for most calls.",
            "dim",
        )


def _corrections(report: Report) -> Iterator[Line]:
    found = report.corrections
    if not found.changes:
        return
    yield Line()
    head = f"Changed since they were delivered: {formatting.count(found.changes)}"
    yield Line(f"{head}, counted above as they are now", "bold")
    for currency in sorted({*found.money.up, *found.money.down}):
        moved = f"{currency}: {formatting.moved(found.money.up, found.money.down, currency)}"
        yield Line(f"  {moved}")
    yield Line(f"  columns{_reasons(found.by_column)}")
    for row in found.by_destination[:_CHANGES]:
        figures = [
            f"{formatting.moved(row.money.up, row.money.down, currency)} {currency}"
            for currency in sorted({*row.money.up, *row.money.down})
        ]
        yield from _beside(row.name, "; ".join([f"{formatting.count(row.changes)}", *figures]))
    yield Line(f"  {formatting.not_folded(found.not_folded)}", "dim")


def _billing_days(report: Report) -> Iterator[Line]:
    days = report.billing_days
    if not days:
        return
    yield Line()
    yield Line(
        f"The vendor's list, day by day (days of {OFFSET_TEXT}): "
        f"{pasted(formatting.days_complete(days))}",
        "bold",
    )
    yield Line(f"  {_billing_row('', formatting.BILLING_HEADS)}", "dim")
    incomplete = [one for one in days if not one.is_complete]
    shown = incomplete[-_MONTH:] or days[-_DAYS:]
    for one in shown:
        row = _billing_row(one.day, formatting.billing_day(one))
        yield Line(f"  {row}", "" if one.is_complete else "yellow")
    if (hidden := len(incomplete) - len(shown)) > 0:
        yield Line(
            f"  {hidden} day(s) before these are not complete: see --html or --json", "yellow"
        )
    elif len(shown) < len(days):
        yield Line("  the days that are complete are in --html and --json", "dim")


def _billing_row(day: str, cells: Sequence[str]) -> str:
    figures = "".join(f"{cell:>11}" for cell in cells[1:])
    return f"{day:<10}  {cells[0]:<16}{figures}"


def _unfinished(report: Report) -> Iterator[Line]:
    found = report.unfinished
    yield Line()
    yield Line("Open and dead now, in the whole output", "bold")
    if isinstance(found, Unknown):
        yield Line(f"  not known now: {one_line(found.why)}.", "yellow")
        return
    yield Line(f"  open {formatting.count(found.open)}{_reasons(found.open_by_reason)}")
    yield Line(f"  dead {formatting.count(found.dead)}{_reasons(found.dead_by_reason)}")
    yield Line(f"  {formatting.pending(found.pending, found.retrying)}")


def _reasons(reasons: Mapping[str, int]) -> str:
    told = ", ".join(f"{name} {formatting.count(number)}" for name, number in reasons.items())
    return f": {told}" if told else ""


def _runs_of(report: Report) -> Iterator[Line]:
    history = report.control_totals
    yield Line()
    yield Line(f"Runs that began in the period: {formatting.count(len(history.runs))}", "bold")
    if history.runs:
        yield Line(f"  {'':<23}  {'':<8}{'delivered':>12}{'open':>8}{'dead':>8}  totals", "dim")
    for run in history.runs[:_RUNS]:
        code = "killed" if run.exit_code is None else f"exit {run.exit_code}"
        figures = (
            f"{formatting.count(run.delivered):>12}{formatting.count(run.open):>8}"
            f"{formatting.count(run.dead):>8}"
        )
        yield Line(
            f"  {one_line(run.run_id):<23}  {code:<8}{figures}  "
            f"{'balance' if run.balanced else 'DIFFER'}",
            "" if run.balanced else "bold red",
        )
    if len(history.runs) > _RUNS:
        yield Line(
            f"  and {formatting.count(len(history.runs) - _RUNS)} before these (--html, --json)"
        )
    if history.unreadable:
        number = formatting.count(len(history.unreadable))
        yield Line(f"  {number} summaries can't be read: `harvester verify` names them.", "yellow")
