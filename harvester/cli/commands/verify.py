"""`harvester verify`: integrity and uniqueness of what was fetched."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from harvester.cli import options
from harvester.cli.ui.console import Line, emit, stderr, stdout
from harvester.cli.ui.text import count, one_line, size
from harvester.errors import EXIT_DONE, StoreError

if TYPE_CHECKING:
    from harvester.analysis.verify.findings import Finding
    from harvester.analysis.verify.verify import VerifyResult

_SHOWN = 20
"""Findings of one kind on the screen; --json gives all."""

Deep = Annotated[
    bool,
    typer.Option(
        "--deep",
        help="Also read every byte: hashes, order and dates of the rows, and the work list "
        "against every id.",
    ),
]


def verify(
    config: options.ConfigFile = None,
    out: options.Out = None,
    deep: Deep = False,
    json: options.Json = False,
) -> int:
    """Check that every record is there, complete and only once, and that the control totals agree.

    Changes nothing and sends nothing. Exits 6 when something is wrong, and says for each finding
    what to do; 7 while a run is in progress on the output.

    \b
    Example:
      harvester verify --deep -c configs/nightly.toml
    """
    settings = options.settings(config, output__dir=out).config
    from harvester.analysis.verify.verify import Order, verify
    from harvester.dataset.group_record import GROUP_RECORD
    from harvester.dataset.origin import own_days
    from harvester.storage.output import Output

    output = Output(Path(settings.output.dir))
    settings = own_days(output.cdr, settings, GROUP_RECORD)
    order = Order(settings.output.partition_timezone, settings.plan.memory_limit, deep)
    with stderr().working("verifying", shows=not json) as working:

        def tell(what: str, done: int, total: int) -> None:
            far = f" {count(done)} of {count(total)}" if total else ""
            working(f"verifying: {what}{far}")

        result = verify(output, order, tell)
    if json:
        for finding in result.findings:
            emit({"type": "finding", **msgspec.to_builtins(finding)})
        emit(_figures(result, str(output.root), deep=deep))
    else:
        stdout().show(screen(result, str(output.root), deep=deep))
    return EXIT_DONE if result.is_clean else StoreError.exit_code


def screen(result: VerifyResult, root: str, *, deep: bool) -> list[Line]:
    """What was found, as lines."""
    depth = "every byte" if deep else "without reading every byte (--deep does)"
    lines = [
        Line(f"Verified {one_line(root)}, {depth}", "bold"),
        Line(
            f"  {count(result.files)} files, {count(result.rows)} rows, {size(result.bytes)}; "
            f"{count(result.in_journal)} records not published yet; "
            f"{count(result.ids)} distinct ids; control totals of {count(result.runs)} runs"
        ),
        Line(),
    ]
    seen: Counter[str] = Counter()
    for finding in result.findings:
        seen[finding.kind] += 1
        if seen[finding.kind] <= _SHOWN:
            lines += _finding(finding)
    for kind, found in seen.items():
        if found > _SHOWN:
            lines.append(Line(f"… and {count(found - _SHOWN)} more of kind {kind} (--json)."))
    if result.is_clean:
        return [*lines, Line("All is well: no missing and no duplicate records.", "bold green")]
    wrong = sum(finding.severity == "damage" for finding in result.findings)
    return [*lines, Line(f"{count(wrong)} finding(s). Nothing was changed.", "bold red")]


def _finding(finding: Finding) -> list[Line]:
    style = "bold red" if finding.severity == "damage" else "bold yellow"
    return [
        Line(f"{finding.severity.upper():<7} {finding.kind}: {one_line(finding.what)}", style),
        Line(f"        where:  {one_line(finding.where)}"),
        Line(f"        do:     {one_line(finding.remedy)}"),
        Line(),
    ]


def _figures(result: VerifyResult, root: str, *, deep: bool) -> dict[str, object]:
    figures: dict[str, object] = msgspec.to_builtins(result)
    del figures["findings"]
    damaged = sum(finding.severity == "damage" for finding in result.findings)
    notes = len(result.findings) - damaged
    return {
        "type": "verify",
        "output": root,
        "deep": deep,
        "clean": result.is_clean,
        "damage": damaged,
        "notes": notes,
        **figures,
    }
