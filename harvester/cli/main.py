"""`harvester`: the commands, and how they end.

Whatever happens inside a command leaves the process as an exit *number* (errors.py), interrupts
included: a shell that sees the signal itself can't tell an orderly stop from a crash.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Protocol

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from harvester.cli.error_output import complain, report, report_unexpected
from harvester.cli.ui import next_command
from harvester.cli.ui.streams import STDOUT_ERRORS, NobodyReads, prepare_streams
from harvester.errors import HarvesterError, UsageError
from harvester.storage.import_blocker import NotHere
from harvester.version import __version__

_INTERRUPTED = 130
_COMPLETING = "_HARVESTER_COMPLETE"  # typer's, while it answers a shell

_GROUPS = {
    "Fetch": {
        "run": "Fetch every id that is not resolved yet: the main job.",
        "refetch": "Fetch delivered or dead ids again, and keep what has changed.",
        "discover": "List every call that the vendor has, and find the missing ones.",
        "reconcile": "Compare the vendor's list, our records and your dialer's file.",
        "publish": "Write the records of the journal into the data set; sends nothing.",
    },
    "Use": {
        "report": "Calls, minutes and money, on the screen and as an HTML page.",
        "audit": "Compare the vendor's bill with its own figures.",
        "sql": "Query the data set with SQL; without a query it opens a prompt.",
        "export": "Write records, dead or open ids, or changes; CSV and others.",
        "explain": "Show all that is known of one voiceId, or where numbers stand.",
    },
    "Check": {
        "status": "Show the state of all ids and the next step.",
        "plan": "Show what a run would do; sends nothing.",
        "doctor": "Check everything that a run needs; sends one request.",
        "verify": "Check that no record is missing, damaged or duplicate.",
    },
    "Maintain": {
        "compact": "Merge the small files of each date into few.",
        "drop": "Let whole dates leave, to an archive or for good.",
        "erase": "Hide phone numbers wherever the output holds them.",
        "rebuild": "Make a lost state database again from the data set.",
    },
    "Set up": {
        "init": "Write configuration and schedule files to begin with.",
        "config": "Show or check the effective settings.",
        "demo": "Try it: fetch made-up calls from a simulator; needs no key.",
        "simulate": "Run a simulator of the vendor.",
    },
}
"""The commands of the help, in its order; docs/commands.md has the same groups."""

_COMMANDS = {name: says for group in _GROUPS.values() for name, says in group.items()}
"""Each is the function of its name, or an `app` of commands, in the module of its name."""

_HIDDEN = {"demo-look": ("demo", "demo_look")}
"""Module and function."""


class _Formatter(Protocol):
    """What of typer's formatter is used: typer does not export its class."""

    def section(self, name: str) -> AbstractContextManager[None]: ...

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...


class _Grouped(TyperGroup):
    """Its help lists the commands by what they are for."""

    def format_commands(self, ctx: object, formatter: _Formatter) -> None:
        """One list a group of `_GROUPS`, all with the same columns."""
        del ctx
        column = max(map(len, _COMMANDS))
        for title, commands in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{column}}", says) for name, says in commands.items()])


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"harvester {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Fetch every call detail record of a voice API exactly once, into Parquet.

    \b
    A nightly job:
      export HARVESTER_API_KEY=... HARVESTER_API_SECRET=...
      harvester plan   ids/*.txt -c configs/nightly.toml
      harvester doctor ids/*.txt -c configs/nightly.toml
      harvester run    ids/*.txt -c configs/nightly.toml
      harvester status -c configs/nightly.toml

    \b
    Exit codes:
      0 done                      4 access denied           8 run limit reached
      3 done, with findings       5 temporary, run again    1 unexpected: a bug
      2 usage, config or input    6 output or state         130/143 interrupted
                                  7 already running
    """
    del version  # its callback has answered already


def main() -> None:
    """Run the command line and leave with its exit number."""
    sys.meta_path.insert(0, NotHere())
    # Arrow reads it when it is loaded.  Its own allocator is as quick, and holds 30 MB more at the
    # peak of a publication.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    prepare_streams()
    code = run_command(sys.argv[1:])
    with suppress(*STDOUT_ERRORS):  # the command has failed already, and said by what
        sys.stdout.flush()
    sys.exit(code)


def application(only: str | None = None) -> typer.Typer:
    """The command line; with `only`, one in which nothing but that command can be run.

    The others are there by name and description.  To import them all, and to have their options
    read, takes longer than most commands do.
    """
    app = typer.Typer(
        name="harvester",
        cls=_Grouped,
        no_args_is_help=True,
        # Plain help: it answers without rich, and looks the same in a mail, a log and a terminal.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_root)
    for name, says in _COMMANDS.items():
        if only not in (None, name):
            app.command(name, short_help=says)(_not_loaded)
            continue
        module = import_module(f"harvester.cli.commands.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, short_help=says)
        else:
            app.command(name, short_help=says)(getattr(module, name))
    for name, (where, function) in _HIDDEN.items():
        if only in (None, name):
            module = import_module(f"harvester.cli.commands.{where}")
            app.command(name, hidden=True)(getattr(module, function))
    return app


def _not_loaded() -> None:
    raise AssertionError("a command that was not loaded was called")


_IF_BARE = {("simulate", "--drift"): "plain"}
"""(command, option) and what it means without a value."""


def run_command(arguments: Sequence[str]) -> int:
    """One command; its exit number."""
    as_json = "--json" in arguments
    next_command.begin(arguments)
    # Before the command there are only flags that end all by themselves; a shell that completes
    # a line names the command elsewhere.
    only = None if _COMPLETING in os.environ else arguments[0] if arguments else ""
    command = typer.main.get_command(application(only))
    try:
        given = _spelled_out(arguments)
        code = command.main(given, prog_name="harvester", standalone_mode=False)
        sys.stdout.flush()
    except NobodyReads as exc:
        return exc.exit_code
    except HarvesterError as exc:
        return report(exc, as_json=as_json, secrets=_secrets())
    except PermissionError as exc:
        from harvester.storage.ownership import explained

        return report(explained(Path(), exc), as_json=as_json, secrets=_secrets())
    except TyperException as exc:
        return _report_usage(exc, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the last one to see it; the user gets no traceback
        return report_unexpected(exc, _secrets(), as_json=as_json)
    return int(code or 0)


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """The command line with a value for each option that may do without: typer knows no such."""
    given: list[str] = []
    for at, word in enumerate(arguments):
        given.append(word)
        value = _IF_BARE.get((arguments[0], word))
        follows = arguments[at + 1] if at + 1 < len(arguments) else "-"
        if value is not None and follows.startswith("-"):
            given.append(value)
    return given


def _secrets() -> list[str]:
    # Not at the top: `--help` does without the settings, which take as long as all the rest.
    from harvester.config import known_secrets

    return list(known_secrets(os.environ))


def _report_usage(exc: TyperException, *, as_json: bool) -> int:
    context = getattr(exc, "ctx", None)
    path = context.command_path if context is not None else "harvester"
    message = exc.format_message().strip()
    if not message or type(exc).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n")
        return exc.exit_code
    code = UsageError.code
    said = f"{message} See `{path} --help`."
    return complain(said, exc.exit_code, error_code=code, as_json=as_json)
