"""The vendor's clock: signed with only after a -16, verified by a success, moved by evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.client.clock import NOTABLE_SKEW_S, VendorClock

START = 1_800_000_000.25


@dataclass
class World:
    """Our clock, and a vendor whose clock is `ahead_s` before it."""

    ahead_s: float = 0.0
    ours: float = START

    def __post_init__(self) -> None:
        self.clock = VendorClock(lambda: self.ours)

    def answer(self, took_s: float = 0.1, stamped_s: float | None = None) -> None:
        """An answer comes; its Date was written `stamped_s` after the request (default: late)."""
        asked = self.ours
        self.ours += took_s
        stamped = took_s if stamped_s is None else stamped_s
        self.clock.observe(float(int(asked + stamped + self.ahead_s)), took_s)

    def minus_16(self, generation: int | None = None, took_s: float = 0.1) -> None:
        self.answer(took_s)
        self.clock.refused(self.clock.generation if generation is None else generation)

    @property
    def error_s(self) -> float:
        """How far off the vendor's clock we sign."""
        return self.clock.timestamp() - (self.ours + self.ahead_s)


def test_we_sign_with_whole_seconds_of_our_own_clock_at_first() -> None:
    world = World()
    assert world.clock.timestamp() == int(START)


def test_an_estimate_is_not_signed_with_before_a_minus_16() -> None:
    world = World(ahead_s=7200)
    for _ in range(5):
        world.answer()
        world.clock.accepted(world.clock.generation)
    assert world.clock.timestamp() == int(world.ours)
    assert world.clock.generation == 0
    assert world.clock.skew_s == pytest.approx(7200, abs=1.1)


@pytest.mark.parametrize("ahead_s", [-90_000, -7200, -40, 40, 7200, 90_000])
def test_after_a_minus_16_we_sign_with_the_vendors_time(ahead_s: float) -> None:
    world = World(ahead_s)
    world.minus_16()
    assert abs(world.error_s) < 2
    assert world.clock.generation == 1


def test_a_new_estimate_is_unverified_until_an_answer_accepts_it() -> None:
    world = World()
    assert not world.clock.is_verified
    world.clock.accepted(0)
    assert world.clock.is_verified
    world.ahead_s = 7200
    world.minus_16()
    assert not world.clock.is_verified
    world.clock.accepted(1)
    assert world.clock.is_verified


def test_an_answer_to_an_older_signature_verifies_nothing() -> None:
    world = World(ahead_s=7200)
    world.minus_16()
    world.clock.accepted(0)
    assert not world.clock.is_verified


def test_a_minus_16_to_an_older_signature_moves_nothing() -> None:
    world = World(ahead_s=7200)
    for _ in range(64):  # all that were on the wire
        world.minus_16(generation=0)
    assert world.clock.generation == 1


def test_a_late_minus_16_of_an_older_signature_does_not_judge_the_present_one() -> None:
    world = World(ahead_s=7200)
    world.minus_16()
    world.ahead_s = 0
    world.minus_16(generation=0)
    assert world.clock.generation == 1
    assert world.clock.timestamp() == pytest.approx(world.ours + 7200, abs=2)
    world.minus_16(generation=1)
    assert abs(world.error_s) < 2


def test_a_minus_16_with_a_right_clock_leaves_the_estimate_and_its_verification() -> None:
    world = World()
    world.clock.accepted(0)
    for _ in range(3):
        world.minus_16()
    assert world.clock.generation == 0
    assert world.clock.is_verified
    assert abs(world.error_s) <= 1


def test_a_minus_16_without_a_date_signs_with_the_last_estimate() -> None:
    world = World(ahead_s=7200)
    world.answer()
    world.clock.refused(0)
    assert abs(world.error_s) < 2


@pytest.mark.parametrize("took_s", [0.0, 1.0, 15.0, 29.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_slow_answer_does_not_shift_the_estimate(took_s: float, share: float) -> None:
    world = World()
    world.answer(took_s, stamped_s=share * took_s)
    assert world.clock.skew_s == 0
    assert world.clock.worst_skew_s == 0


def test_a_quick_answer_mends_what_a_slow_one_left_wide() -> None:
    world = World(ahead_s=7200)
    world.answer(took_s=20, stamped_s=0)
    world.answer()
    assert world.clock.skew_s == pytest.approx(7200, abs=1.1)


def test_the_vendors_clock_jumping_by_two_hours_costs_one_minus_16() -> None:
    world = World()
    world.answer()
    world.clock.accepted(0)
    world.ahead_s = 7200
    world.minus_16()
    assert abs(world.error_s) < 2
    world.ahead_s = 0
    world.minus_16()
    assert abs(world.error_s) < 2
    assert world.clock.generation == 2


@pytest.mark.parametrize("jump_s", [-7200.0, -86_400.0, 7200.0])
def test_our_own_clock_jumping_costs_one_minus_16(jump_s: float) -> None:
    world = World()
    world.answer()
    world.clock.accepted(0)
    world.ours += jump_s
    world.ahead_s -= jump_s
    world.minus_16()
    assert abs(world.error_s) < 2


def test_our_own_clock_set_right_while_we_sign_with_an_estimate_is_noticed() -> None:
    world = World(ahead_s=7200)
    world.minus_16()
    world.clock.accepted(1)
    world.ours += 7200
    world.ahead_s = 0
    world.minus_16()
    assert abs(world.error_s) < 2
    assert world.clock.generation == 2


def test_the_worst_skew_is_remembered_with_its_sign() -> None:
    world = World(ahead_s=-7200)
    world.answer()
    world.ahead_s = 30
    world.answer()
    assert world.clock.worst_skew_s == pytest.approx(-7200, abs=1.1)
    assert abs(world.clock.worst_skew_s) > NOTABLE_SKEW_S


@given(
    st.floats(-1e6, 1e6),
    st.floats(0, 60),
    st.floats(0, 1),
)
def test_an_estimate_is_never_further_off_than_the_answer_was_slow(
    ahead_s: float, took_s: float, share: float
) -> None:
    world = World(ahead_s)
    world.answer(took_s, stamped_s=share * took_s)
    # A microsecond for floats of 1.8e9, which have no finer grain.
    assert abs(world.clock.skew_s - ahead_s) <= took_s + 1 + 1e-5


DAY = 86_400.0


@dataclass
class Night:
    """A run's clock: ours may be set, the other one only goes on; the vendor's is the true one."""

    ours_ahead_s: float = 0.0
    last_skew_s: float = 0.0
    true: float = START

    def __post_init__(self) -> None:
        self.clock = VendorClock(
            lambda: self.true + self.ours_ahead_s, lambda: self.true - START + 77, self.last_skew_s
        )

    def answer(self, date_off_s: float = 0.0, took_s: float = 0.1) -> None:
        """An answer comes, with a Date that is `date_off_s` off the vendor's time."""
        self.true += took_s
        self.clock.observe(float(int(self.true + date_off_s)), took_s)

    @property
    def error_s(self) -> float:
        return self.clock.now() - self.true


def test_a_run_without_an_answer_has_seen_nothing() -> None:
    for night in (Night(), Night(30 * DAY), Night(last_skew_s=30 * DAY)):
        assert night.clock.seen_skew_s is None
        assert not night.clock.is_learnt
        assert not night.clock.is_doubtful


@pytest.mark.parametrize(
    ("last_s", "ahead_s"), [(30 * DAY, 30 * DAY), (-30 * DAY, 0.0), (0.0, 0.0)]
)
def test_before_an_answer_it_is_the_latest_of_what_it_may_be(last_s: float, ahead_s: float) -> None:
    night = Night(last_skew_s=last_s)
    assert night.error_s == ahead_s
    assert night.clock.now_ms() == int((night.true + ahead_s) * 1000)
    assert night.clock.stated() == night.true + ahead_s


def test_two_clocks_that_agree_are_believed_at_once() -> None:
    night = Night()
    assert night.clock.are_ages_sure
    night.answer()
    assert night.clock.is_learnt
    assert night.clock.are_ages_sure
    assert night.error_s == 0
    assert night.clock.seen_skew_s == 0


@pytest.mark.parametrize("ahead_s", [30 * DAY, -30 * DAY, 3600.0, -3600.0])
def test_a_new_skew_is_believed_once_three_answers_agree_and_ends_nothing(ahead_s: float) -> None:
    night = Night(ahead_s)
    for _ in range(2):
        night.answer()
        assert night.clock.is_doubtful
        assert not night.clock.are_ages_sure
        # The latest of what it may be: too late only fetches or ends an id later.
        assert abs(night.error_s - max(0.0, ahead_s)) < 2
    night.answer()
    assert night.clock.is_learnt
    assert abs(night.error_s) < 2
    assert not night.clock.are_ages_sure
    assert night.clock.seen_skew_s == pytest.approx(-ahead_s, abs=1.1)


def test_the_day_goes_by_a_date_that_was_said_once_where_there_is_nothing_better() -> None:
    night = Night(30 * DAY)
    night.answer()
    assert night.error_s == 30 * DAY
    assert abs(night.clock.stated() - night.true) < 2
    for _ in range(2):
        night.answer()
    night.answer(3600)
    assert abs(night.clock.stated() - night.true) < 2, "what is believed outweighs one doubt"
    assert not night.clock.is_doubtful
    assert night.clock.seen_skew_s == pytest.approx(-30 * DAY, abs=1.1), "for the next run as well"


def test_a_skew_of_the_run_before_is_believed_at_once_and_ages_are_sure() -> None:
    night = Night(30 * DAY, last_skew_s=-30 * DAY)
    assert not night.clock.are_ages_sure, "nothing has confirmed it yet"
    night.answer()
    assert night.clock.is_learnt
    assert night.clock.are_ages_sure
    assert night.error_s == pytest.approx(0, abs=1e-3), "the answer fits it as it is"


def test_our_clock_set_right_again_is_believed_at_once_but_ends_nothing_in_that_run() -> None:
    night = Night(last_skew_s=-30 * DAY)
    night.answer()
    assert night.clock.is_learnt
    assert night.error_s == 0
    assert not night.clock.are_ages_sure
    assert night.clock.seen_skew_s == 0


def test_a_drift_is_followed_and_is_no_step() -> None:
    night = Night(-300, last_skew_s=0)
    night.answer()
    assert night.clock.are_ages_sure
    assert abs(night.error_s) < 2


@pytest.mark.parametrize("off_s", [-30 * DAY, 30 * DAY, 3600.0])
def test_answers_of_a_cache_between_true_ones_move_nothing(off_s: float) -> None:
    night = Night()
    night.answer()
    for _ in range(10):
        night.answer(off_s)
        night.answer(off_s)
        night.answer()
    assert abs(night.error_s) < 2
    assert night.clock.are_ages_sure


@pytest.mark.parametrize("off_s", [-30 * DAY, 30 * DAY])
def test_a_first_answer_out_of_a_cache_is_outvoted_by_the_next(off_s: float) -> None:
    night = Night()
    night.answer(off_s)
    assert not night.clock.are_ages_sure
    night.answer()
    assert abs(night.error_s) < 2
    assert night.clock.are_ages_sure


@pytest.mark.parametrize("step_s", [DAY, -DAY])
def test_dates_that_never_agree_are_never_believed_and_end_nothing(step_s: float) -> None:
    night = Night()
    for n in range(1, 30):
        night.answer(n * step_s)
    assert not night.clock.is_learnt
    assert not night.clock.are_ages_sure


def test_dates_that_creep_away_are_a_step_like_any_other() -> None:
    night = Night()
    for n in range(1000):
        night.answer(n * 60.0)
    assert not night.clock.are_ages_sure


@pytest.mark.parametrize("set_s", [30 * DAY, -30 * DAY, 7200.0])
def test_a_step_of_our_clock_during_a_run_moves_nothing(set_s: float) -> None:
    night = Night()
    night.answer()
    night.ours_ahead_s += set_s
    assert night.error_s == 0
    for _ in range(5):
        night.answer()
    assert night.error_s == 0
    assert night.clock.seen_skew_s == pytest.approx(-set_s, abs=1.1), "the next run starts with it"


def test_a_signature_that_was_accepted_after_a_minus_16_proves_the_estimate() -> None:
    night = Night(30 * DAY)
    night.answer()
    night.clock.refused(0)
    assert not night.clock.is_learnt
    night.clock.accepted(night.clock.generation)
    assert night.clock.is_learnt
    assert abs(night.error_s) < 2
    assert not night.clock.are_ages_sure


@pytest.mark.parametrize("set_s", [7200.0, -7200.0])
def test_our_clock_set_wrong_before_an_answer_moves_no_day_when_a_signature_is_accepted(
    set_s: float,
) -> None:
    night = Night()
    night.ours_ahead_s += set_s
    night.answer()
    night.clock.refused(0)
    night.clock.accepted(1)
    assert abs(night.error_s) < 2


def test_our_clock_set_to_what_the_run_before_saw_is_no_news() -> None:
    night = Night(last_skew_s=-7200.0)
    night.ours_ahead_s += 7200.0
    night.answer()
    assert night.clock.is_learnt
    assert night.clock.are_ages_sure
    assert night.clock.seen_skew_s == pytest.approx(-7200, abs=1.1)


@pytest.mark.parametrize("jump_s", [7200.0, -7200.0])
def test_a_jump_of_the_vendors_clock_is_believed_with_the_first_signature_that_is_accepted(
    jump_s: float,
) -> None:
    world = World()
    world.answer()
    world.ahead_s = jump_s
    world.minus_16()
    assert abs(world.clock.offset_s) < 2
    world.clock.accepted(1)
    assert world.clock.offset_s == pytest.approx(jump_s, abs=1.1)


def test_a_machine_that_slept_during_a_run_learns_the_time_again() -> None:
    night = Night()
    night.answer()
    begun = night.true - START
    # It sleeps for 8 hours: our clock is set by its hardware, the other one stood still.
    night.clock = VendorClock(lambda: night.true, lambda: min(night.true - START, begun))
    night.true += 8 * 3600
    for _ in range(3):
        night.answer()
    assert abs(night.error_s) < 2


def test_doubts_of_one_run_are_believed_by_the_next_if_they_come_again() -> None:
    """A run of one or two answers each night would else never end an id."""
    first = Night(30 * DAY)
    first.answer()
    seen = first.clock.seen_skew_s
    assert seen is not None
    second = Night(30 * DAY, last_skew_s=seen)
    second.answer()
    assert second.clock.are_ages_sure


def test_a_signature_by_our_own_clock_that_was_accepted_proves_nothing_of_the_vendors() -> None:
    """It has a window of minutes: a clock that is four minutes off signs well."""
    world = World()
    world.clock.accepted(0)
    assert world.clock.is_verified
    assert not world.clock.is_learnt
    assert world.clock.seen_skew_s is None


@pytest.mark.parametrize(("last_s", "sure"), [(600.0, True), (600.5, False), (-601.0, False)])
def test_before_an_answer_ages_are_sure_unless_the_run_before_saw_a_step(
    last_s: float, sure: bool
) -> None:
    assert VendorClock(lambda: START, last_skew_s=last_s).are_ages_sure is sure


def test_a_slow_answer_leaves_a_drift_as_it_was_learnt() -> None:
    world = World()
    world.answer()
    world.ahead_s = 300
    world.answer()
    assert world.clock.offset_s == pytest.approx(300, abs=1.1)
    known = world.clock.offset_s
    world.answer(took_s=900, stamped_s=800)  # so it may be anything from 200 to 1,100
    assert world.clock.offset_s == known


def test_after_a_step_three_answers_must_agree_again() -> None:
    """One that spoke against the vendor's time before it was learnt is forgotten."""
    world = World(ahead_s=7_200)
    world.minus_16()
    world.ahead_s = 12_200
    world.answer()
    world.clock.accepted(1)
    assert world.clock.is_learnt
    for _ in range(2):
        world.answer()
        assert world.clock.offset_s == pytest.approx(7_200, abs=1.1)
    world.answer()
    assert world.clock.offset_s == pytest.approx(12_200, abs=1.1)


@pytest.mark.parametrize(("more_s", "is_new"), [(600.0, False), (600.5, True)])
def test_a_skew_is_new_if_it_is_over_ten_minutes_from_that_of_the_run_before(
    more_s: float, is_new: bool
) -> None:
    now = 1_800_000_000.0
    clock = VendorClock(lambda: now, last_skew_s=1_000.0)
    clock.observe(now + 1_000.0 + more_s - 0.5, 0.0)  # its `Date` was cut to the second
    assert clock.offset_s == 1_000.0 + more_s
    assert clock.is_new is is_new


def learnt_at(ahead_s: float) -> World:
    """A vendor so far ahead, whose time three answers have shown."""
    world = World(ahead_s)
    for _ in range(3):
        world.answer()
    assert world.clock.offset_s == pytest.approx(ahead_s, abs=1.1)
    return world


def test_drifts_count_from_what_was_learnt() -> None:
    world = learnt_at(12_200)
    world.ahead_s += 300
    world.answer()
    assert world.clock.offset_s == pytest.approx(12_500, abs=1.1)
    # To sign with it, and to hear that it is right, is no step.
    world.minus_16()
    world.clock.accepted(1)
    world.ahead_s += 500
    world.answer()
    assert world.clock.offset_s == pytest.approx(12_500, abs=1.1), "800 s are no drift"


def test_an_accepted_signature_proves_a_step_but_an_old_one_does_not_undo_a_newer() -> None:
    world = learnt_at(0)
    world.ahead_s = 7_200
    world.minus_16()
    world.clock.accepted(1)
    assert world.clock.offset_s == pytest.approx(7_200, abs=1.1)
    world.ahead_s = 14_000
    for _ in range(3):
        world.answer()
    world.clock.accepted(1)
    assert world.clock.offset_s == pytest.approx(14_000, abs=1.1)


def test_a_minus_16_to_a_right_estimate_is_the_ids_own_trouble() -> None:
    world = World(ahead_s=7_200)
    for _ in range(3):
        world.minus_16()
    assert world.clock.generation == 1


@pytest.mark.parametrize(
    "date", ["9999-12-31", "2300-01-01", "2100-01-01", "2019-12-31", "1970-01-01", "1900-01-01"]
)
def test_a_date_that_nobody_can_mean_is_passed_over(date: str) -> None:
    """It would be learnt, and kept for the runs to come."""
    ours = datetime(2026, 11, 29, tzinfo=UTC).timestamp()
    clock = VendorClock(lambda: ours)
    for _ in range(5):
        clock.observe(datetime.fromisoformat(f"{date}T00:00:00+00:00").timestamp(), 0.1)
    assert (clock.now(), clock.seen_skew_s, clock.worst_skew_s) == (ours, None, 0.0)
    assert clock.are_ages_sure


def test_what_an_earlier_run_kept_of_such_a_date_is_forgotten() -> None:
    ours = datetime(2026, 11, 29, tzinfo=UTC).timestamp()
    for years in (8_000, 274, -60):
        clock = VendorClock(lambda: ours, last_skew_s=years * 365.25 * 86_400)
        assert clock.now() == ours
        assert clock.are_ages_sure


def test_a_clock_of_ours_that_lost_its_battery_learns_the_time() -> None:
    vendor = datetime(2026, 11, 29, tzinfo=UTC).timestamp()
    clock = VendorClock(lambda: 1_000.0)
    for _ in range(3):
        clock.observe(vendor, 0.0)
    assert abs(clock.now() - vendor) <= 1
