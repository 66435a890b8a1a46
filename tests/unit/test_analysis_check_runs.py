"""The books of a run against its rows and its summary: each figure is compared, to the last one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import msgspec
import pytest

from harvester.analysis.verify.check_runs import check_runs, check_summaries
from harvester.analysis.verify.dataset_scan import UsageRow
from harvester.dataset.usage import UsageTotals
from harvester.state import run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.values import Batch, Compared, Entry, Note
from harvester.storage.output import Output
from tests.support.summaries import summary_of

RUN = "20261102T100000Z-aaaaaa"
OTHER = "20261103T100000Z-bbbbbb"
COUNTERS = {
    "begun": 15,
    "delivered": 5,
    "open": 4,
    "dead": 3,
    "deferred": 2,
    "cut_off": 1,
    "opens_published": 2,
    "usage.answers": 7,
    "usage.call_duration_s": 100,
    "usage.charged_duration_s": 200,
    "usage.cost.USD": 123_456_789,
    "usage.cost.EUR": 1,
}
# Seven rows: five of them published, two waiting in the journal.
USAGE: list[UsageRow] = [
    (RUN, "USD", 3, 40, 80, Decimal("1.23456780")),
    (RUN, "EUR", 2, 10, 20, Decimal("0.00000001")),
]
JOURNAL = {RUN: UsageTotals(2, 50, 100, {"USD": 9})}
BOOKS = {
    "attempted": 15,
    "delivered": 5,
    "open": 4,
    "dead": 3,
    "deferred": 2,
    "cut_off": 1,
    "opens_published": 2,
}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    output = Output(tmp_path)
    output.state.mkdir()
    with closing(open_database(output.database, "default")) as found:
        yield found


def ran(db: Connection, name: str = RUN, exit_code: int | None = 3, **counters: int | None) -> None:
    """A run with COUNTERS but for what is named; None leaves one out."""
    run_records.begin_run(db, name, 0)
    told = {key.replace("__", "."): value for key, value in counters.items()}
    known = {key: value for key, value in {**COUNTERS, **told}.items() if value is not None}
    if exit_code is None:
        db.execute("UPDATE run SET counters = ? WHERE id = ?", (json.dumps(known), name))
    else:
        run_records.end_run(db, name, 1, exit_code, known)


def found(
    db: Connection, usage: list[UsageRow] | None = USAGE, journal: dict[str, UsageTotals] = JOURNAL
) -> list[tuple[str, str, str]]:
    return [(one.severity, one.kind, one.what) for one in check_runs(db, usage, journal)]


def test_books_that_agree_are_no_finding(db: Connection) -> None:
    ran(db)
    assert found(db) == []


@pytest.mark.parametrize("name", ["delivered", "open", "dead", "deferred", "cut_off"])
@pytest.mark.parametrize("off", [-1, 1])
def test_every_id_that_was_attempted_has_one_outcome(db: Connection, name: str, off: int) -> None:
    more: Any = {name: COUNTERS[name] + off}
    ran(db, **more)
    what = f"15 ids were attempted, but {15 + off} have an outcome"
    assert ("damage", "control_totals", what) in found(db, None)
    assert len(found(db, None)) == 1


def test_a_killed_run_may_have_begun_more_than_it_ended(db: Connection) -> None:
    ran(db, exit_code=None, begun=20)
    assert found(db) == []


@pytest.mark.parametrize(
    ("counter", "says"),
    [
        ("opens_published", "rows: the answers came to 8, data and journal hold 7"),
        ("usage.call_duration_s", "call seconds: the answers came to 101, data and journal hold 1"),
        ("usage.charged_duration_s", "charged seconds: the answers came to 201, data and journal"),
        (
            "usage.cost.USD",
            "cost in USD (1e-8): the answers came to 123456790, data and journal hold 123456789",
        ),
        ("usage.cost.EUR", "cost in EUR (1e-8): the answers came to 2, data and journal hold 1"),
        ("usage.cost.GBP", "cost in GBP (1e-8): the answers came to 1, data and journal hold 0"),
    ],
)
def test_one_more_than_the_rows_hold_is_damage(db: Connection, counter: str, says: str) -> None:
    more: Any = {counter.replace(".", "__"): COUNTERS.get(counter, 0) + 1}
    ran(db, **more)
    ((severity, kind, what),) = found(db)
    assert (severity, kind) == ("damage", "control_totals")
    assert what.startswith(says)


def test_rows_that_no_counter_knows_are_damage(db: Connection) -> None:
    ran(db)
    more = [*USAGE, (RUN, "GBP", 1, 0, 0, Decimal(2)), (RUN, None, 0, 0, 0, None)]
    assert [what for _, _, what in found(db, more)] == [
        "rows: the answers came to 7, data and journal hold 8",
        "cost in GBP (1e-8): the answers came to 0, data and journal hold 200000000",
    ]


@pytest.mark.parametrize("missing", ["data", "journal"])
def test_what_is_missing_in_the_data_or_in_the_journal_is_damage(
    db: Connection, missing: str
) -> None:
    ran(db)
    told = found(db, [] if missing == "data" else USAGE, {} if missing == "journal" else JOURNAL)
    rows = 2 if missing == "data" else 5
    assert told[0][2] == f"rows: the answers came to 7, data and journal hold {rows}"
    assert len(told) == (5 if missing == "data" else 4)


def test_an_older_version_counted_less_than_its_rows_hold_and_never_more(db: Connection) -> None:
    ran(db, usage__answers=None, usage__call_duration_s=90, usage__charged_duration_s=201)
    assert [(severity, kind, what.partition(":")[0]) for severity, kind, what in found(db)] == [
        ("note", "older_totals", "call seconds"),
        ("damage", "control_totals", "charged seconds"),
    ]


def test_this_version_counts_no_less_than_its_rows_hold(db: Connection) -> None:
    ran(db, usage__call_duration_s=99)
    assert found(db) == [
        (
            "damage",
            "control_totals",
            "call seconds: the answers came to 99, data and journal hold 100",
        )
    ]


def test_no_version_excuses_rows_that_are_missing(db: Connection) -> None:
    ran(db, usage__answers=None, opens_published=3, usage__call_duration_s=90)
    assert {(severity, kind) for severity, kind, _ in found(db)} == {("damage", "control_totals")}


def again(db: Connection, *, counted: int, waiting: int) -> list[tuple[str, str, str]]:
    """A run that fetched 10 ids again: two were forgotten, one failed, the same, changed, differing
    in extra alone and missing are `counted` each, and so many answers wait in the journal.
    """
    ran(db)
    answers = [Entry(f"{n:019}", 1, True, b'{"status":0}') for n in range(waiting)]
    counters = {**COUNTERS, "again": 10, "forgotten": 2, "failed": 1}
    if answers:
        batch = Batch(again=answers)
        acknowledge(db, RUN, batch, work_list=None, counters=counters, requests_of_day=("", 0))
    run_records.end_run(db, RUN, 1, 3, counters)
    note = Note(compared={RUN: Compared(counted, counted, counted, counted, unrated=9)})
    db.execute(
        "INSERT INTO publication (lo, hi, state, kind, note) VALUES (1, 0, 'live', 'change', ?)",
        (msgspec.json.encode(note).decode(),),
    )
    return found(db, None)


@pytest.mark.parametrize(("counted", "waiting"), [(1, 3), (0, 7)])
def test_every_id_that_was_fetched_again_was_compared_or_forgotten_or_failed_or_waits(
    db: Connection, counted: int, waiting: int
) -> None:
    assert again(db, counted=counted, waiting=waiting) == []


@pytest.mark.parametrize(("counted", "waiting"), [(1, 2), (1, 4), (2, 3), (1, 0)])
def test_ids_that_were_fetched_again_and_have_no_outcome_or_two_are_damage(
    db: Connection, counted: int, waiting: int
) -> None:
    outcomes = 3 + 4 * counted + waiting
    what = f"10 ids were fetched again, but {outcomes} have an outcome"
    assert again(db, counted=counted, waiting=waiting) == [("damage", "control_totals", what)]


def test_rows_of_a_run_that_is_unknown_are_damage(db: Connection) -> None:
    ran(db)
    more = [*USAGE, (OTHER, "USD", 3, 0, 0, None), (OTHER, "EUR", 4, 0, 0, None)]
    assert found(db, more) == [
        (
            "damage",
            "unknown_run",
            f"7 rows are of run {OTHER}, which the state database does not know",
        )
    ]


def test_unknown_runs_are_told_in_order(db: Connection) -> None:
    more: list[UsageRow] = [(name, "USD", 1, 0, 0, None) for name in ("c", "a", "b")]
    assert [what.split()[5][:1] for _, _, what in found(db, more, {})] == ["a", "b", "c"]


# --- summaries -----------------------------------------------------------------------------------


def said(db: Connection, tmp_path: Path, name: str = RUN, **changes: Any) -> list[tuple[str, str]]:
    """What is found with one summary, right but for `changes`."""
    folder = Output(tmp_path).run(name)
    folder.mkdir(parents=True, exist_ok=True)
    data = {"rows": changes.pop("rows", 7)}
    whole = summary_of(RUN, exit_code=3, run=BOOKS, data=data)
    for key, value in changes.items():
        (whole["run"] if key in BOOKS else whole)[key] = value
    (folder / "summary.json").write_text(json.dumps(whole))
    return [(one.kind, one.what) for one in check_summaries(db, Output(tmp_path))]


def test_a_summary_that_says_what_the_ledger_says_is_no_finding(
    db: Connection, tmp_path: Path
) -> None:
    ran(db)
    assert said(db, tmp_path) == []


@pytest.mark.parametrize("name", [*BOOKS, "rows"])
def test_each_figure_of_a_summary_is_compared(db: Connection, tmp_path: Path, name: str) -> None:
    ran(db)
    told = "data.rows" if name == "rows" else name
    change: Any = {name: BOOKS.get(name, 7) + 1}
    assert said(db, tmp_path, **change) == [
        ("summary", f"differs from the state database in: {told}")
    ]


def test_figures_that_differ_are_named_by_the_alphabet(db: Connection, tmp_path: Path) -> None:
    ran(db)
    assert said(db, tmp_path, open=0, attempted=0, dead=0) == [
        ("summary", "differs from the state database in: attempted, dead, open")
    ]


@pytest.mark.parametrize("change", [{"exit_code": 0}, {"exit_code": None}, {"run_id": OTHER}])
def test_a_summary_of_another_end_is_told(
    db: Connection, tmp_path: Path, change: dict[str, Any]
) -> None:
    ran(db)
    assert said(db, tmp_path, **change) == [
        ("summary", "differs from the state database in: run_id or exit_code")
    ]


def test_a_run_without_an_end_may_have_any_summary_and_one_with_an_end_has_one(
    db: Connection, tmp_path: Path
) -> None:
    ran(db, exit_code=None)
    assert said(db, tmp_path, open=99) == []
    ran(db, OTHER)
    assert said(db, tmp_path) == [("no_summary", f"run {OTHER} has no summary.json any more")]


def test_a_summary_of_a_run_that_the_ledger_does_not_know_means_an_older_state(
    db: Connection, tmp_path: Path
) -> None:
    assert said(db, tmp_path) == [
        ("older_state", f"run {RUN} has a summary, but the state database does not know it")
    ]


def test_a_folder_with_another_name_is_nobodys_run(db: Connection, tmp_path: Path) -> None:
    ran(db)
    assert said(db, tmp_path) == []
    assert said(db, tmp_path, "notes of 2026") == []


def test_a_summary_that_cannot_be_read_is_told(db: Connection, tmp_path: Path) -> None:
    ran(db)
    said(db, tmp_path)
    (Output(tmp_path).run(RUN) / "summary.json").write_text("{")
    ((kind, what),) = [(one.kind, one.what) for one in check_summaries(db, Output(tmp_path))]
    assert kind == "summary"
    assert what.startswith("can't be read: ")
