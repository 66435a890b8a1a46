"""`harvester explain`: what became of one call, or where some phone numbers stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.numbers import numbers_of
from harvester.cli.ui.console import Line, emit, stdout
from harvester.cli.ui.held_places import place_lines
from harvester.cli.ui.next_command import next_told
from harvester.cli.ui.text import one_line
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.analysis.query.explain import Explanation
    from harvester.config import Config
    from harvester.operations.number_places import Place

_LABEL = 22
_STYLES = {
    "delivered": "bold green",
    "unknown": "bold red",
    "dead": "bold red",
    "lost": "bold red",
}
_TITLES = {
    "on_list": "On the work list",
    "journal": "In the journal, not published yet",
    "again": "Fetched again, not compared yet",
    "dropped": "Dropped",
    "open": "Open call",
    "dead": "Dead letter",
    "deferred": "Deferred",
}
_ROWS = ("row", "last_answer", "old", "new")

VoiceId = Annotated[
    str | None, typer.Argument(metavar="[VOICE_ID]", help="The id of a call.", show_default=False)
]


def explain(
    voice_id: VoiceId = None,
    numbers: Annotated[
        str | None,
        typer.Option(
            "--numbers",
            metavar="FILE",
            help="Instead: every place that holds one of these phone numbers, one a line; - reads "
            "stdin.",
        ),
    ] = None,
    config: options.ConfigFile = None,
    out: options.Out = None,
    json: options.Json = False,
) -> int:
    """Say all that is known of one voiceId: its state, its row and file, or why it has none.

    Shows the call's record, phone numbers included. With --numbers, for an access request: every
    place that holds one of these numbers, and the ids of the calls; not the numbers. Changes
    nothing; exits 7 while a run is in progress on the output.

    \b
    Examples:
      harvester explain 12611220159310000007 -c configs/nightly.toml
      harvester explain --numbers request.txt --json -c configs/nightly.toml
    """
    settings = options.settings(config, output__dir=out).config
    if (voice_id is None) == (numbers is None):
        raise UsageError(
            "explain is about one voiceId, or about --numbers: give one of the two.",
            code="usage.conflict",
        )
    if numbers is not None:
        _explain_numbers(settings, numbers, json=json)
        return 0
    assert voice_id is not None, "one of the two is given"
    from harvester.inputs.voice_id import clean, excerpt

    cleaned = clean(voice_id)
    if cleaned is None:
        raise UsageError(
            f"{excerpt(voice_id)!r} is not a valid voiceId: 1 to 64 letters, digits, - and _.",
            code="usage.voice_id",
        )
    from harvester.analysis.query.explain import explain
    from harvester.dataset.group_record import GROUP_RECORD
    from harvester.dataset.origin import refuse_other_settings
    from harvester.storage.output import Output

    output = Output(Path(settings.output.dir))
    refuse_other_settings(output.cdr, settings, GROUP_RECORD)
    found = explain(output, cleaned)
    if json:
        emit({"type": "explain", **msgspec.to_builtins(found)})
    else:
        stdout().show(screen(found))
    return 0


def _explain_numbers(settings: Config, source: str, *, json: bool) -> None:
    listed = numbers_of(source)
    from harvester.cli.without_run import refuse_no_state
    from harvester.storage.output import Output

    refuse_no_state(Output(Path(settings.output.dir)), "explained")
    from harvester.operations.number_places import where

    found = where(settings, listed, "explain")
    if json:
        told = {"output": settings.output.dir, "numbers": len(listed)}
        emit({"type": "explain numbers", **told, "places": msgspec.to_builtins(found)})
    else:
        stdout().show(numbers_screen(found, settings.output.dir))


def numbers_screen(found: tuple[Place, ...], output: str) -> list[Line]:
    """The places that hold the numbers as lines."""
    if not found:
        return [Line(f"Nothing in {one_line(output)} holds the numbers.", "bold green")]
    return [
        Line(f"What holds the numbers in {one_line(output)}", "bold"),
        *place_lines(found, ids=True),
    ]


def screen(found: Explanation) -> list[Line]:
    """An explanation as lines."""
    style = _STYLES.get(found.state, "bold yellow")
    lines = [Line(f"{one_line(found.voice_id)}: {found.state}", style)]
    for part in found.data:
        lines += _section("In the data", msgspec.to_builtins(part))
    for change in found.changes:
        lines += _section("Changed since", msgspec.to_builtins(change))
    for name, title in _TITLES.items():
        section = getattr(found, name)
        if section is not None:
            lines += _section(title, msgspec.to_builtins(section))
    return [*lines, Line(), Line(f"Next:  {next_told(found.next)}")]


def _section(title: str, fields: Mapping[str, object]) -> list[Line]:
    lines = [Line(), Line(title, "bold")]
    lines += [_field(name, value) for name, value in fields.items() if name not in _ROWS]
    for name in _ROWS:
        row = fields.get(name)
        if isinstance(row, Mapping):
            lines.append(Line(f"  {name.replace('_', ' ')}"))
            lines += [_field(f"  {k}", v) for k, v in row.items() if v is not None]
    return lines


def _field(name: str, value: object) -> Line:
    told = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if value is None or isinstance(value, bool):
        told = {None: "-", True: "yes", False: "no"}[value]
    # What a vendor or a file wrote must not act on the terminal.
    return Line(f"  {name:<{_LABEL}}{one_line(told)}")
