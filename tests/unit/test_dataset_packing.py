"""Rows on their way into parts: by date, in pieces that are full, none lost and none twice."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pyarrow as pa

from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.packing import NO_DATE, PIECE_ROWS, Packer, Piece, submit_dates
from tests.support.datasets import filled

FIRST, SECOND = "2026-11-01", "2026-11-02"


def calls(*counts: tuple[str | None, int]) -> pa.Table:
    """So many calls of each day; None: without a time."""
    one_of_each = filled(
        [
            {"submit_time": day and datetime.fromisoformat(f"{day}T12:00:00+00:00")}
            for day, _ in counts
        ]
    )
    at = [row for row, (_, count) in enumerate(counts) for _ in range(count)]
    return one_of_each.take(pa.array(at, pa.int64()))


def presumed(rows: pa.Table, count: int) -> pa.BooleanArray:
    """Of the first so many rows it was."""
    return pa.array([at < count for at in range(rows.num_rows)])


def rows_in(piece: Piece) -> int:
    return int(pa.ipc.open_file(piece.rows).read_all().num_rows)


def test_a_piece_is_given_as_soon_as_it_is_full_and_the_others_at_the_end() -> None:
    packer = Packer("UTC", GROUP_RECORD)
    assert list(packer.add(calls((FIRST, PIECE_ROWS - 1), (SECOND, 2)))) == []
    (full,) = packer.add(calls((FIRST, 1)))
    assert (full.date, rows_in(full)) == (FIRST, PIECE_ROWS)
    assert list(packer.add(calls((FIRST, 1), (None, 3)))) == []
    rest = {piece.date: rows_in(piece) for piece in packer.rest()}
    assert rest == {FIRST: 1, SECOND: 2, NO_DATE: 3}
    assert list(packer.rest()) == []


def test_each_presumed_currency_is_counted_in_the_piece_that_has_its_row() -> None:
    packer, pieces = Packer("UTC", GROUP_RECORD), list[Piece]()
    for count, of_them in ((PIECE_ROWS, 7), (PIECE_ROWS, 0), (PIECE_ROWS + 5, 11), (3, 2)):
        rows = calls((FIRST, count), (SECOND, 4))
        pieces += packer.add(rows, presumed(rows, of_them))
    pieces += packer.rest()
    assert [one.presumed for one in pieces if one.date == FIRST] == [7, 0, 11, 2]
    assert [one.presumed for one in pieces if one.date == SECOND] == [0]


def test_where_nobody_knows_none_is_counted() -> None:
    packer = Packer("UTC", GROUP_RECORD)
    assert list(packer.add(calls((FIRST, 2)))) == []
    (piece,) = packer.rest()
    assert piece.presumed == 0


def test_a_date_is_that_of_the_zone_to_the_last_millisecond() -> None:
    """Offsets of before 1973 were of seconds, too."""
    instants = [
        datetime(2026, 11, 1, 15, 59, 59, 999_000, tzinfo=UTC),
        datetime(2026, 11, 1, 16, tzinfo=UTC),
        datetime(1971, 12, 31, 23, 59, 59, tzinfo=UTC),
        None,
    ]
    rows = filled([{"submit_time": one} for one in instants])
    dates = submit_dates(rows, "Asia/Shanghai", GROUP_RECORD.partition).to_pylist()
    assert dates == ["2026-11-01", "2026-11-02", "1972-01-01", NO_DATE]
    # Until January 1972 Monrovia was 44 minutes and 30 seconds behind.
    early = filled(
        [{"submit_time": datetime(1971, 12, 31, 0, 44, second, tzinfo=UTC)} for second in (29, 30)]
    )
    dates = submit_dates(early, "Africa/Monrovia", GROUP_RECORD.partition).to_pylist()
    assert Counter(dates) == {"1971-12-30": 1, "1971-12-31": 1}
