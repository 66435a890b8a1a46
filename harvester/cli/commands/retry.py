"""`harvester retry`: dead letters fetched again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harvester.cli import options
from harvester.cli.commands.run import Manner, harvest
from harvester.cli.ui.console import Line, emit, stdout
from harvester.cli.ui.text import count
from harvester.config import Config
from harvester.errors import UsageError

Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="R", help="Only those of this reason (see `status`)."),
]


def retry(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    reason: Reason = None,
    base_url: options.BaseUrl = None,
    account: options.Account = None,
    rate: options.Rate = None,
    concurrency: options.Concurrency = None,
    max_duration: options.MaxDuration = None,
    metrics_file: options.MetricsFile = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Fetch dead letters again, together with what is pending.

    A dead letter stays one until its new outcome is safe. Those whose last answer was published
    as not final are not fetched again.

    \b
    Example:
      harvester retry -c configs/nightly.toml --reason gave_up
    """
    settings = options.settings(
        config,
        output__dir=out,
        vendor__base_url=base_url,
        vendor__account=account,
        pace__rate_per_s=rate,
        pace__concurrency=concurrency,
        monitor__metrics_file=metrics_file,
    )
    dead, retrying = _chosen(settings.config, reason)
    if dry_run or not (dead or retrying):
        _show(dead, retrying, dry_run=dry_run, json=json)
        return 0
    from harvester.cli.duration import duration_s
    from harvester.pipeline.run.requests import RetryRequest

    limit_s = None if max_duration is None else duration_s(max_duration)
    request = RetryRequest(reason=reason, max_duration_s=limit_s)
    return harvest(settings.config, request, Manner(json, quiet, verbose), command="retry")


def _chosen(config: Config, reason: str | None) -> tuple[dict[str, int], int]:
    """The dead ids that would be fetched again, by reason; and how many of an earlier retry that
    was not finished are pending already.  Raises UsageError.
    """
    from harvester.pipeline.run.belonging import own_settings
    from harvester.state import unresolved
    from harvester.state.read_only import has_state, looking
    from harvester.storage.output import Output

    output = Output(Path(config.output.dir))
    if not has_state(output):
        raise UsageError(
            f"{output.root} holds no data yet, so nothing can be fetched again. Name the right "
            "folder with --out or -c.",
            code="output.no_data",
        )
    with looking(output, "retry --dry-run") as db:
        own_settings(db, output, config, rebind=False)
        found = unresolved.retry_counts(db)
    if reason is not None and reason not in {one for one, _, _ in found}:
        known = ", ".join(one for one, _, _ in found) or "none: no id is dead"
        raise UsageError(
            f"no dead id has the reason {reason!r}. Reasons here: {known}.", code="usage.reason"
        )
    chosen = [row for row in found if reason in (None, row[0])]
    return {one: dead for one, dead, _ in chosen if dead}, sum(again for _, _, again in chosen)


def _show(chosen: dict[str, int], retrying: int, *, dry_run: bool, json: bool) -> None:
    if json:
        emit({"type": "retry", "dry_run": dry_run, "dead": chosen, "retrying": retrying})
        return
    total = sum(chosen.values())
    lines = [Line(f"{count(total)} dead ids would be fetched again." if total else _NONE)]
    lines += [
        Line(f"  {reason:<22}{count(number):>10}") for reason, number in sorted(chosen.items())
    ]
    if retrying:
        lines.append(
            Line(f"{count(retrying)} more of an earlier retry are pending; they are fetched too.")
        )
    stdout().show(lines)


_NONE = "No dead id can be fetched again; nothing was sent."
