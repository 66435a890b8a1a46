"""`harvester audit`: does the bill follow from the vendor's own figures?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli import options
from harvester.cli.commands.report import Html, apart_as_json, stated_as_json
from harvester.cli.days import DateBy, From, Month, To, Zone, in_words, period, scope_as_json
from harvester.cli.ui.console import Line, emit, stderr, stdout
from harvester.cli.ui.output_files import refuse_ours, write_private
from harvester.cli.ui.text import count, one_line

if TYPE_CHECKING:
    from harvester.analysis.audit.audit import Audit
    from harvester.analysis.audit.bill import Difference, Verdict
    from harvester.analysis.audit.limits import Excess

_SHOWN = 3
"""Of the worst records of a rule, those on the screen; --json has ten."""

OutFile = Annotated[
    Path | None,
    typer.Option("-o", metavar="FILE", help="Write every differing record to FILE, as Parquet."),
]
FailAbove = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-above",
        metavar="LIMIT",
        help="Exit 3 if a rule's amount over is above it, such as USD=50,EUR=20 (repeatable).",
    ),
]
_EXIT_ABOVE = 3
_CODE_ABOVE = "found.amount"


def audit(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    first: From = None,
    last: To = None,
    month: Month = None,
    zone: Zone = None,
    date_by: DateBy = None,
    file: OutFile = None,
    html: Html = None,
    fail_above: FailAbove = None,
    json: options.Json = False,
) -> int:
    """Compare the vendor's bill with its own durations, periods, rates and currencies.

    The vendor publishes no formula: each rule says what it assumes. A difference is a question to
    the vendor, not an error of the data; nothing is changed or rejected, and the exit code is 0,
    or 3 if a rule's amount over is above --fail-above.
    Phone numbers are masked on the screen and in --html; the FILE of -o holds complete records.
    Only you can read both files.
    Days and months are those of billing.zone, by billing.date_by; the heading says which.

    \b
    Example:
      harvester audit --month 2026-11 -o differences.parquet
    """
    settings = options.settings(
        config, output__dir=out, billing__zone=zone, billing__date_by=date_by
    ).config
    from harvester.analysis.audit.audit import make_audit
    from harvester.analysis.audit.limits import parse_limits
    from harvester.analysis.clock import Clock
    from harvester.analysis.report.report import Order
    from harvester.analysis.scope import Scope
    from harvester.cli.ui.row_output import write_all
    from harvester.dataset.group_record import GROUP_RECORD
    from harvester.dataset.origin import refuse_other_settings
    from harvester.storage.output import Output

    limits = parse_limits(fail_above or ())
    output = Output(Path(settings.output.dir))
    scope = Scope(Clock.of(settings.billing), period(first, last, month))
    for target in filter(None, (file, html)):
        refuse_ours(target, output)
    refuse_other_settings(output.cdr, settings, GROUP_RECORD)
    order = Order(scope, settings.plan.memory_limit)
    keep = None if file is None else partial(write_all, file)
    with stderr().working("reading the data set, once for each rule", shows=not json):
        made = make_audit(output, order, limits, keep)
    if html is not None:
        from harvester.analysis.html.audit_page import page

        write_private(html, page(made))
    if json:
        for line in as_json(made):
            emit(line)
    else:
        stdout().show(screen(made, file))
        if html is not None:
            stdout().say(f"Written: {html}")
    for one in made.above:
        stderr().say(_excess(one))
    return _EXIT_ABOVE if made.above else 0


def _excess(one: Excess) -> str:
    from harvester.analysis.report.formatting import exact

    return (
        f"{one.rule}: {exact(one.over)} {one.currency} over, above the limit of "
        f"{exact(one.limit)} (--fail-above); `harvester audit -o FILE` writes the records to "
        "show the vendor."
    )


def _excess_as_json(one: Excess) -> dict[str, object]:
    from harvester.analysis.report.formatting import exact

    return {
        "rule": one.rule,
        "currency": one.currency,
        "over": exact(one.over),
        "limit": exact(one.limit),
    }


def screen(made: Audit, file: Path | None) -> list[Line]:
    """An audit as lines, the rules that something differs from first."""
    from harvester.analysis.notes import apart_notes
    from harvester.analysis.report.source import PRESUMED, presumed

    scope = made.scope
    figure, of = presumed(made.stated)
    lines = [
        Line(f"The bill of {one_line(made.output)}{in_words(scope.period)}", "bold"),
        Line(f"  {scope.told}", "dim"),
        Line("  The vendor publishes no formula: each rule says what it assumes.", "dim"),
        *(Line(f"  note: {note}", "yellow") for note in apart_notes(made.apart, scope)),
        *([Line(f"  {PRESUMED}: {figure} {of}")] if of else []),
    ]
    for verdict in sorted(made.verdicts, key=lambda one: not one.differing):
        lines += _verdict(verdict)
    lines.append(Line())
    if not made.differing:
        return [*lines, Line("Nothing differs from any rule.", "bold green")]
    where = f"all of them are in {file}" if file else "-o FILE writes all of them to Parquet"
    return [*lines, Line(f"Nothing was changed; {one_line(where)}.", "bold yellow")]


def _verdict(verdict: Verdict) -> list[Line]:
    head = f"{verdict.rule}: {count(verdict.differing)} of {count(verdict.checked)} differ"
    lines = [
        Line(),
        Line(head, "bold yellow" if verdict.differing else "bold"),
        Line(f"  assumed: {verdict.assumption}; tolerance: {verdict.tolerance}"),
    ]
    if verdict.differing:
        from harvester.analysis.report.formatting import moneys

        over, under = moneys(verdict.over), moneys(verdict.under)
        cost = f"{moneys(verdict.cost)} in all" if verdict.cost else "nothing"
        lines.append(Line(f"  over: {over}; under: {under}; these records cost {cost}"))
    return [*lines, *(_worst(one) for one in verdict.worst[:_SHOWN])]


def _worst(one: Difference) -> Line:
    from harvester.analysis.report.formatting import exact
    from harvester.redact import number_in_part

    amount = "no amount" if one.amount is None else f"{exact(one.amount)} {one.currency}"
    return Line(
        f"    {one_line(one.voice_id)}  {number_in_part(one_line(one.callee))}  "
        f"{one_line(one.destination)}: {one_line(one.found)}, expected {one_line(one.expected)} "
        f"({amount})"
    )


def as_json(made: Audit) -> Iterator[dict[str, object]]:
    """An audit for machines: a line for each rule, and one for the whole."""
    for verdict in made.verdicts:
        yield {"type": "rule", **_rule_as_json(verdict)}
    yield {
        "type": "audit",
        "output": made.output,
        "differing": sum(verdict.differing for verdict in made.verdicts),
        "code": _CODE_ABOVE if made.above else None,
        "above": [_excess_as_json(one) for one in made.above],
        **scope_as_json(made.scope),
        "apart": apart_as_json(made.apart),
        "records": made.calls,
        **stated_as_json(made.stated),
    }


def _rule_as_json(verdict: Verdict) -> dict[str, object]:
    from harvester.analysis.report.formatting import exact
    from harvester.redact import number_in_part

    return {
        "rule": verdict.rule,
        "assumption": verdict.assumption,
        "tolerance": verdict.tolerance,
        "checked": verdict.checked,
        "differing": verdict.differing,
        "over": {name: exact(amount) for name, amount in verdict.over.items()},
        "under": {name: exact(amount) for name, amount in verdict.under.items()},
        "cost": {name: exact(amount) for name, amount in verdict.cost.items()},
        "worst": [
            {
                "voice_id": one.voice_id,
                "callee": number_in_part(one.callee),
                "destination": one.destination,
                "amount": None if one.amount is None else exact(one.amount),
                "currency": one.currency,
                "found": one.found,
                "expected": one.expected,
            }
            for one in verdict.worst
        ],
    }
