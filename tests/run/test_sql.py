"""`harvester sql`: answers, forms, what is refused, and the ready queries of docs/sql.md."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.analysis.clock import Clock
from harvester.analysis.query.plain_types import plain, plain_schema
from harvester.analysis.query.session import Records, Session, opened
from harvester.analysis.query.split_sql import split
from harvester.analysis.query.tables import tables
from harvester.cli.ui.sql_table import screen
from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import StoreError, UsageError
from harvester.state.lock import OutputLock
from harvester.storage.output import Output
from tests.run.test_cli_commands import KEYS, harvester
from tests.support import forked
from tests.support.datasets import filled, made, write
from tests.support.outputs import fingerprint
from tests.support.simulated import ROOT, Simulator

PAGE = (ROOT / "docs" / "sql.md").read_text()
BLOCKS = dict(re.findall(r"^### ([^\n]+)\n[^#]*?```sql\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
SLOW = "SELECT count(*) FROM range(100000000) a, range(1000) b WHERE (a.range * b.range) % 7 = 3"
NAME = "o'ut [t]*x=1"
"""An output whose name is a pattern, has a quote, and looks like a partition."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A harvest with dead and open ids, calls that are there twice, and an invoice."""
    folder = tmp_path_factory.mktemp("asked")
    harvester("simulate", "--now", "2023-01-11", "--ids", 1500, "ids.txt", cwd=folder)
    fates = "dead_param=0.03,open_forever=0.02,no_record=0.01"
    with Simulator(rate_limit=0, fates=fates, drift="wild") as vendor:
        words = ("run", "ids.txt", "--out", NAME, "--base-url", vendor.base_url, "--rate", 2000)
        done = harvester(*words, cwd=folder, env=KEYS)
    assert done.returncode == 3, done.stderr  # some are dead
    late = datetime(2026, 11, 9, tzinfo=UTC)
    rows: list[dict[str, Any]] = [
        {"callee": "4915112345678"},
        {"callee": "4915112345678", "fetched_at": late, "rate": Decimal("0.02")},
        {"cost": Decimal(0), "is_final": False, "submit_time": None},
        {"answered": False, "code": "India(Goa)", "unparsed": '{"cost":"x"}'},
        {"submit_time": late, "rate": Decimal("0.5"), "extra": '{"new":1}'},
        *[{"code": "Fiji"}] * 20,
        *[{"code": "Fiji", "rate": Decimal("0.013"), "submit_time": late}] * 20,
        {"callee": "4915112345679", "cost": None, "rate": None, "is_rated": False},
    ]
    write(folder / NAME, [filled(rows)], publication=99)
    with (folder / "invoice.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["voice_id", "submit_time", "amount", "currency"])
        of_second = "2026-11-02 18:00:00"
        writer.writerows([f"{n:019}", of_second, cost, "USD"] for n, cost in ((0, "0.012"), (1, 1)))
        writer.writerow(["99999999999999999999", of_second, "7.25", "EUR"])
    return folder


@pytest.fixture(scope="module")
def session(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with asked(folder / NAME, tmp_path_factory.mktemp("scratch"), folder) as session:
        yield session


@contextmanager
def asked(out: Path, scratch: Path, folder: Path | None = None) -> Iterator[Session]:
    """A session over an output, as the command opens it."""
    output = Output(out)
    files = {"invoice": folder / "invoice.csv"} if folder is not None else {}
    parts = sorted(output.cdr.rglob("*.parquet"))
    sources = tables(output)
    clock = Clock("Asia/Shanghai", "submit")
    with opened(
        Records(tuple(parts), ()),
        GROUP_RECORD,
        sources,
        files,
        clock=clock,
        memory_limit="400MB",
        scratch=scratch,
    ) as session:
        yield session


def rows(session: Session, statement: str) -> list[dict[str, Any]]:
    return [row for batch in session.ask(statement).batches for row in batch.to_pylist()]


def sql(folder: Path, *words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return harvester("sql", "--out", NAME, *words, cwd=folder, stdin=stdin)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_page_has_a_dozen_ready_queries_and_more() -> None:
    assert len(BLOCKS) == PAGE.count("```sql") >= 12


@pytest.mark.parametrize("title", BLOCKS)
def test_a_ready_query_has_an_answer(title: str, session: Session) -> None:
    assert rows(session, BLOCKS[title])


@pytest.mark.parametrize("table", ["cdr", "dead_letter", "open_call", "run"])
def test_the_page_names_every_column_with_its_type(table: str, session: Session) -> None:
    section = PAGE.split(f"### {table}\n")[1].split("\n#")[0]
    lines = re.findall(r"^\| (`.*`) \| (.*) \|$", section, re.MULTILINE)
    named = [(name, kind) for names, kind in lines for name in re.findall(r"`(\w+)`", names)]
    told = rows(session, f"DESCRIBE {table}")
    assert [(row["column_name"], row["column_type"]) for row in told] == named


def test_cdr_is_every_row_of_every_part_with_its_day(folder: Path, session: Session) -> None:
    by_day: dict[str, int] = {}
    for part in (folder / NAME / "cdr").rglob("*.parquet"):
        day = part.parent.name.removeprefix("submit_date=")
        by_day[day] = by_day.get(day, 0) + pq.ParquetFile(part).metadata.num_rows
    undated = by_day.pop("__HIVE_DEFAULT_PARTITION__")
    found = rows(session, "SELECT submit_date, count(*) AS calls FROM cdr GROUP BY ALL")
    assert {str(row["submit_date"]): row["calls"] for row in found} == {**by_day, "None": undated}


def test_a_condition_on_the_day_reads_the_files_of_that_day_alone(
    folder: Path, session: Session
) -> None:
    (told,) = rows(session, "EXPLAIN ANALYZE SELECT * FROM cdr WHERE submit_date = '2026-11-09'")
    (day,) = (part for part in (folder / NAME / "cdr").iterdir() if part.name.endswith("11-09"))
    every = len(list((folder / NAME / "cdr").rglob("*.parquet")))
    assert f"Scanning Files: {len(list(day.iterdir()))}/{every} " in told["explain_value"]


def test_dead_open_and_runs_are_those_of_export_and_summary(folder: Path, session: Session) -> None:
    for what, table in (("dead", "dead_letter"), ("open", "open_call")):
        exported = objects(harvester("export", what, "--out", NAME, "--json", cwd=folder).stdout)
        told = objects(sql(folder, "--json", f"FROM {table} ORDER BY voice_id").stdout)
        assert told == exported != []
    (run,) = rows(session, "SELECT * FROM run")
    (file,) = (folder / NAME / "runs").glob("*/summary.json")
    summary = json.loads(file.read_text(), parse_float=Decimal)
    assert run["run_id"] == summary["run_id"]
    assert run["dead"] == summary["run"]["dead"]
    assert {name: str(cost.normalize()) for name, cost in run["cost"]} == {
        name: str(Decimal(cost).normalize()) for name, cost in summary["data"]["cost"].items()
    }


TYPES = """SELECT 12345678901234567890::HUGEINT AS whole, 0.10::DECIMAL(18, 8) AS money,
    1.5::DOUBLE AS ratio, true AS yes, NULL AS nothing, DATE '2026-11-02' AS day,
    TIMESTAMPTZ '2026-11-02 10:00:00.123456+08' AS instant,
    TIMESTAMP '2026-11-02 10:00:00' AS local, INTERVAL '1 year 2 days 03:04:05.5' AS span,
    [1, 2] AS list, {'a': 0.5} AS struct, MAP {'EUR': 1.50} AS map,
    TIME '10:00:00' AS clock, 'ab'::BLOB AS bytes, 'x' AS twice, 'y' AS twice, 'é\t' AS text"""


@pytest.mark.parametrize(
    ("interval", "told"),
    [
        ("-14 months", "-1 year -2 months"),
        ("1 month -1 day", "1 month -1 day"),
        ("-90 seconds", "-00:01:30"),
        ("0 days", "00:00:00"),
        ("24 months", "2 years"),
        ("25 hours 1 microsecond", "25:00:00.000001"),
    ],
)
def test_an_interval_is_told_with_its_signs(interval: str, told: str, session: Session) -> None:
    answer = session.ask(f"SELECT INTERVAL '{interval}' AS span")
    [batch] = answer.batches
    assert plain(batch, plain_schema(batch.schema)).to_pylist() == [{"span": told}]


def test_an_instant_is_told_to_the_millisecond_whatever_it_has_beyond(session: Session) -> None:
    answer = session.ask("SELECT TIMESTAMPTZ '2026-11-02 10:00:00.123456+08' AS at")
    [batch] = answer.batches
    at = datetime(2026, 11, 2, 2, 0, 0, 123_000, UTC)
    assert plain(batch, plain_schema(batch.schema)).to_pylist() == [{"at": at}]


def test_json_lines_lose_no_digit_and_hold_every_type(folder: Path) -> None:
    done = sql(folder, "--json", TYPES)
    assert done.returncode == 0, done.stderr
    assert '"whole":12345678901234567890,"money":"0.10000000"' in done.stdout
    (row,) = objects(done.stdout)
    assert row["instant"] == "2026-11-02T02:00:00.123Z"
    assert row["local"].startswith("2026-11-02T10:00:00")
    assert (row["ratio"], row["yes"], row["nothing"]) == (1.5, True, None)
    assert (row["day"], row["span"]) == ("2026-11-02", "1 year 2 days 03:04:05.5")
    assert (row["list"], row["bytes"]) == ("[1,2]", "6162")
    assert (row["struct"], row["map"]) == ('{"a":"0.5"}', '{"EUR":"1.50"}')
    assert (row["twice"], row["twice_2"], row["text"]) == ("x", "y", "é\t")


def test_csv_and_parquet_hold_the_same_and_a_file_is_private(folder: Path) -> None:
    for name in ("types.csv", "types.parquet"):
        done = sql(folder, "-o", name, TYPES)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    (table,) = pq.read_table(folder / "types.parquet").to_pylist()
    assert (table["whole"], table["money"]) == (12345678901234567890, Decimal("0.10000000"))
    with (folder / "types.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["money"], line["span"]) == ("0.10000000", table["span"])
    guarded = sql(folder, "--format", "csv", "SELECT '=1+1' AS sum")
    assert guarded.stdout.splitlines()[1] == '"\'=1+1"'


def test_a_table_ends_after_a_hundred_rows_and_says_how_to_see_all(folder: Path) -> None:
    many = sql(folder, "SELECT range AS n FROM range(250)")
    assert len(many.stdout.splitlines()) == 102
    assert "first 100 rows" in many.stderr
    assert "--json" in many.stderr
    few = sql(folder, "SELECT range AS n FROM range(100)")
    assert (len(few.stdout.splitlines()), few.stderr) == (102, "")
    assert few.stdout.splitlines()[-1] == "(100 rows)"
    assert (
        len(objects(sql(folder, "--json", "SELECT range AS n FROM range(20250)").stdout)) == 20250
    )


def test_a_screen_shows_a_stranger_s_text_without_acting_on_it(folder: Path) -> None:
    done = sql(folder, "SELECT chr(27) || '[2J' || chr(10) || 'x' AS \"\x1b[2Jname\"")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[1] == r"\x1b[2J\nx"


def test_what_is_wider_than_the_terminal_is_told_record_by_record(session: Session) -> None:
    query = "SELECT 'left' AS a, repeat('x', 30) AS long, NULL AS b, 7 AS n"
    table, is_whole = screen(session.ask(query), 60)
    assert is_whole
    assert [line.text for line in table] == [
        "a     long                            b     n",
        f"left  {'x' * 30}  NULL  7",
        "(1 row)",
    ]
    records, _ = screen(session.ask(query), 40)
    assert [line.text for line in records] == [
        "row 1",
        "  a     left",
        f"  long  {'x' * 30}",
        "  b     NULL",
        "  n     7",
        "(1 row)",
    ]


REFUSED = [
    "COPY cdr TO '{out}/cdr/x.parquet'",
    "COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)",
    "WITH x AS (COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)) FROM x",
    "SELECT (WITH x AS (COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)) SELECT count(*) FROM x)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)",
    "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)) FROM x",
    "DESCRIBE WITH x AS (COPY (SELECT 1) TO '{part}' (USE_TMP_FILE false)) FROM x",
    "FROM query('WITH x AS (COPY (SELECT 1) TO ''{part}'') FROM x')",
    "WITH x AS (DELETE FROM dead_letter RETURNING *) FROM x",
    "ATTACH '{out}/state/state.db' AS ledger",
    "ATTACH '{out}/state/state.db' AS ledger (TYPE sqlite)",
    "EXPORT DATABASE '{out}/cdr'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "CALL enable_logging(storage = 'file')",
    "FROM enable_logging(storage = 'file')",
    "CREATE TABLE x AS FROM cdr",
    "DROP VIEW cdr",
    "INSERT INTO dead_letter FROM dead_letter",
    "FROM read_text('{out}/state/state.db')",
    "FROM read_blob('/etc/hostname')",
    "FROM glob('{out}/*')",
    "FROM '{out}/state/state.db'",
    "FROM '/etc/hostname.csv'",
    "FROM 'https://example.com/x.parquet'",
    "CHECKPOINT",
    "VACUUM",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_what_does_more_than_read_is_refused_and_changes_nothing(
    statement: str, folder: Path, session: Session
) -> None:
    out = folder / NAME
    part = next((out / "cdr").rglob("*.parquet"))
    before = fingerprint(out)
    quoted = {"out": str(out).replace("'", "''"), "part": str(part).replace("'", "''")}
    with pytest.raises(UsageError) as refused:
        rows(session, statement.format(**quoted))
    assert fingerprint(out) == before
    assert not re.search(r"(?i)traceback|internal", str(refused.value))
    assert rows(session, "SELECT 1 AS one") == [{"one": 1}]


@pytest.mark.parametrize(
    "statement", [one for one in REFUSED if one.startswith(("COPY cdr", "ATTACH", "LOAD", "SET"))]
)
def test_behind_the_first_wall_there_is_a_second(
    statement: str, folder: Path, session: Session
) -> None:
    quoted = str(folder / NAME).replace("'", "''")
    with pytest.raises(duckdb.Error):
        session._database.execute(statement.format(out=quoted))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("FROM cdrs", "There are: cdr, cdr_files, changes, dead_letter, open_call, run."),
        ("SELECT nosuch FROM cdr", "nosuch"),
        ("SELECT 'x4915112345678'::INTEGER", "[digits]"),
        ("SELECT error('4915112345678') FROM cdr", "[digits]"),
        ("COPY cdr TO 'x.csv'", "only statements that read"),
        ("FROM 'x.csv'", "--table NAME=FILE"),
        ("SELECT $1", "parameters"),
        ("  ", "there is no query"),
        ("/* nothing */", "statements"),
        ("FROM sources", "There are:"),
    ],
)
def test_a_bad_query_exits_2_with_one_clean_line(query: str, said: str, folder: Path) -> None:
    done = sql(folder, query)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "4915112345678" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("cdr=invoice.csv", "not cdr"),
        ("In voice=invoice.csv", "lower-case"),
        ("invoice", "--table invoice=FILE"),
        ("invoice=ids.txt", "only .csv"),
        ("invoice=nowhere.csv", "nowhere.csv"),
        ("invoice=broken.parquet", "broken.parquet"),
    ],
)
def test_a_file_that_makes_no_table_exits_2(table: str, said: str, folder: Path) -> None:
    (folder / "broken.parquet").write_text("no parquet")
    done = sql(folder, "--table", table, "SELECT 1")
    assert done.returncode == 2
    assert said in done.stderr


def test_several_outputs_are_one_table_by_a_pattern(folder: Path) -> None:
    write(folder / "other [2]", [filled([{"voice_id": "77"}, {"voice_id": "78"}])])
    here = objects(sql(folder, "--json", "SELECT count(*) AS n FROM cdr").stdout)[0]["n"]
    both = sql(
        folder,
        "--json",
        "--table",
        f"everything={folder}/*/cdr/*/*.parquet",
        "SELECT count(*) AS n, count(DISTINCT voice_id) AS ids FROM everything",
    )
    assert objects(both.stdout) == [{"n": here + 2, "ids": here + 2}], both.stderr
    aside = sql(folder, "FROM read_parquet('nowhere.parquet')")
    assert aside.returncode == 2
    assert "--table NAME=FILE" in aside.stderr


def test_an_invoice_s_ids_keep_their_digits(folder: Path) -> None:
    query = "SELECT voice_id, amount FROM invoice ORDER BY voice_id DESC LIMIT 1"
    done = sql(folder, "--json", "--table", "invoice=invoice.csv", query)
    assert objects(done.stdout) == [{"voice_id": "99999999999999999999", "amount": "7.25"}]


def test_one_file_holds_one_answer_and_none_among_our_own(folder: Path) -> None:
    assert sql(folder, "-o", "two.csv", "SELECT 1; SELECT 2").returncode == 2
    assert sql(folder, "-o", f"{NAME}/cdr/x.parquet", "SELECT 1").returncode == 2
    assert not list((folder / NAME / "cdr").glob("x*"))


def test_statements_of_stdin_are_asked_up_to_the_first_error(folder: Path) -> None:
    done = sql(folder, "--json", stdin="SELECT 1 AS n; -- ;\nSELECT ';' AS n;\nSELECT 3 AS n")
    assert [row["n"] for row in objects(done.stdout)] == [1, ";", 3]
    done = sql(folder, "--json", stdin="SELECT 1 AS n; SELEC; SELECT 2 AS n")
    assert (done.returncode, done.stdout) == (2, '{"n":1}\n')


def test_while_a_run_holds_the_output_only_the_ledger_s_tables_wait(folder: Path) -> None:
    with OutputLock(folder / NAME / "state" / "lock"):
        assert sql(folder, "SELECT count(*) FROM cdr, run").returncode == 0
        for query in ("FROM dead_letter", "SELECT * FROM cdr SEMI JOIN Open_Call USING (voice_id)"):
            done = sql(folder, query)
            assert (done.returncode, done.stdout) == (7, "")
        assert sql(folder, "DESCRIBE dead_letter").returncode == 0


def test_data_without_a_state_can_be_asked(tmp_path: Path) -> None:
    made(tmp_path / NAME, [{}, {"submit_time": None}])
    done = sql(tmp_path, "--json", "SELECT count(*) AS n, count(submit_date) AS days FROM cdr")
    assert objects(done.stdout) == [{"n": 2, "days": 1}]
    assert sql(tmp_path, "FROM run").stdout.endswith("(0 rows)\n")
    done = sql(tmp_path, "FROM dead_letter")
    assert done.returncode == 2
    assert "harvester rebuild" in done.stderr


def test_an_output_without_data_has_the_same_columns(tmp_path: Path, session: Session) -> None:
    (tmp_path / NAME / "cdr").mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    with asked(tmp_path / NAME, tmp_path / "scratch") as empty:
        assert rows(empty, "DESCRIBE cdr") == rows(session, "DESCRIBE cdr")
        assert rows(empty, "SELECT count(*) AS n, sum(cost) AS cost FROM cdr") == [
            {"n": 0, "cost": None}
        ]
    assert sql(tmp_path / NAME, "SELECT 1").returncode == 2  # no output there at all


def test_a_part_that_is_gone_or_torn_exits_6(tmp_path: Path) -> None:
    made(tmp_path / NAME, [{}])
    (part,) = (tmp_path / NAME).rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    done = sql(tmp_path, "SELECT sum(cost) FROM cdr")
    assert done.returncode == 6
    assert part.name in done.stderr
    assert "harvester verify --deep" in done.stderr


def test_a_part_that_is_damaged_while_it_is_asked_is_no_fault_of_the_query(tmp_path: Path) -> None:
    made(tmp_path / NAME, [{}])
    (part,) = (tmp_path / NAME).rglob("*.parquet")
    with asked(tmp_path / NAME, tmp_path) as session:
        part.write_bytes(b"PAR1 and nothing that a reader knows PAR1")
        with pytest.raises(StoreError, match=part.name) as refused:
            rows(session, "SELECT sum(cost) FROM cdr")
        assert refused.value.exit_code == 6
        assert rows(session, "SELECT 7 AS seven") == [{"seven": 7}], "it can be asked on"


def test_asking_changes_nothing(folder: Path) -> None:
    before = fingerprint(folder / NAME)
    for query in ("FROM cdr", "FROM dead_letter", "FROM open_call", "FROM run", "SELEC"):
        sql(folder, query)
    assert fingerprint(folder / NAME) == before


def test_an_answer_of_which_no_more_is_wanted_is_let_go(session: Session) -> None:
    endless = session.ask("SELECT range FROM range(1000000000)")
    assert next(endless.batches).num_rows > 0
    assert rows(session, "SELECT 2 AS n") == [{"n": 2}]
    with pytest.raises((UsageError, StopIteration)):
        next(endless.batches)


@pytest.mark.parametrize(
    ("text", "whole", "rest"),
    [
        ("SELECT 1; SELECT 2", ("SELECT 1",), " SELECT 2"),
        (" ;; \n", (), ""),
        ("SELECT ';'; x", ("SELECT ';'",), " x"),
        ('SELECT ";" "a""b;";', ('SELECT ";" "a""b;"',), ""),
        ("SELECT 'it''s;';", ("SELECT 'it''s;'",), ""),
        (r"SELECT E'\';';", (r"SELECT E'\';'",), ""),
        ("SELECT 1 -- ; '\n;", ("SELECT 1 -- ; '",), ""),
        ("SELECT /* ; ' */ 1;", ("SELECT /* ; ' */ 1",), ""),
        ("SELECT $$ ; ' $$, $a$ ; $$ $a$;", ("SELECT $$ ; ' $$, $a$ ; $$ $a$",), ""),
        ("SELECT 'open; ", (), "SELECT 'open; "),
        ("SELECT /* open; ", (), "SELECT /* open; "),
        ("SELECT 1; SELECT $$ open;", ("SELECT 1",), " SELECT $$ open;"),
    ],
)
def test_statements_are_parted_at_semicolons_of_their_own(
    text: str, whole: tuple[str, ...], rest: str
) -> None:
    found = split(text)
    assert (found.whole, found.rest) == (whole, rest)


def test_interrupts_end_a_query_with_130(folder: Path) -> None:
    with prompted(folder, SLOW, tty=False) as (process, _):
        wait_for_children_of_thread(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_the_prompt_takes_several_lines_survives_errors_and_ctrl_c(folder: Path) -> None:
    with prompted(folder) as (process, screen):
        screen.until("sql> ")
        screen.type("SELECT 40 +\n")
        screen.until("...> ")
        screen.type("2 AS answer;\n")
        assert "42" in screen.until("sql> ")
        screen.type("SELEC 4915112345678;\n")
        assert "syntax error" in screen.until("sql> ")
        screen.type(".nonsense\n")
        assert "unknown" in screen.until("sql> ")
        screen.type(".help\n")
        assert "semicolon" in screen.until("sql> ")
        screen.type(".tables\n")
        assert "open_call" in screen.until("(6 rows)")
        screen.until("sql> ")
        screen.type(f"{SLOW};\n")
        wait_for_children_of_thread(process)
        process.send_signal(signal.SIGINT)
        assert "Stopped." in screen.until("sql> ")
        screen.type("SELECT 'half\n")
        screen.until("...> ")
        wait_until_it_reads(process)
        process.send_signal(signal.SIGINT)
        screen.until("sql> ")
        screen.type("SELECT 6 * 7 AS again;\n")
        assert "42" in screen.until("sql> ")
        screen.type(".quit\n")
        assert process.wait(30) == 0
    assert not list(folder.rglob("*history*"))


def test_ctrl_d_ends_the_prompt(folder: Path) -> None:
    with prompted(folder) as (process, screen):
        screen.until("sql> ")
        screen.type("\x04")
        assert process.wait(30) == 0


class Screen:
    """The other side of a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def until(self, wanted: str) -> str:
        """What was shown up to `wanted`."""
        for _ in range(1_500):  # a busy machine takes its time
            if wanted in self._seen:
                shown, _, self._seen = self._seen.partition(wanted)
                return shown + wanted
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self._seen += os.read(self._descriptor, 65_536).decode(errors="replace")
        raise AssertionError(f"no {wanted!r} in {self._seen!r}")


@contextmanager
def prompted(
    folder: Path, *words: str, tty: bool = True
) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    """`harvester sql` at a terminal."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HARVESTER_")}
    process = forked.Popen(
        [sys.executable, "-W", "error", "-m", "harvester", "sql", "--out", NAME, *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "HOME": str(folder), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs if tty else subprocess.DEVNULL,
        stderr=theirs if tty else subprocess.DEVNULL,
    )
    os.close(theirs)
    try:
        yield process, Screen(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def wait_until_it_reads(process: subprocess.Popen[bytes]) -> None:
    """Return once the prompt waits for a key; readline loses a signal that comes before that."""
    stat = Path(f"/proc/{process.pid}/stat")
    for _ in range(2_500):
        if stat.read_text().rpartition(")")[2].split()[0] == "S":
            return
        time.sleep(0.01)
    raise AssertionError("the prompt never waited for a key")


def wait_for_children_of_thread(process: subprocess.Popen[bytes]) -> None:
    """Return once the query's thread is at work."""
    tasks = Path(f"/proc/{process.pid}/task")
    for _ in range(2_500):
        names = [(task / "comm").read_text() for task in tasks.iterdir()]
        used = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().split()[13:15]))
        if len(names) > 2 and used > 300:
            return
        time.sleep(0.05)
    raise AssertionError("the query never began")


def test_the_answer_s_memory_is_that_of_a_portion(session: Session) -> None:
    answer = session.ask("SELECT repeat('x', 1000) AS long FROM range(1000000)")
    before = pa.total_allocated_bytes()
    most = 0
    for batch in answer.batches:
        most = max(most, pa.total_allocated_bytes() - before)
        assert batch.num_rows <= 122_880
    assert most < 200_000_000
