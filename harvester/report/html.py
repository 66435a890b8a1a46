"""A report as one page of HTML that works offline: no script, nothing loaded, light and dark.

Theory of operation.  The page is made of text that was escaped and of numbers that we wrote; every
value passes `markup`, `escape` or a function of `telling`, and the page itself forbids whatever is
not in it (Content-Security-Policy: no script, no request).  No phone number and no id of a call is
ever in it, so it can be mailed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal

from harvester.report import charts, telling
from harvester.report.calls import PriceLine, Prices
from harvester.report.charts import Axes, Bar, Line, escape
from harvester.report.figures import REACHED_CODES, Figures, Row, Table
from harvester.report.loose import Books, Loose, RunBook, Unknown
from harvester.report.markup import Cell, data_table, figure, folded, legend
from harvester.report.notes import report_notes, span
from harvester.report.overview import Hours, Report
from harvester.report.style import STYLE

_MOST_DAYS = 800
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(report: Report) -> str:
    """The whole page."""
    title = f"Calls {escape(span(report))}"
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer">',
            f"<title>{title}</title><style>{STYLE}</style></head><body><main>",
            _head(report, title),
            *_sections(report),
            _foot(report),
            "</main></body></html>\n",
        )
    )


def _head(report: Report, title: str) -> str:
    made = report.made_at.strftime("%Y-%m-%d %H:%M UTC")
    notes = [f'<p class="note">{escape(note)}</p>' for note in report_notes(report)]
    return (
        f"<header><h1>{_unbroken(title)}</h1>"
        f'<p class="soft">{escape(report.output)} · days of {escape(report.timezone)} by time of '
        f"submission · made {made}</p>{''.join(notes)}{_tiles(report)}</header>"
    )


def _unbroken(title: str) -> str:
    """A title whose days aren't broken at their hyphens."""
    return " ".join(f'<span class="day">{word}</span>' for word in title.split())


def _tiles(report: Report) -> str:
    total = report.calls.total
    tiles = [
        ("Calls", telling.count(total.calls), f"{telling.count(total.answered)} answered"),
        ("ASR", telling.percent(total.asr), "answered of all calls"),
        ("NER", telling.percent(total.ner), "reached the other end"),
        ("Minutes", telling.tenths(total.minutes), "of conversation"),
        ("Charged minutes", telling.tenths(total.charged_minutes), "by the vendor"),
        ("ACD", telling.seconds(total.acd_s), "average call duration"),
        (
            "PDD",
            telling.milliseconds(report.delay.median),
            f"median; 95 % within {telling.milliseconds(report.delay.p95)}",
        ),
    ]
    tiles += [
        (f"Cost in {currency}", telling.money(cost), f"exactly {telling.exact(cost)}")
        for currency, cost in sorted(total.cost.items())
    ]
    cells = (
        f'<div><dt>{escape(name)}</dt><dd class="big">{escape(figure)}</dd>'
        f'<dd class="soft">{escape(told)}</dd></div>'
        for name, figure, told in tiles
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _sections(report: Report) -> Iterator[str]:
    calls = report.calls
    if calls.total.calls:
        yield _section("Day by day", _days(report))
        yield _section("Destinations", _ranked("destination", calls.by_destination, calls.total))
        yield _section(
            "How calls ended",
            _ranked("code", calls.by_code, calls.total),
            _measures(calls.total),
        )
        yield _section("When calls are made", _hours(report.hours, report.timezone))
        yield _section("Prices", _prices(calls.prices, _all_days(report)))
    yield _section("Open and dead, as of now", _loose(report.loose))
    yield _section("The books of the runs", _books(report.books))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


# --- days --------------------------------------------------------------------------------------


def _all_days(report: Report) -> list[date]:
    if report.first_day is None or report.last_day is None:
        return []
    return telling.days_between(report.first_day, report.last_day)[-_MOST_DAYS:]


def _days(report: Report) -> str:
    days = _all_days(report)
    by_day = {row.name: row.figures for row in report.calls.by_day}
    found = [by_day.get(day.isoformat(), Figures()) for day in days]
    currencies = sorted(report.calls.total.cost)
    charts_ = [_calls_chart(days, found), _ratio_chart(days, found)]
    charts_ += [_cost_chart(days, found, currency) for currency in currencies]
    most = max((row.figures.calls for row in report.calls.by_day), default=0)
    rows = [_figure_row(row, most, currencies) for row in report.calls.by_day]
    table = data_table("day", _figure_heads("day", currencies), rows)
    return (
        f'<div class="pair">{"".join(charts_)}</div>'
        f"<details><summary>The days as a table</summary>{table}</details>"
    )


def _calls_chart(days: Sequence[date], found: Sequence[Figures]) -> str:
    top = charts.nice(max((one.calls for one in found), default=0))
    columns = [
        Bar(
            (one.answered, one.calls - one.answered),
            f"{day}: {telling.count(one.calls)} calls, {telling.count(one.answered)} answered",
        )
        for day, one in zip(days, found, strict=True)
    ]
    axes = Axes("Calls by day, answered and not", f"{top:,f}", "0", _along(days))
    key = legend(("k0", "answered"), ("k1", "not answered"))
    return figure("Calls", key, charts.bars(axes, columns, top))


def _ratio_chart(days: Sequence[date], found: Sequence[Figures]) -> str:
    drawn = [
        Line("ASR", tuple(one.asr for one in found)),
        Line("NER", tuple(one.ner for one in found)),
    ]
    axes = Axes("ASR and NER by day, per cent", "100 %", "0 %", _along(days))
    key = legend(("k0 line", "ASR"), ("k2 line", "NER"))
    return figure("ASR and NER", key, charts.lines(axes, drawn, Decimal(0), Decimal(100)))


def _cost_chart(days: Sequence[date], found: Sequence[Figures], currency: str) -> str:
    costs = [one.cost.get(currency, Decimal(0)) for one in found]
    top = charts.nice(max(costs, default=Decimal(0)))
    columns = [
        Bar((cost,), f"{day}: {telling.money(cost)} {currency}")
        for day, cost in zip(days, costs, strict=True)
    ]
    axes = Axes(f"Cost in {currency} by day", f"{top:,f}", "0", _along(days))
    return figure(f"Cost in {currency}", "", charts.bars(axes, columns, top))


def _along(days: Sequence[date]) -> tuple[str, ...]:
    """The first, the middle and the last day."""
    if len(days) < 3:
        return tuple(map(_short, days))
    return _short(days[0]), _short(days[len(days) // 2]), _short(days[-1])


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"


# --- destinations and codes --------------------------------------------------------------------


def _ranked(what: str, table: Table, total: Figures) -> str:
    currencies = sorted(total.cost)
    heads = _figure_heads(what, currencies)
    found = list(table.rows)
    if table.others is not None:
        found.append(Row(f"{table.others.name} others", table.others.figures))
    most = max(row.figures.calls for row in found)
    rows = [_figure_row(row, most, currencies) for row in found]
    return folded(what, heads, rows)


def _figure_heads(what: str, currencies: Iterable[str]) -> list[str]:
    costs = [f"cost, {currency}" for currency in currencies]
    return [what, "calls", "answered", "ASR", "NER", "ACD", "PDD", "minutes", "charged", *costs]


def _figure_row(row: Row, most: int, currencies: Iterable[str]) -> list[Cell]:
    one = row.figures
    return [
        Cell(telling.named(row.name)),
        Cell(telling.count(one.calls), mark=charts.share_bar(one.calls, most)),
        Cell(telling.count(one.answered)),
        Cell(telling.percent(one.asr)),
        Cell(telling.percent(one.ner)),
        Cell(telling.seconds(one.acd_s)),
        Cell(telling.seconds(one.pdd_s)),
        Cell(telling.tenths(one.minutes)),
        Cell(telling.tenths(one.charged_minutes)),
        *(Cell(_cost(one, currency)) for currency in currencies),
    ]


def _cost(figures: Figures, currency: str) -> str:
    return telling.money(figures.cost[currency]) if currency in figures.cost else telling.NONE


def _measures(total: Figures) -> str:
    codes = ", ".join(f"{code} ({what})" for code, what in REACHED_CODES.items())
    unjudged = telling.count(total.calls - total.judged)
    return (
        '<details><summary>How ASR, NER, ACD and PDD are reckoned</summary><div class="soft">'
        "<p>ASR: answered calls / calls (ITU-T E.425).</p>"
        "<p>NER: calls that reached the other end / calls (ITU-T E.425); the recommendation names "
        "answer, user busy, ring no answer and terminal rejection. Of the SIP codes these count: "
        f"{escape(codes)}. Calls that say no SIP code and were not answered are left out: "
        f"{unjudged}.</p>"
        "<p>ACD: seconds of answered calls / answered calls. PDD: ringing time less call time; by "
        "row the mean, above the median.</p></div></details>"
    )


# --- hours -------------------------------------------------------------------------------------


def _hours(hours: Hours, timezone: str) -> str:
    told = [
        [
            f"{day} {hour:02}:00: {telling.count(value)} calls"
            for hour, value in enumerate(hours.week[number])
        ]
        for number, day in enumerate(_WEEKDAYS)
    ]
    field = charts.grid("Calls by weekday and hour", hours.week, told)
    days = "".join(f"<span>{day}</span>" for day in _WEEKDAYS)
    clock = "".join(f"<span>{hour:02}</span>" for hour in (0, 6, 12, 18, 23))
    busiest = [
        [
            Cell(busy.begins_at.strftime("%a %Y-%m-%d %H:00")),
            Cell(telling.count(busy.calls)),
            Cell(telling.count(busy.answered)),
        ]
        for busy in hours.busiest
    ]
    week = [
        [Cell(day), *(Cell(telling.count(value)) for value in hours.week[number])]
        for number, day in enumerate(_WEEKDAYS)
    ]
    heads = ["day", *(f"{hour:02}" for hour in range(24))]
    return (
        f'<p class="soft">By the hour of submission, on a clock of {escape(timezone)}.</p>'
        f'<div class="pair"><figure><div class="week"><div class="days" aria-hidden="true">{days}'
        f'</div>{field}<div class="x" aria-hidden="true">{clock}</div></div></figure>'
        f"<div><h3>Busiest hours</h3>{data_table('hour', ['hour', 'calls', 'answered'], busiest)}"
        f"</div></div><details><summary>The week as a table</summary>"
        f"{data_table('calls by weekday and hour', heads, week)}</details>"
    )


# --- prices ------------------------------------------------------------------------------------


def _prices(prices: Prices, days: Sequence[date]) -> str:
    known, mixed = telling.count(prices.destination_days), telling.count(prices.mixed)
    told = (
        "The usual price (<code>rate</code>) of a destination's day is the one that most of its "
        f"calls had; the band spans the lowest and the highest. Of {known} days of destinations, "
        f"{mixed} had no price that held for more than half of the calls: these are not compared."
    )
    charts_ = "".join(_price_chart(line, days) for line in prices.lines)
    drawn = f'<div class="pair">{charts_}</div>{_price_table(prices)}'
    if not prices.changes:
        return f'<p class="soft">{told}</p>{drawn}<p>No price changed.</p>'
    rows = [
        [
            Cell(telling.named(change.destination)),
            Cell(change.day),
            Cell(telling.exact(change.before)),
            Cell(telling.exact(change.after)),
            Cell(telling.change(change.before, change.after)),
            Cell(telling.plain(change.currency)),
            Cell(telling.count(change.calls)),
        ]
        for change in prices.changes
    ]
    heads = ["destination", "since", "before", "now", "change", "currency", "calls that day"]
    more = prices.changes_in_all - len(rows)
    rest = (
        f'<p class="soft">{telling.count(more)} older changes are not listed.</p>' if more else ""
    )
    return (
        f'<p class="soft">{told}</p>{drawn}'
        f"<h3>Changes, newest first</h3>{folded('price changes', heads, rows)}{rest}"
    )


def _price_table(prices: Prices) -> str:
    rows = [
        [
            Cell(telling.named(line.destination)),
            Cell(day.day),
            *(Cell(telling.exact(price)) for price in (day.usual, day.lowest, day.highest)),
            Cell(telling.plain(line.currency)),
        ]
        for line in prices.lines
        for day in line.days
    ]
    heads = ["destination", "day", "usual", "lowest", "highest", "currency"]
    drawn = data_table("prices by day", heads, rows)
    return f"<details><summary>These prices as a table</summary>{drawn}</details>"


def _price_chart(line: PriceLine, days: Sequence[date]) -> str:
    by_day = {price.day: price for price in line.days}
    found = [by_day.get(day.isoformat()) for day in days]
    prices = [price for price in found if price is not None]
    if not prices:
        return ""
    lowest = min(price.lowest for price in prices)
    highest = max(price.highest for price in prices)
    # A little air, so that a price that never moved is a line in the middle.
    air = (highest - lowest) / 10 or highest / 10 or Decimal(1)
    name = f"{telling.named(line.destination)}, {telling.plain(line.currency)}"
    usual = Line("usual price", tuple(price.usual if price else None for price in found))
    band = (
        Line("lowest", tuple(price.lowest if price else None for price in found)),
        Line("highest", tuple(price.highest if price else None for price in found)),
    )
    axes = Axes(
        f"Price by day: {name}", telling.exact(highest), telling.exact(lowest), _along(days)
    )
    drawing = charts.steps(axes, usual, band, lowest - air, highest + air)
    return f'<div class="small">{figure(name, "", drawing)}</div>'


# --- loose ends and books ----------------------------------------------------------------------


def _loose(loose: Loose | Unknown) -> str:
    if isinstance(loose, Unknown):
        return f'<p class="note">Not known now: {escape(loose.why)}.</p>'
    told = (
        f"Over the whole output, whatever the period: {telling.count(loose.open)} open, of which "
        f"{telling.count(loose.open_due)} are due to be asked again; {telling.count(loose.dead)} "
        f"dead; {telling.count(loose.pending)} not asked yet."
    )
    rows = [
        [Cell(state), Cell(telling.plain(reason), "text reason"), Cell(telling.count(number))]
        for state, reasons in (("open", loose.open_by_reason), ("dead", loose.dead_by_reason))
        for reason, number in reasons.items()
    ]
    table = data_table("open and dead", ["state", "reason", "ids"], rows) if rows else ""
    return f'<p class="soft">{told}</p>{table}'


def _books(books: Books) -> str:
    if not books.runs:
        return '<p class="soft">No run began in this period.</p>'
    heads = [
        "run",
        "exit",
        "books",
        "requests",
        "attempted",
        "delivered",
        "open",
        "dead",
        "deferred",
        "rows",
        "cost",
    ]
    told = "attempted = delivered + open + dead + deferred + cut off; as each run counted itself."
    unread = ""
    if books.unreadable:
        unread = (
            f'<p class="note">{telling.count(len(books.unreadable))} summaries can\'t be read: '
            "`harvester verify` names them.</p>"
        )
    table = folded("runs", heads, [_book_row(run) for run in books.runs])
    return f'<p class="soft">{told}</p>{unread}{table}'


def _book_row(run: RunBook) -> list[Cell]:
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
        Cell(telling.plain(run.run_id)),
        Cell("killed" if run.exit_code is None else str(run.exit_code)),
        Cell("balance" if run.balanced else "DIFFER"),
        *(Cell(telling.count(number)) for number in numbers),
        Cell(telling.moneys(run.cost)),
    ]


def _foot(report: Report) -> str:
    files = telling.count(report.files)
    return (
        f"<footer>From {files} files of the data set, by <code>harvester report</code>. Amounts "
        "are exact decimals, rounded only where they are shown. No phone number and no id of a "
        "call is on this page.</footer>"
    )
