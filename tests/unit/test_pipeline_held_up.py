"""Others have the whole limit: nobody waits for hours with a connection in hand."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest

from harvester.pipeline.limits.pace import HeldUp, SharedPace
from tests.support.virtual_time import run_virtually, virtual_loop

RATE = 50
TURN_NS = 20_000_000


class Limit:
    """A limit that others have to themselves until `free_at`; then every turn is to be had."""

    def __init__(self, free_at: float) -> None:
        self.free_at = free_at
        self.closed_until_ns = 0
        self.taken = 0
        self.more: list[bool] = []
        """Whether others of the process were said to wait, each time."""

    def take(self, *, more: bool = False) -> int:
        self.more.append(more)
        now = virtual_loop().time()
        if self.closed_until_ns > now * 1e9:
            return int(self.closed_until_ns - now * 1e9)
        if now < self.free_at:
            return TURN_NS
        self.taken += 1
        return 0

    def close_until(self, at_ns: int) -> None:
        self.closed_until_ns = at_ns


def shared_pace(limit: Limit, rate: float = RATE) -> SharedPace:
    return SharedPace(rate, opens_at=0.0, limit=limit)


class Attempts:
    """Attempts that take a connection, wait for their turn, and begin again when held up."""

    def __init__(self, pace: SharedPace) -> None:
        self.pace = pace
        self.began: list[float] = []
        self.held_s: list[float] = []
        """For how long each connection was in hand."""
        self.turns: list[float] = []

    async def one(self) -> None:
        while True:
            await self.pace.admitted()
            began = virtual_loop().time()
            self.began.append(began)
            try:
                await self.pace.turn()
            except HeldUp:
                continue
            finally:
                self.held_s.append(virtual_loop().time() - began)
            self.turns.append(virtual_loop().time())
            return

    async def all(self, count: int) -> None:
        await asyncio.gather(*(self.one() for _ in range(count)))


def test_while_others_have_the_whole_limit_one_a_second_looks_and_none_waits_longer() -> None:
    async def main() -> tuple[Attempts, float]:
        start = virtual_loop().time()
        attempts = Attempts(shared_pace(Limit(start + 3600.0)))
        await attempts.all(64)
        return attempts, start

    attempts, start = run_virtually(main)
    # At once 64; after a second of nothing all let go, and one a second goes to look.
    later = [at for at in attempts.began if at > start + 0.5]
    assert sum(at < start + 3599.0 for at in later) <= 3600
    assert all(after - before > 0.9 for before, after in pairwise(later[:3000]))
    assert max(attempts.held_s) < 1.1
    # The hour is over, and at once all have their turns.
    assert len(attempts.turns) == 64
    assert min(attempts.turns) >= start + 3600.0
    assert max(attempts.turns) < start + 3600.2


def test_who_has_a_turn_now_and_then_is_not_held_up() -> None:
    async def main() -> None:
        limit = Limit(0.0)
        attempts = Attempts(shared_pace(limit))
        for _ in range(10):
            limit.free_at = virtual_loop().time() + 0.9
            await attempts.one()
        assert len(attempts.began) == len(attempts.turns) == 10

    run_virtually(main)


def test_few_turns_a_second_are_waited_for_longer() -> None:
    async def main() -> None:
        attempts = Attempts(shared_pace(Limit(virtual_loop().time() + 7.0), rate=0.5))
        await attempts.one()
        assert len(attempts.began) == 1, "eight seconds are four turns"

    run_virtually(main)


def test_a_pause_that_the_vendor_wants_holds_nobody_up() -> None:
    async def main() -> None:
        start = virtual_loop().time()
        limit = Limit(0.0)
        limit.closed_until_ns = int((start + 30.0) * 1e9)
        attempts = Attempts(shared_pace(limit))
        await attempts.all(5)
        assert len(attempts.began) == 5
        assert min(attempts.turns) >= start + 30.0
        assert limit.taken == 5

    run_virtually(main)


def test_held_up_nobody_slips_through_and_the_first_turn_ends_it() -> None:
    async def main() -> None:
        start = virtual_loop().time()
        pace = shared_pace(Limit(start + 5.0))
        await pace.admitted()
        assert pace.is_open
        with pytest.raises(HeldUp):
            await pace.turn()
        assert not pace.is_open
        await pace.opened()
        assert not pace.is_open
        await pace.admitted()  # one goes to look
        assert virtual_loop().time() < start + 1.1
        before = virtual_loop().time()
        with suppress(HeldUp):
            await pace.turn()
        await pace.admitted()
        assert virtual_loop().time() - before >= 0.9
        await asyncio.sleep(start + 5.0 - virtual_loop().time())
        assert pace.take()
        await pace.opened()
        assert pace.is_open

    run_virtually(main)


def test_what_the_vendor_throttles_goes_slower_although_the_others_leave_the_whole_limit() -> None:
    async def main() -> list[float]:
        pace = shared_pace(Limit(0.0))
        pace.slow_down(None)
        attempts = Attempts(pace)
        await attempts.all(3 * RATE)
        return attempts.turns

    turns = run_virtually(main)
    first = turns[0]
    in_a_second = sum(at < first + 1.0 for at in turns)
    assert 0.6 * RATE <= in_a_second <= 0.7 * RATE


def test_the_others_are_told_whether_more_of_this_process_wait() -> None:
    async def main() -> None:
        limit = Limit(0.0)
        attempts = Attempts(shared_pace(limit))
        assert not limit.more
        for _ in range(2):
            limit.free_at = virtual_loop().time() + 0.05
            await attempts.one()
        assert set(limit.more) == {False}, "one at a time"
        limit.more.clear()
        limit.free_at = virtual_loop().time() + 0.05
        await attempts.all(3)
        # The first one asked before the others came.
        assert limit.more[2:] == [True] * (len(limit.more) - 3) + [False]
        assert len(limit.more) > 5

    run_virtually(main)
