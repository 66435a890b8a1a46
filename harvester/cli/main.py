"""`harvester`: the commands, and how they end.

Whatever happens inside a command leaves the process as an exit *number* of design §9, interrupts
included: a shell that sees the signal itself can't tell an orderly stop from a crash.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import Annotated

import typer
from typer.exceptions import TyperException

from harvester import __version__
from harvester.cli import (
    audit,
    config,
    demo,
    doctor,
    explain,
    export,
    plan,
    rebuild,
    retry,
    run,
    simulate,
    sql,
    status,
    verify,
)
from harvester.cli.failures import complain, report, report_unexpected
from harvester.cli.report import report as report_command
from harvester.config import known_secrets
from harvester.errors import HarvesterError

_INTERRUPTED = 130
_NOBODY_READS = 141  # as a shell tells a process that died of SIGPIPE

app = typer.Typer(
    name="harvester",
    no_args_is_help=True,
    # Plain help: it answers without rich, and looks the same in a mail, a log and a terminal.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("run", short_help="The main job: ask for every id not settled yet.")(run.run)
app.command("plan", short_help="What a run would do; sends nothing.")(plan.plan)
app.command("doctor", short_help="Is everything in order for tonight? Sends one request.")(
    doctor.doctor
)
app.command("status", short_help="Where every id stands, and what to type next.")(status.status)
app.command("retry", short_help="Ask dead ids once more.")(retry.retry)
app.command("export", short_help="Delivered, dead or open ids, as CSV or others.")(export.export)
app.command("sql", short_help="Ask the data with SQL; a prompt without a query.")(sql.sql)
app.command("verify", short_help="Is everything there, whole and once? Changes nothing.")(
    verify.verify
)
app.command("report", short_help="Calls, minutes, money; on the screen and as one HTML page.")(
    report_command
)
app.command("audit", short_help="Does the vendor charge what it says?")(audit.audit)
app.command("explain", short_help="All that is known of one voiceId.")(explain.explain)
app.command("rebuild", short_help="Make a lost state anew from the data.")(rebuild.rebuild)
app.command("simulate", short_help="A stand-in vendor, to rehearse with.")(simulate.simulate)
app.add_typer(config.app, name="config")
app.command("demo", hidden=True)(demo.demo)
app.command("demo-look", hidden=True)(demo.demo_look)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"harvester {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Fetch every call detail record of a voice API, once and exactly, into Parquet.

    \b
    A night:
      export HARVESTER_API_KEY=... HARVESTER_API_SECRET=...
      harvester plan   ids/*.txt -c configs/nightly.toml
      harvester doctor ids/*.txt -c configs/nightly.toml
      harvester run    ids/*.txt -c configs/nightly.toml
      harvester status -c configs/nightly.toml

    \b
    Exit codes:
      0 done    3 done, some ids are dead    5 temporary, run again    8 own budget used up
      2 usage, configuration or input        4 the vendor refuses us   6 output or state
      7 already running                      130/143 interrupted       1 unexpected
    """
    del version  # its callback has answered already


class NoPandas(MetaPathFinder):
    """Finds no pandas.

    pyarrow looks for it at every array that it makes of Python values.  Where there is none that is
    a search of the whole path each time, a tenth of what normalising costs; where there is one, it
    is 60 MB that nobody needs.  (`sys.modules["pandas"] = None` would not do: what pyarrow finds
    there it takes for pandas.)
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """See `importlib.abc.MetaPathFinder`."""
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("no pandas here", name=name)


def main() -> None:
    """Run the command line and leave with its exit number."""
    sys.meta_path.insert(0, NoPandas())
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """One command; its exit number."""
    as_json = "--json" in arguments
    command = typer.main.get_command(app)
    try:
        code = command.main(list(arguments), prog_name="harvester", standalone_mode=False)
        sys.stdout.flush()
    except HarvesterError as exc:
        return report(exc, as_json=as_json, secrets=known_secrets(os.environ))
    except TyperException as exc:
        return _tell_usage(exc, as_json=as_json)
    except BrokenPipeError:
        return _nobody_reads()
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the last one to see it; the user gets no traceback
        return report_unexpected(exc, known_secrets(os.environ), as_json=as_json)
    return int(code or 0)


def _tell_usage(exc: TyperException, *, as_json: bool) -> int:
    context = getattr(exc, "ctx", None)
    path = context.command_path if context is not None else "harvester"
    message = exc.format_message().strip()
    if not message or type(exc).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n")
        return exc.exit_code
    return complain(f"{message} See `{path} --help`.", exc.exit_code, as_json=as_json)


def _nobody_reads() -> int:
    # Python would try to flush what is left at exit, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _NOBODY_READS
