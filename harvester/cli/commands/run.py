"""`harvester run` and what `refetch` shares with it."""

from __future__ import annotations

import gc
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.duration import duration_s
from harvester.cli.error_output import report, report_unexpected
from harvester.cli.logs.lazy_imports import uncollected
from harvester.cli.logs.run_events import RunEvents
from harvester.cli.ui.console import Line, Terminal, emit, stderr
from harvester.cli.ui.progress_bar import ProgressBar
from harvester.cli.ui.streams import Aside
from harvester.cli.ui.summary_screen import closing, control_totals, short_totals
from harvester.config import Config, Log, known_secrets, load_secrets
from harvester.errors import EXIT_UNEXPECTED, AlreadyRunning, HarvesterError, UsageError

if TYPE_CHECKING:
    from harvester.cli.logs.logs import Logs
    from harvester.cli.logs.ping import Pinger
    from harvester.pipeline.by_pages.pages import Pages
    from harvester.pipeline.run.requests import Request
    from harvester.pipeline.run.run import Result


class Manner(msgspec.Struct, frozen=True):
    """How a run speaks."""

    json: bool = False
    """JSON on both streams, and no screens; a bar all the same where stderr is a terminal."""
    quiet: bool = False
    verbose: bool = False


FirstListed = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="DATE",
        help="With --via pages: first day to look through in the vendor's list, on its clock. "
        "Default: what the ids tell by their digits.",
    ),
]
LastListed = Annotated[
    str | None,
    typer.Option("--to", metavar="DATE", help="With --via pages: last day, included."),
]


def run(  # noqa: PLR0917 - typer makes a flag of each
    ids: options.Sources = None,
    config: options.ConfigFile = None,
    out: options.Out = None,
    base_url: options.BaseUrl = None,
    account: options.Account = None,
    rate: options.Rate = None,
    concurrency: options.Concurrency = None,
    workers: options.Workers = None,
    column: options.Column = None,
    input_only: options.InputOnly = False,
    only: options.Only = False,
    carried_over_only: options.CarriedOverOnly = False,
    via: options.Via = options.Way.single,
    first: FirstListed = None,
    last: LastListed = None,
    max_duration: options.MaxDuration = None,
    metrics_file: options.MetricsFile = None,
    rebind: options.Rebind = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Fetch every id that is not resolved yet, and publish the records.

    Without IDS it reads input.paths. With --carried-over-only, and where no input is named at all,
    it fetches what earlier runs carried over, and open calls that are due. Interrupted, killed or
    cut short: the same command again goes on where it stopped. Key and secret come from
    HARVESTER_API_KEY and HARVESTER_API_SECRET (or ..._FILE).

    \b
    Example:
      harvester run ids/*.txt -c configs/nightly.toml --max-duration 5h
      harvester run ids/*.txt -c configs/nightly.toml --via pages
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
        input__column=column,
    )
    options.refuse_aimless(settings.config, rebind=rebind)
    limit_s = None if max_duration is None else duration_s(max_duration)
    only = input_only or only
    options.refuse_contradiction(ids, input_only=only, carried_over_only=carried_over_only)
    if dry_run:
        from harvester.cli.commands.plan import show_plan

        return show_plan(
            settings.config,
            tuple(ids or ()),
            only=only,
            carried_over_only=carried_over_only,
            max_duration_s=limit_s,
            json=json,
        )
    with uncollected():
        from harvester.pipeline.run.requests import RunRequest

    request = RunRequest(
        sources=tuple(ids or ()),
        input_only=only,
        carried_over_only=carried_over_only,
        max_duration_s=limit_s,
        rebind=rebind,
        by_pages=_by_pages(via, first, last),
    )
    return harvest(settings.config, request, Manner(json, quiet, verbose), command="run")


def _by_pages(via: options.Way, first: str | None, last: str | None) -> Pages | None:
    """What to fetch by pages, if that is wished.  Raises UsageError."""
    if via is options.Way.single:
        if first is not None or last is not None:
            raise UsageError(
                "--from and --to name days of the vendor's list: add --via pages, or leave them "
                "out. An input names its ids itself.",
                code="usage.conflict",
            )
        return None
    from harvester.cli.days import period
    from harvester.pipeline.by_pages.pages import Pages

    days = period(first, last, None)
    return Pages(first=days.first, last=days.last)


def harvest(config: Config, request: Request, manner: Manner, *, command: str) -> int:
    """Run, with everything that is shown and logged; the exit code."""
    with uncollected():
        from harvester.cli.logs.logs import Logs

    if manner.quiet and manner.verbose:
        raise UsageError(
            "--quiet and --verbose contradict each other: give one of them.", code="usage.conflict"
        )
    secrets = load_secrets(os.environ)
    hidden = (secrets.api_key, secrets.api_secret, *known_secrets(os.environ, config))
    terminal = stderr()
    shows_bar = terminal.is_live and not manner.quiet
    with ExitStack() as stack:
        logs = stack.enter_context(
            Logs(
                _log_config(config.log, manner),
                say=terminal.say,
                secrets=hidden,
                # Where the bar is drawn, a line of the same figures is noise.
                unsaid=frozenset({"progress"} if shows_bar else ()) | _UNSAID,
            )
        )
        bar = ProgressBar(terminal.console) if shows_bar else None
        pinger = _pinger(config, logs)
        told = _stdout(logs, stack) if manner.json else None
        events = RunEvents(
            logs,
            command=command,
            bar=bar,
            emit=told,
            on_start=pinger.start if pinger else None,
        )
        began = time.monotonic()
        try:
            with bar or ExitStack():
                with uncollected():
                    from harvester import api
                    from harvester.cli.signals import Signals
                    from harvester.client.connect import way_to
                    from harvester.pipeline.run.requests import stopped

                    way_to(config.vendor)  # which imports its library
                # What was imported stays.  To look through it again and again while ids wait, on
                # whichever thread, is a twelfth of a run over lean.  What comes is counted down by
                # reference, all but little: to look for cycles every 700 objects is a hundredth.
                gc.freeze()
                gc.set_threshold(_OBJECTS_A_LOOK)
                signals = Signals(stopped)
                with signals.handled():
                    result = api.start(config, secrets, request, events.hear, signals)
        except HarvesterError as exc:
            logs.message(
                "error", "run_failed", message=str(exc), code=exc.code, exit_code=exc.exit_code
            )
            # The run that holds the output has pings of its own.
            if pinger and not isinstance(exc, AlreadyRunning):
                pinger.end(exc.exit_code)
            raise
        except Exception as exc:  # noqa: BLE001 - the last one to see it; it goes to the log
            if pinger:
                pinger.end(EXIT_UNEXPECTED)
            return report_unexpected(exc, hidden, logs=logs, as_json=manner.json)
        _log_end(logs, result)
        if told is not None:
            told({"type": "summary", **msgspec.to_builtins(result.summary)})
            if result.error is not None:
                report(result.error, as_json=True)
        else:
            _tell(result, terminal, manner, time.monotonic() - began)
        if pinger:
            pinger.end(result.exit_code)
    return result.exit_code


def _stdout(logs: Logs, stack: ExitStack) -> Aside:
    """Where `--json` goes; what becomes of it is no matter of the run's."""
    aside = Aside(emit, lambda reason: logs.message("warning", "stdout_failed", reason=reason))
    stack.callback(aside.close)
    return aside


def _pinger(config: Config, logs: Logs) -> Pinger | None:
    url = config.monitor.ping_url
    if url is None:
        return None
    from harvester.cli.logs.ping import Pinger

    return Pinger(url, lambda reason: logs.message("warning", "ping_failed", reason=reason))


_OBJECTS_A_LOOK = 50_000
_UNSAID = frozenset({"run_failed", "run_ended", "unexpected_error"})
"""Events for the log file alone: the screen shows the end in its own words."""


def _log_config(log: Log, manner: Manner) -> Log:
    if manner.json:
        log = msgspec.structs.replace(log, format="json")
    if manner.verbose:
        return msgspec.structs.replace(log, level="debug")
    if manner.quiet and log.level != "error":
        return msgspec.structs.replace(log, level="warning")
    return log


def _log_end(logs: Logs, result: Result) -> None:
    level = "info" if result.error is None else "error"
    logs.message(
        level,
        "run_ended",
        run_id=result.summary.run_id,
        exit_code=result.exit_code,
        code=result.summary.code,
        message=result.summary.message,
        requests=result.summary.requests,
    )
    if result.error is not None and result.exit_code == EXIT_UNEXPECTED:
        # The end on the screen is in plain words; whoever mends the bug needs to see where it was.
        logs.failure("unexpected_error", result.error.__cause__ or result.error)


def _tell(result: Result, terminal: Terminal, manner: Manner, seconds: float) -> None:
    message, found = result.summary.message, result.summary.code
    if manner.quiet:
        if result.exit_code:
            terminal.show(short_totals(result.summary, unicode=terminal.speaks_unicode))
            _tell_failure(terminal, result.exit_code, message, found)
        return
    unicode = terminal.speaks_unicode
    terminal.show(control_totals(result.summary, seconds, unicode=unicode))
    terminal.show(closing(result.exit_code, message, unicode=unicode, found=found))
    terminal.show(_places(result))


def _tell_failure(terminal: Terminal, code: int, message: str, found: str) -> None:
    terminal.show(closing(code, message, unicode=terminal.speaks_unicode, found=found)[1:])


def _places(result: Result) -> list[Line]:
    summary = result.summary
    return [
        Line(),
        Line(f"Data:     {summary.output}/cdr/*/*.parquet"),
        *(
            [Line(f"Changes:  {summary.output}/changes/*/*.parquet")]
            if summary.refetch is not None and summary.refetch.changed
            else []
        ),
        Line(f"Summary:  {summary.output}/runs/{summary.run_id}/summary.json"),
    ]
