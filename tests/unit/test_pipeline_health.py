"""Is it this id, or is it everybody?"""

from __future__ import annotations

import pytest

from harvester.pipeline.limits.health import OutageWatch, RefusalWatch


def fed(*answers: tuple[float, int, int]) -> OutageWatch:
    """A watch that was told of (second, good, failed) answers, the good ones first."""
    watch = OutageWatch()
    for now, good, failed in answers:
        for _ in range(good):
            watch.note(now, failed=False)
        for _ in range(failed):
            watch.note(now, failed=True)
    return watch


@pytest.mark.parametrize(
    ("answers", "out"),
    [
        ([(0, 0, 49)], False),
        ([(0, 0, 50)], True),
        ([(0, 25, 25)], False),
        ([(0, 25, 26)], True),
        ([(0, 1000, 63)], False),
        ([(0, 1000, 64)], True),
        ([(0, 100, 0), (59, 0, 60)], False),
        ([(0, 100, 0), (60, 0, 50)], True),
        ([(0, 0, 30), (30, 0, 19)], False),
        ([(0, 0, 30), (30, 0, 20)], True),
        ([(0, 0, 30), (61, 0, 33)], False),
        ([(0, 0, 40), (61, 1, 0), (62, 30, 29)], False),
        ([(0, 1000, 1), (0, 1, 63)], False),
    ],
    ids=[
        "49 failures are too few",
        "50 are enough",
        "half is not over half",
        "over half",
        "63 in a row in a good minute",
        "64 in a row",
        "good answers of 59 s ago count",
        "those of 60 s ago do not",
        "49 in two heaps",
        "50 in two heaps",
        "failures of a minute ago do not count towards the 50",
        "nor do they make half of the others",
        "a row begins anew after a good answer",
    ],
)
def test_an_outage_is_over_half_of_a_minutes_answers_or_64_in_a_row(
    answers: list[tuple[float, int, int]], out: bool
) -> None:
    assert (fed(*answers).since is not None) == out


def test_64_in_a_row_may_take_hours() -> None:
    watch = OutageWatch()
    for hour in range(63):
        watch.note(hour * 3600.0, failed=True)
    assert watch.since is None
    watch.note(63 * 3600.0, failed=True)
    assert watch.since == 63 * 3600.0


def test_one_answer_ends_an_outage_and_its_failures_are_forgotten() -> None:
    watch = fed((0, 0, 60))
    watch.note(5, failed=False)
    assert watch.since is None
    for _ in range(48):
        watch.note(6, failed=True)
    assert watch.since is None
    watch.note(6, failed=True)  # 49 of 50
    assert watch.since == 6


def test_an_outage_began_when_it_was_seen_first() -> None:
    watch = fed((0, 0, 60))
    watch.note(30, failed=True)
    assert watch.since == 0


def test_three_ids_that_are_refused_alike_are_a_suspicion() -> None:
    watch = RefusalWatch()
    assert [watch.refused(i, "-1") for i in ("a", "b", "a", "b", "c")] == [False] * 4 + [True]


def test_refusals_of_different_kinds_do_not_agree() -> None:
    watch = RefusalWatch()
    assert not any(watch.refused(i, what) for i, what in [("a", "-1"), ("b", "-2"), ("c", "-13")])


def test_a_success_between_ends_a_suspicion() -> None:
    watch = RefusalWatch()
    assert not watch.refused("a", "-1")
    assert not watch.refused("b", "-1")
    watch.succeeded()
    assert not watch.refused("c", "-1")


@pytest.mark.parametrize(
    ("left", "agree"),
    [({"a"}, True), ({"a", "b"}, False), (None, False)],
    ids=["it is the last one", "another is under way", "more wait"],
)
def test_where_nothing_was_ever_delivered_a_lone_refusal_counts_if_no_other_id_is_left(
    left: set[str] | None, agree: bool
) -> None:
    watch = RefusalWatch()
    watch.refused("a", "http_403")
    assert watch.all_refused(left, "http_403") == agree
    assert not watch.all_refused(left, "http_404")


def test_the_last_two_must_agree() -> None:
    watch = RefusalWatch()
    watch.refused("a", "-1")
    assert not watch.all_refused({"a", "b"}, "-1")
    watch.refused("b", "-1")
    assert watch.all_refused({"a", "b"}, "-1")


@pytest.mark.parametrize(("count", "agree"), [(1, False), (3, False), (4, True)])
@pytest.mark.parametrize("how", ["an earlier run", "this run"])
def test_where_records_were_delivered_more_than_three_of_the_last_must_agree(
    how: str, count: int, agree: bool
) -> None:
    watch = RefusalWatch(is_proven=how == "an earlier run")
    if how == "this run":
        watch.delivered()
    left = {str(n) for n in range(count)}
    for voice_id in left:
        watch.refused(voice_id, "-1")
    assert watch.all_refused(left, "-1") == agree


def test_an_id_that_was_passed_over_is_no_sign() -> None:
    watch = RefusalWatch(is_proven=True)
    watch.pass_over("known")
    for voice_id in "abcd":
        watch.refused(voice_id, "-1")
    assert watch.all_refused({*"abcd", "known"}, "-1")
    assert not watch.all_refused({*"abcde", "known"}, "-1")
    nobody = RefusalWatch()
    nobody.pass_over("known")
    assert not nobody.all_refused({"known"}, "-1")


def test_however_many_were_passed_over_they_raise_no_suspicion() -> None:
    watch = RefusalWatch()
    for number in range(30):
        watch.pass_over(str(number))
        assert not watch.refused(str(number), "-1")
        assert not watch.unknown(str(number), "99")
    # Nor do they count among others.
    assert not watch.refused("a", "-1")
    assert not watch.refused("b", "-1")
    assert watch.refused("c", "-1")


@pytest.mark.parametrize("is_proven", [True, False])
def test_who_was_refused_before_a_success_is_passed_over_only_where_records_came(
    is_proven: bool,
) -> None:
    """Without one nobody knows whether we are let in at all: a no to an id shows too little."""
    watch = RefusalWatch(is_proven=is_proven)
    watch.refused("a", "-1")
    watch.succeeded()
    for voice_id in "bc":
        watch.refused(voice_id, "-1")
    assert watch.refused("a", "-1") == (not is_proven)


def test_all_that_are_left_may_have_met_an_unknown_status() -> None:
    watch = RefusalWatch()
    watch.unknown("a", "77")
    assert watch.all_unknown({"a"})
    assert not watch.all_unknown({"a", "b"})
    assert not watch.all_unknown(None)


def test_20_ids_with_an_unknown_status_and_no_delivery_between_are_a_suspicion() -> None:
    watch = RefusalWatch()
    told = [watch.unknown(str(n % 19), "99") for n in range(100)]
    assert not any(told)
    assert watch.unknown("another", "98")


def test_a_delivery_forgets_unknown_statuses_but_a_mere_success_does_not() -> None:
    watch = RefusalWatch()
    for n in range(19):
        watch.unknown(str(n), "99")
    watch.succeeded()
    assert watch.unknown("x", "99")
    watch.delivered()
    assert not watch.unknown("y", "99")


def test_who_was_refused_or_unknown_before_a_record_is_passed_over_after_it() -> None:
    watch = RefusalWatch()
    watch.refused("a", "-1")
    for n in range(19):
        watch.unknown(str(n), "99")
    watch.delivered()
    assert not any(watch.refused(voice_id, "-1") for voice_id in "abc")
    assert watch.refused("d", "-1")
    assert not any(watch.unknown(str(n), "99") for n in range(38))
    assert watch.unknown("another", "99")


def test_a_record_tells_something_new_at_first_and_after_each_refusal() -> None:
    watch = RefusalWatch()
    assert not watch.is_calm
    watch.delivered()
    assert watch.is_calm
    watch.refused("a", "-1")
    assert not watch.is_calm
    watch.delivered()
    watch.unknown("b", "99")
    assert not watch.is_calm
