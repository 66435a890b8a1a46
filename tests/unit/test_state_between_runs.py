"""What a run leaves to the next ones, and in which order runs are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from harvester.state import between_runs, publications, run_records, work_lists
from harvester.state.database import get_meta, open_database
from harvester.state.values import Compared, InputRecord, Note, WorkList


class Seen(msgspec.Struct, frozen=True):
    """Something that is remembered of fields."""

    names: tuple[str, ...] = ()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as opened:
        yield opened


def test_before_the_first_run_nothing_was_sent_seen_or_proven(db: sqlite3.Connection) -> None:
    assert between_runs.requests_by_day(db) == {}
    assert between_runs.requests_of_day(db) == ("", 0)
    assert between_runs.last_skew_s(db) == 0
    assert between_runs.latest_ms(db, 1_000) == 1_000
    assert between_runs.reported_publication(db) == 0
    assert between_runs.fields_seen(db, Seen) == Seen()
    assert not between_runs.is_proven(db, "a")
    assert not between_runs.may_have_workers(db)


def test_the_day_that_was_counted_in_last_comes_last(db: sqlite3.Connection) -> None:
    for day, sent in (("2026-09-02", 7), ("2026-09-03", 1), ("2026-09-02", 8), ("", 99)):
        between_runs.keep_requests_of_day(db, (day, sent))
    assert list(between_runs.requests_by_day(db).items()) == [("2026-09-03", 1), ("2026-09-02", 8)]
    assert between_runs.requests_of_day(db) == ("2026-09-02", 8)


def test_the_days_that_were_counted_in_last_are_remembered(db: sqlite3.Connection) -> None:
    """A month of them: so many that a clock that is set back finds what was sent."""
    days = [f"2026-10-{day:02}" for day in range(1, 32)] + ["2026-11-01", "2026-11-02"]
    for sent, day in enumerate(days, start=1):
        between_runs.keep_requests_of_day(db, (day, sent))
    assert list(between_runs.requests_by_day(db)) == days[-31:]
    assert between_runs.requests_of_day(db) == ("2026-11-02", 33)


@pytest.mark.parametrize(
    ("skew_s", "kept_s", "latest_ms"),
    [(0.0, 0.0, 1_000), (2.34, 2.3, 3_300), (2.36, 2.4, 3_400), (-2.5, -2.5, 1_000)],
)
def test_the_vendors_clock_may_be_as_late_as_it_was_seen_ahead_of_ours(
    db: sqlite3.Connection, skew_s: float, kept_s: float, latest_ms: int
) -> None:
    between_runs.keep_clock(db, "run-1", skew_s, 0, ("2026-09-02", 3))
    assert between_runs.last_skew_s(db) == kept_s
    assert between_runs.latest_ms(db, 1_000) == latest_ms
    assert between_runs.requests_of_day(db) == ("2026-09-02", 3)


@pytest.mark.parametrize(
    ("at_ms", "listed_ms", "new_ids_ms"), [(1_000, 1_060, 1_060), (999, 1_000, 1_000)]
)
def test_when_an_input_was_listed_and_ids_came_goes_by_the_vendors_clock_too(
    db: sqlite3.Connection, at_ms: int, listed_ms: int, new_ids_ms: int
) -> None:
    """If this run listed it: at the instant that it names."""
    inputs = [InputRecord(key, 1, 0, 0, 1, 0, 1, 1_000) for key in ("ours", "another")]
    for number, record in enumerate(inputs, start=1):
        new = WorkList(number, record.key, "l", None, 1, 0, 0)
        work_lists.replace_list(db, new, input_record=record, new_ids_ms=1_000)
    for run in ("run-1", "run-2"):
        run_records.begin_run(db, run, 500)
    between_runs.keep_clock(db, "run-2", 0.1, 60, ("", 0), ("ours", at_ms))
    found = {one.key: one.first_listed_ms for one in work_lists.all_inputs(db)}
    assert found == {"ours": listed_ms, "another": 1_000}
    assert work_lists.last_new_ids_ms(db) == new_ids_ms
    assert [run_records.run_record(db, one).started_ms for one in ("run-1", "run-2")] == [500, 560]


def test_a_run_that_listed_nothing_dates_no_list_anew(db: sqlite3.Connection) -> None:
    new = WorkList(1, None, "l", None, 1, 0, 0)
    work_lists.replace_list(db, new, new_ids_ms=1_000)
    between_runs.keep_clock(db, "run-1", 0.1, 60, ("", 0))
    assert work_lists.last_new_ids_ms(db) == 1_000


def test_whether_the_run_before_had_workers_is_told_once(db: sqlite3.Connection) -> None:
    told = [between_runs.had_workers(db, now) for now in (False, True, True, False, False)]
    assert told == [False, False, True, True, False]
    between_runs.had_workers(db, True)
    assert between_runs.may_have_workers(db)


def test_keys_that_were_taken_are_remembered_the_one_of_this_run_the_longest(
    db: sqlite3.Connection,
) -> None:
    between_runs.prove(db, "kept")
    between_runs.prove(db, "forgotten")
    between_runs.prove(db, "kept")
    assert between_runs.is_proven(db, "kept")
    assert between_runs.is_proven(db, "forgotten")
    assert not between_runs.is_proven(db, "other")
    n = 0
    while between_runs.is_proven(db, "forgotten"):
        between_runs.prove(db, f"more-{n}")
        n += 1
        assert n < 1_000, "they would grow without end"
    assert between_runs.is_proven(db, "kept")
    assert between_runs.is_proven(db, "more-0")


def test_what_was_shown_of_fields_is_remembered_up_to_a_publication(
    db: sqlite3.Connection,
) -> None:
    between_runs.remember_fields(db, Seen(("a", "b")), 7)
    assert between_runs.fields_seen(db, Seen) == Seen(("a", "b"))
    assert between_runs.reported_publication(db) == 7


def test_a_run_is_clean_once_it_has_ended(db: sqlite3.Connection) -> None:
    run_records.begin_run(db, "run-1", 5)
    assert get_meta(db, "clean") == "0"
    run_records.end_run(db, "run-1", 9, 3, {"dead": 1}, requests_of_day=("2026-09-02", 4))
    assert get_meta(db, "clean") == "1"
    found = run_records.run_record(db, "run-1")
    assert (found.started_ms, found.ended_ms, found.exit_code, found.dead) == (5, 9, 3, 1)
    assert between_runs.requests_of_day(db) == ("2026-09-02", 4)
    run_records.end_run(db, "run-1", 9, 3, {})
    assert between_runs.requests_of_day(db) == ("2026-09-02", 4), "nothing was sent since"
    with pytest.raises(IndexError):
        run_records.run_record(db, "run-2")


def test_each_run_has_a_number_above_those_of_all_runs_and_publications_before(
    db: sqlite3.Connection,
) -> None:
    def begin(run: str) -> int:
        begun = run_records.begin_run(db, run, 5)
        assert run_records.run_record(db, run) == begun
        return begun.first_publication

    assert [begin("a"), begin("b")] == [1, 2]
    assert publications.prepare_rewrite(db) == 2, "the run's own"
    assert begin("c") == 3
    run_records.keep_newest_number(db, 10)
    assert publications.prepare_rewrite(db) == 11
    assert begin("d") == 12
    assert [one.id for one in run_records.unended_runs(db)] == ["a", "b", "c", "d"]


def enter(db: sqlite3.Connection, run: str, number: int, started_ms: int, code: int | None) -> None:
    """A run as an older version entered it: several may have one number."""
    ended_ms = None if code is None else started_ms + 100
    row = (run, started_ms, ended_ms, code, number, "{}")
    db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?)", row)


def test_runs_are_ordered_by_number_then_by_start_then_by_name(db: sqlite3.Connection) -> None:
    rows = [("b", 1, 50), ("a", 1, 60), ("c", 1, 60), ("d", 2, 10)]
    for run, number, started_ms in rows:
        enter(db, run, number, started_ms, None)
    assert [one.id for one in run_records.all_runs(db)] == ["d", "c", "a", "b"]
    assert [one.id for one in run_records.last_runs(db, 2)] == ["d", "c"]
    unended = [one.id for one in run_records.unended_runs(db)]
    assert (unended[0], unended[-1]) == ("b", "d")


@pytest.mark.parametrize(
    ("runs", "ended_ms"),
    [
        ([], None),
        ([(1, 10, 5), (2, 20, None), (3, 30, 4)], None),
        ([(1, 10, 0)], 110),
        ([(1, 10, 3)], 110),
        ([(1, 10, 8)], 110),
        ([(2, 10, 0), (1, 20, 0)], 110),
        ([(1, 10, 0), (1, 20, 3), (2, 30, 5)], 120),
    ],
)
def test_the_last_success_is_the_newest_runs_that_did_what_it_was_meant_to(
    db: sqlite3.Connection, runs: list[tuple[int, int, int | None]], ended_ms: int | None
) -> None:
    for name, (number, started_ms, code) in zip("cba", runs, strict=False):
        enter(db, name, number, started_ms, code)
    assert run_records.last_success_ms(db) == ended_ms


def test_calls_without_a_price_are_those_of_runs_and_what_became_of_them_since(
    db: sqlite3.Connection,
) -> None:
    assert run_records.count_unrated(db) == 0
    for run, unrated in (("run-1", 10), ("run-2", 5)):
        run_records.begin_run(db, run, 1)
        run_records.end_run(db, run, 2, 0, {"unrated": unrated, "delivered": 99})
    dropped = publications.prepare_rewrite(db)
    publications.commit_rewrite(db, dropped, [], [], Note("drop", unrated=-2))
    changed = publications.prepare_rewrite(db)
    compared = {"run-1": Compared(unrated=-3), "run-2": Compared(unrated=1)}
    publications.commit_rewrite(db, changed, [], [], Note(compared=compared))
    assert run_records.count_unrated(db) == 10 + 5 - 2 - 3 + 1
