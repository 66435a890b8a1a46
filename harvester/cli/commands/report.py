"""`harvester report`: what the calls of a period came to."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.days import DateBy, From, Month, To, Zone, period, scope_as_json
from harvester.cli.ui.console import emit, stderr, stdout
from harvester.cli.ui.output_files import refuse_ours, write_private

if TYPE_CHECKING:
    from harvester.analysis.apart import Apart
    from harvester.analysis.report.figures import Between, Figures, Row, Table
    from harvester.analysis.report.report import Report
    from harvester.analysis.report.unfinished import RunHistory, Unknown
    from harvester.dataset.stated import Stated
    from harvester.state.id_counts import IdCounts

Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write it as an HTML page, to read offline."),
]


def report(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    first: From = None,
    last: To = None,
    month: Month = None,
    zone: Zone = None,
    date_by: DateBy = None,
    html: Html = None,
    json: options.Json = False,
) -> int:
    """Calls, minutes and money by day, destination and termination code; ASR, ABR, NER, SEER, ACD
    and PDD; busiest hours, price changes, open and dead ids, and the control totals of the runs.

    Days and months are those of billing.zone, by billing.date_by; the heading says which. Works
    while a run does, and changes nothing. No phone number and no id is shown.

    \b
    Example:
      harvester report --month 2026-11 --html november.html
    """
    settings = options.settings(
        config, output__dir=out, billing__zone=zone, billing__date_by=date_by
    ).config
    from harvester.analysis.clock import Clock
    from harvester.analysis.report.report import Order, make_report
    from harvester.analysis.scope import Scope
    from harvester.dataset.group_record import GROUP_RECORD
    from harvester.dataset.origin import refuse_other_settings
    from harvester.storage.output import Output

    output = Output(Path(settings.output.dir))
    if html is not None:
        refuse_ours(html, output)
    scope = Scope(Clock.of(settings.billing), period(first, last, month))
    refuse_other_settings(output.cdr, settings, GROUP_RECORD)
    order = Order(scope, settings.plan.memory_limit)
    with stderr().working("reading the data set", shows=not json):
        made = make_report(output, order)
    if html is not None:
        from harvester.analysis.html.report_page import page

        write_private(html, page(made))
    if json:
        emit({"type": "report", **as_json(made)})
    else:
        from harvester.cli.ui.report_screen import screen

        terminal = stdout()
        terminal.show(screen(made, unicode=terminal.speaks_unicode, width=terminal.width))
        if html is not None:
            terminal.say(f"Written: {html}")
    return 0


def as_json(made: Report) -> dict[str, object]:
    """A report for machines: amounts as decimal text, ratios as numbers in their unit's text."""
    calls = made.calls
    return {
        "output": made.output,
        "made_at": made.made_at.isoformat(timespec="seconds"),
        **scope_as_json(made.scope),
        "first_day": made.first_day and made.first_day.isoformat(),
        "last_day": made.last_day and made.last_day.isoformat(),
        "files": made.files,
        "total": _figures(calls.total),
        "apart": apart_as_json(calls.apart),
        "by_day": [_row("day", row) for row in calls.by_day],
        "by_destination": _table("destination", calls.by_destination),
        "by_termination_code": _table("termination_code", calls.by_code, _words),
        "pdd": {
            "calls": made.delay.calls,
            "median_ms": made.delay.median,
            "p95_ms": made.delay.p95,
        },
        "by_weekday_and_hour": made.hours.week,
        "busiest_hours": _plain(made.hours.busiest),
        "prices": _plain(calls.prices),
        "changes": _plain(made.corrections),
        "unfinished": _unfinished(made.unfinished),
        "billing_days": _plain(made.billing_days),
        "control_totals": _history(made.control_totals),
        **stated_as_json(made.stated),
    }


_UNFINISHED = (
    "open",
    "open_by_reason",
    "open_due",
    "dead",
    "dead_by_reason",
    "pending",
    "retrying",
    "in_journal",
    "delivered_unrated",
    "pending_again",
)


def _unfinished(found: IdCounts | Unknown) -> object:
    from harvester.analysis.report.unfinished import Unknown

    if isinstance(found, Unknown):
        return _plain(found)
    return {name: _plain(getattr(found, name)) for name in _UNFINISHED}


def _history(found: RunHistory) -> object:
    from harvester.analysis.report.unfinished import RUN_COLUMNS

    runs = [{name: _plain(getattr(run, name)) for name in RUN_COLUMNS} for run in found.runs]
    return {"runs": runs, "unreadable": list(found.unreadable)}


def stated_as_json(stated: Stated) -> dict[str, object]:
    """Whose records these are, and how many currencies were presumed; null: it is not known."""
    from harvester.identity import vendor_of

    return {
        "account": stated.identity.account,
        "vendor": vendor_of(stated.identity) or None,
        "presumed_currency": {
            "records": stated.presumed,
            "of_records": stated.rows,
            "files_without": stated.silent,
        },
    }


def _figures(one: Figures) -> dict[str, object]:
    return {
        "calls": one.calls,
        "answered": one.answered,
        "call_duration_s": one.call_s,
        "charged_duration_s": one.charged_s,
        "minutes": _text(one.minutes, 1),
        "charged_minutes": _text(one.charged_minutes, 1),
        "unfinished": one.unfinished,
        "unrated": one.unrated,
        "seizures": one.seized,
        "asr_percent": _text(one.asr, 2),
        "abr_percent": _text(one.abr, 2),
        **_between("ner", one.ner),
        "ner_calls": one.judged,
        "ner_unjudged": one.unjudged,
        **_between("seer", one.seer),
        "acd_s": _text(one.acd_s, 1),
        "pdd_s": _text(one.pdd_s, 3),
        "cost": _plain(one.cost),
        "settle_pay": _plain(one.settle_pay) if one.settled else None,
        "settled": one.settled,
    }


def _between(name: str, ratio: Between | None) -> dict[str, object]:
    """A ratio: itself, or null where only its bounds are known."""
    low, high = (None, None) if ratio is None else (ratio.low, ratio.high)
    return {
        f"{name}_percent": _text(low, 2) if low == high else None,
        f"{name}_percent_low": _text(low, 2),
        f"{name}_percent_high": _text(high, 2),
    }


def _row(key: str, row: Row) -> dict[str, object]:
    return {key: row.name or None, **_figures(row.figures)}


def _table(
    key: str, table: Table, more: Callable[[Row], dict[str, object]] = lambda _: {}
) -> dict[str, object]:
    others = table.others
    return {
        "rows": [{**_row(key, row), **more(row)} for row in table.rows],
        "others": others and {"names": int(others.name), **_figures(others.figures)},
    }


def _words(row: Row) -> dict[str, object]:
    from harvester.analysis.phrases import meaning

    return {"meaning": meaning(row.name) or None}


def _text(number: Decimal | None, digits: int) -> str | None:
    from harvester.analysis.rounding import rounded

    return None if number is None else f"{rounded(number, Decimal(1).scaleb(-digits)):f}"


def apart_as_json(apart: Apart) -> object:
    """The records that need a look, with exact money."""
    return _plain(apart)


def _plain(value: object) -> object:
    """Values as JSON has them; a decimal as text with all its digits."""
    return _told(msgspec.to_builtins(value, builtin_types=(Decimal,)))


def _told(value: object) -> object:
    match value:
        case Decimal():
            from harvester.analysis.report.formatting import exact

            return exact(value)
        case dict():
            return {key: _told(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_told(inner) for inner in value]
        case _:
            return value
