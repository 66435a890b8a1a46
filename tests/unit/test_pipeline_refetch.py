"""What a refetch has found: sums over runs and publications, samples, limits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.inputs.worklist.spec import Chosen, Selection
from harvester.pipeline.engine.settle import KEPT_MS
from harvester.pipeline.run.refetch import (
    Ordered,
    added,
    compared_by,
    compared_for,
    estimate_of,
    exceeded,
    key_of,
    refetch_totals,
    selection_of,
    wilson,
)
from harvester.pipeline.run.requests import RefetchRequest, RunRequest
from harvester.state.database import open_database, set_meta
from harvester.state.values import Compared, Note, RunRecord, WorkList
from harvester.storage.output import Output

RUN = RunRecord("mine", 0, None, None, 3, {})
REQUEST = RefetchRequest(what="delivered")
NOW_MS = 1_800_000_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as made:
        yield made


def compare(db: sqlite3.Connection, **by_run: Compared) -> int:
    """A publication that compared answers of these runs; its number."""
    note = msgspec.json.encode(Note(compared=by_run)).decode()
    cursor = db.execute(
        "INSERT INTO publication (lo, hi, state, kind, note) VALUES (1, 0, 'live', 'change', ?)",
        (note,),
    )
    return int(cursor.lastrowid or 0)


def wait(db: sqlite3.Connection, run: str, records: int, kind: str = "again") -> None:
    """Answers of a run that are in the journal."""
    db.execute(
        "INSERT INTO journal (run, n, bytes, body, kind) VALUES (?, ?, 1, x'00', ?)",
        (run, records, kind),
    )


def work_list(pending_again: int) -> WorkList:
    return WorkList(1, None, "list", None, 0, 0, 0, again=pending_again + 2, refetched=2)


def test_what_several_publications_compared_is_added_up() -> None:
    one = Compared(
        same=1,
        changed=2,
        extra_only=3,
        missing=4,
        unrated=-5,
        cost={"USD": "-0.25", "EUR": "1"},
        moved={"USD": "0.75"},
        squares={"USD": "0.5"},
        alarms={"callee": ("a", "b", "c")},
        alarmed={"callee": 3},
    )
    other = Compared(
        same=10,
        changed=20,
        extra_only=30,
        missing=40,
        unrated=2,
        cost={"USD": "1"},
        moved={"USD": "1.25"},
        squares={"USD": "1"},
        alarms={"callee": ("d", "e", "f"), "cost": ("g",)},
        alarmed={"callee": 7, "cost": 1},
    )
    assert added([one, other]) == Compared(
        same=11,
        changed=22,
        extra_only=33,
        missing=44,
        unrated=-3,
        cost={"USD": "0.75", "EUR": "1"},
        moved={"USD": "2.00"},
        squares={"USD": "1.5"},
        # All are counted; five are enough to go and look.
        alarms={"callee": ("a", "b", "c", "d", "e"), "cost": ("g",)},
        alarmed={"callee": 10, "cost": 1},
    )


def test_of_a_run_only_its_own_answers_count_since_its_first_publication(
    db: sqlite3.Connection,
) -> None:
    compare(db, mine=Compared(same=1), other=Compared(same=2))
    compare(db, mine=Compared(same=4))
    first = compare(db, mine=Compared(same=8), other=Compared(same=16))
    compare(db, other=Compared(same=32))
    compare(db, mine=Compared(same=64))
    run = replace(RUN, first_publication=first)
    assert compared_by(db, run) == Compared(same=8 + 64)


def test_of_a_list_the_answers_of_all_runs_count_after_it_was_made(db: sqlite3.Connection) -> None:
    before = compare(db, mine=Compared(same=1))
    compare(db, mine=Compared(same=2), other=Compared(same=4))
    ordered = Ordered(key="", what="delivered", since=before)
    assert compared_for(db, ordered) == Compared(same=6)
    assert compared_for(db, None) == Compared()


def test_a_run_that_looks_at_nothing_again_has_no_totals(db: sqlite3.Connection) -> None:
    ordered = Ordered(key="", what="delivered")
    assert refetch_totals(db, RUN, None, None) is None
    assert refetch_totals(db, RUN, work_list(0), None) is None
    assert refetch_totals(db, replace(RUN, counters={"again": 1}), None, None) is not None
    assert refetch_totals(db, RUN, work_list(1), None) is not None
    assert refetch_totals(db, RUN, None, ordered) is not None


def test_the_totals_of_a_run_say_what_became_of_each_id(db: sqlite3.Connection) -> None:
    found = Compared(
        same=1,
        changed=2,
        extra_only=3,
        missing=4,
        cost={"USD": "1", "EUR": "2"},
        moved={"USD": "3", "EUR": "4"},
        alarms={"callee": ("a",)},
        alarmed={"callee": 1},
    )
    first = compare(db, mine=found)
    wait(db, "mine", 5)
    wait(db, "mine", 100, "append")
    wait(db, "other", 1_000)
    run = replace(RUN, first_publication=first, counters={"again": 28, "forgotten": 6, "failed": 7})
    chosen = Chosen(population=9, left_out=10, outside=11, outside_ids=("x",))
    ordered = Ordered(key="", what="delivered", chosen=chosen)
    totals = refetch_totals(db, run, work_list(8), ordered)
    assert totals is not None
    outcomes = {"same": 1, "changed": 2, "extra_only": 3, "missing": 4, "forgotten": 6, "failed": 7}
    assert totals.outcomes == outcomes
    assert (totals.again, totals.in_journal, totals.pending) == (28, 5, 8)
    assert totals.again == sum(outcomes.values()) + totals.in_journal
    assert list(totals.cost.items()) == [("EUR", "2"), ("USD", "1")]
    assert list(totals.cost_moved.items()) == [("EUR", "4"), ("USD", "3")]
    assert (totals.alarmed, totals.alarms) == ({"callee": 1}, {"callee": ("a",)})
    assert (totals.left_out, totals.outside, totals.outside_ids) == (10, 11, ("x",))
    assert totals.sample is None


def test_a_sample_is_judged_once_all_its_ids_are_compared(db: sqlite3.Connection) -> None:
    compare(db, before=Compared(same=90))
    compare(db, other=Compared(same=9, changed=1))
    sample = Ordered(key="", what="delivered", share=0.1, chosen=Chosen(population=100), since=1)
    totals = refetch_totals(db, RUN, None, sample)
    assert totals is not None
    assert totals.sample == estimate_of(Compared(same=9, changed=1), 100)
    pending = refetch_totals(db, RUN, work_list(1), sample)
    assert pending is not None
    assert pending.sample is None
    whole = refetch_totals(db, RUN, None, replace(sample, share=None))
    assert whole is not None
    assert whole.sample is None
    wait(db, "other", 1, "append")
    assert refetch_totals(db, RUN, None, sample) == totals
    wait(db, "other", 1)
    waiting = refetch_totals(db, RUN, None, sample)
    assert waiting is not None
    assert waiting.sample is None


def test_a_sample_is_scaled_by_what_was_compared() -> None:
    found = Compared(same=6, changed=3, extra_only=1, missing=50, cost={}, unrated=7)
    sample = estimate_of(found, 203)
    assert sample is not None
    assert (sample.population, sample.compared, sample.changed) == (203, 10, 3)
    # Wilson's interval of 3 out of 10 is 0.1078 to 0.6032.
    assert (round(sample.share_low, 4), round(sample.share_high, 4)) == (0.1078, 0.6032)
    assert (sample.changed_whole, sample.changed_low, sample.changed_high) == (61, 21, 123)
    assert estimate_of(Compared(missing=3), 200) is None


@pytest.mark.parametrize(
    ("hits", "low", "high"), [(0, 0.0, 0.2775), (1, 0.0179, 0.4042), (9, 0.5958, 0.9821)]
)
def test_wilsons_interval_of_a_share_of_ten(hits: int, low: float, high: float) -> None:
    assert tuple(round(end, 4) for end in wilson(hits, 10)) == (low, high)
    # And of the others.
    assert tuple(round(end, 4) for end in wilson(10 - hits, 10)) == (
        round(1 - high, 4),
        round(1 - low, 4),
    )


@pytest.mark.parametrize(
    ("found", "ends"),
    [
        # One alone scatters by nothing.
        (Compared(changed=1, cost={"USD": "2"}, squares={"USD": "4"}), ("20.00", "20.00")),
        # Of 2 and 0 the variance is 2: 10 ± 1.96 * 10 * sqrt(2 / 2).
        (Compared(same=1, changed=1, cost={"USD": "2"}, squares={"USD": "4"}), ("-9.60", "29.60")),
        # One of four: the variance is (4 - 2 * 2 / 4) / 3, and so 5 ± 1.96 * 10 * sqrt(1 / 4).
        (Compared(same=3, changed=1, cost={"USD": "2"}, squares={"USD": "4"}), ("-4.80", "14.80")),
        # Squares of an older version are unknown.
        (Compared(same=1, changed=1, cost={"USD": "2"}), ("10.00", "10.00")),
    ],
)
def test_the_money_of_a_tiny_sample_has_ends_as_well(
    found: Compared, ends: tuple[str, str]
) -> None:
    sample = estimate_of(found, 10)
    assert sample is not None
    assert (sample.cost_low["USD"], sample.cost_high["USD"]) == ends


@pytest.mark.parametrize(
    ("moved", "changed", "code"),
    [
        ({}, 0, ""),
        ({"USD": "1.50"}, 0, ""),
        ({"USD": "1.51"}, 1, "found.amount"),
        ({"EUR": "9"}, 0, ""),
        ({"USD": "1.50"}, 1, "found.changed"),
    ],
)
def test_a_limit_is_exceeded_by_more_than_it_allows(
    moved: dict[str, str], changed: int, code: str
) -> None:
    request = replace(REQUEST, fail_above={"USD": Decimal("1.5")}, fail_on_change=True)
    found = Compared(changed=changed, moved=moved)
    assert exceeded(request, found)[0] == code
    assert exceeded(REQUEST, found) == ("", "")
    assert exceeded(RunRequest(), found) == ("", "")


@pytest.mark.parametrize(
    "other",
    [
        {"what": "unrated"},
        {"since_ms": 1},
        {"until_ms": 1},
        {"column": "hangup_time"},
        {"share": 0.5},
    ],
)
def test_other_words_name_another_selection(other: dict[str, Any]) -> None:
    assert key_of(REQUEST, "") == key_of(RefetchRequest(what="delivered"), "")
    assert key_of(replace(REQUEST, **other), "") != key_of(REQUEST, "")
    assert key_of(REQUEST, "ids") != key_of(REQUEST, "")
    # How long it may take is no part of what it is about.
    assert key_of(replace(REQUEST, max_duration_s=9.0), "") == key_of(REQUEST, "")


@pytest.mark.parametrize(("skew", "earlier_ms"), [("0", 0), ("-100", 100_000), ("100", 0)])
def test_without_bounds_what_the_vendor_must_still_have_is_selected_by_either_clock(
    tmp_path: Path, db: sqlite3.Connection, skew: str, earlier_ms: int
) -> None:
    set_meta(db, "clock_skew_s", skew)
    output = Output(tmp_path)
    found = selection_of(db, output, GROUP_RECORD, REQUEST, None, NOW_MS, "salt")
    assert (found.since_ms, found.until_ms) == (NOW_MS - earlier_ms - KEPT_MS, None)
    assert found.has_rated
    old = selection_of(db, output, GROUP_RECORD_1, REQUEST, None, NOW_MS, "salt")
    assert not old.has_rated


def test_a_selection_with_a_bound_has_no_other(tmp_path: Path, db: sqlite3.Connection) -> None:
    def bounds(files: tuple[()] | None = None, **more: Any) -> tuple[int | None, int | None]:
        request = replace(REQUEST, **more)
        found = selection_of(db, Output(tmp_path), GROUP_RECORD, request, files, NOW_MS, "")
        return found.since_ms, found.until_ms

    assert bounds(since_ms=5) == (5, None)
    assert bounds(until_ms=7) == (None, 7)
    assert bounds(files=()) == (None, None)


def test_a_selection_is_of_the_files_of_rows_and_those_of_changes(
    tmp_path: Path, db: sqlite3.Connection
) -> None:
    paths = (
        "submit_date=2026-11-01/part-s-1-0.parquet",
        "change_date=2026-11-02/part-s-1-0.parquet",
    )
    compare(db)
    for path in paths:
        db.execute(
            "INSERT INTO file (path, publication, rows, bytes, sha256, state) "
            "VALUES (?, 1, 1, 1, '', 'live')",
            (path,),
        )
    output = Output(tmp_path)
    output.dropped.mkdir(parents=True)
    erased = output.dropped / "erase-1.parquet"
    erased.touch()
    request = RefetchRequest(
        what="unrated", column="hangup_time", since_ms=1, until_ms=2, share=0.5
    )
    assert selection_of(db, output, GROUP_RECORD, request, (), NOW_MS, "salt") == Selection(
        what="unrated",
        parts=(str(output.place_of(paths[0])),),
        changes=(str(output.place_of(paths[1])),),
        erased=(str(erased),),
        has_rated=True,
        column="hangup_time",
        since_ms=1,
        until_ms=2,
        files=(),
        share=0.5,
        salt="salt",
    )
