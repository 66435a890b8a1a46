"""What the footers of parts say in all; one that says less is counted as that."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.dataset.stated import presumed_in, read_stated
from harvester.errors import StoreError
from harvester.identity import Identity

SAID, OF = "cdr.presumed_currency", "cdr.presumed_currency_of"


def part(folder: Path, name: str, rows: int, **footer: str) -> str:
    """A part of so many rows; `footer`: its keys, without what they begin with."""
    table = pa.table({"voice_id": [str(number) for number in range(rows)]})
    with pq.ParquetWriter(folder / name, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({f"cdr.{key}": value for key, value in footer.items()})
    return name


@pytest.mark.parametrize(
    ("footer", "found"),
    [
        ({}, (0, 0)),
        ({SAID: "3"}, (3, 9)),
        ({SAID: "0"}, (0, 9)),
        ({SAID: "3", OF: "4"}, (3, 4)),
        # Of no row is it known: also where other rows are.
        ({OF: "4"}, (0, 0)),
    ],
)
def test_how_many_currencies_were_presumed_is_said_of_all_rows_or_of_some(
    footer: dict[str, str], found: tuple[int, int]
) -> None:
    assert presumed_in({k.encode(): v.encode() for k, v in footer.items()}, 9) == found


def test_a_part_that_does_not_say_it_of_all_its_rows_is_silent(tmp_path: Path) -> None:
    names = [
        part(tmp_path, "whole", 5, presumed_currency="2"),
        part(tmp_path, "some", 7, presumed_currency="1", presumed_currency_of="6"),
        part(tmp_path, "of none", 4, presumed_currency="0", presumed_currency_of="0"),
        part(tmp_path, "older", 3),
    ]
    for taken, expected in ((names[:1], (5, 2, 0)), (names[:2], (11, 3, 1)), (names, (11, 3, 3))):
        found = read_stated(tmp_path, taken)
        assert (found.rows, found.presumed, found.silent) == expected, taken


def test_whose_they_are_is_what_they_agree_on_and_an_older_one_says_less(tmp_path: Path) -> None:
    older = part(tmp_path, "older", 1)
    first = part(tmp_path, "first", 1, account="acme", base_urls='["https://a"]')
    moved = part(
        tmp_path,
        "moved",
        1,
        account="acme",
        partition_timezone="UTC",
        base_urls='["https://a","https://b"]',
    )
    assert read_stated(tmp_path, [older]).identity == Identity()
    assert read_stated(tmp_path, [older, first, moved]).identity == Identity(
        account="acme", timezone="UTC", addresses=("https://a", "https://b")
    )


@pytest.mark.parametrize("footer", [{"presumed_currency": "many"}, {"base_urls": "none"}])
def test_a_footer_that_nobody_of_ours_wrote_is_named(
    tmp_path: Path, footer: dict[str, str]
) -> None:
    name = part(tmp_path, "strange", 1, **footer)
    with pytest.raises(StoreError, match="strange can't be read") as told:
        read_stated(tmp_path, [name])
    assert told.value.code == "data.unreadable"
