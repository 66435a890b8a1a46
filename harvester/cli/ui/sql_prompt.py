"""A prompt for SQL: lines until a semicolon, some words of its own, Ctrl-C and an end.

What is typed can be fetched back with the arrow keys while the prompt lasts; it is never written to
a file, since a query may hold a phone number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from harvester.analysis.query.split_sql import split
from harvester.cli.ui.console import Terminal
from harvester.cli.ui.text import one_line
from harvester.errors import HarvesterError

FIRST, GOES_ON = "sql> ", "...> "
_HELP = """\
A statement ends with a semicolon and may have several lines:
  SELECT currency, sum(cost) FROM cdr GROUP BY currency;
  .tables   the tables and their columns
  .quit     the end; so is Ctrl-D
Ctrl-C stops a query, or drops what is typed. docs/sql.md has ready queries."""
_TABLES = (
    "SELECT table_name AS table, string_agg(column_name, ', ' ORDER BY ordinal_position) AS "
    "columns FROM information_schema.columns GROUP BY table_name ORDER BY table_name"
)

Lines = Callable[[str], str | None]
"""The next line after a prompt; None at the end of all."""


def converse(ask: Callable[[str], None], lines: Lines, terminal: Terminal) -> None:
    """Ask what is typed, until its end.  An error ends its statement, not the prompt."""
    terminal.say("SQL over cdr, dead_letter, open_call and run; .help, .tables, .quit", "dim")
    waiting = ""
    while True:
        try:
            line = lines(GOES_ON if waiting else FIRST)
        except KeyboardInterrupt:
            terminal.say("")
            waiting = ""
            continue
        if line is None:
            return
        if not waiting and line.strip().startswith("."):
            if not _own(line.strip().rstrip(";"), ask, terminal):
                return
            continue
        found = split(f"{waiting}{line}\n")
        waiting = found.rest
        for statement in found.whole:
            if not _asked(statement, ask, terminal):
                break


def typed(prompt: str) -> str | None:
    """A line from the terminal.  Raises KeyboardInterrupt."""
    if not sys.stdout.isatty():
        # stdout is for rows.
        sys.stderr.write(prompt)
        sys.stderr.flush()
        return sys.stdin.readline() or None
    import readline  # noqa: F401 - arrow keys; its history stays in memory

    try:
        return input(prompt)
    except EOFError:
        sys.stdout.write("\n")
        return None


def _own(word: str, ask: Callable[[str], None], terminal: Terminal) -> bool:
    """Do what a word of the prompt's own says; whether it goes on."""
    match word:
        case ".quit" | ".exit" | ".q":
            return False
        case ".tables":
            _asked(_TABLES, ask, terminal)
        case ".help":
            terminal.say(_HELP)
        case _:
            terminal.say(f"{one_line(word)} is unknown: .help, .tables, .quit", "yellow")
    return True


def _asked(statement: str, ask: Callable[[str], None], terminal: Terminal) -> bool:
    try:
        ask(statement)
    except KeyboardInterrupt:
        terminal.say("Stopped.", "yellow")
        return False
    except HarvesterError as exc:
        terminal.say(f"error: {exc}", "red")
        return False
    return True
