"""One transaction holds outcome, progress and counters: on real SQLite files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harvester.answers.answer import Answer
from harvester.errors import StoreError
from harvester.state import (
    between_runs,
    id_counts,
    journal,
    publications,
    run_records,
    unresolved,
    work_lists,
)
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database, set_meta
from harvester.state.values import (
    CHUNK_ROWS,
    Batch,
    DeadLetter,
    Deferred,
    Entry,
    FileStamp,
    InputRecord,
    KnownPart,
    OpenCall,
    PartRecord,
    WorkList,
)

LIST = WorkList(1, "key", "list-1.parquet", "input-1.parquet", 12_000, 3, 500)
INPUT = InputRecord("key", 20, 1, 2, 17, 5, 12, 1_000)
ANSWER = b'{"status":0,"data":{"voiceId":"a"}}'


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as opened:
        run_records.begin_run(opened, "run-1", 1)
        work_lists.replace_list(opened, LIST, input_record=INPUT)
        yield opened


def dump(db: sqlite3.Connection) -> list[str]:
    """Everything the database holds, as text."""
    return list(db.iterdump())


def commit(db: sqlite3.Connection, batch: Batch, **counters: int) -> int:
    return acknowledge(
        db,
        "run-1",
        batch,
        work_list=LIST,
        counters=counters,
        requests_of_day=("2026-09-02", 7),
    )


def letter(voice_id: str, *, published: bool = False, died_ms: int = 5) -> DeadLetter:
    return DeadLetter(voice_id, "bad_query_id", "", 1, 1, died_ms, "run-1", published)


def call(voice_id: str, due_ms: int = 10) -> OpenCall:
    return OpenCall(voice_id, due_ms, 1, 1, "run-1", ANSWER, 2, 3)


def put_off(voice_id: str, run: str = "run-1") -> Deferred:
    days = ("2026-09-01", "2026-09-02")
    return Deferred(voice_id, "timeout", "d", 1, 2, run, 3, days, 0, 9, counts=True)


def test_a_batch_is_kept_whole(db: sqlite3.Connection) -> None:
    batch = Batch(
        entries=[Entry("a", 1, True, ANSWER), Entry("b", 2, False, ANSWER)],
        resolved_rows={0: [0, 9_999], 1: [5]},
        open_calls=[call("c")],
        dead_letters=[letter("d")],
        deferred=[put_off("e")],
        list_delivered=1,
        list_open=1,
        list_dead=1,
    )
    size = commit(db, batch, delivered=2)
    assert publications.journal_size(db) == (2, size)
    number, run, blob = publications.next_blob(db, 0, 9) or (0, "", b"")
    assert (number, run) == (1, "run-1")
    assert journal.decode(blob, run) == [
        Answer(one.voice_id, one.body, one.fetched_at_ms, "run-1", one.is_final)
        for one in batch.entries
    ]
    assert list(unresolved.all_open_calls(db)) == [call("c")]
    assert unresolved.open_call(db, "c") == call("c")
    assert list(unresolved.dead_letters(db)) == [letter("d")]
    assert unresolved.deferred(db, "e") == put_off("e")
    (run_now,) = run_records.unended_runs(db)
    assert run_now.counters == {"delivered": 2}
    assert between_runs.requests_of_day(db) == ("2026-09-02", 7)
    now = work_lists.current_list(db)
    assert now is not None
    assert (now.delivered, now.open, now.dead, now.pending) == (1, 1, 1, 12_500)
    bits = work_lists.resolved_rows(db, LIST)
    assert work_lists.pending_rows(LIST, bits, 0) == list(range(1, 9_999))
    assert 5 not in work_lists.pending_rows(LIST, bits, 1)
    assert len(work_lists.pending_rows(LIST, bits, 1)) == 2_502


BROKEN: dict[str, dict[str, Any]] = {
    "a bit that is set already": {"resolved_rows": {0: [1], 1: [7]}},
    "a row twice in one batch": {"resolved_rows": {0: [1, 2, 2]}},
    "a row behind the chunk's end": {"resolved_rows": {1: [2_503]}},
    "a chunk behind the list's end": {"resolved_rows": {2: [0]}},
    "a row before the beginning": {"resolved_rows": {0: [-1]}},
    "an open call that is closed already": {"closed_calls": ["was-open", "never-was"]},
}


@pytest.mark.parametrize("wrong", BROKEN.values(), ids=BROKEN.keys())
def test_a_batch_that_breaks_an_invariant_changes_nothing_at_all(
    db: sqlite3.Connection, wrong: dict[str, Any]
) -> None:
    commit(db, Batch(resolved_rows={1: [7]}, list_dead=1, open_calls=[call("was-open")]))
    before = dump(db)
    batch = Batch(
        **wrong,
        entries=[Entry("x", 1, True, ANSWER)],
        open_calls=[call("y")],
        dead_letters=[letter("z")],
        deferred=[put_off("w")],
        list_delivered=1,
    )
    with pytest.raises(StoreError, match="Nothing of this batch was kept"):
        commit(db, batch, delivered=1)
    assert dump(db) == before
    assert not db.in_transaction


def test_a_failure_at_the_last_statement_takes_the_first_back(db: sqlite3.Connection) -> None:
    before = dump(db)
    db.execute(
        "CREATE TEMP TRIGGER broken BEFORE INSERT ON meta BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(sqlite3.IntegrityError):
        commit(db, Batch(entries=[Entry("a", 1, True, ANSWER)], resolved_rows={0: [0]}))
    db.execute("DROP TRIGGER broken")
    assert dump(db) == before
    commit(db, Batch(entries=[Entry("a", 1, True, ANSWER)], resolved_rows={0: [0]}))
    assert publications.journal_size(db)[0] == 1


def test_a_chunk_whose_rows_are_all_settled_needs_no_bits_any_more(db: sqlite3.Connection) -> None:
    commit(db, Batch(resolved_rows={1: list(range(2_502))}))
    assert work_lists.resolved_rows(db, LIST)[1] is not None
    commit(db, Batch(resolved_rows={1: [2_502]}))
    assert work_lists.resolved_rows(db, LIST) == {1: None}
    assert work_lists.pending_rows(LIST, {1: None}, 1) == []
    with pytest.raises(StoreError, match="resolved twice"):
        commit(db, Batch(resolved_rows={1: [0]}))


def test_a_new_outcome_takes_the_place_of_what_was_kept_before(db: sqlite3.Connection) -> None:
    commit(db, Batch(open_calls=[call("a"), call("b")], deferred=[put_off("c"), put_off("d")]))
    commit(db, Batch(dead_letters=[letter("e"), letter("f"), letter("g")]))
    work_lists.replace_list(db, WorkList(2, None, "l", None, 0, 2, 0), retrying=["e", "f"])
    commit(
        db,
        Batch(
            closed_calls=["a"],
            open_calls=[call("b", due_ms=99)],
            recovered=["c"],
            deferred=[put_off("d", "run-2")],
            revived=["e"],
            dead_letters=[letter("f", died_ms=50)],
        ),
    )
    assert list(unresolved.all_open_calls(db)) == [call("b", due_ms=99)]
    assert [d.voice_id for d in unresolved.all_deferred(db)] == ["d"]
    assert [(d.voice_id, d.died_ms) for d in unresolved.dead_letters(db)] == [("f", 50), ("g", 5)]
    assert unresolved.died_since(db, 50) == ["f"], "it is dead again, not being retried"
    assert id_counts.count_ids(db, 100).retrying == 0


def test_a_batch_of_huge_costs_can_be_counted(db: sqlite3.Connection) -> None:
    commit(db, Batch(), **{"usage.cost.USD": 10**25})
    (run,) = run_records.unended_runs(db)
    assert run.counters == {"usage.cost.USD": 10**25}


def test_settled_are_the_ids_of_journal_open_calls_and_dead_letters(
    db: sqlite3.Connection,
) -> None:
    commit(
        db,
        Batch(
            entries=[Entry("in-journal", 1, True, ANSWER), Entry("last-words", 1, False, ANSWER)],
            open_calls=[call("open")],
            dead_letters=[letter("dead"), letter("retried"), letter("last-words", published=True)],
            deferred=[put_off("deferred")],
        ),
    )
    work_lists.replace_list(db, WorkList(2, None, "l", None, 0, 1, 0), retrying=["retried"])
    found = [voice_id for portion in work_lists.resolved_ids(db) for voice_id in portion]
    assert sorted(found) == ["dead", "in-journal", "last-words", "open"]
    assert unresolved.retryable_ids(db, None) == ["dead", "retried"]
    assert unresolved.retryable_ids(db, "gave_up") == []


def test_a_new_list_replaces_the_old_one_and_its_progress_in_one_step(
    db: sqlite3.Connection,
) -> None:
    commit(db, Batch(resolved_rows={0: [1]}, list_delivered=1, deferred=[put_off("e")]))
    new = WorkList(work_lists.next_list_id(db), "other", "list-2.parquet", None, 5, 0, 7)
    stamps = [FileStamp("/ids.txt", 1, 2, 3, 4, "hash")]
    work_lists.replace_list(
        db, new, input_record=InputRecord("other", 5, 0, 0, 5, 0, 5, 2_000), stamps=stamps
    )
    assert work_lists.current_list(db) == new
    assert work_lists.resolved_rows(db, new) == {}
    assert work_lists.known_stamps(db) == {"/ids.txt": stamps[0]}
    deferred = unresolved.deferred(db, "e")
    assert deferred is not None
    assert (deferred.chunk, deferred.row) == (None, None), "its place was on the old list"
    assert work_lists.next_list_id(db) == new.id + 1


def test_an_input_that_is_listed_again_keeps_the_date_of_its_first_listing(
    db: sqlite3.Connection,
) -> None:
    again = InputRecord("key", 20, 1, 2, 17, 15, 2, 999_999)
    work_lists.replace_list(db, WorkList(2, "key", "l", None, 2, 0, 0), input_record=again)
    found = work_lists.find_input(db, "key")
    assert found is not None
    assert (found.listed, found.first_listed_ms) == (2, INPUT.first_listed_ms)
    assert work_lists.find_input(db, None) is None


def test_a_list_that_fails_to_come_into_force_leaves_the_old_one(db: sqlite3.Connection) -> None:
    before = dump(db)
    twice = [InputRecord("k", 1, 0, 0, 1, 0, 1, 1)]
    db.execute(
        "CREATE TEMP TRIGGER broken BEFORE INSERT ON input BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(sqlite3.IntegrityError):
        work_lists.replace_list(db, WorkList(2, "k", "l", None, 1, 0, 0), input_record=twice[0])
    db.execute("DROP TRIGGER broken")
    assert dump(db) == before


def test_pending_ids_of_the_input_do_not_count_what_is_left_over(db: sqlite3.Connection) -> None:
    reach = LIST.listed + LIST.retried
    assert work_lists.pending_of_input(db, LIST) == reach
    behind = range(reach - CHUNK_ROWS, LIST.rows - CHUNK_ROWS)
    commit(db, Batch(resolved_rows={0: [0, 1], 1: [0, *behind]}))
    assert work_lists.pending_of_input(db, LIST) == reach - 3


def test_due_open_calls_come_in_pages_by_id_and_only_when_due(db: sqlite3.Connection) -> None:
    commit(db, Batch(open_calls=[call(f"{n:05}", due_ms=n % 2) for n in range(4_000)]))
    seen: list[str] = []
    after = ""
    while page := unresolved.due_open_calls(db, 0, after):
        assert len(page) <= 1_000
        after = page[-1].voice_id
        seen += [c.voice_id for c in page]
        # An ask that puts it off does not bring it up again.
        commit(db, Batch(open_calls=[call(page[0].voice_id, due_ms=0)]))
    assert seen == [f"{n:05}" for n in range(0, 4_000, 2)]


def test_deferred_ids_of_one_run_come_in_pages(db: sqlite3.Connection) -> None:
    commit(db, Batch(deferred=[put_off(f"{n:05}", f"run-{n % 2}") for n in range(3_000)]))
    first = unresolved.deferred_of(db, "run-1", "")
    second = unresolved.deferred_of(db, "run-1", first[-1].voice_id)
    assert [d.voice_id for d in [*first, *second]] == [f"{n:05}" for n in range(1, 3_000, 2)]


def test_a_publication_goes_from_prepared_over_committed_to_live(db: sqlite3.Connection) -> None:
    for name in ("a", "b", "c"):
        commit(db, Batch(entries=[Entry(name, 1, True, ANSWER)]))
    one = len(journal_line("a"))
    publication = publications.prepare(db, one + 1)
    assert publication is not None
    assert (publication.lo, publication.hi, publication.records) == (1, 2, 2)
    assert publications.unfinished(db) == []
    part = PartRecord("submit_date=2026-09-02/p.parquet", publication.id, 2, 9, "aa")
    publications.commit(db, publication.id, [part])
    assert [p.id for p in publications.unfinished(db)] == [publication.id]
    assert publications.parts_of(db, publication.id) == [part]
    assert publications.known_parts(db) == {
        part.path: KnownPart(part.path, publication.id, 2, 9, "aa", state="committed")
    }
    assert publications.current_parts(db, Path("cdr").joinpath) == []
    assert publications.drop_prepared(db) == []
    publications.make_live(db, publication)
    assert publications.unfinished(db) == []
    assert publications.current_parts(db, Path("cdr").joinpath) == [part]
    assert journal_seqs(db) == [3], "only its own range goes"


def journal_seqs(db: sqlite3.Connection) -> list[int]:
    return [seq for (seq,) in db.execute("SELECT seq FROM journal ORDER BY seq")]


def journal_line(voice_id: str) -> bytes:
    return b'{"id":"%s","at":1,"final":true,"answer":%s}\n' % (voice_id.encode(), ANSWER)


def test_a_publications_number_is_never_used_twice(db: sqlite3.Connection) -> None:
    commit(db, Batch(entries=[Entry("a", 1, True, ANSWER)]))
    first = publications.prepare(db, 1)
    assert len(publications.drop_prepared(db)) == 1
    second = publications.prepare(db, 1)
    assert first is not None
    assert second is not None
    assert second.id > first.id
    assert publications.journal_size(db)[0] == 1, "what was prepared and dropped is still there"


def test_an_empty_journal_has_nothing_to_publish(db: sqlite3.Connection) -> None:
    assert publications.prepare(db, 1) is None
    assert journal_seqs(db) == []


def test_a_part_that_was_made_again_has_its_new_hash_unless_it_is_live(
    db: sqlite3.Connection,
) -> None:
    commit(db, Batch(entries=[Entry("a", 1, True, ANSWER)]))
    publication = publications.prepare(db, 1)
    assert publication is not None
    old = PartRecord("p.parquet", publication.id, 1, 9, "old")
    new = PartRecord("p.parquet", publication.id, 1, 10, "new")
    publications.commit(db, publication.id, [old])
    publications.amend(db, new)
    assert publications.parts_of(db, publication.id) == [new]
    publications.make_live(db, publication)
    publications.amend(db, old)
    assert publications.current_parts(db, Path("cdr").joinpath) == [new]


def test_a_run_that_never_ended_is_told_from_one_that_did(db: sqlite3.Connection) -> None:
    assert [run.id for run in run_records.unended_runs(db)] == ["run-1"]
    run_records.end_run(db, "run-1", 9, 0, {"delivered": 3}, requests_of_day=("2026-09-02", 99))
    assert run_records.unended_runs(db) == []
    (run,) = run_records.last_runs(db, 5)
    assert (run.ended_ms, run.exit_code, run.counters) == (9, 0, {"delivered": 3})
    assert between_runs.requests_of_day(db) == ("2026-09-02", 99)


def test_a_run_begins_behind_every_publication_there_ever_was(db: sqlite3.Connection) -> None:
    commit(db, Batch(entries=[Entry("a", 1, True, ANSWER)]))
    publications.prepare(db, 1)
    publications.drop_prepared(db)
    assert run_records.begin_run(db, "run-2", 2).first_publication == 2


def test_the_journal_knows_the_size_of_what_it_holds(db: sqlite3.Connection) -> None:
    body, size = journal.encode([Entry("a", 1, True, ANSWER)])
    assert size == len(journal_line("a"))
    assert commit(db, Batch(entries=[Entry("a", 1, True, ANSWER)])) == size
    assert len(body) < 2 * size


def test_the_requests_of_other_days_are_not_forgotten(db: sqlite3.Connection) -> None:
    for requests in (("2026-09-02", 7), ("2026-10-02", 1), ("2026-09-02", 9)):
        between_runs.keep_requests_of_day(db, requests)
    assert between_runs.requests_by_day(db) == {"2026-10-02": 1, "2026-09-02": 9}
    assert between_runs.requests_of_day(db) == ("2026-09-02", 9)
    for n in range(100):
        between_runs.keep_requests_of_day(db, (f"2027-{n:04}", n))
    assert len(between_runs.requests_by_day(db)) == between_runs.DAYS_KEPT


def test_the_one_pair_of_an_older_ledger_is_read(db: sqlite3.Connection) -> None:
    set_meta(db, "requests_of_day", '["2026-09-02",41]')
    assert between_runs.requests_of_day(db) == ("2026-09-02", 41)
    between_runs.keep_requests_of_day(db, ("2026-09-03", 1))
    assert between_runs.requests_by_day(db) == {"2026-09-02": 41, "2026-09-03": 1}
    set_meta(db, "requests_of_day", '["",0]')
    assert between_runs.requests_of_day(db) == ("", 0)


def test_an_open_call_that_was_dated_by_a_clock_ahead_is_due(db: sqlite3.Connection) -> None:
    later = 10**9
    calls = [
        replace(call("first", later), first_ms=later),
        replace(call("answered", later), answer_ms=later),
        replace(call("unknown", later), unknown_ms=later),
        call("put-off", later),
    ]
    commit(db, Batch(open_calls=calls))
    due = [one.voice_id for one in unresolved.due_open_calls(db, 1_000, "")]
    assert due == ["answered", "first", "unknown"]
    assert id_counts.count_ids(db, 1_000).open_due == 3
    assert len(unresolved.due_open_calls(db, later, "")) == 4


def test_what_a_run_dated_before_its_first_answer_goes_by_the_vendors_clock_then(
    db: sqlite3.Connection,
) -> None:
    between_runs.keep_clock(db, "run-1", -12.34, -400, ("2026-09-02", 3), (INPUT.key, 1_000))
    assert between_runs.last_skew_s(db) == -12.3
    assert run_records.run_record(db, "run-1").started_ms == -399
    found = work_lists.find_input(db, INPUT.key)
    assert found is not None
    assert found.first_listed_ms == 600
    assert between_runs.requests_of_day(db) == ("2026-09-02", 3)
    between_runs.keep_clock(db, "run-1", 0, 5, ("2026-09-02", 3), (INPUT.key, 1_000))
    assert work_lists.find_input(db, INPUT.key) == found, "it was listed before this run"


@pytest.mark.parametrize(("skew_s", "due"), [(0.0, 0), (-3600.0, 0), (3600.0, 1)])
def test_what_is_due_goes_by_the_latest_that_it_may_be(
    db: sqlite3.Connection, skew_s: float, due: int
) -> None:
    commit(db, Batch(open_calls=[call("a", due_ms=3_000_000)]))
    between_runs.keep_clock(db, "run-1", skew_s, 0, ("2026-09-02", 3))
    assert id_counts.count_ids(db, 1_000).open_due == due


@pytest.mark.parametrize(
    ("kept", "searched"),
    [
        (Batch(), set()),
        (Batch(dead_letters=[letter("x")]), set()),
        (Batch(deferred=[put_off("x")]), {"deferred"}),
    ],
)
def test_only_what_may_hold_an_id_is_searched_for_it(
    db: sqlite3.Connection, kept: Batch, searched: set[str]
) -> None:
    """Most runs have neither retried nor deferred ids, and each search costs every id."""
    commit(db, kept)
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    commit(db, Batch(resolved_rows={0: [1]}, revived=["a"], recovered=["a"], list_delivered=1))
    words = [text.split() for text in statements if text.startswith("DELETE")]
    assert {word[2] for word in words} == searched


def test_a_dead_letter_that_was_asked_again_is_forgotten_with_its_new_outcome(
    db: sqlite3.Connection,
) -> None:
    commit(db, Batch(dead_letters=[letter("a"), letter("b")]))
    work_lists.replace_list(db, replace(LIST, id=2), retrying=["a", "b"])
    again = replace(LIST, id=2)
    acknowledge(
        db,
        "run-1",
        Batch(resolved_rows={0: [1]}, revived=["a"], list_delivered=1),
        work_list=again,
        counters={},
        requests_of_day=("2026-09-02", 7),
    )
    assert [one.voice_id for one in unresolved.all_dead_letters(db)] == ["b"]


def test_a_publication_takes_answers_of_one_kind_and_a_batch_may_hold_both(
    db: sqlite3.Connection,
) -> None:
    commit(db, Batch(entries=[Entry("a", 1, True, ANSWER)]))
    commit(db, Batch(entries=[Entry("b", 1, True, ANSWER)], again=[Entry("c", 1, True, ANSWER)]))
    commit(db, Batch(again=[Entry("d", 1, True, ANSWER)]))
    commit(db, Batch(entries=[Entry("e", 1, True, ANSWER)]))
    assert [publications.journal_size(db, kind)[0] for kind in ("new", "again", None)] == [3, 2, 5]
    found = []
    while (publication := publications.prepare(db, 1 << 20)) is not None:
        found.append((publication.kind, publication.lo, publication.hi, publication.records))
        publications.commit(db, publication.id, [])
        publications.make_live(db, publication)
    assert found == [("append", 1, 2, 2), ("change", 3, 4, 2), ("append", 5, 5, 1)]


def test_a_dead_letter_goes_with_the_correction_of_what_was_published(
    db: sqlite3.Connection,
) -> None:
    letters = [letter("dead"), letter("last-words", published=True)]
    commit(db, Batch(dead_letters=letters))
    commit(db, Batch(corrected=["dead", "last-words", "other"]))
    assert [one.voice_id for one in unresolved.all_dead_letters(db)] == ["dead"]
