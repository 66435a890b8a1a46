"""What parts say of themselves and add up to, and what is said of one that can't be read."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.answers.answer import Answer
from harvester.dataset.files import (
    newest_fetch_ms,
    newest_id,
    refuse_other_schema,
    usage_in,
)
from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.dataset.inspection import inspect
from harvester.dataset.normalize import normalize
from harvester.dataset.usage import UsageTotals, cost_units
from harvester.errors import StoreError


def test_a_part_that_is_gone_may_have_been_compacted_and_one_that_is_damaged_was_not(
    tmp_path: Path,
) -> None:
    part = tmp_path / "part.parquet"
    with pytest.raises(StoreError, match=r"it is gone\. Run the command again") as gone:
        newest_id([part])
    part.write_bytes(b"no Parquet")
    with pytest.raises(StoreError, match="restore the file from a backup") as damaged:
        newest_id([part])
    assert gone.value.code == damaged.value.code == "data.unreadable"
    assert "compact" not in str(damaged.value)


def test_an_inspection_tells_it_as_a_fault(tmp_path: Path) -> None:
    name = "submit_date=2026-09-01/part-0-1-0.parquet"
    (fault,) = inspect(tmp_path / name, name, "UTC", GROUP_RECORD).faults
    assert fault.kind == "unreadable"


RUN = "20261101T000000Z-00000a"
UNIT = 10**8


def rows(*costs: str | None, at: int = 0, currency: str = "USD") -> pa.Table:
    """Calls of ten seconds, of which eleven are charged, each at its cost."""
    bodies = [
        f'{{"data":{{"callDuration":10,"chargedDuration":11,"currency":"{currency}"'
        + ("" if cost is None else f',"cost":"{cost}"')
        + "}}"
        for cost in costs
    ]
    answers = [
        Answer(f"{number}", body.encode(), at, RUN, is_final=True)
        for number, body in enumerate(bodies)
    ]
    return normalize(answers, "acme", GROUP_RECORD).table


def part(path: Path, *groups: pa.Table, has_statistics: bool = True, **footer: str) -> Path:
    """A part with these row groups."""
    schema = GROUP_RECORD.schema
    with pq.ParquetWriter(path, schema, write_statistics=has_statistics) as writer:
        for group in groups:
            writer.write_table(group)
        writer.add_key_value_metadata({f"cdr.{name}": value for name, value in footer.items()})
    return path


def test_rows_add_up_by_currency_and_one_without_a_cost_costs_nothing() -> None:
    many = pa.concat_tables([rows("1", None), rows("2.5", currency="EUR"), rows("-0.5")])
    found = usage_in(many, GROUP_RECORD)
    assert found == UsageTotals(4, 40, 44, {"USD": UNIT // 2, "EUR": 5 * UNIT // 2})
    assert usage_in(rows(None, currency="EUR"), GROUP_RECORD) == UsageTotals(1, 10, 11, {})
    assert usage_in(rows(), GROUP_RECORD) == UsageTotals()


@pytest.mark.parametrize("count", [1, 64, 65, 90])
def test_each_currency_has_its_own_sum_however_many_there_are(count: int) -> None:
    """Of more than 64 they are added up in another way."""
    names = [f"{chr(65 + at // 26)}{chr(65 + at % 26)}X" for at in range(count)]
    tables = [rows(str(at + 1), "0.5", currency=name) for at, name in enumerate(names)]
    found = usage_in(pa.concat_tables([*tables, *reversed(tables)]), GROUP_RECORD)
    assert found.cost == {name: (2 * at + 3) * UNIT for at, name in enumerate(names)}
    assert found.rows == 4 * count


def test_all_that_is_no_currency_is_added_up_under_one_name() -> None:
    """A number that nobody should read in a summary must not stand there as one."""
    odd = [rows("1", currency="4915112345678"), rows("2", currency="dollars"), rows("4")]
    assert usage_in(pa.concat_tables(odd), GROUP_RECORD).cost == {"odd": 3 * UNIT, "USD": 4 * UNIT}
    units = cost_units(
        [("dollars", Decimal(1)), (None, Decimal(2)), ("x", Decimal(4)), ("", Decimal(8))]
    )
    assert units == {"odd": 5 * UNIT, "-": 10 * UNIT}


def test_the_last_row_of_a_part_was_fetched_when_the_last_of_its_groups_was(tmp_path: Path) -> None:
    groups = [rows("1", at=5_000), rows("1", at=9_001), rows("1", at=7_000)]
    assert newest_fetch_ms(part(tmp_path / "1", *groups)) == 9_001
    silent = part(tmp_path / "2", *groups, has_statistics=False)
    assert newest_fetch_ms(silent) == 0
    with pytest.raises(StoreError, match="it is gone"):
        newest_fetch_ms(tmp_path / "3")


def test_a_part_of_another_version_or_tool_is_refused(tmp_path: Path) -> None:
    version = str(GROUP_RECORD.version)

    def code(path: Path) -> str:
        with pq.ParquetFile(path) as file:
            try:
                refuse_other_schema(file, path, GROUP_RECORD)
            except StoreError as exc:
                return exc.code
            return ""

    assert code(part(tmp_path / "1", rows("1"), schema_version=version)) == ""
    assert code(part(tmp_path / "2", rows("1"), schema_version="1")) == "data.schema"
    assert code(part(tmp_path / "3", rows("1"))) == "data.schema"
    other = tmp_path / "4"
    with pq.ParquetWriter(other, GROUP_RECORD_1.schema) as writer:
        writer.add_key_value_metadata({"cdr.schema_version": version})
    assert code(other) == "data.schema"
