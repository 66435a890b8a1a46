"""What is odd in a run's records: what is said every time, what once, and what never."""

from __future__ import annotations

import pytest

from harvester.dataset.group_record import GROUP_RECORD
from harvester.pipeline.publish.oddities import NEEDED, Oddities, Seen, named, oddities


def test_nothing_odd_is_nothing_to_tell() -> None:
    found, seen = oddities(100, {}, {}, 0, Seen())
    assert (found, seen) == (Oddities(), Seen())
    assert not any(getattr(found, field) for field in found.__struct_fields__)


@pytest.mark.parametrize("name", sorted({*GROUP_RECORD.money_fields, "currency", "submitTime"}))
def test_what_billing_needs_is_told_every_time(name: str) -> None:
    first, seen = oddities(100, {name: 3}, {}, 0, Seen())
    again, seen_again = oddities(100, {name: 2}, {}, 0, seen)
    assert first == Oddities(unreadable={name: 3})
    assert again == Oddities(unreadable={name: 2})
    assert seen_again == seen == Seen()


def test_a_record_that_cant_be_read_at_all_is_told_every_time() -> None:
    assert "data" in NEEDED


def test_answered_calls_without_a_cost_are_told_every_time() -> None:
    found, seen = oddities(100, {}, {}, 4, Seen())
    assert found == Oddities(answered_without_cost=4)
    assert seen == Seen()


def test_a_field_that_changed_its_form_is_told_once() -> None:
    first, seen = oddities(100, {"callDuration": 5}, {}, 0, Seen())
    again, _ = oddities(100, {"callDuration": 5, "ringingTime": 1}, {}, 0, seen)
    assert first == Oddities(changed_fields={"callDuration": 5})
    assert again == Oddities(changed_fields={"ringingTime": 1})


def test_a_field_that_is_new_is_told_once() -> None:
    first, seen = oddities(100, {}, {"carrier": 9}, 0, Seen())
    again, last = oddities(100, {}, {"carrier": 9, "route": 1}, 0, seen)
    assert first == Oddities(new_fields={"carrier": 9})
    assert again == Oddities(new_fields={"route": 1})
    assert last == Seen(extra=("carrier", "route"))


def test_what_is_seen_in_one_way_is_still_news_in_the_other() -> None:
    _, seen = oddities(100, {}, {"callTime": 1}, 0, Seen())
    found, _ = oddities(100, {"callTime": 1}, {}, 0, seen)
    assert found.changed_fields == {"callTime": 1}


@pytest.mark.parametrize("name", ["8613800138", "x1234567", "a b", "", "n" * 41, "7up"])
def test_what_is_no_name_is_told_as_odd(name: str) -> None:
    assert named({name: 2, "fine": 1}) == {"odd": 2, "fine": 1}
    found, seen = oddities(100, {name: 1}, {name: 1}, 0, Seen())
    assert found.changed_fields == found.new_fields == {"odd": 1}
    assert (list(seen.unparsed), seen.extra) == (["odd"], ("odd",))


def test_a_vendor_that_invents_names_fills_no_memory() -> None:
    seen = Seen()
    for run in range(30):
        _, seen = oddities(100, {}, {f"f{run}_{n}": 1 for n in range(200)}, 0, seen)
    assert len(seen.extra) == 1_000


@pytest.mark.parametrize(
    ("first", "later", "is_told"),
    [
        (1, 1, False),
        (1, 11, False),
        (1, 12, True),
        (30, 60, False),
        (30, 61, True),
        (60, 100, False),
    ],
)
def test_a_field_that_fails_far_more_often_than_before_is_told_again(
    first: int, later: int, is_told: bool
) -> None:
    _, seen = oddities(100, {"callDuration": first}, {}, 0, Seen())
    found, after = oddities(100, {"callDuration": later}, {}, 0, seen)
    assert bool(found.changed_fields) is is_told
    assert oddities(100, {"callDuration": later}, {}, 0, after)[0] == Oddities()


def test_the_hundred_most_frequent_names_are_told_and_equal_ones_by_name() -> None:
    told = named({"rare": 1, "zulu": 7, "alpha": 7, "usual": 90})
    assert list(told) == ["usual", "alpha", "zulu", "rare"]
    assert len(named({f"name_{'abcdefghij'[n % 10]}_{n // 10}": 1 for n in range(150)})) == 100


@pytest.mark.parametrize(("records", "share"), [(4, 0.25), (1, 1.0), (0, 1.0)])
def test_how_often_a_field_failed_is_remembered_as_a_share(records: int, share: float) -> None:
    _, seen = oddities(records, {"callDuration": 1}, {}, 0, Seen())
    assert seen.unparsed == {"callDuration": share}
