"""The two ways out: stdout for data, stderr for people.

rich is imported when the first line is written, so that `--help` needs none of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

import msgspec

from harvester.cli.ui.text import folded, printable

if TYPE_CHECKING:
    from rich.console import Console


class Line(msgspec.Struct, frozen=True):
    """A line of a screen, and how it looks where there are colours."""

    text: str = ""
    style: str = ""


class Terminal:
    """A stream for people: coloured where it is a terminal that wants colours."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self._environ = environ

    @cached_property
    def console(self) -> Console:
        """rich's, made when it is needed: a quiet night writes nothing."""
        from rich.console import Console

        # NO_COLOR and TERM=dumb are rich's to honour.  All that we print is Text, never markup.
        return Console(file=self._stream, soft_wrap=True)

    @property
    def is_live(self) -> bool:
        """Whether a bar can be drawn and redrawn here."""
        if not self._stream.isatty() or self._environ.get("CI"):
            return False
        return self._environ.get("TERM", "") not in ("", "dumb")

    @property
    def width(self) -> int | None:
        """Columns of the window; None where lines may be of any length."""
        return self.console.width if self._stream.isatty() else None

    @property
    def speaks_unicode(self) -> bool:
        """Whether a tick arrives as one."""
        return (getattr(self._stream, "encoding", None) or "").lower().startswith("utf")

    @contextmanager
    def working(self, text: str, *, shows: bool = True) -> Iterator[Callable[[str], None]]:
        """A line that moves while something takes its time, and is gone afterwards.

        Only on a terminal.  Gives what changes the text.
        """
        if not shows or not self.is_live:
            yield lambda _: None
            return
        from rich.text import Text

        spinner = "dots" if self.speaks_unicode else "line"
        with self.console.status(Text(printable(text)), spinner=spinner) as line:
            yield lambda changed: line.update(Text(printable(changed)))

    def say(self, text: str, style: str = "") -> None:
        """Write a line; above the bar, if one is drawn."""
        self.show([Line(text, style)])

    def show(self, lines: Iterable[Line]) -> None:
        """Write lines of a screen.  `harvester.cli.ui.streams` has what the stream can't take."""
        from rich.text import Text

        for line in lines:
            for piece in self._fitted(printable(line.text)):
                self.console.print(Text(piece, style=line.style))

    def _fitted(self, text: str) -> Iterator[str]:
        """Lines as they are for a file or a pipe; on a terminal none is broken within a word."""
        width = self.width
        if width is None:
            yield text
            return
        for line in text.split("\n"):
            yield from folded(line, width)


def stderr() -> Terminal:
    """Where messages and progress go."""
    return Terminal(sys.stderr)


def stdout() -> Terminal:
    """Where figures go that were asked for."""
    return Terminal(sys.stdout)


def emit(message: Mapping[str, object], stream: TextIO | None = None) -> None:
    """One JSON object on a line of its own, at once."""
    # ASCII throughout: an id's odd characters can't act on a terminal, and any locale can show it.
    stream = stream or sys.stdout
    stream.write(json.dumps(message) + "\n")
    stream.flush()
