"""Places that hold numbers, as lines."""

from __future__ import annotations

import pytest

from harvester.cli.ui.held_places import place_lines
from harvester.operations.number_places import Place


def ids(count: int) -> tuple[str, ...]:
    return tuple(f"id-{n:02}" for n in range(count))


@pytest.mark.parametrize(("count", "shown", "more"), [(1, 1, 0), (20, 20, 0), (21, 20, 1)])
def test_twenty_ids_are_shown_and_the_others_are_counted(count: int, shown: int, more: int) -> None:
    place = Place(place="rows", files=("a.parquet",), rows=count, ids=ids(count))
    head, *lines = [line.text for line in place_lines([place], ids=True)]
    assert head.split() == ["rows:", str(count), "rows", "in", "1", "files"]
    told = [f"    {one}" for one in ids(shown)]
    assert lines == told + [f"    {more} more (--json names them)"] * (more > 0)


def test_without_being_asked_no_id_is_shown() -> None:
    place = Place(place="rows", files=("a", "b"), rows=1_234, ids=ids(3))
    (line,) = place_lines([place])
    assert line.text.split(maxsplit=1) == ["rows:", "1,234 rows in 2 files"]


def test_files_that_nobody_looked_into_are_named() -> None:
    place = Place(place="archive", files=("a", "b\x1b"), rows=0, ids=())
    (line,) = place_lines([place], ids=True)
    assert line.text.split(maxsplit=1)[1] == "2 files, not looked into: a, b\\x1b"
