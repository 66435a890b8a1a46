"""Control totals that differ end a run with exit 6, whatever else it came to: one run per book.

Triggers in the state database play the part of a fault that loses or invents a row: the run works
as ever, and what it finds at its end is not what it did.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harvester.pipeline.publish.publisher import Published
from harvester.pipeline.run.summary import check_control_totals, make_summary
from harvester.simulator import make_ids
from harvester.state.values import RunRecord
from harvester.storage.output import Output
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.fakes import ACCOUNT, FakeVendor, House
from tests.support.outputs import edit
from tests.support.simulated import ALL_RECORDS, END, Simulator
from tests.support.virtual_time import run_virtually

IDS = sorted(make_ids(24, 5, end=END))

_BEGIN = "CREATE TRIGGER fault AFTER"
FAULTS = {
    "input": (
        f"{_BEGIN} INSERT ON input BEGIN UPDATE input SET lines = lines + 1; END",
        "lines = 13",
    ),
    "list": (
        f"{_BEGIN} UPDATE OF delivered ON list BEGIN UPDATE list SET delivered = 0; END",
        "rows = 12",
    ),
    "data": (
        f"{_BEGIN} INSERT ON journal BEGIN DELETE FROM journal WHERE seq = new.seq; END",
        "rows from answers = 12",
    ),
}


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as up:
        yield up


def run(vendor: Simulator, folder: Path, ids: list[str], per_day: int = 10_000) -> Any:
    (folder / "ids.txt").write_text("\n".join(ids))
    flags = ["--out", "out", "--rate", "1000", "--base-url", vendor.base_url]
    env = {**KEYS, "HARVESTER_PACE__PER_DAY": str(per_day)}
    return harvester("run", "ids.txt", *flags, cwd=folder, env=env)


@pytest.mark.parametrize("book", FAULTS)
def test_a_difference_ends_the_run_with_exit_6_and_is_shown(
    vendor: Simulator, tmp_path: Path, book: str
) -> None:
    assert run(vendor, tmp_path, IDS[:12]).returncode == 0
    trigger, left = FAULTS[book]
    edit(tmp_path / "out", trigger)
    ended = run(vendor, tmp_path, IDS[12:])
    assert ended.returncode == 6, ended.stderr
    assert "✗" in ended.stderr
    assert left in ended.stderr
    newest = max((tmp_path / "out" / "runs").glob("2*"))
    summary = json.loads((newest / "summary.json").read_text())
    assert summary["exit_code"] == 6
    assert {one["control_totals"] for one in summary["differences"]} == {book}
    assert summary["differences"][0]["left"] == left
    with closing(sqlite3.connect(tmp_path / "out" / "state" / "state.db")) as db:
        ended_with = db.execute("SELECT exit_code FROM run ORDER BY id DESC LIMIT 1").fetchone()
    assert ended_with == (6,)


def test_a_difference_is_told_before_whatever_else_ended_the_run(
    vendor: Simulator, tmp_path: Path
) -> None:
    """A run that its budget stops would end with 8, and nobody would look at lost rows."""
    assert run(vendor, tmp_path, IDS, per_day=6).returncode == 8
    edit(tmp_path / "out", FAULTS["data"][0])
    ended = run(vendor, tmp_path, IDS, per_day=9)
    assert ended.returncode == 6, ended.stderr
    assert "the control totals do not balance (data)" in " ".join(ended.stderr.split())


@pytest.mark.parametrize("exit_code", [0, None], ids=["ended", "killed"])
def test_the_runs_own_book_and_the_data_are_compared_also_where_a_run_was_killed(
    tmp_path: Path, exit_code: int | None
) -> None:
    with closing(House(tmp_path / "out", ["1", "2", "3"])) as house:
        counters = run_virtually(lambda: house.run(FakeVendor())).counters.stored()
        assert counters["begun"] == counters["delivered"] == 3

        def books(counters: dict[str, int]) -> list[str]:
            run = RunRecord("run-1", 1, 2, exit_code, 1, counters)
            found = check_control_totals(
                house.db, house.output, ACCOUNT, run, record=None, work_list=house.work_list
            )[1]
            return [one.control_totals for one in found]

        assert books(counters) == []
        # A run that was killed has begun more than it finished: there is nothing to compare.
        assert books({**counters, "begun": 4}) == ([] if exit_code is None else ["run"])
        # A record less than was counted is a difference even then.
        assert "data" in books({**counters, "delivered": 4})
        assert books({**counters, "usage.charged_duration_s": 1}) == ["data"]
        part = next(house.output.cdr.glob("*/*.parquet"))
        part.unlink()
        house.db.execute("DELETE FROM file")
        assert books(counters) == ["data"] * 4


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("newField", "newField"),
        ("sip_603.x-y", "sip_603.x-y"),
        ("line123456", "line123456"),  # six digits on end are nobody's number
        ("line1234567", "odd"),
        ("8613800138", "odd"),
        ("8613800138000", "odd"),
        ("_8613800138", "odd"),
        ("callee: 86138", "odd"),
        ("x" * 41, "odd"),
        ("", "odd"),
    ],
)
def test_a_field_that_could_be_somebodys_number_is_counted_without_its_name(
    tmp_path: Path, name: str, shown: str
) -> None:
    extra = Counter({name: 2})
    run = RunRecord("run-1", 1, 2, 0, 1, {})
    data, _ = check_books_of_nothing(tmp_path, run)
    summary = make_summary(
        run,
        account=ACCOUNT,
        code="",
        message="",
        output=Output(tmp_path),
        input_=None,
        list_=None,
        data=data,
        differences=[],
        published=[Published(1, 1, 1, 1, Counter(), extra)],
        extra=extra,
    )
    assert summary.extra == {shown: 2}


def check_books_of_nothing(folder: Path, run: RunRecord) -> Any:
    with closing(House(folder / "out")) as house:
        return check_control_totals(
            house.db, house.output, ACCOUNT, run, record=None, work_list=None
        )
