"""When the journal has to be published: by its size, or by the age of its oldest record."""

from __future__ import annotations

import math

import pytest

from harvester.config import Output
from harvester.pipeline.engine.backlog import Waiting

OUTPUT = Output(publish_records=1_000, publish_bytes=10_000, publish_after_s=60)


def waiting(records: int = 0, size: int = 0) -> Waiting:
    return Waiting(OUTPUT, (records, size))


@pytest.mark.parametrize(
    ("records", "size", "due", "full"),
    [
        (999, 9_999, False, False),
        (1_000, 0, True, False),
        (1, 10_000, True, False),
        (1_999, 19_999, True, False),
        (2_000, 0, True, True),
        (1, 20_000, True, True),
    ],
)
def test_it_is_due_when_it_is_large_and_full_at_twice_that(
    records: int, size: int, due: bool, full: bool
) -> None:
    found = waiting()
    found.add(records, size, 100.0)
    assert (found.is_due(100.0), found.is_full) == (due, full)


def test_it_is_due_when_its_oldest_record_is_old_whatever_came_later() -> None:
    found = waiting()
    found.add(1, 1, 100.0)
    found.add(1, 1, 159.0)
    assert not found.is_due(159.9)
    assert found.is_due(160.0)
    assert found.until_old(130.0) == 30.0


def test_an_empty_journal_is_never_due_and_does_not_age() -> None:
    found = waiting()
    assert not found.is_due(1e9)
    assert found.until_old(1e9) == 60
    found.add(1, 1, 1e9)
    assert not found.is_due(1e9 + 59)


def test_what_an_earlier_run_left_is_old_from_the_start() -> None:
    assert waiting(1, 10).is_due(0.0)
    assert waiting(1, 10).is_due(-1e9)
    assert waiting(1, 10).look_again_in(0.0) == 1.0


def test_what_came_while_all_was_published_is_no_older_than_that() -> None:
    found = waiting()
    found.add(1_000, 100, 100.0)
    found.add(5, 5, 150.0)  # while it was being published, from 149 on
    found.take(1_000, 100, all_before=149.0)
    assert not found.is_due(208.9), "no small part follows a large one"
    assert found.is_due(209.0)


def test_what_a_publication_had_no_room_for_keeps_its_age() -> None:
    found = waiting()
    found.add(1_500, 100, 100.0)
    found.take(1_000, 50, all_before=None)
    assert found.is_due(160.0)


def test_what_was_published_takes_its_bytes_with_it() -> None:
    found = waiting()
    found.add(10, 19_000, 100.0)
    assert found.is_due(100.0)
    found.take(9, 18_000, all_before=None)
    assert not found.is_due(100.0)


def test_its_age_is_looked_at_when_it_is_old_but_not_all_the_time() -> None:
    found = waiting()
    found.add(1, 1, 100.0)
    assert found.look_again_in(130.0) == 30.0
    assert found.look_again_in(159.9) == 1.0


def test_after_everything_was_taken_a_new_record_begins_anew() -> None:
    found = waiting(3, 30)
    found.take(3, 30, all_before=10.0)
    assert not found.is_due(math.inf)
    found.add(1, 1, 500.0)
    assert not found.is_due(559.0)
    assert found.is_due(560.0)
