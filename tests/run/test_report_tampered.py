"""Bills that were tampered with are found whole by the audit, and a clean one is left alone.

Each set is made with Arrow from a clean data set of this file's own; what is expected of it is
reckoned from the calls as they were made up, never from what the audit says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from harvester.analysis.audit.bill import Verdict, opened
from harvester.cli.main import run_command
from harvester.dataset.group_record import GROUP_RECORD
from harvester.simulator import SimulatorOptions, twin_of
from harvester.simulator.ids import original_of
from tests.run.test_report_billing import SCOPE, UNANSWERED
from tests.support.datasets import filled, simulated, write

FIRST = datetime(2026, 11, 2, 0, 0, 2, tzinfo=UTC)
SECOND_PRICE = Decimal("0.0002")  # the rate of 0.012 a minute
PERIODS = ((20, 20), (60, 6), (1, 1))
COUNT = 600
SECOND = timedelta(seconds=1)


def charged(seconds: int, initial: int, increment: int) -> int:
    total = 0
    while total < seconds:
        total += increment if total else initial
    return total


def call(number: int, submitted: datetime) -> dict[str, Any]:
    """A call as it should be billed; every fifth one is not answered."""
    row: dict[str, Any] = {
        # The same callee comes again after fifty calls: later that day, never at the same time.
        "callee": f"9180{number % 50:08}",
        "submit_time": submitted,
        "call_time": submitted + timedelta(seconds=2),
        "ringing_time": submitted + timedelta(seconds=5),
        "hangup_time": submitted + timedelta(seconds=30),
    }
    if number % 5 == 0:
        return UNANSWERED | row
    initial, increment = PERIODS[number % 3]
    seconds = 1 + number * 37 % 110
    answered = submitted + timedelta(seconds=12)
    whole = charged(seconds, initial, increment)
    return row | {
        "answer_time": answered,
        "hangup_time": answered + timedelta(seconds=seconds),
        "call_duration_s": seconds,
        "charged_duration_s": whole,
        "bill_period": f"{initial}+{increment}",
        "bill_initial_s": initial,
        "bill_increment_s": increment,
        "cost": SECOND_PRICE * whole,
    }


def calls() -> list[dict[str, Any]]:
    """One every seven minutes over three days, and one that lasts beyond midnight."""
    rows = [call(n, FIRST + timedelta(minutes=7 * n)) for n in range(COUNT)]
    return [*rows, call(51, datetime(2026, 11, 3, 23, 59, 59, tzinfo=UTC)) | {"callee": "1999"}]


CALLS = calls()
ANSWERED = [row for row in CALLS if row.get("answered", True)]
CLEAN = filled(CALLS)
OF_ANSWERED = {f"{n:019}" for n, row in enumerate(CALLS) if row.get("answered", True)}


def audited(tmp_path: Path, table: pa.Table) -> tuple[dict[str, Verdict], dict[str, set[str]]]:
    """The verdicts on a data set of `table`, and the ids that differ, both by broken rule."""
    write(tmp_path / "out", [table])
    files = sorted((tmp_path / "out").glob("cdr/*/*.parquet"))
    with opened(files, SCOPE, GROUP_RECORD, memory_limit="400MB", scratch=tmp_path) as billing:
        verdicts = billing.verdicts()
        ids: dict[str, set[str]] = {one.rule: set() for one in verdicts if one.differing}
        for batch in billing.differing(verdicts):
            for row in batch.select(["rule", "voice_id"]).to_pylist():
                assert row["voice_id"] not in ids[row["rule"]]
                ids[row["rule"]].add(row["voice_id"])
    return {one.rule: one for one in verdicts if one.differing}, ids


def with_columns(table: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        place = GROUP_RECORD.schema.get_field_index(name)
        table = table.set_column(
            place,
            GROUP_RECORD.schema.field(name),
            pa.array(values, GROUP_RECORD.schema.field(name).type),
        )
    return table


def moved(table: pa.Table, by: timedelta, names: list[str]) -> pa.Table:
    """`table` with the named times later by `by`."""
    times = {
        name: [None if at is None else at + by for at in table[name].to_pylist()] for name in names
    }
    return with_columns(table, **times)


def longer(seconds: int) -> pa.Table:
    """Every answered call billed for `seconds` more, rounded and priced as it should be then."""
    rows = CLEAN.to_pylist()
    for row in rows:
        if row["answered"]:
            row["call_duration_s"] += seconds
            row["charged_duration_s"] = charged(
                row["call_duration_s"], row["bill_initial_s"], row["bill_increment_s"]
            )
            row["cost"] = SECOND_PRICE * row["charged_duration_s"]
    return pa.Table.from_pylist(rows, GROUP_RECORD.schema)


def again(times: list[str], id_of: Callable[[str], str]) -> pa.Table:
    """Every answered call once more under another id, the named times a second later."""
    answered = CLEAN.filter(pc.field("answered"))
    ids = [id_of(voice_id) for voice_id in answered["voice_id"].to_pylist()]
    twice = with_columns(moved(answered, timedelta(seconds=1), times), voice_id=ids)
    return pa.concat_tables([CLEAN, twice])


TIMES = ["submit_time", "call_time", "ringing_time", "answer_time", "hangup_time"]


def test_nothing_differs_in_a_clean_bill(tmp_path: Path) -> None:
    assert audited(tmp_path, CLEAN) == ({}, {})


def test_twelve_seconds_on_every_answered_call_are_found_with_their_money(tmp_path: Path) -> None:
    verdicts, ids = audited(tmp_path, longer(12))
    assert ids == {"duration_times": OF_ANSWERED}
    beyond = sum(
        charged(row["call_duration_s"] + 12, row["bill_initial_s"], row["bill_increment_s"])
        - row["charged_duration_s"]
        for row in ANSWERED
    )
    found = verdicts["duration_times"]
    assert (found.over, found.under) == ({"USD": SECOND_PRICE * beyond}, {})
    assert found.checked == len(ANSWERED)


@pytest.mark.parametrize(("seconds", "differs"), [(-2, True), (-1, False), (1, False), (2, True)])
def test_a_duration_may_be_a_second_off_its_times(
    tmp_path: Path, seconds: int, differs: bool
) -> None:
    at = datetime(2026, 11, 2, 10, 0, 10, tzinfo=UTC)
    row = {"answer_time": at, "hangup_time": at + timedelta(seconds=60 - seconds)}
    _, ids = audited(tmp_path, filled([row]))
    assert ids == ({"duration_times": {f"{0:019}"}} if differs else {})


@pytest.mark.parametrize(("more_ms", "differs"), [(0, False), (1, True)])
def test_a_millisecond_over_a_second_is_more_than_a_second(
    tmp_path: Path, more_ms: int, differs: bool
) -> None:
    at = datetime(2026, 11, 2, 10, 0, 10, tzinfo=UTC)
    row = {"answer_time": at, "hangup_time": at + timedelta(seconds=61, milliseconds=more_ms)}
    verdicts, _ = audited(tmp_path, filled([row]))
    assert bool(verdicts) is differs
    if differs:
        (worst,) = verdicts["duration_times"].worst
        # 61.001 s are 62 begun seconds, which cost 80 s in periods of 20 s: 20 s less were charged.
        assert (worst.found, worst.expected) == ("60 s", "61.001 s by its times")
        assert worst.amount == SECOND_PRICE * -20


def test_a_hangup_an_hour_early_is_found_in_every_call(tmp_path: Path) -> None:
    verdicts, ids = audited(tmp_path, moved(CLEAN, timedelta(hours=-1), ["hangup_time"]))
    every = {f"{n:019}" for n in range(len(CALLS))}
    assert ids == {"times_order": every, "duration_times": OF_ANSWERED}
    # Times that go backwards don't say what the call should have cost.
    assert all(not one.over and not one.under for one in verdicts.values())
    assert {one.found for one in verdicts["times_order"].worst} == {
        "hangup_time before submit_time"
    }


@pytest.mark.parametrize(
    ("later", "earlier"),
    [(later, earlier) for n, earlier in enumerate(TIMES) for later in TIMES[n + 1 :]],
)
def test_each_time_is_held_against_every_earlier_one(
    tmp_path: Path, later: str, earlier: str
) -> None:
    """Also where the times between them are absent."""
    at = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
    absent = dict.fromkeys(TIMES)
    good = absent | {earlier: at, later: at}
    bad = absent | {earlier: at, later: at - timedelta(milliseconds=1)}
    rows = [good | {"callee": "1"}, bad | {"callee": "2"}, absent | {"callee": "3", earlier: at}]
    verdicts, ids = audited(tmp_path, filled([row | {"call_duration_s": None} for row in rows]))
    assert ids == {"times_order": {f"{1:019}"}}
    assert verdicts["times_order"].checked == 2
    (worst,) = verdicts["times_order"].worst
    assert worst.found == f"{later} before {earlier}"


@pytest.mark.parametrize("times", [["submit_time"], TIMES])
@pytest.mark.parametrize("form", ["{}9", "0{}"])
def test_every_answered_call_again_a_second_later_is_found(
    tmp_path: Path, times: list[str], form: str
) -> None:
    table = again(times, form.format)
    verdicts, ids = audited(tmp_path, table)
    doubles = {form.format(voice_id) for voice_id in OF_ANSWERED}
    assert ids["near_duplicate"] == doubles
    # A call of a second, a second later, begins when the first one ends.
    short = {
        form.format(f"{n:019}")
        for n, row in enumerate(CALLS)
        if row["call_duration_s"] == 1 and len(times) > 1
    }
    assert ids["overlap"] == doubles - short
    assert set(ids) == {"near_duplicate", "overlap"}
    cost = sum((row["cost"] for row in ANSWERED), Decimal(0))
    assert verdicts["near_duplicate"].over == {"USD": cost}


@pytest.mark.parametrize(("apart_ms", "found"), [(2_000, True), (2_001, False)])
def test_near_is_within_two_seconds(tmp_path: Path, apart_ms: int, found: bool) -> None:
    at = datetime(2026, 11, 2, 9, tzinfo=UTC)
    later = at + timedelta(milliseconds=apart_ms)
    rows: list[dict[str, Any]] = [
        {"submit_time": at, "answer_time": None},
        {"submit_time": later, "answer_time": None},
        {"submit_time": at, "answer_time": None, "call_duration_s": 58, "call_time": None},
    ]
    _, ids = audited(tmp_path, filled(rows))
    assert ids == ({"near_duplicate": {f"{1:019}"}} if found else {})


def test_calls_within_a_long_one_overlap_with_it_though_others_lie_between(tmp_path: Path) -> None:
    at = datetime(2026, 11, 2, 23, 50, tzinfo=UTC)

    def lasting(start_s: int, seconds: int) -> dict[str, Any]:
        begin = at + timedelta(seconds=start_s)
        times = dict.fromkeys(TIMES[:4], begin)
        end = begin + timedelta(seconds=seconds)
        whole = -(-seconds // 20) * 20
        row = {"hangup_time": end, "call_duration_s": seconds, "charged_duration_s": whole}
        return times | row | {"cost": SECOND_PRICE * whole}

    # The long call ends at 1,000 s, when the last one begins: that is no overlap.
    rows = [lasting(0, 1_000), lasting(10, 5), lasting(900, 50), lasting(1_000, 7)]
    _, ids = audited(tmp_path, filled(rows))
    assert ids == {"overlap": {f"{1:019}", f"{2:019}"}}


def test_a_rehearsed_bill_is_found_whole(tmp_path: Path) -> None:
    """What the stand-in vendor does to a bill, the audit finds, and nothing else."""
    options = SimulatorOptions(seed=5, drift=False, billing="early=0.2,double=0.1")
    rows = simulated(tmp_path / "out", options, 3_000)
    early, doubles = set(), set()
    for row in rows:
        voice_id = row["voice_id"]
        waited = row["answer_time"] and row["answer_time"] - row["ringing_time"]
        billed = original_of(voice_id) or voice_id
        if twin_of(5, billed, options.fates, options.bill) == voice_id:
            doubles.add(voice_id)
        else:
            billed = voice_id
        drawn = options.bill.billing.draw(5, billed)
        # A second between ringing and answer is within the rule.
        if waited and drawn.early and waited > SECOND:
            early.add(voice_id)
    files = sorted((tmp_path / "out").glob("cdr/*/*.parquet"))
    with opened(files, SCOPE, GROUP_RECORD, memory_limit="400MB", scratch=tmp_path) as billing:
        verdicts = {one.rule: one for one in billing.verdicts() if one.differing}
        found: dict[str, set[str]] = {rule: set() for rule in verdicts}
        for batch in billing.differing(tuple(verdicts.values())):
            for row in batch.select(["rule", "voice_id"]).to_pylist():
                found[row["rule"]].add(row["voice_id"])
    assert len(early) > 200
    assert len(doubles) > 100
    assert found["duration_times"] == early
    assert found["near_duplicate"] == doubles
    assert found.keys() == {"duration_times", "near_duplicate", "overlap"}
    # Of a call of a second, the double begins when it has ended.
    assert doubles - found["overlap"] == {
        row["voice_id"]
        for row in rows
        if row["voice_id"] in doubles and row["hangup_time"] - row["answer_time"] <= SECOND
    }


def test_fail_above_ends_with_3_and_says_which_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "out", [filled([{"cost": Decimal("60.012")}])])  # 60 USD too much
    words = ["audit", "--out", str(tmp_path / "out")]
    assert run_command(words) == 0
    assert run_command([*words, "--fail-above", "USD=60"]) == 0
    assert run_command([*words, "--fail-above", "EUR=1", "--fail-above", "JPY=1"]) == 0
    assert "above the limit" not in capsys.readouterr().err
    assert run_command([*words, "--fail-above", "EUR=1,USD=59.99"]) == 3
    said = capsys.readouterr()
    assert "cost: 60 USD over, above the limit of 59.99 (--fail-above)" in said.err
    assert run_command([*words, "--json", "--fail-above", "USD=59.99"]) == 3
    *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    excess = {"rule": "cost", "currency": "USD", "over": "60", "limit": "59.99"}
    assert last["above"] == [excess]


def test_a_limit_that_is_none_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["audit", "--out", str(tmp_path), "--fail-above", "50"]) == 2
    assert "--fail-above 50: write currency and amount" in capsys.readouterr().err
