"""`harvester reconcile`: the vendor's list, our records and the customer's dialer, compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli import options
from harvester.cli.days import From, Month, To, period
from harvester.cli.error_output import report
from harvester.cli.ui.console import Line, emit, stderr, stdout
from harvester.cli.ui.next_command import next_told, pasted
from harvester.cli.ui.output_files import refuse_ours
from harvester.cli.ui.text import count, one_line
from harvester.cli.without_run import carried_out
from harvester.config import load_secrets
from harvester.errors import UsageError
from harvester.vendor_clock import OFFSET_TEXT

if TYPE_CHECKING:
    from harvester.reconciling.figures import Dialer, Reconciled, Region

DialerFile = Annotated[
    str | None,
    typer.Option(
        "--ours",
        metavar="FILE",
        help="What your dialer placed: .txt .csv .tsv .jsonl .parquet, as run reads it.",
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option("--column", metavar="NAME", help="Its column of ids (input.column)."),
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        "--time-column",
        metavar="NAME",
        help="Its column of times: rows of other days are left out. Without it all rows count.",
    ),
]
Allow = Annotated[
    int,
    typer.Option("--allow", metavar="N", min=0, help="Exit 0 if at most N calls differ."),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "-o", metavar="DIR", help="Write a Parquet file of each region, and reconcile.json, to DIR."
    ),
]
_NO_LATE_CALLS_DAYS = 12


def reconcile(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    first: From = None,
    last: To = None,
    month: Month = None,
    ours: DialerFile = None,
    column: IdColumn = None,
    time_column: TimeColumn = None,
    allow: Allow = 0,
    folder: Folder = None,
    base_url: options.BaseUrl = None,
    account: options.Account = None,
    rate: options.Rate = None,
    concurrency: options.Concurrency = None,
    max_duration: options.MaxDuration = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Compare what the vendor lists (V), what is known here (B) and what your dialer placed (D).

    Every id is in one of seven regions: "VB" is in V and B and not in D. Each is shown with calls,
    charged minutes, cost, its oldest and newest call, and what to do. Without --ours there is no D.

    Days are those of the vendor's clock, by submitTime. Those that are not listed, or are to be
    listed again by now, are listed first, as by `harvester discover`. A file that is no good is
    refused before.

    Exits 0 if all lists are equal, 3 if more than --allow calls are not in all of them, 5 where the
    vendor's list is not settled or a day is not over, 2 for a file that can't be used.

    \b
    Example:
      harvester reconcile --month 2026-11 -c configs/nightly.toml
      harvester reconcile --month 2026-11 --ours dialer.csv --column call_id --time-column sent_at
    """
    settings = options.settings(
        config,
        output__dir=out,
        vendor__base_url=base_url,
        vendor__account=account,
        pace__rate_per_s=rate,
        pace__concurrency=concurrency,
    ).config
    from harvester.cli.duration import duration_s
    from harvester.reconciling.dialer import Ours
    from harvester.reconciling.figures import as_json
    from harvester.reconciling.reconcile import Order, stopped
    from harvester.reconciling.reconcile import reconcile as compare
    from harvester.storage.output import Output

    if quiet and verbose:
        raise UsageError(
            "--quiet and --verbose contradict each other: give one of them.", code="usage.conflict"
        )
    if ours is None and (column or time_column):
        raise UsageError(
            "--column and --time-column are those of the file of --ours: give that too.",
            code="usage.conflict",
        )
    days = period(first, last, month)
    if days.first is None or days.last is None:
        raise UsageError(
            "reconcile needs to know which days: give --from and --to, or --month.",
            code="usage.date",
        )
    if folder is not None:
        refuse_ours(folder, Output(Path(settings.output.dir)))
    order = Order(
        first=days.first,
        last=days.last,
        ours=None if ours is None else Ours(file=ours, column=column, time_column=time_column),
        allow=allow,
        files=folder,
        pasted=pasted,
        max_duration_s=None if max_duration is None else duration_s(max_duration),
    )
    secrets = load_secrets(os.environ)
    done = carried_out(
        "reading and listing",
        lambda events, stop: compare(
            settings,
            secrets,
            order,
            events,
            stop,
            tell=lambda windows, requests: events.doing(
                f"listing: {count(windows)} windows, {count(requests)} requests"
            ),
        ),
        stopped,
        quiet=quiet,
        json=json,
    )
    if json:
        if done.error is not None:
            report(done.error, as_json=True)
        emit(as_json(done))
    elif not quiet:
        stdout().show(screen(done, verbose=verbose))
    elif done.exit_code:
        stderr().say(done.message)
    return done.exit_code


def screen(done: Reconciled, *, verbose: bool = False) -> list[Line]:
    """What came of it, as lines: the most urgent region first."""
    from harvester.reconciling.figures import equal_region, order_of

    days, has_dialer = done.days, done.dialer is not None
    style = "bold yellow" if done.exit_code else "bold green"
    lines = [
        Line(f"Reconciled: {days.first} to {days.last} ({OFFSET_TEXT}, by submitTime)", style),
        *(Line(text) for text in _lists(done)),
        Line(),
    ]
    equal = equal_region(has_dialer=has_dialer)
    for name in order_of(has_dialer=has_dialer):
        region = done.regions[name]
        if region.calls or name == equal or verbose:
            lines += _region(name, region, is_equal=name == equal)
    lines += [Line(text, "yellow") for text in _alive(done)]
    together = f"{count(done.together)} ids together, each in one region"
    dead = done.regions["B"].states.get("dead", 0)
    beside = f", and {count(dead)} dead here alone, which nobody bills" if dead else ""
    differing = f"{count(done.differing)} are not in all of the lists{beside}"
    lines += [Line(), Line(f"{together}; {differing}.")]
    if done.files is not None:
        lines.append(Line(f"Files:  {one_line(done.files)}"))
    if done.message:
        lines.append(Line(done.message, "yellow"))
    return [*lines, Line(f"Next: {next_told(_next(done))}")]


def _lists(done: Reconciled) -> Iterator[str]:
    from harvester.reconciling.figures import instant

    days = done.days
    total = days.listed + len(days.not_listed)
    listed = f"{count(days.listed)} of {count(total)} days for sure"
    if days.oldest_listing_ms is not None:
        when = (instant(days.oldest_listing_ms) or "").replace("T", " ")[:16]
        listed += f", each {_age(days.least_age_days)} after it or later, the first on {when}"
    yield f"V, the vendor's list: {count(done.vendor):>12}   listed: {listed}"
    if days.least_age_days is not None and days.least_age_days < _NO_LATE_CALLS_DAYS:
        yield (
            f"   calls may come late into it for {_NO_LATE_CALLS_DAYS} days: reconcile again then"
        )
    yield f"B, known here:        {count(done.ours):>12}"
    if done.dialer is not None:
        yield f"D, your dialer:       {count(done.dialer.calls):>12}   {_dialer(done.dialer)}"


def _age(days: int | None) -> str:
    return f"{days} day" if days == 1 else f"{days} days"


def _dialer(dialer: Dialer) -> str:
    told = [f"{count(dialer.lines)} lines", f"{count(dialer.double)} double"]
    if dialer.bad:
        told.append(f"{count(dialer.bad)} bad (as many calls of V may be among yours)")
    if dialer.by_time:
        told.append(f"{count(dialer.outside)} of other days left out")
        if dialer.elsewhere:
            told.append(f"{count(dialer.elsewhere)} on another day than the vendor has them")
        if dialer.undated:
            told.append(f"{count(dialer.undated)} without a time counted")
    else:
        told.append("all count, as no --time-column says when they were sent")
        if dialer.outside:
            told.append(f"but {count(dialer.outside)} that are of other days by a record")
    return ", ".join(told)


def _region(name: str, region: Region, *, is_equal: bool) -> list[Line]:
    from harvester.analysis.report.formatting import moneys
    from harvester.reconciling.figures import instant

    cost = f", {moneys(region.cost)}" if region.cost else ""
    without = f", {count(region.without_cost)} without a cost" if region.without_cost else ""
    style = "" if is_equal or not region.calls else "bold yellow"
    head = f"{name:<4}{count(region.calls):>10} {region.meaning}"
    lines = [Line(head, style)]
    if region.calls and name != "D":
        lines.append(Line(f"{'':<15}{region.minutes:,f} charged min{cost}{without}"))
    if region.oldest_ms is not None:
        span = " to ".join(
            (instant(at) or "").replace("T", " ")[:19]
            for at in dict.fromkeys((region.oldest_ms, region.newest_ms))
        )
        states = ", ".join(f"{state} {count(n)}" for state, n in region.states.items())
        lines.append(Line(f"{'':<15}{span}{f'; {states}' if states else ''}"))
    if region.calls and not is_equal:
        lines.append(Line(f"{'':<15}{region.next}"))
    return lines


_ALIVE = {
    "dead": "dead here, alive there: `harvester refetch dead` fetches them again",
    "pending": "pending here: `harvester run --carried-over-only` fetches them",
    "open": "open here, not final when they were last fetched: the next run fetches those due",
    "unrated": "open here, over but without a price: the next run fetches those due",
}


def _alive(done: Reconciled) -> Iterator[str]:
    for state, calls in done.alive.items():
        yield pasted(f"Of V, {count(calls)} are {_ALIVE[state]}.")


def _next(done: Reconciled) -> str:
    from harvester.reconciling.figures import equal_region, order_of

    if done.exit_code == _INCOMPLETE:
        return "the same command again; it goes on where this one stopped."
    has_dialer = done.dialer is not None
    equal = equal_region(has_dialer=has_dialer)
    for name in order_of(has_dialer=has_dialer):
        if done.regions[name].calls and name != equal:
            return f"({name}) {done.regions[name].next}"
    if "dead" in done.alive:
        return "`harvester refetch dead` fetches what is dead here and alive there."
    if "pending" in done.alive:
        return "`harvester run --carried-over-only` fetches what is pending."
    return "nothing to do."


_INCOMPLETE = 5
