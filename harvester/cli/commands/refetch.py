"""`harvester refetch`: ids that have an outcome fetched again."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli import options
from harvester.cli.commands.run import Manner, harvest
from harvester.cli.days import DateBy, From, Month, To, Zone, period
from harvester.cli.ui.console import Line, emit, stdout
from harvester.cli.ui.text import count
from harvester.config import Config
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.operations.refetch import Refetchable
    from harvester.pipeline.run.requests import RefetchRequest
    from harvester.storage.output import Output


class What(StrEnum):
    """Which ids."""

    delivered = "delivered"
    unrated = "unrated"
    not_final = "not-final"
    dead = "dead"


WhatArgument = Annotated[What, typer.Argument(help="Which ids.", show_default=False)]
Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="R", help="Dead ids of this reason only (see `status`)."),
]
Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--ids", metavar="FILE", help="Only ids of this file; may be given more than once."
    ),
]
Sample = Annotated[
    str | None,
    typer.Option("--sample", metavar="SHARE", help="Only so many of them, by lot: 1%."),
]
FailOnChange = Annotated[
    bool, typer.Option("--fail-on-change", help="Exit code 3 if a record has changed.")
]
FailAbove = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-above",
        metavar="CUR=AMOUNT",
        help="Exit code 3 if costs differ by more in all, as USD=50; once a currency.",
    ),
]


def refetch(  # noqa: PLR0917 - typer makes a flag of each
    what: WhatArgument,
    config: options.ConfigFile = None,
    out: options.Out = None,
    reason: Reason = None,
    first: From = None,
    last: To = None,
    month: Month = None,
    zone: Zone = None,
    date_by: DateBy = None,
    ids: Ids = None,
    sample: Sample = None,
    fail_on_change: FailOnChange = False,
    fail_above: FailAbove = None,
    base_url: options.BaseUrl = None,
    account: options.Account = None,
    rate: options.Rate = None,
    concurrency: options.Concurrency = None,
    workers: options.Workers = None,
    via: options.Via = options.Way.single,
    max_duration: options.MaxDuration = None,
    metrics_file: options.MetricsFile = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Fetch ids again that have an outcome, together with what is pending.

    delivered: every record of the data set. unrated: those without a price. not-final: those that
    were published before the call was over. What has changed goes into OUT/changes/, old and new;
    the data set stays as it is. "No record" is no change.

    dead: ids that failed permanently. A dead letter stays one until its new outcome is safe. Those
    whose last answer was published are fetched as not-final.

    Without days or --ids: calls that were submitted in the last 60 days, which the vendor must
    still have (the dead: all). Interrupted or cut short, the same command goes on.

    \b
    Example:
      harvester refetch unrated -c configs/nightly.toml
      harvester refetch delivered --month 2026-11 --sample 1% --fail-above USD=50
      harvester refetch dead -c configs/nightly.toml --reason gave_up
    """
    settings = options.settings(
        config,
        output__dir=out,
        vendor__base_url=base_url,
        vendor__account=account,
        pace__rate_per_s=rate,
        pace__concurrency=concurrency,
        workers__count=workers,
        monitor__metrics_file=metrics_file,
        billing__zone=zone,
        billing__date_by=date_by,
    ).config
    from harvester.analysis.audit.limits import parse_limits
    from harvester.analysis.clock import Clock
    from harvester.cli.duration import duration_s
    from harvester.pipeline.by_pages.pages import Pages
    from harvester.pipeline.run.requests import RefetchRequest

    days, clock = period(first, last, month), Clock.of(settings.billing)
    since, until = clock.bounds(days)
    request = RefetchRequest(
        what=what.value,
        reason=reason,
        column=clock.column if days.is_bounded else "submit_time",
        since_ms=_ms(since),
        until_ms=_ms(until),
        ids=tuple(ids or ()),
        share=None if sample is None else _share(sample),
        fail_on_change=fail_on_change,
        fail_above=parse_limits(fail_above or ()),
        max_duration_s=None if max_duration is None else duration_s(max_duration),
        by_pages=Pages() if via is options.Way.pages else None,
    )
    _refuse_contradiction(request, is_dated=bool(zone or date_by))
    is_nothing = _show_dead if what is What.dead else _show_chosen
    if is_nothing(settings, request, dry_run=dry_run, json=json):
        return 0
    return harvest(settings, request, Manner(json, quiet, verbose), command="refetch")


def _refuse_contradiction(request: RefetchRequest, *, is_dated: bool) -> None:
    is_dated = is_dated or request.since_ms is not None or request.until_ms is not None
    if request.what != "dead" and request.reason is not None:
        raise UsageError(
            f"--reason is one of dead ids: `refetch {request.what}` has none. Leave it out.",
            code="usage.conflict",
        )
    of_data = is_dated or request.ids or request.share or request.fail_on_change
    if request.what == "dead" and (of_data or request.fail_above):
        raise UsageError(
            "dead ids have no record, so `refetch dead` has no days, --ids, --sample and --fail "
            "options: it fetches all of them, or those of one --reason. Leave the others out.",
            code="usage.conflict",
        )


def _show_dead(config: Config, request: RefetchRequest, *, dry_run: bool, json: bool) -> bool:
    """Whether that is all: only shown, or there is none to fetch."""
    chosen, retrying = _dead(config, request.reason)
    if not dry_run and (chosen or retrying):
        return False
    if json:
        counts = {"dead": chosen, "retrying": retrying}
        emit({"type": "refetch", "dry_run": dry_run, "what": "dead", **counts})
        return True
    total = sum(chosen.values())
    lines = [Line(f"{count(total)} dead ids would be fetched again." if total else _NO_DEAD)]
    lines += [
        Line(f"  {reason:<22}{count(number):>10}") for reason, number in sorted(chosen.items())
    ]
    if retrying:
        told = f"{count(retrying)} more of an earlier refetch are pending; they are fetched too."
        lines.append(Line(told))
    stdout().show(lines)
    return True


def _dead(config: Config, reason: str | None) -> tuple[dict[str, int], int]:
    """The dead ids that would be fetched again, by reason; and how many of an earlier refetch that
    was not finished are pending already.  Raises UsageError.
    """
    from harvester.pipeline.run.belonging import own_settings
    from harvester.state import unresolved
    from harvester.state.read_only import looking

    output = _output(config)
    with looking(output, "refetch --dry-run") as db:
        own_settings(db, output, config, rebind=False)
        found = unresolved.retry_counts(db)
    if reason is not None and reason not in {one for one, _, _ in found}:
        known = ", ".join(one for one, _, _ in found) or "none: no id is dead"
        raise UsageError(
            f"no dead id has the reason {reason!r}. Reasons here: {known}.", code="usage.reason"
        )
    chosen = [row for row in found if reason in (None, row[0])]
    return {one: dead for one, dead, _ in chosen if dead}, sum(again for _, _, again in chosen)


def _show_chosen(config: Config, request: RefetchRequest, *, dry_run: bool, json: bool) -> bool:
    """Whether that is all: only shown."""
    _output(config)
    if not dry_run:
        return False
    from harvester.operations.refetch import refetchable

    found = refetchable(config, request)
    if json:
        chosen = found.chosen
        emit(
            {
                "type": "refetch",
                "dry_run": True,
                "what": request.what,
                "again": found.again,
                "pending": found.pending,
                "population": chosen.population,
                "left_out": chosen.left_out,
                "outside": chosen.outside,
                "outside_ids": list(chosen.outside_ids),
            }
        )
        return True
    stdout().show(_lines(found, request))
    return True


def _lines(found: Refetchable, request: RefetchRequest) -> list[Line]:
    chosen = found.chosen
    of = f", a sample of {count(chosen.population)}" if request.share is not None else ""
    lines = [Line(f"{count(found.again)} {request.what} ids would be fetched again{of}.")]
    if found.pending:
        lines.append(Line(f"{count(found.pending)} of them are pending of an earlier refetch."))
    if chosen.left_out:
        told = "by their date (name days to reach them), or as numbers were erased in them."
        lines.append(Line(f"{count(chosen.left_out)} more are left out: {told}"))
    if chosen.outside:
        some = ", ".join(chosen.outside_ids)
        lines.append(Line(f"{count(chosen.outside)} ids are not in the data set: {some}"))
    return lines


def _output(config: Config) -> Output:
    """The output.  Raises UsageError if it holds nothing."""
    from harvester.state.read_only import has_state
    from harvester.storage.output import Output

    output = Output(Path(config.output.dir))
    if not has_state(output):
        raise UsageError(
            f"{output.root} holds no data yet, so nothing can be fetched again. Name the right "
            "folder with --out or -c.",
            code="output.no_data",
        )
    return output


def _share(text: str) -> float:
    """Of "1%" or "0.5 %", or of "0.01".  Raises UsageError."""
    number, percent, rest = text.strip().partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = 0.0
    if rest or not 0 < share <= 1:
        raise UsageError(
            f"--sample {text!r} is no share. Write it as 1%, or as 0.01.", code="usage.sample"
        )
    return share


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)


_NO_DEAD = "No dead id can be fetched again; nothing was sent."
