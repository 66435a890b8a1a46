"""`--numbers FILE|-`: the phone numbers that a command is about."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harvester.errors import SourceError, UsageError

Numbers = Annotated[
    str,
    typer.Option(
        "--numbers",
        metavar="FILE",
        show_default=False,
        help="The phone numbers, one a line; - reads stdin.",
    ),
]


def numbers_of(source: str) -> tuple[str, ...]:
    """The numbers of a file, or of stdin for "-".

    Raises UsageError if a line is none, SourceError if the file can't be read.
    """
    from harvester.operations.listed_numbers import read_numbers

    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as exc:
        raise SourceError(
            f"the file of numbers can't be read: {exc.strerror}. Name a file with one number a "
            "line, or - for stdin.",
            code="input.unreadable",
        ) from exc
    return read_numbers(content.decode("utf-8", "replace").splitlines())


def refuse_number(text: str, listed: tuple[str, ...], option: str) -> None:
    """Raise UsageError if what is going to be kept holds one of the numbers."""
    from harvester.dataset.group_record import GROUP_RECORD
    from harvester.operations.listed_numbers import ListedNumbers

    if ListedNumbers(listed, GROUP_RECORD).number(text) != text:
        raise UsageError(
            f"{option} holds one of the numbers, and the receipt must not. Name the request by "
            "another name.",
            code="usage.numbers",
        )
