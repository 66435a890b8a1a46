"""summary.json is read in one place: all that a run writes down comes back, of every version."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from harvester.pipeline.run.control_totals import Difference
from harvester.pipeline.run.summary import DataTotals, make_summary
from harvester.run_name import is_run_id
from harvester.state.values import RunRecord
from harvester.storage.output import Output
from harvester.storage.run_summary import (
    RunSummary,
    SummaryError,
    read_summary,
    summaries,
    summary_files,
)
from tests.support.summaries import summary_of

RUN = RunRecord(
    "20261101T000000Z-00000a",
    1_793_491_200_000,
    1_793_491_201_500,
    3,
    7,
    {
        "begun": 21,
        "delivered": 1,
        "open": 2,
        "dead": 3,
        "deferred": 4,
        "cut_off": 11,
        "opens_published": 6,
        "requests": 99,
    },
)


def written(folder: Path, *differences: Difference) -> Path:
    """The summary of RUN as a run writes it."""
    data = DataTotals(
        rows=RUN.rows,
        rows_in_journal=0,
        call_duration_s=0,
        charged_duration_s=0,
        cost={"USD": "0.10000001"},
    )
    made = make_summary(
        RUN,
        account="acme",
        code="found.dead",
        message="",
        output=Output(folder),
        input_=None,
        list_=None,
        data=data,
        differences=list(differences),
    )
    path = folder / "summary.json"
    path.write_bytes(msgspec.json.encode(made))
    return path


def test_what_a_run_writes_is_what_is_read(tmp_path: Path) -> None:
    assert read_summary(written(tmp_path)) == RunSummary(
        run_id=RUN.id,
        account="acme",
        started_at=datetime(2026, 11, 1, tzinfo=UTC),
        ended_at=datetime(2026, 11, 1, 0, 0, 1, 500_000, tzinfo=UTC),
        exit_code=3,
        requests=99,
        attempted=21,
        delivered=1,
        open=2,
        dead=3,
        deferred=4,
        cut_off=11,
        opens_published=6,
        rows=7,
        cost={"USD": Decimal("0.10000001")},
        balanced=True,
        first_publication=7,
        code="found.dead",
    )


VERSION_1 = """{
  "version": 1, "harvester": "0.1.0", "run_id": "20261101T000000Z-00000a", "account": "acme",
  "started_at": "2026-11-01T00:00:00.000+00:00", "ended_at": "2026-11-01T00:00:01.500+00:00",
  "exit_code": 3, "message": "",
  "input": {"lines": 30, "bad": 1, "duplicate": 4, "distinct": 25, "settled_before": 5,
    "listed": 20, "first_listed_at": "2026-11-01T00:00:00.000+00:00",
    "dead_since_first_listed": 3},
  "list": {"listed": 20, "retried": 0, "left_over": 1, "delivered": 1, "open": 2, "dead": 3,
    "pending": 15},
  "run": {"attempted": 21, "delivered": 1, "open": 2, "dead": 3, "deferred": 4, "cut_off": 11,
    "opens_published": 6},
  "data": {"rows": 7, "rows_in_journal": 0, "call_duration_s": 0, "charged_duration_s": 0,
    "cost": {"USD": "0.10000001"}},
  "differences": [],
  "requests": 99, "retries": {"push_back": 3}, "push_backs": 3, "outages": 0,
  "clock_skew_s": 0.0, "ages_held": false, "published_files": 1, "published_bytes": 9000,
  "unparsed": {}, "extra": {}, "odd": {"unreadable": {}, "answered_without_cost": 0,
    "odd_hangups": 0, "changed_fields": {}, "new_fields": {}},
  "first_publication": 7, "output": "/data/out", "presumed_currency": 0, "newly_dead": 3,
  "plan": {"to_ask": 21, "asked": 21, "requests_planned": 21, "requests_sent": 99,
    "seconds_planned": 0.4, "seconds_taken": 1.5, "bytes_planned": 9000, "bytes_written": 9000}
}"""
"""As the last version wrote it that knew no other."""


def test_version_1_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(VERSION_1)
    assert read_summary(path) == replace(read_summary(written(tmp_path)), code="")


@pytest.mark.parametrize("differences", ["[]", '[{"book": "run", "left": "a", "right": "b"}]'])
def test_version_1_says_whether_it_balanced(tmp_path: Path, differences: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(VERSION_1.replace('"differences": []', f'"differences": {differences}'))
    assert read_summary(path).balanced == (differences == "[]")


def test_version_2_has_a_code(tmp_path: Path) -> None:
    told = json.loads(written(tmp_path).read_text())
    assert (told["version"], told.pop("code")) == (2, "found.dead")
    (tmp_path / "summary.json").write_text(json.dumps(told))
    with pytest.raises(SummaryError, match="code"):
        read_summary(tmp_path / "summary.json")


def test_a_difference_is_one_that_does_not_balance(tmp_path: Path) -> None:
    assert not read_summary(written(tmp_path, Difference("run", "a = 1", "b = 2"))).balanced


def test_an_older_one_has_no_number(tmp_path: Path) -> None:
    path = written(tmp_path)
    told = json.loads(path.read_text())
    del told["first_publication"], told["version"]
    path.write_text(json.dumps(told))
    found = read_summary(path)
    assert (found.first_publication, found.code) == (None, "")
    whole = replace(found, first_publication=7, code="found.dead")
    assert whole == read_summary(written(tmp_path))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 3}, "version 3 is that of a newer cdr-harvester"),
        ({"version": 0}, "version 0 is"),
        ({"requests": "many"}, "requests"),
        ({"run": {"dead": None}}, "dead"),
    ],
)
def test_one_that_is_none_is_told_with_its_reason(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary_of("r", **changes)))
    with pytest.raises(SummaryError, match=why):
        read_summary(path)


def test_one_that_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SummaryError, match="directory"):
        read_summary(tmp_path)


def test_summaries_are_found_by_their_folders(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "summary.json").touch()
    assert [path.parent.name for path in summary_files(tmp_path)] == ["a", "b"]
    assert list(summary_files(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("name", "is_one"),
    [(RUN.id, True), ("notes", False), (RUN.id + "0", False), (RUN.id[:-1] + "g", False)],
)
def test_a_run_is_named_by_its_time_and_six_digits(name: str, is_one: bool) -> None:
    assert is_run_id(name) is is_one


def test_what_was_fetched_again_is_read_where_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    told = summary_of(RUN.id, run={"unrated": 3})
    path.write_text(json.dumps(told))
    found = read_summary(path)
    assert (found.unrated, found.changed, found.doubted, found.took_pages) == (3, 0, 0, False)
    for refetch, by_pages in (({"changed": 4}, {"fetched_again": 5}), ({}, {})):
        path.write_text(json.dumps({**told, "refetch": refetch, "by_pages": by_pages}))
        found = read_summary(path)
        assert found.changed == refetch.get("changed", 0)
        assert (found.doubted, found.took_pages) == (by_pages.get("fetched_again", 0), True)


def test_an_older_one_counts_no_calls_without_a_price(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary_of(RUN.id)))
    assert read_summary(path).unrated == 0


def test_only_summaries_of_runs_that_can_be_read_are_listed(tmp_path: Path) -> None:
    later = "20261102T000000Z-00000a"
    for name in (later, RUN.id, "notes", "20261103T000000Z-00000a", "20261104T000000Z-00000a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(summary_of(name)))
    (tmp_path / "20261103T000000Z-00000a" / "summary.json").write_text("{")
    (tmp_path / "20261104T000000Z-00000a" / "summary.json").unlink()
    assert [one.run_id for one in summaries(tmp_path)] == [RUN.id, later]
