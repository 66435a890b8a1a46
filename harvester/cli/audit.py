"""`harvester audit`: does the vendor charge what it says?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli import options
from harvester.cli.console import Line, emit, stderr, stdout
from harvester.cli.days import DateBy, From, Month, To, Zone, in_words, period, scope_as_json
from harvester.cli.report import apart_as_json
from harvester.cli.targets import refuse_ours
from harvester.cli.text import count, one_line
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.report.apart import Apart
    from harvester.report.billing import Billing, Difference, Verdict
    from harvester.report.limits import Excess
    from harvester.report.scope import Scope

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


def audit(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    first: From = None,
    last: To = None,
    month: Month = None,
    zone: Zone = None,
    date_by: DateBy = None,
    file: OutFile = None,
    fail_above: FailAbove = None,
    json: options.Json = False,
) -> int:
    """Hold the vendor's bill against what it says of durations, periods, rates and currencies.

    The vendor publishes no formula: each rule says what it assumes. A difference is a question to
    the vendor, not an error of the data; nothing is changed or rejected, and the exit code is 0,
    or 3 if a rule's amount over is above --fail-above.
    Phone numbers are masked on the screen; FILE holds the records whole, readable for you alone.
    Days and months are those of billing.zone, by billing.date_by; the heading says which.

    \b
    Example:
      harvester audit --month 2026-11 -o differences.parquet
    """
    settings = options.settings(
        config, output__dir=out, billing__zone=zone, billing__date_by=date_by
    ).config
    from harvester.harvest.output import Output
    from harvester.lake.dataset import list_parts
    from harvester.lake.origin import refuse_other_settings
    from harvester.report.billing import opened
    from harvester.report.clock import Clock
    from harvester.report.limits import above, parse_limits
    from harvester.report.scope import Scope

    limits = parse_limits(fail_above or ())
    output = Output(Path(settings.output.dir))
    scope = Scope(Clock.of(settings.billing), period(first, last, month))
    if file is not None:
        refuse_ours(file, output)
    refuse_other_settings(output.cdr, settings)
    parts = scope.parts_around(list_parts(output.cdr).parts)
    if not parts:
        raise _no_calls(output.root, scope)
    with (
        stderr().working("reading the data set, once for each rule", shows=not json),
        tempfile.TemporaryDirectory(prefix="harvester-audit-") as scratch,
        opened(
            [output.cdr / part for part in parts],
            scope,
            memory_limit=settings.plan.memory_limit,
            scratch=Path(scratch),
        ) as billing,
    ):
        if not billing.calls:
            raise _no_calls(output.root, scope)
        verdicts, apart = billing.verdicts(), billing.apart()
        if file is not None:
            _write(billing, verdicts, file)
    excesses = above(verdicts, limits)
    if json:
        for verdict in verdicts:
            emit({"type": "rule", **_as_json(verdict)})
        differing = sum(verdict.differing for verdict in verdicts)
        emit(
            {
                "type": "audit",
                "output": str(output.root),
                "differing": differing,
                "above": [_excess_as_json(one) for one in excesses],
                **scope_as_json(scope),
                "apart": apart_as_json(apart),
            }
        )
    else:
        stdout().show(screen(verdicts, str(output.root), scope, apart, file))
    for one in excesses:
        stderr().say(_excess(one))
    return _EXIT_ABOVE if excesses else 0


def _excess(one: Excess) -> str:
    from harvester.report.telling import exact

    return (
        f"{one.rule}: {exact(one.over)} {one.currency} over, above the limit of "
        f"{exact(one.limit)} (--fail-above); `harvester audit -o FILE` writes the records to "
        "show the vendor."
    )


def _excess_as_json(one: Excess) -> dict[str, object]:
    from harvester.report.telling import exact

    return {
        "rule": one.rule,
        "currency": one.currency,
        "over": exact(one.over),
        "limit": exact(one.limit),
    }


def _no_calls(root: Path, scope: Scope) -> UsageError:
    return UsageError(
        f"{root} holds no calls of these days ({scope.told}). Name the right folder with --out or "
        "-c, or other days."
    )


def _write(billing: Billing, verdicts: Sequence[Verdict], file: Path) -> None:
    from harvester.cli.tables import opened
    from harvester.report.billing import FOUND_SCHEMA

    with opened("parquet", file, FOUND_SCHEMA) as sink:
        for batch in billing.differing(verdicts):
            sink(batch)


def masked(number: str) -> str:
    """A phone number by its first three and last two digits: enough to find it by, not to call."""
    return f"{number[:3]}{'*' * (len(number) - 5)}{number[-2:]}" if len(number) > 7 else "***"


def screen(
    verdicts: Sequence[Verdict], root: str, scope: Scope, apart: Apart, file: Path | None
) -> list[Line]:
    """An audit as lines, the rules that something differs from first."""
    from harvester.report.notes import apart_notes

    lines = [
        Line(f"The bill of {one_line(root)}{in_words(scope.period)}", "bold"),
        Line(f"  {scope.told}", "dim"),
        Line("  The vendor publishes no formula: each rule says what it assumes.", "dim"),
        *(Line(f"  note: {note}", "yellow") for note in apart_notes(apart, scope)),
    ]
    for verdict in sorted(verdicts, key=lambda one: not one.differing):
        lines += _verdict(verdict)
    lines.append(Line())
    if not any(verdict.differing for verdict in verdicts):
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
        from harvester.report.telling import moneys

        over, under, cost = map(moneys, (verdict.over, verdict.under, verdict.cost))
        lines.append(Line(f"  over: {over}; under: {under}; these records cost {cost} in all"))
    return [*lines, *(_worst(one) for one in verdict.worst[:_SHOWN])]


def _worst(one: Difference) -> Line:
    from harvester.report.telling import exact

    amount = "no amount" if one.amount is None else f"{exact(one.amount)} {one.currency}"
    return Line(
        f"    {one_line(one.voice_id)}  {masked(one_line(one.callee))}  "
        f"{one_line(one.destination)}: {one_line(one.found)}, expected {one_line(one.expected)} "
        f"({amount})"
    )


def _as_json(verdict: Verdict) -> dict[str, object]:
    from harvester.report.telling import exact

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
                "callee": masked(one.callee),
                "destination": one.destination,
                "amount": None if one.amount is None else exact(one.amount),
                "currency": one.currency,
                "found": one.found,
                "expected": one.expected,
            }
            for one in verdict.worst
        ],
    }
