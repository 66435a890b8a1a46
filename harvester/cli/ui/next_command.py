"""Commands in messages, such that they can be pasted: with the options that were given.

A message names commands as `harvester export dead`, wherever it is made.  Which configuration,
output, account and address were meant is known to the command line alone, so it is added on the way
out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import msgspec

_COMMAND = re.compile(r"`harvester ([a-z]+)([^`]*)`")
_OF_AN_ACCOUNT = frozenset(
    {
        "run",
        "plan",
        "doctor",
        "refetch",
        "discover",
        "reconcile",
        "publish",
        "compact",
        "drop",
        "erase",
        "rebuild",
    }
)
_ASKING = frozenset({"run", "plan", "doctor", "refetch", "discover", "reconcile"})
"""Those that know the vendor's address."""
_OF_NO_OUTPUT = frozenset({"simulate", "config"})
_TAKING = {"--account": _OF_AN_ACCOUNT, "--base-url": _ASKING}
"""Who takes an option that not all take."""
_OF_THE_FIRST_TIME = frozenset({"--dry-run", "--json"})
_LONGEST = 300
"""Characters of a command line that is repeated whole; a shell may have put thousands of names."""


class Given(msgspec.Struct):
    """What was typed."""

    arguments: Sequence[str] = ()
    options: Sequence[tuple[str, str]] = ()
    """Those of -c, --out, --account and --base-url that were."""


given = Given()


def begin(arguments: Sequence[str]) -> None:
    """A command line begins; nothing is known of its options yet."""
    given.arguments, given.options = tuple(arguments), ()


def note(config: object, out: object, account: object, base_url: object) -> None:
    """The options as they were read; None where one was not given."""
    named = (("-c", config), ("--out", out), ("--account", account), ("--base-url", base_url))
    given.options = tuple((name, str(value)) for name, value in named if value is not None)


def pasted(text: str) -> str:
    """`text` with the options that were given in each of its commands."""
    return _COMMAND.sub(_with_options, text)


def same_command(instead: str | None = None) -> str:
    """The command line as it was typed, quoted, in backticks; "" if it is too long or unknown.

    `instead`: another command with the same arguments.
    """
    if not given.arguments:
        return ""
    rest = [word for word in given.arguments[1:] if word not in _OF_THE_FIRST_TIME]
    told = shlex.join(["harvester", instead or given.arguments[0], *rest])
    return f"`{told}`" if len(told) <= _LONGEST and "`" not in told else ""


def next_told(text: str) -> str:
    """What to do next, as a line of a screen has it."""
    same = same_command()
    if same:
        text = text.replace(_SAME, f"{_SAME} ({same})", 1)
    return pasted(text)


_SAME = "the same command again"


def _with_options(found: re.Match[str]) -> str:
    name, words = found[1], found[2].split()
    options = (
        f" {option} {shlex.quote(value)}"
        for option, value in given.options
        if option not in words and name not in _OF_NO_OUTPUT and name in _TAKING.get(option, {name})
    )
    return f"`harvester {name}{found[2]}{''.join(options)}`"
