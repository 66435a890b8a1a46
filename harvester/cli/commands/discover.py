"""`harvester discover`: every call that the vendor lists, and those that are unknown here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.days import From, Month, To, period
from harvester.cli.error_output import report
from harvester.cli.ui.console import Line, emit, stderr, stdout
from harvester.cli.ui.next_command import next_told
from harvester.cli.ui.output_files import refuse_ours
from harvester.cli.ui.text import count, one_line
from harvester.cli.without_run import carried_out
from harvester.config import Config, Secrets, known_secrets, load_secrets
from harvester.errors import UsageError
from harvester.vendor_clock import CLOCK, OFFSET_TEXT

if TYPE_CHECKING:
    from harvester.cli.logs.logs import Logs
    from harvester.operations.discover import Discovered, Order, Unsettled
    from harvester.pipeline.listing.both_ways import BothWays

Due = Annotated[
    bool,
    typer.Option(
        "--due", help="The days that are to be listed again by now: 1, 3 and 12 days after each."
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "-o", metavar="FILE", help="Write the calls to FILE: .txt (ids), .csv, .jsonl or .parquet."
    ),
]
Take = Annotated[
    bool, typer.Option("--take", help="Put ids that are unknown here on the work list.")
]
Probe = Annotated[
    str | None,
    typer.Option(
        "--probe",
        metavar="VOICE_ID",
        help="Find out with this call by which time the vendor lists, and keep it.",
    ),
]
Compare = Annotated[
    int | None,
    typer.Option(
        "--compare",
        metavar="N",
        help="Then fetch N of these calls, drawn by chance, from the list and by their ids: is it "
        "one and the same? 100 or more allow fetching by pages.",
    ),
]
_FORMS = (".txt", ".csv", ".jsonl", ".ndjson", ".parquet")


def discover(  # noqa: PLR0917 - typer makes a flag of each
    config: options.ConfigFile = None,
    out: options.Out = None,
    first: From = None,
    last: To = None,
    month: Month = None,
    due: Due = False,
    file: FileOption = None,
    take: Take = False,
    probe: Probe = None,
    compare: Compare = None,
    base_url: options.BaseUrl = None,
    account: options.Account = None,
    rate: options.Rate = None,
    concurrency: options.Concurrency = None,
    max_duration: options.MaxDuration = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """List every call that the vendor has of some days, and show which ids are unknown here.

    Days are those of the vendor's clock, by submitTime, within its last 59. Requests for the list
    take turns of the pace, the limit file and pace.per_day like any other. Interrupted, killed or
    cut short: the same command goes on where it stopped. It makes the output where there is none.

    Calls may come late into the list: the last call of a day may be redialled for days. --due
    lists each day again after 1, 3 and 12 days; call it once a day.

    --compare shows whether the list tells the truth, field by field. Where it does not, the command
    exits 3 and names the calls. Days that are listed and settled are not listed again for it.

    Exits 5 where calls may be missing: windows that could not be settled, or days that are not
    over. --take puts unknown ids on the work list, and `harvester run --carried-over-only` fetches
    them.

    \b
    Example:
      harvester discover --month 2026-11 -c configs/nightly.toml --take
      harvester discover --due --take -c configs/nightly.toml
      harvester discover --probe 26112010000000000001 -c configs/nightly.toml
      harvester discover --month 2026-11 --compare 1000 -c configs/nightly.toml
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
    from harvester.operations.discover import Order, stopped
    from harvester.operations.discover import discover as list_calls
    from harvester.storage.output import Output

    if quiet and verbose:
        raise UsageError(
            "--quiet and --verbose contradict each other: give one of them.", code="usage.conflict"
        )
    days = period(first, last, month)
    order = Order(
        first=days.first,
        last=days.last,
        due=due,
        take=take,
        probe=probe,
        compare=compare,
        max_duration_s=None if max_duration is None else duration_s(max_duration),
    )
    _refuse_aimless(order)
    _refuse_none(compare)
    if file is not None:
        _refuse_form(file)
        refuse_ours(file, Output(Path(settings.output.dir)))
    secrets = load_secrets(os.environ)
    with _logging(settings, secrets, quiet=quiet, json=json) as logs:
        done = carried_out(
            "listing",
            lambda events, stop: list_calls(
                settings,
                secrets,
                order,
                events,
                stop,
                deliver=None if file is None else partial(_write, file),
                tell=lambda windows, requests: events.doing(
                    f"listing: {count(windows)} windows, {count(requests)} requests"
                ),
            ),
            stopped,
            quiet=quiet,
            json=json,
            logs=logs,
        )
    return _tell(done, file, verbose=verbose, quiet=quiet, json=json)


@contextmanager
def _logging(config: Config, secrets: Secrets, *, quiet: bool, json: bool) -> Iterator[Logs | None]:
    """A log in JSON on stderr, where one is wished; else the screen says it all."""
    if not (json or config.log.format == "json"):
        yield None
        return
    from harvester.cli.logs.logs import Logs

    level = "warning" if quiet and config.log.level != "error" else config.log.level
    hidden = (secrets.api_key, secrets.api_secret, *known_secrets(os.environ, config))
    log = msgspec.structs.replace(config.log, format="json", level=level)
    with Logs(log, say=stderr().say, secrets=hidden) as logs:
        yield logs


def _refuse_aimless(order: Order) -> None:
    has_days = order.first is not None or order.last is not None
    if order.due and has_days:
        raise UsageError(
            "--due finds the days itself: leave it out, or leave out --from, --to and --month.",
            code="usage.conflict",
        )
    is_whole = order.first is not None and order.last is not None
    needs_days = order.compare is not None or order.probe is None
    if (has_days and not is_whole) or (needs_days and not (has_days or order.due)):
        raise UsageError(
            "discover needs to know which days: give --from and --to, --month, or --due.",
            code="usage.date",
        )


def _refuse_none(compare: int | None) -> None:
    if compare is not None and compare < 1:
        raise UsageError(
            f"--compare {compare} compares nothing: give a number from 1 on; 100 or more allow "
            "fetching by pages.",
            code="usage.compare",
        )


def _refuse_form(file: Path) -> None:
    if file.suffix.lower() not in _FORMS:
        raise UsageError(
            f"{file}: its ending says nothing of its form. Give one of {', '.join(_FORMS)}.",
            code="usage.target",
        )


def _write(file: Path, parts: Sequence[Path]) -> None:
    """The calls of `parts` into FILE, by its ending."""
    from harvester.cli.ui.row_output import write_parts
    from harvester.pipeline.listing.rows import SCHEMA

    ending = file.suffix.lower().removeprefix(".")
    write_parts({"ndjson": "jsonl"}.get(ending, ending), file, SCHEMA, parts)


def _tell(done: Discovered, file: Path | None, *, verbose: bool, quiet: bool, json: bool) -> int:
    if json:
        emit({"type": "discover", **_as_json(done)})
        if done.error is not None:
            report(done.error, as_json=True)
    elif not quiet:
        stdout().show(screen(done, file, verbose=verbose))
    elif done.exit_code:
        stderr().say(done.message)
    return done.exit_code


def _as_json(done: Discovered) -> dict[str, object]:
    found = msgspec.structs.asdict(done)
    found.pop("error")
    plain: dict[str, object] = msgspec.to_builtins(found)
    return plain


def screen(done: Discovered, file: Path | None, *, verbose: bool = False) -> list[Line]:
    """What was listed, as lines."""
    lines = [_first_line(done)]
    if done.filter is not None:
        shown_by = done.filter.voice_id or "calls of the list"
        lines.append(Line(f"Listed by: {done.filter.by}, as {shown_by} showed"))
    if done.is_whole and done.days:
        lines += [
            Line(f"Listed:    {count(done.listed):>9} calls{_also(done)}"),
            Line(f"Known:     {count(done.known):>9} resolved or pending"),
            Line(f"Unknown:   {count(done.unknown):>9}{_taken(done)}"),
        ]
        if done.too_young:
            young = f"{count(done.too_young):>9} unknown, younger than input.min_age_s"
            lines.append(Line(f"Too young: {young}"))
    if done.comparison is not None:
        lines += _compared(done.comparison, verbose=verbose)
    if done.days:
        settled = done.windows - done.unsettled_windows
        what = f"{count(settled)} settled, {count(done.unsettled_windows)} not"
        lines.append(Line(f"Windows:   {count(done.windows):>9}: {what}"))
    lines.append(Line(f"Requests:  {count(done.requests):>9}{_again(done) if verbose else ''}"))
    shown = done.unsettled if verbose else done.unsettled[:3]
    lines += [Line(f"Unsettled: {_window(one)}", "yellow") for one in shown]
    if file is not None and done.is_whole:
        lines.append(Line(f"File:      {one_line(str(file))}"))
    if done.message:
        lines.append(Line(done.message, "yellow"))
    return [*lines, Line(f"Next: {next_told(_next(done))}")]


def _first_line(done: Discovered) -> Line:
    if not done.days:
        return Line("No day is to be listed now.", "bold green")
    days = ", ".join(first if first == last else f"{first} to {last}" for first, last in done.days)
    style = "bold green" if not done.exit_code else "bold yellow"
    return Line(f"The vendor's list of {days} ({OFFSET_TEXT})", style)


def _compared(found: BothWays, *, verbose: bool) -> list[Line]:
    from harvester.pipeline.listing.both_ways import LEAST_PROOF

    told = [f"{count(found.equal)} equal", f"{count(found.differing)} not"]
    told += [f"{one_line(cause)} {count(n)}" for cause, n in found.apart.items()]
    drawn = f"{count(found.drawn):>9} drawn with seed {found.seed}: {', '.join(told)}"
    if not found.differing and found.equal < LEAST_PROOF:
        drawn += f"; it takes {LEAST_PROOF} to fetch by pages"
    lines = [Line(f"Compared:  {drawn}")]
    lines += [
        Line(f"Codes:     {one_line(a)} in the list is {one_line(b)}")
        for a, b in found.codes.items()
    ]
    shown = found.differences if verbose else found.differences[:3]
    lines += [
        Line(f"Differs:   {one_line(one.voice_id)}: {one_line(', '.join(one.columns))}", "red")
        for one in shown
    ]
    return lines


def _also(done: Discovered) -> str:
    told = []
    if done.undated:
        told.append(f"{count(done.undated)} of them without a time that can be read")
    if done.outside:
        told.append(f"{count(done.outside)} of other days left out")
    return f"; {', '.join(told)}" if told else ""


def _taken(done: Discovered) -> str:
    return f", {count(done.taken)} put on the work list" if done.taken else ""


def _again(done: Discovered) -> str:
    told = ", ".join(f"{one_line(cause)} {count(n)}" for cause, n in sorted(done.retries.items()))
    return f", sent again: {told}" if told else ""


def _window(one: Unsettled) -> str:
    first, until = (
        datetime.fromtimestamp(at, UTC).astimezone(CLOCK).isoformat()
        for at in (one.start_s, one.until_s)
    )
    told = f"total {count(one.total)}, {count(one.distinct)} distinct ids"
    return f"{first} to {until}: {told} ({one_line(one.cause)})"


def _next(done: Discovered) -> str:
    if done.exit_code == _DENIED:
        return "fix what the message names, then run the same command again."
    if done.code in _NEXT:
        return _NEXT[done.code]
    fetching = "`harvester run --carried-over-only` fetches what was put on the work list"
    if done.exit_code:
        going_on = "run the same command again; it goes on where this one stopped."
        return f"{fetching}. Then, or later, {going_on}" if done.taken else going_on
    if done.taken:
        return f"{fetching}."
    if done.unknown:
        return "the same command with --take puts the unknown ids on the work list."
    return "nothing to do."


_DENIED = 4
_NEXT = {
    "listing.differs": "show these calls to the vendor; ids are fetched one by one, as ever.",
    "listing.unproven": "compare calls of more days, or later.",
}
"""By code, where the same command again is not what helps."""
