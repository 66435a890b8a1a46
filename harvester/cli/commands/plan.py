"""`harvester plan`: what a run would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harvester.cli import options
from harvester.cli.duration import duration_s
from harvester.cli.ui.console import Line, emit, stderr, stdout
from harvester.cli.ui.next_command import same_command
from harvester.cli.ui.text import count, local_time, size, span
from harvester.config import Config

if TYPE_CHECKING:
    from harvester.operations.plan import InputPlan, Plan

_LABEL = 13
_NUMBER = 13
_FILES_SHOWN = 5
_EXAMPLES_SHOWN = 3


def plan(  # noqa: PLR0917 - typer makes a flag of each
    ids: options.Sources = None,
    config: options.ConfigFile = None,
    out: options.Out = None,
    base_url: options.BaseUrl = None,
    account: options.Account = None,
    rate: options.Rate = None,
    column: options.Column = None,
    input_only: options.InputOnly = False,
    only: options.Only = False,
    carried_over_only: options.CarriedOverOnly = False,
    max_duration: options.MaxDuration = None,
    json: options.Json = False,
) -> int:
    """Say what a run would do: how many ids it would fetch, and how long it takes.

    Sends nothing and changes nothing; needs neither key nor secret. Exits 7 while a run is in
    progress on the output. With --max-duration it says what is still pending after one such run.

    \b
    Example:
      harvester plan ids/*.txt -c configs/nightly.toml --max-duration 5h
    """
    settings = options.settings(
        config,
        output__dir=out,
        vendor__base_url=base_url,
        vendor__account=account,
        pace__rate_per_s=rate,
        input__column=column,
    )
    limit_s = None if max_duration is None else duration_s(max_duration)
    only = input_only or only
    options.refuse_contradiction(ids, input_only=only, carried_over_only=carried_over_only)
    return show_plan(
        settings.config,
        tuple(ids or ()),
        only=only,
        carried_over_only=carried_over_only,
        max_duration_s=limit_s,
        json=json,
    )


def show_plan(
    config: Config,
    sources: tuple[str, ...],
    *,
    only: bool,
    carried_over_only: bool,
    max_duration_s: float | None,
    json: bool,
) -> int:
    """Count and show; the exit code."""
    from harvester.operations.plan import make_plan

    with stderr().working(
        "reading the input and comparing it with what is resolved", shows=not json
    ):
        found = make_plan(
            config,
            sources,
            only=only,
            carried_over_only=carried_over_only,
            max_duration_s=max_duration_s,
        )
    if json:
        emit({"type": "plan", **msgspec.to_builtins(found)})
    else:
        stdout().show(screen(found))
    return 0


def screen(found: Plan) -> list[Line]:
    """A plan as lines."""
    state = "" if found.has_state else " (no output yet)"
    lines = [Line(f"Plan for {found.output}{state}, account {found.account}", "bold")]
    if found.input is not None:
        lines += _input(found.input)
    lines += [
        _figure("carried over", count(found.carried_over), _carried_over(found)),
        _figure("open", count(found.open), f"calls not final; {count(found.open_due)} are due"),
        _figure("to fetch", count(found.to_fetch), "ids", "bold"),
    ]
    return lines + _cost(found)


def _input(book: InputPlan) -> list[Line]:
    lines = [
        _figure("input", count(book.lines), _lines(book)),
        _figure("bad", count(book.bad), _bad(book), "yellow" if book.bad else ""),
    ]
    if not book.lines:
        lines.append(_note("no ids: open calls and carried over ids are fetched anyway"))
    lines += [_note(text, "yellow") for text in _where_bad(book)]
    return [
        *lines,
        _figure("duplicate", count(book.duplicate), "seen before in this input"),
        _figure("distinct", count(book.distinct), "ids"),
        _figure("resolved", count(book.resolved), "of them: delivered, open or dead"),
        *_too_young(book),
        _figure("new", count(book.to_fetch), "of them: to fetch"),
    ]


def _too_young(book: InputPlan) -> list[Line]:
    if not book.too_young:
        return []
    told = "of them: younger than input.min_age_s, fetched by a later run with this input"
    return [_figure("too young", count(book.too_young), told)]


def _lines(book: InputPlan) -> str:
    if not book.known:
        return "lines"
    # The files are as that run found them, so they are not read again.
    return f"lines, as read by run {book.listed_by}" if book.listed_by else "lines, read before"


def _bad(book: InputPlan) -> str:
    ranked = sorted(book.bad_by_reason.items(), key=lambda one: (-one[1], one[0]))
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count(number)}" for reason, number in ranked)
    return f"lines without a voiceId{': ' if reasons else ''}{reasons}"


def _where_bad(book: InputPlan) -> list[str]:
    """In which files, and the first few lines."""
    if book.bad and not book.bad_examples:
        return ["they were listed in the bad_ids.jsonl of the run that read them, which is gone"]
    files = [f"{file}: {count(bad)}" for file, bad in book.bad_by_file.items()]
    more = len(files) - _FILES_SHOWN
    shown = files[:_FILES_SHOWN] + ([f"and {count(more)} files more"] if more > 0 else [])
    return [*(shown if len(files) > 1 else []), *book.bad_examples[:_EXAMPLES_SHOWN]]


def _carried_over(found: Plan) -> str:
    if not found.carried_over:
        return "of earlier inputs"
    return "of earlier inputs" + (", left out by --input-only" if found.only else " (included)")


def _cost(found: Plan) -> list[Line]:
    if not found.to_fetch:
        return [Line(), Line("A run would send nothing.", "green")]
    share = f"{found.retry_share:.2f} an id, as in the last runs"
    told = share if found.has_state else "plus retries: no run yet to estimate them from"
    size_told = f"of data (estimate), and {size(found.working_bytes)} while the run works"
    return [
        Line(),
        *_too_old(found),
        _figure("requests", count(found.requests), told),
        _figure("time", span(found.seconds), f"at {found.rate_per_s:g} requests/s"),
        *_limits(found),
        _figure("ends", *_end(found)),
        _figure("disk", size(found.data_bytes), size_told),
        Line(),
        Line(f"Next:  {_run_told()}. Nothing was sent or changed."),
    ]


def _run_told() -> str:
    return same_command("run") or "`harvester run` with the same arguments"


def _too_old(found: Plan) -> list[Line]:
    if not found.too_old:
        return []
    told = (
        f"dated before {found.too_old_before}: the vendor keeps about two months, so they may be "
        "gone. Oldest first:"
    )
    oldest = found.oldest[:_EXAMPLES_SHOWN]
    return [
        _figure("too old", count(found.too_old), told, "yellow"),
        *(_note(f"{old.at[:16].replace('T', ' ')}  {old.voice_id}") for old in oldest),
    ]


def _limits(found: Plan) -> list[Line]:
    limits = []
    if found.max_duration_s is not None:
        limits.append(f"--max-duration {span(found.max_duration_s)}")
    if found.per_day is not None:
        limits.append(f"{count(found.per_day)} requests a day")
    if not limits:
        return []
    left = f"{count(found.left_after)} ids" if found.left_after else "nothing"
    told = f"requests in the next run by {' and '.join(limits)}; {left} still pending"
    style = "yellow" if found.left_after else ""
    return [_figure("limits", count(found.first_run_requests), told, style)]


def _end(found: Plan) -> tuple[str, str]:
    """The hour, and the day with the rest."""
    day, _, hour = local_time(found.ends_at).partition(" ")
    if found.runs == 1:
        return hour, f"on {day} at the earliest, if it began now"
    return hour, f"on {day}, after {count(found.runs)} runs, one a day from now on"


def _note(text: str, style: str = "") -> Line:
    return Line(f"{'':<{_LABEL}}{text}", style)


def _figure(label: str, figure: str, text: str, style: str = "") -> Line:
    return Line(f"{label:<{_LABEL}}{figure:>{_NUMBER}}  {text}", style)
