"""What a run says: which event, at which level, with which fields, and what it says once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from harvester.inputs.worklist.spec import Chosen, ListResult
from harvester.pipeline.engine.workers import AheadFigures, Differing
from harvester.pipeline.run.messages import (
    tell_chosen,
    tell_failures,
    tell_input,
    tell_lost,
    tell_oddities,
    tell_pages,
    tell_recovery,
)
from harvester.state.database import open_database
from harvester.state.values import Compared, Counters, InputRecord, Note

BOOKS = InputRecord("key", 9, 1, 2, 6, 3, 2, 0)


class Heard:
    """Events, as (level, name, fields)."""

    def __init__(self) -> None:
        self._said: list[tuple[str, str, dict[str, object]]] = []

    def message(self, level: str, event: str, **fields: object) -> None:
        self._said.append((level, event, fields))

    def progress(self, progress: object) -> None:
        raise AssertionError("nothing is fetched")

    def said(self) -> list[tuple[str, str, dict[str, object]]]:
        """What was said since the last time."""
        found, self._said = self._said, []
        return found

    def names(self) -> list[str]:
        return [name for _, name, _ in self.said()]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(tmp_path / "state.db", "acme")) as made:
        yield made


def publish(db: sqlite3.Connection, note: Note) -> None:
    """A publication with this note, and nothing else."""
    db.execute(
        "INSERT INTO publication (lo, hi, state, kind, note) VALUES (1, 0, 'live', 'append', ?)",
        (msgspec.json.encode(note).decode(),),
    )


def test_the_books_of_a_new_input_are_said(heard: Heard) -> None:
    tell_input(BOOKS, heard, sources=["a"], last_new_ids_ms=0, is_new=True)
    books = {
        "lines": 9,
        "bad": 1,
        "duplicate": 2,
        "distinct": 6,
        "resolved_before": 3,
        "listed": 2,
    }
    assert heard.said() == [("info", "input_listed", books)]
    tell_input(BOOKS, heard, sources=["a"], last_new_ids_ms=0, is_new=False)
    assert heard.said() == []


def test_an_input_without_ids_is_a_warning_each_time(heard: Heard) -> None:
    empty = InputRecord("key", 0, 0, 0, 0, 0, 0, 0)
    tell_input(empty, heard, sources=["a", "b"], last_new_ids_ms=86_400_000, is_new=False)
    fields = {"input": "a b", "last_new_at": "1970-01-02T00:00:00.000+00:00"}
    assert heard.said() == [("warning", "no_ids", fields)]


def test_ids_that_are_too_young_are_said_each_time(heard: Heard) -> None:
    young = replace(BOOKS, too_young=1)
    tell_input(young, heard, sources=["a"], last_new_ids_ms=0, is_new=False)
    assert heard.said() == [("info", "too_young", {"count": 1})]


def result_of(chosen: Chosen | None) -> ListResult:
    counts = ("lines", "bad", "duplicate", "distinct", "resolved", "listed", "retried")
    return ListResult(
        **dict.fromkeys(counts, 0),
        carried_over=0,
        bad_by_reason={},
        files=(),
        again=5,
        chosen=chosen,
    )


@pytest.mark.parametrize(
    ("what", "chosen", "names"),
    [
        ("delivered", None, []),
        ("delivered", Chosen(population=7, left_out=3), ["refetch_listed"]),
        ("delivered", Chosen(left_out=1), ["refetch_listed", "all_left_out"]),
        ("delivered", Chosen(), ["refetch_listed"]),
        # Old ones of these may be left for ever.
        ("unrated", Chosen(left_out=1), ["refetch_listed"]),
        ("delivered", Chosen(population=1, outside=1), ["refetch_listed", "ids_not_delivered"]),
    ],
)
def test_what_a_refetch_has_chosen_is_said(
    heard: Heard, what: str, chosen: Chosen | None, names: list[str]
) -> None:
    tell_chosen(result_of(chosen), what, heard)
    assert heard.names() == names


@pytest.mark.parametrize("cause", ["timeout", "reset", "torn", "too_long"])
def test_failures_that_pass_by_themselves_are_not_said(heard: Heard, cause: str) -> None:
    tell_failures({cause: "the connection ended before an answer"}, heard, set())
    assert heard.said() == []


def test_a_timeout_is_said_where_a_proxy_that_is_not_used_may_be_the_only_way_out(
    heard: Heard,
) -> None:
    reason = "no connection within vendor.timeout_s; name it as vendor.proxy if it is the only way"
    tell_failures({"timeout": reason}, heard, set())
    assert heard.said() == [("warning", "requests_fail", {"cause": "timeout", "reason": reason})]


def test_a_failure_that_somebody_can_do_something_about_is_said_once(heard: Heard) -> None:
    told: set[str] = set()
    tell_failures({"dns": "no such host", "timeout": "too late"}, heard, told)
    tell_failures({"dns": "no such host any more", "tls": "no trust"}, heard, told)
    assert heard.said() == [
        ("warning", "requests_fail", {"cause": "dns", "reason": "no such host"}),
        ("warning", "requests_fail", {"cause": "tls", "reason": "no trust"}),
    ]


def test_what_is_fetched_again_is_told_with_its_counts(heard: Heard) -> None:
    chosen = Chosen(population=0, left_out=3, outside=2, outside_ids=("x", "y"))
    tell_chosen(result_of(chosen), "delivered", heard)
    assert heard.said() == [
        ("info", "refetch_listed", {"again": 5, "population": 0, "left_out": 3}),
        ("warning", "all_left_out", {"count": 3}),
        ("warning", "ids_not_delivered", {"count": 2, "ids": ["x", "y"]}),
    ]


def test_each_lost_worker_is_told_once_also_one_that_is_lost_again(heard: Heard) -> None:
    told: set[str] = set()
    tell_lost([(2, "killed")], heard, told)
    assert heard.said() == [("warning", "worker_lost", {"worker": 2, "reason": "killed"})]
    tell_lost([(2, "killed"), (2, "killed")], heard, told)
    assert heard.names() == ["worker_lost"]
    tell_lost([(2, "killed"), (2, "killed")], heard, told)
    assert heard.names() == []


def test_what_comes_by_pages_is_told_each_thing_once(heard: Heard) -> None:
    told: set[str] = set()
    counters = Counters(by_pages=5, page_requests=3, sampled=2)
    figures = AheadFigures(
        workers=cast("Any", None),
        windows=8,
        unsettled=1,
        seed=77,
        difference=None,
        refused="",
        is_over=False,
    )
    tell_pages(None, counters, heard, told)
    assert heard.said() == []
    tell_pages(figures, counters, heard, told)
    assert heard.said() == [("info", "pages_began", {"seed": 77})]
    differing = replace(figures, difference=Differing("id", ("cost", "rate")))
    for expected in (True, False):
        tell_pages(differing, counters, heard, told)
        fields = {"voice_ids": ["id"], "columns": ["cost", "rate"], "seed": 77}
        assert heard.said() == [("warning", "pages_differ", fields)] * expected
    for expected in (True, False):
        tell_pages(replace(figures, refused="unavailable"), counters, heard, told)
        said = ("warning", "pages_refused", {"cause": "unavailable"})
        assert heard.said() == [said] * expected
    for expected in (True, False):
        tell_pages(replace(figures, is_over=True), counters, heard, told)
        fields = {"records": 5, "requests": 3, "sampled": 2, "windows": 8, "unsettled": 1}
        assert heard.said() == [("info", "pages_ended", fields)] * expected


def test_what_is_odd_in_publications_is_told_by_the_first_run_that_ends(
    db: sqlite3.Connection, heard: Heard
) -> None:
    publish(db, Note(records=10, unparsed={"cost": 1}, extra={"new": 4}, presumed=3))
    publish(db, Note(records=10, unparsed={"cost": 2, "ringTime": 1}, without_cost=5, presumed=4))
    found = tell_oddities(db, heard, odd_hangups=6)
    assert heard.said() == [
        ("warning", "unreadable_values", {"fields": {"cost": 3}}),
        ("warning", "answered_without_cost", {"count": 5}),
        ("warning", "odd_hangups", {"count": 6}),
        ("warning", "changed_fields", {"fields": {"ringTime": 1}}),
        ("warning", "new_fields", {"fields": {"new": 4}}),
    ]
    assert (found.unparsed, found.extra) == ({"cost": 3, "ringTime": 1}, {"new": 4})
    assert (found.presumed, found.odd.odd_hangups, found.odd.unreadable) == (7, 6, {"cost": 3})
    again = tell_oddities(db, heard)
    assert heard.said() == []
    assert (again.unparsed, again.extra, again.presumed) == ({}, {}, 0)
    publish(db, Note(records=10, extra={"new": 4}))
    tell_oddities(db, heard)
    assert heard.said() == [], "a new field is new once"
    publish(db, Note(records=10, unparsed={"cost": 1}))
    tell_oddities(db, heard)
    assert heard.names() == ["unreadable_values"]


def test_what_became_of_calls_that_were_delivered_before_is_told(
    db: sqlite3.Connection, heard: Heard
) -> None:
    one = Compared(same=1, changed=2, extra_only=3, missing=4, cost={"USD": "1"})
    publish(db, Note(compared={"a": one, "b": Compared(same=10)}))
    publish(
        db,
        Note(
            compared={
                "a": Compared(
                    same=100,
                    cost={"USD": "2"},
                    alarms={"callee": ("x",), "cost": ("y", "z"), "is_final": ("w",)},
                    alarmed={"callee": 1, "cost": 9, "is_final": 1},
                )
            }
        ),
    )
    tell_oddities(db, heard)
    counts = {"same": 111, "changed": 2, "extra_only": 3, "missing": 4, "cost": {"USD": "3"}}
    assert heard.said() == [
        ("info", "refetched", counts),
        ("error", "identity_changed", {"column": "callee", "count": 1, "voice_ids": ["x"]}),
        ("error", "known_value_lost", {"column": "cost", "count": 9, "voice_ids": ["y", "z"]}),
        ("error", "known_value_lost", {"column": "is_final", "count": 1, "voice_ids": ["w"]}),
    ]


def test_what_a_start_has_mended_is_said(heard: Heard) -> None:
    killed = [SimpleNamespace(id="one"), SimpleNamespace(id="two")]
    opened = SimpleNamespace(killed_runs=killed, finished_publications=1)
    tell_recovery(cast("Any", opened), heard)
    assert heard.said() == [
        ("warning", "killed_run_closed", {"run_id": "one"}),
        ("warning", "killed_run_closed", {"run_id": "two"}),
        ("info", "publications_finished", {"count": 1}),
    ]
    fine = SimpleNamespace(killed_runs=[], finished_publications=0)
    tell_recovery(cast("Any", fine), heard)
    assert heard.said() == []
