"""`harvester plan`: what a run would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harvester.cli import options
from harvester.cli.console import Line, emit, stdout
from harvester.cli.text import count, local_time, size, span
from harvester.config import Config

if TYPE_CHECKING:
    from harvester.harvest.plan import InputPlan, Plan

_LABEL = 12
_NUMBER = 13


def plan(  # noqa: PLR0917 - typer makes a flag of each
    ids: options.Sources = None,
    config: options.ConfigFile = None,
    out: options.Out = None,
    base_url: options.BaseUrl = None,
    account: options.Account = None,
    rate: options.Rate = None,
    column: options.Column = None,
    only: options.Only = False,
    json: options.Json = False,
) -> int:
    """Say what a run would do: how many ids it would ask, and for how long.

    Sends nothing and changes nothing; needs neither key nor secret. Exits 7 while a run works on
    the output.

    \b
    Example:
      harvester plan ids/*.txt -c configs/nightly.toml
    """
    settings = options.settings(
        config,
        output__dir=out,
        vendor__base_url=base_url,
        vendor__account=account,
        pace__rate_per_s=rate,
        input__column=column,
    )
    return show_plan(settings.config, tuple(ids or ()), only=only, json=json)


def show_plan(config: Config, sources: tuple[str, ...], *, only: bool, json: bool) -> int:
    """Count and show; the exit code."""
    from harvester.harvest.plan import make_plan

    found = make_plan(config, sources, only=only)
    if json:
        emit({"type": "plan", **msgspec.to_builtins(found)})
    else:
        stdout().show(screen(found))
    return 0


def screen(found: Plan) -> list[Line]:
    """A plan as lines."""
    state = "" if found.has_state else " (nothing there yet)"
    lines = [Line(f"Plan for {found.output}{state}, account {found.account}", "bold")]
    if found.input is not None:
        lines += _input(found.input)
    lines += [
        _figure("left over", found.left_over, _left_over(found)),
        _figure("open", found.open, f"calls that were not over; {count(found.open_due)} are due"),
        _figure("to ask", found.to_ask, "ids", "bold"),
    ]
    return lines + _cost(found)


def _input(book: InputPlan) -> list[Line]:
    known = "; this input is the list in force" if book.known else ""
    lines = [
        _figure("input", book.lines, f"lines{known}"),
        _figure("bad", book.bad, "hold no voiceId", "yellow" if book.bad else ""),
        _figure("duplicate", book.duplicate, "seen before in this input"),
        _figure("distinct", book.distinct, "ids"),
        _figure("settled", book.settled, "of them: delivered, open or dead"),
        _figure("new", book.to_ask, "of them: to ask"),
    ]
    return lines + [Line(f"{'':<{_LABEL}}{text}", "yellow") for text in book.bad_examples]


def _left_over(found: Plan) -> str:
    if not found.left_over:
        return "of earlier inputs"
    return "of earlier inputs" + (", left alone by --only" if found.only else ", asked as well")


def _cost(found: Plan) -> list[Line]:
    if not found.to_ask:
        return [Line(), Line("A run would send nothing.", "green")]
    share = f" ({found.retry_share:.2f} an id, as in the last runs)" if found.has_state else ""
    day = f", {count(found.per_day)} a day: {found.runs} days" if found.per_day else ""
    return [
        Line(),
        Line(f"Requests    {count(found.requests)}{share or ' and what retries take'}"),
        Line(f"Time        {span(found.seconds)} at {found.rate_per_s:g} requests/s{day}"),
        Line(f"Ends        {local_time(found.ends_at)} at the earliest, if it began now"),
        Line(
            f"Disk        about {size(found.data_bytes)} of data, and {size(found.working_bytes)} "
            "while it works"
        ),
        Line(),
        Line("Nothing was sent and nothing was changed. `harvester run` with the same arguments."),
    ]


def _figure(label: str, number: int, text: str, style: str = "") -> Line:
    return Line(f"{label:<{_LABEL}}{count(number):>{_NUMBER}}  {text}", style)
