"""`harvester sql`: SQL over the data set, the dead, the open and the runs; changes nothing."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli import options
from harvester.cli.days import DateBy, Zone
from harvester.cli.ui.console import stderr, stdout
from harvester.cli.ui.output_files import FileOption, Format, chosen_format, refuse_ours
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.analysis.query.session import Answer, Session

Query = Annotated[
    str | None,
    typer.Argument(
        metavar="[QUERY]", help="Default: a prompt, or what stdin has.", show_default=False
    ),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Default: by FILE's ending, else a table.")
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="NAME=FILE",
        help="Also a table of a CSV or Parquet file, or of all that match.",
    ),
]


def sql(  # noqa: PLR0917 - typer makes a flag of each
    query: Query = None,
    config: options.ConfigFile = None,
    out: options.Out = None,
    form: FormatOption = None,
    file: FileOption = None,
    table: Tables = None,
    zone: Zone = None,
    date_by: DateBy = None,
    json: options.Json = False,
) -> int:
    """Query the data set with SQL (DuckDB): the tables are cdr, dead_letter, open_call and run.

    Without QUERY there is a prompt (.help, .tables, .quit); statements end with a semicolon.
    Nothing can be changed: only statements that read are taken, and no file is opened but the
    data and those of --table. Works while a run does; dead_letter and open_call wait for its end.
    A table on the screen ends after 100 rows. Columns and ready queries: docs/sql.md.

    The day of a bill is billing_date: by billing.date_by on a clock of billing.zone. submit_date
    only names the folder of a record.

    \b
    Example:
      harvester sql "SELECT billing_date, currency, sum(cost) FROM cdr GROUP BY ALL ORDER BY ALL"
    """
    settings = options.settings(
        config, output__dir=out, billing__zone=zone, billing__date_by=date_by
    ).config
    chosen = chosen_format(form, file, json=json)
    files = dict(map(_named_file, table or []))
    from harvester.analysis.clock import Clock
    from harvester.analysis.query.session import opened
    from harvester.analysis.query.tables import records, tables
    from harvester.analysis.report.data_files import data_files
    from harvester.dataset.group_record import GROUP_RECORD, VERSIONS
    from harvester.dataset.origin import own_version, refuse_other_settings
    from harvester.storage.output import Output

    output = Output(Path(settings.output.dir))
    if not output.cdr.is_dir() and not output.state.is_dir():
        raise UsageError(
            f"{output.root} holds no data yet. Name the right folder with --out or -c, or begin "
            f"with `harvester run IDS`.",
            code="output.no_data",
        )
    if file is not None:
        refuse_ours(file, output)
    refuse_other_settings(output.cdr, settings, GROUP_RECORD)
    found = data_files(output, "sql")
    with (
        tempfile.TemporaryDirectory(prefix="harvester-sql-") as scratch,
        opened(
            records(output, found),
            own_version(output.cdr, found.parts, VERSIONS),
            tables(output),
            files,
            clock=Clock.of(settings.billing),
            memory_limit=settings.plan.memory_limit,
            scratch=Path(scratch),
        ) as session,
    ):
        _converse(session, query, _way_out(chosen, file))
    return 0


def _converse(session: Session, query: str | None, show: Callable[[Answer], None]) -> None:
    from harvester.analysis.query.split_sql import split

    if query is None and sys.stdin.isatty():
        from harvester.cli.ui.sql_prompt import converse, typed

        converse(lambda statement: show(session.ask(statement)), typed, stderr())
        return
    text = split(sys.stdin.read() if query is None else query)
    statements = [*text.whole, *filter(None, [text.rest.strip()])]
    if not statements:
        raise UsageError(
            'there is no query: write one, as `harvester sql "FROM cdr LIMIT 5"`.',
            code="usage.query",
        )
    for statement in statements:
        show(session.ask(statement))


def _way_out(form: Format | None, file: Path | None) -> Callable[[Answer], None]:
    """What becomes of an answer."""
    if form is None:
        return _show
    written: list[str] = []

    def write(answer: Answer) -> None:
        from harvester.analysis.query.plain_types import plain, plain_schema
        from harvester.cli.ui.row_output import opened

        if file is not None and written:
            raise UsageError(
                f"{file} holds the answer of one query: run them one by one.", code="usage.target"
            )
        written.append(form.value)
        schema = plain_schema(answer.schema)
        with opened(form.value, file, schema) as sink:
            for batch in answer.batches:
                sink(plain(batch, schema))

    return write


def _show(answer: Answer) -> None:
    from harvester.cli.ui.sql_table import MOST_ROWS, screen

    terminal = stdout()
    width = terminal.console.width if sys.stdout.isatty() else None
    lines, is_whole = screen(answer, width)
    terminal.show(lines)
    if not is_whole:
        stderr().say(
            f"note: these are the first {MOST_ROWS} rows; --json, --format csv or -o FILE give all."
        )


def _named_file(text: str) -> tuple[str, Path]:
    name, sign, file = text.partition("=")
    if not sign or not file:
        raise UsageError(f"--table {text}: write it as --table invoice=FILE.", code="usage.table")
    return name, Path(file)
