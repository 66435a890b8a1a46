"""A report as a screen: tables that end where the terminal does, the rest in --html and --json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from harvester.cli.console import Line
from harvester.cli.text import one_line
from harvester.report import telling
from harvester.report.figures import Figures, Row, Table
from harvester.report.loose import Unknown
from harvester.report.notes import report_notes, span
from harvester.report.overview import Report

_NAME = 24
_WIDTHS = (10, 9, 9, 9, 12, 12)
_HEADS = ("calls", "ASR", "ACD", "PDD", "minutes", "charged min")
_DAYS = 14
_ROWS = 10
_CHANGES = 6
_RUNS = 5
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def screen(report: Report, *, unicode: bool = True) -> list[Line]:
    """A report as lines."""
    return list(_screen(report, unicode=unicode))


def _screen(report: Report, *, unicode: bool) -> Iterator[Line]:
    calls = report.calls
    yield Line(f"Calls {span(report)}, {one_line(report.output)}", "bold")
    yield Line(f"  days of {report.timezone}, by time of submission", "dim")
    for note in report_notes(report):
        yield Line(f"  note: {note}", "yellow")
    yield from _total(report)
    if calls.total.calls:
        days = Table(calls.by_day[-_DAYS:])
        left = len(calls.by_day) - len(days.rows)
        yield from _table("Day by day" + (f" (the last {_DAYS})" if left else ""), days, report)
        yield from _table("Destinations", calls.by_destination, report)
        yield from _table("Termination codes", calls.by_code, report)
        yield from _hours(report, unicode=unicode)
        yield from _prices(report)
    yield from _loose(report)
    yield from _books(report)


def _total(report: Report) -> Iterator[Line]:
    total, delay = report.calls.total, report.delay
    yield Line()
    told = telling.count(total.answered)
    yield _figure("calls", telling.count(total.calls), f"{told} answered, ASR {_asr(total)}")
    yield _figure("NER", telling.percent(total.ner), "reached the other end (ITU-T E.425)")
    charged = telling.tenths(total.charged_minutes)
    yield _figure("minutes", telling.tenths(total.minutes), f"{charged} charged")
    yield _figure("ACD", telling.seconds(total.acd_s), "average duration of an answered call")
    p95 = telling.milliseconds(delay.p95)
    yield _figure("PDD", telling.milliseconds(delay.median), f"median; 95 % ring within {p95}")
    for currency, cost in sorted(total.cost.items()):
        yield _figure(f"cost, {currency}", telling.money(cost), f"exactly {telling.exact(cost)}")


def _asr(figures: Figures) -> str:
    return telling.percent(figures.asr)


def _figure(label: str, figure: str, told: str) -> Line:
    return Line(f"  {label:<12}{figure:>18}  {told}")


def _table(title: str, table: Table, report: Report) -> Iterator[Line]:
    currencies = sorted(report.calls.total.cost)
    costs = [report.calls.total.cost[currency] for currency in currencies]
    # As wide as the column's greatest amount, so that rows stay rows.
    wide = [max(14, len(telling.money(cost)) + 2) for cost in costs]
    heads = "".join(f"{head:>{width}}" for head, width in zip(_HEADS, _WIDTHS, strict=True))
    heads += "".join(f"{name:>{width}}" for name, width in zip(currencies, wide, strict=True))
    yield Line()
    yield Line(f"{_fit(title)}{heads}", "bold")
    shown, rest = table.rows, Figures()
    if title in ("Destinations", "Termination codes"):
        shown = table.rows[:_ROWS]
        for row in (*table.rows[_ROWS:], *([table.others] if table.others else [])):
            rest.add(row.figures)
    for row in shown:
        yield _row(row, currencies, wide)
    if rest.calls:
        yield _row(Row("all others", rest), currencies, wide)


def _row(row: Row, currencies: Sequence[str], wide: Sequence[int]) -> Line:
    one = row.figures
    figures = (
        telling.count(one.calls),
        _asr(one),
        telling.seconds(one.acd_s),
        telling.seconds(one.pdd_s),
        telling.tenths(one.minutes),
        telling.tenths(one.charged_minutes),
    )
    told = "".join(f"{figure:>{width}}" for figure, width in zip(figures, _WIDTHS, strict=True))
    for currency, width in zip(currencies, wide, strict=True):
        cost = one.cost.get(currency)
        told += f"{telling.NONE if cost is None else telling.money(cost):>{width}}"
    return Line(f"{_fit('  ' + telling.named(row.name))}{told}")


def _fit(name: str) -> str:
    """A name in its column; some scripts take two cells a character."""
    if cell_len(name) <= _NAME:
        return set_cell_size(name, _NAME)
    return set_cell_size(name, _NAME - 1) + " "


def _hours(report: Report, *, unicode: bool) -> Iterator[Line]:
    by_hour = [sum(day[hour] for day in report.hours.week) for hour in range(24)]
    most = max(by_hour) or 1
    yield Line()
    yield Line("Hours of the day", "bold")
    if unicode:
        bars = "".join(_EIGHTHS[-(-8 * calls // most)] * 2 for calls in by_hour)
        yield Line(f"  {bars}")
        yield Line("  00          06          12          18        23", "dim")
    for busy in report.hours.busiest[:3]:
        when = busy.begins_at.strftime("%a %Y-%m-%d %H:00")
        yield Line(f"  {when:<22}{telling.count(busy.calls):>10} calls")


def _prices(report: Report) -> Iterator[Line]:
    prices = report.calls.prices
    yield Line()
    yield Line(f"Price changes: {telling.count(prices.changes_in_all)}", "bold")
    for change in prices.changes[:_CHANGES]:
        before, after = telling.exact(change.before), telling.exact(change.after)
        moved = telling.change(change.before, change.after)
        currency = telling.plain(change.currency)
        yield Line(
            f"{_fit('  ' + telling.named(change.destination))}{change.day}  {before} to {after} "
            f"{currency} ({moved})"
        )
    if prices.mixed:
        yield Line(
            f"  {telling.count(prices.mixed)} of {telling.count(prices.destination_days)} days of "
            "destinations had no price that held for most calls: not compared.",
            "dim",
        )


def _loose(report: Report) -> Iterator[Line]:
    found = report.loose
    yield Line()
    yield Line("Open and dead, as of now, over the whole output", "bold")
    if isinstance(found, Unknown):
        yield Line(f"  not known now: {one_line(found.why)}.", "yellow")
        return
    yield Line(f"  open {telling.count(found.open)}{_reasons(found.open_by_reason)}")
    yield Line(f"  dead {telling.count(found.dead)}{_reasons(found.dead_by_reason)}")
    yield Line(f"  not asked yet {telling.count(found.pending)}")


def _reasons(reasons: dict[str, int]) -> str:
    told = ", ".join(f"{name} {telling.count(number)}" for name, number in reasons.items())
    return f": {told}" if told else ""


def _books(report: Report) -> Iterator[Line]:
    books = report.books
    yield Line()
    yield Line(f"Runs that began in the period: {telling.count(len(books.runs))}", "bold")
    for run in books.runs[:_RUNS]:
        state = "books balance" if run.balanced else "BOOKS DIFFER"
        code = "killed" if run.exit_code is None else f"exit {run.exit_code}"
        yield Line(
            f"  {one_line(run.run_id)}  {code:<8}{telling.count(run.delivered):>10} delivered, "
            f"{telling.count(run.open)} open, {telling.count(run.dead)} dead; {state}",
            "" if run.balanced else "bold red",
        )
    if len(books.runs) > _RUNS:
        yield Line(f"  and {telling.count(len(books.runs) - _RUNS)} before these (--html, --json)")
    if books.unreadable:
        number = telling.count(len(books.unreadable))
        yield Line(f"  {number} summaries can't be read: `harvester verify` names them.", "yellow")
