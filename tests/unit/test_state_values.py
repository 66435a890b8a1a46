"""What the ledger keeps, as values: what they say of themselves, and what a run counts."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from harvester.answers.answer import Answer
from harvester.state.values import (
    Batch,
    Compared,
    Counters,
    DeadLetter,
    Deferred,
    Entry,
    InputRecord,
    Note,
    OpenCall,
    PartRecord,
    Publication,
    RunRecord,
    WorkList,
    by_folder,
    chunks_of,
    rows_of_chunk,
)


def test_what_was_never_counted_stays_out() -> None:
    counters = Counters()
    assert counters.dead == 0
    assert counters.stored() == {}
    counters.open += 2
    counters.clock_skew_s = 0
    assert counters.stored() == {"open": 2, "clock_skew_s": 0}


def test_counters_are_stored_by_the_names_that_older_versions_know() -> None:
    counters = Counters(
        begun=1,
        delivered=2,
        open=3,
        dead=4,
        deferred=5,
        cut_off=6,
        opens_published=7,
        requests=8,
        odd_hangups=9,
        clock_skew_s=-10,
        retries={"torn": 11},
        usage={"usage.cost.EUR": 12},
    )
    assert counters.stored() == {
        "begun": 1,
        "delivered": 2,
        "open": 3,
        "dead": 4,
        "deferred": 5,
        "cut_off": 6,
        "opens_published": 7,
        "requests": 8,
        "odd_hangups": 9,
        "clock_skew_s": -10,
        "retry.torn": 11,
        "usage.cost.EUR": 12,
    }
    assert counters.resolved == 2 + 3 + 4 + 5


@pytest.mark.parametrize(
    ("rows", "chunks"), [(0, 0), (1, 1), (9_999, 1), (10_000, 1), (10_001, 2), (25_000, 3)]
)
def test_a_list_has_as_many_chunks_as_its_rows_need(rows: int, chunks: int) -> None:
    assert chunks_of(rows) == chunks
    sizes = [rows_of_chunk(no, rows) for no in range(chunks)]
    assert sum(sizes) == rows
    assert all(size == 10_000 for size in sizes[:-1])
    assert rows_of_chunk(chunks, rows) <= 0


@pytest.mark.parametrize("kind", [Batch, Compared, Counters, Note])
def test_whatever_counts_begins_with_nothing(kind: type[msgspec.Struct]) -> None:
    new = kind()
    found = {name: getattr(new, name) for name in kind.__struct_fields__}
    assert {name: value for name, value in found.items() if value} == {}


def test_what_is_not_said_of_a_publication_or_an_input_is_nothing() -> None:
    publication = Publication(1, 2, 3, "live")
    assert (publication.records, publication.bytes, publication.note) == (0, 0, None)
    assert (publication.is_rewrite, publication.is_change) == (False, False)
    assert InputRecord("key", 1, 0, 0, 1, 0, 1, 5).too_young == 0


def test_what_is_not_said_of_an_id_is_not_so() -> None:
    letter = DeadLetter("a", "gone", "", 1, 1, 1, "run-1")
    assert (letter.published, letter.retrying, letter.body) == (False, False, None)
    deferred = Deferred("a", "timeout", "", 1, 1, "run-1")
    assert (deferred.runs, deferred.days) == (0, ())
    assert (deferred.counts, deferred.again) == (False, False)


@pytest.mark.parametrize(
    ("kind", "is_rewrite", "is_change"),
    [("append", False, False), ("change", False, True), ("rewrite", True, False)],
)
def test_a_publication_is_of_one_kind(kind: str, is_rewrite: bool, is_change: bool) -> None:
    publication = Publication(1, 2, 3, "live", kind=kind)
    assert (publication.is_rewrite, publication.is_change) == (is_rewrite, is_change)


def test_rows_of_a_list_are_pending_until_they_have_an_outcome() -> None:
    new = WorkList(1, None, "l", None, 100, 20, 3, again=50)
    assert (new.new, new.rows) == (123, 173)
    assert (new.pending_new, new.pending_again, new.pending) == (123, 50, 173)
    later = replace(new, delivered=60, open=7, dead=5, refetched=40)
    assert (later.new, later.rows) == (123, 173)
    assert (later.pending_new, later.pending_again, later.pending) == (51, 10, 61)


CALL = OpenCall("a", 10, 1, 2, "run-1", b"{}", 5)


@pytest.mark.parametrize(
    ("call", "is_final", "is_rated"),
    [(CALL, False, True), (replace(CALL, unrated_ms=4), True, False)],
)
def test_the_last_answer_of_an_open_call_is_what_may_be_delivered(
    call: OpenCall, is_final: bool, is_rated: bool
) -> None:
    """One that is over and waits for its price is final, and unrated."""
    assert call.is_unrated is not is_rated
    assert call.last_entry == Entry("a", 5, is_final, b"{}", is_rated)
    assert call.last_answer == Answer("a", b"{}", 5, "run-1", is_final, is_rated)


@pytest.mark.parametrize(
    "call", [replace(CALL, answer=None, answer_ms=None), replace(CALL, answer=None)]
)
def test_a_call_that_the_vendor_never_knew_has_no_last_answer(call: OpenCall) -> None:
    assert call.last_entry is None
    assert call.last_answer is None


def test_a_file_is_brought_by_the_rewrite_that_put_it_there_if_one_did() -> None:
    files = [
        PartRecord("day=2/a", 3, 1, 1, "h"),
        PartRecord("day=1/b", 3, 1, 1, "h", rewrite=7),
        PartRecord("day=2/c", 4, 1, 1, "h"),
    ]
    assert [one.brought_by for one in files] == [3, 7, 4]
    assert by_folder(files) == {"day=2": [files[0], files[2]], "day=1": [files[1]]}


COUNTED = (
    "delivered",
    "open",
    "dead",
    "deferred",
    "cut_off",
    "opens_published",
    "unrated",
    "again",
    "forgotten",
    "failed",
    "requests",
)


def test_a_run_says_what_it_counted_and_nothing_of_what_it_did_not() -> None:
    run = RunRecord("run-1", 1, None, None, 1, {})
    assert [getattr(run, name) for name in (*COUNTED, "attempted", "rows")] == [0] * 13
    run = replace(run, counters={name: n for n, name in enumerate(COUNTED, start=1)})
    assert [getattr(run, name) for name in COUNTED] == list(range(1, 12))
    assert run.rows == run.delivered + run.opens_published == 7
    assert replace(run, counters={"begun": 9}).attempted == 9


def test_an_id_is_resolved_if_it_has_any_outcome() -> None:
    assert Counters(begun=99, delivered=1, open=2, dead=4, deferred=8, again=16).resolved == 31
    assert Counters(cut_off=1, unrated=1, requests=1, forgotten=1, failed=1).resolved == 0
