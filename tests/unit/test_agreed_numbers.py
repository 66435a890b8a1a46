"""Numbers that several parts must have alike stand in one place; what is made of them agrees."""

from __future__ import annotations

import inspect
import re
import tokenize
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from harvester import money, vendor_clock
from harvester.answers.literals import decimal_of, instant_of
from harvester.config import load
from harvester.dataset.columns import MONEY_RULE, TIME_RULE
from harvester.dataset.kind import MONEY
from harvester.inputs.id_dates import instant, stamp_of
from harvester.inputs.voice_id import dated
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.engine.acknowledger import BATCH_OUTCOMES
from harvester.pipeline.limits.daily_quota import day_of
from harvester.pipeline.run.recovery import (
    UNRECORDED_BATCHES,
    most_unrecorded,
    most_unrecorded_of,
    new_run_id,
)
from harvester.pipeline.run.remnants import requests_by_day
from harvester.run_name import is_run_id
from harvester.simulator.ids import VENDOR_ZONE
from harvester.state.values import CHUNK_ROWS, chunks_of, rows_of_chunk
from harvester.storage.duckdb_engine import connect, units
from harvester.storage.run_summary import RunSummary

PACKAGE = Path(__file__).resolve().parents[2] / "harvester"
AMOUNTS = ["0", "0.00000001", "-0.00000001", "12.5", "9999999999.99999999", "-9999999999.99999999"]


def code_of(path: Path) -> Iterator[str]:
    """Every token of a module but comments and texts that stand for themselves."""
    with path.open("rb") as file:
        last = tokenize.NEWLINE
        for token in tokenize.tokenize(file.readline):
            told = token.type == tokenize.STRING and last in (
                tokenize.ENCODING,
                tokenize.NEWLINE,
                tokenize.NL,
                tokenize.INDENT,
                tokenize.DEDENT,
            )
            if token.type != tokenize.COMMENT and not told:
                yield token.string
            if token.type != tokenize.COMMENT:
                last = token.type


def modules_with(pattern: str) -> set[str]:
    """Modules, but those of the simulator, whose code holds `pattern`."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE))
        if not name.startswith("simulator/") and re.search(pattern, " ".join(code_of(path))):
            found.add(name)
    return found


def test_a_chunk_has_the_size_that_the_ledger_says() -> None:
    """A reader with a size of its own would bind progress bits to other ids."""
    size = inspect.signature(ListFile.chunk).parameters["size"]
    assert size.default is inspect.Parameter.empty
    assert modules_with(r"CHUNK_ROWS =") == {"state/values.py"}
    assert modules_with(r"// CHUNK_ROWS|\( CHUNK_ROWS ,.* CHUNK_ROWS") <= {
        "state/values.py",
        "analysis/verify/check_ids.py",
    }


@pytest.mark.parametrize("rows", [0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 25_001])
def test_the_rows_of_all_chunks_are_those_of_the_list(rows: int) -> None:
    sizes = [rows_of_chunk(no, rows) for no in range(chunks_of(rows))]
    assert sum(sizes) == rows
    assert all(0 < size <= CHUNK_ROWS for size in sizes)
    assert rows_of_chunk(chunks_of(rows), rows) <= 0


def test_recovery_reckons_with_batches_as_they_are_acknowledged() -> None:
    assert most_unrecorded(7) == UNRECORDED_BATCHES * BATCH_OUTCOMES + 7
    flags = {"pace.concurrency": 8, "pace.rate_per_s": 25.0, "workers.count": 3}
    config = load(flags=flags).config
    # Three workers hold 8 each, twice over, and may send for a lease of 2 s at 25 a second.
    assert most_unrecorded_of(config) == most_unrecorded(8) + 48 + 50


def test_money_has_one_scale() -> None:
    assert (MONEY.precision, MONEY.scale) == (money.PRECISION, money.SCALE)
    assert money.UNIT * money.WHOLE == 1
    places = modules_with(r"100_?000_?000\b|\bscaleb \( - ?SCALE|decimal128 \( [0-9]+ , [0-9]")
    # An instant in milliseconds; macros and figures take the constants.
    assert places - {"answers/times.py"} == {"money.py"}


@pytest.mark.parametrize("text", AMOUNTS)
def test_an_amount_is_the_same_in_units_in_arrow_and_in_sql(tmp_path: Path, text: str) -> None:
    amount = decimal_of(text)
    assert money.of_units(money.in_units(amount)) == amount
    assert re.match(MONEY_RULE.plain, text)
    assert pa.array([amount], MONEY).to_pylist() == [amount]
    with connect("1GB", tmp_path) as database:
        found = database.execute(f"SELECT {units('?')}", [amount]).fetchall()
    assert found == [(money.in_units(amount),)]


def test_one_digit_more_than_the_scale_is_no_amount() -> None:
    text = f"0.{'0' * money.SCALE}1"
    assert not re.match(MONEY_RULE.plain, text)
    with pytest.raises(ValueError, match="fractional digits"):
        decimal_of(text)
    assert f"{money.of_units(1):f}" == f"{Decimal(1).scaleb(-money.SCALE):f}"


def test_the_vendors_clock_is_one() -> None:
    assert modules_with(r"hours ?= ?8\b|\b8 \* (?:60|3600)\b|28_?800|\+08:?00") == {
        "vendor_clock.py"
    }
    midnight = datetime(2026, 9, 2, tzinfo=vendor_clock.CLOCK)
    assert midnight.utcoffset() == vendor_clock.OFFSET == timedelta(hours=8)
    assert midnight.isoformat().endswith(vendor_clock.OFFSET_TEXT)
    assert timedelta(seconds=vendor_clock.OFFSET_S) == vendor_clock.OFFSET
    assert midnight.astimezone(VENDOR_ZONE).isoformat() == midnight.isoformat()


@pytest.mark.parametrize("second", [-1, 0, 1])
def test_all_that_know_the_vendors_day_agree_on_its_midnight(second: int) -> None:
    at = datetime(2026, 9, 2, tzinfo=vendor_clock.CLOCK) + timedelta(seconds=second)
    digits = at.strftime("%y%m%d%H%M%S")
    text = at.strftime("%Y-%m-%d %H:%M:%S")
    assert instant_of(text)[0] == at.timestamp() * 1000
    rewritten = re.sub(*TIME_RULE.rewrites[1], text)
    assert datetime.fromisoformat(rewritten) == at
    assert stamp_of(at.astimezone(UTC)) == digits
    assert instant(digits) == dated(f"{digits}1234567") == at
    day = at.date().isoformat()
    run = RunSummary(
        run_id="r",
        account="a",
        started_at=at,
        ended_at=at.astimezone(UTC),
        exit_code=0,
        requests=3,
        attempted=3,
        delivered=3,
        open=0,
        dead=0,
        deferred=0,
        cut_off=0,
        opens_published=0,
        rows=3,
        cost={},
        balanced=True,
    )
    assert day_of(at.timestamp()) == day
    assert requests_by_day([run]) == {day: 3}


def test_a_new_runs_name_is_that_of_a_run_and_its_folder() -> None:
    name = new_run_id(datetime(2026, 9, 2, tzinfo=UTC).timestamp() + 0.5)
    assert is_run_id(name)
    assert name.startswith("20260902T000000Z-")
    assert not is_run_id(name[:-1])
    assert not is_run_id(f"{name}0")
    assert modules_with(r"\[0-9\]\{8\}T|%Y%m%dT") == {"run_name.py"}
