"""A second kind of record, made up here: other fields, another key, other money, other numbers.

It goes the whole way (normalize, parts, back from the files, masks) and no module knows of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from harvester.analysis.query.masks import Masks
from harvester.answers.answer import Answer
from harvester.config import Config
from harvester.dataset import files, kind
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.inspection import inspect
from harvester.dataset.kind import (
    Column,
    Draft,
    Encoding,
    Partition,
    Personal,
    Reads,
    RecordKind,
    UsageColumns,
)
from harvester.dataset.normalize import Normalized, normalize
from harvester.dataset.origin import zone_of_folders
from harvester.dataset.packing import NO_DATE, Packer
from harvester.dataset.parts import StagedPart, stage
from harvester.dataset.usage import Usage, answer_totals, usage_of
from harvester.errors import StoreError

RUN = "run-1"
NOW_MS = 1_788_400_000_000  # 2026-09-03
ZONE = "Asia/Shanghai"


def _derive(draft: Draft) -> None:
    draft.columns["is_long"] = pc.fill_null(pc.greater(draft.columns["talk_s"], 60), False)


SIP = RecordKind(
    name="sip",
    version=3,
    key="call_id",
    columns=(
        Column(
            name="call_id",
            type=kind.TEXT,
            field="callId",
            nullable=False,
            personal=Personal.OURS,
            meaning="the id",
        ),
        kind.ACCOUNT,
        Column(
            name="ended",
            type=kind.TIME,
            field="endTime",
            reads=Reads.TIME,
            meaning="endTime",
        ),
        Column(
            name="began",
            type=kind.TIME,
            field="beginTime",
            reads=Reads.TIME,
            encoding=Encoding.DELTA,
            meaning="beginTime",
        ),
        Column(
            name="trunk_number",
            type=kind.TEXT,
            field="trunkNumber",
            reads=Reads.TEXT,
            encoding=Encoding.DICTIONARY,
            personal=Personal.NUMBER,
            meaning="trunkNumber",
        ),
        Column(name="remark", type=kind.TEXT, field="remark", reads=Reads.TEXT, meaning="remark"),
        Column(name="talk_s", type=kind.SECONDS, field="talk", reads=Reads.SECONDS, meaning="talk"),
        Column(
            name="billed_s", type=kind.SECONDS, field="bill", reads=Reads.SECONDS, meaning="bill"
        ),
        Column(name="is_long", type=pa.bool_(), meaning="talk_s is above 60"),
        Column(name="fee", type=kind.MONEY, field="fee", reads=Reads.MONEY, meaning="fee"),
        Column(name="unit", type=kind.TEXT, field="feeUnit", reads=Reads.TEXT, meaning="feeUnit"),
        kind.IS_FINAL,
        kind.EXTRA,
        kind.UNPARSED,
        kind.FETCHED_AT,
        kind.RUN_ID,
    ),
    partition=Partition(column="began", folder="began_date"),
    usage=UsageColumns(
        call_duration="talk_s",
        charged_duration="billed_s",
        cost="fee",
        currency="unit",
        default_currency="CNY",
    ),
    derive=_derive,
)

WHOLE: dict[str, object] = {
    "callId": "c-2",
    "beginTime": "2026-09-01T00:00:01+08:00",
    "endTime": "2026-09-01T00:01:31+08:00",
    "trunkNumber": "+49 151 1234567",
    "remark": "call back 49151 7654321",
    "talk": 90,
    "bill": "120",
    "fee": "0.12345678",
    "feeUnit": "EUR",
}
NEXT_DAY: dict[str, object] = {
    "callId": "c-1",
    "beginTime": "2026-09-02T10:00:00+08:00",
    "talk": 5,
    "bill": 60,
    "fee": 0.5,
    "trunkNumber": 4915117654321,
}
ODD: dict[str, object] = {
    "callId": "c-3",
    "beginTime": "yesterday",
    "fee": "much",
    "talk": -1,
    "trunkNumber": {"of": "4915117654321"},
    "cost": "9999999",  # money of the other kind, and nothing that this one knows
    "feeUnit": True,
}


def answers(*records: Mapping[str, object]) -> list[Answer]:
    return [
        Answer(str(one["callId"]), _body(one), NOW_MS + at, RUN, is_final=True)
        for at, one in enumerate(records)
    ]


def _body(record: Mapping[str, object]) -> bytes:
    return json.dumps({"status": "0", "data": record}).encode()


def normalized(*records: Mapping[str, object], by_value: bool = False) -> Normalized:
    return normalize(answers(*records), "acme", SIP, by_value=by_value)


def staged(folder: Path, *records: Mapping[str, object]) -> list[StagedPart]:
    folder.mkdir()
    found, packer = normalized(*records), Packer(ZONE, SIP)
    pieces = [*packer.add(found.table, found.presumed), *packer.rest()]
    return stage(pieces, SIP, staging=folder, state_id="0a1b2c3d", publication=7, mode=0o640)


@pytest.mark.parametrize("by_value", [False, True])
def test_its_answers_become_rows(by_value: bool) -> None:
    found = normalized(WHOLE, NEXT_DAY, ODD, by_value=by_value)
    assert found.table.schema.equals(SIP.schema)
    whole, _, odd = found.table.to_pylist()
    assert (whole["call_id"], whole["account"], whole["run_id"]) == ("c-2", "acme", RUN)
    assert whole["began"].isoformat() == "2026-08-31T16:00:01+00:00"
    assert (whole["talk_s"], whole["billed_s"], whole["is_long"]) == (90, 120, True)
    assert (whole["fee"], whole["unit"]) == (Decimal("0.12345678"), "EUR")
    assert (whole["extra"], whole["unparsed"]) == (None, None)
    assert json.loads(odd["extra"]) == {"cost": "9999999"}
    # In the order of the kind: text, times, seconds, money.
    assert list(json.loads(odd["unparsed"])) == [
        "trunkNumber", "feeUnit", "beginTime", "talk", "fee",
    ]  # fmt: skip
    assert found.table["unit"].to_pylist() == ["EUR", "CNY", None]
    assert found.presumed.to_pylist() == [False, True, False]
    assert found.extra == {"cost": 1}
    assert found.without_cost == 0, "no column of it says that a call was answered"


def test_a_time_is_held_against_the_partitions_wherever_that_stands_in_the_table() -> None:
    early = {**WHOLE, "endTime": "2026-08-01T00:00:00+08:00"}
    (row,) = normalized(early).table.to_pylist()
    assert row["ended"] is None
    assert json.loads(row["unparsed"]) == {"endTime": "2026-08-01T00:00:00+08:00"}


def test_its_control_totals_are_of_its_own_columns() -> None:
    bodies = [_body(one) for one in (WHOLE, NEXT_DAY)]
    total = usage_of(bodies, SIP)
    assert (total.call_duration_s, total.charged_duration_s) == (95, 180)
    assert total.cost == {"EUR": 12_345_678, "CNY": 50_000_000}
    assert answer_totals(_body(ODD), SIP) == Usage(0, 0, None, None)
    assert answer_totals(_body(ODD), GROUP_RECORD).cost == 9_999_999
    assert files.totals_of(normalized(WHOLE, NEXT_DAY).table, RUN, SIP).cost == total.cost


def test_its_parts_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    parts = staged(tmp_path / "staging", WHOLE, NEXT_DAY, ODD)
    paths = [f"began_date={day}/part-0a1b2c3d-7-" for day in ("2026-09-01", "2026-09-02", NO_DATE)]
    assert [part.path for part in parts] == [f"{at}{k}.parquet" for k, at in enumerate(paths)]
    cdr = tmp_path / "cdr"
    for part in parts:
        (cdr / part.path).parent.mkdir(parents=True)
        part.staged.rename(cdr / part.path)
    listing = files.list_parts(cdr, SIP)
    assert (sorted(listing.parts), listing.foreign) == (sorted(part.path for part in parts), [])
    finals = [cdr / part.path for part in parts]
    assert [files.verify_part(final, SIP) for final in finals] == [1, 1, 1]
    for part, final in zip(parts, finals, strict=True):
        assert inspect(final, part.path, ZONE, SIP).faults == ()
    total = files.totals(finals, RUN, SIP)
    assert (total.rows, total.call_duration_s, total.charged_duration_s) == (3, 95, 180)
    assert total.cost == {"EUR": 12_345_678, "CNY": 50_000_000}
    rows = {row["call_id"]: row for one in finals for row in pq.read_table(one).to_pylist()}
    told = normalized(WHOLE, NEXT_DAY, ODD).table.to_pylist()
    assert {name: {**row, "began_date": None} for name, row in rows.items()} == {
        row["call_id"]: {**row, "began_date": None} for row in told
    }
    assert zone_of_folders(cdr, list(listing.parts), Config(), SIP, is_kept=False) == ZONE


def test_its_rows_are_sorted_by_its_key_and_encoded_as_it_says(tmp_path: Path) -> None:
    second = {**NEXT_DAY, "beginTime": WHOLE["beginTime"]}
    (part,) = staged(tmp_path / "staging", WHOLE, second)
    assert pq.read_table(part.staged)["call_id"].to_pylist() == ["c-1", "c-2"]
    group = pq.read_metadata(part.staged).row_group(0)
    encodings = {group.column(at).path_in_schema: group.column(at).encodings for at in range(16)}
    assert "DELTA_BINARY_PACKED" in encodings["began"]
    assert "DELTA_BINARY_PACKED" not in encodings["ended"]
    assert "RLE_DICTIONARY" in encodings["trunk_number"]
    assert "RLE_DICTIONARY" not in encodings["remark"]


def test_a_part_of_one_kind_is_none_of_the_other(tmp_path: Path) -> None:
    (part,) = staged(tmp_path / "staging", WHOLE)
    with pytest.raises(StoreError, match="another version"):
        files.verify_part(part.staged, GROUP_RECORD)
    (tmp_path / "cdr" / part.path).parent.mkdir(parents=True)
    part.staged.rename(tmp_path / "cdr" / part.path)
    assert files.list_parts(tmp_path / "cdr", GROUP_RECORD).foreign == [part.path]


def test_its_numbers_are_masked_and_its_money_is_not() -> None:
    masks = Masks("k" * 32, SIP)
    number, other = masks.number("491511234567"), masks.number("491517654321")
    (batch,) = masks_of(masks, WHOLE)
    (whole,) = batch.to_pylist()
    assert (whole["call_id"], whole["trunk_number"]) == ("c-2", number)
    assert whole["remark"] == f"call back {other}"
    assert whole["fee"] == Decimal("0.12345678")
    (batch,) = masks_of(masks, ODD)
    assert "4915117654321" not in batch.to_pylist()[0]["unparsed"]
    # To the first kind the field is a stranger: it is masked as text.
    text = '{"trunkNumber":"12-34"}'
    assert masks.json(text) == json.dumps(
        {"trunkNumber": masks.number("1234")}, separators=(",", ":")
    )
    assert Masks("k" * 32, GROUP_RECORD).json(text) == text
    assert masks.json('{"fee":"123456.1234567"}') == '{"fee":"123456.1234567"}'
    assert masks.json('{"cost":"123456.1234567"}') != '{"cost":"123456.1234567"}'


def test_what_is_kept_of_an_id_is_masked_by_the_name_that_the_state_gives_it() -> None:
    rows = pa.RecordBatch.from_pylist([{"voice_id": "491511234567", "detail": "491511234567"}])
    assert Masks("k" * 32, SIP).batch(rows).to_pylist() == rows.to_pylist()


def masks_of(masks: Masks, record: Mapping[str, object]) -> list[pa.RecordBatch]:
    return [masks.batch(batch) for batch in normalized(record).table.to_batches()]
