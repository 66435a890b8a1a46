"""Ids without a final record: what is counted, listed and removed of each kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from harvester.state import run_records, unresolved
from harvester.state.database import open_database
from harvester.state.unresolved import OpenCounts
from harvester.state.values import DeadLetter, Deferred, OpenCall

T = TypeVar("T")

LETTER = DeadLetter("a", "gave_up", "why", 2, 3, 4, "run-1", body=b"5")
CALL = OpenCall("a", 10, 2, 3, "run-1", b"4", 5, 6, 7)
DEFERRED = Deferred("a", "timeout", "why", 2, 3, "run-1", 4, ("2026-11-01", "2026-11-02"), 5, 6)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as opened:
        yield opened


def all_of(portions: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(portions))


def put_letters(db: sqlite3.Connection) -> None:
    """Of each kind one: dead, published, being retried."""
    letters = [
        replace(LETTER, voice_id="dead", first_ms=11),
        replace(LETTER, voice_id="published", first_ms=12, published=True),
        replace(LETTER, voice_id="retried", first_ms=13, retrying=True),
    ]
    unresolved.put_dead_letters(db, letters)


@pytest.mark.parametrize(
    "letter", [LETTER, replace(LETTER, published=True), replace(LETTER, retrying=True, body=None)]
)
def test_a_dead_letter_is_kept_as_it_is(db: sqlite3.Connection, letter: DeadLetter) -> None:
    assert unresolved.dead_letter(db, "a") is None
    unresolved.put_dead_letters(db, [replace(LETTER, reason="older"), letter])
    assert unresolved.dead_letter(db, "a") == letter
    assert list(unresolved.all_dead_letters(db)) == [letter]
    assert list(unresolved.dead_letters(db)) == ([] if letter.retrying else [letter])
    assert unresolved.is_retrying(db, "a") == letter.retrying


@pytest.mark.parametrize("call", [CALL, OpenCall("a", 1, 2, 3, "run-1")])
def test_an_open_call_is_kept_as_it_is_until_it_is_removed(
    db: sqlite3.Connection, call: OpenCall
) -> None:
    assert unresolved.open_call(db, "a") is None
    unresolved.put_open_calls(db, [replace(CALL, due_ms=99), call])
    assert unresolved.open_call(db, "a") == call
    assert list(unresolved.all_open_calls(db)) == [call]
    assert unresolved.remove_open_calls(db, ["a", "b"]) == 1
    assert list(unresolved.all_open_calls(db)) == []


@pytest.mark.parametrize(
    "item",
    [
        DEFERRED,
        replace(DEFERRED, counts=True),
        replace(DEFERRED, again=True, days=(), chunk=None, row=None),
    ],
)
def test_a_deferred_id_is_kept_as_it_is_until_it_is_removed(
    db: sqlite3.Connection, item: Deferred
) -> None:
    assert unresolved.deferred(db, "a") is None
    unresolved.put_deferred(db, [replace(DEFERRED, runs=99), item])
    assert unresolved.deferred(db, "a") == item
    assert list(unresolved.all_deferred(db)) == [item]
    unresolved.remove_deferred(db, ["b"])
    assert unresolved.deferred(db, "a") == item
    unresolved.remove_deferred(db, ["a"])
    assert unresolved.deferred(db, "a") is None


def test_open_calls_are_counted_by_why_they_are_open(db: sqlite3.Connection) -> None:
    """One that was unrated, and that the vendor then did not know, is over: it is unrated."""
    bare = OpenCall("on the line", 10, 1, 1, "run-1")
    calls = [
        bare,
        replace(bare, voice_id="unknown", due_ms=11, unknown_ms=1),
        replace(bare, voice_id="unknown too", due_ms=99, unknown_ms=1),
        replace(bare, voice_id="unrated", unrated_ms=1),
        replace(bare, voice_id="unrated, then unknown", unknown_ms=1, unrated_ms=1),
        replace(bare, voice_id="unrated, due later", due_ms=12, unrated_ms=1),
    ]
    unresolved.put_open_calls(db, calls)
    found = [unresolved.count_open_calls(db, at_ms) for at_ms in (9, 10, 11, 12)]
    assert found == [OpenCounts(6, due, 2, 3) for due in (0, 3, 4, 5)]
    assert sorted(all_of(unresolved.open_since(db))) == [
        ("on the line", 1, False),
        ("unknown", 1, False),
        ("unknown too", 1, False),
        ("unrated", 1, True),
        ("unrated, due later", 1, True),
        ("unrated, then unknown", 1, True),
    ]
    assert all_of(unresolved.open_ids(db)) == sorted(one.voice_id for one in calls)


# By more than ten minutes.
@pytest.mark.parametrize(("ahead_ms", "due"), [(600_000, 0), (600_001, 1)])
def test_what_was_dated_far_ahead_is_due_whatever_its_date_says(
    db: sqlite3.Connection, ahead_ms: int, due: int
) -> None:
    call = OpenCall("a", 10**9, 1_000 + ahead_ms, 1, "run-1")
    unresolved.put_open_calls(db, [call])
    assert unresolved.count_open_calls(db, 1_000).due == due
    assert len(unresolved.due_open_calls(db, 1_000, "")) == due


def test_dead_letters_are_counted_by_reason_the_most_frequent_first(
    db: sqlite3.Connection,
) -> None:
    reasons = {"a": "rare", "b": "often", "c": "often", "d": "also rare", "e": "rare"}
    letters = [replace(LETTER, voice_id=one, reason=reasons[one]) for one in reasons]
    letters[4] = replace(letters[4], retrying=True)
    unresolved.put_dead_letters(db, letters)
    assert list(unresolved.count_dead(db).items()) == [("often", 2), ("also rare", 1), ("rare", 1)]
    assert unresolved.count_retrying(db) == 1
    unresolved.put_dead_letters(db, [replace(letters[1], published=True)])
    assert unresolved.retry_counts(db) == [("also rare", 1, 0), ("often", 1, 0), ("rare", 1, 1)]
    assert unresolved.retryable_ids(db, None) == ["a", "c", "d", "e"]
    assert unresolved.retryable_ids(db, "rare") == ["a", "e"]


def test_what_is_being_retried_is_not_among_the_dead(db: sqlite3.Connection) -> None:
    put_letters(db)
    assert all_of(unresolved.dead_only_ids(db)) == ["dead"]
    assert sorted(all_of(unresolved.dead_since(db))) == [
        ("dead", 11, False),
        ("published", 12, True),
    ]
    assert sorted(all_of(unresolved.dead_letter_states(db))) == [
        ("dead", False, False),
        ("published", True, False),
        ("retried", False, True),
    ]
    assert unresolved.died_since(db, LETTER.died_ms) == ["dead", "published"]
    assert unresolved.died_since(db, LETTER.died_ms + 1) == []


def test_what_waits_is_deferred_or_being_retried(db: sqlite3.Connection) -> None:
    put_letters(db)
    items = [
        replace(DEFERRED, voice_id="pending", first_ms=21),
        replace(DEFERRED, voice_id="in the data", first_ms=22, again=True),
        replace(DEFERRED, voice_id="open", first_ms=23),
    ]
    unresolved.put_deferred(db, items)
    unresolved.put_open_calls(db, [replace(CALL, voice_id="open")])
    waiting = sorted(all_of(unresolved.waiting_since(db)))
    assert waiting == [("open", 23), ("pending", 21), ("retried", 13)]
    assert sorted(all_of(unresolved.deferred_ids(db))) == ["open", "pending"]
    assert unresolved.count_deferred(db) == 1, "an open call that failed is open"


def test_dead_letters_go_with_what_became_of_them_and_no_others(db: sqlite3.Connection) -> None:
    put_letters(db)
    unresolved.remove_published(db, ["dead", "published", "retried"])
    assert [one.voice_id for one in unresolved.all_dead_letters(db)] == ["dead", "retried"]
    unresolved.remove_dead_letters(db, ["retried", "other"])
    assert [one.voice_id for one in unresolved.all_dead_letters(db)] == ["dead"]


def test_ids_that_earlier_runs_deferred_are_known_from_those_of_this_one(
    db: sqlite3.Connection,
) -> None:
    runs = {"a": "run-1", "b": "run-1", "c": "run-2"}
    unresolved.put_deferred(
        db, [replace(DEFERRED, voice_id=one, run_id=run) for one, run in runs.items()]
    )
    assert unresolved.deferred_before(db, "run-2", ["b", "c", "d"]) == frozenset({"b"})
    assert unresolved.deferred_before(db, "run-2", []) == frozenset()
    assert unresolved.deferred_before(db, "run-1") == frozenset({"c"}), "one of all"
    assert [one.voice_id for one in unresolved.deferred_of(db, "run-1", "")] == ["a", "b"]
    assert [one.voice_id for one in unresolved.deferred_of(db, "run-1", "a")] == ["b"]


@pytest.mark.parametrize(
    ("ends", "unreported"),
    [
        ([0], 0),
        ([3], 0),
        ([4], 1),
        ([1], 1),
        ([2], 1),
        ([None], 1),
        ([4, 0], 0),  # the later run has reported what the earlier one left
        ([4, None, 3], 0),
        ([0, 4], 1),
        ([4, 3, 5, None], 2),
    ],
)
def test_a_death_is_reported_by_the_next_run_that_works_its_list_down(
    db: sqlite3.Connection, ends: list[int | None], unreported: int
) -> None:
    for number, code in enumerate(ends):
        run = f"run-{number}"
        run_records.begin_run(db, run, 100 - number)  # a clock that runs back has no say
        unresolved.put_dead_letters(db, [replace(LETTER, voice_id=run, run_id=run)])
        if code is not None:
            run_records.end_run(db, run, 200, code, {})
    assert unresolved.unreported_deaths(db) == unreported
    db.execute("UPDATE dead_letter SET retrying = 1")
    assert unresolved.unreported_deaths(db) == 0


def test_rows_of_runs_that_are_in_no_table_are_told_by_kind(db: sqlite3.Connection) -> None:
    run_records.begin_run(db, "run-1", 1)
    unresolved.put_open_calls(db, [replace(CALL, voice_id="b", run_id="run-8"), CALL])
    letters = [replace(LETTER, voice_id=one, run_id=f"run-{one}") for one in "899"]
    unresolved.put_dead_letters(db, [*letters, replace(letters[0], voice_id="c")])
    assert [(*one[:2], dict(one[2])) for one in unresolved.of_unknown_runs(db)] == [
        ("open_call", "open calls", {"run-8": 1}),
        ("dead_letter", "dead letters", {"run-8": 2, "run-9": 1}),
    ]
