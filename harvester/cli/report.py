"""`harvester report`: what the calls of a period came to."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.console import emit, stderr, stdout
from harvester.cli.targets import refuse_ours, write_private
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.report.figures import Figures, Row, Table
    from harvester.report.overview import Report
    from harvester.report.period import Period

From = Annotated[
    str | None, typer.Option("--from", metavar="DATE", help="First day, as 2026-11-01.")
]
To = Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day, included.")]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write it as one page that works offline."),
]


def report(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    first: From = None,
    last: To = None,
    html: Html = None,
    json: options.Json = False,
) -> int:
    """Calls, minutes and money by day, destination and termination code; ASR, NER, ACD and PDD;
    busiest hours, price changes, open and dead ids, and the books of the runs.

    Days are those of the data set: by time of submission in output.partition_timezone. Works
    while a run does, and changes nothing. No phone number and no id is shown.

    \b
    Example:
      harvester report --from 2026-11-01 --to 2026-11-30 --html november.html
    """
    settings = options.settings(config, output__dir=out).config
    from harvester.harvest.output import Output
    from harvester.lake.origin import own_days
    from harvester.report.overview import Order, make_report

    output = Output(Path(settings.output.dir))
    if html is not None:
        refuse_ours(html, output)
    settings = own_days(output.cdr, settings)
    order = Order(
        period(first, last), settings.output.partition_timezone, settings.plan.memory_limit
    )
    with stderr().working("reading the data set", shows=not json):
        made = make_report(output, order)
    if html is not None:
        from harvester.report.html import page

        write_private(html, page(made))
    if json:
        emit({"type": "report", **as_json(made)})
    else:
        from harvester.cli.report_screen import screen

        terminal = stdout()
        terminal.show(screen(made, unicode=terminal.speaks_unicode, width=terminal.width))
        if html is not None:
            terminal.say(f"Written: {html}")
    return 0


def period(first: str | None, last: str | None) -> Period:
    """The days between two options.  Raises UsageError."""
    from harvester.report.period import Period

    found = Period(_day("--from", first), _day("--to", last))
    if found.first is not None and found.last is not None and found.last < found.first:
        raise UsageError(f"--to {found.last} is before --from {found.first}: no day lies between.")
    return found


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError as exc:
        raise UsageError(f"{option} {text!r} is no day: write it as 2026-11-01.") from exc


def as_json(made: Report) -> dict[str, object]:
    """A report for machines: amounts as decimal text, ratios as numbers in their unit's text."""
    calls = made.calls
    return {
        "output": made.output,
        "made_at": made.made_at.isoformat(timespec="seconds"),
        "timezone": made.timezone,
        "from": made.period.first and made.period.first.isoformat(),
        "to": made.period.last and made.period.last.isoformat(),
        "first_day": made.first_day and made.first_day.isoformat(),
        "last_day": made.last_day and made.last_day.isoformat(),
        "files": made.files,
        "total": _figures(calls.total),
        "by_day": [_row("day", row) for row in calls.by_day],
        "by_destination": _table("destination", calls.by_destination),
        "by_termination_code": _table("termination_code", calls.by_code),
        "pdd": {
            "calls": made.delay.calls,
            "median_ms": made.delay.median,
            "p95_ms": made.delay.p95,
        },
        "by_weekday_and_hour": made.hours.week,
        "busiest_hours": _plain(made.hours.busiest),
        "prices": _plain(calls.prices),
        "loose": _plain(made.loose),
        "books": _plain(made.books),
    }


def _figures(one: Figures) -> dict[str, object]:
    return {
        "calls": one.calls,
        "answered": one.answered,
        "call_duration_s": one.call_s,
        "charged_duration_s": one.charged_s,
        "minutes": str(one.minutes),
        "charged_minutes": str(one.charged_minutes),
        "unfinished": one.unfinished,
        "asr_percent": _text(one.asr),
        "ner_percent": _text(one.ner),
        "ner_calls": one.judged,
        "acd_s": _text(one.acd_s),
        "pdd_s": _text(one.pdd_s),
        "cost": _plain(one.cost),
    }


def _row(key: str, row: Row) -> dict[str, object]:
    return {key: row.name or None, **_figures(row.figures)}


def _table(key: str, table: Table) -> dict[str, object]:
    others = table.others
    return {
        "rows": [_row(key, row) for row in table.rows],
        "others": others and {"names": int(others.name), **_figures(others.figures)},
    }


def _text(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"


def _plain(value: object) -> object:
    """Values as JSON has them; a decimal as text with all its digits."""
    return _told(msgspec.to_builtins(value, builtin_types=(Decimal,)))


def _told(value: object) -> object:
    match value:
        case Decimal():
            from harvester.report.telling import exact

            return exact(value)
        case dict():
            return {key: _told(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_told(inner) for inner in value]
        case _:
            return value
