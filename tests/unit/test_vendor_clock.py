"""The vendor's clock: signed with only after a -16, verified by a success, moved by evidence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.vendor.clock import NOTABLE_SKEW_S, VendorClock

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
