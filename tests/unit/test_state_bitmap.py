"""Progress bits against plain sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.storage import bitmap


@given(rows=st.integers(1, 300), chosen=st.data())
def test_a_bitmap_is_a_set_of_rows(rows: int, chosen: st.DataObject) -> None:
    some = chosen.draw(st.sets(st.integers(0, rows - 1)))
    bits = bitmap.with_rows(bitmap.empty(rows), some)
    assert bitmap.count(bits) == len(some)
    assert list(bitmap.unset(bits, rows)) == sorted(set(range(rows)) - some)
    assert {row for row in range(rows) if bitmap.is_set(bits, row)} == some


@given(rows=st.integers(1, 300), chosen=st.data())
def test_setting_a_bit_twice_is_refused_and_the_first_bitmap_stays(
    rows: int, chosen: st.DataObject
) -> None:
    some = chosen.draw(st.sets(st.integers(0, rows - 1), min_size=1))
    bits = bitmap.with_rows(bitmap.empty(rows), some)
    twice = chosen.draw(st.sampled_from(sorted(some)))
    with pytest.raises(ValueError, match="resolved already"):
        bitmap.with_rows(bits, [twice])
    assert bitmap.count(bits) == len(some)


def test_one_row_named_twice_in_one_call_is_refused() -> None:
    with pytest.raises(ValueError, match="row 3"):
        bitmap.with_rows(bitmap.empty(8), [3, 3])


@pytest.mark.parametrize(
    ("rows", "settled"), [(None, 4), (0, 0), (1, 1), (8, 2), (9, 3), (11, 3), (12, 4), (99, 4)]
)
def test_bits_are_counted_up_to_a_row(rows: int | None, settled: int) -> None:
    assert bitmap.count(bitmap.with_rows(bitmap.empty(12), [0, 7, 8, 11]), rows) == settled


@pytest.mark.parametrize(("rows", "size"), [(0, 0), (1, 1), (8, 1), (9, 2), (10_000, 1_250)])
def test_eight_rows_take_one_byte(rows: int, size: int) -> None:
    assert bitmap.empty(rows) == bytes(size)
