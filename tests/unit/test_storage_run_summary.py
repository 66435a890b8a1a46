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
from harvester.pipeline.run.summary import DataBooks, make_summary
from harvester.run_name import is_run_id
from harvester.state.values import RunRecord
from harvester.storage.output import Output
from harvester.storage.run_summary import (
    RunSummary,
    SummaryError,
    read_summary,
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
    data = DataBooks(
        rows=RUN.rows,
        rows_in_journal=0,
        call_duration_s=0,
        charged_duration_s=0,
        cost={"USD": "0.10000001"},
    )
    made = make_summary(
        RUN,
        account="acme",
        code="",
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
    )


def test_a_difference_is_one_that_does_not_balance(tmp_path: Path) -> None:
    assert not read_summary(written(tmp_path, Difference("run", "a = 1", "b = 2"))).balanced


def test_an_older_one_has_no_number(tmp_path: Path) -> None:
    path = written(tmp_path)
    told = json.loads(path.read_text())
    del told["first_publication"], told["version"]
    path.write_text(json.dumps(told))
    found = read_summary(path)
    assert found.first_publication is None
    assert replace(found, first_publication=7) == read_summary(written(tmp_path))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 2}, "version 2 is that of a newer cdr-harvester"),
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
