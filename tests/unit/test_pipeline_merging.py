"""Parts that become one: what they come to, and what the new one's footer says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from harvester.answers.answer import Answer
from harvester.dataset.footer import FOOTER_SCHEMA_VERSION
from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.dataset.kind import RecordKind
from harvester.dataset.normalize import normalize
from harvester.dataset.sort_buffer import Held
from harvester.dataset.usage import UsageTotals
from harvester.errors import StoreError
from harvester.pipeline.publish.merging import (
    Contents,
    Edited,
    Gathered,
    Source,
    Unchanged,
    contents_of,
    gather,
    read_contents,
    whole_part,
)

DAY = "2026-11-01"
FETCHED_MS = 1_800_000_000_000
SAME = Unchanged(GROUP_RECORD)
CENT = 10**6
"""In units of 10^-8."""


def rows(*ids: str, run: str = "run", day: str = DAY, currency: str | None = "USD") -> pa.Table:
    """Calls of a minute that cost a cent each; without a currency it is presumed."""
    said: dict[str, Any] = {"submitTime": f"{day}T10:00:00Z", "cost": "0.01", "callDuration": 60}
    said |= {"chargedDuration": 61} | ({} if currency is None else {"currency": currency})
    body = json.dumps({"data": said}).encode()
    answers = [Answer(one, body, FETCHED_MS, run, is_final=True) for one in ids]
    return normalize(answers, "acme", GROUP_RECORD).table


def part(
    path: Path,
    publication: int,
    *tables: pa.Table,
    kind: RecordKind = GROUP_RECORD,
    **footer: object,
) -> Source:
    """A part with a row group for each table."""
    with pq.ParquetWriter(path, kind.schema) as writer:
        for table in tables:
            writer.write_table(table)
        told = {f"cdr.{name}": str(value) for name, value in footer.items()}
        version = str(kind.version)
        writer.add_key_value_metadata({FOOTER_SCHEMA_VERSION: version, **told})
    return Source(path, hashlib.sha256(path.read_bytes()).hexdigest(), publication)


def gathered(
    *sources: Source, edit: Any = SAME, after: Callable[[], None] = lambda: None
) -> Gathered:
    return gather(sources, edit, after, date=DAY, timezone="UTC")


def ids_in(held: Held) -> list[str]:
    return [one for group in held.row_groups(100) for one in group["voice_id"].to_pylist()]


class Dropping:
    """An edit that takes some calls out; it notes what it was told."""

    reads: RecordKind = GROUP_RECORD
    writes: RecordKind = GROUP_RECORD

    def __init__(self, *ids: str) -> None:
        self._ids = pa.array(ids)
        self.began: list[tuple[str, int]] = []

    def begin(self, footer: Mapping[bytes, bytes], rows: int) -> None:
        self.began.append((footer[b"cdr.presumed_currency"].decode(), rows))

    def edited(self, rows: pa.Table) -> Edited:
        goes = pc.is_in(rows["voice_id"], value_set=self._ids)
        gone = contents_of(rows.filter(goes), GROUP_RECORD)
        return Edited(rows.filter(pc.invert(goes)), gone=gone)

    def complete(self) -> None:
        """Nothing is missing."""


class Renaming(Dropping):
    """An edit that puts other calls there, in the columns of the oldest version."""

    reads = writes = GROUP_RECORD_1

    def edited(self, rows: pa.Table) -> Edited:
        ids = pa.array([one + "'" for one in rows["voice_id"].to_pylist()])
        after = rows.set_column(0, rows.schema.field(0), ids)
        gone, came = (contents_of(one, GROUP_RECORD_1) for one in (rows, after))
        return Edited(after, gone, came)


def test_contents_are_added_and_taken_away() -> None:
    one, other = (contents_of(rows(*ids), GROUP_RECORD) for ids in ("ab", "c"))
    whole = contents_of(rows("a", "b", "c"), GROUP_RECORD)
    assert whole.usage == UsageTotals(3, 180, 183, {"USD": 3 * CENT})
    assert one + other == whole
    assert (whole - other).is_as(one)
    assert (other - whole + one).is_as(Contents())


def test_contents_are_the_same_only_with_the_same_ids_and_sums() -> None:
    whole = contents_of(rows("a", "b"), GROUP_RECORD)
    assert whole.is_as(contents_of(rows("b", "a"), GROUP_RECORD))
    assert not whole.is_as(contents_of(rows("a", "c"), GROUP_RECORD))
    assert not whole.is_as(contents_of(rows("a", "a"), GROUP_RECORD))
    assert not whole.is_as(contents_of(rows("a", "b", currency="EUR"), GROUP_RECORD))
    nothing = Contents(whole.usage + UsageTotals(cost={"EUR": 0}), whole.ids)
    assert whole.is_as(nothing)


def test_sums_of_hashes_stay_within_128_bits() -> None:
    most = Contents(ids=2**128 - 1)
    assert most + Contents(ids=1) == Contents()
    assert (Contents() - Contents(ids=1)).ids == most.ids
    assert 0 <= contents_of(rows(*"abcdefgh"), GROUP_RECORD).ids < 2**128


@pytest.mark.parametrize(
    ("presumed_of", "off_date", "more"),
    [
        (3, 0, {}),
        (2, 0, {"cdr.presumed_currency_of": "2"}),
        (3, 1, {"cdr.off_date_rows": "1"}),
    ],
)
def test_a_footer_says_what_is_known_of_some_rows_alone(
    presumed_of: int, off_date: int, more: dict[str, str]
) -> None:
    found = Gathered(
        Held(GROUP_RECORD),
        runs={"b": 2, "a": 1},
        rows=3,
        presumed_of=presumed_of,
        off_date=off_date,
    )
    assert found.footer(7) == {
        "cdr.publication": "7",
        "cdr.through": "7",
        "cdr.runs": '{"a":1,"b":2}',
        **more,
    }


def test_the_rows_of_all_parts_are_gathered_with_what_their_footers_say(tmp_path: Path) -> None:
    told: list[int] = []
    sources = [
        part(tmp_path / "1", 5, rows("d", run="x"), rows("b", run="y"), presumed_currency=1),
        part(
            tmp_path / "2",
            9,
            rows("a", "c", "e", run="x"),
            rows("f", run="z"),
            presumed_currency=1,
            presumed_currency_of=3,
            runs='{"x":3}',
        ),
        part(tmp_path / "3", 4, rows("g", run="x"), rows("h", run="y", day="2026-11-02")),
    ]
    found = gathered(*sources, after=lambda: told.append(1))
    assert ids_in(found.held) == list("abcdefgh")
    assert found.rows == 8
    assert found.expected == contents_of(rows(*"abcdefgh"), GROUP_RECORD)
    assert found.runs == {"x": 3, "y": 4, "z": 9}
    # Two of two rows, three of four, and none of the last two.
    assert (found.held.presumed, found.presumed_of) == (2, 5)
    assert found.off_date == 1
    assert len(told) == 3
    assert sum((read_contents(one, GROUP_RECORD) for one in sources), Contents()) == found.expected


def test_what_an_edit_takes_out_is_not_expected_any_more(tmp_path: Path) -> None:
    edit = Dropping("b")
    source = part(
        tmp_path / "1", 5, rows("a", "b", run="x"), rows("c", currency=None), presumed_currency=1
    )
    found = gathered(source, edit=edit)
    assert edit.began == [("1", 3)]
    assert ids_in(found.held) == ["a", "c"]
    assert found.expected.is_as(contents_of(rows("a", "c"), GROUP_RECORD))
    assert found.rows == 2
    # By the rows: the footer tells of others.
    assert (found.held.presumed, found.presumed_of) == (1, 2)


def test_what_an_edit_puts_there_is_expected_instead(tmp_path: Path) -> None:
    old = rows("a", "b").select(GROUP_RECORD_1.schema.names).cast(GROUP_RECORD_1.schema)
    source = part(tmp_path / "1", 5, old, presumed_currency=2, kind=GROUP_RECORD_1)
    found = gathered(source, edit=Renaming())
    assert ids_in(found.held) == ["a'", "b'"]
    assert found.expected.is_as(contents_of(rows("a'", "b'"), GROUP_RECORD))
    # Of rows without such a column nothing is known.
    assert (found.held.presumed, found.presumed_of) == (0, 0)


def test_a_part_that_is_not_as_it_was_published_is_not_read(tmp_path: Path) -> None:
    source = part(tmp_path / "1", 5, rows("a"))
    with whole_part(source, GROUP_RECORD) as file:
        assert file.metadata.num_rows == 1
    source.path.write_bytes(source.path.read_bytes() + b" ")
    with pytest.raises(StoreError, match="has changed") as raised:
        read_contents(source, GROUP_RECORD)
    assert raised.value.code == "data.changed"
    source.path.unlink()
    with pytest.raises(StoreError, match="reading"):
        read_contents(source, GROUP_RECORD)
