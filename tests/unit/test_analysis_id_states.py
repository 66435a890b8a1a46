"""In which places an id may stand at once, and how contradictions are told."""

from __future__ import annotations

import itertools

import pytest

from harvester.analysis.verify.id_states import (
    MOST_PLACES,
    Place,
    allowed,
    contradiction,
    places_of,
)

P = Place
SETTLED = [
    [P.DATA],
    [P.JOURNAL],
    [P.OPEN],
    [P.DEAD],
    [P.DATA, P.DEAD_PUBLISHED],
    [P.JOURNAL, P.DEAD_PUBLISHED],
]
PENDING: list[list[Place]] = [[], [P.DEFERRED], [P.RETRYING]]


def standing(*places: Place) -> int:
    return sum(place.weight for place in places)


@pytest.mark.parametrize("places", SETTLED)
def test_a_settled_id_may_be_settled_on_the_list_but_not_pending(places: list[Place]) -> None:
    good = allowed(with_list=True, rebuilt=False)
    assert standing(*places) in good
    assert standing(*places, P.LIST_RESOLVED) in good
    assert standing(*places, P.LIST_PENDING) not in good


@pytest.mark.parametrize("places", PENDING)
def test_an_id_without_outcome_may_be_pending_on_the_list_but_not_settled(
    places: list[Place],
) -> None:
    good = allowed(with_list=True, rebuilt=False)
    assert standing(*places, P.LIST_PENDING) in good
    assert standing(*places, P.LIST_RESOLVED) not in good


def test_an_id_to_be_asked_again_must_be_on_the_list_unless_the_list_was_lost() -> None:
    deferred = standing(P.DEFERRED)
    assert deferred not in allowed(with_list=True, rebuilt=False)
    assert deferred in allowed(with_list=True, rebuilt=True)
    assert deferred in allowed(with_list=False, rebuilt=False)


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations([P.DATA, P.JOURNAL, P.OPEN, P.DEAD], 2))
)
def test_no_id_may_be_in_two_states(one: Place, other: Place) -> None:
    for with_list in (True, False):
        assert standing(one, other) not in allowed(with_list=with_list, rebuilt=True)


def test_no_allowed_standing_counts_a_place_twice_or_more_places_than_told() -> None:
    for rebuilt in (True, False):
        for one in allowed(with_list=True, rebuilt=rebuilt):
            counts = places_of(one)
            assert set(counts.values()) <= {1}
            assert sum(counts.values()) <= MOST_PLACES


@pytest.mark.parametrize(
    ("places", "kind", "words"),
    [
        ([P.DATA, P.DATA], "twice", "in the data 2 times"),
        ([P.DATA, P.JOURNAL], "twice", "in the data and in the journal"),
        ([P.OPEN, P.DATA], "two_states", "in the data and an open call"),
        ([P.OPEN, P.DEAD], "two_states", "an open call and a dead letter"),
        ([P.DATA, P.DEFERRED], "two_states", "deferred"),
        ([P.DATA, P.RETRYING, P.LIST_PENDING], "two_states", "to be retried"),
        ([P.DEAD_PUBLISHED], "not_in_data", "neither in the data nor in the journal"),
        ([P.LIST_RESOLVED], "resolved_nowhere", "no outcome anywhere"),
        ([P.DATA, P.LIST_PENDING], "fetched_again", "has an outcome"),
        ([P.DEFERRED], "forgotten", "not on the list"),
        ([P.LIST_PENDING, P.LIST_PENDING], "two_states", "exclude each other"),
    ],
)
def test_a_contradiction_has_a_kind_and_is_told_in_words(
    places: list[Place], kind: str, words: str
) -> None:
    found, told = contradiction(standing(*places))
    assert found == kind
    assert words in told
